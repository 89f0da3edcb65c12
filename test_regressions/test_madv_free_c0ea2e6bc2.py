"""After step 5 P1 would read 0 at page A, where 2 was stored.

read_direct(A) of P1 is preempted at dio_bio_submit: page pinned.
"""

from mm_sim.names import P1, A, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("madv_free",),
    arch="x86",
    scope=Scope(processes=1, pages=1, frames=2, slots=1, also=("pins",)),
    proof="shortest, proven over 570 states: 1 processes, 1 page each, 2 frames, 1 slots; pins; load, madvise_free, pageout_done, read_direct, reclaim, resume, store; kind PRIVATE; order 4; reclaimer kswapd; up to 4 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.read_direct(page=A, process=P1)
    state.madvise_free(page=A, process=P1)
    state.read_direct(page=A, process=P1, stop="dio_bio_submit: page pinned")
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
