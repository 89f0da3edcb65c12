"""mm/mprotect.c"""

from __future__ import annotations

from errno import ENOMEM

from mm_sim.kernel.mmap import Mmap
from mm_sim.mm import VM_READ, VM_WRITE, Mm, Vma
from mm_sim.page import DIRTY, WRITE, Migration, Pte
from mm_sim.sched import Steps


class Mprotect(Mmap):
    __slots__ = ()

    def pte_modify(self, oldpte: Pte, vma: Vma) -> Pte:
        """pte_modify() with vm_page_prot, which lets only mappings without COW and dirty accounting write.

        The dirty and young bits are kept; nothing looks at the storage key. With dirty accounting a pte that is dirty
        may write at once.
        """
        if vma.vm_file is None:
            return oldpte.clear(WRITE)
        newpte = oldpte.clear(WRITE).set(vma.vm_page_prot())
        return newpte.set(WRITE) if newpte.bits & DIRTY and vma.wants_writenotify() else newpte

    def change_pte_range(self, mm: Mm, vma: Vma, addr: int, end: int) -> Steps[None]:
        """change_pte_range(): for a moment the pte is empty, for whoever looks without the ptl."""
        task = self.current
        yield "change_pte_range: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        for address in range(addr, end):
            oldpte = mm.pte[address]
            if type(oldpte) is Pte:
                self.set_pte_at(mm, address, None)  # ptep_get_and_clear()
                yield "change_pte_range: pte cleared"
                self.set_pte_at(mm, address, self.pte_modify(oldpte, vma))
            elif type(oldpte) is Migration:
                self.set_pte_at(mm, address, oldpte.page.make_migration_entry(write=False))
        mm.ptl.release(task)
        if mm.tlbs:
            yield "change_protection: TLBs not yet flushed"
            self.flush_tlb_mm(mm)

    def sys_mprotect(self, addr: int, prot: int) -> Steps[int]:
        """sys_mprotect(), mprotect_fixup() of one page; `prot` is VM_READ, with or without VM_WRITE."""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_mprotect: mmap_sem"
        while not mm.mmap_sem.down_write(task):
            yield mm.mmap_sem.exclusive()
        vma = mm.find_vma(addr)
        if vma is None:
            mm.mmap_sem.up_write(task)
            return -ENOMEM
        flags = (vma.vm_flags & ~(VM_READ | VM_WRITE)) | prot
        if flags != vma.vm_flags:
            vma = yield from self.vma_fixup(vma, addr, addr + 1, flags)
            yield from self.change_pte_range(mm, vma, addr, addr + 1)
        mm.mmap_sem.up_write(task)
        return 0
