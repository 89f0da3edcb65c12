"""After step 4 P1 would read 2 at page A, where 1 was stored.

store(A) of P1 is preempted at do_wp_page: old page not counted any more.
"""

from mm_sim.names import P1, P2, A
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("cow_rmap_first",),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=2, slots=0),
    proof="shortest, proven over 89 states: 2 processes, 1 page each, 2 frames, 0 slots; fork, load, resume, store; kind PRIVATE; order 4; reclaimer kswapd; up to 3 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.fork(child=P2, process=P1)
    state.store(page=A, process=P1, stop="do_wp_page: old page not counted any more")
    state.store(page=A, process=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
