"""After step 6 P2 would read 0 at page A, where 1 was stored.

No operation is preempted.
"""

from mm_sim.names import P1, P2, A, B, C
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("mremap_anon_vma",),
    arch="s390",
    scope=Scope(processes=2, pages=3, frames=3, slots=2),
    proof="shortest run found",
)


def steps(state: Replay) -> None:
    state.munmap(page=B, process=P1)
    state.store(page=A, process=P1)
    state.mremap(page=A, process=P1, to=C)
    state.mmap(page=B, process=P1)
    state.mremap(page=C, process=P1, to=A)
    state.fork(child=P2, process=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
