"""After step 9 ext2 has 0 on disk at page C, where 1 was said to be written.

fsync() may write two pages, twice what the page cache has when it begins. Another process writes pages A and B first,
which come before page C in the file.
"""

from mm_sim.names import P1, P2, A, B, C, ext2
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("fsync_integrity",),
    arch="s390",
    scope=Scope(processes=2, pages=3, frames=4, slots=0, files=(ext2,)),
    proof="shortest, proven over 31564 states: 2 processes, 3 pages each, 4 frames, 0 slots; ext2; fork, fsync, pageout_done, resume, write; holder ext2; up to 8 steps; at most 1 preemption",
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1)
    state.write(at=C, file=ext2, process=P1)
    state.fsync(file=ext2, process=P2, stop="write_cache_pages: nr_to_write set")
    state.write(at=A, file=ext2, process=P1)
    state.write(at=B, file=ext2, process=P1)
    state.resume(task=P2)
    state.pageout_done(holder=ext2, page=A)
    state.pageout_done(holder=ext2, page=B)
    state.resume(task=P2)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
