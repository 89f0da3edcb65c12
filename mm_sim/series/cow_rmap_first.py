"""do_wp_page() as it was until 23 June 2008: the old page loses a mapcount before its pte is switched.

In between another process finds itself the last user of the page, makes it writable and stores to it: a thread of the
first one, which still has the old translation, sees that store. The fix is 2.6.26.
"""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Fault
from mm_sim.mm import VM_SHARED, VM_WRITE, Mm, Vma
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps


class CowRmapFirst(Kernel):
    __slots__ = ()

    title = "before: mm: fix race in COW logic"
    posted = "until commit 945754a1754f, 23 June 2008, Nick Piggin"
    applies_to = "2.6.26"
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {
        "anon": ("s390", "x86"),
    }

    def wp_may_reuse(self, old_page: Page) -> bool:
        if not old_page.PG_anon or not old_page.lock.trylock(self.current):
            return False
        reuse = self.can_share_swap_page(old_page)
        old_page.lock.release(self.current)
        return reuse

    def do_wp_page(self, mm: Mm, vma: Vma, address: int, orig_pte: Pte) -> Steps[Fault]:
        old_page = orig_pte.page
        shared = vma.vm_flags & VM_SHARED and vma.vm_flags & VM_WRITE
        if (shared and not old_page.PG_anon) or self.wp_may_reuse(old_page):
            return (yield from super().do_wp_page(mm, vma, address, orig_pte))
        task = self.current
        old_page.count += 1
        mm.ptl.release(task)
        yield from self.anon_vma_prepare(vma)
        yield "do_wp_page: ptl dropped"
        new_page = self.alloc_page()
        if new_page is None:
            self.put_page(old_page)
            return Fault.OOM
        self.arch.write(new_page, old_page.content)  # cow_user_page()
        self.set_new_page_uptodate(new_page)
        yield "do_wp_page: page copied"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        ret = Fault.DONE
        if mm.pte[address] is orig_pte:
            yield from self.wp_remove_rmap(old_page)
            yield "do_wp_page: old page not counted any more"
            entry = self.maybe_mkwrite(self.mk_pte(new_page, vma).set(self.arch.pte_dirty), vma)
            self.set_pte_at(mm, address, entry)
            if mm.tlbs:
                self.flush_tlb_page(mm, address)
            self.lru_cache_add_active(new_page)
            self.page_add_new_anon_rmap(new_page, vma, address)
            new_page = old_page  # the pte's reference to the old page goes
            ret = Fault.WRITE
        self.put_page(new_page)
        self.put_page(old_page)
        mm.ptl.release(task)
        return ret
