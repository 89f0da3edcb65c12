"""After step 7 tmpfs would read 1 at page A, where 0 was stored.

read_direct(A) of P1 is preempted at page_remove_rmap: last mapping gone and resume() of P1 is preempted at
follow_page: ptl.
"""

from mm_sim.names import P1, P2, PRIVATE, A, tmpfs
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("linux_2_6_26",),
    cures=("foll_cow",),
    arch="x86",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(tmpfs,), also=("threads", "pins")),
    proof="shortest, proven over 5079 states: 2 processes, 1 page each, 3 frames, 0 slots; tmpfs; threads, pins; load, madvise_dontneed, mmap_file, munmap, read_direct, resume; kind PRIVATE; order 4; reclaimer kswapd; up to 6 steps; at most 2 preemptions",
)


def steps(state: Replay) -> None:
    state.munmap(page=A, process=P1)
    state.mmap_file(at=A, file=tmpfs, kind=PRIVATE, page=A, process=P1)
    state.load(page=A, process=P1)
    state.read_direct(page=A, process=P1, stop="page_remove_rmap: last mapping gone")
    state.resume(stop="follow_page: ptl", task=P1)
    state.madvise_dontneed(page=A, process=P2)
    state.resume(task=P1)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
