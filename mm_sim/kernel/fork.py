"""kernel/fork.c"""

from __future__ import annotations

from mm_sim.fields import declared
from mm_sim.kernel.madvise import Madvise
from mm_sim.mm import VM_LOCKED, Mm, Vma
from mm_sim.sched import Steps, Task


class Fork(Madvise):
    __slots__ = ()

    def dup_mmap(self, mm: Mm, oldmm: Mm) -> Steps[None]:
        """dup_mmap(): each vma is linked to its anon_vma before its ptes are copied; VM_LOCKED is not inherited.

        In i_mmap a child's vma comes right after its parent's, so that truncation sees what is copied meanwhile.
        """
        task = self.current
        yield "dup_mmap: mmap_sem"
        while not oldmm.mmap_sem.down_write(task):
            yield oldmm.mmap_sem.exclusive()
        mm.mmap_sem.down_write_nested(task)
        self.mms.append(mm)
        for mpnt in oldmm.mmap:
            tmp = Vma(mm, mpnt.vm_start, mpnt.vm_end, mpnt.vm_flags & ~VM_LOCKED, mpnt.vm_pgoff, mpnt.vm_file)
            tmp.anon_vma = mpnt.anon_vma
            yield from self.anon_vma_link(tmp)
            mapping = mpnt.vm_file
            if mapping is not None:
                mapping.count += 1
                yield "dup_mmap: i_mmap lock"
                while not mapping.i_mmap_lock.acquire(task):
                    yield mapping.i_mmap_lock
                mapping.i_mmap.insert(mapping.i_mmap.index(mpnt) + 1, tmp)
                mapping.i_mmap_lock.release(task)
            mm.mmap.append(tmp)
            yield from self.copy_page_range(mm, oldmm, mpnt)
        mm.mmap_sem.up_write(task)
        if oldmm.tlbs:
            yield "dup_mmap: TLBs not yet flushed"
            self.flush_tlb_mm(oldmm)
        oldmm.mmap_sem.up_write(task)

    def sys_fork(self, child: Task) -> Steps[None]:
        """do_fork(), copy_mm(), dup_mm(): `child` comes to life with a copy of the caller's mm."""
        oldmm = self.current.mm
        assert oldmm is not None
        mm = Mm(child.name, self.pages, declared(type(self)))
        yield from self.dup_mmap(mm, oldmm)
        child.mm = mm

    def sys_clone(self, child: Task) -> None:
        """do_fork() with CLONE_VM and CLONE_THREAD: `child` is one more thread of the caller's mm, on its own CPU."""
        task = self.current
        mm = task.mm
        assert mm is not None
        mm.mm_users += 1
        child.mm = mm
        if self.arch.gathers:
            for thread in (task, child):
                if thread.tlb is None:
                    thread.tlb = {}
                    mm.tlbs.append(thread.tlb)

    def sys_exit(self) -> Steps[None]:
        """do_exit(), exit_mm() of one thread. Left out: lazy TLBs."""
        task = self.current
        mm = task.mm
        assert mm is not None
        if task.tlb is not None:
            mm.tlbs = [tlb for tlb in mm.tlbs if tlb is not task.tlb]
            task.tlb = None
        yield from self.mmput(mm)
        task.mm = None
