"""Blame: for each stored run, and for faults of many kinds, the function that a reviewer would mark."""

import gc
from typing import NamedTuple

import pytest

from mm_sim.blame import Log, bug_of
from mm_sim.bookkeeping import Inconsistent
from mm_sim.kernel import Kernel, base_of
from mm_sim.loss import Report, Step, explain
from mm_sim.mm import VM_WRITE, Mm, Vma
from mm_sim.names import ext2, tmpfs
from mm_sim.page import Page, Pte
from mm_sim.sched import Endless as EndlessStep
from mm_sim.sched import Steps
from mm_sim.series import load
from mm_sim.system import SMALL, Scope, System
from strategies.reproducer import FOLDER, Replay, read, recorded
from strategies.timeline import BLAMED_MARK, BUG_MARK, LOST_MARK, text, timeline, trace, words
from strategies.timeline import Run as Traced
from test_stateful import faults

#: What is to blame for each stored run.
STORED: dict[str, tuple[str, ...]] = {
    # drops the ptl before other CPUs forget the pte that it has moved
    "move_ptes": ("mremap_late_flush_1109bffe0e",),
    # looks the page up as for a read after a fault that broke COW
    "get_user_page": (
        "linux_2_6_26_66e03488f2",
        "linux_2_6_26_c7c251229f",
    ),
    # takes a page that a fault is about to map out of the page cache
    "invalidate_complete_page": (
        "invalidate_unlocked_946b9ef662",
        "invalidate_unlocked_df3d60c3ca",
    ),
    # discards a clean page that is pinned
    "try_to_unmap_one_lazyfree": ("madv_free_c0ea2e6bc2",),
    # clears the pte, and other CPUs keep their TLB entries until tlb_finish_mmu()
    "zap_pte_range": (
        "linux_2_6_26_31f206c58e",
        "mmu_gather_flush_bc855a9c81",
    ),
    # drops the last mapping with the change bit set
    "page_zap_rmap": (
        "easy_62d31fca96",
        "easy_mprotect_fork_785bc97316",
        "page_zap_rmap_68ea59965a",
        "page_zap_rmap_d91537a20a",
        "page_zap_rmap_fde934ef5c",
        "wp_only_a52692197a",
        "zap_only_1321f6851a",
        "zap_only_7a63fc3f88",
        "zap_only_7f207336c2",
    ),
    # marks the page dirty only if the pte is writable, and passes over the key then
    "zap_remove_rmap": (
        "easy_c8467b46bc",
        "easy_cow_0b478370d5",
        "easy_cow_d7b7f80832",
        "easy_cow_e1ad0f6365",
    ),
    # sets PG_dirty before the tag by which fsync() finds the page
    "set_page_dirty_and_tag": (
        "linux_2_6_26_0455beb66b",
        "linux_2_6_26_3fde2a380d",
        "linux_2_6_26_4748a593ee",
        "linux_2_6_26_900c1722e5",
        "linux_2_6_26_c41f48bb5a",
        "linux_2_6_26_d5d730b9df",
        "linux_2_6_26_e027f028d6",
        "linux_2_6_26_e0c79fb6d7",
    ),
    # takes the page out of the swap cache while a swap pte refers to the slot
    "part_page_and_slot": (
        "linux_2_6_26_8dd4d8d730",
        "linux_2_6_26_b1565b571f",
        "linux_2_6_26_b5cb537a3f",
    ),
    # maps a page that has left the swap cache meanwhile
    "do_swap_page": (
        "linux_2_6_26_063b81d6ef",
        "linux_2_6_26_40518c95e5",
        "linux_2_6_26_553a93ddb9",
        "linux_2_6_26_56c11414ab",
        "linux_2_6_26_6b8cd82068",
        "linux_2_6_26_708f7701f5",
        "linux_2_6_26_751aabb376",
        "swapin_synchronous_2d6c08855f",
        "swapin_synchronous_c9ebb75793",
    ),
    # maps the page writable, and marks it dirty afterwards
    "do_linear_fault": (
        "linux_2_6_26_4620c02013",
        "linux_2_6_26_b4cbfe40ce",
        "linux_2_6_26_d8122482f1",
        "linux_2_6_26_fc6a0bcceb",
    ),
    # extends a vma without an anon_vma over pages that have one
    "vma_merge": (
        "linux_2_6_26_77845f7c1a",
        "linux_2_6_26_a062072aee",
        "linux_2_6_26_a09f299400",
    ),
    # makes the pte writable, and marks the page dirty afterwards
    "wp_page_shared": (
        "linux_2_6_26_825e5e696b",
        "linux_2_6_26_8d60b6fe83",
        "linux_2_6_26_9de5a06752",
        "linux_2_6_26_c5072b1975",
        "write_fault_no_wait_014516375f",
        "write_fault_no_wait_3c419d0beb",
    ),
    # drops the old page's mapcount, by which others reuse the page, before it switches the pte
    "do_wp_page": (
        "cow_rmap_first_208f92f823",
        "cow_rmap_first_27b0942129",
        "cow_rmap_first_7b6917dc2a",
        "cow_rmap_first_b55966bd2f",
        # and copies a page that is pinned, as it cannot take its lock
        "linux_2_6_26_c8a1cb4f8d",
        "linux_2_6_26_dab161df75",
    ),
    # ends when it has written as much as the page cache had twice
    "write_cache_pages": (
        "linux_2_6_26_5c88f19d56",
        "linux_2_6_26_9f71af5d75",
    ),
    # takes a pte that mprotect() has emptied for a moment for none
    "page_check_address": ("linux_2_6_26_f4d33ea8f3",),
}


