"""mm/swap_state.c: the swap cache.

The radix tree of swapper_space is the `page` of each slot. `tree_lock` is an object because remove_mapping()
can be interrupted under it; the other regions under it are atomic, so they wait for it and do not take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mm_sim.kernel.filemap import Filemap
from mm_sim.page import Page, SwapSlot
from mm_sim.sched import KernelBug, Steps


class SwapState(Filemap):
    __slots__ = ()

    if TYPE_CHECKING:  # mm/swapfile.c, mm/page_io.c

        def get_swap_page(self) -> SwapSlot | None: ...
        def swap_free(self, entry: SwapSlot) -> None: ...
        def swap_duplicate(self, entry: SwapSlot) -> bool: ...
        def remove_exclusive_swap_page(self, page: Page) -> Steps[bool]: ...
        def swap_readpage(self, page: Page) -> Steps[None]: ...

    def add_to_swap_cache(self, page: Page, entry: SwapSlot) -> Steps[bool]:
        """add_to_swap_cache(): False stands for -EEXIST; -ENOMEM is left out."""
        while self.tree_lock.busy():
            yield self.tree_lock
        if entry.page is not None:
            return False
        entry.page = page
        page.count += 1
        page.PG_swapcache = True
        page.private = entry
        return True

    def delete_from_swap_cache_locked(self, page: Page) -> SwapSlot:
        """__delete_from_swap_cache(): under tree_lock, page locked. Returns the slot, still counted."""
        entry = page.swap_slot()
        if page.lock.owner is not self.current or page.PG_writeback:
            raise KernelBug(f"{page!r} leaves the swap cache unlocked or under writeback")
        entry.page = None
        page.private = None
        page.PG_swapcache = False
        return entry

    def add_to_swap(self, page: Page) -> Steps[bool]:
        """add_to_swap(): give a locked anonymous page a slot, and mark it dirty. False: no slot free."""
        while True:
            entry = self.get_swap_page()
            if entry is None:
                self.mark("swap full")
                return False
            if (yield from self.add_to_swap_cache(page, entry)):
                self.SetPageDirty(page)
                return True
            self.swap_free(entry)

    def delete_from_swap_cache(self, page: Page) -> Steps[None]:
        """delete_from_swap_cache(): page locked, and the caller has a reference."""
        while self.tree_lock.busy():
            yield self.tree_lock
        self.swap_free(self.delete_from_swap_cache_locked(page))
        self.put_page(page)

    def free_swap_cache(self, page: Page) -> Steps[None]:
        """free_swap_cache(): if we are the only user, try to free the swap slot."""
        if page.PG_swapcache and page.lock.trylock(self.current):
            yield from self.remove_exclusive_swap_page(page)
            page.lock.release(self.current)

    def free_page_and_swap_cache(self, page: Page) -> Steps[None]:
        """free_page_and_swap_cache()"""
        yield from self.free_swap_cache(page)
        self.put_page(page)

    def lookup_swap_cache(self, entry: SwapSlot) -> Steps[Page | None]:
        """lookup_swap_cache(), find_get_page(): unlocked, with a reference."""
        while self.tree_lock.busy():
            yield self.tree_lock
        page = entry.page
        if page is not None:
            page.count += 1
            owner = page.lock.owner
            if owner is not None and owner.mm is None:
                self.mark("swap-in racing with reclaim")
        return page

    def read_swap_cache_async(self, entry: SwapSlot) -> Steps[Page | None]:
        """read_swap_cache_async(), and swapin_readahead() without the readahead.

        None: no frame, or the slot is no longer in use. The read ends before this returns: its end, by
        interrupt, cannot be told from one that comes before the caller's next step.
        """
        new_page = None
        while True:
            page = yield from self.lookup_swap_cache(entry)
            if page is not None:
                break
            if new_page is None:
                new_page = self.alloc_page()
                if new_page is None:
                    return None
                yield "read_swap_cache_async: page allocated"
            if not self.swap_duplicate(entry):
                break
            new_page.lock.trylock(self.current)
            if (yield from self.add_to_swap_cache(new_page, entry)):
                self.lru_cache_add_active(new_page)
                yield from self.swap_readpage(new_page)
                return new_page
            new_page.lock.release(self.current)
            self.swap_free(entry)
        if new_page is not None:
            self.put_page(new_page)
        return page
