"""After step 17 P1 would read 1 at page A, where 2 was stored.

reclaim(P1, A, 0) of kswapd is preempted at page_check_address: ptl.
"""

from mm_sim.names import P1, P2, P3, A, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("easy_mprotect", "easy_mprotect_fork", "swapoff_key", "swapoff_retry"),
    arch="s390",
    scope=Scope(processes=3, pages=1, frames=4, slots=3),
    proof="shortest found; the search for a shorter one was cut off at 100177 states",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=0, page=A, reclaimer=kswapd)
    state.reclaim(holder=P1, order=0, page=A, reclaimer=kswapd)
    state.store(page=A, process=P1)
    state.pageout_done(holder=P1, page=A)
    state.mprotect(page=A, process=P1, prot=R)
    state.fork(child=P3, process=P1)
    state.mlock(page=A, process=P3)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.fork(child=P2, process=P1)
    state.reclaim(holder=P1, order=0, page=A, reclaimer=kswapd, stop="page_check_address: ptl")
    state.mlock(page=A, process=P2)
    state.resume(task=kswapd)
    state.swapoff(task=swapoff)
    state.resume(task=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
