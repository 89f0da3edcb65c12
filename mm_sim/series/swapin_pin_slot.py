"""The fix of 2024 for swap-in past the swap cache: the slot is held while it is read.

The commit takes the swap cache's own mark of the slot (SWAP_HAS_CACHE), and a second fault of the page waits. 2.6.26
has no such mark: here it is one more count of the slot. It cannot be used again meanwhile, and a second fault, which
finds that it is not alone, goes by way of the swap cache.
"""

from mm_sim.page import SwapSlot
from mm_sim.series.swapin_synchronous import SwapinSynchronous


class SwapinPinSlot(SwapinSynchronous):
    __slots__ = ()

    title = "mm/swap: fix race when skipping swapcache"
    posted = "commit 13ddaf26be32, 7 February 2024, Kairui Song"
    applies_to = "6.8"
    expected = "safe"

    def pin_slot(self, entry: SwapSlot) -> None:
        self.swap_duplicate(entry)

    def unpin_slot(self, entry: SwapSlot) -> None:
        self.swap_free(entry)
