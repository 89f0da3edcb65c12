"""linux_2_6_26 loses ext2's page A on s390.

ext2 must have 1 or newer on its disk at page A, and has 0. 1 was stored in step
3, store(A) by P2. In step 2, ptrace(P2, A) by P1, do_linear_fault()
(kernel/memory.py:363) made P2's pte of page A writable before the page had
PG_dirty and its tag. In step 3, store(A) by P2 went by P2's pte of page A and
set neither PG_dirty nor the dirty tag. In step 4, fsync(ext2) by P2 reported
success without 1 on the disk.

   CPU0: P1                            CPU1: P2
1  fork(P2)
2  ptrace(P2, A)
     do_linear_fault()  <-- blamed
       add_to_page_cache()
         ext2 pages A: none -> frame0
       readpage()
         frame0 content: garbage -> 0
         frame0: key C set
         set_page_uptodate()
           frame0: key C cleared
       P2 pte A: none -> frame0 rw
       page_add_file_rmap()
         frame0 mapcount: 0 -> 1
       ... page unlocked
3                                      store(A)
4                                      fsync(ext2)

The shortest, proven over 663 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; pins,
migration; fsync, pageout_done, resume, store, writeback, fork, ptrace, read_direct, move_pages;
reclaimer kswapd; order 4; up to 3 steps; up to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, ext2
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("pins", "migration")),
    proof="shortest, proven over 663 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; pins, migration; fsync, pageout_done, resume, store, writeback, fork, ptrace, read_direct, move_pages; reclaimer kswapd; order 4; up to 3 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 4 loses ext2's page A: do_linear_fault",
        "a4b526b3ba63": "step 4 loses ext2's page A: do_linear_fault",
        "delay_rmap": "no loss",
        "dirty_tracking_race": "no loss",
        "easy": "step 4 loses ext2's page A: do_linear_fault",
        "easy_cow": "step 4 loses ext2's page A: do_linear_fault",
        "easy_mprotect": "step 4 loses ext2's page A: do_linear_fault",
        "easy_mprotect_fork": "step 4 loses ext2's page A: do_linear_fault",
        "fault_page_locked": "no loss",
        "mmu_gather_flush": "no loss",
        "mremap_anon_vma": "step 4 loses ext2's page A: do_linear_fault",
        "no_clear_uptodate": "step 4 loses ext2's page A: do_linear_fault",
        "page_zap_rmap": "step 4 loses ext2's page A: do_linear_fault",
        "swapin_race": "step 4 loses ext2's page A: do_linear_fault",
        "swapoff_key": "step 4 loses ext2's page A: do_linear_fault",
        "swapoff_retry": "step 4 loses ext2's page A: do_linear_fault",
        "wp_only": "step 4 loses ext2's page A: do_linear_fault",
        "zap_only": "step 4 loses ext2's page A: do_linear_fault",
    },
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1, stop=None)
    state.ptrace(page=A, process=P1, stop="do_linear_fault: page unlocked", tracee=P2)
    state.store(page=A, process=P2, stop=None)
    state.fsync(file=ext2, process=P2, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
