"""After step 15 P2 would read 2 at page A, where 1 was stored.

store(B) of P1 is preempted at do_page_fault: return, reclaim(P1, B, 0) of kswapd is preempted at shrink_page_list:
try_to_unmap, and mremap(B, A) of P1 is preempted at zap_pte_range: ptl.
"""

from mm_sim.names import P1, P2, A, B, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("a4b526b3ba63", "no_clear_uptodate", "swapin_race", "swapoff_retry"),
    arch="s390",
    scope=Scope(processes=2, pages=2, frames=6, slots=4),
    proof="shortest found; the search for a shorter one was cut off at 100190 states",
)


def steps(state: Replay) -> None:
    state.store(page=B, process=P1, stop="do_page_fault: return")
    state.reclaim(holder=P1, order=0, page=B, reclaimer=kswapd, stop="shrink_page_list: try_to_unmap")
    state.swapoff(task=swapoff)
    state.resume(task=P1)
    state.mremap(page=B, process=P1, stop="zap_pte_range: ptl", to=A)
    state.resume(task=kswapd)
    state.resume(task=swapoff)
    state.resume(task=P1)
    state.fork(child=P2, process=P1)
    state.resume(task=swapoff)
    state.mlock(page=A, process=P2)
    state.pageout_done(holder=P1, page=A)
    state.resume(task=swapoff)
    state.store(page=A, process=P1)
    state.resume(task=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
