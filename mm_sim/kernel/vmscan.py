"""mm/vmscan.c: reclaim, one page at a time."""

from __future__ import annotations

from enum import Enum
from typing import Final

from mm_sim.kernel.fault import PageFault
from mm_sim.kernel.rmap import Swap
from mm_sim.page import Page
from mm_sim.sched import Steps

PAGE_ALLOC_COSTLY_ORDER: Final = 3


class Pageout(Enum):
    """What pageout() answers. KEEP, ACTIVATE: page locked. SUCCESS: unlocked. CLEAN: locked."""

    KEEP = "PAGE_KEEP"
    ACTIVATE = "PAGE_ACTIVATE"
    SUCCESS = "PAGE_SUCCESS"
    CLEAN = "PAGE_CLEAN"


class Vmscan(PageFault):
    __slots__ = ()

    def page_mapping_inuse(self, page: Page) -> bool:
        """page_mapping_inuse(): mapped, or in the swap cache, or its file is mapped somewhere."""
        if page.mapcount > 0 or page.PG_swapcache:
            return True
        mapping = self.page_mapping(page)
        return mapping is not None and bool(mapping.i_mmap)

    def pageout(self, page: Page, sync: bool) -> Steps[Pageout]:
        """pageout(). Left out: the swap device's congestion."""
        mapping = self.page_mapping(page)
        if page.count != 2 or (mapping is None and not page.PG_swapcache):
            return Pageout.KEEP
        if not (yield from self.clear_page_dirty_for_io(page)):
            return Pageout.CLEAN
        yield "pageout: PG_dirty cleared"
        if mapping is None:
            yield from self.swap_writepage(page)
        elif not mapping.shmem:
            yield from self.block_write_full_page(page)
        elif not (yield from self.shmem_writepage(page)):
            return Pageout.ACTIVATE
        if sync:
            while page.PG_writeback:
                yield page
        return Pageout.SUCCESS

    def remove_mapping(self, page: Page) -> Steps[bool]:
        """remove_mapping(): the count must be exactly 2, and only then is PG_dirty looked at."""
        task = self.current
        mapping = self.page_mapping(page)
        tree_lock = self.tree_lock if mapping is None else mapping.tree_lock
        yield "remove_mapping: tree_lock"
        while not tree_lock.acquire(task):
            yield tree_lock
        freeable = page.count == 2
        if freeable:
            yield "remove_mapping: count is 2"
            freeable = not page.PG_dirty
        if not freeable:
            tree_lock.release(task)
            return False
        if mapping is not None:
            self.mark("clean drop from the page cache")
            self.remove_from_page_cache_locked(page)
            tree_lock.release(task)
            self.put_page(page)
            return True
        entry = self.delete_from_swap_cache_locked(page)
        tree_lock.release(task)
        if entry.map > 1:
            self.mark("clean drop from the swap cache")
        self.swap_free(entry)
        self.put_page(page)
        return True

    def shrink_page_list(self, page: Page, order: int, sync: bool) -> Steps[bool]:
        """shrink_page_list() for one isolated page: True when it can be freed.

        Left out: PG_active (see Page), may_enter_fs and may_writepage (both are true).
        """
        task = self.current
        if not page.lock.trylock(task):
            return False
        freed = False
        if (yield from self.shrink_locked_page(page, order, sync)):
            freed = yield from self.remove_mapping(page)
        if page.lock.owner is task:
            page.lock.release(task)
        return freed

    def shrink_locked_page(self, page: Page, order: int, sync: bool) -> Steps[bool]:
        """The body of shrink_page_list() up to remove_mapping(): True to go on with that.

        False stands for `keep`, `keep_locked` and `activate_locked`.
        """
        if page.PG_writeback:
            if not sync:
                return False
            while page.PG_writeback:
                yield page
        referenced = yield from self.page_referenced(page)
        costly = order > PAGE_ALLOC_COSTLY_ORDER
        if referenced and not costly and self.page_mapping_inuse(page):
            return False
        yield "shrink_page_list: references checked"
        if page.PG_anon and not page.PG_swapcache and not (yield from self.add_to_swap(page)):
            return False
        if page.mapcount and (page.PG_swapcache or self.page_mapping(page) is not None):
            yield "shrink_page_list: try_to_unmap"
            if (yield from self.try_to_unmap(page)) is not Swap.SUCCESS:
                return False
        if page.PG_dirty:
            if referenced and not costly:
                return False
            yield "shrink_page_list: pageout"
            out = yield from self.pageout(page, sync)
            if out is Pageout.KEEP or out is Pageout.ACTIVATE:
                return False
            if out is Pageout.SUCCESS:
                if page.PG_writeback or page.PG_dirty:
                    return False
                yield "shrink_page_list: written at once"
                if not page.lock.trylock(self.current):
                    return False
                if page.PG_dirty or page.PG_writeback:
                    return False
        if page.buffers is not None:
            yield "shrink_page_list: try_to_release_page"
            if not self.try_to_free_buffers(page):
                return False
        return page.PG_swapcache or self.page_mapping(page) is not None

    def shrink_inactive_list(self, page: Page, order: int, wait: bool) -> Steps[bool]:
        """shrink_inactive_list() for one page: isolate it, try to free it, put it back.

        Lumpy reclaim (order > 3) that may wait (`wait`: not kswapd) tries again and waits for the I/O.
        """
        page.PG_lru = False
        page.count += 1
        yield "shrink_inactive_list: page isolated"
        freed = yield from self.shrink_page_list(page, order, sync=False)
        if not freed and wait and order > PAGE_ALLOC_COSTLY_ORDER:
            yield "shrink_inactive_list: second pass"
            freed = yield from self.shrink_page_list(page, order, sync=True)
        if not freed:
            page.PG_lru = True
        self.put_page(page)
        return freed
