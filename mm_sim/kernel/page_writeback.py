"""mm/page-writeback.c: PG_dirty is set, and cleared for I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.page_alloc import PageAlloc
from mm_sim.page import Page
from mm_sim.sched import Steps, no_steps

#: 14 in include/linux/pagevec.h, for files of thousands of pages. A larger one finds tags at an earlier moment: a tag
#: that it misses is missed, too, by an fsync() that begins at that moment and finds no other page.
PAGEVEC_SIZE: Final = 1
#: mm/page-writeback.c: more than any file here has.
MAX_WRITEBACK_PAGES: Final = 1024


class PageWriteback(PageAlloc):
    __slots__ = ()

    if TYPE_CHECKING:  # mm/rmap.c, fs/mpage.c

        def page_mkclean(self, page: Page) -> Steps[bool]: ...
        def mpage_writepage(self, page: Page) -> Steps[None]: ...

    def page_mapping(self, page: Page) -> AddressSpace | None:
        """page_mapping(), include/linux/mm.h: the file; None for anonymous memory and for the swap cache."""
        mapping = page.mapping
        return mapping if type(mapping) is AddressSpace and not page.PG_swapcache else None

    def set_page_dirty(self, page: Page) -> Steps[None]:
        """set_page_dirty(), __set_page_dirty_buffers(), fs/buffer.c: sets BH_Dirty of a file page, then PG_dirty.

        Both are set at the call: write-back in between clears both and writes what the caller has recorded, as
        page_mkclean() takes the write access away. The steps that are left are returned: the tag. Left out: a buffer
        that create_empty_buffers() attaches in between, clean, for a write() that dirties only its own part of the
        page (a8e7d49aa7be, 2009): with one buffer a page it is the same buffer.
        """
        if page.buffers is not None:
            page.buffers = True
        return self.set_page_dirty_and_tag(page)

    def set_page_dirty_and_tag(self, page: Page) -> Steps[None]:
        """__set_page_dirty(), fs/buffer.c, and __set_page_dirty_nobuffers(): PG_dirty, and as steps the tag.

        Who finds PG_dirty set goes on, though the tag may not be there yet. Left out: the inode's own dirty
        list, the tag of swapper_space, which nobody looks for, and balance_dirty_pages(), which makes writers wait.
        """
        if not page.PG_dirty:
            page.PG_dirty = True
            mapping = page.mapping
            if type(mapping) is AddressSpace and mapping.accounts_dirty:
                return self.tag_page_dirty(page, mapping)
        return no_steps()

    def tag_page_dirty(self, page: Page, mapping: AddressSpace) -> Steps[None]:
        """The end of __set_page_dirty(), fs/buffer.c: the dirty tag by which write-back finds the page."""
        yield "set_page_dirty: PG_dirty set"
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        if page.mapping is mapping:  # it may have been truncated
            page.tag_dirty = True

    def set_page_dirty_lock(self, page: Page) -> Steps[None]:
        """set_page_dirty_lock()"""
        while not page.lock.acquire(self.current):
            yield page.lock
        if not page.PG_dirty:
            self.mark("set_page_dirty_lock() of a page that is clean")
        yield from self.set_page_dirty(page)
        page.lock.release(self.current)

    def clear_page_dirty_for_io(self, page: Page) -> Steps[bool]:
        """clear_page_dirty_for_io(), page locked: on a file with dirty accounting the ptes are cleaned first.

        For other mappings (swap, shmem) ptes and key are untouched. The tag stays: see set_page_writeback().
        """
        mapping = self.page_mapping(page)
        if mapping is not None and mapping.accounts_dirty:
            if (yield from self.page_mkclean(page)):
                yield from self.set_page_dirty(page)
            yield "clear_page_dirty_for_io: ptes cleaned"
        was_dirty = page.PG_dirty
        page.PG_dirty = False
        return was_dirty

    def set_page_writeback(self, page: Page) -> None:
        """set_page_writeback(), test_set_page_writeback(): the dirty tag goes, unless the page is dirty again."""
        page.PG_writeback = True
        page.io = page.content
        if not page.PG_dirty:
            page.tag_dirty = False

    def pagevec_lookup_tag(self, mapping: AddressSpace, index: int) -> Steps[list[Page]]:
        """pagevec_lookup_tag() with PAGECACHE_TAG_DIRTY: the next pages from `index` on, with references."""
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        tagged = [page for page in mapping.pages[index:] if page is not None and page.tag_dirty]
        for page in tagged[:PAGEVEC_SIZE]:
            page.count += 1
        return tagged[:PAGEVEC_SIZE]

    def written_enough(self, nr_to_write: int, sync: bool) -> bool:
        """Whether write_cache_pages() ends, with WB_SYNC_ALL (`sync`), too; apart for the patch that changes it."""
        return nr_to_write <= 0

    def write_cache_pages(self, mapping: AddressSpace, sync: bool) -> Steps[None]:
        """write_cache_pages(): the pages with the dirty tag, in order; none is looked for by pte or key.

        It writes `nr_to_write` pages, which __filemap_fdatawrite_range() sets to twice what the page cache has when
        it begins, and ends with the pagevec that has the last of them. That cannot happen where the file has no more
        pages. Left out: congestion, and where the background begins (range_cyclic), as it promises nothing.
        """
        task = self.current
        nr_to_write = 2 * sum(page is not None for page in mapping.pages) if sync else MAX_WRITEBACK_PAGES
        if not nr_to_write:
            return
        if nr_to_write < len(mapping.pages):
            yield "write_cache_pages: nr_to_write set"
        index = 0
        while pages := (yield from self.pagevec_lookup_tag(mapping, index)):
            index = pages[-1].index + 1
            for page in pages:
                yield "write_cache_pages: page lock"
                while not page.lock.acquire(task):
                    yield page.lock
                if page.mapping is mapping:
                    while sync and page.PG_writeback:
                        yield page
                    if not page.PG_writeback and (yield from self.clear_page_dirty_for_io(page)):
                        yield "write_cache_pages: PG_dirty cleared"
                        yield from self.mpage_writepage(page)
                        nr_to_write -= 1
                if page.lock.owner is task:
                    page.lock.release(task)
                self.put_page(page)
            if self.written_enough(nr_to_write, sync):
                self.mark("write-back ends early")
                break
