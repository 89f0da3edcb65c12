"""linux_2_6_26 loses P1's page C on s390.

P1 must read 2 at page C and would read 1. 2 was stored in step 3, store(C) by
P1. 1 was stored in step 1, store(C) by P1. In step 16, swapoff() by swapoff,
begun in step 13, part_page_and_slot() (kernel/swapfile.py:167) removed frame0
while the change bit of its storage key recorded that it was modified; slot0 has
1.

    CPU0: P1  CPU1: P2        CPU2: P3          CPU3: kswapd      CPU4: swapoff     I/O
 1  store(C)
 2                                              reclaim(P1, C,
                                                  4)
 3  store(C)
 4  fork(P2)
 5            mprotect(C, R)
 6            mremap(C, B)
 7                                                                                  pageout_done(P1,
                                                                                      C)
 8            mlock(B)
 9            fork(P3)
10            mremap(B, A)
11                                              reclaim(P2, A,
                                                  4)
12                            mlock(B)
                                handle_pte_fau
                                  lt()
                                  ... pte read
13                                                                swapoff()
                                                                    unuse_pte()
                                                                      P1 pte C:
                                                                        slot0 ->
                                                                        frame0 ro
                                                                      page_add_ano
                                                                        n_rmap()
                                                                        frame0
                                                                          mapcount
                                                                          : 1 -> 2
                                                                    ... waits for
                                                                      P3
14                            resume()
                                handle_pte_fau
                                  lt()
                                  do_swap_page
                                    ()
                                    P3 pte B:
                                      slot0 ->
                                      frame0
                                      ro
                                    page_add_a
                                      non_rmap
                                      ()
                                      frame0 m
                                        apcoun
                                        t: 2
                                        -> 3
15                                              reclaim(P2, A,
                                                  4)
                                                  try_to_unmap_o
                                                    ne()
                                                    P1 pte C:
                                                      frame0 ro
                                                      -> none
                                                    P1 pte C:
                                                      none ->
                                                      slot0
                                                    page_remove_
                                                      rmap()
                                                      frame0
                                                        mapcount
                                                        : 3 -> 2
16                                                                resume()
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

The shortest found; the search for a shorter one was cut off at 51225 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, P3, A, B, C, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=4, slots=2),
    proof="shortest found; the search for a shorter one was cut off at 51225 states",
    verdicts={
        "linux_2_6_26": "step 16 loses P1's page C: part_page_and_slot",
        "a4b526b3ba63": "step 16 loses P1's page C: part_page_and_slot",
        "delay_rmap": "step 16 loses P1's page C: part_page_and_slot",
        "dirty_tracking_race": "step 16 loses P1's page C: part_page_and_slot",
        "easy": "step 16 loses P1's page C: part_page_and_slot",
        "easy_cow": "step 16 loses P1's page C: part_page_and_slot",
        "easy_mprotect": "step 16 loses P1's page C: part_page_and_slot",
        "easy_mprotect_fork": "no loss",
        "fault_page_locked": "step 16 loses P1's page C: part_page_and_slot",
        "mmu_gather_flush": "step 16 loses P1's page C: part_page_and_slot",
        "mremap_anon_vma": "step 16 loses P1's page C: part_page_and_slot",
        "no_clear_uptodate": "step 16 loses P1's page C: part_page_and_slot",
        "page_zap_rmap": "step 16 loses P1's page C: part_page_and_slot",
        "swapin_race": "step 16 loses P1's page C: part_page_and_slot",
        "swapoff_key": "no loss",
        "swapoff_retry": "no loss",
        "wp_only": "step 16 loses P1's page C: part_page_and_slot",
        "zap_only": "step 16 loses P1's page C: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.store(page=C, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=C, reclaimer=kswapd, stop=None)
    state.store(page=C, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.mprotect(page=C, process=P2, prot=R, stop=None)
    state.mremap(page=C, process=P2, stop=None, to=B)
    state.pageout_done(holder=P1, page=C)
    state.mlock(page=B, process=P2, stop=None)
    state.fork(child=P3, process=P2, stop=None)
    state.mremap(page=B, process=P2, stop=None, to=A)
    state.reclaim(holder=P2, order=4, page=A, reclaimer=kswapd, stop=None)
    state.mlock(page=B, process=P3, stop="handle_pte_fault: pte read")
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=P3)
    state.reclaim(holder=P2, order=4, page=A, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
