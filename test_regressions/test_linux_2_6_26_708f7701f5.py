"""After step 8 a store to page A of P1 reached a page that had 1, where 2 was stored.

reclaim(P1, A, 4) of kswapd is preempted at page_remove_rmap: last mapping gone.
"""

from mm_sim.names import P1, P2, A, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("swapin_race",),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=1, also=("threads",)),
    proof="shortest, proven over 668 states: 2 processes, 1 page each, 3 frames, 1 slots; threads; madvise_dontneed, pageout_done, reclaim, resume, store; order 4; reclaimer kswapd; up to 7 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="page_remove_rmap: last mapping gone")
    state.store(page=A, process=P1)
    state.resume(task=kswapd)
    state.madvise_dontneed(page=A, process=P2)
    state.store(page=A, process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
