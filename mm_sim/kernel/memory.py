"""mm/memory.c: page tables are filled by faults, copied by fork and zapped."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from errno import EFAULT, ENOMEM

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.shmem import Shmem
from mm_sim.mm import VM_SHARED, VM_WRITE, Mm, Vma
from mm_sim.page import DIRTY, WRITE, YOUNG, ZERO, Migration, Page, Pte, PteVal, SwapSlot
from mm_sim.sched import Steps


class Fault(Enum):
    """What handle_mm_fault() answers (include/linux/mm.h). WRITE: do_wp_page() has broken COW."""

    DONE = "0"
    OOM = "VM_FAULT_OOM"
    SIGBUS = "VM_FAULT_SIGBUS"
    WRITE = "VM_FAULT_WRITE"


class MmuGather:
    """struct mmu_gather on x86 SMP: pages to give back once the TLBs are flushed.

    Two are for patches: `force_flush` asks for the flush before the ptl is dropped, `delayed` has mapped pages whose
    page_remove_rmap() waits for it, too.
    """

    __slots__ = ("delayed", "force_flush", "need_flush", "pages")

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.need_flush = self.force_flush = False
        self.delayed: list[Page] = []


class Memory(Shmem):
    __slots__ = ()

    def mk_pte(self, page: Page, vma: Vma) -> Pte:
        """mk_pte() with vm_page_prot: accessed on x86, and writable only where stores need not fault."""
        young = self.arch.pte_young
        return page.ptes[young] if vma.vm_file is None else page.ptes[young | vma.vm_page_prot()]

    def maybe_mkwrite(self, pte: Pte, vma: Vma) -> Pte:
        """maybe_mkwrite()"""
        return pte.set(WRITE) if vma.vm_flags & VM_WRITE else pte

    # fork

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        """copy_one_pte(), under both ptls; for a COW mapping both ptes become read-only. The child's is old.

        On x86 the dirty bit stays in both, but not in the child's of a shared mapping; the parent's age is untouched.
        With a swap pte the child goes on mmlist, behind its parent; behind one that is not on it swapoff does not
        find the child. Left out: with a migration entry, too; then swapoff goes round for ever.
        """
        pte = src_mm.pte[addr]
        assert pte is not None
        if type(pte) is SwapSlot:
            self.swap_duplicate(pte)
            if dst_mm not in self.mmlist and src_mm in self.mmlist:
                self.mmlist.insert(self.mmlist.index(src_mm) + 1, dst_mm)
            self.set_pte_at(dst_mm, addr, pte)
            return
        if type(pte) is Migration:
            if not vma.vm_flags & VM_SHARED:
                pte = pte.page.make_migration_entry(write=False)
                self.set_pte_at(src_mm, addr, pte)
            self.set_pte_at(dst_mm, addr, pte)
            return
        assert type(pte) is Pte
        if vma.vm_flags & VM_SHARED:
            pte = pte.clear(DIRTY)
        else:
            pte = pte.clear(WRITE)
            self.set_pte_at(src_mm, addr, pte)
        page = pte.page
        page.count += 1
        self.page_dup_rmap(page, vma, addr)
        self.set_pte_at(dst_mm, addr, pte.clear(self.arch.pte_young))

    def copy_page_range(self, dst_mm: Mm, src_mm: Mm, vma: Vma) -> Steps[None]:
        """copy_page_range() down to copy_pte_range(): both ptls are held over four ptes, as if others want them.

        A vma without an anon_vma is left to the child's faults.
        """
        if vma.anon_vma is None:
            return
        task = self.current
        progress = 32
        for addr in range(vma.vm_start, vma.vm_end):
            if progress >= 32:
                progress = 0
                if addr > vma.vm_start:
                    src_mm.ptl.release(task)
                    dst_mm.ptl.release(task)
                yield "copy_pte_range: ptl"
                while not dst_mm.ptl.acquire(task):
                    yield dst_mm.ptl
                while not src_mm.ptl.acquire_nested(task):
                    yield src_mm.ptl
            else:
                yield "copy_pte_range: next pte"
            progress += 1 if src_mm.pte[addr] is None else 8
            if src_mm.pte[addr] is not None:
                self.copy_one_pte(dst_mm, src_mm, vma, addr)
        src_mm.ptl.release(task)
        dst_mm.ptl.release(task)

    # exit, munmap, MADV_DONTNEED

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        """The call of page_remove_rmap() in zap_pte_range(), apart for the patches that change it."""
        return self.page_remove_rmap(page)

    def zap_file_pte(self, tlb: MmuGather, page: Page, ptent: Pte) -> Steps[None]:
        """What zap_pte_range() does for a page of a file only: the bits of the pte go to the page."""
        if ptent.bits & DIRTY:
            yield from self.set_page_dirty(page)
        if ptent.bits & YOUNG:
            page.PG_referenced = True

    def zap_pte_range(
        self, tlb: MmuGather, vma: Vma, addr: int, end: int, check_mapping: AddressSpace | None = None
    ) -> Steps[None]:
        """zap_pte_range(): one ptl over the block (ZAP_BLOCK_SIZE is more than any vma here).

        The dirty bit of an anonymous page's pte is ignored. With `check_mapping` (details->check_mapping) only pages
        of that file go.
        """
        mm = vma.vm_mm
        task = self.current
        yield "zap_pte_range: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        for address in range(addr, end):
            if address > addr:
                yield "zap_pte_range: next pte"
            ptent = mm.pte[address]
            if type(ptent) is Pte:
                page = ptent.page
                if check_mapping is not None and page.mapping is not check_mapping:
                    continue
                self.set_pte_at(mm, address, None)
                if not page.PG_anon:
                    yield from self.zap_file_pte(tlb, page, ptent)
                yield from self.zap_remove_rmap(page, ptent)
                yield from self.tlb_remove_page(tlb, page)
            elif ptent is not None and check_mapping is None:
                if type(ptent) is SwapSlot:
                    yield from self.free_swap_and_cache(ptent)
                self.set_pte_at(mm, address, None)
        yield from self.zap_end(tlb, mm)

    def zap_end(self, tlb: MmuGather, mm: Mm) -> Steps[None]:
        """The end of zap_pte_range(): the ptl is dropped. Apart for the patches that flush the TLBs before."""
        mm.ptl.release(self.current)
        return
        yield  # a generator, as what patches make of it

    def tlb_remove_page(self, tlb: MmuGather, page: Page) -> Steps[None]:
        """tlb_remove_page(): at once on s390, where IPTE has flushed the TLBs; else when the batch is given back."""
        if self.arch.gathers:
            tlb.pages.append(page)
            tlb.need_flush = True
        else:
            yield from self.free_page_and_swap_cache(page)

    def tlb_flush(self, tlb: MmuGather, mm: Mm) -> Steps[None]:
        """tlb_flush(), where there is another CPU's TLB to flush."""
        if mm.tlbs and tlb.need_flush:
            yield "tlb_flush: TLBs not yet flushed"
            self.flush_tlb_mm(mm)
        tlb.need_flush = False

    def free_pages_and_swap_cache(self, tlb: MmuGather) -> Steps[None]:
        """free_pages_and_swap_cache(), mm/swap_state.c: the batch is given back."""
        for page in tlb.pages:
            yield from self.free_swap_cache(page)
        for page in tlb.pages:
            self.put_page(page)
        tlb.pages.clear()

    def tlb_finish_mmu(self, tlb: MmuGather, mm: Mm) -> Steps[None]:
        """tlb_finish_mmu(), tlb_flush_mmu()"""
        if tlb.pages:
            yield from self.tlb_flush(tlb, mm)
            yield "tlb_finish_mmu: TLBs flushed"
            yield from self.free_pages_and_swap_cache(tlb)

    def unmap_vmas(
        self, tlb: MmuGather, vmas: list[Vma], start: int, end: int, check_mapping: AddressSpace | None = None
    ) -> Steps[None]:
        """unmap_vmas(), unmap_page_range(): no ptl is held between two vmas."""
        for vma in vmas:
            yield from self.zap_pte_range(tlb, vma, max(start, vma.vm_start), min(end, vma.vm_end), check_mapping)

    def zap_page_range(
        self, vma: Vma, start: int, end: int, check_mapping: AddressSpace | None = None
    ) -> Steps[None]:
        """zap_page_range()"""
        tlb = MmuGather()
        yield from self.unmap_vmas(tlb, [vma], start, end, check_mapping)
        yield from self.tlb_finish_mmu(tlb, vma.vm_mm)

    def unmap_mapping_range(self, mapping: AddressSpace, start: int, end: int, even_cows: bool) -> Steps[None]:
        """unmap_mapping_range(): pages [start, end) of the file go from all page tables, under i_mmap_lock.

        Private copies go only with `even_cows`. Left out: truncate_count and the restart after a long hold.
        """
        yield "unmap_mapping_range: i_mmap lock"
        while not mapping.i_mmap_lock.acquire(self.current):
            yield mapping.i_mmap_lock
        check_mapping = None if even_cows else mapping
        for vma in mapping.i_mmap:
            first = max(vma.vm_start, vma.vm_start + start - vma.vm_pgoff)
            last = min(vma.vm_end, vma.vm_start + end - vma.vm_pgoff)
            if first < last:
                yield from self.zap_page_range(vma, first, last, check_mapping)
        mapping.i_mmap_lock.release(self.current)

    # faults

    def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
        """The call of page_remove_rmap() in do_wp_page(), apart for the patches that change it."""
        return self.page_remove_rmap(old_page)

    def do_wp_page(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        """do_wp_page(), entered with the ptl held, left without: reuse the page or copy it.

        In the order of 23 June 2008, in which the pte is switched before page_remove_rmap(old).
        """
        task = self.current
        old_page = orig_pte.page
        reuse = False
        if not old_page.PG_anon:
            if vma.vm_flags & VM_SHARED and vma.vm_flags & VM_WRITE:
                return (yield from self.wp_page_shared(mm, vma, address, orig_pte))
        elif old_page.lock.trylock(task):
            reuse = self.can_share_swap_page(old_page)
            old_page.lock.release(task)
        else:
            self.mark("page locked by someone else in do_wp_page")
        if reuse:
            entry = orig_pte.set(self.arch.pte_young | self.arch.pte_dirty)
            self.set_pte_at(mm, address, self.maybe_mkwrite(entry, vma))
            if mm.tlbs:  # ptep_set_access_flags()
                self.flush_tlb_page(mm, address)
            mm.ptl.release(task)
            return Fault.WRITE
        old_page.count += 1
        mm.ptl.release(task)
        yield from self.anon_vma_prepare(vma)
        yield "do_wp_page: ptl dropped"
        new_page = self.alloc_page()
        if new_page is None:
            self.put_page(old_page)
            return Fault.OOM
        self.arch.write(new_page, old_page.content)  # cow_user_page()
        self.set_new_page_uptodate(new_page)
        yield "do_wp_page: page copied"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        ret = Fault.DONE
        if mm.pte[address] is orig_pte:
            if old_page.PG_swapcache:
                self.mark("COW of a page in the swap cache")
            entry = self.maybe_mkwrite(self.mk_pte(new_page, vma).set(self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
            if mm.tlbs:
                self.flush_tlb_page(mm, address)
            self.lru_cache_add_active(new_page)
            self.page_add_new_anon_rmap(new_page, vma, address)
            yield from self.wp_remove_rmap(old_page)
            new_page = old_page  # the pte's reference to the old page goes
            ret = Fault.WRITE
        self.put_page(new_page)
        self.put_page(old_page)
        mm.ptl.release(task)
        return ret

    def wp_page_shared(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        """do_wp_page() for a page of a shared writable file mapping: page_mkwrite(), then reuse under the ptl alone.

        After that it waits until the page is unlocked, so that clear_page_dirty_for_io() cannot clear PG_dirty last.
        """
        task = self.current
        page = orig_pte.page
        mapping = vma.vm_file
        assert mapping is not None
        page.count += 1
        ret = Fault.WRITE
        if mapping.page_mkwrite:
            mm.ptl.release(task)
            if not (yield from self.block_page_mkwrite(page, mapping)):
                self.put_page(page)
                return Fault.SIGBUS
            yield "do_wp_page: page_mkwrite"
            while not mm.ptl.acquire(task):
                yield mm.ptl
            if mm.pte[address] is not orig_pte:
                ret = Fault.DONE
        if ret is Fault.WRITE:
            entry = self.maybe_mkwrite(orig_pte.set(self.arch.pte_young | self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
            if mm.tlbs:  # ptep_set_access_flags()
                self.flush_tlb_page(mm, address)
        mm.ptl.release(task)
        if ret is Fault.WRITE:
            yield "do_wp_page: shared pte writable"
            while page.lock.busy():  # wait_on_page_locked()
                yield page.lock
            yield from self.set_page_dirty(page)
        self.put_page(page)
        return ret

    def do_linear_fault(self, mm: Mm, vma: Vma, address: int, write: bool) -> Steps[Fault]:
        """do_linear_fault(), __do_fault(): a page of a file, or for a private write a copy of it.

        A page that can be written to is unlocked first, and then marked dirty.
        """
        task = self.current
        mapping = vma.vm_file
        assert mapping is not None
        index = address - vma.vm_start + vma.vm_pgoff
        fault = self.shmem_fault if mapping.shmem else self.filemap_fault
        found = yield from fault(mapping, index)
        if type(found) is not Page:
            return Fault.OOM if found else Fault.SIGBUS
        page = found
        copy: Page | None = None
        dirty = write and bool(vma.vm_flags & VM_SHARED)
        if write and not dirty:
            yield from self.anon_vma_prepare(vma)
            copy = self.alloc_page()
            if copy is None:
                page.lock.release(task)
                self.put_page(page)
                return Fault.OOM
            self.arch.write(copy, page.content)
            self.set_new_page_uptodate(copy)
        elif dirty and mapping.page_mkwrite:
            page.lock.release(task)
            if not (yield from self.block_page_mkwrite(page, mapping)):
                self.put_page(page)
                return Fault.SIGBUS
            yield "do_linear_fault: page_mkwrite"
            while not page.lock.acquire(task):
                yield page.lock
            if page.mapping is None:
                page.lock.release(task)
                self.put_page(page)
                return Fault.DONE
        marked = dirty and (yield from self.shared_write_fault(page))
        yield "do_linear_fault: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        installed = mm.pte[address] is None
        if installed:
            entry = self.mk_pte(copy or page, vma)
            if write:
                entry = self.maybe_mkwrite(entry.set(self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
            if copy is not None:
                self.lru_cache_add_active(copy)
                self.page_add_new_anon_rmap(copy, vma, address)
            else:
                self.page_add_file_rmap(page)
        elif copy is not None:
            self.put_page(copy)
        mm.ptl.release(task)
        page.lock.release(task)
        if not installed or copy is not None:
            self.put_page(page)
        elif dirty and not marked:
            page.count += 1
            yield "do_linear_fault: page unlocked"
            yield from self.set_page_dirty(page)
            self.put_page(page)
        return Fault.DONE

    def shared_write_fault(self, page: Page) -> Steps[bool]:
        """Where a patch can mark the page dirty, and say so, before there is a pte; 2.6.26 does nothing here."""
        return False
        yield

    def migration_entry_wait(self, mm: Mm, address: int, entry: Migration) -> Steps[Fault]:
        """migration_entry_wait(), mm/migrate.c: until the page is unlocked; then the access faults again."""
        page = entry.page
        yield "migration_entry_wait: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        waits = mm.pte[address] is entry
        mm.ptl.release(self.current)
        if waits:
            page.count += 1
            while page.lock.busy():
                yield page.lock
            self.put_page(page)
        return Fault.DONE

    def swapin_is_stale(self, page: Page, entry: SwapSlot) -> bool:
        """Not in 2.6.26: what do_swap_page() asks of the page it has locked, apart for the patches that change it."""
        return False

    def do_swap_page(self, mm: Mm, vma: Vma, address: int, write: bool, entry: SwapSlot) -> Steps[Fault]:
        """do_swap_page(): waits for the page lock, not for writeback. Left out: readahead, cgroups."""
        task = self.current
        page = yield from self.lookup_swap_cache(entry)
        if page is None:
            page = yield from self.read_swap_cache_async(entry)
            if page is None:
                yield "do_swap_page: ptl"
                while not mm.ptl.acquire(task):
                    yield mm.ptl
                ret = Fault.OOM if mm.pte[address] is entry else Fault.DONE
                mm.ptl.release(task)
                return ret
        self.mark_page_accessed(page)
        yield "do_swap_page: page lock"
        while not page.lock.acquire(task):
            yield page.lock
        if self.swapin_is_stale(page, entry):
            page.lock.release(task)
            self.put_page(page)
            return Fault.DONE
        yield "do_swap_page: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        if mm.pte[address] is not entry:
            mm.ptl.release(task)
            page.lock.release(task)
            self.put_page(page)
            return Fault.DONE
        pte = self.mk_pte(page, vma)
        if write and self.can_share_swap_page(page):
            pte = self.maybe_mkwrite(pte.set(self.arch.pte_dirty), vma)
            write = False
        self.set_pte_at(mm, address, pte)
        self.page_add_anon_rmap(page, vma, address)
        self.swap_free(entry)
        if self.vm_swap_full():
            yield from self.remove_exclusive_swap_page(page)
        page.lock.release(task)
        if write:
            return (yield from self.do_wp_page(mm, vma, address, pte))
        mm.ptl.release(task)
        return Fault.DONE

    def do_anonymous_page(self, mm: Mm, vma: Vma, address: int) -> Steps[Fault]:
        """do_anonymous_page(): a new zeroed page, for a read fault too (no zero page in 2.6.24 to 2.6.31)."""
        task = self.current
        yield from self.anon_vma_prepare(vma)
        page = self.alloc_page()
        if page is None:
            return Fault.OOM
        self.arch.write(page, ZERO)
        self.set_new_page_uptodate(page)
        yield "do_anonymous_page: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        if mm.pte[address] is None:
            self.lru_cache_add_active(page)
            self.page_add_new_anon_rmap(page, vma, address)
            entry = self.maybe_mkwrite(self.mk_pte(page, vma).set(self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
        else:
            self.put_page(page)
        mm.ptl.release(task)
        return Fault.DONE

    def handle_pte_fault(self, mm: Mm, vma: Vma, address: int, write: bool) -> Steps[Fault]:
        """handle_pte_fault(), handle_mm_fault(): the pte is read without the ptl."""
        task = self.current
        entry: PteVal = mm.pte[address]
        if entry is None:
            if vma.vm_file is not None:
                return (yield from self.do_linear_fault(mm, vma, address, write))
            return (yield from self.do_anonymous_page(mm, vma, address))
        yield "handle_pte_fault: pte read"
        if type(entry) is SwapSlot:
            return (yield from self.do_swap_page(mm, vma, address, write, entry))
        if type(entry) is Migration:
            return (yield from self.migration_entry_wait(mm, address, entry))
        assert type(entry) is Pte
        while not mm.ptl.acquire(task):
            yield mm.ptl
        if mm.pte[address] is entry:
            if write:
                if not entry.bits & WRITE:
                    return (yield from self.do_wp_page(mm, vma, address, entry))
                entry = entry.set(self.arch.pte_dirty)
            entry = entry.set(self.arch.pte_young)
            if mm.pte[address] is not entry:  # ptep_set_access_flags()
                self.set_pte_at(mm, address, entry)
            if write:
                if mm.tlbs:
                    self.flush_tlb_page(mm, address)
        mm.ptl.release(task)
        return Fault.DONE

    # get_user_pages

    def follow_page(self, mm: Mm, address: int, write: bool, get: bool) -> Steps[Page | None]:
        """follow_page() with FOLL_TOUCH, FOLL_WRITE if `write`, FOLL_GET if `get`: None to fault the page in."""
        yield "follow_page: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        pte = mm.pte[address]
        page = None
        if type(pte) is Pte and (pte.bits & WRITE or not write):
            page = pte.page
            if get:
                page.count += 1
            if write and not pte.bits & self.arch.pte_dirty:
                yield from self.set_page_dirty(page)
            self.mark_page_accessed(page)
        mm.ptl.release(self.current)
        return page

    def get_user_page(self, mm: Mm, vma: Vma, address: int, write: bool, get: bool = False) -> Steps[Page | int]:
        """get_user_pages() for one page, with a reference if `get`: or -ENOMEM, or -EFAULT.

        After a COW break the page is looked up as for a read.
        """
        while (page := (yield from self.follow_page(mm, address, write, get))) is None:
            ret = yield from self.handle_pte_fault(mm, vma, address, write)
            if ret is Fault.OOM:
                return -ENOMEM
            if ret is Fault.SIGBUS:
                return -EFAULT
            if ret is Fault.WRITE:
                write = False
        return page

    def make_pages_present(self, mm: Mm, vma: Vma, start: int, end: int) -> Steps[int]:
        """make_pages_present(): with write intent if the vma is writable, so it breaks COW."""
        for address in range(start, end):
            page = yield from self.get_user_page(mm, vma, address, bool(vma.vm_flags & VM_WRITE))
            if isinstance(page, int):
                return page
        return 0

    def access_process_vm(self, mm: Mm, address: int, copy_from_user: Callable[[Page], int]) -> Steps[bool]:
        """access_process_vm() with write and force, as for PTRACE_POKEDATA: False stands for -EIO.

        Left out: the private copy that `force` makes in a read-only shared mapping.
        """
        task = self.current
        if not mm.mm_users:
            return False
        mm.mm_users += 1  # get_task_mm()
        yield "access_process_vm: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        vma = mm.find_vma(address)
        page: Page | int = -EFAULT
        if vma is not None and vma.vm_flags & (VM_WRITE | VM_SHARED) != VM_SHARED:
            page = yield from self.get_user_page(mm, vma, address, write=True, get=True)
        if type(page) is Page:
            yield "access_process_vm: page pinned"
            self.arch.write(page, copy_from_user(page))
            yield "access_process_vm: copied"
            yield from self.set_page_dirty_lock(page)
            self.put_page(page)
        mm.mmap_sem.up_read(task)
        yield from self.mmput(mm)
        return type(page) is Page
