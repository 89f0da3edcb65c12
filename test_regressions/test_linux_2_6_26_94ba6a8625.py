"""After step 13 P2 would read -1 at page A, where 1 was stored.

No operation is preempted.
"""

from mm_sim.names import P1, P2, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapoff_retry",),
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 50289 states",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.swapoff(task=swapoff)
    state.mlock(page=A, process=P1)
    state.pageout_failed(holder=P1, page=A)
    state.resume(task=swapoff)
    state.resume(task=P1)
    state.fork(child=P2, process=P1)
    state.mremap(page=A, process=P1, to=B)
    state.reclaim(holder=P1, order=4, page=B, reclaimer=kswapd)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P1, page=B)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
