"""The proposal: no storage key test when anonymous memory is zapped, nor for the old page after COW."""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps


class PageZapRmap(Kernel):
    __slots__ = ()

    title = "Optimize page_remove_rmap for anon pages"
    posted = "linux-mm, 29 May 2008, Martin Schwidefsky"
    applies_to = "2.6.26"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"anon": ("s390",), "tmpfs": ("s390",)}

    def page_zap_rmap(self, page: Page) -> Steps[None]:
        """Like page_remove_rmap(), without a look at the storage key."""
        page.mapcount -= 1
        yield "page_zap_rmap: mapping gone"

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        return self.page_zap_rmap(page) if page.PG_anon else self.page_remove_rmap(page)

    def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
        return self.page_zap_rmap(old_page)
