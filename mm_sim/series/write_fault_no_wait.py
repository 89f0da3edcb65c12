"""do_wp_page() as it was until July 2007: a write fault does not wait for write-back that has the page locked.

clear_page_dirty_for_io() cleans the ptes and then clears PG_dirty. A fault in between makes the pte writable and
finds PG_dirty still set: later stores leave no record, and msync() and fsync() miss them. The fix is 2.6.26.
"""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault
from mm_sim.mm import Mm, Vma
from mm_sim.page import Pte
from mm_sim.sched import Steps


class WriteFaultNoWait(Kernel):
    __slots__ = ()

    title = "before: mm: fix clear_page_dirty_for_io vs fault race"
    posted = "until commit 79352894b285, 19 July 2007, Nick Piggin"
    applies_to = "2.6.26"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {
        "file": ("s390", "x86"),
        "threads": ("s390", "x86"),
    }

    def wp_page_shared(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        """As in 2.6.26, but for wait_on_page_locked()."""
        task = self.current
        page = orig_pte.page
        mapping = vma.vm_file
        assert mapping is not None
        page.count += 1
        ret = Fault.WRITE
        if mapping.page_mkwrite:
            mm.ptl.release(task)
            if not (yield from self.block_page_mkwrite(page, mapping)):
                self.put_page(page)
                return Fault.SIGBUS
            yield "do_wp_page: page_mkwrite"
            while not mm.ptl.acquire(task):
                yield mm.ptl
            if mm.pte[address] is not orig_pte:
                ret = Fault.DONE
        if ret is Fault.WRITE:
            entry = self.maybe_mkwrite(orig_pte.set(self.arch.pte_young | self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
            if mm.tlbs:  # ptep_set_access_flags()
                self.flush_tlb_page(mm, address)
        mm.ptl.release(task)
        if ret is Fault.WRITE:
            yield "do_wp_page: shared pte writable"
            yield from self.set_page_dirty(page)
        self.put_page(page)
        return ret
