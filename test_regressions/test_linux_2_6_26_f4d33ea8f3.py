"""After step 8 ext2 has 1 on disk at page A, where 2 was said to be written.

mprotect(A, R) of P1 is preempted at change_pte_range: pte cleared.
"""

from mm_sim.names import P1, RW, A, R, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("delay_rmap", "dirty_tracking_race", "mmu_gather_flush"),
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,)),
    proof="shortest, proven over 835 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; fsync, pageout_done, resume, store, writeback, mprotect, reclaim; reclaimer kswapd; order 4; up to 7 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.mprotect(page=A, process=P1, prot=R, stop="change_pte_range: pte cleared")
    state.writeback(file=ext2, flusher=pdflush)
    state.resume(task=P1)
    state.mprotect(page=A, process=P1, prot=RW)
    state.store(page=A, process=P1)
    state.pageout_done(holder=P1, page=A)
    state.fsync(file=ext2, process=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
