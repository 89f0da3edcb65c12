"""After step 8 P1 would read 1 at page A, where 2 was stored.

reclaim(P1, A, 4) of kswapd is preempted at try_to_unmap: next vma.
"""

from mm_sim.names import P1, P2, A, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("zap_only", "easy", "easy_cow", "easy_mprotect", "page_zap_rmap"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest, proven over 2102 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork, exit, reclaim, pageout_done, resume; reclaimer kswapd; order 4; up to 7 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.store(page=A, process=P1)
    state.fork(child=P2, process=P1)
    state.pageout_done(holder=P1, page=A)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="try_to_unmap: next vma")
    state.exit(process=P2)
    state.resume(task=kswapd)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
