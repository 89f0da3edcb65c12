"""After step 4 ext2 would read 0 at page A, where 1 was stored.

store(A) of P1 is preempted at do_no_page: page found.
"""

from mm_sim.names import P1, P2, A, ext2
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("invalidate_unlocked",),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=2, slots=0, files=(ext2,)),
    proof="shortest, proven over 56 states: 2 processes, 1 page each, 2 frames, 0 slots; ext2; drop_caches, fork, resume, store; kind PRIVATE; order 4; reclaimer kswapd; up to 3 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1)
    state.store(page=A, process=P1, stop="do_no_page: page found")
    state.drop_caches(file=ext2, process=P2)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
