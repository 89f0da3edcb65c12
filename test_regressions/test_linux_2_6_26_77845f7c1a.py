"""linux_2_6_26 loses P2's page A on s390.

P2 must read 1 at page A and would read 0.
Destroyed by sys_fork() (kernel/fork.py:36): the last good copy went, or was never handed on.

P1
munmap(B)
store(A)
mremap(A, C)
mmap(B)
mremap(C, A)
fork(P2)   <-- lost

The shortest run found. Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, C
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=3, frames=3, slots=2),
    verdicts={
        "linux_2_6_26": "step 6 loses P2's page A: sys_fork",
        "a4b526b3ba63": "step 6 loses P2's page A: sys_fork",
        "easy": "step 6 loses P2's page A: sys_fork",
        "easy_cow": "step 6 loses P2's page A: sys_fork",
        "easy_mprotect": "step 6 loses P2's page A: sys_fork",
        "easy_mprotect_fork": "step 6 loses P2's page A: sys_fork",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "step 6 loses P2's page A: sys_fork",
        "page_zap_rmap": "step 6 loses P2's page A: sys_fork",
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
