"""After step 11 P2 would read -1 at page A, where 1 was stored.

mprotect(A, R) of P1 is preempted at change_pte_range: ptl.
"""

from mm_sim.names import P1, P2, A, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapoff_retry",),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest found; the search for a shorter one was cut off at 13411 states",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.fork(child=P2, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.pageout_failed(holder=P1, page=A)
    state.mprotect(page=A, process=P1, prot=R, stop="change_pte_range: ptl")
    state.swapoff(task=swapoff)
    state.reclaim(holder=P2, order=4, page=A, reclaimer=kswapd)
    state.resume(task=P1)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
