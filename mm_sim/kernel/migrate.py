"""mm/migrate.c: a page moves to another frame. It needs NUMA, which s390 does not have in 2.6.26."""

from __future__ import annotations

from mm_sim.kernel.msync import Msync
from mm_sim.mm import Vma
from mm_sim.page import WRITE, Migration, Page, Pte
from mm_sim.sched import Steps


class Migrate(Msync):
    __slots__ = ()

    def remove_migration_pte(self, vma: Vma, old: Page, new: Page) -> Steps[None]:
        """remove_migration_pte(): looks for the entry without the ptl first. The new pte is clean: PG_dirty knows."""
        address = self.vma_address(new, vma)
        mm = vma.vm_mm
        if address is None or type(mm.pte[address]) is Pte or mm.pte[address] is None:
            return
        yield "remove_migration_pte: ptl"
        while not mm.ptl.acquire(self.current):
            yield mm.ptl
        entry = mm.pte[address]
        if type(entry) is Migration and entry.page is old:
            new.count += 1
            pte = new.ptes[vma.vm_page_prot()]
            self.set_pte_at(mm, address, pte.set(WRITE) if entry.write else pte)
            if new.PG_anon:
                self.page_add_anon_rmap(new, vma, address)
            else:
                self.page_add_file_rmap(new)
        mm.ptl.release(self.current)

    def remove_migration_ptes(self, old: Page, new: Page) -> Steps[None]:
        """remove_migration_ptes(): by the file's vmas or by the anon_vma's."""
        mapping = new.mapping
        if mapping is None:
            return
        lock = mapping.lock if new.PG_anon else mapping.i_mmap_lock  # type: ignore[union-attr]
        vmas = mapping.head if new.PG_anon else mapping.i_mmap  # type: ignore[union-attr]
        yield "remove_migration_ptes: rmap lock"
        while not lock.acquire(self.current):
            yield lock
        for vma in vmas:
            yield from self.remove_migration_pte(vma, old, new)
            yield "remove_migration_ptes: next vma"
        lock.release(self.current)

    def migrate_page_move_mapping(self, new: Page, page: Page) -> Steps[bool]:
        """migrate_page_move_mapping(): the new page takes the old one's place in its cache, if nobody else has it."""
        mapping = self.page_mapping(page)
        if mapping is None and not page.PG_swapcache:
            return page.count == 1
        tree_lock = self.tree_lock if mapping is None else mapping.tree_lock
        while tree_lock.busy():
            yield tree_lock
        if page.count != 2:
            return False
        new.count += 1
        if mapping is None:
            new.PG_swapcache = True
            new.private = page.swap_slot()
            new.private.page = new
        else:
            mapping.pages[page.index] = new
            new.tag_dirty = page.tag_dirty
        page.count -= 1
        return True

    def migrate_page_copy(self, new: Page, page: Page) -> Steps[None]:
        """migrate_page_copy(): until here who finds the new page waits for its lock."""
        yield "migrate_page_copy: new page in place"
        self.arch.write(new, page.content)
        new.PG_referenced = page.PG_referenced
        if page.PG_uptodate:
            self.set_page_uptodate(new)
        if page.PG_dirty:
            yield from self.clear_page_dirty_for_io(page)
            yield from self.set_page_dirty_and_tag(new)
        page.PG_swapcache = False
        page.private = None
        page.mapping = None
        page.tag_dirty = False

    def move_to_new_page(self, new: Page, page: Page) -> Steps[bool]:
        """move_to_new_page(), migrate_page(), and buffer_migrate_page(), which hands the buffers over.

        Between its move into the mapping and the copy the new page is locked: who finds it waits.
        """
        new.lock.trylock(self.current)
        new.index = page.index
        new.mapping = page.mapping
        new.PG_anon = page.PG_anon
        moved = yield from self.migrate_page_move_mapping(new, page)
        if moved:
            new.buffers, page.buffers = page.buffers, None
            yield from self.migrate_page_copy(new, page)
            yield from self.remove_migration_ptes(page, new)
        else:
            new.mapping = None
            new.PG_anon = False
        new.lock.release(self.current)
        return moved

    def unmap_and_move(self, page: Page) -> Steps[bool]:
        """unmap_and_move() with force, of an isolated page: True when it has moved. Left out: ten more tries."""
        task = self.current
        new = self.alloc_page()
        if new is None:
            return False
        moved = False
        yield "unmap_and_move: page lock"
        while not page.lock.acquire(task):
            yield page.lock
        while page.PG_writeback:
            yield page
        if page.mapping is not None:
            if page.mapcount:
                yield from self.try_to_unmap(page, migration=True)
            yield "unmap_and_move: unmapped"
            if not page.mapcount:
                moved = yield from self.move_to_new_page(new, page)
            if not moved:
                yield from self.remove_migration_ptes(page, page)
        page.lock.release(task)
        if moved:
            self.lru_cache_add_active(new)
            self.mark("page migrated")
        self.put_page(new)
        return moved

    def sys_move_pages(self, addr: int) -> Steps[bool]:
        """sys_move_pages() with MPOL_MF_MOVE_ALL, do_move_pages() of one page of the caller: isolated, then moved."""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "do_move_pages: mmap_sem"
        while not mm.mmap_sem.down_read(task):
            yield mm.mmap_sem
        yield "do_move_pages: ptl"
        while not mm.ptl.acquire(task):
            yield mm.ptl
        pte = mm.pte[addr]  # follow_page() with FOLL_GET, isolate_lru_page()
        page = pte.page if type(pte) is Pte and pte.page.PG_lru else None
        if page is not None:
            page.PG_lru = False
            page.count += 1
        mm.ptl.release(task)
        moved = False
        if page is not None:
            yield "do_move_pages: page isolated"
            moved = yield from self.unmap_and_move(page)
            page.PG_lru = True  # move_to_lru()
            self.put_page(page)
        mm.mmap_sem.up_read(task)
        return moved
