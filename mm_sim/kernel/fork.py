"""kernel/fork.c"""

from __future__ import annotations

from mm_sim.kernel.madvise import Madvise
from mm_sim.mm import VM_LOCKED, Mm, Vma
from mm_sim.sched import Steps, Task


class Fork(Madvise):
    __slots__ = ()

    def dup_mmap(self, mm: Mm, oldmm: Mm) -> Steps[None]:
        """dup_mmap(): each vma is linked to its anon_vma before its ptes are copied; VM_LOCKED is not inherited."""
        task = self.current
        yield "dup_mmap: mmap_sem"
        while not oldmm.mmap_sem.down_write(task):
            yield oldmm.mmap_sem.exclusive()
        mm.mmap_sem.down_write_nested(task)
        self.mms.append(mm)
        for mpnt in oldmm.mmap:
            tmp = Vma(mm, mpnt.vm_start, mpnt.vm_end, mpnt.vm_flags & ~VM_LOCKED, mpnt.vm_pgoff)
            tmp.anon_vma = mpnt.anon_vma
            yield from self.anon_vma_link(tmp)
            mm.mmap.append(tmp)
            yield from self.copy_page_range(mm, oldmm, mpnt)
        mm.mmap_sem.up_write(task)
        oldmm.mmap_sem.up_write(task)

    def sys_fork(self, child: Task) -> Steps[None]:
        """do_fork(), copy_mm(), dup_mm(): `child` comes to life with a copy of the caller's mm."""
        oldmm = self.current.mm
        assert oldmm is not None
        mm = Mm(child.name, self.pages)
        yield from self.dup_mmap(mm, oldmm)
        child.mm = mm

    def sys_exit(self) -> Steps[None]:
        """do_exit(), exit_mm()"""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield from self.mmput(mm)
        task.mm = None
