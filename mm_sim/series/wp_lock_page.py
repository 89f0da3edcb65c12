"""The fix of 2009 for pages pinned for I/O: do_wp_page() waits for the page lock before it decides to copy.

2.6.26 only tries the lock of an anonymous page. While reclaim has it, a page of the process' own is copied: a device
that was given the old page by get_user_pages() writes to that, and the process does not see it.
"""

from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault
from mm_sim.mm import Mm, Vma
from mm_sim.page import Pte
from mm_sim.sched import Steps


class WpLockPage(Kernel):
    __slots__ = ()

    title = "mm: wp lock page before deciding cow"
    posted = "commit ab967d86015, 6 January 2009, Hugh Dickins"
    applies_to = "2.6.26"
    expected = "safe"

    def do_wp_page(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        """The wait, and a second look at the pte; 2.6.26 then takes the lock that was free a moment before."""
        task = self.current
        old_page = orig_pte.page
        if old_page.PG_anon and old_page.lock.busy():
            self.mark("page locked by someone else in do_wp_page")
            old_page.count += 1
            mm.ptl.release(task)
            while not old_page.lock.acquire(task):
                yield old_page.lock
            while not mm.ptl.acquire(task):
                yield mm.ptl
            old_page.lock.release(task)
            self.put_page(old_page)
            if mm.pte[address] is not orig_pte:
                mm.ptl.release(task)
                return Fault.DONE
        return (yield from super().do_wp_page(mm, vma, address, orig_pte))
