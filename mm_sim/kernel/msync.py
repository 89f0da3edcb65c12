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

    def dio_get_page(self, addr: int) -> Steps[Page | None]:
        """dio_get_page(), dio_refill_pages(), fs/direct-io.c: pin the caller's page. None stands for -EFAULT."""
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
        return page if type(page) is Page else None

    def sys_read_direct(self, addr: int, copy_from_device: Callable[[Page], int]) -> Steps[bool]:
        """read() with O_DIRECT into one page of the caller's memory, fs/direct-io.c: the page is pinned meanwhile.

        `copy_from_device` is called, with the page, when the device writes to memory. False stands for -EFAULT.
        """
        page = yield from self.dio_get_page(addr)
        if page is None:
            return False
        yield "dio_bio_submit: page pinned"
        self.arch.write(page, copy_from_device(page))
        yield "dio_bio_complete: page filled"
        yield from self.set_page_dirty_lock(page)
        self.put_page(page)
        return True

    def sys_io_submit(self, addr: int, copy_from_device: Callable[[Page], int]) -> Steps[bool]:
        """The same by io_submit(): the page is marked dirty before the I/O, and after it if it is not dirty any more.

        The caller could go on meanwhile; here only other threads do.
        """
        page = yield from self.dio_get_page(addr)
        if page is None:
            return False
        yield from self.set_page_dirty_lock(page)  # bio_set_pages_dirty()
        yield "dio_bio_submit: page marked dirty"
        self.arch.write(page, copy_from_device(page))
        yield "bio_check_pages_dirty: page filled"
        if not page.PG_dirty:
            yield "bio_dirty_fn: page is clean"
            yield from self.set_page_dirty_lock(page)
        self.put_page(page)
        return True

    def invalidate_inode_pages2_range(self, mapping: AddressSpace, index: int) -> Steps[bool]:
        """invalidate_inode_pages2_range(), mm/truncate.c, of one page: False stands for -EIO, as it is dirty."""
        page = yield from self.find_get_page(mapping, index)
        if page is None:
            return True
        yield "invalidate_inode_pages2_range: page lock"
        while not page.lock.acquire(self.current):
            yield page.lock
        done = True
        if page.mapping is mapping:
            while page.PG_writeback:
                yield page
            if page.mapcount:
                yield from self.unmap_mapping_range(mapping, index, index + 1, even_cows=False)
            yield "invalidate_inode_pages2_range: unmapped"
            done = yield from self.invalidate_complete_page2(mapping, page)
        page.lock.release(self.current)
        self.put_page(page)
        return done

    def invalidate_complete_page2(self, mapping: AddressSpace, page: Page) -> Steps[bool]:
        """invalidate_complete_page2(), page locked: whoever else has a reference."""
        if page.buffers is not None and not self.try_to_free_buffers(page):
            return False
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        if page.PG_dirty:
            return False
        self.remove_from_page_cache_locked(page)
        page.PG_uptodate = False
        self.put_page(page)  # the page cache's
        return True

    def generic_file_direct_write(
        self, mapping: AddressSpace, index: int, copy_from_user: Callable[[], int]
    ) -> Steps[bool]:
        """generic_file_direct_write(), generic_file_direct_IO() of one page, under i_mutex: False stands for -EIO.

        `copy_from_user` is called when the device takes the data. A page that is dirty again after it stays in the
        page cache. Left out: holes, which are written by way of the page cache, and a write that fails.
        """
        yield "generic_file_direct_write: i_mutex"
        while not mapping.i_mutex.acquire(self.current):
            yield mapping.i_mutex
        if mapping.i_mmap:
            yield from self.unmap_mapping_range(mapping, index, index + 1, even_cows=False)
        yield from self.write_cache_pages(mapping, sync=True)  # filemap_write_and_wait()
        done = yield from self.filemap_fdatawait(mapping)
        done = done and (yield from self.invalidate_inode_pages2_range(mapping, index))
        if done:
            yield "generic_file_direct_IO: direct_IO"
            mapping.blocks[index] = copy_from_user()
            yield "generic_file_direct_IO: written"
            yield from self.invalidate_inode_pages2_range(mapping, index)
            mapping.i_size = max(mapping.i_size, index + 1)
        mapping.i_mutex.release(self.current)
        return done
