"""linux_2_6_26 loses P2's page A on s390.

P2 must read 0 at page A and would read garbage. In step 10, swapoff() by
swapoff, begun in step 5, part_page_and_slot() (kernel/swapfile.py:167) removed
frame0 while PG_dirty recorded that it was modified; slot0 has garbage.

    CPU0: P1                  CPU1: kswapd       CPU2: swapoff             I/O
 1  load(A)
 2                            reclaim(P1, A, 4)
 3                                                                         pageout_failed(P1, A)
 4  mprotect(A, R)
      change_pte_range()
        ... ptl
 5                                               swapoff()
                                                   ... waits for P1
 6  resume()
      sys_mprotect()
 7  fork(P2)
      copy_one_pte()
        P2 pte A: none ->
          slot0
 8                                               resume()
                                                   unuse_pte()
                                                     P1 pte A: slot0 ->
                                                       frame0 ro
                                                     page_add_anon_rmap()
                                                       frame0 mapcount: 0
                                                         -> 1
                                                   set_page_writeback()
                                                     frame0: PG_writeback
                                                       set
                                                   ... waits for frame0
 9                                                                         pageout_failed(P1, A)
                                                                             end_swap_bio_write()
                                                                               frame0: PG_writeback
                                                                                 cleared
10                                               resume()
                                                   delete_from_swap_cache
                                                     ()  <-- blamed
                                                     frame0: PG_swapcache
                                                       cleared
                                                   ... waits for spin

The shortest, proven over 8799 states: 2 processes, 1 page each, 3 frames, 2 slots; load, fork,
reclaim, pageout_failed, mprotect, swapoff, resume; reclaimer kswapd; order 4; prot R; up to 9
steps; up to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest, proven over 8799 states: 2 processes, 1 page each, 3 frames, 2 slots; load, fork, reclaim, pageout_failed, mprotect, swapoff, resume; reclaimer kswapd; order 4; prot R; up to 9 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 10 loses P2's page A: part_page_and_slot",
        "a4b526b3ba63": "step 10 loses P2's page A: part_page_and_slot",
        "delay_rmap": "step 10 loses P2's page A: part_page_and_slot",
        "dirty_tracking_race": "step 10 loses P2's page A: part_page_and_slot",
        "easy": "step 10 loses P2's page A: part_page_and_slot",
        "easy_cow": "step 10 loses P2's page A: part_page_and_slot",
        "easy_mprotect": "step 10 loses P2's page A: part_page_and_slot",
        "easy_mprotect_fork": "step 10 loses P2's page A: part_page_and_slot",
        "fault_page_locked": "step 10 loses P2's page A: part_page_and_slot",
        "mmu_gather_flush": "step 10 loses P2's page A: part_page_and_slot",
        "mremap_anon_vma": "step 10 loses P2's page A: part_page_and_slot",
        "no_clear_uptodate": "step 10 loses P2's page A: part_page_and_slot",
        "page_zap_rmap": "step 10 loses P2's page A: part_page_and_slot",
        "swapin_race": "step 10 loses P2's page A: part_page_and_slot",
        "swapoff_key": "step 10 loses P2's page A: part_page_and_slot",
        "swapoff_retry": "no loss; step 9, pageout_failed, cannot happen here",
        "wp_only": "step 10 loses P2's page A: part_page_and_slot",
        "zap_only": "step 10 loses P2's page A: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.load(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.pageout_failed(holder=P1, page=A)
    state.mprotect(page=A, process=P1, prot=R, stop="change_pte_range: ptl")
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)
    state.fork(child=P2, process=P1, stop=None)
    state.resume(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
