"""mm/rmap.c: from a page to the page tables that map it."""

from __future__ import annotations

from enum import Enum

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.page_io import PageIo
from mm_sim.mm import VM_LOCKED, VM_READ, VM_SHARED, VM_WRITE, AnonVma, Vma
from mm_sim.page import DIRTY, WRITE, YOUNG, Page, Pte
from mm_sim.sched import KernelBug, Steps


class Swap(Enum):
    """What try_to_unmap() answers (include/linux/rmap.h)."""

    SUCCESS = "SWAP_SUCCESS"
    AGAIN = "SWAP_AGAIN"
    FAIL = "SWAP_FAIL"


class Rmap(PageIo):
    __slots__ = ()

    def anon_vma_prepare(self, vma: Vma) -> Steps[None]:
        """anon_vma_prepare(), find_mergeable_anon_vma(): a vma gets its anon_vma at the first fault.

        It takes a neighbour's when the two could be one vma but for their protection. Left out:
        page_table_lock against a second thread that prepares the same vma: the list append is atomic.
        """
        if vma.anon_vma is not None:
            return
        anon_vma = self.find_mergeable_anon_vma(vma) or AnonVma()
        while not anon_vma.lock.acquire(self.current):
            yield anon_vma.lock
        if vma.anon_vma is None:
            vma.anon_vma = anon_vma
            anon_vma.head.append(vma)
        anon_vma.lock.release(self.current)

    def find_mergeable_anon_vma(self, vma: Vma) -> AnonVma | None:
        """find_mergeable_anon_vma(), mm/mmap.c: the next vma's before the previous one's."""
        mmap = vma.vm_mm.mmap
        i = mmap.index(vma)
        for near in (*mmap[i + 1 : i + 2], *mmap[max(i - 1, 0) : i]):
            if (
                near.anon_vma is not None
                and (near.vm_end == vma.vm_start or vma.vm_end == near.vm_start)
                and near.vm_pgoff - near.vm_start == vma.vm_pgoff - vma.vm_start
                and near.vm_file is vma.vm_file
                and not (near.vm_flags ^ vma.vm_flags) & ~(VM_READ | VM_WRITE)
            ):
                return near.anon_vma
        return None

    def anon_vma_link(self, vma: Vma) -> Steps[None]:
        """anon_vma_link(): at the tail, so a child comes after its parent."""
        anon_vma = vma.anon_vma
        if anon_vma is not None:
            while not anon_vma.lock.acquire(self.current):
                yield anon_vma.lock
            anon_vma.head.append(vma)
            anon_vma.lock.release(self.current)

    def anon_vma_unlink(self, vma: Vma) -> Steps[None]:
        """anon_vma_unlink(); an empty anon_vma is left to the garbage collector."""
        anon_vma = vma.anon_vma
        if anon_vma is not None:
            while not anon_vma.lock.acquire(self.current):
                yield anon_vma.lock
            anon_vma.head.remove(vma)
            anon_vma.lock.release(self.current)

    def page_lock_anon_vma(self, page: Page) -> Steps[AnonVma | None]:
        """page_lock_anon_vma(): None if the page is not mapped. RCU keeps the anon_vma alive."""
        anon_vma = page.mapping
        if type(anon_vma) is not AnonVma or not page.mapcount:
            return None
        while not anon_vma.lock.acquire(self.current):
            yield anon_vma.lock
        return anon_vma

    def vma_address(self, page: Page, vma: Vma) -> int | None:
        """vma_address(): where `page` is expected in `vma`; None stands for -EFAULT."""
        address = vma.vm_start + page.index - vma.vm_pgoff
        return address if vma.vm_start <= address < vma.vm_end else None

    def page_check_address(self, page: Page, vma: Vma, address: int) -> Steps[Pte | None]:
        """page_check_address(): a look without the ptl, then one under it. Found: the ptl stays held."""
        mm = vma.vm_mm
        if type(mm.pte[address]) is not Pte:
            return None
        yield "page_check_address: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        pte = mm.pte[address]
        if type(pte) is Pte and pte.page is page:
            return pte
        mm.ptl.release(self.current)
        return None

    def ptep_clear_flush_young(self, vma: Vma, address: int, pte: Pte) -> bool:
        """ptep_clear_flush_young(): always 0 on s390, where no pte is young."""
        if not pte.bits & YOUNG:
            return False
        self.set_pte_at(vma.vm_mm, address, pte.clear(YOUNG))
        if vma.vm_mm.tlbs:
            self.flush_tlb_page(vma.vm_mm, address)
        return True

    def page_referenced_one(self, page: Page, vma: Vma) -> Steps[int | None]:
        """page_referenced_one(): 0 or 1, or None for a locked vma, which counts as 1 and ends the loop.

        The swap token and memory cgroups are left out.
        """
        address = self.vma_address(page, vma)
        if address is None:
            return 0
        pte = yield from self.page_check_address(page, vma, address)
        if pte is None:
            return 0
        referenced: int | None
        if vma.vm_flags & VM_LOCKED:
            referenced = None
        else:
            referenced = int(self.ptep_clear_flush_young(vma, address, pte))
        vma.vm_mm.ptl.release(self.current)
        return referenced

    def page_referenced_anon(self, page: Page) -> Steps[int]:
        """page_referenced_anon(). Left out, as for files: the count of ptes still to be found, which ends the loop
        early, perhaps too early if the page is mapped once more meanwhile; it is then taken for older than it is.
        """
        anon_vma = yield from self.page_lock_anon_vma(page)
        if anon_vma is None:
            return 0
        referenced = 0
        for vma in anon_vma.head:
            one = yield from self.page_referenced_one(page, vma)
            if one is None:
                referenced += 1
                break
            referenced += one
        anon_vma.lock.release(self.current)
        return referenced

    def page_referenced_file(self, page: Page, mapping: AddressSpace) -> Steps[int]:
        """page_referenced_file(): a locked shared vma counts without a look at its pte."""
        yield "page_referenced_file: i_mmap lock"
        while not mapping.i_mmap_lock.acquire(self.current):
            yield mapping.i_mmap_lock
        referenced = 0
        for vma in mapping.i_mmap:
            if vma.vm_flags & VM_LOCKED and vma.vm_flags & VM_SHARED:
                referenced += 1
                break
            one = yield from self.page_referenced_one(page, vma)
            if one is None:
                referenced += 1
                break
            referenced += one
            yield "page_referenced_file: next vma"
        mapping.i_mmap_lock.release(self.current)
        return referenced

    def page_referenced(self, page: Page) -> Steps[int]:
        """page_referenced(), page locked: PG_referenced, the ptes, then RRBE on s390."""
        referenced = int(page.PG_referenced)
        page.PG_referenced = False
        if page.mapcount:
            if page.PG_anon:
                referenced += yield from self.page_referenced_anon(page)
            elif type(page.mapping) is AddressSpace:
                referenced += yield from self.page_referenced_file(page, page.mapping)
        if self.arch.page_test_and_clear_young(page):
            referenced += 1
        return referenced

    def mkclean_check_address(self, page: Page, vma: Vma, address: int) -> Steps[Pte | None]:
        """The call of page_check_address() in page_mkclean_one(), apart for the patch that changes it."""
        return self.page_check_address(page, vma, address)

    def page_mkclean_one(self, page: Page, vma: Vma) -> Steps[bool]:
        """page_mkclean_one(): a pte that was writable counts, too, though clean."""
        address = self.vma_address(page, vma)
        if address is None:
            return False
        mm = vma.vm_mm
        if mm.ptl.owner is not None:
            self.mark("page_mkclean() while somebody holds the ptl")
        pte = yield from self.mkclean_check_address(page, vma, address)
        if pte is None:
            return False
        cleaned = bool(pte.bits & (DIRTY | WRITE))
        if cleaned:
            self.set_pte_at(mm, address, pte.clear(DIRTY | WRITE))
            if mm.tlbs:
                self.flush_tlb_page(mm, address)
        mm.ptl.release(self.current)
        return cleaned

    def page_mkclean_file(self, page: Page, mapping: AddressSpace) -> Steps[bool]:
        """page_mkclean_file(): the shared mappings, under i_mmap_lock."""
        yield "page_mkclean_file: i_mmap lock"
        while not mapping.i_mmap_lock.acquire(self.current):
            yield mapping.i_mmap_lock
        cleaned = False
        for vma in mapping.i_mmap:
            if vma.vm_flags & VM_SHARED:
                cleaned |= yield from self.page_mkclean_one(page, vma)
                yield "page_mkclean_file: next vma"
        mapping.i_mmap_lock.release(self.current)
        return cleaned

    def page_mkclean(self, page: Page) -> Steps[bool]:
        """page_mkclean(), page locked: make its ptes clean and read-only; on s390 the key is tested and cleared."""
        mapping = self.page_mapping(page)
        if not page.mapcount or mapping is None:
            return False
        cleaned = yield from self.page_mkclean_file(page, mapping)
        if self.arch.page_test_dirty(page):
            yield "page_mkclean: key tested"
            self.arch.page_clear_dirty(page)
            cleaned = True
        return cleaned

    def page_set_anon_rmap(self, page: Page, vma: Vma, address: int) -> None:
        """__page_set_anon_rmap()"""
        page.mapping = vma.anon_vma
        page.PG_anon = True
        page.index = address - vma.vm_start + vma.vm_pgoff

    def page_add_anon_rmap(self, page: Page, vma: Vma, address: int) -> None:
        """page_add_anon_rmap(): ptl held, page locked; with the CONFIG_DEBUG_VM check."""
        page.mapcount += 1
        if page.mapcount == 1:
            self.page_set_anon_rmap(page, vma, address)
        else:
            self.page_check_anon_rmap(page, vma, address)

    def page_check_anon_rmap(self, page: Page, vma: Vma, address: int) -> None:
        """__page_check_anon_rmap()"""
        if page.mapping is not vma.anon_vma or page.index != address - vma.vm_start + vma.vm_pgoff:
            raise KernelBug(f"{page!r} is mapped at {address} of {vma!r}, where rmap cannot find it")

    def page_add_new_anon_rmap(self, page: Page, vma: Vma, address: int) -> None:
        """page_add_new_anon_rmap(): a page only this page table will know."""
        page.mapcount = 1
        self.page_set_anon_rmap(page, vma, address)

    def page_dup_rmap(self, page: Page, vma: Vma, address: int) -> None:
        """page_dup_rmap(): fork adds a mapping to a mapped page."""
        if page.PG_anon:
            self.page_check_anon_rmap(page, vma, address)
        page.mapcount += 1

    def page_add_file_rmap(self, page: Page) -> None:
        """page_add_file_rmap()"""
        page.mapcount += 1

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        """page_remove_rmap(), the ptl of one mm held: after the last mapping the change bit moves to PG_dirty.

        The steps are apart, because other mms can map or reclaim the page in between. What makes them
        safe is the caller's reference, which remove_mapping() sees.
        """
        page.mapcount -= 1
        if page.mapcount:
            if page.mapcount < 0:
                raise KernelBug(f"Eeek! page_mapcount({page!r}) went negative!")
            return
        yield "page_remove_rmap: last mapping gone"
        if self.arch.page_test_dirty(page):
            yield "page_remove_rmap: key tested"
            self.arch.page_clear_dirty(page)
            yield "page_remove_rmap: key cleared"
            yield from self.set_page_dirty(page)

    def try_to_unmap_one(self, page: Page, vma: Vma, migration: bool = False) -> Steps[Swap]:
        """try_to_unmap_one(). Left out: update_hiwater_rss() and the other counters of the mm."""
        address = self.vma_address(page, vma)
        if address is None:
            return Swap.AGAIN
        pte = yield from self.page_check_address(page, vma, address)
        if pte is None:
            return Swap.AGAIN
        mm = vma.vm_mm
        if not migration and (vma.vm_flags & VM_LOCKED or self.ptep_clear_flush_young(vma, address, pte)):
            mm.ptl.release(self.current)
            return Swap.FAIL
        self.set_pte_at(mm, address, None)  # ptep_clear_flush()
        if mm.tlbs:
            self.flush_tlb_page(mm, address)
        yield "try_to_unmap_one: pte cleared"
        if pte.bits & DIRTY:
            yield from self.set_page_dirty(page)
        if page.PG_swapcache:
            entry = page.swap_slot()
            self.swap_duplicate(entry)
            if mm not in self.mmlist:
                self.mmlist.insert(0, mm)
            self.set_pte_at(mm, address, entry)
        elif migration:
            self.set_pte_at(mm, address, page.make_migration_entry(bool(pte.bits & WRITE)))
        elif page.PG_anon:
            raise KernelBug(f"{page!r} is anonymous and not in the swap cache: nowhere to find it again")
        yield from self.page_remove_rmap(page)
        self.put_page(page)
        mm.ptl.release(self.current)
        return Swap.AGAIN

    def try_to_unmap_anon(self, page: Page, migration: bool) -> Steps[Swap]:
        """try_to_unmap_anon(): the vmas in list order, under the anon_vma lock and, between two, no ptl."""
        anon_vma = yield from self.page_lock_anon_vma(page)
        if anon_vma is None:
            return Swap.AGAIN
        ret = Swap.AGAIN
        mapped = page.mapcount
        for vma in anon_vma.head:
            ret = yield from self.try_to_unmap_one(page, vma, migration)
            if ret is Swap.FAIL:
                if vma.vm_flags & VM_LOCKED and page.mapcount < mapped:
                    self.mark("SWAP_FAIL at a locked vma after another pte was unmapped")
                break
            if not page.mapcount:
                break
            yield "try_to_unmap: next vma"  # after the last, too: page_mapped() is looked at once more
        anon_vma.lock.release(self.current)
        return ret

    def try_to_unmap_file(self, page: Page, mapping: AddressSpace, migration: bool) -> Steps[Swap]:
        """try_to_unmap_file(): the vmas of the file, under i_mmap_lock. Left out: nonlinear mappings."""
        yield "try_to_unmap_file: i_mmap lock"
        while not mapping.i_mmap_lock.acquire(self.current):
            yield mapping.i_mmap_lock
        ret = Swap.AGAIN
        for vma in mapping.i_mmap:
            ret = yield from self.try_to_unmap_one(page, vma, migration)
            if ret is Swap.FAIL or not page.mapcount:
                break
            yield "try_to_unmap_file: next vma"
        mapping.i_mmap_lock.release(self.current)
        return ret

    def try_to_unmap(self, page: Page, migration: bool = False) -> Steps[Swap]:
        """try_to_unmap(), page locked."""
        if type(page.mapping) is AddressSpace:
            ret = yield from self.try_to_unmap_file(page, page.mapping, migration)
        else:
            ret = yield from self.try_to_unmap_anon(page, migration)
        return ret if page.mapcount else Swap.SUCCESS
