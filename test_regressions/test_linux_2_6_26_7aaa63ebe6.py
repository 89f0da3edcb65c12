"""linux_2_6_26 loses P3's page A on s390.

P3 must read 1 at page A and would read 3. 1 was stored in step 1, store(A) by
P1. 3 was stored in step 13, store(A) by P1, begun in step 7. In step 13,
store(A) by P1, begun in step 7, do_swap_page() (kernel/memory.py:439) made P1's
pte of page A writable while P3 had the same frame0. In step 13, store(A) by P1,
begun in step 7, went by P1's pte of page A to frame0, where P3 must find 1.

    CPU0: P1           CPU1: P2           CPU2: kswapd        CPU3: swapoff       I/O
 1  store(A)
 2                                        reclaim(P1, A, 4)
 3                                                            swapoff()
                                                                ... waits for
                                                                  frame0
 4  fork(P2)
      copy_one_pte()
        P2 pte A:
          none ->
          slot0
 5                     fork(P3)
                         copy_page_range
                           ()
                           ... ptl
 6                                                                                pageout_done(P1,
                                                                                    A)
                                                                                    end_swap_bio_wri
                                                                                      te()
                                                                                      frame0:
                                                                                        PG_writeback
                                                                                        cleared
                                                                                      slot0 content:
                                                                                        garbage -> 1
 7  store(A)
      ... waits for
        swapoff
 8                                                            resume()
                                                                unuse_pte()
                                                                  P1 pte A:
                                                                    slot0 ->
                                                                    frame0 ro
                                                                  page_add_anon_
                                                                    rmap()
                                                                    frame0
                                                                      mapcount:
                                                                      0 -> 1
                                                                ... waits for P2
 9                                        reclaim(P1, A, 4)
                                            try_to_unmap_one
                                              ()
                                              P1 pte A:
                                                frame0 ro ->
                                                none
                                              P1 pte A: none
                                                -> slot0
                                              page_remove_rm
                                                ap()
                                                frame0
                                                  mapcount:
                                                  1 -> 0
10                     resume()
                         copy_page_range
                           ()
                           copy_one_pte(
                             )
                             P3 pte A:
                               none ->
                               slot0
11                     store(A)
                         do_swap_page()
                           P2 pte A:
                             slot0 ->
                             frame0 ro
                           page_add_anon
                             _rmap()
                             frame0
                               mapcount:
                               0 -> 1
                           do_wp_page()
                             P2 pte A:
                               frame0 ro
                               -> frame1
                               rw
                             page_remove
                               _rmap()
                               frame0
                                 mapcoun
                                 t: 1 ->
                                 0
12                                                            resume()
                                                                unuse_pte()
                                                                  P3 pte A:
                                                                    slot0 ->
                                                                    frame0 ro
                                                                  page_add_anon_
                                                                    rmap()
                                                                    frame0
                                                                      mapcount:
                                                                      0 -> 1
                                                                part_page_and_sl
                                                                  ot()
                                                                  delete_from_sw
                                                                    ap_cache()
                                                                    frame0:
                                                                      PG_swapcac
                                                                      he cleared
                                                                  frame0:
                                                                    PG_dirty set
                                                                ... waits for
                                                                  spin
13  resume()
      do_swap_page()  <-- blamed
        P1 pte A:
          slot0 ->
          frame0 rw
        page_add_anon
          _rmap()
          frame0
            mapcount:
            1 -> 2

The shortest found; the search for a shorter one was cut off at 100220 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, P3, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=1, frames=4, slots=3),
    proof="shortest found; the search for a shorter one was cut off at 100220 states",
    verdicts={
        "linux_2_6_26": "step 13 loses P3's page A: do_swap_page",
        "a4b526b3ba63": "step 13 loses P3's page A: do_swap_page",
        "delay_rmap": "step 13 loses P3's page A: do_swap_page",
        "dirty_tracking_race": "step 13 loses P3's page A: do_swap_page",
        "easy": "step 13 loses P3's page A: do_swap_page",
        "easy_cow": "step 13 loses P3's page A: do_swap_page",
        "easy_mprotect": "step 13 loses P3's page A: do_swap_page",
        "easy_mprotect_fork": "step 13 loses P3's page A: do_swap_page",
        "fault_page_locked": "step 13 loses P3's page A: do_swap_page",
        "mmu_gather_flush": "step 13 loses P3's page A: do_swap_page",
        "mremap_anon_vma": "step 13 loses P3's page A: do_swap_page",
        "no_clear_uptodate": "step 13 loses P3's page A: do_swap_page",
        "page_zap_rmap": "step 13 loses P3's page A: do_swap_page",
        "swapin_race": "no loss",
        "swapoff_key": "step 13 loses P3's page A: do_swap_page",
        "swapoff_retry": "no loss",
        "wp_only": "step 13 loses P3's page A: do_swap_page",
        "zap_only": "step 13 loses P3's page A: do_swap_page",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.swapoff(stop=None, task=swapoff)
    state.fork(child=P2, process=P1, stop=None)
    state.fork(child=P3, process=P2, stop="copy_pte_range: ptl")
    state.pageout_done(holder=P1, page=A)
    state.store(page=A, process=P1, stop=None)
    state.resume(stop=None, task=swapoff)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=P2)
    state.store(page=A, process=P2, stop=None)
    state.resume(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
