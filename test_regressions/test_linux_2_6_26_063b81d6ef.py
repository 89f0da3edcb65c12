"""After step 8 P1 would read 1 at page A, where 2 was stored.

store(A) of P1 is preempted at do_swap_page: page lock and resume() of P1 is preempted at do_page_fault: return.
"""

from mm_sim.names import P1, P2, A, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapin_race",),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=1, also=("threads",)),
    proof="shortest, proven over 5013 states: 2 processes, 1 page each, 3 frames, 1 slots; threads; madvise_dontneed, pageout_done, reclaim, resume, store; order 4; reclaimer kswapd; up to 7 steps; at most 2 preemptions",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.store(page=A, process=P1, stop="do_swap_page: page lock")
    state.pageout_done(holder=P1, page=A)
    state.madvise_dontneed(page=A, process=P2)
    state.store(page=A, process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(stop="do_page_fault: return", task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
