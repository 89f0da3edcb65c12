"""cow_rmap_first loses P2's page A on x86.

P2 must read 1 at page A and would read 2. 1 was stored in step 1, store(A) by
P1. Nothing had to remember it: no older copy was on the way to be read. In step
4, store(A) by P1, do_page_fault() (kernel/fault.py:39) left P2 without it.

   CPU0: P1                                                    CPU1: P2
1  store(A)
2  fork(P2)
3                                                              mlock(A)
                                                                 do_wp_page()
                                                                   page_remove_rmap()
                                                                     frame0 mapcount: 2 -> 1
                                                                   ... old page not counted any more
4  store(A)  <-- lost
     do_wp_page()
       P1 pte A: frame0 ro dirty young -> frame0 rw dirty
         young

The shortest, proven over 26 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork,
mlock, resume; up to 3 steps; up to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="cow_rmap_first",
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest, proven over 26 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork, mlock, resume; up to 3 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "no loss",
        "a4b526b3ba63": "no loss",
        "cow_rmap_first": "step 4 loses P2's page A: do_page_fault",
        "delay_rmap": "no loss",
        "dirty_tracking_race": "no loss",
        "easy": "no loss",
        "easy_cow": "no loss",
        "easy_mprotect": "no loss",
        "easy_mprotect_fork": "no loss",
        "fault_page_locked": "no loss",
        "foll_cow": "no loss",
        "invalidate_count": "no loss",
        "invalidate_unlocked": "no loss",
        "madv_free": "no loss",
        "madv_free_pinned": "no loss",
        "mmu_gather_flush": "no loss",
        "mremap_anon_vma": "no loss",
        "mremap_flush": "no loss",
        "mremap_force_flush": "no loss",
        "mremap_late_flush": "no loss",
        "no_clear_uptodate": "no loss",
        "page_zap_rmap": "no loss",
        "swapin_pin_slot": "no loss",
        "swapin_race": "no loss",
        "swapin_synchronous": "no loss",
        "swapoff_key": "no loss",
        "swapoff_retry": "no loss",
        "wp_lock_page": "no loss",
        "wp_only": "no loss",
        "write_fault_no_wait": "no loss",
        "zap_only": "no loss",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.mlock(page=A, process=P2, stop="do_wp_page: old page not counted any more")
    state.store(page=A, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
