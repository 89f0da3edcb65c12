"""After step 7 ext2 has 2 on disk at page A, where 3 was said to be written.

writeback(ext2) of pdflush is preempted at page_mkclean_file: next vma.
"""

from mm_sim.names import P1, A, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("write_fault_no_wait",),
    arch="s390",
    scope=Scope(processes=1, pages=1, frames=1, slots=0, files=(ext2,)),
    proof="shortest, proven over 175 states: 1 processes, 1 page each, 1 frames, 0 slots; ext2; fsync, pageout_done, resume, store, writeback; kind PRIVATE; order 4; reclaimer kswapd; up to 6 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.writeback(file=ext2, flusher=pdflush, stop="page_mkclean_file: next vma")
    state.store(page=A, process=P1)
    state.resume(task=pdflush)
    state.store(page=A, process=P1)
    state.pageout_done(holder=P1, page=A)
    state.msync(page=A, process=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
