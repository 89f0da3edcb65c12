"""linux_2_6_26 loses ext2's page A on s390.

ext2 must have 2 or newer on its disk at page A, and has 0. 2 was stored in step
7, store(A) by P1. In step 4, store(A) by P2, wp_page_shared()
(kernel/memory.py:305) made P1's pte of page A writable before the page had
PG_dirty and its tag. In step 7, store(A) by P1 went by P1's pte of page A and
set neither PG_dirty nor the dirty tag. In step 8, msync(A) by P1 reported
success without 2 on the disk.

   CPU0: P1                 CPU1: P2                 CPU2: direct            I/O
1  store(A)
2  msync(A)
     clear_page_dirty_for_
       io()
       page_mkclean()
         page_mkclean_one(
           )
           P1 pte A:
             frame0 rw ->
             frame0 ro
         frame0: key C
           cleared
       frame0: PG_dirty
         cleared
     set_page_writeback()
       frame0:
         PG_writeback set
       frame0 tag_dirty:
         yes -> no
     ... waits for frame0
3                                                    reclaim(P1, A, 4)
                                                       ... waits for frame0
4                           store(A)
                              wp_page_shared()  <-- blamed
                                P1 pte A: frame0 ro
                                  -> frame0 rw
                                ... waits for
                                  direct
5                                                                            pageout_failed(P1, A)
                                                                               end_buffer_async_writ
                                                                                 e()
                                                                                 ext2 AS_EIO: no ->
                                                                                   yes
                                                                                 frame0:
                                                                                   PG_writeback
                                                                                   cleared
6  resume()
     filemap_fdatawait()
       ext2 AS_EIO: yes ->
         no
7  store(A)
8  msync(A)

The shortest, proven over 78 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads;
store, reclaim, pageout_failed, msync, resume; reclaimer direct; order 4; up to 7 steps; none of
them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, direct, ext2
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 78 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; store, reclaim, pageout_failed, msync, resume; reclaimer direct; order 4; up to 7 steps; none of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 8 loses ext2's page A: wp_page_shared",
        "a4b526b3ba63": "step 8 loses ext2's page A: wp_page_shared",
        "delay_rmap": "no loss; step 8, msync, cannot happen here",
        "dirty_tracking_race": "no loss; step 8, msync, cannot happen here",
        "easy": "step 8 loses ext2's page A: wp_page_shared",
        "easy_cow": "step 8 loses ext2's page A: wp_page_shared",
        "easy_mprotect": "step 8 loses ext2's page A: wp_page_shared",
        "easy_mprotect_fork": "step 8 loses ext2's page A: wp_page_shared",
        "fault_page_locked": "no loss; step 8, msync, cannot happen here",
        "mmu_gather_flush": "no loss; step 8, msync, cannot happen here",
        "mremap_anon_vma": "step 8 loses ext2's page A: wp_page_shared",
        "no_clear_uptodate": "step 8 loses ext2's page A: wp_page_shared",
        "page_zap_rmap": "step 8 loses ext2's page A: wp_page_shared",
        "swapin_race": "step 8 loses ext2's page A: wp_page_shared",
        "swapoff_key": "step 8 loses ext2's page A: wp_page_shared",
        "swapoff_retry": "step 8 loses ext2's page A: wp_page_shared",
        "wp_only": "step 8 loses ext2's page A: wp_page_shared",
        "zap_only": "step 8 loses ext2's page A: wp_page_shared",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.msync(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=direct, stop=None)
    state.store(page=A, process=P2, stop=None)
    state.pageout_failed(holder=P1, page=A)
    state.resume(stop=None, task=P1)
    state.store(page=A, process=P1, stop=None)
    state.msync(page=A, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
