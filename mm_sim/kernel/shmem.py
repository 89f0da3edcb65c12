"""mm/shmem.c: tmpfs and shared anonymous memory.

Every region under info->lock is atomic here, so there is no object for the lock; what is waited for inside it in the
kernel (tree_lock) is waited for before. Who looks into the page cache in between, without the lock, finds no page,
and takes info->lock before it looks into the swap vector; the page itself is locked. Left out: accounting, policies,
huge directories of the swap vector.
"""

from __future__ import annotations

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.truncate import Truncate
from mm_sim.page import ZERO, Page, SwapSlot
from mm_sim.sched import Steps


class Shmem(Truncate):
    __slots__ = ()

    def shmem_writepage(self, page: Page) -> Steps[bool]:
        """shmem_writepage() for reclaim: the page moves from the file to the swap cache, dirty, and is unlocked.

        False stands for AOP_WRITEPAGE_ACTIVATE: no swap; the page is dirty again, and still locked.
        """
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        swap = self.get_swap_page()
        if swap is None:
            yield from self.set_page_dirty(page)
            return False
        yield "shmem_writepage: slot taken"
        while mapping.tree_lock.busy() or self.tree_lock.busy():
            yield mapping.tree_lock if mapping.tree_lock.busy() else self.tree_lock
        index = page.index
        # what is being truncated stays: i_size stands for info->next_index, which follows it
        if index >= mapping.i_size or not (yield from self.add_to_swap_cache(page, swap)):
            self.swap_free(swap)
            yield from self.set_page_dirty(page)
            return False
        self.remove_from_page_cache_locked(page)
        mapping.swap[index] = swap
        self.swap_duplicate(swap)
        self.put_page(page)  # the page cache's
        yield "shmem_writepage: in the swap cache"
        yield from self.set_page_dirty(page)
        self.mark("tmpfs page moved to swap")
        page.lock.release(self.current)
        return True

    def shmem_getpage(self, mapping: AddressSpace, index: int, write: bool, read: bool) -> Steps[Page | None]:
        """shmem_getpage(): the page, locked, with a reference; from the page cache, from swap, or new and zeroed.

        `write` is SGP_WRITE, which may go past the end, `read` SGP_READ, which gets None for a hole; else SGP_CACHE.
        None: past the end, or out of memory.
        """
        task = self.current
        while True:
            page = yield from self.find_lock_page(mapping, index)
            if page is not None:
                return page
            if index >= mapping.i_size and not write:
                return None
            swap = mapping.swap[index]
            if swap is not None:
                page = yield from self.lookup_swap_cache(swap)
                if page is None:
                    page = yield from self.read_swap_cache_async(swap)  # shmem_swapin()
                    if page is None:
                        if mapping.swap[index] is swap:
                            return None
                        continue
                    while page.lock.busy():
                        yield page.lock
                    self.put_page(page)
                    continue
                if not page.lock.trylock(task):
                    while page.lock.busy():
                        yield page.lock
                    self.put_page(page)
                    continue
                if page.PG_writeback:
                    while page.PG_writeback:
                        yield page
                    page.lock.release(task)
                    self.put_page(page)
                    continue
                while mapping.tree_lock.busy() or self.tree_lock.busy():
                    yield mapping.tree_lock if mapping.tree_lock.busy() else self.tree_lock
                if mapping.swap[index] is not swap or not self.add_to_page_cache(page, mapping, index):
                    page.lock.release(task)
                    self.put_page(page)
                    continue
                mapping.SHMEM_PAGEIN = True
                mapping.swap[index] = None
                yield from self.delete_from_swap_cache(page)
                yield from self.set_page_dirty(page)
                self.swap_free(swap)
                return page
            if read:
                return None
            page = yield from self.new_locked_page(mapping, index)
            if page is None:
                if mapping.pages[index] is None:
                    return None
                continue
            if mapping.swap[index] is not None or (index >= mapping.i_size and not write):
                self.remove_from_page_cache_locked(page)
                self.put_page(page)
                page.lock.release(task)
                self.put_page(page)
                continue
            mapping.SHMEM_PAGEIN = True
            self.arch.write(page, ZERO)
            self.set_page_uptodate(page)
            return page

    def shmem_fault(self, mapping: AddressSpace, index: int) -> Steps[Page | bool]:
        """shmem_fault(): the page, locked, with a reference. False: past the end (SIGBUS); True: out of memory."""
        if index >= mapping.i_size:
            return False
        page = yield from self.shmem_getpage(mapping, index, write=False, read=False)
        if page is None:
            return index < mapping.i_size
        self.mark_page_accessed(page)
        return page

    def shmem_truncate(self, mapping: AddressSpace, size: int) -> Steps[None]:
        """shmem_truncate(), once the page cache is cut: swap entries go, and what was swapped in since."""
        for index in range(size, len(mapping.swap)):
            swap = mapping.swap[index]
            if swap is not None:
                mapping.swap[index] = None
                yield from self.free_swap_and_cache(swap)
        if mapping.SHMEM_PAGEIN:
            yield from self.truncate_inode_pages(mapping, size)

    def shmem_unuse(self, entry: SwapSlot, page: Page) -> Steps[bool]:
        """shmem_unuse(), shmem_unuse_inode(): True if a file had the slot; then the page is unlocked and released.

        Left out: -EEXIST, which needs a filesystem stacked upon tmpfs, and igrab(), which spares a file that goes.
        """
        for mapping in self.files:
            if entry not in mapping.swap:
                continue
            index = mapping.swap.index(entry)
            yield "shmem_unuse_inode: found"
            while mapping.tree_lock.busy() or self.tree_lock.busy():
                yield mapping.tree_lock if mapping.tree_lock.busy() else self.tree_lock
            if mapping.swap[index] is entry and self.add_to_page_cache(page, mapping, index):
                yield from self.delete_from_swap_cache(page)
                yield from self.set_page_dirty(page)
                mapping.SHMEM_PAGEIN = True
                mapping.swap[index] = None
                self.swap_free(entry)
                self.mark("swapoff brings a tmpfs page back")
            page.lock.release(self.current)
            self.put_page(page)
            return True
        return False
