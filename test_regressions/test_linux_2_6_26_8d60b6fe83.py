"""After step 6 ext2 has 1 on disk at page A, where 2 was said to be written.

store(A) of P1 is preempted at do_wp_page: shared pte writable.
"""

from mm_sim.names import P1, P2, A, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("delay_rmap", "dirty_tracking_race", "fault_page_locked", "mmu_gather_flush"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 881 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; store, reclaim, pageout_done, writeback, msync, resume; reclaimer kswapd; order 0; up to 5 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.writeback(file=ext2, flusher=pdflush)
    state.store(page=A, process=P1, stop="do_wp_page: shared pte writable")
    state.store(page=A, process=P2)
    state.pageout_done(holder=P1, page=A)
    state.msync(page=A, process=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
