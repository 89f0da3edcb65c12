"""linux_2_6_26 loses P3's page B on s390.

P3 must read 1 at page B and would read 0. 1 was stored in step 3, store(B) by
P2. Nothing had to remember it: no older copy was on the way to be read. In step
6, fork(P3) by P2, sys_fork() (kernel/fork.py:50) left P3 without it.

   CPU0: P1  CPU1: P2
1  mlock(B)
2  fork(P2)
3            store(B)
4            mremap(B, A)
5            mremap(A, B)
6            fork(P3)  <-- lost

The shortest found; the search for a shorter one was cut off at 11 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, P3, A, B
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=9, slots=6),
    proof="shortest found; the search for a shorter one was cut off at 11 states",
    verdicts={
        "linux_2_6_26": "step 6 loses P3's page B: sys_fork",
        "a4b526b3ba63": "step 6 loses P3's page B: sys_fork",
        "delay_rmap": "step 6 loses P3's page B: sys_fork",
        "dirty_tracking_race": "step 6 loses P3's page B: sys_fork",
        "easy": "step 6 loses P3's page B: sys_fork",
        "easy_cow": "step 6 loses P3's page B: sys_fork",
        "easy_mprotect": "step 6 loses P3's page B: sys_fork",
        "easy_mprotect_fork": "step 6 loses P3's page B: sys_fork",
        "fault_page_locked": "step 6 loses P3's page B: sys_fork",
        "mmu_gather_flush": "step 6 loses P3's page B: sys_fork",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "step 6 loses P3's page B: sys_fork",
        "page_zap_rmap": "step 6 loses P3's page B: sys_fork",
        "swapin_race": "step 6 loses P3's page B: sys_fork",
        "swapoff_key": "step 6 loses P3's page B: sys_fork",
        "swapoff_retry": "step 6 loses P3's page B: sys_fork",
        "wp_only": "step 6 loses P3's page B: sys_fork",
        "zap_only": "step 6 loses P3's page B: sys_fork",
    },
)


def steps(state: Replay) -> None:
    state.mlock(page=B, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.store(page=B, process=P2, stop=None)
    state.mremap(page=B, process=P2, stop=None, to=A)
    state.mremap(page=A, process=P2, stop=None, to=B)
    state.fork(child=P3, process=P2, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
