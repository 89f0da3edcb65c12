"""mm/page_alloc.c, mm/swap.c: frames are handed out, referenced and given back."""

from __future__ import annotations

from mm_sim.fields import declared, first
from mm_sim.kernel.state import State
from mm_sim.page import GARBAGE, Page
from mm_sim.sched import KernelBug


class PageAlloc(State):
    __slots__ = ()

    def alloc_page(self) -> Page | None:
        """alloc_pages(), mm/page_alloc.c. None when no frame is free: direct reclaim inside the
        allocator is left out, reclaim is a step of its own. What the frame held before is garbage.
        Its storage key counts as clear: the store or the I/O that fills the page sets the change bit.
        """
        if not self.free:
            self.mark("out of memory")
            return None
        page = self.free.pop()
        page.count = 1
        page.content = GARBAGE
        page.key_c = page.key_r = False
        if page.own:
            page.own = first(declared(type(self))["page"])
        return page

    def put_page(self, page: Page) -> None:
        """put_page(), page_cache_release(), mm/swap.c: drop a reference, free the page with the last.

        The pagevecs, which hold references of their own until drained, are left out. Such a reference makes others
        keep the page and its slot, as that of a reclaimer does; reclaim and migration drain them (lru_add_drain()).
        """
        page.count -= 1
        if page.count <= 0:
            self.free_hot_cold_page(page)

    def free_hot_cold_page(self, page: Page) -> None:
        """free_hot_cold_page(), free_pages_check(), mm/page_alloc.c: PG_dirty goes silently."""
        if page.count or page.mapcount or page.PG_swapcache or page.PG_writeback or page.lock.owner:
            raise KernelBug(
                f"Bad page state: {page!r} count {page.count} mapcount {page.mapcount} "
                f"swapcache {page.PG_swapcache} writeback {page.PG_writeback} locked {page.lock.busy()}"
            )
        page.PG_anon = page.PG_dirty = page.PG_lru = page.PG_referenced = page.PG_uptodate = False
        page.mapping = None
        page.tag_dirty = False
        page.buffers = None
        self.free.append(page)

    def lru_cache_add_active(self, page: Page) -> None:
        """lru_cache_add_active(), mm/swap.c: from here on reclaim can isolate the page."""
        page.PG_lru = True

    def mark_page_accessed(self, page: Page) -> None:
        """mark_page_accessed(), mm/swap.c, without the activation: see Page."""
        page.PG_referenced = True

    def SetPageDirty(self, page: Page) -> None:
        """SetPageDirty(), include/linux/page-flags.h: the flag alone; see set_page_dirty()."""
        page.PG_dirty = True

    def set_new_page_uptodate(self, page: Page) -> None:
        """__SetPageUptodate(), include/linux/page-flags.h: for a new page nobody else sees.

        Zeroing or copying has set the change bit, so it is cleared here.
        """
        page.PG_uptodate = True
        self.arch.page_clear_dirty(page)

    def set_page_uptodate(self, page: Page) -> None:
        """SetPageUptodate(), include/linux/page-flags.h, at the end of a read."""
        if not page.PG_uptodate:
            page.PG_uptodate = True
            self.arch.page_clear_dirty(page)