class Run(NamedTuple):
    """A run of a fault that loses a page, and the function that is to blame."""

    kernel: type[Kernel]
    arch: str
    scope: Scope
    blamed: str
    calls: str

    @property
    def steps(self) -> list[Step]:
        return recorded(self.kernel, [line for line in map(str.strip, self.calls.splitlines()) if line])

    def report(self) -> Report:
        found = explain(self.kernel, self.arch, self.scope, self.steps)
        assert found is not None
        return found

    def trace(self) -> Traced:
        return trace(self.kernel, self.arch, self.scope, self.steps)


FAULTS = [
    Run(
        faults.CanShareIgnoresSwap,
        "x86",
        SMALL,
        "can_share_swap_page",
        """
        store(page=A, process=P1, stop=None)
        fork(child=P2, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        store(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.CanShareIgnoresSwap,
        "s390",
        SMALL,
        "can_share_swap_page",
        """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.EasyForFilePages,
        "s390",
        Scope(slots=1, files=(tmpfs,)),
        "zap_remove_rmap",
        """
        load(page=A, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        mprotect(page=A, process=P1, prot=R, stop=None)
        madvise_dontneed(page=A, process=P1, stop=None)
        reclaim(holder=tmpfs, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.EasyForFilePagesGenerator,
        "s390",
        Scope(slots=1, files=(tmpfs,)),
        "zap_remove_rmap",
        """
        load(page=A, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        mprotect(page=A, process=P1, prot=R, stop=None)
        madvise_dontneed(page=A, process=P1, stop=None)
        reclaim(holder=tmpfs, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.ForkLeavesParentWritable,
        "s390",
        SMALL,
        "copy_one_pte",
        """
        store(page=A, process=P1, stop=None)
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.HelperLooksAtDirty,
        "s390",
        SMALL,
        "copy_one_pte",
        """
        mlock(page=A, process=P1, stop=None)
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.SwapPteTakenForNone,
        "s390",
        Scope(slots=1),
        "do_swap_page",
        """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        load(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.NoMkclean,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "page_mkclean",
        """
        store(page=A, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_done(holder=P1, page=A)
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.NoMkclean,
        "x86",
        Scope(slots=0, files=(ext2,)),
        "page_mkclean",
        """
        store(page=A, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_done(holder=P1, page=A)
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.UnlockedBeforeRead,
        "s390",
        SMALL,
        "swap_readpage",
        """
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P2, stop=None)
        reclaim(holder=P2, order=4, page=A, reclaimer=kswapd, stop=None)
        pageout_done(holder=P2, page=A)
        reclaim(holder=P2, order=4, page=A, reclaimer=kswapd, stop=None)
        store(page=A, process=P1, stop=None)
        load(page=A, process=P2, stop="swap_readpage: reading")
        swapoff(stop=None, task=swapoff)
        """,
    ),
    Run(
        faults.UnlockedBeforeRead,
        "s390",
        SMALL,
        "swap_readpage",
        """
        store(page=A, process=P1, stop="do_page_fault: return")
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        pageout_done(holder=P1, page=A)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        swapoff(stop="swap_readpage: reading", task=swapoff)
        resume(stop=None, task=P1)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.WpDoesNotWait,
        "s390",
        Scope(slots=0, files=(ext2,), also=("threads",)),
        "wp_page_shared",
        """
        store(page=A, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop="clear_page_dirty_for_io: ptes cleaned")
        store(page=A, process=P1, stop=None)
        resume(stop=None, task=pdflush)
        pageout_done(holder=P1, page=A)
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.WpDoesNotWait,
        "x86",
        Scope(slots=0, files=(ext2,), also=("threads",)),
        "wp_page_shared",
        """
        store(page=A, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop="clear_page_dirty_for_io: ptes cleaned")
        store(page=A, process=P1, stop=None)
        resume(stop=None, task=pdflush)
        store(page=A, process=P1, stop=None)
        pageout_done(holder=P1, page=A)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.ZapForgetsPteDirty,
        "x86",
        Scope(slots=1, files=(tmpfs,)),
        "zap_file_pte",
        """
        fork(child=P2, process=P1, stop=None)
        load(page=A, process=P2, stop=None)
        store(page=A, process=P2, stop=None)
        exit(process=P2, stop=None)
        reclaim(holder=tmpfs, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.RmapForgetsKey,
        "s390",
        SMALL,
        "page_remove_rmap",
        """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        pageout_done(holder=P1, page=A)
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.RmapForgetsKey,
        "s390",
        Scope(slots=1, files=(tmpfs,)),
        "page_remove_rmap",
        """
        load(page=A, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.ReferencedClearsKey,
        "s390",
        SMALL,
        "page_referenced",
        """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        store(page=A, process=P1, stop=None)
        pageout_done(holder=P1, page=A)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.NoFlushBeforeFree,
        "x86",
        Scope(processes=3, frames=4, also=("threads",)),
        "tlb_flush",
        """
        store(page=A, process=P1, stop="do_page_fault: mmap_sem")
        store(page=A, process=P2, stop=None)
        madvise_dontneed(page=A, process=P2, stop=None)
        store(page=A, process=P2, stop=None)
        """,
    ),
    Run(
        faults.ForkDoesNotFlush,
        "x86",
        Scope(processes=3, frames=4, also=("threads",)),
        "dup_mmap",
        """
        load(page=A, process=P2, stop="do_page_fault: mmap_sem")
        store(page=A, process=P1, stop=None)
        fork(child=P3, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.MkcleanDoesNotFlush,
        "x86",
        Scope(slots=0, files=(ext2,), also=("threads",)),
        "page_mkclean_one",
        """
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P2, stop=None)
        pageout_done(holder=P1, page=A)
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.CowSkipped,
        "s390",
        SMALL,
        "do_wp_page",
        """
        store(page=A, process=P1, stop=None)
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.ForkForgetsSwapDuplicate,
        "s390",
        SMALL,
        "copy_one_pte",
        """
        load(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop="swap_writepage: submitted")
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.FileUnlockedBeforeRead,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "readpage",
        """
        fork(child=P2, process=P1, stop=None)
        read(at=A, file=ext2, process=P1, stop="readpage: reading")
        read(at=A, file=ext2, process=P2, stop=None)
        """,
    ),
    Run(
        faults.NoTag,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "tag_page_dirty",
        """
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P2, stop="add_to_page_cache: page allocated")
        store(page=A, process=P1, stop=None)
        fsync(file=ext2, process=P1, stop=None)
        """,
    ),
    Run(
        faults.NoBuffers,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "set_page_dirty",
        """
        write(at=A, file=ext2, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_done(holder=ext2, page=A)
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.NoBuffers,
        "x86",
        Scope(slots=0, files=(ext2,)),
        "set_page_dirty",
        """
        write(at=A, file=ext2, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_done(holder=ext2, page=A)
        store(page=A, process=P1, stop=None)
        reclaim(holder=ext2, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.ForgetsTheError,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "end_buffer_async_write",
        """
        store(page=A, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_failed(holder=ext2, page=A)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.WritebackTakesTheError,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "background_writeout",
        """
        store(page=A, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_failed(holder=ext2, page=A)
        resume(stop=None, task=pdflush)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.ReportsLate,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "filemap_fdatawait",
        """
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        pageout_failed(holder=ext2, page=A)
        resume(stop=None, task=P1)
        """,
    ),
    Run(
        faults.CleanInTheSwapCache,
        "s390",
        SMALL,
        "add_to_swap",
        """
        load(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.FsyncDoesNotWait,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "filemap_fdatawait",
        """
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.FsyncSkipsWriteback,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "write_cache_pages",
        """
        store(page=A, process=P1, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        store(page=A, process=P1, stop=None)
        msync(page=A, process=P1, stop=None)
        pageout_done(holder=P1, page=A)
        resume(stop=None, task=P1)
        """,
    ),
    Run(
        faults.MigrationForgetsDirty,
        "x86",
        Scope(slots=1, also=("migration",)),
        "migrate_page_copy",
        """
        mlock(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        move_pages(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.MigrationForgetsDirty,
        "x86",
        Scope(slots=0, files=(ext2,), also=("migration",)),
        "migrate_page_copy",
        """
        store(page=A, process=P1, stop=None)
        move_pages(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.ThrowsSharedSlotAway,
        "s390",
        SMALL,
        "free_swap_and_cache",
        """
        store(page=A, process=P1, stop=None)
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P2, stop="handle_pte_fault: pte read")
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        pageout_done(holder=P1, page=A)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        madvise_dontneed(page=A, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.UnmapForgetsPteDirty,
        "x86",
        SMALL,
        "try_to_unmap_one",
        """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        store(page=A, process=P1, stop=None)
        pageout_done(holder=P1, page=A)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.MunmapLeavesPtes,
        "s390",
        SMALL,
        "zap_pte_range",
        """
        store(page=A, process=P1, stop=None)
        madvise_dontneed(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.WritesNothing,
        "s390",
        SMALL,
        "swap_writepage",
        """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.DontneedOfEverybody,
        "s390",
        SMALL,
        "zap_remove_rmap",
        """
        store(page=A, process=P1, stop=None)
        fork(child=P2, process=P1, stop=None)
        exit(process=P2, stop=None)
        fork(child=P2, process=P1, stop=None)
        """,
    ),
    Run(
        faults.CowOrder,
        "s390",
        Scope(processes=3, frames=4, also=("threads",)),
        "do_wp_page",
        """
        store(page=A, process=P1, stop=None)
        fork(child=P3, process=P1, stop=None)
        store(page=A, process=P1, stop="do_wp_page: old page not counted any more")
        store(page=A, process=P3, stop=None)
        load(page=A, process=P2, stop=None)
        """,
    ),
    Run(
        faults.TruncateLeavesSwapEntries,
        "s390",
        Scope(slots=1, files=(tmpfs,)),
        "shmem_truncate",
        """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        truncate(file=tmpfs, process=P1, size=0, stop=None)
        truncate(file=tmpfs, process=P1, size=1, stop=None)
        """,
    ),
    Run(
        faults.MergesAnyOffset,
        "x86",
        Scope(pages=2, frames=4, slots=0, files=(ext2,)),
        "vma_merge",
        """
        store(page=A, process=P1, stop=None)
        munmap(page=B, process=P1, stop=None)
        mmap_file(at=A, file=ext2, kind=SHARED, page=B, process=P1, stop=None)
        """,
    ),
    Run(
        faults.AdjustKeepsOffset,
        "x86",
        Scope(pages=2, frames=4, slots=0, files=(ext2,)),
        "vma_adjust",
        """
        store(page=A, process=P1, stop=None)
        munmap(page=B, process=P1, stop=None)
        mmap_file(at=B, file=ext2, kind=SHARED, page=B, process=P1, stop=None)
        munmap(page=A, process=P1, stop=None)
        """,
    ),
    Run(
        faults.FileFaultForgetsAnonVma,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "do_linear_fault",
        """
        munmap(page=A, process=P1, stop=None)
        mmap_file(at=A, file=ext2, kind=PRIVATE, page=A, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        fork(child=P2, process=P1, stop=None)
        """,
    ),
    Run(
        faults.ModifyForgetsPteDirty,
        "x86",
        Scope(slots=1, files=(tmpfs,)),
        "pte_modify",
        """
        load(page=A, process=P1, stop=None)
        store(page=A, process=P1, stop=None)
        mprotect(page=A, process=P1, prot=R, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        """,
    ),
    Run(
        faults.MkcleanLeavesChildren,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "page_mkclean_one",
        """
        fork(child=P2, process=P1, stop=None)
        store(page=A, process=P2, stop=None)
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_done(holder=P2, page=A)
        store(page=A, process=P2, stop=None)
        msync(page=A, process=P2, stop=None)
        """,
    ),
    Run(
        faults.WriteFaultUnlocks,
        "s390",
        Scope(slots=0, files=(ext2,)),
        "shared_write_fault",
        """
        store(page=A, process=P1, stop="shared_write_fault: page unlocked")
        writeback(file=ext2, flusher=pdflush, stop=None)
        pageout_done(holder=ext2, page=A)
        resume(stop=None, task=P1)
        msync(page=A, process=P1, stop=None)
        """,
    ),
]
each_fault = pytest.mark.parametrize("run", FAULTS, ids=lambda run: f"{run.kernel.__name__}-{run.arch}")


def fault(kernel: type[Kernel]) -> Run:
    return next(run for run in FAULTS if run.kernel is kernel)


def said(run: Run) -> str:
    return " ".join(words(run.trace()).split())


def stored(name: str) -> tuple[type[Kernel], str, Scope, list[Step]]:
    found, steps = read(FOLDER / f"test_{name}.py")
    replay = Replay(load(found.series))
    steps(replay)
    return replay.kernel, found.arch, found.scope, replay.steps


def test_each_stored_run_has_a_function_to_blame() -> None:
    named = [name for names in STORED.values() for name in names]
    assert sorted(named) == sorted(path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py"))


@pytest.mark.parametrize(("blamed", "name"), [(f, name) for f, names in STORED.items() for name in names])
def test_a_stored_run_is_blamed_on_the_function_that_a_reviewer_would_mark(blamed: str, name: str) -> None:
    report = explain(*stored(name))
    assert report is not None
    assert report.forgotten_by.function == blamed


@each_fault
def test_a_fault_is_blamed_on_the_function_of_the_patch(run: Run) -> None:
    report = run.report()
    assert report.forgotten_by.function == run.blamed
    assert report.forgotten_by.file == "test_stateful/faults.py"


@each_fault
def test_the_base_of_a_fault_does_not_lose_in_its_run(run: Run) -> None:
    base = base_of(run.kernel)
    assert base is not None
    assert trace(base, run.arch, run.scope, run.steps).report is None


@each_fault
def test_no_sentence_speaks_of_a_later_step_than_the_loss(run: Run) -> None:
    report = run.report()
    assert all(i is None or i <= report.at for i, _ in report.story)
    assert report.forgotten_at <= report.destroyed_at <= report.at


@each_fault
def test_the_timeline_marks_the_step_that_is_to_blame(run: Run) -> None:
    traced = run.trace()
    assert traced.report is not None
    marked = {row.step: row.mark for row in traced.rows if row.mark}
    assert marked[traced.report.forgotten_at] in (BLAMED_MARK, LOST_MARK)


@pytest.mark.parametrize("name", [name for names in STORED.values() for name in names[:3]])
def test_blame_looks_for_a_page_where_the_check_does(name: str) -> None:
    """In the state before the loss, for each page of each process."""
    stored, steps = read(FOLDER / f"test_{name}.py")
    kernel = load(stored.series)
    log = Log(kernel, stored.arch, stored.scope, None)
    log.run(stored.steps(kernel, steps)[:-1])
    state, system = log.entries[-1].state, log.system
    pages = [(mm, at) for mm in system.kernel.mms for at in range(stored.scope.pages)]
    assert pages
    for mm, at in pages:
        assert state.peek(mm, at)[1] == system.peek(mm.pte[at], mm, at)
    for file in system.kernel.files:
        for at in range(stored.scope.pages):
            assert state.peek_file(file, at)[1] == system.peek_file(file, at)


@each_fault
def test_the_timeline_marks_the_function_that_the_text_names(run: Run) -> None:
    traced = run.trace()
    report = traced.report
    assert report is not None
    names = {row.text.removesuffix("()") for row in traced.rows if row.mark == BLAMED_MARK}
    if run.kernel is not faults.EasyForFilePages:  # its function has returned another's steps
        assert names == {report.forgotten_by.function}


@pytest.mark.parametrize(
    ("kernel", "sentence"),
    [
        (faults.TruncateLeavesSwapEntries, "did not clear swap entry A of tmpfs, as it does in 2.6.26."),
        (
            faults.MergesAnyOffset,
            "set P1's vma at B to page B of ext2, which it does not in 2.6.26.",
        ),
        (faults.AdjustKeepsOffset, "changed P1's vma at B from page B of ext2 to page A of ext2."),
        (faults.FileFaultForgetsAnonVma, "cleared the anon_vma of P1's vma at A, which it does not in 2.6.26."),
        (
            faults.ModifyForgetsPteDirty,
            "caused the first difference to 2.6.26: P1's pte A is frame0 ro, not frame0 ro dirty.",
        ),
        (faults.WriteFaultUnlocks, "set PG_dirty of frame0, which it does not in 2.6.26."),
        (faults.FsyncDoesNotWait, "did not wait for the write of frame0, as it does in 2.6.26."),
        (faults.FsyncSkipsWriteback, "did not wait for the write of frame0, as it does in 2.6.26."),
        (faults.NoTag, "did not set tag_dirty of frame1, as it does in 2.6.26."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_patch_part_in_a_loss_of_its_base_is_said(kernel: type[Kernel], sentence: str) -> None:
    run = fault(kernel)
    place = run.report().forgotten_by
    assert f"{place} {sentence}" in said(run)


def test_no_function_is_blamed_that_only_ran_last() -> None:
    assert "fput()" not in said(fault(faults.MergesAnyOffset))
    assert "sys_msync()" not in said(fault(faults.FsyncSkipsWriteback))


def test_a_store_to_the_page_of_another_process_is_explained_by_the_pte() -> None:
    found = said(fault(faults.ForkLeavesParentWritable))
    assert "In step 2, fork(P2) by P1, copy_one_pte()" in found
    assert "made P1's pte of page A writable while P2 had the same frame0." in found
    assert "In step 3, store(A) by P1 went by P1's pte of page A to frame0, where P2 must find 1." in found


def test_a_page_that_is_taken_for_unshared_is_explained_by_who_lowered_its_mapcount() -> None:
    found = said(fault(faults.CowOrder))
    assert "left the mapcount of frame0 lower than the number of its ptes. In step 4, store(A) by P3," in found
    assert "took frame0 for unshared and made P3's pte of page A writable." in found


def test_a_page_that_is_taken_for_unshared_is_explained_by_who_did_not_count_a_swap_pte() -> None:
    found = said(fault(faults.ForkForgetsSwapDuplicate))
    assert "In step 3, fork(P2) by P1, copy_one_pte()" in found
    assert "left the swap_map of the slot of frame0 lower than the number of references to it." in found


def test_an_mm_is_called_by_a_thread_that_still_has_it() -> None:
    calls = (STORE, "exit(process=P1, stop=None)", "fork(child=P1, process=P2, stop=None)")
    run = Run(
        faults.ForkLeavesParentWritable,
        "x86",
        Scope(slots=1, also=("threads",)),
        "copy_one_pte",
        "\n".join((*calls, "store(page=A, process=P2, stop=None)")),
    )
    assert run.report().forgotten_by.function == run.blamed
    assert "made P2's pte of page A writable while P1 had the same frame0" in said(run)


def test_a_store_by_a_stale_tlb_entry_is_explained_by_the_missing_flush() -> None:
    found = said(fault(faults.ForkDoesNotFlush))
    assert "changed the pte and left the TLB entry of P1's CPU for page A writable." in found


def test_a_base_function_that_the_patch_misleads_is_named_beside_the_patch() -> None:
    found = said(fault(faults.CanShareIgnoresSwap))
    assert "do_swap_page() (kernel/memory.py:" in found
    assert "can_share_swap_page() (test_stateful/faults.py:" in found
    assert "caused the first difference to 2.6.26: P1's pte A is frame0 rw dirty, not frame1 rw dirty." in found


def test_a_page_that_is_read_before_it_is_filled_is_explained_by_who_unlocked_it() -> None:
    found = said(fault(faults.UnlockedBeforeRead))
    assert "unlocked frame1 before its content was read in." in found
    assert "would read garbage" in found


def test_a_page_that_is_stored_to_before_it_is_filled_is_explained_by_who_unlocked_it() -> None:
    run = next(run for run in FAULTS if run.kernel is faults.UnlockedBeforeRead and run.steps[0].rule.name == "store")
    found = said(run)
    assert "In step 5, swapoff() by swapoff, swap_readpage()" in found
    assert "unlocked frame0 before its content was read in. In step 6, store(A) by P1, begun in step 1," in found
    assert "do_swap_page() (kernel/memory.py" in found


def test_a_frame_that_was_freed_while_a_cpu_reaches_it_is_explained_by_the_missing_flush() -> None:
    found = said(fault(faults.NoFlushBeforeFree))
    assert found.startswith(
        "P2 still reaches frame0 at page A, and it was freed. In step 3, madvise_dontneed(A) by P2,"
    )
    assert "left the TLB entry of P2's CPU for page A as it was. In step 3, madvise_dontneed(A) by P2," in found


def test_a_store_that_overwrites_an_old_page_is_explained_by_who_mapped_that() -> None:
    calls = """
        store(page=A, process=P1, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        store(page=A, process=P1, stop='do_swap_page: page lock')
        pageout_done(holder=P1, page=A)
        madvise_dontneed(page=A, process=P2, stop=None)
        store(page=A, process=P2, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        resume(task=P1, stop=None)
        """
    found = said(Run(Kernel, "s390", Scope(also=("threads",), slots=1), "do_swap_page", calls))
    assert "A store to page A of P1 changes a part of frame0, which has 1, not 2." in found
    assert "mapped frame0 for P1, which has 1, in place of frame1, which has 2." in found


def test_a_transfer_to_an_old_page_is_explained_by_who_gave_the_process_another() -> None:
    calls = """
        read_direct(page=A, process=P1, stop='dio_bio_submit: page pinned')
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)
        swapoff(task=swapoff, stop=None)
        reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop='page_check_address: ptl')
        store(page=A, process=P2, stop=None)
        resume(task=kswapd, stop=None)
        resume(task=P1, stop=None)
        """
    found = said(Run(Kernel, "s390", Scope(frames=2, slots=1, also=("threads", "pins")), "do_wp_page", calls))
    assert "In step 5, store(A) by P2, do_wp_page()" in found
    assert "In step 7, read_direct(A) by P1, begun in step 1, the transfer went to frame0." in found


def test_a_slot_that_is_used_again_is_explained_by_who_gave_it_up() -> None:
    assert "left slot0 with fewer counts than references" in said(fault(faults.ThrowsSharedSlotAway))


def test_a_promise_of_fsync_is_explained_by_the_pte_that_stores_without_a_fault() -> None:
    found = said(fault(faults.WpDoesNotWait))
    assert "made P1's pte of page A writable while write-back had the page locked" in found
    assert "by P1 reported success without 3 on the disk." in found


def test_a_load_that_reports_the_loss_itself_is_explained() -> None:
    run = fault(faults.SwapPteTakenForNone)
    assert run.steps[-1].rule.name == "load"
    assert "cleared the pte by which P1 had the content" in said(run)


def test_words_say_where_the_older_content_is_from() -> None:
    found = said(fault(faults.RmapForgetsKey))
    assert "1 was stored in step 1, store(A) by P1." in found
    assert "removed frame0, the last copy of 2; slot0 has 1." in found


def test_the_timeline_shows_what_the_tlbs_have() -> None:
    shown = timeline(fault(faults.ForkDoesNotFlush).trace())
    assert "P1 tlb A: none -> frame0 rw dirty young" in " ".join(shown.split())


# bugs that are no loss


class KeepsTheLock(Kernel):
    """page_remove_rmap() locks the page, and zap frees it so."""

    __slots__ = ()

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        page.lock.trylock(self.current)
        return super().page_remove_rmap(page)


class Mistyped(Kernel):
    """An exception in the patch's code."""

    __slots__ = ()

    def maybe_mkwrite(self, pte: Pte, vma: Vma) -> Pte:
        return pte.set(VM_WRITE) if vma.vm_flgs else pte  # type: ignore[attr-defined]


class Endless(Kernel):
    """A loop without preemption points."""

    __slots__ = ()

    def can_share_swap_page(self, page: Page) -> bool:
        while page.mapcount:
            pass
        return False


class Spins(Kernel):
    """A loop with preemption points."""

    __slots__ = ()

    def page_referenced(self, page: Page) -> Steps[int]:
        while page.mapcount:
            yield "page_referenced: again"
        return 0


class CallsItself(Kernel):
    """A call without an end."""

    __slots__ = ()

    def maybe_mkwrite(self, pte: Pte, vma: Vma) -> Pte:
        return self.maybe_mkwrite(pte, vma)


class CallsItselfInSteps(Kernel):
    """A call without an end, with preemption points."""

    __slots__ = ()

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        yield "page_remove_rmap: again"
        yield from self.page_remove_rmap(page)


class LocksTwice(Kernel):
    """The ptl is taken by a task that has it."""

    __slots__ = ()

    def migration_locks(self, mm: Mm) -> None:
        mm.ptl.acquire(self.current)

    def page_add_new_anon_rmap(self, page: Page, vma: Vma, address: int) -> None:
        self.migration_locks(vma.vm_mm)


STORE, FORK = "store(page=A, process=P1, stop=None)", "fork(child=P2, process=P1, stop=None)"
MUNMAP = "munmap(page=A, process=P1, stop=None)"
RECLAIM = "reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)"
WRITTEN = "pageout_done(holder=P1, page=A)"
STOPPED = 'store(page=A, process=P1, stop="do_page_fault: mmap_sem")'
BUGS = [
    (
        KeepsTheLock,
        "page_remove_rmap",
        "locked frame0, which it does not in 2.6.26",
        (STORE, MUNMAP),
    ),
    (Mistyped, "maybe_mkwrite", "AttributeError: 'Vma' object has no attribute 'vm_flgs'", (STORE,)),
    (Endless, "can_share_swap_page", "the loop does not end", (STORE, FORK, STORE)),
    (
        Spins,
        "page_referenced",
        "the loop does not end",
        (STORE, RECLAIM),
    ),
    (CallsItself, "maybe_mkwrite", "it calls itself for ever", (STORE,)),
    (CallsItselfInSteps, "page_remove_rmap", "it calls itself for ever", (STORE, MUNMAP)),
    (LocksTwice, "migration_locks", "BUG: lock order", (STORE,)),
]
each_bug = pytest.mark.parametrize(
    ("kernel", "blamed", "printed", "calls"), BUGS, ids=lambda value: getattr(value, "__name__", "")
)


@each_bug
def test_a_bug_is_blamed_on_the_function_of_the_patch(
    kernel: type[Kernel], blamed: str, printed: str, calls: tuple[str, ...]
) -> None:
    run = trace(kernel, "s390", SMALL, recorded(kernel, calls))
    assert run.bug is not None
    assert (run.bug.at, run.bug.statement.function) == (len(calls) - 1, blamed)
    assert printed in " ".join(words(run).split())


@each_bug
def test_the_timeline_of_a_bug_ends_with_its_mark(
    kernel: type[Kernel], blamed: str, printed: str, calls: tuple[str, ...]
) -> None:
    run = trace(kernel, "s390", SMALL, recorded(kernel, (*calls, STORE)))
    assert [(row.step, row.mark) for row in run.rows if row.mark] == [(len(calls) - 1, BUG_MARK)]
    assert len(run.done) == len(calls)
    assert f"<-- {BUG_MARK}" in text(run)


@pytest.mark.parametrize("kernel", [Endless, Spins, CallsItself, CallsItselfInSteps], ids=lambda one: one.__name__)
def test_a_replay_of_a_step_without_an_end_ends(kernel: type[Kernel]) -> None:
    calls = next(calls for one, _, _, calls in BUGS if one is kernel)
    with pytest.raises(EndlessStep):
        explain(kernel, "s390", SMALL, recorded(kernel, calls))


INCONSISTENT = [
    (
        faults.ForkDoesNotFlush,
        "dup_mmap",
        "did not clear P1's TLB entry A, as it does in 2.6.26",
        (STORE, "fork(child=P3, process=P1, stop=None)"),
    ),
    (
        faults.ForkForgetsSwapDuplicate,
        "copy_one_pte",
        "did not set count of slot0 to 3, as it does in 2.6.26",
        (STORE, RECLAIM, FORK),
    ),
    (faults.NoTag, "tag_page_dirty", "did not set tag_dirty of frame0, as it does in 2.6.26", (STORE,)),
    (
        faults.ThrowsSharedSlotAway,
        "free_swap_and_cache",
        "set count of slot0 to 0, which it does not in 2.6.26",
        (STORE, FORK, RECLAIM, WRITTEN, RECLAIM, "madvise_dontneed(page=A, process=P2, stop=None)"),
    ),
]


@pytest.mark.parametrize(
    ("kernel", "blamed", "differs", "calls"), INCONSISTENT, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_wrong_count_is_blamed_on_the_first_difference_to_the_base(
    kernel: type[Kernel], blamed: str, differs: str, calls: tuple[str, ...]
) -> None:
    of = fault(kernel)
    bug = bug_of(kernel, of.arch, of.scope, recorded(kernel, calls))
    assert bug is not None
    assert isinstance(bug.error, Inconsistent)
    assert (bug.at, bug.statement.function) == (len(calls) - 1, blamed)
    assert differs in bug.said


def test_a_bug_of_a_base_function_names_what_the_patch_did_before() -> None:
    bug = bug_of(faults.DropsThePtl, "s390", SMALL, recorded(faults.DropsThePtl, [STORE]))
    assert bug is not None
    assert bug.statement.function == "page_add_new_anon_rmap"
    assert f"in step 1 {bug.statement} was the last function of the patch that ran" in bug.said


def test_a_loop_of_the_patch_is_not_blamed_on_what_it_calls() -> None:
    bug = bug_of(
        faults.ReferencedWhileMapped, "s390", SMALL, recorded(faults.ReferencedWhileMapped, [STORE, RECLAIM])
    )
    assert bug is not None
    assert bug.statement.function == "page_referenced"
    assert bug.said == f"{bug.statement}: the loop does not end"


def test_a_bug_that_shows_later_is_said_to_show_later() -> None:
    calls = ("store(page=B, process=P1, stop=None)", "munmap(page=B, process=P1, stop=None)", STORE)
    files = Scope(pages=2, slots=0, files=(ext2,), also=("threads",))
    bug = bug_of(faults.FreesDirty, "s390", files, recorded(faults.FreesDirty, calls))
    assert bug is not None
    assert (bug.at, bug.statement.function) == (2, "free_hot_cold_page")
    assert bug.said.startswith("BUG: ")
    assert f"in step 2 {bug.statement} caused the first difference to 2.6.26, which shows in step 3: " in bug.said


def test_a_replay_does_not_depend_on_the_garbage_collector() -> None:
    run = fault(faults.RmapForgetsKey)
    ticks = run.report().ticks
    kept = gc.get_threshold()
    try:
        for allocations in range(200, 8_000, 200):  # until the collector closes an operation that is under way
            gc.disable()
            system = System(Kernel, "s390", SMALL)
            system.step(*recorded(Kernel, [STOPPED])[0])
            system.kernel.tasks[0].own = {"cycle": system}
            del system
            gc.set_threshold(gc.get_count()[0] + allocations)
            gc.enable()
            assert run.report().ticks == ticks
    finally:
        gc.set_threshold(*kept)
        gc.enable()
