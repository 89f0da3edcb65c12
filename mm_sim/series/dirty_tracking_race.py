"""The mend of August 2008 for 2.6.26's loss of what fsync() has promised: page_mkclean() looks at ptes under the ptl.

page_check_address() gives up if it sees no pte before it takes the ptl; change_pte_range() empties one for a moment.
The page is then written with its pte left dirty and, after mprotect(), writable: later stores fault no more, the page
has no dirty tag, and fsync() does not find it. The mend comes here after `fault_page_locked`: without that the same
promise is broken in fewer steps, which this does not change.
"""

from mm_sim.mm import Vma
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps
from mm_sim.series.fault_page_locked import FaultPageLocked


class DirtyTrackingRace(FaultPageLocked):
    __slots__ = ()

    title = "mm: dirty page tracking race fix"
    posted = "commit 479db0bf408e, 20 August 2008, Nick Piggin"
    applies_to = "2.6.27-rc4"
    expected = "safe"

    def mkclean_check_address(self, page: Page, vma: Vma, address: int) -> Steps[Pte | None]:
        """page_check_address() with `sync`: no look without the ptl."""
        mm = vma.vm_mm
        yield "page_check_address: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        pte = mm.pte[address]
        if type(pte) is Pte and pte.page is page:
            return pte
        mm.ptl.release(self.current)
        return None
