"""Invalidation as of 2.6.18: a page that a fault is about to map is taken out of the page cache.

Faults did not hold the page lock then (they do since 54cb8821de07, 2007). invalidate_mapping_pages(), by drop_caches
or by a write with O_DIRECT, finds the page clean and not mapped and removes it, though the fault has a reference. The
process maps a page that no file has: what it stores with MAP_SHARED goes nowhere.
"""

from typing import ClassVar

from mm_sim.address_space import AddressSpace
from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault
from mm_sim.mm import VM_SHARED, Mm, Vma
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.system import Rule, System
from strategies.rules import named


def drop_caches(s: System, process: int, file: int) -> Steps[None]:
    kernel = s.kernel
    assert isinstance(kernel, InvalidateUnlocked)
    return kernel.invalidate_mapping_pages(next(mapping for mapping in kernel.files if mapping.name == file))


class InvalidateUnlocked(Kernel):
    __slots__ = ()

    title = "before: invalidate_complete_page() race fix"
    posted = "until commit 016eb4a0ed06, 26 September 2006, Andrew Morton"
    applies_to = "2.6.18"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {
        "file": ("s390", "x86"),
        "threads": ("s390", "x86"),
    }
    rules = (Rule("drop_caches", {"process": "process", "file": "file"}, named, drop_caches),)

    def do_linear_fault(self, mm: Mm, vma: Vma, address: int, write: bool) -> Steps[Fault]:
        """do_no_page(), with the page unlocked.

        For truncate_count stands a look, under the ptl, at the file's size and at PG_uptodate, which truncation
        clears. tmpfs and private write faults are as in 2.6.26.
        """
        mapping = vma.vm_file
        assert mapping is not None
        if mapping.shmem or (write and not vma.vm_flags & VM_SHARED):
            return (yield from super().do_linear_fault(mm, vma, address, write))
        index = address - vma.vm_start + vma.vm_pgoff
        page = yield from self.filemap_fault(mapping, index)
        if type(page) is not Page:
            return Fault.OOM if page else Fault.SIGBUS
        page.lock.release(self.current)
        yield "do_no_page: page found"
        if write and mapping.page_mkwrite and not (yield from self.block_page_mkwrite(page, mapping)):
            self.put_page(page)
            return Fault.SIGBUS
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        installed = mm.pte[address] is None and index < mapping.i_size and page.PG_uptodate
        if installed:
            entry = self.mk_pte(page, vma)
            if write:
                entry = self.maybe_mkwrite(entry.set(self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
            self.page_add_file_rmap(page)
            page.count += 1
        mm.ptl.release(self.current)
        if installed and write:
            yield "do_no_page: page mapped"
            yield from self.set_page_dirty(page)
        self.put_page(page)
        return Fault.DONE

    def invalidate_mapping_pages(self, mapping: AddressSpace) -> Steps[None]:
        """invalidate_mapping_pages(), mm/truncate.c: clean pages that are not mapped leave the page cache."""
        for index in range(len(mapping.pages)):
            page = yield from self.find_get_page(mapping, index)
            if page is None:
                continue
            if page.lock.trylock(self.current):
                if page.mapping is mapping and not (page.PG_dirty or page.PG_writeback or page.mapcount):
                    yield "invalidate_mapping_pages: not mapped"
                    yield from self.invalidate_complete_page(mapping, page)
                page.lock.release(self.current)
            self.put_page(page)

    def invalidate_complete_page(self, mapping: AddressSpace, page: Page) -> Steps[None]:
        """invalidate_complete_page(), page locked: not if it is dirty."""
        if page.buffers is not None and not self.try_to_free_buffers(page):
            return
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        if not page.PG_dirty:
            self.remove_from_page_cache_locked(page)
            self.put_page(page)

    def remove_from_page_cache_locked(self, page: Page) -> None:
        """__remove_from_page_cache(), which did not yet ask whether the page is mapped."""
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        mapping.pages[page.index] = None
        page.mapping = None
        page.tag_dirty = False
