"""linux_2_6_26 loses P2's page A on s390.

P2 must read 1 at page A and would read garbage. 1 was stored in step 1,
store(A) by P1. In step 13, swapoff() by swapoff, begun in step 3,
part_page_and_slot() (kernel/swapfile.py:167) removed frame0 while PG_dirty
recorded that it was modified; slot0 has garbage.

    CPU0: P1                CPU1: kswapd            CPU2: swapoff            I/O
 1  store(A)
 2                          reclaim(P1, A, 4)
 3                                                  swapoff()
                                                      ... waits for frame0
 4  mlock(A)
      ... waits for
        swapoff
 5                                                                           pageout_failed(P1, A)
                                                                               end_swap_bio_write()
                                                                                 set_page_dirty()
                                                                                   frame0: PG_dirty
                                                                                     set
                                                                                 frame0:
                                                                                   PG_writeback
                                                                                   cleared
 6                                                  resume()
                                                      ... waits for P1
 7  resume()
      do_swap_page()
        P1 pte A: slot0 ->
          frame0 rw
        page_add_anon_rmap
          ()
          frame0 mapcount:
            0 -> 1
 8  fork(P2)
      copy_one_pte()
        P1 pte A: frame0
          rw -> frame0 ro
        page_dup_rmap()
          frame0 mapcount:
            1 -> 2
        P2 pte A: none ->
          frame0 ro
 9  mremap(A, B)
      move_ptes()
        P1 pte A: frame0
          ro -> none
        P1 pte B: none ->
          frame0 ro
10                          reclaim(P1, B, 4)
                              try_to_unmap_one()
                                P2 pte A: frame0
                                  ro -> none
                                P2 pte A: none ->
                                  slot0
                                page_remove_rmap()
                                  frame0 mapcount:
                                    2 -> 1
11                                                  resume()
                                                      set_page_writeback()
                                                        frame0:
                                                          PG_writeback set
                                                      ... waits for frame0
12                                                                           pageout_failed(P1, B)
                                                                               end_swap_bio_write()
                                                                                 frame0:
                                                                                   PG_writeback
                                                                                   cleared
13                                                  resume()
                                                      delete_from_swap_cach
                                                        e()  <-- blamed
                                                        frame0:
                                                          PG_swapcache
                                                          cleared
                                                      ... waits for spin

The shortest found; the search for a shorter one was cut off at 50289 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 50289 states",
    verdicts={
        "linux_2_6_26": "step 13 loses P2's page A: part_page_and_slot",
        "a4b526b3ba63": "step 13 loses P2's page A: part_page_and_slot",
        "delay_rmap": "step 13 loses P2's page A: part_page_and_slot",
        "dirty_tracking_race": "step 13 loses P2's page A: part_page_and_slot",
        "easy": "step 13 loses P2's page A: part_page_and_slot",
        "easy_cow": "step 13 loses P2's page A: part_page_and_slot",
        "easy_mprotect": "step 13 loses P2's page A: part_page_and_slot",
        "easy_mprotect_fork": "step 13 loses P2's page A: part_page_and_slot",
        "fault_page_locked": "step 13 loses P2's page A: part_page_and_slot",
        "mmu_gather_flush": "step 13 loses P2's page A: part_page_and_slot",
        "mremap_anon_vma": "step 13 loses P2's page A: part_page_and_slot",
        "no_clear_uptodate": "step 13 loses P2's page A: part_page_and_slot",
        "page_zap_rmap": "step 13 loses P2's page A: part_page_and_slot",
        "swapin_race": "step 13 loses P2's page A: part_page_and_slot",
        "swapoff_key": "step 13 loses P2's page A: part_page_and_slot",
        "swapoff_retry": "no loss; step 12, pageout_failed, cannot happen here",
        "wp_only": "step 13 loses P2's page A: part_page_and_slot",
        "zap_only": "step 13 loses P2's page A: part_page_and_slot",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.swapoff(stop=None, task=swapoff)
    state.mlock(page=A, process=P1, stop=None)
    state.pageout_failed(holder=P1, page=A)
    state.resume(stop=None, task=swapoff)
    state.resume(stop=None, task=P1)
    state.fork(child=P2, process=P1, stop=None)
    state.mremap(page=A, process=P1, stop=None, to=B)
    state.reclaim(holder=P1, order=4, page=B, reclaimer=kswapd, stop=None)
    state.resume(stop=None, task=swapoff)
    state.pageout_failed(holder=P1, page=B)
    state.resume(stop=None, task=swapoff)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
