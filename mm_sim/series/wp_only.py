"""The other half of the proposal: no storage key test in do_wp_page(); zap_pte_range() as in 2.6.26."""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps
from mm_sim.series.page_zap_rmap import PageZapRmap


class WpOnly(PageZapRmap):
    __slots__ = ()

    title = "page_zap_rmap in do_wp_page() only"
    posted = "half of the patch of 29 May 2008"
    applies_to = "2.6.26"
    base = Kernel
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"anon": ("s390",), "tmpfs": ("s390",)}

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        return self.page_remove_rmap(page)
