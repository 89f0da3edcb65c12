"""After step 12 P1 would read -1 at page A, where 1 was stored.

No operation is preempted.
"""

from mm_sim.names import P1, P2, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapoff_retry",),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest, proven over 4636 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork, reclaim, pageout_failed, mlock, swapoff, resume; reclaimer kswapd; order 4; up to 11 steps; no preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.fork(child=P2, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.swapoff(task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.mlock(page=A, process=P2)
    state.resume(task=swapoff)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(task=P2)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
