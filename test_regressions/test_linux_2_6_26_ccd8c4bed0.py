"""linux_2_6_26 loses P1's page A on s390.

P1 must read 1 at page A and would read garbage. 1 was stored in step 1,
store(A) by P1. In step 12, swapoff() by swapoff, begun in step 4,
part_page_and_slot() (kernel/swapfile.py:167) removed frame0 while PG_dirty
recorded that it was modified; slot0 has garbage.

    CPU0: P1  CPU1: P2              CPU2: kswapd          CPU3: swapoff         I/O
 1  store(A)
 2  fork(P2)
 3                                  reclaim(P1, A, 4)
 4                                                        swapoff()
                                                            ... waits for
                                                              frame0
 5                                                                              pageout_failed(P1,
                                                                                  A)
                                                                                  end_swap_bio_write
                                                                                    ()
                                                                                    set_page_dirty()
                                                                                      frame0:
                                                                                        PG_dirty set
                                                                                    frame0:
                                                                                      PG_writeback
                                                                                      cleared
 6            mlock(A)
                ... waits for
                  swapoff
 7                                                        resume()
                                                            unuse_pte()
                                                              P1 pte A: slot0
                                                                -> frame0 ro
                                                              page_add_anon_rm
                                                                ap()
                                                                frame0
                                                                  mapcount: 0
                                                                  -> 1
                                                            ... waits for P2
 8                                  reclaim(P1, A, 4)
                                      try_to_unmap_one()
                                        P1 pte A: frame0
                                          ro -> none
                                        P1 pte A: none
                                          -> slot0
                                        page_remove_rmap
                                          ()
                                          frame0
                                            mapcount: 1
                                            -> 0
 9            resume()
                do_swap_page()
                  P2 pte A: slot0
                    -> frame0 ro
                  page_add_anon_rm
                    ap()
                    frame0
                      mapcount: 0
                      -> 1
                  do_wp_page()
                    P2 pte A:
                      frame0 ro ->
                      frame1 rw
                    page_remove_rm
                      ap()
                      frame0
                        mapcount:
                        1 -> 0
10                                                        resume()
                                                            set_page_writeback
                                                              ()
                                                              frame0:
                                                                PG_writeback
                                                                set
                                                            ... waits for
                                                              frame0
11                                                                              pageout_failed(P1,
                                                                                  A)
                                                                                  end_swap_bio_write
                                                                                    ()
                                                                                    frame0:
                                                                                      PG_writeback
                                                                                      cleared
12                                                        resume()
                                                            delete_from_swap_c
                                                              ache()  <-- blamed
                                                              frame0:
                                                                PG_swapcache
                                                                cleared
                                                            free_hot_cold_page
                                                              ()
                                                              frame0: PG_dirty
                                                                cleared
                                                            ... waits for spin

The shortest, proven over 4636 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork,
reclaim, pageout_failed, mlock, swapoff, resume; reclaimer kswapd; order 4; up to 11 steps; none of
them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest, proven over 4636 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork, reclaim, pageout_failed, mlock, swapoff, resume; reclaimer kswapd; order 4; up to 11 steps; none of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 12 loses P1's page A: part_page_and_slot",
        "a4b526b3ba63": "step 12 loses P1's page A: part_page_and_slot",
        "delay_rmap": "step 12 loses P1's page A: part_page_and_slot",
        "dirty_tracking_race": "step 12 loses P1's page A: part_page_and_slot",
        "easy": "step 12 loses P1's page A: part_page_and_slot",
        "easy_cow": "step 12 loses P1's page A: part_page_and_slot",
        "easy_mprotect": "step 12 loses P1's page A: part_page_and_slot",
        "easy_mprotect_fork": "step 12 loses P1's page A: part_page_and_slot",
        "fault_page_locked": "step 12 loses P1's page A: part_page_and_slot",
        "mmu_gather_flush": "step 12 loses P1's page A: part_page_and_slot",
        "mremap_anon_vma": "step 12 loses P1's page A: part_page_and_slot",
        "no_clear_uptodate": "step 12 loses P1's page A: part_page_and_slot",
        "page_zap_rmap": "step 12 loses P1's page A: part_page_and_slot",
        "swapin_race": "step 12 loses P1's page A: part_page_and_slot",
        "swapoff_key": "step 12 loses P1's page A: part_page_and_slot",
        "swapoff_retry": "no loss; step 11, pageout_failed, cannot happen here",
        "wp_only": "step 12 loses P1's page A: part_page_and_slot",
        "zap_only": "step 12 loses P1's page A: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.swapoff(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.mlock(page=A, process=P2, stop=None)
    state.resume(stop=None, task=swapoff)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=P2)
    state.resume(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
