"""linux_2_6_26 loses ext2's page A on s390.

ext2 must have 1 or newer on its disk at page A, and has 0. 1 was stored in step
2, store(A) by P1. In step 1, store(A) by P2, set_page_dirty()
(kernel/page_writeback.py:34) set PG_dirty without the dirty tag, by which
write-back finds a page. set_page_dirty() of a page with PG_dirty does nothing,
so no later call sets the tag. In step 6, fsync(ext2) by P1, begun in step 3,
reported success without 1 on the disk.

   CPU0: P1               CPU1: P2                            CPU2: pdflush
1                         store(A)
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
2  store(A)
3  fsync(ext2)
     filemap_fdatawait()
       ... waited
4                         resume()
                            tag_page_dirty()
                              frame0 tag_dirty: no -> yes
5                                                             writeback(ext2)
                                                                write_cache_pages()
                                                                  clear_page_dirty_for_io()
                                                                    page_mkclean()
                                                                      page_mkclean_one()
                                                                        P1 pte A: frame0 rw ->
                                                                          frame0 ro
                                                                      frame0: key C cleared
                                                                    frame0: PG_dirty cleared
                                                                  ... PG_dirty cleared
6  resume()

The shortest, proven over 4978 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads;
store, pageout_failed, writeback, fsync, resume; up to 5 steps; up to 3 of them stopped on the way.

Written by the tool; the verdicts are those of every series.
"""

from mm_sim.names import P1, P2, A, ext2, pdflush
from mm_sim.system import Scope
from strategies.reproducer import Replay, Reproducer

REPRODUCER = Reproducer(
    series="linux_2_6_26",
    arch="s390",
    scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(ext2,), also=("threads",)),
    proof="shortest, proven over 4978 states: 2 processes, 1 page each, 3 frames, 0 slots; ext2; threads; store, pageout_failed, writeback, fsync, resume; up to 5 steps; up to 3 of them stopped on the way",
    verdicts={
        "linux_2_6_26": "step 6 loses ext2's page A: set_page_dirty",
        "a4b526b3ba63": "step 6 loses ext2's page A: set_page_dirty",
        "delay_rmap": "no loss; step 3, fsync, cannot happen here",
        "dirty_tracking_race": "no loss; step 3, fsync, cannot happen here",
        "easy": "step 6 loses ext2's page A: set_page_dirty",
        "easy_cow": "step 6 loses ext2's page A: set_page_dirty",
        "easy_mprotect": "step 6 loses ext2's page A: set_page_dirty",
        "easy_mprotect_fork": "step 6 loses ext2's page A: set_page_dirty",
        "fault_page_locked": "no loss; step 3, fsync, cannot happen here",
        "mmu_gather_flush": "no loss; step 3, fsync, cannot happen here",
        "mremap_anon_vma": "step 6 loses ext2's page A: set_page_dirty",
        "no_clear_uptodate": "step 6 loses ext2's page A: set_page_dirty",
        "page_zap_rmap": "step 6 loses ext2's page A: set_page_dirty",
        "swapin_race": "step 6 loses ext2's page A: set_page_dirty",
        "swapoff_key": "step 6 loses ext2's page A: set_page_dirty",
        "swapoff_retry": "step 6 loses ext2's page A: set_page_dirty",
        "wp_only": "step 6 loses ext2's page A: set_page_dirty",
        "zap_only": "step 6 loses ext2's page A: set_page_dirty",
    },
)


def steps(state: Replay) -> None:
    state.store(page=A, process=P2, stop="set_page_dirty: PG_dirty set")
    state.store(page=A, process=P1, stop=None)
    state.fsync(file=ext2, process=P1, stop="filemap_fdatawait: waited")
    state.resume(stop=None, task=P2)
    state.writeback(file=ext2, flusher=pdflush, stop="write_cache_pages: PG_dirty cleared")
    state.resume(stop=None, task=P1)


def test_verdicts(series: str) -> None:
    REPRODUCER.check(series, steps)
