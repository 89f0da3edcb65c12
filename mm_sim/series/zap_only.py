"""Half of the proposal: no storage key test in zap_pte_range(); do_wp_page() as in 2.6.26."""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.series.page_zap_rmap import PageZapRmap


class ZapOnly(PageZapRmap):
    __slots__ = ()

    title = "page_zap_rmap in zap_pte_range() only"
    posted = "half of the patch of 29 May 2008"
    applies_to = "2.6.26"
    base = Kernel
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"anon": ("s390",)}

    def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
        return self.page_remove_rmap(old_page)
