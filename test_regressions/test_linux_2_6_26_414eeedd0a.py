"""linux_2_6_26 loses P2's page A on s390.

P2 must read 1 at page A and would read 2. 1 was stored in step 4, store(B) by
P1, begun in step 1. 2 was stored in step 14, store(A) by P1. In step 15,
mlock(A) by P2, begun in step 11, do_swap_page() (kernel/memory.py:439) mapped
frame0 for P2, which has 2, in place of slot0, which has 1.

    CPU0: P1           CPU1: P2           CPU2: kswapd        CPU3: swapoff       I/O
 1  store(B)
      do_page_fault()
        do_anonymous_
          page()
          frame0
            content:
            garbage
            -> 0
          frame0: key
            C set
          set_new_pag
            e_uptodat
            e()
            frame0:
              key C
              cleared
          page_add_ne
            w_anon_rm
            ap()
            frame0
              mapcoun
              t: 0 ->
              1
          P1 pte B:
            none ->
            frame0 rw
        ... return
 2                                        reclaim(P1, B, 0)
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
                                              ...
                                                try_to_unmap
 3                                                            swapoff()
                                                                ... waits for
                                                                  kswapd
 4  resume()
 5  mremap(B, A)
      zap_pte_range()
        ... ptl
 6                                        resume()
                                            shrink_page_list
                                              ()
                                              try_to_unmap_o
                                                ne()
                                                P1 pte B:
                                                  frame0 rw
                                                  -> none
                                                P1 pte B:
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
 7                                                            resume()
                                                                ... waits for P1
 8  resume()
      zap_pte_range()
      move_ptes()
        P1 pte B:
          slot0 ->
          none
        P1 pte A:
          none ->
          slot0
 9  fork(P2)
      copy_one_pte()
        P2 pte A:
          none ->
          slot0
10                                                            resume()
                                                                unuse_pte()
                                                                  P1 pte A:
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
11                     mlock(A)
                         ... waits for
                           swapoff
12                                                                                pageout_done(P1,
                                                                                    A)
                                                                                    end_swap_bio_wri
                                                                                      te()
                                                                                      frame0:
                                                                                        PG_writeback
                                                                                        cleared
                                                                                      slot0 content:
                                                                                        garbage -> 1
13                                                            resume()
                                                                delete_from_swap
                                                                  _cache()
                                                                  frame0:
                                                                    PG_swapcache
                                                                    cleared
                                                                ... waits for
                                                                  spin
14  store(A)
      do_wp_page()
        P1 pte A:
          frame0 ro
          -> frame0
          rw
15                     resume()
                         do_swap_page()  <-- blamed
                           P2 pte A:
                             slot0 ->
                             frame0 rw
                           page_add_anon
                             _rmap()
                             frame0
                               mapcount:
                               1 -> 2

The shortest found; the search for a shorter one was cut off at 100190 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 100190 states",
    verdicts={
        "linux_2_6_26": "step 15 loses P2's page A: do_swap_page",
        "a4b526b3ba63": "no loss; step 6, resume, cannot happen here",
        "delay_rmap": "step 15 loses P2's page A: do_swap_page",
        "dirty_tracking_race": "step 15 loses P2's page A: do_swap_page",
        "easy": "step 15 loses P2's page A: do_swap_page",
        "easy_cow": "step 15 loses P2's page A: do_swap_page",
        "easy_mprotect": "step 15 loses P2's page A: do_swap_page",
        "easy_mprotect_fork": "step 15 loses P2's page A: do_swap_page",
        "fault_page_locked": "step 15 loses P2's page A: do_swap_page",
        "mmu_gather_flush": "step 15 loses P2's page A: do_swap_page",
        "mremap_anon_vma": "step 15 loses P2's page A: do_swap_page",
        "no_clear_uptodate": "no loss; step 6, resume, cannot happen here",
        "page_zap_rmap": "step 15 loses P2's page A: do_swap_page",
        "swapin_race": "no loss",
        "swapoff_key": "step 15 loses P2's page A: do_swap_page",
        "swapoff_retry": "no loss; step 12, pageout_done, cannot happen here",
        "wp_only": "step 15 loses P2's page A: do_swap_page",
        "zap_only": "step 15 loses P2's page A: do_swap_page",
    },
)


def steps(state: Replay) -> None:
    state.store(page=B, process=P1, stop="do_page_fault: return")
    state.reclaim(holder=P1, order=0, page=B, reclaimer=kswapd, stop="shrink_page_list: try_to_unmap")
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)
    state.mremap(page=B, process=P1, stop="zap_pte_range: ptl", to=A)
    state.resume(stop=None, task=kswapd)
    state.resume(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)
    state.fork(child=P2, process=P1, stop=None)
    state.resume(stop=None, task=swapoff)
    state.mlock(page=A, process=P2, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.resume(stop=None, task=swapoff)
    state.store(page=A, process=P1, stop=None)
    state.resume(stop=None, task=P2)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
