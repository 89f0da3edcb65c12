"""mm/msync.c and fs/direct-io.c: system calls that reach a file by way of memory, and memory by way of a device."""

from __future__ import annotations

from collections.abc import Callable
from errno import EFAULT, EIO, ENOMEM

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.vmscan import Vmscan
from mm_sim.mm import VM_SHARED, VM_WRITE
from mm_sim.page import Page
from mm_sim.sched import Steps


class Msync(Vmscan):
    __slots__ = ()

    def sys_msync(self, addr: int, sync: bool) -> Steps[AddressSpace | int]:
        """sys_msync() of one page: the file that was written, all of it, with MS_SYNC; MS_ASYNC does nothing.

        Else 0, which stands for nothing to write, -ENOMEM, or -EIO.
        """
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_msync: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        vma = mm.find_vma(addr)
        mapping = None if not sync or vma is None or not vma.vm_flags & VM_SHARED else vma.vm_file
        if mapping is not None:
            mapping.count += 1  # get_file()
        mm.mmap_sem.up_read(task)
        if mapping is None:
            return -ENOMEM if vma is None else 0
        done = yield from self.do_fsync(mapping)
        yield from self.fput(mapping)
        return mapping if done else -EIO

    def sys_read_direct(self, addr: int, copy_from_device: Callable[[Page], int]) -> Steps[bool]:
        """read() with O_DIRECT into one page of the caller's memory, fs/direct-io.c: the page is pinned meanwhile.

        `copy_from_device` is called, with the page, when the device writes to memory. False stands for -EFAULT.
        """
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "dio_refill_pages: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        vma = mm.find_vma(addr)
        page: Page | int = -EFAULT
        if vma is not None and vma.vm_flags & VM_WRITE:
            page = yield from self.get_user_page(mm, vma, addr, write=True, get=True)
        mm.mmap_sem.up_read(task)
        if type(page) is not Page:
            return False
        yield "dio_bio_submit: page pinned"
        self.arch.write(page, copy_from_device(page))
        yield "dio_bio_complete: page filled"
        yield from self.set_page_dirty_lock(page)
        self.put_page(page)
        return True
