"""The mend of 2022: a dirty file page stays mapped, for page_mkclean(), until the TLBs are flushed.

With the flush alone, write-back may still clean the page between page_remove_rmap() and the flush: it sees a page
that is not mapped, so it takes no ptl and waits for nobody. Nothing is put off where zap_pte_range() gathers nothing.
"""

from mm_sim.kernel.memory import MmuGather
from mm_sim.page import DIRTY, Page, Pte
from mm_sim.sched import Steps
from mm_sim.series.mmu_gather_flush import MmuGatherFlush


class DelayRmap(MmuGatherFlush):
    __slots__ = ()

    title = "mm: delay page_remove_rmap() until after the TLB has been flushed"
    posted = "commit 5df397dec7c4, 9 November 2022, Linus Torvalds"
    applies_to = "6.2"
    expected = "safe"

    def zap_file_pte(self, tlb: MmuGather, page: Page, ptent: Pte) -> Steps[None]:
        if ptent.bits & DIRTY and self.arch.gathers:
            tlb.delayed.append(page)
        return super().zap_file_pte(tlb, page, ptent)

    def zap_remove_rmap(self, page: Page, ptent: Pte) -> Steps[None]:
        if page.PG_anon or not (ptent.bits & DIRTY and self.arch.gathers):
            yield from self.page_remove_rmap(page)

    def zap_flushed(self, tlb: MmuGather) -> Steps[None]:
        for page in tlb.delayed:
            yield from self.page_remove_rmap(page)
        tlb.delayed.clear()
