"""linux_2_6_26 loses P1's page A on s390.

P1 must read 2 at page A and would read 1. 2 was stored in step 4, store(A) by
P1. 1 was stored in step 1, store(A) by P1. In step 17, swapoff() by swapoff,
begun in step 14, part_page_and_slot() (kernel/swapfile.py:167) removed frame0
while the change bit of its storage key recorded that it was modified; slot0 has
1.

    CPU0: P1        CPU1: P2          CPU2: P3  CPU3: kswapd      CPU4: swapoff     I/O
 1  store(A)
 2                                              reclaim(P1, A,
                                                  0)
 3                                              reclaim(P1, A,
                                                  0)
 4  store(A)
 5                                                                                  pageout_done(P1,
                                                                                      A)
 6  mprotect(A, R)
 7  fork(P3)
 8                                    mlock(A)
 9                                              reclaim(P1, A,
                                                  4)
10  fork(P2)
11                                              reclaim(P1, A,
                                                  0)
                                                  page_check_add
                                                    ress()
                                                    ... ptl
12                  mlock(A)
                      ... waits for
                        kswapd
13                                              resume()
                                                  page_check_add
                                                    ress()
14                                                                swapoff()
                                                                    unuse_pte()
                                                                      P1 pte A:
                                                                        slot0 ->
                                                                        frame0 ro
                                                                      page_add_ano
                                                                        n_rmap()
                                                                        frame0
                                                                          mapcount
                                                                          : 1 -> 2
                                                                    ... waits for
                                                                      P2
15                  resume()
                      do_swap_page()
                        P2 pte A:
                          slot0 ->
                          frame0 ro
                        page_add_ano
                          n_rmap()
                          frame0
                            mapcount
                            : 2 -> 3
16                                              reclaim(P1, A,
                                                  4)
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
                                                        : 3 -> 2
17                                                                resume()
                                                                    part_page_and_
                                                                      slot()
                                                                      delete_from_
                                                                        swap_cache
                                                                        ()  <-- blamed
                                                                        frame0: PG
                                                                          _swapcac
                                                                          he
                                                                          cleared
                                                                      frame0:
                                                                        PG_dirty
                                                                        set
                                                                    ... waits for
                                                                      spin

The shortest found; the search for a shorter one was cut off at 100177 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, P3, A, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=1, frames=4, slots=3),
    proof="shortest found; the search for a shorter one was cut off at 100177 states",
    verdicts={
        "linux_2_6_26": "step 17 loses P1's page A: part_page_and_slot",
        "a4b526b3ba63": "step 17 loses P1's page A: part_page_and_slot",
        "delay_rmap": "step 17 loses P1's page A: part_page_and_slot",
        "dirty_tracking_race": "step 17 loses P1's page A: part_page_and_slot",
        "easy": "step 17 loses P1's page A: part_page_and_slot",
        "easy_cow": "step 17 loses P1's page A: part_page_and_slot",
        "easy_mprotect": "no loss",
        "easy_mprotect_fork": "no loss",
        "fault_page_locked": "step 17 loses P1's page A: part_page_and_slot",
        "mmu_gather_flush": "step 17 loses P1's page A: part_page_and_slot",
        "mremap_anon_vma": "step 17 loses P1's page A: part_page_and_slot",
        "no_clear_uptodate": "step 17 loses P1's page A: part_page_and_slot",
        "page_zap_rmap": "step 17 loses P1's page A: part_page_and_slot",
        "swapin_race": "step 17 loses P1's page A: part_page_and_slot",
        "swapoff_key": "no loss",
        "swapoff_retry": "no loss",
        "wp_only": "step 17 loses P1's page A: part_page_and_slot",
        "zap_only": "step 17 loses P1's page A: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=0, page=A, reclaimer=kswapd, stop=None)
    state.reclaim(holder=P1, order=0, page=A, reclaimer=kswapd, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.mprotect(page=A, process=P1, prot=R, stop=None)
    state.fork(child=P3, process=P1, stop=None)
    state.mlock(page=A, process=P3, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.reclaim(holder=P1, order=0, page=A, reclaimer=kswapd, stop="page_check_address: ptl")
    state.mlock(page=A, process=P2, stop=None)
    state.resume(stop=None, task=kswapd)
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
