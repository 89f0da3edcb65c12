"""After step 14 P2 would read -1 at page A, where 0 was stored.

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
    proof="shortest, proven over 2566 states: 2 processes, 1 page each, 3 frames, 2 slots; fork, exit, reclaim, pageout_failed, mprotect, mlock, swapoff, resume; reclaimer kswapd; order 4; prot R; up to 13 steps; no preemption",
)


def steps(state: Replay) -> None:
    state.mlock(page=A, process=P1)
    state.fork(child=P2, process=P1)
    state.exit(process=P1)
    state.fork(child=P1, process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.swapoff(task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.mlock(page=A, process=P1)
    state.resume(task=swapoff)
    state.resume(task=P1)
    state.reclaim(holder=P2, order=4, page=A, reclaimer=kswapd)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P2, page=A)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
