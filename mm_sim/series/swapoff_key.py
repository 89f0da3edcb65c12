"""A mend for what the tool found in 2.6.26: swapoff() asks the storage key before it parts a page from its slot.

A page that somebody still maps keeps its dirtiness in the key. try_to_unuse() may leave a swap pte behind, and then
saves the page if it is PG_dirty, with no look at the key: the swap pte reads an older copy.
"""

from mm_sim.kernel import Kernel
from mm_sim.mm import Mm
from mm_sim.page import Page, SwapSlot
from mm_sim.sched import Steps


class SwapoffKey(Kernel):
    __slots__ = ()

    title = "unuse_mm() hands the physical dirty bit to PG_dirty"
    posted = "not posted: a mend for the stored loss of 2.6.26"
    applies_to = "2.6.26"
    expected = "safe"

    def unuse_mm(self, mm: Mm, entry: SwapSlot, page: Page) -> Steps[None]:
        yield from super().unuse_mm(mm, entry, page)
        if self.arch.page_test_dirty(page):
            self.arch.page_clear_dirty(page)
            yield from self.set_page_dirty(page)
