"""After step 14 P1 would read -1 at page A, where 0 was stored.

reclaim(P1, B, 4) of kswapd is preempted at page_check_address: ptl.
"""

from mm_sim.names import P1, P2, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapoff_retry",),
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 100020 states",
)


def steps(state: Replay) -> None:
    state.load(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.load(page=B, process=P1)
    state.pageout_failed(holder=P1, page=A)
    state.reclaim(holder=P1, order=4, page=B, reclaimer=kswapd, stop="page_check_address: ptl")
    state.fork(child=P2, process=P1)
    state.swapoff(task=swapoff)
    state.resume(task=kswapd)
    state.resume(task=P1)
    state.exit(process=P1)
    state.fork(child=P1, process=P2)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
