"""linux_2_6_26 loses ext2's page A on s390.

ext2 must have 1 or newer on its disk at page A, and has 0. 1 was stored in step
3, store(A) by P2. In step 2, store(A) by P1, set_page_dirty()
(kernel/page_writeback.py:34) set PG_dirty without the dirty tag, by which
write-back finds a page. set_page_dirty() of a page with PG_dirty does nothing,
so no later call sets the tag. In step 4, msync(A) by P2 reported success
without 1 on the disk.

   CPU0: P1                            CPU1: P2
1  fork(P2)
2  store(A)
     do_linear_fault()
       add_to_page_cache()
         ext2 pages A: none -> frame0
       readpage()
         frame0 content: garbage -> 0
         frame0: key C set
         set_page_uptodate()
           frame0: key C cleared
       P1 pte A: none -> frame0 rw
       page_add_file_rmap()
         frame0 mapcount: 0 -> 1
       set_page_dirty()  <-- blamed
         frame0: PG_dirty set
       tag_page_dirty()
         ... PG_dirty set
3                                      store(A)
                                         do_linear_fault()
                                           P2 pte A: none -> frame0 rw
                                           page_add_file_rmap()
                                             frame0 mapcount: 1 -> 2
4                                      msync(A)

The shortest, proven over 274 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; fork,
fsync, msync, pageout_done, resume, store, writeback; order 4; reclaimer kswapd; up to 3 steps; up
to 1 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, ext2
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,)),
    proof="shortest, proven over 274 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; fork, fsync, msync, pageout_done, resume, store, writeback; order 4; reclaimer kswapd; up to 3 steps; up to 1 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 4 loses ext2's page A: set_page_dirty",
        "a4b526b3ba63": "step 4 loses ext2's page A: set_page_dirty",
        "cow_rmap_first": "step 4 loses ext2's page A: set_page_dirty",
        "delay_rmap": "no loss; step 4, msync, cannot happen here",
        "dirty_tracking_race": "no loss; step 4, msync, cannot happen here",
        "easy": "step 4 loses ext2's page A: set_page_dirty",
        "easy_cow": "step 4 loses ext2's page A: set_page_dirty",
        "easy_mprotect": "step 4 loses ext2's page A: set_page_dirty",
        "easy_mprotect_fork": "step 4 loses ext2's page A: set_page_dirty",
        "fault_page_locked": "no loss; step 4, msync, cannot happen here",
        "foll_cow": "step 4 loses ext2's page A: set_page_dirty",
        "invalidate_count": "step 4 loses ext2's page A: do_linear_fault",
        "invalidate_unlocked": "step 4 loses ext2's page A: do_linear_fault",
        "madv_free": "step 4 loses ext2's page A: set_page_dirty",
        "madv_free_pinned": "step 4 loses ext2's page A: set_page_dirty",
        "mmu_gather_flush": "no loss; step 4, msync, cannot happen here",
        "mremap_anon_vma": "step 4 loses ext2's page A: set_page_dirty",
        "mremap_flush": "step 4 loses ext2's page A: set_page_dirty",
        "mremap_force_flush": "step 4 loses ext2's page A: set_page_dirty",
        "mremap_late_flush": "step 4 loses ext2's page A: set_page_dirty",
        "no_clear_uptodate": "step 4 loses ext2's page A: set_page_dirty",
        "page_zap_rmap": "step 4 loses ext2's page A: set_page_dirty",
        "swapin_pin_slot": "step 4 loses ext2's page A: set_page_dirty",
        "swapin_race": "step 4 loses ext2's page A: set_page_dirty",
        "swapin_synchronous": "step 4 loses ext2's page A: set_page_dirty",
        "swapoff_key": "step 4 loses ext2's page A: set_page_dirty",
        "swapoff_retry": "step 4 loses ext2's page A: set_page_dirty",
        "wp_lock_page": "step 4 loses ext2's page A: set_page_dirty",
        "wp_only": "step 4 loses ext2's page A: set_page_dirty",
        "write_fault_no_wait": "step 4 loses ext2's page A: set_page_dirty",
        "zap_only": "step 4 loses ext2's page A: set_page_dirty",
    },
)


def steps(state: Replay) -> None:
    state.fork(child=P2, process=P1, stop=None)
    state.store(page=A, process=P1, stop="set_page_dirty: PG_dirty set")
    state.store(page=A, process=P2, stop=None)
    state.msync(page=A, process=P2, stop=None)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
