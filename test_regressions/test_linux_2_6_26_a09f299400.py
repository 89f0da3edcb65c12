"""After step 6 P3 would read 0 at page B, where 1 was stored.

No operation is preempted.
"""

from mm_sim.names import P1, P2, P3, A, B
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("mremap_anon_vma",),
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=9, slots=6),
    proof="shortest found; the search for a shorter one was cut off at 11 states",
)


def steps(state: Replay) -> None:
    state.mlock(page=B, process=P1)
    state.fork(child=P2, process=P1)
    state.store(page=B, process=P2)
    state.mremap(page=B, process=P2, to=A)
    state.mremap(page=A, process=P2, to=B)
    state.fork(child=P3, process=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
