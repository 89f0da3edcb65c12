"""linux_2_6_26 loses P2's page A on s390.

P2 must read 2 at page A and would read garbage. 2 was stored in step 5,
store(A) by P1. In step 14, swapoff() by swapoff, begun in step 3,
part_page_and_slot() (kernel/swapfile.py:167) removed frame0 while PG_dirty
recorded that it was modified; slot0 has garbage.

    CPU0: P1                CPU1: kswapd            CPU2: swapoff            I/O
 1  store(A)
 2                          reclaim(P1, A, 4)
 3                                                  swapoff()
                                                      try_to_unuse_entry()
                                                        ... page lock
 4                                                                           pageout_failed(P1, A)
                                                                               end_swap_bio_write()
                                                                                 set_page_dirty()
                                                                                   frame0: PG_dirty
                                                                                     set
                                                                                 frame0:
                                                                                   PG_writeback
                                                                                   cleared
 5  store(A)
      do_swap_page()
        P1 pte A: slot0 ->
          frame0 rw
        page_add_anon_rmap
          ()
          frame0 mapcount:
            0 -> 1
 6                          reclaim(P1, A, 4)
                              try_to_unmap_one()
                                P1 pte A: frame0
                                  rw -> none
                                P1 pte A: none ->
                                  slot0
                                page_remove_rmap()
                                  frame0 mapcount:
                                    1 -> 0
                                  frame0: key C
                                    cleared
                                  ... key cleared
 7  fork(P3)
      ... waits for kswapd
 8                          resume()
                              put_page()
 9                                                  resume()
                                                      try_to_unuse_entry()
                                                        ... waits for P1
10  resume()
      copy_one_pte()
        P3 pte A: none ->
          slot0
11  fork(P2)
      copy_one_pte()
        P2 pte A: none ->
          slot0
12                                                  resume()
                                                      unuse_pte()
                                                        P1 pte A: slot0 ->
                                                          frame0 ro
                                                        page_add_anon_rmap(
                                                          )
                                                          frame0 mapcount:
                                                            0 -> 1
                                                      unuse_pte()
                                                        P3 pte A: slot0 ->
                                                          frame0 ro
                                                        page_add_anon_rmap(
                                                          )
                                                          frame0 mapcount:
                                                            1 -> 2
                                                      set_page_writeback()
                                                        frame0:
                                                          PG_writeback set
                                                      ... waits for frame0
13                                                                           pageout_failed(P1, A)
                                                                               end_swap_bio_write()
                                                                                 frame0:
                                                                                   PG_writeback
                                                                                   cleared
14                                                  resume()
                                                      delete_from_swap_cach
                                                        e()  <-- blamed
                                                        frame0:
                                                          PG_swapcache
                                                          cleared
                                                      ... waits for spin

The shortest found; the search for a shorter one was cut off at 100064 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, P3, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=1, frames=4, slots=3),
    proof="shortest found; the search for a shorter one was cut off at 100064 states",
    verdicts={
        "linux_2_6_26": "step 14 loses P2's page A: part_page_and_slot",
        "a4b526b3ba63": "step 14 loses P2's page A: part_page_and_slot",
        "delay_rmap": "step 14 loses P2's page A: part_page_and_slot",
        "dirty_tracking_race": "step 14 loses P2's page A: part_page_and_slot",
        "easy": "step 14 loses P2's page A: part_page_and_slot",
        "easy_cow": "step 14 loses P2's page A: part_page_and_slot",
        "easy_mprotect": "step 14 loses P2's page A: part_page_and_slot",
        "easy_mprotect_fork": "step 14 loses P2's page A: part_page_and_slot",
        "fault_page_locked": "step 14 loses P2's page A: part_page_and_slot",
        "mmu_gather_flush": "step 14 loses P2's page A: part_page_and_slot",
        "mremap_anon_vma": "step 14 loses P2's page A: part_page_and_slot",
        "no_clear_uptodate": "step 14 loses P2's page A: part_page_and_slot",
        "page_zap_rmap": "step 14 loses P2's page A: part_page_and_slot",
        "swapin_race": "step 14 loses P2's page A: part_page_and_slot",
        "swapoff_key": "step 14 loses P2's page A: part_page_and_slot",
        "swapoff_retry": "no loss; step 13, pageout_failed, cannot happen here",
        "wp_only": "step 14 loses P2's page A: part_page_and_slot",
        "zap_only": "step 14 loses P2's page A: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.swapoff(stop="try_to_unuse: page lock", task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="page_remove_rmap: key cleared")
    state.fork(child=P3, process=P1, stop=None)
    state.resume(stop=None, task=kswapd)
    state.resume(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)
    state.fork(child=P2, process=P1, stop=None)
    state.resume(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
