"""The easy way, and mprotect() marks an anonymous page dirty when it takes write access away."""

from mm_sim.mm import Vma
from mm_sim.page import WRITE, Pte
from mm_sim.series.easy import Easy


class EasyMprotect(Easy):
    __slots__ = ()

    title = "the easy way, and set_page_dirty() in mprotect()"
    posted = "linux-mm, 3 June 2008, Nick Piggin"
    applies_to = "2.6.26 with page_zap_rmap"
    expected = "loses"

    def pte_modify(self, oldpte: Pte, vma: Vma) -> Pte:
        if oldpte.page.PG_anon and oldpte.bits & WRITE:
            self.SetPageDirty(oldpte.page)
        return super().pte_modify(oldpte, vma)
