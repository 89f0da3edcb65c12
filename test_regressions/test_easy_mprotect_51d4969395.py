"""easy_mprotect loses P1's page A on s390.

P1 must read 2 at page A and would read 1. 2 was stored in step 4, store(A) by
P1. 1 was stored in step 1, store(A) by P1. Its only dirty record was the change
bit of its storage key. In step 9, exit() by P2, zap_remove_rmap()
(series/easy.py:19) dropped the last mapping without handing the change bit to
PG_dirty. In step 10, reclaim(P1, A, 4) by kswapd, remove_mapping()
(kernel/vmscan.py:75) removed frame0, the last copy of 2; slot0 has 1.

    CPU0: P1  CPU1: P2                         CPU2: kswapd                      I/O
 1  store(A)
 2                                             reclaim(P1, A, 4)
 3                                                                               pageout_done(P1, A)
 4  store(A)
 5  fork(P2)
 6            mprotect(A, R)
 7            mlock(A)
 8                                             reclaim(P1, A, 4)
 9            exit()
                zap_pte_range()
                  P2 pte A: frame0 ro -> none
                  page_zap_rmap()  <-- blamed
                    frame0 mapcount: 1 -> 0
10                                             reclaim(P1, A, 4)
                                                 remove_mapping()  <-- lost
                                                   frame0: PG_swapcache cleared

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
    proof="shortest, proven over 5608 states: 2 processes, 1 page each, 3 frames, 2 slots; store, fork, exit, reclaim, pageout_done, mprotect, mlock, resume; reclaimer kswapd; order 4; prot R; up to 9 steps; up to 0 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "no loss",
        "a4b526b3ba63": "no loss",
        "delay_rmap": "no loss",
        "dirty_tracking_race": "no loss",
        "easy": "step 10 loses P1's page A: zap_remove_rmap",
        "easy_cow": "step 10 loses P1's page A: zap_remove_rmap",
        "easy_mprotect": "step 10 loses P1's page A: zap_remove_rmap",
        "easy_mprotect_fork": "no loss",
        "fault_page_locked": "no loss",
        "mmu_gather_flush": "no loss",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "no loss",
        "page_zap_rmap": "step 10 loses P1's page A: page_zap_rmap",
        "swapin_race": "no loss",
        "swapoff_key": "no loss",
        "swapoff_retry": "no loss",
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
