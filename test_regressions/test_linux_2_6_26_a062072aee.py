"""After step 6 P2 would read 0 at page C, where 1 was stored.

No operation is preempted.
"""

from mm_sim.names import P1, P2, A, B, C
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("mremap_anon_vma",),
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=9, slots=6),
    proof="shortest, proven over 2829 states: 3 processes, 3 pages each, 9 frames, 6 slots; store, fork, mmap, mremap, resume; up to 5 steps; no preemption",
)


def steps(state: Replay) -> None:
    state.store(page=C, process=P1)
    state.mremap(page=C, process=P1, to=A)
    state.mremap(page=B, process=P1, to=C)
    state.mmap(page=B, process=P1)
    state.mremap(page=A, process=P1, to=C)
    state.fork(child=P2, process=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
