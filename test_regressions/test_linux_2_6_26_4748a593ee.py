"""linux_2_6_26 loses ext2's page A on s390.

ext2 must have 1 or newer on its disk at page A, and has 0. 1 was stored in step
3, read_direct(A) by P1. In step 2, read_direct(A) by P2, set_page_dirty()
(kernel/page_writeback.py:34) set PG_dirty without the dirty tag, by which
write-back finds a page. set_page_dirty() of a page with PG_dirty does nothing,
so no later call sets the tag. In step 4, fsync(ext2) by P1 reported success
without 1 on the disk.

   CPU0: P1                           CPU1: P2
1  fork(P2)
2                                     read_direct(A)
                                        do_linear_fault()
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
                                          set_page_dirty()  <-- blamed
                                            frame0: PG_dirty set
                                          tag_page_dirty()
                                            ... PG_dirty set
3  read_direct(A)
     sys_read_direct()
       do_linear_fault()
         P1 pte A: none -> frame0 rw
         page_add_file_rmap()
           frame0 mapcount: 1 -> 2
       frame0 content: 0 -> 1
       frame0: key C set
4  fsync(ext2)

The shortest, proven over 59 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; pins,
migration; fork, fsync, read_direct, resume; up to 3 steps; up to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, ext2
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("pins", "migration")),
    proof="shortest, proven over 59 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; pins, migration; fork, fsync, read_direct, resume; up to 3 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 4 loses ext2's page A: set_page_dirty",
        "a4b526b3ba63": "step 4 loses ext2's page A: set_page_dirty",
        "delay_rmap": "no loss; step 4, fsync, cannot happen here",
        "dirty_tracking_race": "no loss; step 4, fsync, cannot happen here",
        "easy": "step 4 loses ext2's page A: set_page_dirty",
        "easy_cow": "step 4 loses ext2's page A: set_page_dirty",
        "easy_mprotect": "step 4 loses ext2's page A: set_page_dirty",
        "easy_mprotect_fork": "step 4 loses ext2's page A: set_page_dirty",
        "fault_page_locked": "no loss; step 4, fsync, cannot happen here",
        "mmu_gather_flush": "no loss; step 4, fsync, cannot happen here",
        "mremap_anon_vma": "step 4 loses ext2's page A: set_page_dirty",
        "no_clear_uptodate": "step 4 loses ext2's page A: set_page_dirty",
        "page_zap_rmap": "step 4 loses ext2's page A: set_page_dirty",
        "swapin_race": "step 4 loses ext2's page A: set_page_dirty",
        "swapoff_key": "step 4 loses ext2's page A: set_page_dirty",
        "swapoff_retry": "step 4 loses ext2's page A: set_page_dirty",
        "wp_only": "step 4 loses ext2's page A: set_page_dirty",
        "zap_only": "step 4 loses ext2's page A: set_page_dirty",
    },
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1, stop=None)
    state.read_direct(page=A, process=P2, stop="set_page_dirty: PG_dirty set")
    state.read_direct(page=A, process=P1, stop=None)
    state.fsync(file=ext2, process=P1, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
