"""A mend for what the tool found in 2.6.26 with threads: a shared pte is writable before its page is dirty.

do_wp_page() and __do_fault() install the writable pte, drop the locks and mark the page dirty then. Another thread
can store in between, without a fault, and fsync() or msync() finds no dirty tag. Here the page is locked, marked
dirty, and only then can be written to. Later kernels come near to that: b827e496c893 (2009) keeps the page locked
over page_mkwrite() and the pte, and a default page_mkwrite() that marks the page dirty came in 2012.
"""

from typing import ClassVar

from mm_sim.kernel.memory import Fault
from mm_sim.mm import Mm, Vma
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps
from mm_sim.series.dirty_tracking_race import DirtyTrackingRace


class FaultPageLocked(DirtyTrackingRace):
    __slots__ = ()

    title = "shared write faults mark the page dirty under its lock"
    posted = "not posted: a mend for the stored loss of 2.6.26 with threads, after b827e496c893"
    applies_to = "2.6.26 with 479db0bf408e"
    expected = "safe"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"threads": ("x86",)}

    def wp_page_shared(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        task = self.current
        page = orig_pte.page
        mapping = vma.vm_file
        assert mapping is not None
        page.count += 1
        mm.ptl.release(task)
        yield "do_wp_page: page lock"
        while not page.lock.acquire(task):
            yield page.lock
        installed = False
        if page.mapping is mapping:
            while not mm.ptl.acquire(task):
                yield mm.ptl
            if mm.pte[address] is orig_pte:
                self.set_page_dirty(page)
                yield "do_wp_page: page marked dirty"
                entry = orig_pte.set(self.arch.pte_young | self.arch.pte_dirty)
                self.set_pte_at(mm, address, self.maybe_mkwrite(entry, vma))
                self.flush_tlb_page(mm, address)
                installed = True
            mm.ptl.release(task)
        page.lock.release(task)
        self.put_page(page)
        return Fault.WRITE if installed else Fault.DONE

    def shared_write_fault(self, page: Page) -> Steps[None]:
        self.set_page_dirty(page)
        yield "do_linear_fault: page marked dirty"
