"""mremap() as from 3.2 to 4.8: the TLBs are flushed once for all ptes, after the locks are dropped.

A thread whose CPU still has the old address stores through it. If page_mkclean() has cleaned the pte at the new
address in between, nothing records that store: a later fsync() misses it.
"""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.mm import Vma
from mm_sim.page import Pte
from mm_sim.sched import Steps


class MremapLateFlush(Kernel):
    __slots__ = ()

    title = "mremap: avoid sending one IPI per page"
    posted = "commit 7b6efc2bc4f1, 31 October 2011, Andrea Arcangeli"
    applies_to = "3.2"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {
        "threads, two pages": ("x86",),
    }

    def move_ptes(self, vma: Vma, old_addr: int, new_addr: int) -> Steps[None]:
        mm = vma.vm_mm
        task = self.current
        mapping = vma.vm_file
        if mapping is not None:
            yield "move_ptes: i_mmap lock"
            while not mapping.i_mmap_lock.acquire(task):
                yield mapping.i_mmap_lock
        yield "move_ptes: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        pte = mm.pte[old_addr]
        if pte is not None:
            self.set_pte_at(mm, old_addr, None)
            yield "move_ptes: pte cleared"
            self.set_pte_at(mm, new_addr, pte)
        if type(pte) is Pte:
            yield from self.move_flush(vma, old_addr, pte)
        mm.ptl.release(task)
        if mapping is not None:
            mapping.i_mmap_lock.release(task)
        if mm.tlbs:
            yield "move_page_tables: TLBs not yet flushed"
            self.flush_tlb_page(mm, old_addr)

    def move_flush(self, vma: Vma, old_addr: int, pte: Pte) -> Steps[None]:
        """Where the fixes flush, under the ptl; nothing here."""
        return
        yield
