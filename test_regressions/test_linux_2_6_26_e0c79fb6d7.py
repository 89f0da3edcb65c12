"""After step 4 ext2 has 0 on disk at page A, where 1 was said to be written.

read_direct(A) of P1 is preempted at set_page_dirty: PG_dirty set.
"""

from mm_sim.names import P1, P2, A, ext2
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("delay_rmap", "dirty_tracking_race", "fault_page_locked", "mmu_gather_flush"),
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("pins", "migration")),
    proof="shortest, proven over 981 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; pins, migration; fsync, pageout_done, resume, store, writeback, fork, ptrace, read_direct, move_pages; reclaimer kswapd; order 4; up to 3 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1)
    state.read_direct(page=A, process=P1, stop="set_page_dirty: PG_dirty set")
    state.store(page=A, process=P2)
    state.fsync(file=ext2, process=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
