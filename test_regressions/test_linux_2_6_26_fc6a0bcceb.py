"""After step 3 ext2 has 0 on disk at page A, where 1 was said to be written.

store(A) of P1 is preempted at do_linear_fault: page unlocked.
"""

from mm_sim.names import P1, P2, A, ext2
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("delay_rmap", "dirty_tracking_race", "fault_page_locked", "mmu_gather_flush"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 179 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; fsync, pageout_done, resume, store, writeback, munmap; reclaimer kswapd; order 4; up to 2 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop="do_linear_fault: page unlocked")
    state.store(page=A, process=P2)
    state.fsync(file=ext2, process=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
