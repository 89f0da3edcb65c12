"""The fix for Dirty COW (CVE-2016-5195): a write by get_user_pages() stays one until a copy can be written to.

2.6.26 drops FOLL_WRITE after a fault that broke COW. If another thread discards the copy then, the next look maps the
page cache's page and accepts it, and a device or ptrace(2) writes to the file. The fix of 2016 marks the lookup with
FOLL_COW instead, and accepts a read-only pte only if it is dirty; where the mapping is writable it waits for a
writable pte, as since 878b63ac889d (2009). On s390 no pte is dirty before 3.9 (abf09bed3cce), for which reason
f33ea7f404e5 (2005) undid an earlier fix of this kind; the commit says that earlier kernels have to look at the page
instead. Here that is PageAnon(): mmap_sem keeps fork() out, so an anonymous page is the copy.
"""

from errno import EFAULT, ENOMEM

from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault
from mm_sim.mm import VM_WRITE, Mm, Vma
from mm_sim.page import WRITE, Page, Pte
from mm_sim.sched import Steps


class FollCow(Kernel):
    __slots__ = ()

    title = "mm: remove gup_flags FOLL_WRITE games from __get_user_pages()"
    posted = "commit 19be0eaffa3a, 13 October 2016, Linus Torvalds"
    applies_to = "2.6.26"
    expected = "safe"

    def can_follow_write_pte(self, pte: Pte, cow: bool) -> bool:
        """can_follow_write_pte(): with FOLL_COW (`cow`) also a read-only pte of the copy."""
        if pte.bits & WRITE:
            return True
        return cow and bool(pte.bits & self.arch.pte_dirty if self.arch.pte_dirty else pte.page.PG_anon)

    def follow_page_write(self, mm: Mm, address: int, cow: bool, get: bool) -> Steps[Page | None]:
        """follow_page() with FOLL_TOUCH and FOLL_WRITE."""
        yield "follow_page: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        pte = mm.pte[address]
        page = None
        if type(pte) is Pte and self.can_follow_write_pte(pte, cow):
            page = pte.page
            if get:
                page.count += 1
            if not pte.bits & self.arch.pte_dirty:
                yield from self.set_page_dirty(page)
            self.mark_page_accessed(page)
        mm.ptl.release(self.current)
        return page

    def get_user_page(self, mm: Mm, vma: Vma, address: int, write: bool, get: bool = False) -> Steps[Page | int]:
        if not write:
            return (yield from super().get_user_page(mm, vma, address, write, get))
        cow = False
        while (page := (yield from self.follow_page_write(mm, address, cow, get))) is None:
            ret = yield from self.handle_pte_fault(mm, vma, address, write)
            if ret is Fault.OOM:
                return -ENOMEM
            if ret is Fault.SIGBUS:
                return -EFAULT
            if ret is Fault.WRITE and not vma.vm_flags & VM_WRITE:
                cow = True
        return page
