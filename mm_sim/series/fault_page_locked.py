"""A mend for what the tool found in 2.6.26: a shared pte is writable before its page can be found by write-back.

do_wp_page() and __do_fault() install the writable pte, drop the locks and mark the page dirty then: first PG_dirty,
then the dirty tag. Before that another thread can store without a fault, and between the two another process can
fault and go on, as PG_dirty is set; then fsync() or msync() finds no tag. Here the page is locked, marked dirty, and
only then can be written to. Later kernels come near to that: b827e496c893 (2009) keeps the page locked over
page_mkwrite() and the pte, and a default page_mkwrite() that marks the page dirty came in 2012.
"""

from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault
from mm_sim.mm import Mm, Vma
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps


class FaultPageLocked(Kernel):
    __slots__ = ()

    title = "shared write faults mark the page dirty under its lock"
    posted = "not posted: a mend for stored losses of 2.6.26, after b827e496c893"
    applies_to = "2.6.26"
    expected = "safe"

    def wp_page_shared(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        task = self.current
        page = orig_pte.page
        mapping = vma.vm_file
        assert mapping is not None
        page.count += 1
        mm.ptl.release(task)
        if mapping.page_mkwrite and not (yield from self.block_page_mkwrite(page, mapping)):
            self.put_page(page)
            return Fault.SIGBUS
        yield "do_wp_page: page lock"
        while not page.lock.acquire(task):
            yield page.lock
        installed = False
        if page.mapping is mapping:
            while not mm.ptl.acquire(task):
                yield mm.ptl
            if mm.pte[address] is orig_pte:
                yield from self.set_page_dirty(page)
                yield "do_wp_page: page marked dirty"
                entry = orig_pte.set(self.arch.pte_young | self.arch.pte_dirty)
                self.set_pte_at(mm, address, self.maybe_mkwrite(entry, vma))
                self.flush_tlb_page(mm, address)
                installed = True
            mm.ptl.release(task)
        page.lock.release(task)
        self.put_page(page)
        return Fault.WRITE if installed else Fault.DONE

    def shared_write_fault(self, page: Page) -> Steps[bool]:
        yield from self.set_page_dirty(page)
        yield "do_linear_fault: page marked dirty"
        return True
