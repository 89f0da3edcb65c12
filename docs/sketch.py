"""The sketch in Nick Piggin's mail of 3 June 2008, step by step: for `mm-sim explain docs/sketch.py`."""

from mm_sim.names import P1, P2, A, R, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="page_zap_rmap",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    proof="a run from a mail, not one that was searched for",
    verdicts={},
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.mprotect(page=A, process=P2, prot=R, stop=None)
    state.mlock(page=A, process=P2, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.exit(process=P2, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.load(page=A, process=P1, stop=None)
