"""A mend for what the tool found in 2.6.26: do_swap_page() looks at the swap cache again once it has locked the page.

While it waits, free_swap_and_cache() may take the page out of the cache, if more than half of swap is in use, and the
slot come back at the same pte: pte_same() holds, and an old page is mapped. swapoff() may take it out, too, and hand
it to another process: two processes share a page that each may write to.
"""

from mm_sim.kernel import Kernel
from mm_sim.page import Page, SwapSlot


class SwapinRace(Kernel):
    __slots__ = ()

    title = "do_swap_page() looks again whether the page is in the swap cache"
    posted = "commit 4969c1192d15, September 2010, Andrea Arcangeli"
    applies_to = "2.6.26"
    expected = "safe"

    def swapin_is_stale(self, page: Page, entry: SwapSlot) -> bool:
        return page.private is not entry
