"""The mend of 2014 for stores through stale TLB entries: the TLBs are flushed before the ptl is dropped.

zap_pte_range() marks a dirty file page dirty and unmaps it; until the flush another thread can still store to it, and
write-back may clean it in between.
"""

from mm_sim.kernel.memory import MmuGather
from mm_sim.mm import Mm
from mm_sim.sched import Steps
from mm_sim.series.fault_page_locked import FaultPageLocked


class MmuGatherFlush(FaultPageLocked):
    __slots__ = ()

    title = "mm: split 'tlb_flush_mmu()' into tlb flushing and memory freeing parts"
    posted = "commit 1cf35d47712d, 25 April 2014, Linus Torvalds"
    applies_to = "3.15"
    expected = "safe"

    def zap_end(self, tlb: MmuGather, mm: Mm) -> Steps[None]:
        if mm.tlbs and tlb.need_flush and any(not page.PG_anon for page in tlb.pages):  # force_flush
            yield "zap_pte_range: TLBs not yet flushed"
            self.flush_tlb_mm(mm)
            tlb.need_flush = False
        mm.ptl.release(self.current)
