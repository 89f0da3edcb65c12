"""The fix of 2022 for MADV_FREE: reclaim discards a page only if nobody but itself and the page tables has it.

The counts are looked at after the pte is gone, so that nobody pins the page any more, and before PG_dirty, which a
user that has let the page go has set. A page that is not discarded is to be written (SetPageSwapBacked() there).
"""

from mm_sim.page import Page
from mm_sim.series.madv_free import MadvFree


class MadvFreePinned(MadvFree):
    __slots__ = ()

    title = "mm: fix race between MADV_FREE reclaim and blkdev direct IO read"
    posted = "commit 6c8e2a256915, 24 March 2022, Mauricio Faria de Oliveira"
    applies_to = "5.18"
    expected = "safe"

    def may_discard(self, page: Page) -> bool:
        """One reference is reclaim's, one the swap cache's."""
        if page.count != page.mapcount + 2:
            page.PG_dirty = True
        return super().may_discard(page)
