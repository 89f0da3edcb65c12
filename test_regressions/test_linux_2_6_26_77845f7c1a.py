"""linux_2_6_26 loses P2's page A on s390.

P2 must read 1 at page A and would read 0. 1 was stored in step 2, store(A) by
P1. In step 5, mremap(C, A) by P1, vma_merge() (kernel/mmap.py:143) extended a
vma that has no anon_vma over page A. In step 6, fork(P2) by P1 copied no pte of
that vma, so P2 did not get the page.

   CPU0: P1
1  munmap(B)
2  store(A)
3  mremap(A, C)
4  mmap(B)
5  mremap(C, A)
     vma_adjust()  <-- blamed
6  fork(P2)

The shortest run found.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, C
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=3, frames=3, slots=2),
    proof="shortest run found",
    verdicts={
        "linux_2_6_26": "step 6 loses P2's page A: vma_merge",
        "a4b526b3ba63": "step 6 loses P2's page A: vma_merge",
        "delay_rmap": "step 6 loses P2's page A: vma_merge",
        "dirty_tracking_race": "step 6 loses P2's page A: vma_merge",
        "easy": "step 6 loses P2's page A: vma_merge",
        "easy_cow": "step 6 loses P2's page A: vma_merge",
        "easy_mprotect": "step 6 loses P2's page A: vma_merge",
        "easy_mprotect_fork": "step 6 loses P2's page A: vma_merge",
        "fault_page_locked": "step 6 loses P2's page A: vma_merge",
        "mmu_gather_flush": "step 6 loses P2's page A: vma_merge",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "step 6 loses P2's page A: vma_merge",
        "page_zap_rmap": "step 6 loses P2's page A: vma_merge",
        "swapin_race": "step 6 loses P2's page A: vma_merge",
        "swapoff_key": "step 6 loses P2's page A: vma_merge",
        "swapoff_retry": "step 6 loses P2's page A: vma_merge",
        "wp_only": "step 6 loses P2's page A: vma_merge",
        "zap_only": "step 6 loses P2's page A: vma_merge",
    },
)


def steps(state: Replay) -> None:
    state.munmap(page=B, process=P1, stop=None)
    state.store(page=A, process=P1, stop=None)
    state.mremap(page=A, process=P1, stop=None, to=C)
    state.mmap(page=B, process=P1, stop=None)
    state.mremap(page=C, process=P1, stop=None, to=A)
    state.fork(child=P2, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
