"""After step 4 ext2 has 0 on disk at page A, where 1 was said to be written.

store(A) of P1 is preempted at set_page_dirty: PG_dirty set.
"""

from mm_sim.names import P1, P2, A, ext2
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("delay_rmap", "dirty_tracking_race", "fault_page_locked", "mmu_gather_flush"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,)),
    proof="shortest, proven over 274 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; fork, fsync, msync, pageout_done, resume, store, writeback; order 4; reclaimer kswapd; up to 3 steps; up to 1 of them stopped on the way",
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1)
    state.store(page=A, process=P1, stop="set_page_dirty: PG_dirty set")
    state.store(page=A, process=P2)
    state.msync(page=A, process=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
