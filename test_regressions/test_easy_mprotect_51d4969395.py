"""easy_mprotect loses P1's page A on s390.

P1 must read 2 at page A and would read 1.
Forgotten by page_zap_rmap() (series/page_zap_rmap.py:18): no record was left that the page was
newer than its slot.
Destroyed by remove_mapping() (kernel/vmscan.py:56): the last good copy went, or was never handed
on.

P1                        P2                        kswapd                    I/O
store(A)
                                                    reclaim(P1, A, 4)
                                                                              pageout_done(P1, A)
store(A)
fork(P2)
                          mprotect(A, R)
                          mlock(A)
                                                    reclaim(P1, A, 4)
                          exit()
                                                    reclaim(P1, A, 4)   <-- lost

The shortest, proven over 5608 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork,
exit, reclaim, pageout_done, mprotect, mlock, resume; reclaimer kswapd; order 4; prot R; up to 9
steps; up to 0 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, R, kswapd
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="easy_mprotect",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=2),
    verdicts={
        "linux_2_6_26": "no loss",
        "a4b526b3ba63": "no loss",
        "easy": "step 10 loses P1's page A: page_zap_rmap",
        "easy_cow": "step 10 loses P1's page A: page_zap_rmap",
        "easy_mprotect": "step 10 loses P1's page A: page_zap_rmap",
        "easy_mprotect_fork": "no loss",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "no loss",
        "page_zap_rmap": "step 10 loses P1's page A: page_zap_rmap",
        "wp_only": "no loss",
        "zap_only": "step 10 loses P1's page A: page_zap_rmap",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.pageout_done(holder=P1, page=A)
    state.store(page=A, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.mprotect(page=A, process=P2, prot=R, stop=None)
    state.mlock(page=A, process=P2, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
    state.exit(process=P2, stop=None)
    state.reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
