"""mm/truncate.c, vmtruncate() of mm/memory.c, and the end of an inode: pages leave the page cache for good.

A file ends at a page boundary: truncate_partial_page() is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.swapfile import Swapfile
from mm_sim.page import ZERO, Page
from mm_sim.sched import Steps


class Truncate(Swapfile):
    __slots__ = ()

    if TYPE_CHECKING:  # mm/memory.c, mm/shmem.c

        def unmap_mapping_range(
            self, mapping: AddressSpace, start: int, end: int, even_cows: bool
        ) -> Steps[None]: ...
        def shmem_truncate(self, mapping: AddressSpace, size: int) -> Steps[None]: ...

    def cancel_dirty_page(self, page: Page) -> None:
        """cancel_dirty_page()"""
        page.PG_dirty = False

    def truncate_complete_page(self, mapping: AddressSpace, page: Page) -> Steps[None]:
        """truncate_complete_page(), page locked."""
        if page.mapping is not mapping:
            return
        self.block_invalidatepage(page)
        self.cancel_dirty_page(page)
        yield from self.remove_from_page_cache(page)
        page.PG_uptodate = False
        self.put_page(page)  # the page cache's

    def truncate_inode_pages(self, mapping: AddressSpace, size: int) -> Steps[None]:
        """truncate_inode_pages(): what can be locked at once in a first pass, then the rest until nothing is left."""
        task = self.current
        for first in (True, False):
            for index in range(size, len(mapping.pages)):
                while (page := (yield from self.find_get_page(mapping, index))) is not None:
                    if first and not page.lock.trylock(task):
                        self.put_page(page)
                        break
                    if not first:
                        yield "truncate_inode_pages: page lock"
                        # nested: swapoff has locked another page when its mmput() comes here
                        while not page.lock.acquire_nested(task):
                            yield page.lock
                        while page.PG_writeback:
                            yield page
                    gone = not page.PG_writeback
                    if gone:
                        if page.mapcount and page.mapping is mapping:
                            yield from self.unmap_mapping_range(mapping, index, index + 1, even_cows=False)
                        yield from self.truncate_complete_page(mapping, page)
                    page.lock.release(task)
                    self.put_page(page)
                    if first:
                        break

    def vmtruncate(self, mapping: AddressSpace, size: int) -> Steps[None]:
        """vmtruncate(), under i_mutex: the ptes go first for speed, and last for pages that were copied meanwhile."""
        if mapping.i_size < size:
            mapping.i_size = size
            return
        mapping.i_size = size
        end = len(mapping.pages)
        yield from self.unmap_mapping_range(mapping, size, end, even_cows=True)
        yield "vmtruncate: unmapped"
        yield from self.truncate_inode_pages(mapping, size)
        yield "vmtruncate: page cache cut"
        yield from self.unmap_mapping_range(mapping, size, end, even_cows=True)
        if mapping.shmem:
            yield from self.shmem_truncate(mapping, size)
        for index in range(size, end):
            mapping.blocks[index] = ZERO

    def sys_ftruncate(self, mapping: AddressSpace, size: int) -> Steps[None]:
        """do_truncate(), fs/open.c, to `size` pages."""
        mapping.count += 1
        yield "do_truncate: i_mutex"
        while not mapping.i_mutex.acquire(self.current):
            yield mapping.i_mutex
        if 0 < size < mapping.i_size:
            mapping.SHMEM_PAGEIN = False  # shmem_notify_change()
        yield from self.vmtruncate(mapping, size)
        mapping.i_mutex.release(self.current)
        yield from self.fput(mapping)

    def fput(self, mapping: AddressSpace) -> Steps[None]:
        """fput(), iput(): with its last user a file without a name goes, and with it all that it held."""
        if mapping.count == 1 and not mapping.i_nlink:
            mapping.i_size = 0
            yield from self.truncate_inode_pages(mapping, 0)
            if mapping.shmem:
                yield from self.shmem_truncate(mapping, 0)
            for index in range(len(mapping.blocks)):
                mapping.blocks[index] = ZERO
            mapping.AS_EIO = False
        mapping.count -= 1

    def sys_unlink(self, mapping: AddressSpace) -> Steps[None]:
        """sys_unlink(), fs/namei.c: the name goes; the inode stays while somebody uses it."""
        mapping.count += 1
        yield "sys_unlink: i_mutex"
        while not mapping.i_mutex.acquire(self.current):
            yield mapping.i_mutex
        mapping.i_nlink = 0
        mapping.i_mutex.release(self.current)
        yield from self.fput(mapping)
