"""linux_2_6_26 loses P3's page B on s390.

P3 must read 1 at page B and would read 0. 1 was stored in step 3, store(B) by
P2. In step 5, mremap(A, B) by P2, vma_merge() (kernel/mmap.py:143) extended a
vma that has no anon_vma over page B. In step 6, fork(P3) by P2 copied no pte of
that vma, so P3 did not get the page.

   CPU0: P1  CPU1: P2
1  mlock(B)
2  fork(P2)
3            store(B)
4            mremap(B, A)
5            mremap(A, B)
               vma_adjust()  <-- blamed
6            fork(P3)

The shortest found; the search for a shorter one was cut off at 11 states.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, P3, A, B
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=9, slots=6),
    proof="shortest found; the search for a shorter one was cut off at 11 states",
    verdicts={
        "linux_2_6_26": "step 6 loses P3's page B: vma_merge",
        "a4b526b3ba63": "step 6 loses P3's page B: vma_merge",
        "delay_rmap": "step 6 loses P3's page B: vma_merge",
        "dirty_tracking_race": "step 6 loses P3's page B: vma_merge",
        "easy": "step 6 loses P3's page B: vma_merge",
        "easy_cow": "step 6 loses P3's page B: vma_merge",
        "easy_mprotect": "step 6 loses P3's page B: vma_merge",
        "easy_mprotect_fork": "step 6 loses P3's page B: vma_merge",
        "fault_page_locked": "step 6 loses P3's page B: vma_merge",
        "mmu_gather_flush": "step 6 loses P3's page B: vma_merge",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "step 6 loses P3's page B: vma_merge",
        "page_zap_rmap": "step 6 loses P3's page B: vma_merge",
        "swapin_race": "step 6 loses P3's page B: vma_merge",
        "swapoff_key": "step 6 loses P3's page B: vma_merge",
        "swapoff_retry": "step 6 loses P3's page B: vma_merge",
        "wp_only": "step 6 loses P3's page B: vma_merge",
        "zap_only": "step 6 loses P3's page B: vma_merge",
    },
)


def steps(state: Replay) -> None:
    state.mlock(page=B, process=P1, stop=None)
    state.fork(child=P2, process=P1, stop=None)
    state.store(page=B, process=P2, stop=None)
    state.mremap(page=B, process=P2, stop=None, to=A)
    state.mremap(page=A, process=P2, stop=None, to=B)
    state.fork(child=P3, process=P2, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
