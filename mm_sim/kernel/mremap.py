"""mm/mremap.c"""

from __future__ import annotations

from errno import EFAULT, EINVAL

from mm_sim.kernel.mlock import Mlock
from mm_sim.mm import Vma
from mm_sim.sched import Steps


class Mremap(Mlock):
    __slots__ = ()

    def copy_vma(self, vma: Vma, addr: int, pgoff: int) -> Steps[tuple[Vma, Vma]]:
        """copy_vma(), mm/mmap.c, for one page: the source (which may have been merged), and the new vma."""
        mm = vma.vm_mm
        start = vma.vm_start
        if vma.vm_file is None and vma.anon_vma is None:
            pgoff = addr
        below = [v for v in mm.mmap if v.vm_end <= addr]
        prev = below[-1] if below else None
        new = yield from self.vma_merge(mm, prev, addr, addr + 1, vma.vm_flags, vma.anon_vma, vma.vm_file, pgoff)
        if new is not None:
            return (new if new.vm_start <= start < new.vm_end else vma), new
        new = Vma(mm, addr, addr + 1, vma.vm_flags, pgoff, vma.vm_file)
        new.anon_vma = vma.anon_vma
        yield from self.vma_link(mm, new)
        return vma, new

    def move_ptes(self, vma: Vma, old_addr: int, new_addr: int) -> Steps[None]:
        """move_ptes(), for one page: clear, flush, and set at the new address unchanged.

        i_mmap_lock keeps truncation and page_mkclean() from missing the pte on its way.
        """
        mm = vma.vm_mm
        task = self.current
        mapping = vma.vm_file
        if mapping is not None:
            yield "move_ptes: i_mmap lock"
            while not mapping.i_mmap_lock.acquire(task):
                yield mapping.i_mmap_lock
        yield "move_ptes: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        pte = mm.pte[old_addr]
        if pte is not None:
            self.set_pte_at(mm, old_addr, None)
            self.flush_tlb_page(mm, old_addr)
            yield "move_ptes: pte cleared"
            self.set_pte_at(mm, new_addr, pte)
        mm.ptl.release(task)
        if mapping is not None:
            mapping.i_mmap_lock.release(task)

    def sys_mremap(self, addr: int, new_addr: int) -> Steps[int]:
        """do_mremap() with MREMAP_FIXED, move_vma(): one page moves, over whatever is at the new address.

        Left out: growing, shrinking, and the failures that would move the ptes back.
        """
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_mremap: mmap_sem"
        while not mm.mmap_sem.down_write(task):
            yield mm.mmap_sem.exclusive()
        if addr == new_addr:
            mm.mmap_sem.up_write(task)
            return -EINVAL
        yield from self.do_munmap(mm, new_addr, new_addr + 1)
        vma = mm.find_vma(addr)
        if vma is None:
            mm.mmap_sem.up_write(task)
            return -EFAULT
        vma, _ = yield from self.copy_vma(vma, new_addr, vma.vm_pgoff + addr - vma.vm_start)
        yield from self.move_ptes(vma, addr, new_addr)
        yield from self.do_munmap(mm, addr, addr + 1)
        mm.mmap_sem.up_write(task)
        return 0
