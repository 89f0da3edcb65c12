"""Every count of a quiet state, counted again from the page tables, the swap cache, the files and the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mm_sim.address_space import AddressSpace
from mm_sim.ghost import Ghost, Space
from mm_sim.loss import Step
from mm_sim.mm import VM_WRITE, Mm
from mm_sim.page import DIRTY, WRITE, ZERO, Migration, Page, Pte, SwapSlot
from mm_sim.sched import KernelBug
from mm_sim.system import System


def count_everything(system: System) -> None:
    """Raises KernelBug if a count of a state in which no operation is under way is not what it counts."""
    if wrong := [*_wrong(system), *_wrong_files(system.kernel.files, system.ghost)]:
        raise KernelBug("; ".join(wrong))


def count_mended(system: System, steps: Sequence[Step]) -> None:
    """Raises KernelBug if rmap would miss a pte, write-back a store, or the file an error in the last of `steps`.

    For kernels with their mends: 2.6.26 itself does so.
    """
    kernel, spaces = system.kernel, system.ghost.spaces
    wrong = [one for mm in kernel.mms for one in _wrong_mm(mm, spaces.get(mm))]
    if wrong := [*wrong, *_unsaid(kernel.files, steps)]:
        raise KernelBug("; ".join(wrong))


def _wrong(system: System) -> Iterator[str]:
    kernel = system.kernel
    ptes = [pte for mm in kernel.mms for pte in mm.pte]
    of_files = [page for file in kernel.files for page in file.pages]
    on_swap = [slot for file in kernel.files for slot in file.swap]
    for page in kernel.frames:
        yield from _wrong_page(page, ptes, of_files)
        if kernel.free.count(page) != (page.count == 0):
            yield f"{page!r} is on the free list with a count, or has none and is not there once"
    for slot in kernel.slots:
        swapped = sum(isinstance(pte, SwapSlot) and pte is slot for pte in ptes)
        if slot.map != swapped + (slot.page is not None) + sum(other is slot for other in on_swap):
            yield f"swap_map of {slot!r} is {slot.map}"
        if slot.page is not None and slot.page.private is not slot:
            yield f"{slot.page!r} is in the swap cache of {slot!r}, and has another slot"
    if kernel.nr_swap_pages != sum(not slot.map for slot in kernel.slots):
        yield f"nr_swap_pages is {kernel.nr_swap_pages}"
    for file in kernel.files:
        vmas = [vma for mm in kernel.mms for vma in mm.mmap if vma.vm_file is file]
        if file.count != len(vmas):
            yield f"{file!r} has {file.count} users, and {len(vmas)} vmas"
        if sorted(map(id, file.i_mmap)) != sorted(map(id, vmas)):
            yield f"i_mmap of {file!r} has not the vmas that map it"
        for at, cached in enumerate(file.pages):
            if cached is None:
                continue
            if cached.mapping is not file or cached.index != at:
                yield f"{cached!r} is in the page cache of {file!r}, and knows of another place"
            if cached.PG_dirty and file.accounts_dirty and not cached.tag_dirty:
                yield f"{cached!r} is dirty without a dirty tag"
            if file.swap[at] is not None:
                yield f"{cached!r} is in the page cache of {file!r}, and in its swap vector"
    for mm in kernel.mms:
        users = [task for task in kernel.tasks if task.mm is mm]
        if mm.mm_users != len(users):
            yield f"mm_users is {mm.mm_users} with {len(users)} threads"
        for tlb in mm.tlbs:
            for addr, cached_pte in tlb.items():
                pte = mm.pte[addr]
                if type(pte) is not Pte or pte.page is not cached_pte.page:
                    yield "a translation outlived its pte"
                elif cached_pte.bits & ~pte.bits & WRITE:
                    yield "a translation may write, and its pte may not"


def _wrong_mm(mm: Mm, space: Space | None) -> Iterator[str]:
    """The vmas are what is said to be mapped; each pte is in one that allows it, and by which rmap finds it."""
    for addr, mapped in enumerate(space.mapped if space is not None else ()):
        if mapped and mm.find_vma(addr) is None:  # what is not may be in one, if it was unmapped during a fork
            yield f"page {addr} is mapped, and in no vma"
    for vma in mm.mmap:
        if vma.anon_vma is not None and vma.anon_vma.head.count(vma) != 1:
            yield f"{vma!r} is not once in the list of its anon_vma"
    for addr, pte in enumerate(mm.pte):
        if pte is None:
            continue
        found = mm.find_vma(addr)
        if found is None:
            yield f"{pte!r} is in no vma"
        elif type(pte) is Migration:
            yield f"{pte!r} is left, and nobody is at work"
        elif type(pte) is Pte:
            page = pte.page
            if page.mapping is not (found.anon_vma if page.PG_anon else found.vm_file) or page.mapping is None:
                yield f"{page!r} is mapped in {found!r}, and is of something else"
            elif page.index != addr - found.vm_start + found.vm_pgoff:
                yield f"{page!r} is mapped at {addr} of {found!r}, where rmap does not look"
            if pte.bits & WRITE and not found.vm_flags & VM_WRITE:
                yield f"{pte!r} may write, and {found!r} may not"
            if pte.bits & (DIRTY | WRITE) and found.wants_writenotify() and not page.PG_dirty:
                yield f"{page!r} is clean, and stores by {pte!r} do not fault"


def _wrong_page(page: Page, ptes: Sequence[object], of_files: list[Page | None]) -> Iterator[str]:
    mapped = sum(type(pte) is Pte and pte.page is page for pte in ptes)
    in_file = sum(other is page for other in of_files)
    if page.mapcount != mapped:
        yield f"mapcount of {page!r} is {page.mapcount}, and {mapped} ptes map it"
    if page.count != mapped + page.PG_swapcache + in_file:
        yield f"count of {page!r} is {page.count}, and {mapped} ptes and {page.PG_swapcache + in_file} caches have it"
    if in_file != (type(page.mapping) is AddressSpace and not page.PG_swapcache and page.count > 0):
        yield f"{page!r} is in a page cache it does not know of, or is not where it thinks"
    if page.lock.owner is not None:
        yield f"{page!r} is locked, and nobody is at work"


def _wrong_files(files: Sequence[AddressSpace], ghost: Ghost) -> Iterator[str]:
    for file in files:
        if (file.i_nlink or file.count) and file.i_size != ghost.files[file].size:
            yield f"{file!r} has {file.i_size} pages, and not as many as it was given"
        for page in file.pages[file.i_size :] if file.accounts_dirty else ():
            if page is not None and (page.PG_dirty or page.mapcount or page.content != ZERO):
                yield f"{page!r} is past the end of {file!r}, and is mapped, dirty or not empty"


def _unsaid(files: Sequence[AddressSpace], steps: Sequence[Step]) -> Iterator[str]:
    if steps and steps[-1].rule.name == "pageout_failed":
        for file in files:
            if steps[-1].arguments[0] == file.name and file.accounts_dirty and not file.AS_EIO:
                yield f"a page of {file!r} was not written, and nobody will hear of it"
