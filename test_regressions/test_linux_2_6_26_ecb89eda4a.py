"""After step 12 P3 would read -1 at page B, where 0 was stored.

mlock(A) of P2 is preempted at handle_pte_fault: pte read.
"""

from mm_sim.names import P1, P2, P3, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapoff_retry",),
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=9, slots=6),
    proof="shortest found; the search for a shorter one was cut off at 100437 states",
)


def steps(state: Replay) -> None:
    state.mlock(page=B, process=P1)
    state.mlock(page=A, process=P1)
    state.fork(child=P2, process=P1)
    state.mlock(page=A, process=P2, stop="handle_pte_fault: pte read")
    state.munlock(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=B, reclaimer=kswapd)
    state.swapoff(task=swapoff)
    state.resume(task=P2)
    state.fork(child=P3, process=P2)
    state.resume(task=swapoff)
    state.pageout_failed(holder=P1, page=B)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
