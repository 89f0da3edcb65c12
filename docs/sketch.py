"""The sketch in Nick Piggin's mail of 3 June 2008, step by step: for `mm-sim explain docs/sketch.py`."""

from mm_sim.names import P1, P2, A, R, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    loses=(),
    on="page_zap_rmap",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="a run from a mail, not one that was searched for",
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1)
    state.fork(child=P2, process=P1)
    state.mprotect(page=A, process=P2, prot=R)
    state.mlock(page=A, process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.exit(process=P2)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.pageout_done(holder=P1, page=A)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd)
    state.load(page=A, process=P1)
