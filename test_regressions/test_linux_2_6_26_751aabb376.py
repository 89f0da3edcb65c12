"""linux_2_6_26 loses P1's page A on s390.

P1 must read 2 at page A and would read 3. 2 was stored in step 2, store(A) by
P1. 3 was stored in step 13, store(A) by P2. In step 14, mlock(A) by P1, begun
in step 11, do_swap_page() (kernel/memory.py:439) mapped frame1 for P1, which
has 3, in place of slot0, which has 2.

    CPU0: P1           CPU1: P2           CPU2: kswapd        CPU3: swapoff       I/O
 1  store(B)
 2  store(A)
 3                                        reclaim(P1, A, 4)
 4  fork(P2)
 5                                                                                pageout_done(P1,
                                                                                    A)
 6                     mprotect(B, R)
                         change_pte_rang
                           e()
                           ... pte
                             cleared
 7                                                            swapoff()
                                                                unuse_pte()
                                                                  P1 pte A:
                                                                    slot0 ->
                                                                    frame1 ro
                                                                  page_add_anon_
                                                                    rmap()
                                                                    frame1
                                                                      mapcount:
                                                                      0 -> 1
                                                                ... waits for P2
 8                                        reclaim(P1, A, 4)
                                            try_to_unmap_one
                                              ()
                                              P1 pte A:
                                                frame1 ro ->
                                                none
                                              P1 pte A: none
                                                -> slot0
                                              page_remove_rm
                                                ap()
                                                frame1
                                                  mapcount:
                                                  1 -> 0
 9                     resume()
                         change_pte_rang
                           e()
10                                                            resume()
                                                                unuse_pte()
                                                                  ... ptl
11  mlock(A)
      ... waits for
        swapoff
12                                                            resume()
                                                                unuse_pte()
                                                                  P2 pte A:
                                                                    slot0 ->
                                                                    frame1 ro
                                                                  page_add_anon_
                                                                    rmap()
                                                                    frame1
                                                                      mapcount:
                                                                      0 -> 1
                                                                part_page_and_sl
                                                                  ot()
                                                                  delete_from_sw
                                                                    ap_cache()
                                                                    frame1:
                                                                      PG_swapcac
                                                                      he cleared
                                                                  frame1:
                                                                    PG_dirty set
                                                                ... waits for
                                                                  spin
13                     store(A)
                         do_wp_page()
                           P2 pte A:
                             frame1 ro
                             -> frame1
                             rw
14  resume()
      do_swap_page()  <-- blamed
        P1 pte A:
          slot0 ->
          frame1 rw
        page_add_anon
          _rmap()
          frame1
            mapcount:
            1 -> 2

The shortest found; the search for a shorter one was cut off at 100440 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 100440 states",
    verdicts={
        "linux_2_6_26": "step 14 loses P1's page A: do_swap_page",
        "a4b526b3ba63": "step 14 loses P1's page A: do_swap_page",
        "delay_rmap": "step 14 loses P1's page A: do_swap_page",
        "dirty_tracking_race": "step 14 loses P1's page A: do_swap_page",
        "easy": "step 14 loses P1's page A: do_swap_page",
        "easy_cow": "step 14 loses P1's page A: do_swap_page",
        "easy_mprotect": "step 14 loses P1's page A: do_swap_page",
        "easy_mprotect_fork": "step 14 loses P1's page A: do_swap_page",
        "fault_page_locked": "step 14 loses P1's page A: do_swap_page",
        "mmu_gather_flush": "step 14 loses P1's page A: do_swap_page",
        "mremap_anon_vma": "step 14 loses P1's page A: do_swap_page",
        "no_clear_uptodate": "step 14 loses P1's page A: do_swap_page",
        "page_zap_rmap": "step 14 loses P1's page A: do_swap_page",
        "swapin_race": "no loss",
        "swapoff_key": "step 14 loses P1's page A: do_swap_page",
        "swapoff_retry": "no loss",
        "wp_only": "step 14 loses P1's page A: do_swap_page",
        "zap_only": "step 14 loses P1's page A: do_swap_page",
    },
)


def steps(state: Replay) -> None:
    state.store(page=B, process=P1, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.mprotect(page=B, process=P2, prot=R, stop="change_pte_range: pte cleared")
    state.swapoff(stop=None, task=swapoff)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=P2)
    state.resume(stop="unuse_pte: ptl", task=swapoff)
    state.mlock(page=A, process=P1, stop=None)
    state.resume(stop=None, task=swapoff)
    state.store(page=A, process=P2, stop=None)
    state.resume(stop=None, task=P1)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
