"""After step 9 tmpfs would read 0 at page A, where 1 was stored.

No operation is preempted.
"""

from mm_sim.names import P1, P2, PRIVATE, A, kswapd, tmpfs
from mm_sim.system import Scope
from strategies.reproducer import Check, Replay, Reproducer

REPRODUCER = Reproducer(
    loses=("page_zap_rmap", "easy", "easy_mprotect", "easy_mprotect_fork", "wp_only"),
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=1, files=(tmpfs,)),
    proof="shortest, proven over 1504 states: 2 processes, 1 page each, 3 frames, 1 slots; tmpfs; exit, fork, pageout_done, reclaim, resume, store, load, mmap_file, munmap; reclaimer kswapd; order 4; kind PRIVATE; up to 8 steps; no preemption",
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1)
    state.load(page=A, process=P2)
    state.store(page=A, process=P2)
    state.munmap(page=A, process=P1)
    state.mmap_file(at=A, file=tmpfs, kind=PRIVATE, page=A, process=P1)
    state.load(page=A, process=P1)
    state.munmap(page=A, process=P2)
    state.store(page=A, process=P1)
    state.reclaim(holder=tmpfs, order=4, page=A, reclaimer=kswapd)


def test_stored_run(check: Check) -> None:
    check(REPRODUCER, steps)
