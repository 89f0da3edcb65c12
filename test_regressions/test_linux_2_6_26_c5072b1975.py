"""linux_2_6_26 loses ext2's page A on x86.

ext2 must have 2 or newer on its disk at page A, and has 1. 2 was stored in step
4, store(A) by P2. 1 was stored in step 1, store(A) by P1. In step 3, store(A)
by P1, wp_page_shared() (kernel/memory.py:305) made P1's pte of page A writable
before the page had PG_dirty and its tag. In step 4, store(A) by P2 went by P1's
pte of page A and set neither PG_dirty nor the dirty tag. In step 6, msync(A) by
P2 reported success without 2 on the disk.

   CPU0: P1                CPU1: P2                 CPU2: pdflush            I/O
1  store(A)
     P1 tlb A: none ->
       frame0 rw dirty
       young
2                                                   writeback(ext2)
                                                      P1 tlb A: frame0 rw
                                                        dirty young -> none
3  store(A)
     do_wp_page()
       wp_page_shared()  <-- blamed
         P1 pte A: frame0
           ro young ->
           frame0 rw
           dirty young
         ... shared pte
           writable
4                          store(A)
                             P2 tlb A: none ->
                               frame0 rw dirty
                               young
5                                                                            pageout_done(P1, A)
                                                                               end_buffer_async_writ
                                                                                 e()
                                                                                 frame0:
                                                                                   PG_writeback
                                                                                   cleared
                                                                                 ext2 blocks A: 0 ->
                                                                                   1
6                          msync(A)

The shortest, proven over 388 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads;
store, pageout_done, writeback, msync, resume; up to 5 steps; up to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 388 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; store, pageout_done, writeback, msync, resume; up to 5 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 6 loses ext2's page A: wp_page_shared",
        "a4b526b3ba63": "step 6 loses ext2's page A: wp_page_shared",
        "delay_rmap": "no loss",
        "dirty_tracking_race": "no loss",
        "easy": "step 6 loses ext2's page A: wp_page_shared",
        "easy_cow": "step 6 loses ext2's page A: wp_page_shared",
        "easy_mprotect": "step 6 loses ext2's page A: wp_page_shared",
        "easy_mprotect_fork": "step 6 loses ext2's page A: wp_page_shared",
        "fault_page_locked": "no loss",
        "mmu_gather_flush": "no loss",
        "mremap_anon_vma": "step 6 loses ext2's page A: wp_page_shared",
        "no_clear_uptodate": "step 6 loses ext2's page A: wp_page_shared",
        "page_zap_rmap": "step 6 loses ext2's page A: wp_page_shared",
        "swapin_race": "step 6 loses ext2's page A: wp_page_shared",
        "swapoff_key": "step 6 loses ext2's page A: wp_page_shared",
        "swapoff_retry": "step 6 loses ext2's page A: wp_page_shared",
        "wp_only": "step 6 loses ext2's page A: wp_page_shared",
        "zap_only": "step 6 loses ext2's page A: wp_page_shared",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.writeback(file=ext2, flusher=pdflush, stop=None)
    state.store(page=A, process=P1, stop="do_wp_page: shared pte writable")
    state.store(page=A, process=P2, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.msync(page=A, process=P2, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
