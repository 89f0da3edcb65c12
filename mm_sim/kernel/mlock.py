"""mm/mlock.c"""

from __future__ import annotations

from errno import EAGAIN, ENOMEM

from mm_sim.kernel.mprotect import Mprotect
from mm_sim.mm import VM_LOCKED
from mm_sim.sched import Steps


class Mlock(Mprotect):
    __slots__ = ()

    def do_mlock(self, addr: int, on: bool) -> Steps[int]:
        """sys_mlock(), sys_munlock(), mlock_fixup() of one page: the flag first, then the fault-in.

        The flag stays set when that finds no memory. Left out: RLIMIT_MEMLOCK.
        """
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_mlock: mmap_sem"
        while not mm.mmap_sem.down_write(task):
            yield mm.mmap_sem.exclusive()
        vma = mm.find_vma(addr)
        if vma is None:
            mm.mmap_sem.up_write(task)
            return -ENOMEM
        flags = vma.vm_flags | VM_LOCKED if on else vma.vm_flags & ~VM_LOCKED
        error = 0
        if flags != vma.vm_flags:
            vma = yield from self.vma_fixup(vma, addr, addr + 1, flags)
            if on:
                yield "mlock_fixup: VM_LOCKED set"
                error = yield from self.make_pages_present(mm, vma, addr, addr + 1)
        mm.mmap_sem.up_write(task)
        return -EAGAIN if error == -ENOMEM else error

    def sys_mlock(self, addr: int) -> Steps[int]:
        """sys_mlock()"""
        return self.do_mlock(addr, on=True)

    def sys_munlock(self, addr: int) -> Steps[int]:
        """sys_munlock()"""
        return self.do_mlock(addr, on=False)
