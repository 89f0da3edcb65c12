"""The fix of 2018 for the late flush of mremap(): the TLBs are flushed for each pte, before the ptl is dropped."""

from mm_sim.mm import Vma
from mm_sim.page import Pte
from mm_sim.sched import Steps
from mm_sim.series.mremap_force_flush import MremapForceFlush


class MremapFlush(MremapForceFlush):
    __slots__ = ()

    title = "mremap: properly flush TLB before releasing the page"
    posted = "commit eb66ae030829, 12 October 2018, Linus Torvalds"
    applies_to = "4.19"
    expected = "safe"

    def move_flush(self, vma: Vma, old_addr: int, pte: Pte) -> Steps[None]:
        if vma.vm_mm.tlbs:
            yield "move_ptes: TLBs not yet flushed"
            self.flush_tlb_page(vma.vm_mm, old_addr)
