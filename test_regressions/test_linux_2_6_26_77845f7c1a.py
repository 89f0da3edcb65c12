"""linux_2_6_26 loses P2's page A on s390.

P2 must read 1 at page A and would read 0. 1 was stored in step 2, store(A) by
P1. Nothing had to remember it: no older copy was on the way to be read. In step
6, fork(P2) by P1, sys_fork() (kernel/fork.py:50) left P2 without it.

   CPU0: P1
1  munmap(B)
2  store(A)
3  mremap(A, C)
4  mmap(B)
5  mremap(C, A)
6  fork(P2)  <-- lost

The shortest run found.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, C
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=3, frames=3, slots=2),
    proof="shortest run found",
    verdicts={
        "linux_2_6_26": "step 6 loses P2's page A: sys_fork",
        "a4b526b3ba63": "step 6 loses P2's page A: sys_fork",
        "delay_rmap": "step 6 loses P2's page A: sys_fork",
        "dirty_tracking_race": "step 6 loses P2's page A: sys_fork",
        "easy": "step 6 loses P2's page A: sys_fork",
        "easy_cow": "step 6 loses P2's page A: sys_fork",
        "easy_mprotect": "step 6 loses P2's page A: sys_fork",
        "easy_mprotect_fork": "step 6 loses P2's page A: sys_fork",
        "fault_page_locked": "step 6 loses P2's page A: sys_fork",
        "mmu_gather_flush": "step 6 loses P2's page A: sys_fork",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "step 6 loses P2's page A: sys_fork",
        "page_zap_rmap": "step 6 loses P2's page A: sys_fork",
        "swapin_race": "step 6 loses P2's page A: sys_fork",
        "swapoff_key": "step 6 loses P2's page A: sys_fork",
        "swapoff_retry": "step 6 loses P2's page A: sys_fork",
        "wp_only": "step 6 loses P2's page A: sys_fork",
        "zap_only": "step 6 loses P2's page A: sys_fork",
    },
)


def steps(state: Replay) -> None:
    state.munmap(page=B, process=P1, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.mremap(page=A, process=P1, stop=None, to=C)
    state.mmap(page=B, process=P1, stop=None)
    state.mremap(page=C, process=P1, stop=None, to=A)
    state.fork(child=P2, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
