"""After step 10 P1 would read 1 at page A, where 2 was stored.

No operation is preempted.
"""

from mm_sim.names import P1, P2, A, R, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("zap_only", "easy", "easy_cow", "page_zap_rmap"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="shortest, proven over 4793 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork, reclaim, pageout_done, mprotect, mlock, munmap, resume; reclaimer kswapd; order 4; prot R; up to 9 steps; no preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.pageout_done(holder=P1, page=A)
    state.store(page=A, process=P1)
    state.mprotect(page=A, process=P1, prot=R)
    state.fork(child=P2, process=P1)
    state.mlock(page=A, process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.munmap(page=A, process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
