"""After step 6 ext2 has 1 on disk at page A, where 2 was said to be written.

munmap(A) of P2 is preempted at page_remove_rmap: last mapping gone.
"""

from mm_sim.names import P1, P2, A, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("mmu_gather_flush", "linux_2_6_26"),
    cures=("delay_rmap",),
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 1020 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; fsync, pageout_done, resume, store, writeback, munmap; reclaimer kswapd; order 4; up to 5 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.munmap(page=A, process=P2, stop="page_remove_rmap: last mapping gone")
    state.writeback(file=ext2, flusher=pdflush)
    state.store(page=A, process=P1)
    state.pageout_done(holder=ext2, page=A)
    state.fsync(file=ext2, process=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
