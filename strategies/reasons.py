"""Why a mutant that is not killed does the same as the kernel: what is said in docs/mutants.md. Plain data."""

from __future__ import annotations

from typing import Final

#: Why a mutant that is not killed does the same as the kernel.
REASONS: Final[dict[str, tuple[str, ...]]] = {
    "a swap pte and a migration entry have no dirty bit (include/linux/swapops.h)": (
        "memory.copy_one_pte: the dirty bit in self.set_pte_at(dst_mm, addr, pte)",
        "memory.copy_one_pte: the dirty bit in self.set_pte_at(dst_mm, addr, pte) (2)",
        "memory.copy_one_pte: the dirty bit in self.set_pte_at(src_mm, addr, pte)",
        "mprotect.change_pte_range: the dirty bit in "
        "self.set_pte_at(mm, address, oldpte.page.make_migration_entry(write=False))",
        "rmap.try_to_unmap_one: the dirty bit in self.set_pte_at(mm, address, entry)",
        "rmap.try_to_unmap_one: the dirty bit in "
        "self.set_pte_at(mm, address, page.make_migration_entry(bool(pte.bits & WRITE)))",
    ),
    "mk_pte() with vm_page_prot makes a clean pte, and page_mkclean_one() has just cleaned it": (
        "migrate.remove_migration_pte: the dirty bit in "
        "self.set_pte_at(mm, address, pte.set(WRITE) if entry.write else pte)",
        "rmap.page_mkclean_one: the dirty bit in self.set_pte_at(mm, address, pte.clear(DIRTY | WRITE))",
        "swapfile.unuse_pte: the dirty bit in self.set_pte_at(mm, addr, page.ptes[0])",
    ),
    "copy_page_range() leaves a vma without an anon_vma to the child's faults, and a shared one never has one": (
        "memory.copy_one_pte: DIRTY in pte.clear(DIRTY)",
    ),
    "the page is locked, or not yet in a cache, and remove_mapping() holds tree_lock for a page that it has locked "
    "(shrink_page_list()), which is another": (
        "migrate.migrate_page_move_mapping: tree_lock.busy()",
        "shmem.shmem_unuse: self.tree_lock.busy()",
        "swap_state.add_to_swap_cache: self.tree_lock.busy()",
        "swap_state.delete_from_swap_cache: self.tree_lock.busy()",
        "swapfile.remove_exclusive_swap_page: self.tree_lock.busy()",
    ),
    "add_to_swap() marks an anonymous page dirty when it gets a slot again (`Add it to the swap cache and mark it "
    "dirty')": (
        "swapfile.free_swap_and_cache: self.SetPageDirty(page)",
        "swapfile.remove_exclusive_swap_page: self.SetPageDirty(page)",
        "swapfile.part_page_and_slot: self.SetPageDirty(page)",
    ),
    "migration_entry_wait() only waits: the access faults again": (
        "memory.migration_entry_wait: mm.ptl.acquire(self.current)",
    ),
    "unmap_and_move() moves a page for nothing that truncation has orphaned: its corner case 2": (
        "migrate.unmap_and_move: page.mapping is not None",
    ),
    "page_mkclean() has the page lock and i_mmap_lock: at its address in a shared vma is no other page": (
        "dirty_tracking_race.mkclean_check_address: pte.page is page",
    ),
    # write faults of a file
    "try_to_unmap_one() and copy_one_pte() have put a parent with a swap pte on mmlist": (
        "memory.copy_one_pte: src_mm in self.mmlist",
    ),
    "the fix fault_page_locked marks the page dirty itself, under the page lock and before there is a pte that may "
    "write; 2.6.26 needs it": (
        "filemap.block_page_mkwrite: page.lock.acquire(self.current)",
        "filemap.block_page_mkwrite: self.mark_buffer_dirty(page)",
        "page_writeback.clear_page_dirty_for_io: self.set_page_dirty(page)",
    ),
    "the CPU sets the dirty bit with the store itself, page_mkclean_one() looks at the write bit, too, and the page "
    "has PG_dirty before": (
        "fault_page_locked.wp_page_shared: self.arch.pte_dirty in self.arch.pte_young | self.arch.pte_dirty",
        "fault_page_locked.wp_page_shared: the dirty bit in "
        "self.set_pte_at(mm, address, self.maybe_mkwrite(entry, vma))",
    ),
    "a CPU whose translation allows less than the pte faults once more (`useless tlb flushes', handle_pte_fault())": (
        "fault_page_locked.wp_page_shared: self.flush_tlb_page(mm, address)",
    ),
    "who calls looks again: at page->mapping under the page lock (__do_fault()), or at the pte, which truncation has "
    "cleared (do_wp_page())": (
        "fault_page_locked.wp_page_shared: page.mapping is mapping",
        "filemap.block_page_mkwrite: page.mapping is mapping",
    ),
    # truncation
    "what is dirty past the end is not kept: truncate_complete_page() calls cancel_dirty_page()": (
        "filemap.block_page_mkwrite: page.index < mapping.i_size",
        "shmem.shmem_writepage: self.set_page_dirty(page) (2)",
    ),
    "i_size is set before the ptes go (vmtruncate()): a page that is mapped later is unmapped by "
    "truncate_inode_pages(), which waits for its lock": (
        "filemap.block_page_mkwrite: page.index <= mapping.i_size",
        "shmem.shmem_fault: index >= mapping.i_size",
    ),
    "truncate_inode_pages() waits for the write, and the blocks go after that (vmtruncate())": (
        "filemap.block_write_full_page: page.index < mapping.i_size",
    ),
    "do_generic_file_read() looks at i_size once the page is uptodate, and not before": (
        "filemap.generic_file_read: index < mapping.i_size",
    ),
    "who reads while the file is cut may find what was there": (
        "filemap.generic_file_read: index < mapping.i_size (2)",
    ),
    "shmem_truncate() frees what has gone to swap: it comes when nothing is in the page cache any more": (
        "shmem.shmem_writepage: index >= mapping.i_size",
    ),
    "of a page that has gone (`Race with truncate?', __set_page_dirty()) the tag goes with the page, which has it "
    "here; in the kernel it is the radix tree's": ("page_writeback.tag_page_dirty: page.mapping is mapping",),
    "what leaves the page cache is mapped nowhere (BUG_ON(page_mapped(page)), __remove_from_page_cache())": (
        "truncate.truncate_inode_pages: page.mapping is mapping",
    ),
    "i_size is set before (vmtruncate()), so shmem_writepage() leaves the page where it is; reclaim and migration "
    "count this reference": ("truncate.truncate_complete_page: page.mapping is not mapping",),
    "all that do_fsync() does under it is to write what a file has beside its pages (ext2_sync_file()), which is "
    "left out": ("filemap.do_fsync: mapping.i_mutex.acquire(self.current)",),
    "who writes or truncates has a reference, and the last one takes the inode away (iput())": (
        "truncate.sys_unlink: mapping.i_mutex.acquire(self.current)",
    ),
    # the page cache and its tree_lock
    "remove_mapping() holds tree_lock for a page that it has locked, and this one is new, or locked by another; the "
    "radix tree itself, which the lock keeps whole, is left out": (
        "filemap.new_locked_page: mapping.tree_lock.busy()",
        "filemap.remove_from_page_cache: mapping.tree_lock.busy()",
        "shmem.shmem_getpage: mapping.tree_lock.busy()",
        "shmem.shmem_getpage: self.tree_lock.busy()",
        "shmem.shmem_unuse: mapping.tree_lock.busy()",
        "shmem.shmem_writepage: mapping.tree_lock.busy()",
        "shmem.shmem_writepage: self.tree_lock.busy()",
    ),
    "who finds the page before it has gone waits for its lock, and looks at page->mapping again, or maps what is the "
    "same as in the slot; the radix tree itself is left out": ("vmscan.remove_mapping: tree_lock.acquire(task)",),
    "who marks a page dirty has a reference, which remove_mapping() counts under tree_lock": (
        "page_writeback.tag_page_dirty: mapping.tree_lock.busy()",
    ),
    "info->lock is held from the look at the swap vector on (shmem_getpage()): there is no second": (
        "shmem.shmem_getpage: mapping.swap[index] is not swap",
    ),
    "the loop looks the page up again, and waits for its lock there": ("shmem.shmem_getpage: page.lock.busy()",),
    "who fails as if out of memory has read and stored nothing": (
        "filemap.filemap_fault: mapping.pages[index] is None",
        "filemap.generic_file_read: mapping.pages[index] is None",
        "filemap.generic_file_write: mapping.pages[index] is None",
        "shmem.shmem_fault: index < mapping.i_size",
        "shmem.shmem_getpage: mapping.pages[index] is None",
    ),
    # write-back
    "__set_page_dirty() marks once more what is marked": ("page_writeback.set_page_dirty_and_tag: page.PG_dirty",),
    "the lock keeps page->mapping from being freed (set_page_dirty_lock()), and no address_space is freed here": (
        "page_writeback.set_page_dirty_lock: page.lock.acquire(self.current)",
    ),
    "the vma is not freed between find_vma() and get_file(), nor is any here": (
        "msync.sys_msync: mm.mmap_sem.down_read(task)",
    ),
    # reclaim
    "page_mapping_inuse() says what is worth keeping, not what may go": (
        "vmscan.page_mapping_inuse: page.mapcount > 0",
    ),
    "it waits for nothing but the success of lumpy reclaim: shrink_page_list() looks at PG_writeback again": (
        "vmscan.pageout: page.PG_writeback",
    ),
    "remove_mapping() looks at PG_dirty again, under tree_lock": (
        "vmscan.shrink_locked_page: page.PG_dirty",
        "vmscan.shrink_locked_page: page.PG_dirty (3)",
    ),
    "shrink_page_list() looks once more, with the page locked again": (
        "vmscan.shrink_locked_page: page.PG_dirty (2)",
        "vmscan.shrink_locked_page: page.PG_writeback (3)",
    ),
    # faults
    "on x86 the CPU sets the dirty bit at the store itself; until then the page is what it was, or is an anonymous "
    "one that add_to_swap() will mark, or who writes to it for the user calls set_page_dirty_lock()": (
        "memory.do_anonymous_page: self.arch.pte_dirty in self.mk_pte(page, vma).set(self.arch.pte_dirty)",
        "memory.do_anonymous_page: the dirty bit in self.set_pte_at(mm, address, entry)",
        "memory.do_linear_fault: self.arch.pte_dirty in entry.set(self.arch.pte_dirty)",
        "memory.do_linear_fault: the dirty bit in self.set_pte_at(mm, address, entry)",
        "memory.do_swap_page: self.arch.pte_dirty in pte.set(self.arch.pte_dirty)",
        "memory.do_wp_page: self.arch.pte_dirty in self.arch.pte_young | self.arch.pte_dirty",
        "memory.do_wp_page: self.arch.pte_dirty in self.mk_pte(new_page, vma).set(self.arch.pte_dirty)",
        "memory.do_wp_page: the dirty bit in self.set_pte_at(mm, address, entry)",
        "memory.handle_pte_fault: self.arch.pte_dirty in entry.set(self.arch.pte_dirty)",
        "memory.handle_pte_fault: mm.pte[address] is not entry",
    ),
    "an older translation allows less, so the CPU faults once more (`spurious', handle_pte_fault())": (
        "memory.do_wp_page: self.flush_tlb_page(mm, address)",
        "memory.handle_pte_fault: self.flush_tlb_page(mm, address)",
    ),
    "only the age of the page differs": (
        "rmap.page_referenced_file: mapping.i_mmap_lock.acquire(self.current)",
        "rmap.ptep_clear_flush_young: self.flush_tlb_page(vma.vm_mm, address)",
    ),
    "a shared mapping of tmpfs may write from its first pte on (vm_page_prot), so do_wp_page() does not come here; "
    "for a disk file the bases have fault_page_locked in its place": (
        "memory.wp_page_shared: mm.pte[address] is not orig_pte",
        "memory.wp_page_shared: mm.ptl.acquire(task)",
        "memory.wp_page_shared: page.lock.busy()",
        "memory.wp_page_shared: self.arch.pte_dirty in self.arch.pte_young | self.arch.pte_dirty",
        "memory.wp_page_shared: self.flush_tlb_page(mm, address)",
        "memory.wp_page_shared: self.set_page_dirty(page)",
        "memory.wp_page_shared: the dirty bit in self.set_pte_at(mm, address, entry)",
    ),
    "only for tmpfs, as fault_page_locked has marked other pages before: a tmpfs page becomes dirty when it is "
    "unmapped": ("memory.do_linear_fault: self.set_page_dirty(page)",),
    "VM_FAULT_OOM where the pte has changed fails an access that could be done: nothing was stored": (
        "memory.do_swap_page: mm.pte[address] is entry",
        "memory.do_swap_page: mm.ptl.acquire(task)",
    ),
    "who holds the ptl at a preemption point has emptied or changed the pte before, and the look at the pte is one "
    "step with what it decides; what it is in the kernel without the ptl, the model does not show": (
        "memory.do_wp_page: mm.ptl.acquire(task)",
        "memory.handle_pte_fault: mm.ptl.acquire(task)",
        "migrate.remove_migration_pte: mm.ptl.acquire(self.current)",
        "swapfile.unuse_pte: mm.ptl.acquire(self.current)",
    ),
    "nobody knows the child's mm yet but swapoff, which comes to the parent first, whose mmap_sem fork holds": (
        "fork.dup_mmap: mm.mmap_sem.down_write_nested(task)",
    ),
    "nobody but rmap comes to the child's ptes, and it sees those that are copied; that two CPUs at once break the "
    "page table, the model leaves out": ("memory.copy_page_range: dst_mm.ptl.acquire(task)",),
    "copy_pte_range() counts only how long it has held the ptls": (
        "memory.copy_page_range: src_mm.pte[addr] is None",
    ),
    # rmap
    "a pte that maps the page has a reference to it, and pageout(), remove_mapping() and migrate_page_move_mapping() "
    "count these: a page that is still mapped stays": (
        "migrate.unmap_and_move: page.mapcount (2)",
        "rmap.page_lock_anon_vma: anon_vma.lock.acquire(self.current)",
        "rmap.page_lock_anon_vma: page.mapcount",
        "rmap.try_to_unmap: page.mapcount",
        "rmap.try_to_unmap_anon: page.mapcount",
        "rmap.try_to_unmap_anon: page.mapcount (2)",
        "rmap.try_to_unmap_file: mapping.i_mmap_lock.acquire(self.current)",
        "rmap.try_to_unmap_file: page.mapcount",
    ),
    "a vma is added at the tail of a list, where a walk that is under way still comes to it; that two CPUs at once "
    "break the list itself, the model leaves out": (
        "mmap.vma_link: anon_vma.lock.acquire(self.current)",
        "rmap.anon_vma_link: anon_vma.lock.acquire(self.current)",
        "rmap.anon_vma_prepare: anon_vma.lock.acquire(self.current)",
    ),
    "all vmas that map an anonymous page have its anon_vma and its index (__page_check_anon_rmap())": (
        "rmap.page_add_anon_rmap: page.mapcount == 1",
    ),
    "a pte that may write counts as dirty (page_mkclean_one()), and the page was marked before it might": (
        "rmap.page_mkclean: self.arch.page_test_dirty(page)",
    ),
    "a change bit that stays set makes the page dirty once more": (
        "rmap.page_mkclean: self.arch.page_clear_dirty(page)",
        "rmap.page_remove_rmap: self.arch.page_clear_dirty(page)",
        "swapoff_key.unuse_mm: self.arch.page_clear_dirty(page)",
    ),
    "the change bit goes to PG_dirty too early, and a later store sets it again": (
        "rmap.page_remove_rmap: page.mapcount",
    ),
    "all that unmap_mapping_range() with even_cows == 0 unmaps is past the end, where private copies go, too "
    "(vmtruncate())": ("memory.zap_pte_range: page.mapping is not check_mapping",),
    # migration
    "set_page_dirty(newpage) sets it again": ("migrate.migrate_page_move_mapping: page.tag_dirty",),
    "mmap_sem keeps the vma from which follow_page() starts; the model starts from the pte": (
        "migrate.sys_move_pages: mm.mmap_sem.down_read(task)",
    ),
    # swap
    "remove_mapping() holds tree_lock for a page that it has locked, so that TestSetPageLocked() fails": (
        "swapfile.free_swap_and_cache: self.tree_lock.busy()",
    ),
    "two mappings are not one, whatever the count of the slot": ("swapfile.can_share_swap_page: count <= 1",),
    "with more users the page goes, too, once swap is half full (vm_swap_full()), and it is marked dirty": (
        "swapfile.free_swap_and_cache: page.count == 2",
    ),
    "it is looked at twice, and the page is locked, so no write begins in between": (
        "swapfile.remove_exclusive_swap_page: page.PG_writeback",
        "swapfile.remove_exclusive_swap_page: page.PG_writeback (2)",
    ),
    "only the swap cache has the slot, so who has another reference finds another pte under the ptl, and tries "
    "again; and the page is marked dirty": ("swapfile.remove_exclusive_swap_page: page.count != 2 (2)",),
    "unuse_pte() looks again under the ptl": ("swapfile.unuse_vma: vma.vm_mm.pte[addr] is entry",),
    "a vma of another anon_vma has no pte with the slot": ("swapfile.unuse_vma: page.mapping is vma.anon_vma",),
    "lock_page() waits, too, and then for writeback": (
        "swapfile.try_to_unuse: page.PG_writeback",
        "swapfile.try_to_unuse: page.lock.busy()",
    ),
    "swapoff has a reference, so pageout() keeps the page, and no write begins": (
        "swapfile.try_to_unuse: page.PG_writeback (2)",
    ),
    "swapoff does not end: it reads the slot again and again, and loses nothing": (
        "swapfile.unuse_vma: page.mapping is not None",
    ),
    # architectures
    "what the kernel writes to a page, it marks dirty itself, or clears the change bit after (SetPageUptodate())": (
        "S390.write: page.key_c = True",
    ),
    "a CPU that walks the page table at each store, loses less": (
        "X86.store: DIRTY in DIRTY | WRITE",
        "X86.store: WRITE in DIRTY | WRITE",
    ),
}
