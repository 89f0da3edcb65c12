"""mm/madvise.c"""

from __future__ import annotations

from mm_sim.kernel.mremap import Mremap
from mm_sim.mm import VM_LOCKED
from mm_sim.sched import Steps


class Madvise(Mremap):
    __slots__ = ()

    def sys_madvise_dontneed(self, addr: int) -> Steps[bool]:
        """sys_madvise(MADV_DONTNEED), madvise_dontneed() of one page. False: -EINVAL (locked), -ENOMEM."""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_madvise: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        vma = mm.find_vma(addr)
        unlocked = vma is not None and not vma.vm_flags & VM_LOCKED
        if vma is not None and unlocked:
            yield from self.zap_page_range(vma, addr, addr + 1)
        mm.mmap_sem.up_read(task)
        return unlocked
