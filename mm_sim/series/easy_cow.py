"""The easy way in zap_pte_range(), with do_wp_page() as in 2.6.26."""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.series.easy import Easy


class EasyCow(Easy):
    __slots__ = ()

    title = "set_page_dirty() in zap_pte_range() if the pte is writable, COW as in 2.6.26"
    posted = "variant of the mail of 3 June 2008, Nick Piggin"
    applies_to = "2.6.26"
    base = Kernel
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"anon": ("s390",)}

    def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
        return self.page_remove_rmap(old_page)
