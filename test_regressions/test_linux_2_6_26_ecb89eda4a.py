"""linux_2_6_26 loses P3's page B on s390.

P3 must read 0 at page B and would read garbage. In step 12, swapoff() by
swapoff, begun in step 7, part_page_and_slot() (kernel/swapfile.py:167) removed
frame0 while PG_dirty recorded that it was modified; slot0 has garbage.

    CPU0: P1    CPU1: P2             CPU2: kswapd         CPU3: swapoff         I/O
 1  mlock(B)
 2  mlock(A)
 3  fork(P2)
 4              mlock(A)
                  handle_pte_fault(
                    )
                    ... pte read
 5  munlock(A)
 6                                   reclaim(P1, B, 4)
                                       add_to_swap_cache
                                         ()
                                         frame0:
                                           PG_swapcache
                                           set
                                       try_to_unmap_one(
                                         )
                                         P2 pte B:
                                           frame0 ro ->
                                           none
                                         P2 pte B: none
                                           -> slot0
                                         page_remove_rma
                                           p()
                                           frame0
                                             mapcount: 2
                                             -> 1
 7                                                        swapoff()
                                                            ... waits for P2
 8              resume()
                  handle_pte_fault(
                    )
 9              fork(P3)
                  copy_one_pte()
                    P3 pte B: none
                      -> slot0
10                                                        resume()
                                                            unuse_pte()
                                                              P2 pte B: slot0
                                                                -> frame0 ro
                                                              page_add_anon_rm
                                                                ap()
                                                                frame0
                                                                  mapcount: 1
                                                                  -> 2
                                                            set_page_writeback
                                                              ()
                                                              frame0:
                                                                PG_writeback
                                                                set
                                                            ... waits for
                                                              frame0
11                                                                              pageout_failed(P1,
                                                                                  B)
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
                                                            ... waits for spin

The shortest found; the search for a shorter one was cut off at 100437 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, P3, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=9, slots=6),
    proof="shortest found; the search for a shorter one was cut off at 100437 states",
    verdicts={
        "linux_2_6_26": "step 12 loses P3's page B: part_page_and_slot",
        "a4b526b3ba63": "step 12 loses P3's page B: part_page_and_slot",
        "delay_rmap": "step 12 loses P3's page B: part_page_and_slot",
        "dirty_tracking_race": "step 12 loses P3's page B: part_page_and_slot",
        "easy": "step 12 loses P3's page B: part_page_and_slot",
        "easy_cow": "step 12 loses P3's page B: part_page_and_slot",
        "easy_mprotect": "step 12 loses P3's page B: part_page_and_slot",
        "easy_mprotect_fork": "step 12 loses P3's page B: part_page_and_slot",
        "fault_page_locked": "step 12 loses P3's page B: part_page_and_slot",
        "mmu_gather_flush": "step 12 loses P3's page B: part_page_and_slot",
        "mremap_anon_vma": "step 12 loses P3's page B: part_page_and_slot",
        "no_clear_uptodate": "step 12 loses P3's page B: part_page_and_slot",
        "page_zap_rmap": "step 12 loses P3's page B: part_page_and_slot",
        "swapin_race": "step 12 loses P3's page B: part_page_and_slot",
        "swapoff_key": "step 12 loses P3's page B: part_page_and_slot",
        "swapoff_retry": "no loss; step 11, pageout_failed, cannot happen here",
        "wp_only": "step 12 loses P3's page B: part_page_and_slot",
        "zap_only": "step 12 loses P3's page B: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.mlock(page=B, process=P1, stop=None)
    state.mlock(page=A, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.mlock(page=A, process=P2, stop="handle_pte_fault: pte read")
    state.munlock(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=B, reclaimer=kswapd, stop=None)
    state.swapoff(stop=None, task=swapoff)
    state.resume(stop=None, task=P2)
    state.fork(child=P3, process=P2, stop=None)
    state.resume(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=B)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
