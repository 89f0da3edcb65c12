"""After step 10 P2 would read -1 at page A, where 0 was stored.

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
    proof="shortest, proven over 8799 states: 2 processes, 1 page each, 3 frames, 2 slots; load, fork, reclaim, pageout_failed, mprotect, swapoff, resume; reclaimer kswapd; order 4; prot R; up to 9 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.load(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.pageout_failed(holder=P1, page=A)
    state.mprotect(page=A, process=P1, prot=R, stop="change_pte_range: ptl")
    state.swapoff(task=swapoff)
    state.resume(task=P1)
    state.fork(child=P2, process=P1)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P1, page=A)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
