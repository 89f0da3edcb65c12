"""After step 6 ext2 has 0 on disk at page A, where 1 was said to be written.

store(A) of P2 is preempted at set_page_dirty: PG_dirty set, fsync(ext2) of P1 is preempted at filemap_fdatawait:
waited, and writeback(ext2) of pdflush is preempted at write_cache_pages: PG_dirty cleared.
"""

from mm_sim.names import P1, P2, A, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("delay_rmap", "dirty_tracking_race", "fault_page_locked", "mmu_gather_flush"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 4978 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; store, pageout_failed, writeback, fsync, resume; up to 5 steps; at most 3 preemptions",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P2, stop="set_page_dirty: PG_dirty set")
    state.store(page=A, process=P1)
    state.fsync(file=ext2, process=P1, stop="filemap_fdatawait: waited")
    state.resume(task=P2)
    state.writeback(file=ext2, flusher=pdflush, stop="write_cache_pages: PG_dirty cleared")
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
