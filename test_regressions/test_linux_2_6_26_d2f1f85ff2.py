"""After step 16 P1 would read 1 at page C, where 2 was stored.

mlock(B) of P3 is preempted at handle_pte_fault: pte read.
"""

from mm_sim.names import P1, P2, P3, A, B, C, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("easy_mprotect_fork", "swapoff_key", "swapoff_retry"),
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=4, slots=2),
    proof="shortest found; the search for a shorter one was cut off at 51225 states",
)


def steps(state: Replay) -> None:
    state.store(page=C, process=P1)
    state.reclaim(holder=P1, order=4, page=C, reclaimer=kswapd)
    state.store(page=C, process=P1)
    state.fork(child=P2, process=P1)
    state.mprotect(page=C, process=P2, prot=R)
    state.mremap(page=C, process=P2, to=B)
    state.pageout_done(holder=P1, page=C)
    state.mlock(page=B, process=P2)
    state.fork(child=P3, process=P2)
    state.mremap(page=B, process=P2, to=A)
    state.reclaim(holder=P2, order=4, page=A, reclaimer=kswapd)
    state.mlock(page=B, process=P3, stop="handle_pte_fault: pte read")
    state.swapoff(task=swapoff)
    state.resume(task=P3)
    state.reclaim(holder=P2, order=4, page=A, reclaimer=kswapd)
    state.resume(task=swapoff)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
