"""The easy way: zap marks the page dirty if the pte is writable, and never tests the storage key."""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.page import WRITE, Page, Pte
from mm_sim.sched import Steps
from mm_sim.series.page_zap_rmap import PageZapRmap


class Easy(PageZapRmap):
    __slots__ = ()

    title = "set_page_dirty() in zap_pte_range() if the pte is writable"
    posted = "linux-mm, 3 June 2008, Nick Piggin"
    applies_to = "2.6.26 with page_zap_rmap"
    base = Kernel
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"anon": ("s390",), "tmpfs": ("s390",)}

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        if page.PG_anon and ptent.bits & WRITE:
            self.SetPageDirty(page)
        return super().zap_remove_rmap(page, ptent)
