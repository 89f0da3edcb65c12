"""After step 8 P1 would read 0 at page A, where 1 was stored.

load(A) of P1 is preempted at do_swap_page: read past the swap cache.
"""

from mm_sim.names import P1, P2, A, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("swapin_synchronous",),
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=2, slots=1, also=("threads",)),
    proof="shortest, proven over 1145 states: 2 processes, 1 page each, 2 frames, 1 slots; threads; load, pageout_done, reclaim, resume, store; kind PRIVATE; order 4; reclaimer kswapd; up to 7 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.load(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.pageout_done(holder=P1, page=A)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.load(page=A, process=P1, stop="do_swap_page: read past the swap cache")
    state.store(page=A, process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
