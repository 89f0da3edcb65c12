"""linux_2_6_26 loses P2's page C on s390.

P2 must read 1 at page C and would read 0. 1 was stored in step 1, store(C) by
P1. In step 5, mremap(A, C) by P1, vma_merge() (kernel/mmap.py:137) extended a
vma that has no anon_vma over page C. In step 6, fork(P2) by P1 copied no pte of
that vma, so P2 did not get the page.

   CPU0: P1
1  store(C)
2  mremap(C, A)
3  mremap(B, C)
4  mmap(B)
5  mremap(A, C)
     vma_adjust()  <-- blamed
6  fork(P2)

The shortest, proven over 2829 states: 3 processes, 3 pages each, 9 frames, 6 slots; store, fork,
mmap, mremap, resume; up to 5 steps; none of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, B, C
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=3, pages=3, frames=9, slots=6),
    proof="shortest, proven over 2829 states: 3 processes, 3 pages each, 9 frames, 6 slots; store, fork, mmap, mremap, resume; up to 5 steps; none of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 6 loses P2's page C: vma_merge",
        "a4b526b3ba63": "step 6 loses P2's page C: vma_merge",
        "delay_rmap": "step 6 loses P2's page C: vma_merge",
        "dirty_tracking_race": "step 6 loses P2's page C: vma_merge",
        "easy": "step 6 loses P2's page C: vma_merge",
        "easy_cow": "step 6 loses P2's page C: vma_merge",
        "easy_mprotect": "step 6 loses P2's page C: vma_merge",
        "easy_mprotect_fork": "step 6 loses P2's page C: vma_merge",
        "fault_page_locked": "step 6 loses P2's page C: vma_merge",
        "mmu_gather_flush": "step 6 loses P2's page C: vma_merge",
        "mremap_anon_vma": "no loss",
        "no_clear_uptodate": "step 6 loses P2's page C: vma_merge",
        "page_zap_rmap": "step 6 loses P2's page C: vma_merge",
        "swapin_race": "step 6 loses P2's page C: vma_merge",
        "swapoff_key": "step 6 loses P2's page C: vma_merge",
        "swapoff_retry": "step 6 loses P2's page C: vma_merge",
        "wp_only": "step 6 loses P2's page C: vma_merge",
        "zap_only": "step 6 loses P2's page C: vma_merge",
    },
)


def steps(state: Replay) -> None:
    state.store(page=C, process=P1, stop=None)
    state.mremap(page=C, process=P1, stop=None, to=A)
    state.mremap(page=B, process=P1, stop=None, to=C)
    state.mmap(page=B, process=P1, stop=None)
    state.mremap(page=A, process=P1, stop=None, to=C)
    state.fork(child=P2, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
