"""linux_2_6_26 loses ext2's page A on x86.

ext2 must have 2 or newer on its disk at page A, and has 1. 2 was stored in step
6, store(A) by P1. 1 was stored in step 1, store(A) by P1. In step 3,
writeback(ext2) by pdflush, page_check_address() (kernel/rmap.py:91) did not
find P1's pte of page A, which was empty for a moment. In step 3,
writeback(ext2) by pdflush, PG_dirty was cleared, and P1's pte of page A stayed
dirty, so it was made writable again without a fault. In step 6, store(A) by P1
went by P1's pte of page A and set neither PG_dirty nor the dirty tag. In step
8, fsync(ext2) by P1 reported success without 2 on the disk.

   CPU0: P1                                     CPU1: pdflush                    I/O
1  store(A)
2  mprotect(A, R)
     change_pte_range()
       P1 pte A: frame0 rw dirty young -> none
       ... pte cleared
3                                               writeback(ext2)
                                                  clear_page_dirty_for_io()
                                                    page_check_address()  <-- blamed
                                                    frame0: PG_dirty cleared
                                                  set_page_writeback()
                                                    frame0: PG_writeback set
                                                    frame0 tag_dirty: yes -> no
4  resume()
     change_pte_range()
       P1 pte A: none -> frame0 ro dirty young
5  mprotect(A, RW)
6  store(A)
7                                                                                pageout_done(P1, A)
8  fsync(ext2)

The shortest, proven over 835 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; fsync,
pageout_done, resume, store, writeback, mprotect, reclaim; reclaimer kswapd; order 4; up to 7 steps;
up to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, RW, A, R, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,)),
    proof="shortest, proven over 835 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; fsync, pageout_done, resume, store, writeback, mprotect, reclaim; reclaimer kswapd; order 4; up to 7 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 8 loses ext2's page A: page_check_address",
        "a4b526b3ba63": "step 8 loses ext2's page A: page_check_address",
        "delay_rmap": "no loss; step 7, pageout_done, cannot happen here",
        "dirty_tracking_race": "no loss; step 7, pageout_done, cannot happen here",
        "easy": "step 8 loses ext2's page A: page_check_address",
        "easy_cow": "step 8 loses ext2's page A: page_check_address",
        "easy_mprotect": "step 8 loses ext2's page A: page_check_address",
        "easy_mprotect_fork": "step 8 loses ext2's page A: page_check_address",
        "fault_page_locked": "step 8 loses ext2's page A: page_check_address",
        "mmu_gather_flush": "no loss; step 7, pageout_done, cannot happen here",
        "mremap_anon_vma": "step 8 loses ext2's page A: page_check_address",
        "no_clear_uptodate": "step 8 loses ext2's page A: page_check_address",
        "page_zap_rmap": "step 8 loses ext2's page A: page_check_address",
        "swapin_race": "step 8 loses ext2's page A: page_check_address",
        "swapoff_key": "step 8 loses ext2's page A: page_check_address",
        "swapoff_retry": "step 8 loses ext2's page A: page_check_address",
        "wp_only": "step 8 loses ext2's page A: page_check_address",
        "zap_only": "step 8 loses ext2's page A: page_check_address",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.mprotect(page=A, process=P1, prot=R, stop="change_pte_range: pte cleared")
    state.writeback(file=ext2, flusher=pdflush, stop=None)
    state.resume(stop=None, task=P1)
    state.mprotect(page=A, process=P1, prot=RW, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.fsync(file=ext2, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
