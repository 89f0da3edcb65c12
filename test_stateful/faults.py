"""Faults to be blamed: each a small patch that loses a page, or breaks a promise, in a way of its own."""

from __future__ import annotations

from collections.abc import Callable

from mm_sim.address_space import AddressSpace
from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault, MmuGather
from mm_sim.kernel.rmap import Swap
from mm_sim.mm import VM_SHARED, AnonVma, Mm, Vma
from mm_sim.page import DIRTY, WRITE, Page, Pte, SwapSlot
from mm_sim.sched import Steps, no_steps
from mm_sim.series.easy_mprotect import EasyMprotect
from mm_sim.series.easy_mprotect_fork import EasyMprotectFork
from mm_sim.system import Rule, System
from strategies.rules import named


class CanShareIgnoresSwap(Kernel):
    """can_share_swap_page() does not count the references to the slot."""

    __slots__ = ()

    def can_share_swap_page(self, page: Page) -> bool:
        return page.mapcount <= 1


class CowOrder(Kernel):
    """do_wp_page() until 23 June 2008: the old page's mapcount drops before the pte is switched."""

    __slots__ = ()

    def do_wp_page(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        task = self.current
        old = orig_pte.page
        if old.lock.trylock(task):
            reuse = self.can_share_swap_page(old)
            old.lock.release(task)
            if reuse:
                self.set_pte_at(mm, address, self.maybe_mkwrite(orig_pte.set(self.arch.pte_dirty), vma))
                mm.ptl.release(task)
                return Fault.WRITE
        old.count += 1
        new = self.alloc_page()
        if new is None:
            self.put_page(old)
            mm.ptl.release(task)
            return Fault.OOM
        self.arch.write(new, old.content)
        self.set_new_page_uptodate(new)
        yield from self.page_remove_rmap(old)
        yield "do_wp_page: old page not counted any more"
        self.set_pte_at(mm, address, self.maybe_mkwrite(self.mk_pte(new, vma).set(self.arch.pte_dirty), vma))
        self.lru_cache_add_active(new)
        self.page_add_new_anon_rmap(new, vma, address)
        self.put_page(old)
        self.put_page(old)
        mm.ptl.release(task)
        return Fault.WRITE


class EasyForFilePages(EasyMprotectFork):
    """The easy way for file pages, too, by a method that returns another one's steps."""

    __slots__ = ()

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        if ptent.bits & WRITE:
            self.set_page_dirty(page)
        return self.page_zap_rmap(page)

    def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
        return self.page_remove_rmap(old_page)


class EasyForFilePagesGenerator(EasyMprotect):
    """The same, as a generator."""

    __slots__ = ()

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        if ptent.bits & WRITE:
            yield from self.set_page_dirty(page)
        yield from self.page_zap_rmap(page)


class ForkLeavesParentWritable(Kernel):
    """copy_one_pte() does not write-protect the parent."""

    __slots__ = ()

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        before = src_mm.pte[addr]
        super().copy_one_pte(dst_mm, src_mm, vma, addr)
        if type(before) is Pte and not vma.vm_flags & VM_SHARED:
            self.set_pte_at(src_mm, addr, before)


class HelperLooksAtDirty(Kernel):
    """copy_one_pte() asks a helper whether to write-protect the parent."""

    __slots__ = ()

    def dirty_without_slot(self, page: Page) -> bool:
        return page.PG_dirty and not page.PG_swapcache

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        before = src_mm.pte[addr]
        super().copy_one_pte(dst_mm, src_mm, vma, addr)
        if type(before) is Pte and self.dirty_without_slot(before.page):
            self.set_pte_at(src_mm, addr, before)


class SwapPteTakenForNone(Kernel):
    """do_swap_page() throws the slot away, and the load reports the loss itself."""

    __slots__ = ()

    def do_swap_page(self, mm: Mm, vma: Vma, address: int, write: bool, entry: SwapSlot) -> Steps[Fault]:
        yield "do_swap_page: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        if mm.pte[address] is entry:
            yield from self.free_swap_and_cache(entry)
            self.set_pte_at(mm, address, None)
        mm.ptl.release(self.current)
        return (yield from self.do_anonymous_page(mm, vma, address))


class NoMkclean(Kernel):
    """Write-back leaves the ptes writable."""

    __slots__ = ()

    def page_mkclean(self, page: Page) -> Steps[bool]:
        return False
        yield


class UnlockedBeforeRead(Kernel):
    """swap_readpage() unlocks the page before the data are there."""

    __slots__ = ()

    def swap_readpage(self, page: Page) -> Steps[None]:
        value = page.swap_slot().content
        page.lock.release(self.current)
        yield "swap_readpage: reading"
        self.arch.write(page, value)
        self.set_page_uptodate(page)


class WpDoesNotWait(Kernel):
    """wp_page_shared() does not wait for the page lock; PG_dirty and its tag are set at once."""

    __slots__ = ()

    def set_page_dirty(self, page: Page) -> Steps[None]:
        page.PG_dirty = True
        page.tag_dirty = type(page.mapping) is AddressSpace and page.mapping.accounts_dirty
        return no_steps()

    def wp_page_shared(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        page = orig_pte.page
        page.count += 1
        entry = orig_pte.set(self.arch.pte_young | self.arch.pte_dirty)
        self.set_pte_at(mm, address, self.maybe_mkwrite(entry, vma))
        mm.ptl.release(self.current)
        yield "do_wp_page: shared pte writable"
        yield from self.set_page_dirty(page)
        self.put_page(page)
        return Fault.WRITE


class ZapForgetsPteDirty(Kernel):
    """zap_pte_range() forgets the dirty bit of a file page's pte."""

    __slots__ = ()

    def zap_file_pte(self, tlb: MmuGather, page: Page, ptent: Pte) -> Steps[None]:
        return
        yield


class RmapForgetsKey(Kernel):
    """page_remove_rmap() does not look at the storage key."""

    __slots__ = ()

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        page.mapcount -= 1
        return
        yield


class ReferencedClearsKey(Kernel):
    """page_referenced() clears the key with SSKE in place of RRBE."""

    __slots__ = ()

    def page_referenced(self, page: Page) -> Steps[int]:
        referenced = yield from super().page_referenced(page)
        self.arch.page_clear_dirty(page)
        return referenced


class NoFlushBeforeFree(Kernel):
    """The gathered pages are freed before the TLBs are flushed."""

    __slots__ = ()

    def tlb_flush(self, tlb: MmuGather, mm: Mm) -> Steps[None]:
        tlb.need_flush = False
        return
        yield


class ForkDoesNotFlush(Kernel):
    """fork() write-protects the parent's ptes and leaves its threads' TLBs as they are."""

    __slots__ = ()

    def dup_mmap(self, mm: Mm, oldmm: Mm) -> Steps[None]:
        tlbs, oldmm.tlbs = oldmm.tlbs, []
        yield from super().dup_mmap(mm, oldmm)
        oldmm.tlbs = tlbs


class MkcleanDoesNotFlush(Kernel):
    """page_mkclean_one() leaves the TLBs as they are."""

    __slots__ = ()

    def page_mkclean_one(self, page: Page, vma: Vma) -> Steps[bool]:
        address = self.vma_address(page, vma)
        pte = None if address is None else (yield from self.page_check_address(page, vma, address))
        if pte is None or address is None:
            return False
        self.set_pte_at(vma.vm_mm, address, pte.clear(DIRTY | WRITE))
        vma.vm_mm.ptl.release(self.current)
        return True


class CowSkipped(Kernel):
    """do_wp_page() always uses the page again."""

    __slots__ = ()

    def do_wp_page(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        self.set_pte_at(mm, address, self.maybe_mkwrite(orig_pte.set(self.arch.pte_dirty), vma))
        mm.ptl.release(self.current)
        return Fault.WRITE
        yield


class ForkForgetsSwapDuplicate(Kernel):
    """copy_one_pte() copies a swap pte and does not count it."""

    __slots__ = ()

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        pte = src_mm.pte[addr]
        if type(pte) is SwapSlot:
            self.set_pte_at(dst_mm, addr, pte)
        else:
            super().copy_one_pte(dst_mm, src_mm, vma, addr)


class FileUnlockedBeforeRead(Kernel):
    """readpage() unlocks the page, up to date, before the data are there."""

    __slots__ = ()

    def readpage(self, page: Page) -> Steps[None]:
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        value = mapping.blocks[page.index]
        self.set_page_uptodate(page)
        page.lock.release(self.current)
        yield "readpage: reading"
        self.arch.write(page, value)


class NoTag(Kernel):
    """set_page_dirty() does not set the dirty tag."""

    __slots__ = ()

    def tag_page_dirty(self, page: Page, mapping: AddressSpace) -> Steps[None]:
        return
        yield


class NoBuffers(Kernel):
    """set_page_dirty() leaves the buffers clean."""

    __slots__ = ()

    def set_page_dirty(self, page: Page) -> Steps[None]:
        return self.set_page_dirty_and_tag(page)


class ForgetsTheError(Kernel):
    """end_buffer_async_write() does not set AS_EIO."""

    __slots__ = ()

    def end_buffer_async_write(self, page: Page, uptodate: bool) -> None:
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        if uptodate:
            mapping.blocks[page.index] = page.io
        page.PG_writeback = False


class WritebackTakesTheError(Kernel):
    """Write-back in the background waits for the writes, and takes their error for its own."""

    __slots__ = ()

    def background_writeout(self, mapping: AddressSpace) -> Steps[None]:
        yield from super().background_writeout(mapping)
        yield from self.filemap_fdatawait(mapping)


class ReportsLate(Kernel):
    """filemap_fdatawait() looks for an error before it waits."""

    __slots__ = ()

    def filemap_fdatawait(self, mapping: AddressSpace) -> Steps[bool]:
        error, mapping.AS_EIO = mapping.AS_EIO, False
        for page in mapping.pages:
            while page is not None and page.PG_writeback:
                yield page
        return not error


class AioDoesNotLookAgain(Kernel):
    """sys_io_submit() marks the page dirty before the I/O only."""

    __slots__ = ()

    def sys_io_submit(self, addr: int, copy_from_device: Callable[[Page], int]) -> Steps[bool]:
        page = yield from self.dio_get_page(addr)
        if page is None:
            return False
        yield from self.set_page_dirty_lock(page)
        yield "dio_bio_submit: page marked dirty"
        self.arch.write(page, copy_from_device(page))
        self.put_page(page)
        return True


class DirectWriteLeavesTheCache(Kernel):
    """generic_file_direct_write() leaves clean pages in the page cache."""

    __slots__ = ()

    def invalidate_inode_pages2_range(self, mapping: AddressSpace, index: int) -> Steps[bool]:
        return True
        yield


class CleanInTheSwapCache(Kernel):
    """add_to_swap() does not mark the page dirty, and reclaim takes it for written."""

    __slots__ = ()

    def add_to_swap(self, page: Page) -> Steps[bool]:
        entry = self.get_swap_page()
        return entry is not None and (yield from self.add_to_swap_cache(page, entry))


class FsyncDoesNotWait(Kernel):
    """filemap_fdatawait() returns while the write is in progress."""

    __slots__ = ()

    def filemap_fdatawait(self, mapping: AddressSpace) -> Steps[bool]:
        return True
        yield


class FsyncSkipsWriteback(Kernel):
    """write_cache_pages() passes over a page under writeback, for fsync() too."""

    __slots__ = ()

    def write_cache_pages(self, mapping: AddressSpace, sync: bool) -> Steps[None]:
        return super().write_cache_pages(mapping, sync=False)


class MigrationForgetsDirty(Kernel):
    """migrate_page_copy() does not carry PG_dirty over."""

    __slots__ = ()

    def migrate_page_copy(self, new: Page, page: Page) -> Steps[None]:
        page.PG_dirty = False
        yield from super().migrate_page_copy(new, page)


class ThrowsSharedSlotAway(Kernel):
    """free_swap_and_cache() gives up the references of others, too."""

    __slots__ = ()

    def free_swap_and_cache(self, entry: SwapSlot) -> Steps[None]:
        while entry.map > 1 and entry.page is None:
            self.swap_free(entry)
        yield from super().free_swap_and_cache(entry)


class UnmapForgetsPteDirty(Kernel):
    """try_to_unmap_one() forgets the dirty bit of the pte."""

    __slots__ = ()

    def try_to_unmap_one(self, page: Page, vma: Vma, migration: bool = False) -> Steps[Swap]:
        address = self.vma_address(page, vma)
        if address is not None:
            pte = vma.vm_mm.pte[address]
            if type(pte) is Pte and pte.page is page:
                self.set_pte_at(vma.vm_mm, address, pte.clear(DIRTY))
        return (yield from super().try_to_unmap_one(page, vma, migration))


class MunmapLeavesPtes(Kernel):
    """zap_pte_range() gives pages back and leaves the ptes."""

    __slots__ = ()

    def zap_pte_range(
        self, tlb: MmuGather, vma: Vma, addr: int, end: int, check_mapping: AddressSpace | None = None
    ) -> Steps[None]:
        mm = vma.vm_mm
        yield "zap_pte_range: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        for address in range(addr, end):
            pte = mm.pte[address]
            if type(pte) is Pte:
                yield from self.zap_remove_rmap(pte.page, pte)
                yield from self.tlb_remove_page(tlb, pte.page)
        yield from self.zap_end(tlb, mm)


class WritesNothing(Kernel):
    """swap_writepage() unlocks the page and does not write it."""

    __slots__ = ()

    def swap_writepage(self, page: Page) -> Steps[None]:
        page.lock.release(self.current)
        return
        yield


class DontneedOfEverybody(Kernel):
    """madvise(MADV_DONTNEED) zeroes the page in place."""

    __slots__ = ()

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        self.arch.write(page, 0)
        return super().zap_remove_rmap(page, ptent)


class TruncateLeavesSwapEntries(Kernel):
    """shmem_truncate() leaves what was swapped out."""

    __slots__ = ()

    def shmem_truncate(self, mapping: AddressSpace, size: int) -> Steps[None]:
        return no_steps()


class MergesAnyOffset(Kernel):
    """vma_merge() extends the vma before over whatever part of its file comes after it."""

    __slots__ = ()

    def vma_merge(
        self,
        mm: Mm,
        prev: Vma | None,
        addr: int,
        end: int,
        flags: int,
        anon_vma: AnonVma | None,
        file: AddressSpace | None,
        pgoff: int,
    ) -> Steps[Vma | None]:
        if prev is not None and prev.vm_file is file is not None:
            pgoff = prev.vm_pgoff + addr - prev.vm_start
        return (yield from super().vma_merge(mm, prev, addr, end, flags, anon_vma, file, pgoff))


class AdjustKeepsOffset(Kernel):
    """vma_adjust() moves the start of a vma, and leaves its offset."""

    __slots__ = ()

    def vma_adjust(self, vma: Vma, start: int, end: int, pgoff: int, insert: Vma | None = None) -> Steps[None]:
        yield from super().vma_adjust(vma, start, end, vma.vm_pgoff, insert)


class FileFaultForgetsAnonVma(Kernel):
    """do_linear_fault() leaves the private copy in a vma without an anon_vma."""

    __slots__ = ()

    def do_linear_fault(self, mm: Mm, vma: Vma, address: int, write: bool) -> Steps[Fault]:
        fault = yield from super().do_linear_fault(mm, vma, address, write)
        vma.anon_vma = None
        return fault


class ModifyForgetsPteDirty(Kernel):
    """pte_modify() clears the dirty bit."""

    __slots__ = ()

    def pte_modify(self, oldpte: Pte, vma: Vma) -> Pte:
        return super().pte_modify(oldpte, vma).clear(DIRTY)


class MkcleanLeavesChildren(Kernel):
    """page_mkclean_one() passes over the ptes of processes that were forked."""

    __slots__ = ()

    def page_mkclean_one(self, page: Page, vma: Vma) -> Steps[bool]:
        if vma.vm_mm is not self.mms[0]:
            return False
        return (yield from super().page_mkclean_one(page, vma))


class WriteFaultUnlocks(Kernel):
    """shared_write_fault() marks the page dirty, and waits a moment without the page lock before the pte is set."""

    __slots__ = ()

    def shared_write_fault(self, page: Page) -> Steps[bool]:
        yield from self.set_page_dirty(page)
        page.lock.release(self.current)
        yield "shared_write_fault: page unlocked"
        while not page.lock.acquire(self.current):
            yield page.lock
        return True


class DropsThePtl(Kernel):
    """page_add_new_anon_rmap() drops the ptl of its caller."""

    __slots__ = ()

    def page_add_new_anon_rmap(self, page: Page, vma: Vma, address: int) -> None:
        super().page_add_new_anon_rmap(page, vma, address)
        vma.vm_mm.ptl.release(self.current)


class ReferencedWhileMapped(Kernel):
    """page_referenced() looks again as long as the page is mapped."""

    __slots__ = ()

    def page_referenced(self, page: Page) -> Steps[int]:
        while page.mapcount:
            yield from super().page_referenced(page)
        return 0


class FreesDirty(Kernel):
    """free_hot_cold_page() hands PG_dirty on to the next owner of the frame."""

    __slots__ = ()

    def free_hot_cold_page(self, page: Page) -> None:
        dirty = page.PG_dirty
        super().free_hot_cold_page(page)
        page.PG_dirty = dirty


def sync_page(s: System, process: int, file: int) -> Steps[None]:
    """A rule that promises what fsync() does."""
    kernel = s.kernel
    mapping = next(one for one in kernel.files if one.name == file)
    mapping.count += 1
    promise = s.ghost.sync_begins(mapping)
    yield from kernel.write_cache_pages(mapping, sync=True)
    done = yield from kernel.filemap_fdatawait(mapping)
    s.ghost.sync_ends(mapping, promise, done)
    yield from kernel.fput(mapping)


class SyncsByARuleOfItsOwn(Kernel):
    """A call that does what fsync() does, with the races that it has in 2.6.26."""

    __slots__ = ()
    rules = (Rule("sync_page", {"process": "process", "file": "file"}, named, sync_page),)
