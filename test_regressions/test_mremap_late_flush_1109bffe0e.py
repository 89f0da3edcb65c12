"""After step 6 ext2 has 1 on disk at page A, where 2 was said to be written.

mremap(A, B) of P2 is preempted at move_page_tables: TLBs not yet flushed.
"""

from mm_sim.names import P1, P2, A, B, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("mremap_late_flush",),
    arch="x86",
    scope=Scope(processes=2, pages=2, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest found; the search for a shorter one was cut off at 240 states",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.mremap(page=A, process=P2, stop="move_page_tables: TLBs not yet flushed", to=B)
    state.writeback(file=ext2, flusher=pdflush)
    state.store(page=A, process=P1)
    state.pageout_done(holder=P1, page=B)
    state.fsync(file=ext2, process=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
