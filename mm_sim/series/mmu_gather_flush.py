"""The mend of 2014 for stores through stale TLB entries: the TLBs are flushed before the ptl is dropped.

zap_pte_range() marks a dirty file page dirty and unmaps it; until the flush another thread can still store to it, and
write-back may clean it in between.
"""

from mm_sim.kernel.memory import MmuGather
from mm_sim.mm import Mm
from mm_sim.page import DIRTY, Page, Pte
from mm_sim.sched import Steps
from mm_sim.series.dirty_tracking_race import DirtyTrackingRace


class MmuGatherFlush(DirtyTrackingRace):
    __slots__ = ()

    title = "mm: split 'tlb_flush_mmu()' into tlb flushing and memory freeing parts"
    posted = "commit 1cf35d47712d, 25 April 2014, Linus Torvalds"
    applies_to = "3.15"
    expected = "safe"

    def zap_file_pte(self, tlb: MmuGather, page: Page, ptent: Pte) -> Steps[None]:
        if ptent.bits & DIRTY:
            tlb.force_flush = True
        return super().zap_file_pte(tlb, page, ptent)

    def zap_end(self, tlb: MmuGather, mm: Mm) -> Steps[None]:
        force_flush = tlb.force_flush
        tlb.force_flush = False
        if force_flush:
            yield from self.tlb_flush(tlb, mm)
            yield from self.zap_flushed(tlb)
        mm.ptl.release(self.current)
        if force_flush:
            yield from self.free_pages_and_swap_cache(tlb)

    def zap_flushed(self, tlb: MmuGather) -> Steps[None]:
        """Under the ptl, once the TLBs are flushed."""
        return
        yield
