"""linux_2_6_26 loses P2's page A on s390.

P2 must read 1 at page A and would read 2. 1 was stored in step 1, store(A) by
P1. 2 was stored in step 13, store(A) by P1, begun in step 4. In step 13,
store(A) by P1, begun in step 4, do_swap_page() (kernel/memory.py:439) made P1's
pte of page A writable while P2 had the same frame0. In step 13, store(A) by P1,
begun in step 4, went by P1's pte of page A to frame0, where P2 must find 1.

    CPU0: P1           CPU1: P2           CPU2: kswapd        CPU3: swapoff       I/O
 1  store(A)
 2                                        reclaim(P1, A, 4)
                                            shrink_page_list
                                              ()
                                              add_to_swap()
                                                add_to_swap_
                                                  cache()
                                                  frame0: PG
                                                    _swapcac
                                                    he set
                                                frame0:
                                                  PG_dirty
                                                  set
                                              try_to_unmap_o
                                                ne()
                                                P1 pte A:
                                                  frame0 rw
                                                  -> none
                                                P1 pte A:
                                                  none ->
                                                  slot0
                                                page_remove_
                                                  rmap()
                                                  frame0
                                                    mapcount
                                                    : 1 -> 0
                                                  frame0:
                                                    key C
                                                    cleared
                                              ... pageout
 3  fork(P2)
      copy_one_pte()
        P2 pte A:
          none ->
          slot0
 4  store(A)
      ... waits for
        kswapd
 5                                        resume()
                                            shrink_page_list
                                              ()
 6                     mprotect(A, R)
                         change_pte_rang
                           e()
                           ... ptl
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
                         sys_mprotect()
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
10                                                            resume()
                                                                unuse_pte()
                                                                  P2 pte A:
                                                                    slot0 ->
                                                                    frame0 ro
                                                                  page_add_anon_
                                                                    rmap()
                                                                    frame0
                                                                      mapcount:
                                                                      0 -> 1
                                                                set_page_writeba
                                                                  ck()
                                                                  frame0:
                                                                    PG_writeback
                                                                    set
                                                                ... waits for
                                                                  frame0
11                                                                                pageout_done(P1,
                                                                                    A)
                                                                                    end_swap_bio_wri
                                                                                      te()
                                                                                      frame0:
                                                                                        PG_writeback
                                                                                        cleared
                                                                                      slot0 content:
                                                                                        garbage -> 1
12                                                            resume()
                                                                delete_from_swap
                                                                  _cache()
                                                                  frame0:
                                                                    PG_swapcache
                                                                    cleared
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

The shortest found; the search for a shorter one was cut off at 79138 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest found; the search for a shorter one was cut off at 79138 states",
    verdicts={
        "linux_2_6_26": "step 13 loses P2's page A: do_swap_page",
        "a4b526b3ba63": "step 13 loses P2's page A: do_swap_page",
        "delay_rmap": "step 13 loses P2's page A: do_swap_page",
        "dirty_tracking_race": "step 13 loses P2's page A: do_swap_page",
        "easy": "step 13 loses P2's page A: do_swap_page",
        "easy_cow": "step 13 loses P2's page A: do_swap_page",
        "easy_mprotect": "step 13 loses P2's page A: do_swap_page",
        "easy_mprotect_fork": "step 13 loses P2's page A: do_swap_page",
        "fault_page_locked": "step 13 loses P2's page A: do_swap_page",
        "mmu_gather_flush": "step 13 loses P2's page A: do_swap_page",
        "mremap_anon_vma": "step 13 loses P2's page A: do_swap_page",
        "no_clear_uptodate": "step 13 loses P2's page A: do_swap_page",
        "page_zap_rmap": "step 13 loses P2's page A: do_swap_page",
        "swapin_race": "no loss",
        "swapoff_key": "step 13 loses P2's page A: do_swap_page",
        "swapoff_retry": "no loss; step 11, pageout_done, cannot happen here",
        "wp_only": "step 13 loses P2's page A: do_swap_page",
        "zap_only": "step 13 loses P2's page A: do_swap_page",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="shrink_page_list: pageout")
    state.fork(child=P2, process=P1, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.resume(stop=None, task=kswapd)
    state.mprotect(page=A, process=P2, prot=R, stop="change_pte_range: ptl")
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=swapoff)
    state.pageout_done(holder=P1, page=A)
    state.resume(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
