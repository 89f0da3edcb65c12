"""The easy way, and every removal of write access marks an anonymous page dirty: mprotect's and fork's."""

from typing import ClassVar

from mm_sim.kernel import Kernel
from mm_sim.mm import Mm, Vma
from mm_sim.page import WRITE, Pte
from mm_sim.series.easy_mprotect import EasyMprotect


class EasyMprotectFork(EasyMprotect):
    __slots__ = ()

    title = "the easy way, and set_page_dirty() in mprotect() and fork()"
    posted = "not posted: what the mails of 3 June 2008 would have needed"
    applies_to = "2.6.26 with page_zap_rmap"
    base = Kernel
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"tmpfs": ("s390",)}

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        pte = src_mm.pte[addr]
        if type(pte) is Pte and pte.page.PG_anon and pte.bits & WRITE:
            self.SetPageDirty(pte.page)
        super().copy_one_pte(dst_mm, src_mm, vma, addr)
