"""No page_clear_dirty() in __SetPageUptodate(): one SSKE less for each new page."""

from mm_sim.kernel import Kernel
from mm_sim.page import Page


class NoClearUptodate(Kernel):
    __slots__ = ()

    title = "no page_clear_dirty() in __SetPageUptodate()"
    posted = "linux-mm, 3 June 2008, Martin Schwidefsky"
    applies_to = "2.6.26"
    expected = "safe"

    def set_new_page_uptodate(self, page: Page) -> None:
        page.PG_uptodate = True
