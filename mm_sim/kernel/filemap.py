"""mm/filemap.c, with what fs/buffer.c and fs/sync.c do for a plain disk filesystem: the page cache.

A page is read and written whole, and has one buffer (`Page.buffers`). Left out: readahead, journals, metadata,
failing reads. A page is dirty and not up to date only while write() has it locked; where a page has several buffers,
block_read_full_page() reads into those that are not up to date, and a dirty one is, so a read overwrites nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.page_writeback import PageWriteback
from mm_sim.page import ZERO, Page
from mm_sim.sched import KernelBug, Steps, no_steps


class Filemap(PageWriteback):
    __slots__ = ()

    if TYPE_CHECKING:  # mm/truncate.c, mm/shmem.c

        def cancel_dirty_page(self, page: Page) -> None: ...
        def shmem_getpage(self, mapping: AddressSpace, index: int, write: bool, read: bool) -> Steps[Page | None]: ...

    # the radix tree

    def find_get_page(self, mapping: AddressSpace, index: int) -> Steps[Page | None]:
        """find_get_page(): with a reference."""
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        page = mapping.pages[index]
        if page is not None:
            page.count += 1
        return page

    def find_lock_page(self, mapping: AddressSpace, index: int) -> Steps[Page | None]:
        """find_lock_page(): locked, with a reference; again if it was truncated while the lock was waited for."""
        while (page := (yield from self.find_get_page(mapping, index))) is not None:
            yield "find_lock_page: page lock"
            while not page.lock.acquire(self.current):
                yield page.lock
            if page.mapping is mapping:
                break
            page.lock.release(self.current)
            self.put_page(page)
        return page

    def add_to_page_cache(self, page: Page, mapping: AddressSpace, index: int) -> bool:
        """add_to_page_cache(), page locked, tree_lock free: False stands for -EEXIST."""
        if mapping.pages[index] is not None:
            return False
        mapping.pages[index] = page
        page.count += 1
        page.mapping = mapping
        page.index = index
        return True

    def remove_from_page_cache_locked(self, page: Page) -> None:
        """__remove_from_page_cache(): under tree_lock, page locked."""
        mapping = page.mapping
        if type(mapping) is not AddressSpace or page.mapcount:
            raise KernelBug(f"{page!r} leaves the page cache, but is mapped or not in it")
        mapping.pages[page.index] = None
        page.mapping = None
        page.tag_dirty = False

    def remove_from_page_cache(self, page: Page) -> Steps[None]:
        """remove_from_page_cache()"""
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        self.remove_from_page_cache_locked(page)

    def new_locked_page(self, mapping: AddressSpace, index: int) -> Steps[Page | None]:
        """alloc_page() and add_to_page_cache_lru(): locked. None: no frame, or somebody else was faster."""
        page = self.alloc_page()
        if page is None:
            return None
        yield "add_to_page_cache: page allocated"
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        page.lock.trylock(self.current)
        if not self.add_to_page_cache(page, mapping, index):
            page.lock.release(self.current)
            self.put_page(page)
            return None
        self.lru_cache_add_active(page)
        return page

    # buffers

    def create_empty_buffers(self, page: Page, dirty: bool = False) -> None:
        """create_empty_buffers(), page locked, if there are none: dirty if the page is."""
        if page.buffers is None:
            page.buffers = dirty or page.PG_dirty

    def mark_buffer_dirty(self, page: Page) -> Steps[None]:
        """mark_buffer_dirty(): who finds BH_Dirty set goes on, though PG_dirty and the tag may not be there yet."""
        if page.buffers:
            return no_steps()
        page.buffers = True
        return self.set_page_dirty_and_tag(page)

    def try_to_free_buffers(self, page: Page) -> bool:
        """try_to_free_buffers(), page locked, under private_lock: a page with clean buffers is made clean, too.

        Left out: BH_Write_EIO, by which the failure of a write is recorded a second time here.
        """
        if page.PG_writeback or page.buffers:
            return False
        page.buffers = None
        if page.PG_dirty:
            self.mark("try_to_free_buffers() of a dirty page")
        self.cancel_dirty_page(page)
        return True

    def block_invalidatepage(self, page: Page) -> None:
        """block_invalidatepage() of a whole page, locked: discard_buffer() cleans the buffers, and they go."""
        if page.buffers is not None:
            page.buffers = False
            self.try_to_free_buffers(page)

    # blocks

    def readpage(self, page: Page) -> Steps[None]:
        """do_mpage_readpage(), fs/mpage.c, and its end: the locked page is filled, past the end with zeroes.

        Where the file ends is looked at when the read is submitted.
        """
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        value = mapping.blocks[page.index] if page.index < mapping.i_size else ZERO
        yield "readpage: reading"
        self.arch.write(page, value)
        self.set_page_uptodate(page)
        page.lock.release(self.current)

    def block_write_full_page(self, page: Page) -> Steps[None]:
        """block_write_full_page(): entered with the page locked, left with it unlocked.

        Data leave the frame at submission, the earliest moment at which the device may fetch them. Without dirty
        buffers there is no I/O; XFS writes what is up to date nevertheless (xfs_page_state_convert()). Left out: the
        page in which the file ends. Each write zeroes it beyond i_size, of which nothing is promised, and sets C
        on s390: a clean page is then marked dirty when it is unmapped, as after a write() while it was not mapped.
        """
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        if page.index < mapping.i_size:
            self.create_empty_buffers(page, dirty=True)
            dirty = page.buffers or mapping.page_mkwrite
            page.buffers = False
            self.submit(page)
            if not dirty:
                self.mark("write-back of a page without dirty buffers")
                page.PG_writeback = False  # end_page_writeback()
        else:
            self.block_invalidatepage(page)
        page.lock.release(self.current)
        yield "block_write_full_page: submitted"

    def mpage_writepage(self, page: Page) -> Steps[None]:
        """__mpage_writepage(), fs/mpage.c: a page without buffers is written without any; else as above."""
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        if page.buffers is None and page.index < mapping.i_size and not mapping.page_mkwrite:
            self.submit(page)
            page.lock.release(self.current)
            yield "mpage_writepage: submitted"
        else:
            yield from self.block_write_full_page(page)

    def submit(self, page: Page) -> None:
        """The end of both: the page is under write-back, and its data leave."""
        if page.PG_writeback:
            raise KernelBug(f"{page!r} is written back twice at once")
        self.set_page_writeback(page)

    def end_buffer_async_write(self, page: Page, uptodate: bool) -> None:
        """end_buffer_async_write(): a failed write leaves the old block, AS_EIO, and the page clean.

        Left out: PG_error, by which whoever waits for the page hears of it, too, and later ones once more.
        """
        mapping = page.mapping
        assert type(mapping) is AddressSpace
        if uptodate:
            mapping.blocks[page.index] = page.io
        else:
            mapping.AS_EIO = True
            self.mark("file write failed")
        page.PG_writeback = False

    def block_page_mkwrite(self, page: Page, mapping: AddressSpace) -> Steps[bool]:
        """block_page_mkwrite(): False if the page was truncated, but for one that begins where the file ends."""
        yield "block_page_mkwrite: page lock"
        while not page.lock.acquire(self.current):
            yield page.lock
        valid = page.mapping is mapping and page.index <= mapping.i_size
        if valid and page.index < mapping.i_size:
            self.create_empty_buffers(page)
            yield from self.mark_buffer_dirty(page)
        page.lock.release(self.current)
        return valid

    # faults

    def filemap_fault(self, mapping: AddressSpace, index: int) -> Steps[Page | bool]:
        """filemap_fault(): the page, locked, with a reference. False: past the end (SIGBUS); True: out of memory."""
        while index < mapping.i_size:
            page = yield from self.find_lock_page(mapping, index)
            if page is not None:
                if not page.PG_uptodate:  # its reader has left it to us
                    yield from self.readpage(page)
                elif index < mapping.i_size:
                    self.mark_page_accessed(page)
                    return page
                else:
                    page.lock.release(self.current)
                self.put_page(page)
                continue
            page = yield from self.new_locked_page(mapping, index)  # page_cache_read()
            if page is not None:
                yield from self.readpage(page)
                self.put_page(page)
            elif mapping.pages[index] is None:
                return True
        return False

    # read(), write()

    def generic_file_write(
        self, mapping: AddressSpace, index: int, copy_from_user: Callable[[Page], int]
    ) -> Steps[bool]:
        """generic_file_buffered_write() of one whole page, under i_mutex. False stands for -ENOMEM.

        `copy_from_user` is called, with the page, at the moment of the copy. A tmpfs page is unlocked before it is
        marked dirty (shmem_write_end()); another is uptodate only after that (__block_commit_write()).
        """
        task = self.current
        yield "generic_file_write: i_mutex"
        while not mapping.i_mutex.acquire(task):
            yield mapping.i_mutex
        page = None
        while page is None:
            if mapping.shmem:
                page = yield from self.shmem_getpage(mapping, index, write=True, read=False)
            else:
                page = yield from self.find_lock_page(mapping, index)
                if page is None:
                    page = yield from self.new_locked_page(mapping, index)
            if page is None and mapping.pages[index] is None:
                mapping.i_mutex.release(task)
                return False
        yield "generic_file_write: page locked"
        if not page.mapcount:
            self.mark("write() to a page that is not mapped")
        if not mapping.shmem:
            self.create_empty_buffers(page)  # __block_prepare_write()
        self.arch.write(page, copy_from_user(page))
        if mapping.shmem:
            mapping.i_size = max(mapping.i_size, index + 1)
            page.lock.release(task)
            yield "shmem_write_end: page unlocked"
            yield from self.set_page_dirty(page)
        else:
            yield from self.mark_buffer_dirty(page)
            self.set_page_uptodate(page)
            mapping.i_size = max(mapping.i_size, index + 1)
            page.lock.release(task)
        self.put_page(page)
        mapping.i_mutex.release(task)
        return True

    def generic_file_read(
        self, mapping: AddressSpace, index: int, copy_to_user: Callable[[int], None]
    ) -> Steps[None]:
        """do_generic_file_read(), do_shmem_file_read() of one page: nothing past the end, zeroes for a tmpfs hole."""
        while index < mapping.i_size:
            if mapping.shmem:
                page = yield from self.shmem_getpage(mapping, index, write=False, read=True)
                if page is not None:
                    page.lock.release(self.current)
                elif mapping.swap[index] is not None:
                    return  # -ENOMEM
            else:
                page = yield from self.find_get_page(mapping, index)
                if page is not None and not page.PG_uptodate:
                    while not page.lock.acquire(self.current):
                        yield page.lock
                    if page.mapping is not mapping or page.PG_uptodate:
                        page.lock.release(self.current)
                    else:
                        yield from self.readpage(page)
                    self.put_page(page)
                    continue
                if page is None:
                    page = yield from self.new_locked_page(mapping, index)
                    if page is not None:
                        yield from self.readpage(page)
                        self.put_page(page)
                        continue
                    if mapping.pages[index] is None:
                        return
                    continue
            yield "generic_file_read: page found"
            if index < mapping.i_size:
                copy_to_user(ZERO if page is None else page.content)
            if page is not None:
                self.mark_page_accessed(page)
                self.put_page(page)
            return

    # fsync()

    def filemap_fdatawait(self, mapping: AddressSpace) -> Steps[bool]:
        """filemap_fdatawait(), wait_on_page_writeback_range(): False stands for -EIO, said once.

        Of an empty file it says nothing, and keeps the error.
        """
        if not mapping.i_size:
            return True
        for index in range(mapping.i_size):
            page = yield from self.find_get_page(mapping, index)
            if page is not None:
                while page.PG_writeback:
                    yield page
                self.put_page(page)
        yield "filemap_fdatawait: waited"
        error = mapping.AS_EIO
        mapping.AS_EIO = False
        return not error

    def do_fsync(self, mapping: AddressSpace) -> Steps[bool]:
        """do_fsync(), fs/sync.c; on tmpfs nothing is written (simple_sync_file()). False stands for -EIO."""
        if not mapping.shmem:
            yield from self.write_cache_pages(mapping, sync=True)  # filemap_fdatawrite()
        yield "do_fsync: i_mutex"
        while not mapping.i_mutex.acquire(self.current):
            yield mapping.i_mutex
        mapping.i_mutex.release(self.current)
        return (yield from self.filemap_fdatawait(mapping))

    def background_writeout(self, mapping: AddressSpace) -> Steps[None]:
        """background_writeout() down to __sync_single_inode(), for pdflush: pages under writeback are skipped."""
        yield from self.write_cache_pages(mapping, sync=False)
