"""page_zap_rmap loses tmpfs's page A on s390.

tmpfs must read 1 at page A and would read 0. 1 was stored in step 3, store(A)
by P2. Its only dirty record was the change bit of its storage key. In step 8,
store(A) by P1, page_zap_rmap() (series/page_zap_rmap.py:21) dropped the last
mapping without handing the change bit to PG_dirty. In step 9, reclaim(tmpfs, A,
4) by kswapd, remove_mapping() (kernel/vmscan.py:71) removed frame0, the last
copy of 1; only zeroes are left.

   CPU0: P1                              CPU1: P2   CPU2: kswapd
1  fork(P2)
2                                        load(A)
3                                        store(A)
4  munmap(A)
5  mmap_file(A, tmpfs, A, PRIVATE)
6  load(A)
7                                        munmap(A)
8  store(A)
     do_wp_page()
       P1 pte A: frame0 ro -> frame1 rw
       page_zap_rmap()  <-- blamed
         frame0 mapcount: 1 -> 0
9                                                   reclaim(tmpfs, A, 4)
                                                      remove_from_page_cache_locked()  <-- lost
                                                        tmpfs pages A: frame0 -> none

The shortest, proven over 1504 states: 2 processes, 1 page each, 3 frames, 1 slots; tmpfs; exit,
fork, pageout_done, reclaim, resume, store, load, mmap_file, munmap; reclaimer kswapd; order 4; kind
PRIVATE; up to 8 steps; none of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, PRIVATE, A, kswapd, tmpfs
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="page_zap_rmap",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=1, files=(tmpfs,)),
    proof="shortest, proven over 1504 states: 2 processes, 1 page each, 3 frames, 1 slots; tmpfs; exit, fork, pageout_done, reclaim, resume, store, load, mmap_file, munmap; reclaimer kswapd; order 4; kind PRIVATE; up to 8 steps; none of them stopped on the way",
    verdicts={
        "linux_2_6_26": "no loss",
        "a4b526b3ba63": "no loss",
        "delay_rmap": "no loss",
        "dirty_tracking_race": "no loss",
        "easy": "step 9 loses tmpfs's page A: page_zap_rmap",
        "easy_cow": "no loss",
        "easy_mprotect": "step 9 loses tmpfs's page A: page_zap_rmap",
        "easy_mprotect_fork": "step 9 loses tmpfs's page A: page_zap_rmap",
        "fault_page_locked": "no loss",
        "mmu_gather_flush": "no loss",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "no loss",
        "page_zap_rmap": "step 9 loses tmpfs's page A: page_zap_rmap",
        "swapin_race": "no loss",
        "swapoff_key": "no loss",
        "swapoff_retry": "no loss",
        "wp_only": "step 9 loses tmpfs's page A: page_zap_rmap",
        "zap_only": "no loss",
    },
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1, stop=None)
    state.load(page=A, process=P2, stop=None)
    state.store(page=A, process=P2, stop=None)
    state.munmap(page=A, process=P1, stop=None)
    state.mmap_file(at=A, file=tmpfs, kind=PRIVATE, page=A, process=P1, stop=None)
    state.load(page=A, process=P1, stop=None)
    state.munmap(page=A, process=P2, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.reclaim(holder=tmpfs, order=4, page=A, reclaimer=kswapd, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
