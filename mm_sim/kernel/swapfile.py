"""mm/swapfile.c: swap slots and their counts, swapoff.

Every region under swap_lock is one plain method here, so nobody can find it held and there is no object
for it. Where the kernel takes tree_lock inside it, the wait for tree_lock comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mm_sim.kernel.rmap import Rmap
from mm_sim.mm import Mm, Vma
from mm_sim.page import GARBAGE, Page, SwapInfo, SwapSlot
from mm_sim.sched import SPIN, KernelBug, Steps


class Swapfile(Rmap):
    __slots__ = ()

    if TYPE_CHECKING:  # mm/mmap.c

        def exit_mmap(self, mm: Mm) -> Steps[None]: ...

        # mm/shmem.c

        def shmem_unuse(self, entry: SwapSlot, page: Page) -> Steps[bool]: ...

    def vm_swap_full(self) -> bool:
        """vm_swap_full(), include/linux/swap.h: more than half of swap is in use; true while the only area goes."""
        return self.nr_swap_pages * 2 < self.total_swap_pages

    def get_swap_page(self) -> SwapSlot | None:
        """get_swap_page(): the lowest free slot of the first area that has one. Left out: clusters, equal priorities.

        What it held before is garbage until the page is written.
        """
        if self.nr_swap_pages <= 0:
            return None
        for si in self.swap_info:
            if not si.SWP_WRITEOK:
                continue
            for entry in si.slots:
                if not entry.map:
                    self.nr_swap_pages -= 1
                    entry.map = 1
                    entry.content = GARBAGE
                    return entry
        return None

    def swap_entry_free(self, entry: SwapSlot) -> int:
        """swap_entry_free(): the count that is left."""
        if entry.map <= 0:
            raise KernelBug(f"swap_free: unused {entry!r}")
        entry.map -= 1
        if not entry.map:
            if entry.page is not None:
                raise KernelBug(f"swap_free: {entry!r} is free while {entry.page!r} is in the swap cache")
            self.nr_swap_pages += 1
        return entry.map

    def swap_free(self, entry: SwapSlot) -> None:
        """swap_free()"""
        self.swap_entry_free(entry)

    def swap_duplicate(self, entry: SwapSlot) -> bool:
        """swap_duplicate(): False when the slot is not in use; SWAP_MAP_MAX is left out."""
        if not entry.map:
            return False
        entry.map += 1
        return True

    def can_share_swap_page(self, page: Page) -> bool:
        """can_share_swap_page(), page_swapcount(): nobody else has the page, nor its slot."""
        count = page.mapcount
        if count <= 1 and page.PG_swapcache:
            count += page.swap_slot().map - 1
        return count == 1

    def remove_exclusive_swap_page(self, page: Page) -> Steps[bool]:
        """remove_exclusive_swap_page(), page locked: out of the swap cache if nobody else uses it."""
        if not page.PG_swapcache or page.PG_writeback or page.count != 2:
            return False
        while self.tree_lock.busy():
            yield self.tree_lock
        if page.swap_slot().map != 1 or page.count != 2 or page.PG_writeback:
            return False
        entry = self.delete_from_swap_cache_locked(page)
        self.SetPageDirty(page)
        self.swap_free(entry)
        self.put_page(page)
        return True

    def free_swap_and_cache(self, entry: SwapSlot) -> Steps[None]:
        """free_swap_and_cache(): a swap pte goes; the page goes with it if only the cache is left."""
        while self.tree_lock.busy():
            yield self.tree_lock
        page = None
        if self.swap_entry_free(entry) == 1:
            page = entry.page
            if page is not None:
                if not page.lock.trylock(self.current):
                    return
                page.count += 1
        if page is None:
            return
        one_user = page.count == 2
        if page.PG_swapcache and not page.PG_writeback and (one_user or self.vm_swap_full()):
            yield from self.delete_from_swap_cache(page)
            self.SetPageDirty(page)
        page.lock.release(self.current)
        self.put_page(page)

    def unuse_pte(self, vma: Vma, addr: int, entry: SwapSlot, page: Page) -> Steps[bool]:
        """unuse_pte(): old, with vm_page_prot, which never lets a private vma write."""
        mm = vma.vm_mm
        yield "unuse_pte: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        found = mm.pte[addr] is entry
        if found:
            page.count += 1
            self.set_pte_at(mm, addr, page.ptes[0])  # a private vma's vm_page_prot
            self.page_add_anon_rmap(page, vma, addr)
            self.swap_free(entry)
        mm.ptl.release(self.current)
        return found

    def unuse_vma(self, vma: Vma, entry: SwapSlot, page: Page) -> Steps[bool]:
        """unuse_vma() down to unuse_pte_range(): look for the swap pte without the ptl."""
        if page.mapping is not None:  # page_address_in_vma()
            address = self.vma_address(page, vma) if page.mapping is vma.anon_vma else None
            addresses = range(0) if address is None else range(address, address + 1)
        else:
            addresses = range(vma.vm_start, vma.vm_end)
        for addr in addresses:
            if vma.vm_mm.pte[addr] is entry and (yield from self.unuse_pte(vma, addr, entry, page)):
                return True
        return False

    def unuse_mm(self, mm: Mm, entry: SwapSlot, page: Page) -> Steps[None]:
        """unuse_mm(): the page is unlocked while mmap_sem is waited for.

        activate_page(), here and in unuse_pte(), has nothing to do: there are no LRU lists. Reclaim can take the page
        all the same: lumpy reclaim isolates active pages, too, and shrink_active_list() makes them inactive.
        """
        task = self.current
        if not mm.mmap_sem.down_read_trylock(task):
            page.lock.release(task)
            while not mm.mmap_sem.down_read(task):
                yield mm.mmap_sem
            yield "unuse_mm: page lock"
            while not page.lock.acquire(task):
                yield page.lock
        for vma in mm.mmap:
            if vma.anon_vma is not None and (yield from self.unuse_vma(vma, entry, page)):
                break
        mm.mmap_sem.up_read(task)

    def mmput(self, mm: Mm | None) -> Steps[None]:
        """mmput(), kernel/fork.c: the last user tears the address space down. None is init_mm, which stays."""
        if mm is None:
            return
        mm.mm_users -= 1
        if not mm.mm_users:
            yield from self.exit_mmap(mm)
            if mm in self.mmlist:
                self.mmlist.remove(mm)
            self.mms.remove(mm)

    def find_next_to_unuse(self, si: SwapInfo, prev: SwapSlot | None) -> SwapSlot | None:
        """find_next_to_unuse(): the next slot in use, from the one after `prev` on to the end and round to it."""
        start = 0 if prev is None else si.slots.index(prev) + 1
        return next((entry for entry in (*si.slots[start:], *si.slots[:start]) if entry.map), None)

    def next_on_mmlist(self, mm: Mm | None) -> Mm | None:
        """What follows on mmlist, a ring; None is init_mm, its head."""
        ring = (None, *self.mmlist)
        return ring[ring.index(mm) + 1 - len(ring)]

    def unuse_mmlist(
        self, start_mm: Mm | None, entry: SwapSlot, page: Page, swcount: int
    ) -> Steps[tuple[Mm | None, bool]]:
        """The walk of try_to_unuse() along mmlist, from behind `start_mm`, with one mm held at a time.

        Returns where to start for the next slot, and whether a file of tmpfs had this one. `swcount` is the slot's
        count before `start_mm` was searched.
        """
        new_start_mm = prev_mm = mm = start_mm
        if start_mm is not None:
            start_mm.mm_users += 2
        set_start_mm = entry.map >= swcount
        shmem = False
        while entry.map > 1 and not shmem:
            mm = self.next_on_mmlist(mm)
            if mm is start_mm:
                break
            if mm is not None:
                if not mm.mm_users:
                    continue
                mm.mm_users += 1
            yield from self.mmput(prev_mm)
            prev_mm = mm
            yield "try_to_unuse: next mm"
            swcount = entry.map
            if swcount > 1:
                if mm is None:
                    set_start_mm = True
                    shmem = yield from self.shmem_unuse(entry, page)
                else:
                    yield from self.unuse_mm(mm, entry, page)
            if set_start_mm and entry.map < swcount:
                yield from self.mmput(new_start_mm)
                if mm is not None:
                    mm.mm_users += 1
                new_start_mm = mm
                set_start_mm = False
        yield from self.mmput(prev_mm)
        yield from self.mmput(start_mm)
        return new_start_mm, shmem

    def part_page_and_slot(self, page: Page, entry: SwapSlot) -> Steps[None]:
        """The end of a turn of try_to_unuse(), page locked: saved for what refers to it; out of the swap cache."""
        if entry.map > 1 and page.PG_dirty and page.PG_swapcache:
            self.mark("swapoff leaves a reference behind")
            yield from self.swap_writepage(page)
            while not page.lock.acquire(self.current):
                yield page.lock
            while page.PG_writeback:
                yield page
        if page.PG_swapcache:
            yield from self.delete_from_swap_cache(page)
        self.SetPageDirty(page)

    def try_to_unuse(self, si: SwapInfo) -> Steps[bool]:
        """try_to_unuse(): every slot of the area is read back and given up, again until none is in use.

        Before lock_page() it waits without the lock, so that a fault comes first. False stands for -ENOMEM; left out:
        -EINTR, and an overflow of swap_map.
        """
        task = self.current
        start_mm: Mm | None = None  # init_mm
        entry: SwapSlot | None = None
        enomem = False
        while (entry := self.find_next_to_unuse(si, entry)) is not None:
            page = yield from self.read_swap_cache_async(entry)
            if page is None:
                if not entry.map:
                    continue
                enomem = True
                break
            if start_mm is not None and start_mm.mm_users == 1:
                yield from self.mmput(start_mm)
                start_mm = None
            while page.lock.busy():  # wait_on_page_locked()
                yield page.lock
            while page.PG_writeback:
                yield page
            yield "try_to_unuse: page lock"
            while not page.lock.acquire(task):
                yield page.lock
            while page.PG_writeback:
                yield page
            shmem = False
            swcount = entry.map
            if swcount > 1:
                if start_mm is None:
                    shmem = yield from self.shmem_unuse(entry, page)
                else:
                    yield from self.unuse_mm(start_mm, entry, page)
            if entry.map > 1 and not shmem:
                start_mm, shmem = yield from self.unuse_mmlist(start_mm, entry, page, swcount)
            if not shmem:  # else it has been unlocked and released
                yield from self.part_page_and_slot(page, entry)
                page.lock.release(task)
                self.put_page(page)
            yield "try_to_unuse: next slot"
            if entry.map:  # another task holds it, in the middle of something: the kernel spins
                yield SPIN
        yield from self.mmput(start_mm)
        return not enomem

    def sys_swapoff(self, si: SwapInfo) -> Steps[bool]:
        """sys_swapoff(): the area's pages do not count while it is being switched off. False: it stays on."""
        self.nr_swap_pages -= len(si.slots)
        self.total_swap_pages -= len(si.slots)
        si.SWP_WRITEOK = False
        if not (yield from self.try_to_unuse(si)):
            self.sys_swapon(si)
            return False
        if not any(entry.map for entry in self.slots):  # drain_mmlist()
            self.mmlist.clear()
        return True

    def sys_swapon(self, si: SwapInfo) -> None:
        """The end of sys_swapon(), and of sys_swapoff() where it fails."""
        self.nr_swap_pages += len(si.slots)
        self.total_swap_pages += len(si.slots)
        si.SWP_WRITEOK = True
