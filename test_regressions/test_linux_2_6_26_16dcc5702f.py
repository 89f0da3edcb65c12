"""After step 14 P2 would read -1 at page A, where 2 was stored.

swapoff() of swapoff is preempted at try_to_unuse: page lock and reclaim(P1, A, 4) of kswapd is preempted at
page_remove_rmap: key cleared.
"""

from mm_sim.names import P1, P2, P3, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapoff_retry",),
    arch="s390",
    scope=Scope(processes=3, pages=1, frames=4, slots=3),
    proof="shortest found; the search for a shorter one was cut off at 100064 states",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.swapoff(stop="try_to_unuse: page lock", task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="page_remove_rmap: key cleared")
    state.fork(child=P3, process=P1)
    state.resume(task=kswapd)
    state.resume(task=swapoff)
    state.resume(task=P1)
    state.fork(child=P2, process=P1)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
