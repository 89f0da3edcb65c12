"""The fix of 2016 for the late flush of mremap(): for a dirty pte the TLBs are flushed before the ptl is dropped.

A clean pte is still flushed late: a page that is freed meanwhile can be read (CVE-2018-18281, eb66ae030829).
"""

from mm_sim.mm import Vma
from mm_sim.page import DIRTY, Pte
from mm_sim.sched import Steps
from mm_sim.series.mremap_late_flush import MremapLateFlush


class MremapForceFlush(MremapLateFlush):
    __slots__ = ()

    title = "mremap: fix race between mremap() and page cleanning"
    posted = "commit 5d1904204c99, 29 November 2016, Aaron Lu"
    applies_to = "4.9"
    expected = "safe"

    def move_flush(self, vma: Vma, old_addr: int, pte: Pte) -> Steps[None]:
        if pte.bits & DIRTY and vma.vm_mm.tlbs:
            yield "move_ptes: TLBs not yet flushed"
            self.flush_tlb_page(vma.vm_mm, old_addr)
