"""linux_2_6_26 loses P2's page A on s390.

P2 must read 0 at page A and would read garbage. In step 14, swapoff() by
swapoff, begun in step 6, part_page_and_slot() (kernel/swapfile.py:167) removed
frame0 while PG_dirty recorded that it was modified; slot0 has garbage.

    CPU0: P1              CPU1: P2  CPU2: kswapd          CPU3: swapoff         I/O
 1  mlock(A)
 2  fork(P2)
 3  exit()
 4                        fork(P1)
 5                                  reclaim(P1, A, 4)
 6                                                        swapoff()
                                                            ... waits for
                                                              frame0
 7                                                                              pageout_failed(P1,
                                                                                  A)
                                                                                  end_swap_bio_write
                                                                                    ()
                                                                                    set_page_dirty()
                                                                                      frame0:
                                                                                        PG_dirty set
                                                                                    frame0:
                                                                                      PG_writeback
                                                                                      cleared
 8  mlock(A)
      ... waits for
        swapoff
 9                                                        resume()
                                                            unuse_pte()
                                                              P2 pte A: slot0
                                                                -> frame0 ro
                                                              page_add_anon_rm
                                                                ap()
                                                                frame0
                                                                  mapcount: 0
                                                                  -> 1
                                                            ... waits for P1
10  resume()
      do_swap_page()
        P1#2 pte A:
          slot0 ->
          frame0 ro
        page_add_anon_rm
          ap()
          frame0
            mapcount: 1
            -> 2
        do_wp_page()
          P1#2 pte A:
            frame0 ro ->
            frame1 rw
          page_remove_rm
            ap()
            frame0
              mapcount:
              2 -> 1
11                                  reclaim(P2, A, 4)
                                      try_to_unmap_one()
                                        P2 pte A: frame0
                                          ro -> none
                                        P2 pte A: none
                                          -> slot0
                                        page_remove_rmap
                                          ()
                                          frame0
                                            mapcount: 1
                                            -> 0
12                                                        resume()
                                                            set_page_writeback
                                                              ()
                                                              frame0:
                                                                PG_writeback
                                                                set
                                                            ... waits for
                                                              frame0
13                                                                              pageout_failed(P2,
                                                                                  A)
                                                                                  end_swap_bio_write
                                                                                    ()
                                                                                    frame0:
                                                                                      PG_writeback
                                                                                      cleared
14                                                        resume()
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

The shortest, proven over 2566 states: 2 processes, 1 page each, 3 frames, 2 slots; fork, exit,
reclaim, pageout_failed, mprotect, mlock, swapoff, resume; reclaimer kswapd; order 4; prot R; up to
13 steps; none of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest, proven over 2566 states: 2 processes, 1 page each, 3 frames, 2 slots; fork, exit, reclaim, pageout_failed, mprotect, mlock, swapoff, resume; reclaimer kswapd; order 4; prot R; up to 13 steps; none of them stopped on the way",
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
    state.mlock(page=A, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.exit(process=P1, stop=None)
    state.fork(child=P1, process=P2, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.swapoff(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.mlock(page=A, process=P1, stop=None)
    state.resume(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)
    state.reclaim(holder=P2, order=4, page=A, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=swapoff)
    state.pageout_failed(holder=P2, page=A)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
