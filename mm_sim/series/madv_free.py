"""madvise(MADV_FREE) as of 4.5, with direct I/O that pins by get_user_pages_fast().

MADV_FREE takes the dirty marks of an anonymous page; reclaim discards the page if it finds none. add_to_swap() no
longer marks the page dirty, so that the marks tell. get_user_pages_fast() marks nothing either (get_user_pages()
does): a page that a device is about to fill passes for free, its pte goes, and the process reads zeroes. This is
reported of 4.12 and later (802a3a92ad7a), which keep such pages out of the swap cache by PG_swapbacked, a flag that
2.6.26 does not have; the look at the marks is the same here. MADV_FREE does not clear the change bit of a storage
key: on s390 reclaim discards no page.
"""

from collections.abc import Callable
from errno import EINVAL, ENOMEM
from typing import ClassVar

from mm_sim.ghost import either
from mm_sim.kernel import Kernel
from mm_sim.mm import VM_LOCKED, Mm, Vma
from mm_sim.page import DIRTY, WRITE, YOUNG, ZERO, Page, Pte, SwapSlot
from mm_sim.sched import Steps
from mm_sim.system import Rule, System
from strategies.rules import unlocked


def may_read_as_zeroes(s: System, mm: Mm, page: int) -> None:
    """madvise(2): until it is stored to again the page reads as before, or as zeroes."""
    space = s.ghost.spaces[mm]
    for each in (space, *space.forks.values()):
        each.values[page] = either(each.values[page], ZERO)


