"""mm/page-writeback.c: PG_dirty is set, and cleared for I/O."""

from __future__ import annotations

from mm_sim.kernel.page_alloc import PageAlloc
from mm_sim.page import Page


class PageWriteback(PageAlloc):
    __slots__ = ()

    def set_page_dirty(self, page: Page) -> None:
        """set_page_dirty(): for anonymous memory and the swap cache, PG_dirty and no more.

        The dirty tag that __set_page_dirty_nobuffers() sets in swapper_space is left out: nobody looks for it.
        """
        page.PG_dirty = True

    def clear_page_dirty_for_io(self, page: Page) -> bool:
        """clear_page_dirty_for_io(), for a mapping without dirty accounting (swap): ptes and key untouched."""
        was_dirty = page.PG_dirty
        page.PG_dirty = False
        return was_dirty
