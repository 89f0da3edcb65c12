"""The fix of 2006 for invalidation against a fault: a page of which somebody else has a reference stays.

As since 2.6.19 remove_mapping() asks for the count, under tree_lock, and for PG_dirty after it.
"""

from mm_sim.address_space import AddressSpace
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.series.invalidate_unlocked import InvalidateUnlocked


class InvalidateCount(InvalidateUnlocked):
    __slots__ = ()

    title = "invalidate_complete_page() race fix"
    posted = "commit 016eb4a0ed06, 26 September 2006, Andrew Morton"
    applies_to = "2.6.19"
    expected = "safe"

    def invalidate_complete_page(self, mapping: AddressSpace, page: Page) -> Steps[None]:
        if page.buffers is None or self.try_to_free_buffers(page):
            yield from self.remove_mapping(page)
