"""After step 14 P1 would read 3 at page A, where 2 was stored.

mprotect(B, R) of P2 is preempted at change_pte_range: pte cleared and resume() of swapoff is preempted at
unuse_pte: ptl.
"""

from mm_sim.names import P1, P2, A, B, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapin_race", "swapoff_retry"),
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 100440 states",
)


def steps(state: Replay) -> None:
    state.store(page=B, process=P1)
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.fork(child=P2, process=P1)
    state.pageout_done(holder=P1, page=A)
    state.mprotect(page=B, process=P2, prot=R, stop="change_pte_range: pte cleared")
    state.swapoff(task=swapoff)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(task=P2)
    state.resume(stop="unuse_pte: ptl", task=swapoff)
    state.mlock(page=A, process=P1)
    state.resume(task=swapoff)
    state.store(page=A, process=P2)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
