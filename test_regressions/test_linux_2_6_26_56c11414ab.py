"""After step 15 P1 would read 1 at page A, where 0 was stored.

mlock(A) of P2 is preempted at mlock_fixup: VM_LOCKED set and reclaim(P1, A, 4) of kswapd is preempted at
try_to_unmap: next vma.
"""

from mm_sim.names import P1, P2, RW, A, R, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapin_race", "swapoff_retry"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest found; the search for a shorter one was cut off at 87211 states",
)


def steps(state: Replay) -> None:
    state.mprotect(page=A, process=P1, prot=R)
    state.load(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.fork(child=P2, process=P1)
    state.pageout_done(holder=P1, page=A)
    state.mlock(page=A, process=P2, stop="mlock_fixup: VM_LOCKED set")
    state.swapoff(task=swapoff)
    state.resume(task=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="try_to_unmap: next vma")
    state.mprotect(page=A, process=P2, prot=RW)
    state.mlock(page=A, process=P1)
    state.resume(task=kswapd)
    state.resume(task=swapoff)
    state.store(page=A, process=P2)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
