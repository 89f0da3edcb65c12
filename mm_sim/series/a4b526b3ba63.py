"""What was committed: test the key only if `!PageAnon || PageSwapCache`; no clear in __SetPageUptodate()."""

from mm_sim.kernel import Kernel
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.series.no_clear_uptodate import NoClearUptodate


class A4b526b3ba63(NoClearUptodate):
    __slots__ = ()

    title = "[S390] Optimize storage key operations for anon pages"
    posted = "commit a4b526b3ba63, 1 August 2008, Martin Schwidefsky"
    applies_to = "2.6.27"
    base = Kernel
    expected = "safe"

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        page.mapcount -= 1
        if page.mapcount:
            return
        yield "page_remove_rmap: last mapping gone"
        if (not page.PG_anon or page.PG_swapcache) and self.arch.page_test_dirty(page):
            yield "page_remove_rmap: key tested"
            self.arch.page_clear_dirty(page)
            yield "page_remove_rmap: key cleared"
            yield from self.set_page_dirty(page)
