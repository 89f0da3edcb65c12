"""After step 8 ext2 has 0 on disk at page A, where 2 was said to be written.

No operation is preempted.
"""

from mm_sim.names import P1, P2, A, direct, ext2
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("delay_rmap", "dirty_tracking_race", "fault_page_locked", "mmu_gather_flush", "write_fault_no_wait"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 78 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; store, reclaim, pageout_failed, msync, resume; reclaimer direct; order 4; up to 7 steps; no preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.msync(page=A, process=P1)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=direct)
    state.store(page=A, process=P2)
    state.pageout_failed(holder=P1, page=A)
    state.resume(task=P1)
    state.store(page=A, process=P1)
    state.msync(page=A, process=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
