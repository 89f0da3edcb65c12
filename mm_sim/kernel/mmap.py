"""mm/mmap.c: the list of vmas and how system calls change it."""

from __future__ import annotations

from mm_sim.address_space import AddressSpace
from mm_sim.kernel.memory import Memory, MmuGather
from mm_sim.mm import VM_READ, VM_WRITE, AnonVma, Mm, Vma
from mm_sim.sched import Steps


def _mergeable(one: AnonVma | None, other: AnonVma | None) -> bool:
    """is_mergeable_anon_vma()"""
    return one is None or other is None or one is other


class Mmap(Memory):
    __slots__ = ()

    def vma_adjust(self, vma: Vma, start: int, end: int, pgoff: int, insert: Vma | None = None) -> Steps[None]:
        """vma_adjust(): move the ends of `vma`; what it grows over shrinks or goes, `insert` is linked in.

        In case 6 of vma_merge() the kernel does this twice, for one vma that goes after the other; here it is once.
        """
        mm = vma.vm_mm
        mapping = vma.vm_file
        i = mm.mmap.index(vma)
        following = mm.mmap[i + 1] if i + 1 < len(mm.mmap) else None
        removed: list[Vma] = []
        importer: Vma | None = None
        anon_vma: AnonVma | None = None
        adjust_next = 0
        if following is not None and insert is None:
            if end >= following.vm_end:
                removed = [v for v in mm.mmap[i + 1 :] if v.vm_end <= end]
                anon_vma = next((v.anon_vma for v in removed if v.anon_vma is not None), None)
                importer = vma
            elif end > following.vm_start:
                adjust_next = end - following.vm_start
                anon_vma = following.anon_vma
                importer = vma
            elif end < vma.vm_end:
                adjust_next = end - vma.vm_end
                anon_vma = following.anon_vma
                importer = following
        if mapping is not None:
            yield "vma_adjust: i_mmap lock"
            while not mapping.i_mmap_lock.acquire(self.current):
                yield mapping.i_mmap_lock
        anon_vma = vma.anon_vma or anon_vma
        if anon_vma is not None:
            while not anon_vma.lock.acquire(self.current):
                yield anon_vma.lock
            if importer is not None and importer.anon_vma is None:
                importer.anon_vma = anon_vma
                anon_vma.head.append(importer)
        vma.vm_start, vma.vm_end, vma.vm_pgoff = start, end, pgoff
        if adjust_next and following is not None:
            following.vm_start += adjust_next
            following.vm_pgoff += adjust_next
        for gone in removed:
            mm.mmap.remove(gone)
            if gone.anon_vma is not None:
                gone.anon_vma.head.remove(gone)
            if mapping is not None:
                mapping.i_mmap.remove(gone)
        if insert is not None:
            self.vma_link_locked(mm, insert)
        if anon_vma is not None:
            anon_vma.lock.release(self.current)
        if mapping is not None:
            mapping.i_mmap_lock.release(self.current)
            for _ in removed:
                yield from self.fput(mapping)

    def vma_link_locked(self, mm: Mm, vma: Vma) -> None:
        """__vma_link(): into the sorted list, at the tail of the anon_vma's, and into the file's."""
        mm.mmap.append(vma)
        mm.mmap.sort(key=lambda v: v.vm_start)
        if vma.anon_vma is not None:
            vma.anon_vma.head.append(vma)
        if vma.vm_file is not None:
            vma.vm_file.i_mmap.append(vma)
            vma.vm_file.count += 1

    def vma_link(self, mm: Mm, vma: Vma) -> Steps[None]:
        """vma_link()"""
        mapping, anon_vma = vma.vm_file, vma.anon_vma
        if mapping is not None:
            yield "vma_link: i_mmap lock"
            while not mapping.i_mmap_lock.acquire(self.current):
                yield mapping.i_mmap_lock
        if anon_vma is not None:
            while not anon_vma.lock.acquire(self.current):
                yield anon_vma.lock
        self.vma_link_locked(mm, vma)
        if anon_vma is not None:
            anon_vma.lock.release(self.current)
        if mapping is not None:
            mapping.i_mmap_lock.release(self.current)

    def vma_merge(
        self,
        mm: Mm,
        prev: Vma | None,
        addr: int,
        end: int,
        flags: int,
        anon_vma: AnonVma | None,
        file: AddressSpace | None,
        pgoff: int,
    ) -> Steps[Vma | None]:
        """vma_merge(): extend a neighbour over [addr, end), by the numbers of the cases in the kernel."""
        i = 0 if prev is None else mm.mmap.index(prev) + 1
        area = mm.mmap[i] if i < len(mm.mmap) else None
        after = area
        if after is not None and after.vm_end == end:  # cases 6, 7, 8
            after = mm.mmap[i + 1] if i + 1 < len(mm.mmap) else None
        merge_after = (
            after is not None
            and after.vm_start == end
            and after.vm_flags == flags
            and after.vm_file is file
            and _mergeable(anon_vma, after.anon_vma)
            and after.vm_pgoff == pgoff + end - addr
        )
        if (
            prev is not None
            and prev.vm_end == addr
            and prev.vm_flags == flags
            and prev.vm_file is file
            and _mergeable(anon_vma, prev.anon_vma)
            and prev.vm_pgoff + addr - prev.vm_start == pgoff
        ):
            if merge_after and after is not None and _mergeable(prev.anon_vma, after.anon_vma):  # 1, 6
                yield from self.vma_adjust(prev, prev.vm_start, after.vm_end, prev.vm_pgoff)
            else:  # 2, 5, 7
                yield from self.vma_adjust(prev, prev.vm_start, end, prev.vm_pgoff)
            return prev
        if merge_after and after is not None and area is not None:
            if prev is not None and addr < prev.vm_end:  # 4
                yield from self.vma_adjust(prev, prev.vm_start, addr, prev.vm_pgoff)
                return after
            yield from self.vma_adjust(area, addr, after.vm_end, after.vm_pgoff - (end - addr))  # 3, 8
            return area
        return None

    def split_vma(self, vma: Vma, addr: int, new_below: bool) -> Steps[None]:
        """split_vma(): the new vma, below or above `addr`, goes to the tail of the anon_vma list."""
        below = addr - vma.vm_start
        if new_below:
            new = Vma(vma.vm_mm, vma.vm_start, addr, vma.vm_flags, vma.vm_pgoff, vma.vm_file)
            new.anon_vma = vma.anon_vma
            yield from self.vma_adjust(vma, addr, vma.vm_end, vma.vm_pgoff + below, new)
        else:
            new = Vma(vma.vm_mm, addr, vma.vm_end, vma.vm_flags, vma.vm_pgoff + below, vma.vm_file)
            new.anon_vma = vma.anon_vma
            yield from self.vma_adjust(vma, vma.vm_start, addr, vma.vm_pgoff, new)

    def find_vma_prev(self, vma: Vma) -> Vma | None:
        """The vma before `vma`."""
        i = vma.vm_mm.mmap.index(vma)
        return vma.vm_mm.mmap[i - 1] if i else None

    def vma_fixup(self, vma: Vma, start: int, end: int, flags: int) -> Steps[Vma]:
        """What mprotect_fixup() and mlock_fixup() share: merge or split, so that [start, end) is one vma
        or part of one that has `flags` already; then set them.
        """
        mm = vma.vm_mm
        prev = vma if start > vma.vm_start else self.find_vma_prev(vma)
        pgoff = vma.vm_pgoff + start - vma.vm_start
        merged = yield from self.vma_merge(mm, prev, start, end, flags, vma.anon_vma, vma.vm_file, pgoff)
        if merged is not None:
            vma = merged
        else:
            if start != vma.vm_start:
                yield from self.split_vma(vma, start, new_below=True)
            if end != vma.vm_end:
                yield from self.split_vma(vma, end, new_below=False)
        vma.vm_flags = flags
        return vma

    def sys_mmap(self, addr: int, flags: int = 0, file: AddressSpace | None = None, pgoff: int = 0) -> Steps[int]:
        """do_mmap_pgoff() with MAP_FIXED for one writable page, over whatever is there; `flags` is 0 or VM_SHARED.

        Without a `file` it is private and anonymous. Shared anonymous memory comes with the file that
        shmem_zero_setup() would make.
        """
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_mmap: mmap_sem"
        while not mm.mmap_sem.down_write(task):
            yield mm.mmap_sem.exclusive()
        yield from self.do_munmap(mm, addr, addr + 1)  # munmap_back
        flags |= VM_READ | VM_WRITE
        pgoff = addr if file is None else pgoff
        below = [vma for vma in mm.mmap if vma.vm_end <= addr]
        prev = below[-1] if below else None
        if (yield from self.vma_merge(mm, prev, addr, addr + 1, flags, None, file, pgoff)) is None:
            yield from self.vma_link(mm, Vma(mm, addr, addr + 1, flags, pgoff, file))
        mm.mmap_sem.up_write(task)
        return 0

    def free_pgtables(self, vmas: list[Vma]) -> Steps[None]:
        """free_pgtables(), mm/memory.c: rmap can find the vmas until here."""
        for vma in vmas:
            yield "free_pgtables: anon_vma lock"
            yield from self.anon_vma_unlink(vma)
            mapping = vma.vm_file
            if mapping is not None:  # unlink_file_vma()
                yield "unlink_file_vma: i_mmap lock"
                while not mapping.i_mmap_lock.acquire(self.current):
                    yield mapping.i_mmap_lock
                mapping.i_mmap.remove(vma)
                mapping.i_mmap_lock.release(self.current)

    def unmap_region(self, vmas: list[Vma], start: int, end: int) -> Steps[None]:
        """unmap_region(), remove_vma_list(): the files are let go last."""
        tlb = MmuGather()
        yield from self.unmap_vmas(tlb, vmas, start, end)
        yield from self.free_pgtables(vmas)
        if vmas:
            yield from self.tlb_finish_mmu(tlb, vmas[0].vm_mm)
        for vma in vmas:
            if vma.vm_file is not None:
                yield from self.fput(vma.vm_file)

    def do_munmap(self, mm: Mm, start: int, end: int) -> Steps[None]:
        """do_munmap()"""
        vma = next((v for v in mm.mmap if v.vm_end > start), None)
        if vma is None or vma.vm_start >= end:
            return
        if start > vma.vm_start:
            yield from self.split_vma(vma, start, new_below=False)
        last = mm.find_vma(end)
        if last is not None and end > last.vm_start:
            yield from self.split_vma(last, end, new_below=True)
        vmas = [v for v in mm.mmap if start <= v.vm_start < end]
        for v in vmas:
            mm.mmap.remove(v)  # detach_vmas_to_be_unmapped()
        yield from self.unmap_region(vmas, start, end)

    def sys_munmap(self, addr: int) -> Steps[int]:
        """sys_munmap() of one page, mapped or not."""
        task = self.current
        mm = task.mm
        assert mm is not None
        yield "sys_munmap: mmap_sem"
        while not mm.mmap_sem.down_write(task):
            yield mm.mmap_sem.exclusive()
        yield from self.do_munmap(mm, addr, addr + 1)
        mm.mmap_sem.up_write(task)
        return 0

    def exit_mmap(self, mm: Mm) -> Steps[None]:
        """exit_mmap(): the last user has gone, so mmap_sem is not taken."""
        yield from self.unmap_region(mm.mmap, 0, self.pages)
        mm.mmap.clear()
