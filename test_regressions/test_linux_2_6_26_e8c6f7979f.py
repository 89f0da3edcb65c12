"""linux_2_6_26 loses P1's page A on s390.

P1 must read 0 at page A and would read garbage. In step 14, swapoff() by
swapoff, begun in step 7, part_page_and_slot() (kernel/swapfile.py:167) removed
frame0 while PG_dirty recorded that it was modified; slot0 has garbage.

    CPU0: P1           CPU1: P2           CPU2: kswapd        CPU3: swapoff       I/O
 1  load(A)
 2                                        reclaim(P1, A, 4)
 3  load(B)
 4                                                                                pageout_failed(P1,
                                                                                    A)
 5                                        reclaim(P1, B, 4)
                                            page_check_addre
                                              ss()
                                              ... ptl
 6  fork(P2)
      ... waits for
        kswapd
 7                                                            swapoff()
                                                                ... waits for P1
 8                                        resume()
                                            page_check_addre
                                              ss()
 9  resume()
      copy_one_pte()
        P2 pte A:
          none ->
          slot0
10  exit()
11                     fork(P1)
                         copy_one_pte()
                           P1#2 pte A:
                             none ->
                             slot0
12                                                            resume()
                                                                unuse_pte()
                                                                  P1 pte A:
                                                                    slot0 ->
                                                                    frame0 ro
                                                                  page_add_anon_
                                                                    rmap()
                                                                    frame0
                                                                      mapcount:
                                                                      0 -> 1
                                                                zap_pte_range()
                                                                  P1 pte A:
                                                                    frame0 ro ->
                                                                    none
                                                                  page_remove_rm
                                                                    ap()
                                                                    frame0
                                                                      mapcount:
                                                                      1 -> 0
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
13                                                                                pageout_failed(P1,
                                                                                    A)
                                                                                    end_swap_bio_wri
                                                                                      te()
                                                                                      frame0:
                                                                                        PG_writeback
                                                                                        cleared
14                                                            resume()
                                                                delete_from_swap
                                                                  _cache()  <-- blamed
                                                                  frame0:
                                                                    PG_swapcache
                                                                    cleared
                                                                ... waits for
                                                                  spin

The shortest found; the search for a shorter one was cut off at 100020 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 100020 states",
    verdicts={
        "linux_2_6_26": "step 14 loses P1's page A: part_page_and_slot",
        "a4b526b3ba63": "step 14 loses P1's page A: part_page_and_slot",
        "delay_rmap": "step 14 loses P1's page A: part_page_and_slot",
        "dirty_tracking_race": "step 14 loses P1's page A: part_page_and_slot",
        "easy": "step 14 loses P1's page A: part_page_and_slot",
        "easy_cow": "step 14 loses P1's page A: part_page_and_slot",
        "easy_mprotect": "step 14 loses P1's page A: part_page_and_slot",
        "easy_mprotect_fork": "step 14 loses P1's page A: part_page_and_slot",
        "fault_page_locked": "step 14 loses P1's page A: part_page_and_slot",
        "mmu_gather_flush": "step 14 loses P1's page A: part_page_and_slot",
        "mremap_anon_vma": "step 14 loses P1's page A: part_page_and_slot",
        "no_clear_uptodate": "step 14 loses P1's page A: part_page_and_slot",
        "page_zap_rmap": "step 14 loses P1's page A: part_page_and_slot",
        "swapin_race": "step 14 loses P1's page A: part_page_and_slot",
        "swapoff_key": "step 14 loses P1's page A: part_page_and_slot",
        "swapoff_retry": "no loss; step 13, pageout_failed, cannot happen here",
        "wp_only": "step 14 loses P1's page A: part_page_and_slot",
        "zap_only": "step 14 loses P1's page A: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.load(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.load(page=B, process=P1, stop=None)
    state.pageout_failed(holder=P1, page=A)
    state.reclaim(holder=P1, order=4, page=B, reclaimer=kswapd, stop="page_check_address: ptl")
    state.fork(child=P2, process=P1, stop=None)
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=kswapd)
    state.resume(stop=None, task=P1)
    state.exit(process=P1, stop=None)
    state.fork(child=P1, process=P2, stop=None)
    state.resume(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
