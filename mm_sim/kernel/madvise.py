"""mm/madvise.c"""

from __future__ import annotations

from errno import EINVAL, ENOMEM

from mm_sim.kernel.mremap import Mremap
from mm_sim.mm import VM_LOCKED
from mm_sim.sched import Steps


class Madvise(Mremap):
    __slots__ = ()

    def sys_madvise_dontneed(self, addr: int) -> Steps[int]:
        """sys_madvise(MADV_DONTNEED), madvise_dontneed() of one page, which must not be locked."""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_madvise: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        vma = mm.find_vma(addr)
        if vma is None:
            error = -ENOMEM
        elif vma.vm_flags & VM_LOCKED:
            error = -EINVAL
        else:
            yield from self.zap_page_range(vma, addr, addr + 1)
            error = 0
        mm.mmap_sem.up_read(task)
        return error
