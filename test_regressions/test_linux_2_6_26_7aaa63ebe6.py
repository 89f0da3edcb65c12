"""After step 13 P3 would read 3 at page A, where 1 was stored.

fork(P3) of P2 is preempted at copy_pte_range: ptl.
"""

from mm_sim.names import P1, P2, P3, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapin_race", "swapoff_retry"),
    arch="s390",
    scope=Scope(processes=3, pages=1, frames=4, slots=3),
    proof="shortest found; the search for a shorter one was cut off at 100220 states",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.swapoff(task=swapoff)
    state.fork(child=P2, process=P1)
    state.fork(child=P3, process=P2, stop="copy_pte_range: ptl")
    state.pageout_done(holder=P1, page=A)
    state.store(page=A, process=P1)
    state.resume(task=swapoff)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(task=P2)
    state.store(page=A, process=P2)
    state.resume(task=swapoff)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
