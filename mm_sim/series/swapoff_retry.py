"""A mend for what the tool found in 2.6.26: swapoff() leaves a page in the swap cache while its slot has a reference.

try_to_unuse() writes it and takes it out, without a look at whether the write has failed. The rewrite of 2019 saves
nothing, and comes again to what still has a reference.
"""

from mm_sim.kernel import Kernel
from mm_sim.page import Page, SwapSlot
from mm_sim.sched import Steps


class SwapoffRetry(Kernel):
    __slots__ = ()

    title = "try_to_unuse() parts a page from its slot only when nobody else has it"
    posted = "part of commit b56a2d8af914, March 2019, Vineeth Remanan Pillai"
    applies_to = "2.6.26"
    expected = "safe"

    def part_page_and_slot(self, page: Page, entry: SwapSlot) -> Steps[None]:
        if entry.map == 1:
            yield from super().part_page_and_slot(page, entry)
