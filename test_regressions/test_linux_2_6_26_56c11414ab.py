"""linux_2_6_26 loses P1's page A on s390.

P1 must read 0 at page A and would read 1. 1 was stored in step 14, store(A) by
P2. In step 15, mlock(A) by P1, begun in step 11, do_swap_page()
(kernel/memory.py:439) mapped frame0 for P1, which has 1, in place of slot0,
which has 0.

    CPU0: P1           CPU1: P2           CPU2: kswapd        CPU3: swapoff       I/O
 1  mprotect(A, R)
 2  load(A)
 3                                        reclaim(P1, A, 4)
 4  fork(P2)
 5                                                                                pageout_done(P1,
                                                                                    A)
 6                     mlock(A)
                         do_mlock()
                           ... VM_LOCKED
                             set
 7                                                            swapoff()
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
 8                     resume()
                         do_swap_page()
                           P2 pte A:
                             slot0 ->
                             frame0 ro
                           page_add_anon
                             _rmap()
                             frame0
                               mapcount:
                               1 -> 2
 9                                        reclaim(P1, A, 4)
                                            try_to_unmap()
                                              try_to_unmap_o
                                                ne()
                                                P1 pte A:
                                                  frame0 ro
                                                  -> none
                                                P1 pte A:
                                                  none ->
                                                  slot0
                                                page_remove_
                                                  rmap()
                                                  frame0
                                                    mapcount
                                                    : 2 -> 1
                                              ... next vma
10                     mprotect(A, RW)
                         change_pte_rang
                           e()
                           P2 pte A:
                             frame0 ro
                             -> none
                           P2 pte A:
                             none ->
                             frame0 ro
11  mlock(A)
      ... waits for
        kswapd
12                                        resume()
13                                                            resume()
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
14                     store(A)
                         do_wp_page()
                           P2 pte A:
                             frame0 ro
                             -> frame0
                             rw
15  resume()
      do_swap_page()  <-- blamed
        P1 pte A:
          slot0 ->
          frame0 ro
        page_add_anon
          _rmap()
          frame0
            mapcount:
            1 -> 2

The shortest found; the search for a shorter one was cut off at 87211 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, RW, A, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest found; the search for a shorter one was cut off at 87211 states",
    verdicts={
        "linux_2_6_26": "step 15 loses P1's page A: do_swap_page",
        "a4b526b3ba63": "step 15 loses P1's page A: do_swap_page",
        "delay_rmap": "step 15 loses P1's page A: do_swap_page",
        "dirty_tracking_race": "step 15 loses P1's page A: do_swap_page",
        "easy": "step 15 loses P1's page A: do_swap_page",
        "easy_cow": "step 15 loses P1's page A: do_swap_page",
        "easy_mprotect": "step 15 loses P1's page A: do_swap_page",
        "easy_mprotect_fork": "step 15 loses P1's page A: do_swap_page",
        "fault_page_locked": "step 15 loses P1's page A: do_swap_page",
        "mmu_gather_flush": "step 15 loses P1's page A: do_swap_page",
        "mremap_anon_vma": "step 15 loses P1's page A: do_swap_page",
        "no_clear_uptodate": "step 15 loses P1's page A: do_swap_page",
        "page_zap_rmap": "step 15 loses P1's page A: do_swap_page",
        "swapin_race": "no loss",
        "swapoff_key": "step 15 loses P1's page A: do_swap_page",
        "swapoff_retry": "no loss",
        "wp_only": "step 15 loses P1's page A: do_swap_page",
        "zap_only": "step 15 loses P1's page A: do_swap_page",
    },
)


def steps(state: Replay) -> None:
    state.mprotect(page=A, process=P1, prot=R, stop=None)
    state.load(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.mlock(page=A, process=P2, stop="mlock_fixup: VM_LOCKED set")
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="try_to_unmap: next vma")
    state.mprotect(page=A, process=P2, prot=RW, stop=None)
    state.mlock(page=A, process=P1, stop=None)
    state.resume(stop=None, task=kswapd)
    state.resume(stop=None, task=swapoff)
    state.store(page=A, process=P2, stop=None)
    state.resume(stop=None, task=P1)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
