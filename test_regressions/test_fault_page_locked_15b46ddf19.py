"""fault_page_locked loses ext2's page A on x86.

ext2 must have 2 or newer on its disk at page A, and has 1. 2 was stored in step
4, store(A) by P1. 1 was stored in step 1, store(A) by P1. In step 2, munmap(A)
by P2, zap_pte_range() (kernel/memory.py:144) changed the pte and left the TLB
entry of P1's CPU for page A writable. In step 4, store(A) by P1 went by the TLB
entry of P1's CPU for page A and set neither PG_dirty nor the dirty tag. In step
6, fsync(ext2) by P1 reported success without 2 on the disk.

   CPU0: P1                CPU1: P2                 CPU2: pdflush            I/O
1  store(A)
     P1 tlb A: none ->
       frame0 rw dirty
       young
2                          munmap(A)
                             zap_pte_range()  <-- blamed
                               P1 pte A: frame0 rw
                                 dirty young ->
                                 none
                               page_remove_rmap()
                                 frame0 mapcount:
                                   1 -> 0
                                 ... last mapping
                                   gone
3                                                   writeback(ext2)
                                                      clear_page_dirty_for_
                                                        io()
                                                        frame0: PG_dirty
                                                          cleared
                                                      set_page_writeback()
                                                        frame0:
                                                          PG_writeback set
                                                        frame0 tag_dirty:
                                                          yes -> no
4  store(A)
5                                                                            pageout_done(ext2, A)
                                                                               end_buffer_async_writ
                                                                                 e()
                                                                                 frame0:
                                                                                   PG_writeback
                                                                                   cleared
                                                                                 ext2 blocks A: 0 ->
                                                                                   1
6  fsync(ext2)

The shortest, proven over 1143 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads;
fsync, pageout_done, resume, store, writeback, munmap; reclaimer kswapd; order 4; up to 5 steps; up
to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="fault_page_locked",
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 1143 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; fsync, pageout_done, resume, store, writeback, munmap; reclaimer kswapd; order 4; up to 5 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 6 loses ext2's page A: zap_pte_range",
        "a4b526b3ba63": "step 6 loses ext2's page A: zap_pte_range",
        "delay_rmap": "no loss; step 6, fsync, cannot happen here",
        "dirty_tracking_race": "step 6 loses ext2's page A: zap_pte_range",
        "easy": "step 6 loses ext2's page A: zap_pte_range",
        "easy_cow": "step 6 loses ext2's page A: zap_pte_range",
        "easy_mprotect": "step 6 loses ext2's page A: zap_pte_range",
        "easy_mprotect_fork": "step 6 loses ext2's page A: zap_pte_range",
        "fault_page_locked": "step 6 loses ext2's page A: zap_pte_range",
        "mmu_gather_flush": "step 6 loses ext2's page A: zap_pte_range",
        "mremap_anon_vma": "step 6 loses ext2's page A: zap_pte_range",
        "no_clear_uptodate": "step 6 loses ext2's page A: zap_pte_range",
        "page_zap_rmap": "step 6 loses ext2's page A: zap_pte_range",
        "swapin_race": "step 6 loses ext2's page A: zap_pte_range",
        "swapoff_key": "step 6 loses ext2's page A: zap_pte_range",
        "swapoff_retry": "step 6 loses ext2's page A: zap_pte_range",
        "wp_only": "step 6 loses ext2's page A: zap_pte_range",
        "zap_only": "step 6 loses ext2's page A: zap_pte_range",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.munmap(page=A, process=P2, stop="page_remove_rmap: last mapping gone")
    state.writeback(file=ext2, flusher=pdflush, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.pageout_done(holder=ext2, page=A)
    state.fsync(file=ext2, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
