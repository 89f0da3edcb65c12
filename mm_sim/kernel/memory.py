"""mm/memory.c: page tables are filled by faults, copied by fork and zapped."""

from __future__ import annotations

from enum import Enum

from mm_sim.kernel.swapfile import Swapfile
from mm_sim.mm import VM_WRITE, Mm, Vma
from mm_sim.page import WRITE, ZERO, Page, Pte, PteVal, SwapSlot
from mm_sim.sched import Steps


class Fault(Enum):
    """What handle_mm_fault() answers (include/linux/mm.h). WRITE: do_wp_page() has broken COW."""

    DONE = "0"
    OOM = "VM_FAULT_OOM"
    WRITE = "VM_FAULT_WRITE"


class MmuGather:
    """struct mmu_gather on x86 SMP: pages to give back once the TLBs are flushed."""

    __slots__ = ("pages",)

    def __init__(self) -> None:
        self.pages: list[Page] = []


class Memory(Swapfile):
    __slots__ = ()

    def mk_pte(self, page: Page) -> Pte:
        """mk_pte() with the vm_page_prot of a private vma: read-only, and accessed on x86."""
        return page.ptes[self.arch.pte_young]

    def maybe_mkwrite(self, pte: Pte, vma: Vma) -> Pte:
        """maybe_mkwrite()"""
        return pte.set(WRITE) if vma.vm_flags & VM_WRITE else pte

    # fork

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        """copy_one_pte(), under both ptls, for a COW mapping: both ptes become read-only, the child's old.

        On x86 the dirty bit stays in both; the parent's age is untouched.
        """
        pte = src_mm.pte[addr]
        assert pte is not None
        if type(pte) is not Pte:
            self.swap_duplicate(pte)
            self.set_pte_at(dst_mm, addr, pte)
            return
        pte = pte.clear(WRITE)
        self.set_pte_at(src_mm, addr, pte)
        page = pte.page
        page.count += 1
        self.page_dup_rmap(page, vma, addr)
        self.set_pte_at(dst_mm, addr, pte.clear(self.arch.pte_young))

    def copy_page_range(self, dst_mm: Mm, src_mm: Mm, vma: Vma) -> Steps[None]:
        """copy_page_range() down to copy_pte_range(): both ptls are held over the whole range."""
        if vma.anon_vma is None:
            return
        task = self.current
        yield "copy_pte_range: ptl"
        while not dst_mm.ptl.acquire(task):
            yield dst_mm.ptl
        while not src_mm.ptl.acquire_nested(task):
            yield src_mm.ptl
        for addr in range(vma.vm_start, vma.vm_end):
            if addr > vma.vm_start:
                yield "copy_pte_range: next pte"
            if src_mm.pte[addr] is not None:
                self.copy_one_pte(dst_mm, src_mm, vma, addr)
        src_mm.ptl.release(task)
        dst_mm.ptl.release(task)

    # exit, munmap, MADV_DONTNEED

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        """The call of page_remove_rmap() in zap_pte_range(), apart for the patches that change it."""
        return self.page_remove_rmap(page)

    def zap_pte_range(self, tlb: MmuGather, vma: Vma, addr: int, end: int) -> Steps[None]:
        """zap_pte_range(): one ptl over the block (ZAP_BLOCK_SIZE is more than any vma here).

        The dirty bit of an anonymous page's pte is ignored.
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
                self.set_pte_at(mm, address, None)
                yield from self.zap_remove_rmap(page, ptent)
                if self.arch.gathers:
                    tlb.pages.append(page)  # tlb_remove_page()
                else:
                    yield from self.free_page_and_swap_cache(page)
            elif ptent is not None:
                yield from self.free_swap_and_cache(ptent)
                self.set_pte_at(mm, address, None)
        mm.ptl.release(task)

    def tlb_finish_mmu(self, tlb: MmuGather) -> Steps[None]:
        """tlb_finish_mmu(), free_pages_and_swap_cache(): the batch is given back."""
        if tlb.pages:
            yield "tlb_finish_mmu: TLBs flushed"
            for page in tlb.pages:
                yield from self.free_swap_cache(page)
            for page in tlb.pages:
                self.put_page(page)

    def unmap_vmas(self, tlb: MmuGather, vmas: list[Vma], start: int, end: int) -> Steps[None]:
        """unmap_vmas(), unmap_page_range(): no ptl is held between two vmas."""
        for vma in vmas:
            yield from self.zap_pte_range(tlb, vma, max(start, vma.vm_start), min(end, vma.vm_end))

    def zap_page_range(self, vma: Vma, start: int, end: int) -> Steps[None]:
        """zap_page_range()"""
        tlb = MmuGather()
        yield from self.unmap_vmas(tlb, [vma], start, end)
        yield from self.tlb_finish_mmu(tlb)

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
        if old_page.lock.trylock(task):
            reuse = self.can_share_swap_page(old_page)
            old_page.lock.release(task)
        else:
            self.mark("page locked by someone else in do_wp_page")
        if reuse:
            entry = orig_pte.set(self.arch.pte_young | self.arch.pte_dirty)
            self.set_pte_at(mm, address, self.maybe_mkwrite(entry, vma))
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
            entry = self.maybe_mkwrite(self.mk_pte(new_page).set(self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
            self.lru_cache_add_active(new_page)
            self.page_add_new_anon_rmap(new_page, vma, address)
            yield from self.wp_remove_rmap(old_page)
            new_page = old_page  # the pte's reference to the old page goes
            ret = Fault.WRITE
        self.put_page(new_page)
        self.put_page(old_page)
        mm.ptl.release(task)
        return ret

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
        yield "do_swap_page: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        if mm.pte[address] is not entry:
            mm.ptl.release(task)
            page.lock.release(task)
            self.put_page(page)
            return Fault.DONE
        pte = self.mk_pte(page)
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
            entry = self.maybe_mkwrite(self.mk_pte(page).set(self.arch.pte_dirty), vma)
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
            return (yield from self.do_anonymous_page(mm, vma, address))
        yield "handle_pte_fault: pte read"
        if type(entry) is not Pte:
            return (yield from self.do_swap_page(mm, vma, address, write, entry))
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
        mm.ptl.release(task)
        return Fault.DONE

    # get_user_pages

    def follow_page(self, mm: Mm, address: int, write: bool) -> Steps[Page | None]:
        """follow_page() with FOLL_TOUCH, and FOLL_WRITE if `write`: the page, or None to fault it in."""
        yield "follow_page: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        pte = mm.pte[address]
        page = None
        if type(pte) is Pte and (pte.bits & WRITE or not write):
            page = pte.page
            if write and not pte.bits & self.arch.pte_dirty and not page.PG_dirty:
                self.set_page_dirty(page)
            self.mark_page_accessed(page)
        mm.ptl.release(self.current)
        return page

    def get_user_page(self, mm: Mm, vma: Vma, address: int, write: bool) -> Steps[bool]:
        """get_user_pages() for one page, without FOLL_GET: False stands for -ENOMEM.

        After a COW break the page is looked up as for a read.
        """
        while (yield from self.follow_page(mm, address, write)) is None:
            ret = yield from self.handle_pte_fault(mm, vma, address, write)
            if ret is Fault.OOM:
                return False
            if ret is Fault.WRITE:
                write = False
        return True

    def make_pages_present(self, mm: Mm, vma: Vma, start: int, end: int) -> Steps[bool]:
        """make_pages_present(): with write intent if the vma is writable, so it breaks COW."""
        for address in range(start, end):
            if not (yield from self.get_user_page(mm, vma, address, bool(vma.vm_flags & VM_WRITE))):
                return False
        return True
