"""A patch about which the arguments of `reduce` hold: those of a larger file look at what normal forms forget."""

from mm_sim.kernel import Kernel
from mm_sim.page import Page
from mm_sim.sched import Steps


class Twice(Kernel):
    """Passes one label twice."""

    __slots__ = ()

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        yield "page_remove_rmap: again"
        yield "page_remove_rmap: again"
        yield from super().page_remove_rmap(page)
