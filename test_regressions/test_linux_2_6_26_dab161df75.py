"""After step 7 a store to page A of P1 reached a page that had 0, where 1 was stored.

read_direct(A) of P1 is preempted at dio_bio_submit: page pinned and reclaim(P1, A, 4) of kswapd is preempted at
page_check_address: ptl.
"""

from mm_sim.names import P1, P2, A, kswapd, swapoff
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("wp_lock_page",),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=2, slots=1, also=("threads", "pins")),
    proof="shortest, proven over 5961 states: 2 processes, 1 page each, 2 frames, 1 slots; threads, pins; load, read_direct, reclaim, resume, store; kind PRIVATE; order 4; reclaimer kswapd; up to 6 steps; at most 2 preemptions",
)


def steps(state: Replay) -> None:
    state.read_direct(page=A, process=P1, stop="dio_bio_submit: page pinned")
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.swapoff(task=swapoff)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="page_check_address: ptl")
    state.store(page=A, process=P2)
    state.resume(task=kswapd)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