def can_free(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and unlocked(s, process, page) and space.of[page] is None


def madvise_free(s: System, process: int, page: int) -> Steps[None]:
    kernel = s.kernel
    assert isinstance(kernel, MadvFree)
    mm = kernel.current.mm
    assert mm is not None
    may_read_as_zeroes(s, mm, page)
    s.ghost.taking(mm, page)  # a transfer under way may go to the page that is freed
    if not (yield from kernel.sys_madvise_free(page)):
        may_read_as_zeroes(s, mm, page)
    s.ghost.taken(mm, page)


class MadvFree(Kernel):
    __slots__ = ()

    title = "mm: support madvise(MADV_FREE)"
    posted = "commit 854e9ed09ded, 15 January 2016, Minchan Kim"
    applies_to = "4.5"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {
        "anon pins": ("x86",),
    }
    rules = (Rule("madvise_free", {"process": "process", "page": "page"}, can_free, madvise_free),)

    def sys_madvise_free(self, addr: int) -> Steps[int]:
        """sys_madvise(MADV_FREE), madvise_free_single_vma(), of one page."""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_madvise: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        vma = mm.find_vma(addr)
        error = 0
        if vma is None:
            error = -ENOMEM
        elif vma.vm_flags & VM_LOCKED or vma.vm_file is not None:
            error = -EINVAL
        else:
            yield from self.madvise_free_pte_range(vma, addr)
        mm.mmap_sem.up_read(task)
        return error

    def madvise_free_pte_range(self, vma: Vma, addr: int) -> Steps[None]:
        """madvise_free_pte_range(). The TLBs are flushed at once; a late flush is another bug (99baac21e458)."""
        mm, task = vma.vm_mm, self.current
        yield "madvise_free_pte_range: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        ptent = mm.pte[addr]
        if type(ptent) is SwapSlot:
            yield from self.free_swap_and_cache(ptent)
            self.set_pte_at(mm, addr, None)
        elif type(ptent) is Pte and (yield from self.madvise_free_page(ptent.page)):
            ptent = mm.pte[addr]  # the CPU may have set bits meanwhile
            assert type(ptent) is Pte
            if ptent.bits & (YOUNG | DIRTY):
                self.set_pte_at(mm, addr, ptent.clear(YOUNG | DIRTY))
                self.flush_tlb_page(mm, addr)
        mm.ptl.release(task)

    def madvise_free_page(self, page: Page) -> Steps[bool]:
        """In madvise_free_pte_range(): PG_dirty and the slot go, unless the page is mapped elsewhere, too."""
        if not page.PG_swapcache and not page.PG_dirty:
            return True
        if not page.lock.trylock(self.current):
            return False
        free = page.mapcount == 1
        if free and page.PG_swapcache:
            free = yield from self.remove_exclusive_swap_page(page)  # try_to_free_swap()
        if free:
            page.PG_dirty = False
        page.lock.release(self.current)
        return free

    def add_to_swap(self, page: Page) -> Steps[bool]:
        """add_to_swap() without SetPageDirty(), then what try_to_unmap() does with TTU_LZFREE.

        A page that stays mapped is marked dirty: its slot has never been written.
        """
        if not self.arch.pte_dirty:
            return (yield from super().add_to_swap(page))
        while True:
            entry = self.get_swap_page()
            if entry is None:
                self.mark("swap full")
                return False
            if (yield from self.add_to_swap_cache(page, entry)):
                break
            self.swap_free(entry)
        yield from self.try_to_unmap_lazyfree(page)
        if page.mapcount:
            page.PG_dirty = True
        return True

    def try_to_unmap_lazyfree(self, page: Page) -> Steps[None]:
        """try_to_unmap_anon() with TTU_LZFREE."""
        anon_vma = yield from self.page_lock_anon_vma(page)
        if anon_vma is None:
            return
        for vma in anon_vma.head:
            if not (yield from self.try_to_unmap_one_lazyfree(page, vma)) or not page.mapcount:
                break
            yield "try_to_unmap: next vma"
        anon_vma.lock.release(self.current)

    def try_to_unmap_one_lazyfree(self, page: Page, vma: Vma) -> Steps[bool]:
        """try_to_unmap_one() with TTU_LZFREE: False stands for SWAP_FAIL."""
        address = self.vma_address(page, vma)
        if address is None:
            return True
        pte = yield from self.page_check_address(page, vma, address)
        if pte is None:
            return True
        mm = vma.vm_mm
        if vma.vm_flags & VM_LOCKED or self.ptep_clear_flush_young(vma, address, pte):
            mm.ptl.release(self.current)
            return False
        self.set_pte_at(mm, address, None)  # ptep_clear_flush()
        if mm.tlbs:
            self.flush_tlb_page(mm, address)
        yield "try_to_unmap_one: pte cleared"
        if pte.bits & DIRTY:
            yield from self.set_page_dirty(page)
        if not self.may_discard(page):
            self.swap_duplicate(page.swap_slot())
            if mm not in self.mmlist:
                self.mmlist.insert(0, mm)
            self.set_pte_at(mm, address, page.swap_slot())
        yield from self.page_remove_rmap(page)
        self.put_page(page)
        mm.ptl.release(self.current)
        return True

    def may_discard(self, page: Page) -> bool:
        """Asked in try_to_unmap_one() once the pte is gone: no store has reached the page since MADV_FREE."""
        return not page.PG_dirty

    def get_user_pages_fast(self, mm: Mm, addr: int) -> Page | None:
        """get_user_pages_fast(), arch/x86/mm/gup.c, of one page to be written: without a lock or a mark."""
        pte = mm.pte[addr]
        if not self.arch.pte_dirty or type(pte) is not Pte or not pte.bits & WRITE:
            return None
        pte.page.count += 1
        pte.page.PG_referenced = True
        return pte.page

    def sys_read_direct(self, addr: int, copy_from_device: Callable[[Page], int]) -> Steps[bool]:
        mm = self.current.mm
        assert mm is not None
        yield "dio_refill_pages: get_user_pages_fast"
        page = self.get_user_pages_fast(mm, addr)
        if page is None:
            return (yield from super().sys_read_direct(addr, copy_from_device))
        yield "dio_bio_submit: page pinned"
        self.arch.write(page, copy_from_device(page))
        yield "dio_bio_complete: page filled"
        yield from self.set_page_dirty_lock(page)
        self.put_page(page)
        return True
