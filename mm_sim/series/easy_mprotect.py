"""The easy way, and mprotect() marks an anonymous page dirty when it takes write access away."""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.mm import Vma
from mm_sim.page import WRITE, Pte
from mm_sim.series.easy import Easy


class EasyMprotect(Easy):
    __slots__ = ()

    title = "the easy way, and set_page_dirty() in mprotect()"
    posted = "linux-mm, 3 June 2008, Nick Piggin"
    applies_to = "2.6.26 with page_zap_rmap"
    base = Kernel
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"anon": ("s390",), "tmpfs": ("s390",)}

    def pte_modify(self, oldpte: Pte, vma: Vma) -> Pte:
        if oldpte.page.PG_anon and oldpte.bits & WRITE:
            self.SetPageDirty(oldpte.page)
        return super().pte_modify(oldpte, vma)
