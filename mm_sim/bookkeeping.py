"""The bookkeeping of the kernel, counted again where no operation is under way.

Then every reference to a page is in a page table or a cache (or in a list of a patch's own), every reference to a
swap slot in a page table, in the swap cache or in a file's swap vector, and every lock is free. May import the data
types of `mm_sim` and the kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from mm_sim.address_space import AddressSpace
from mm_sim.mm import VM_WRITE, AnonVma, Mm, Vma
from mm_sim.names import KERNEL_TASKS, PAGES, PROCESSES
from mm_sim.page import DIRTY, WRITE, Migration, Page, Pte, SwapSlot
from mm_sim.sched import KernelBug

if TYPE_CHECKING:
    from mm_sim.ghost import Ghost, Space
    from mm_sim.kernel import Kernel
    from mm_sim.loss import Step


_COUNT = attrgetter("count")


class Inconsistent(KernelBug):
    """A count, a list or a flag of the kernel that is not what it stands for."""


def recount(kernel: Kernel, ghost: Ghost) -> None:
    """Count everything in a state in which no operation is under way. Raises Inconsistent."""
    wrong: list[str] = []
    _frames_and_slots(kernel, wrong)
    _address_spaces(kernel, wrong)
    if kernel.files:
        _files(kernel, ghost, wrong)
    if wrong:
        raise Inconsistent("; ".join(wrong))


def recount_fixed(kernel: Kernel, ghost: Ghost, steps: Sequence[Step]) -> None:
    """What holds beside it with all fixes, but not in 2.6.26: rmap finds every pte, write-back every store, and the
    file hears of an error in the last of `steps`. Raises Inconsistent.
    """
    spaces = ghost.spaces
    wrong = [one for mm in kernel.mms for one in _not_found(mm, spaces.get(mm))]
    wrong += [
        f"mm of {_owner(mm)} has a swap pte, and is not on mmlist"
        for mm in kernel.mms
        if mm not in kernel.mmlist and any(type(pte) is SwapSlot for pte in mm.pte)
    ]
    if wrong := [*wrong, *_unsaid(kernel.files, steps)]:
        raise Inconsistent("; ".join(wrong))


def _frames_and_slots(kernel: Kernel, wrong: list[str]) -> None:
    """page_count, page_mapcount, the free list; swap_map and nr_swap_pages.

    In one pass over each page table and over mem_map, with whole lists compared, for it is run after many steps.
    """
    frames, slots, free = kernel.frames, kernel.slots, kernel.free
    mapped = [0] * len(frames)
    swapped = [0] * len(slots)
    for mm in kernel.mms:
        for pte in mm.pte:
            if type(pte) is Pte:
                mapped[pte.page.pfn] += 1
            elif type(pte) is SwapSlot:
                swapped[pte.number] += 1
    references = mapped.copy()
    for file in kernel.files:
        for page in file.pages:
            if page is not None:
                references[page.pfn] += 1
        for entry in file.swap:
            if entry is not None:
                swapped[entry.number] += 1
    for slot in slots:
        page = slot.page
        if page is not None:
            references[page.pfn] += 1
            swapped[slot.number] += 1
            if page.private is not slot or not page.PG_swapcache:
                wrong.append(f"{page!r} is in the swap cache of {slot!r}, and PG_swapcache or page_private is not so")
    if [slot.map for slot in slots] != swapped:
        wrong += [_slot(kernel, slot) for slot, users in zip(slots, swapped, strict=True) if slot.map != users]
    off = len(slots) - kernel.total_swap_pages
    if kernel.nr_swap_pages != swapped.count(0) - off:
        wrong.append(f"nr_swap_pages {kernel.nr_swap_pages}, but {swapped.count(0)} slots are free, {off} are off")
    counts = [page.count for page in frames]
    if [page.mapcount for page in frames] != mapped:
        for page, ptes in zip(frames, mapped, strict=True):
            if page.mapcount != ptes:
                wrong.append(f"{page!r}: page_mapcount {page.mapcount}, but {_are(_ptes(kernel, page), 'pte')}")
    if counts != references or not len({*free}) == len(free) == counts.count(0) or any(map(_COUNT, free)):
        own = Counter(_pages_in(getattr(kernel, "own", {})))
        for page, users in zip(frames, references, strict=True):
            wrong += _frame(kernel, page, users, own[page])


def _slot(kernel: Kernel, slot: SwapSlot) -> str:
    cached = [] if slot.page is None else ["swap cache"]
    return f"{slot!r}: swap_map {slot.map}, but {_are([*_swap_ptes(kernel, slot), *cached])}"


def _frame(kernel: Kernel, page: Page, references: int, own: int) -> Iterator[str]:
    """What is wrong with page_count, if that is not explained by the `own` references of a patch's fields."""
    on_list = kernel.free.count(page)
    users = [*_ptes(kernel, page), *_caches(kernel, page), *["a field of the patch"] * own]
    if on_list and (page.count or references):
        yield f"{page!r}: free, but page_count {page.count} and {_are(users)}"
    elif on_list > 1:
        yield f"{page!r}: on the free list {on_list} times"
    elif not on_list and not references <= page.count <= references + own:
        yield f"{page!r}: page_count {page.count}, but {_are(users)}"
    elif not on_list and not page.count:
        yield f"{page!r}: page_count 0, but not on the free list"


def _are(things: list[str], what: str = "reference") -> str:
    """`no reference`, `1 reference: ...`, `2 references: ...`."""
    number = len(things) or "no"
    return f"{number} {what}{'s' * (len(things) > 1)}{': ' * bool(things)}{', '.join(things)}"


def _owner(mm: Mm) -> str:
    return repr(PROCESSES[mm.name - len(KERNEL_TASKS)])


def _ptes(kernel: Kernel, page: Page) -> list[str]:
    return [
        f"pte of {_owner(mm)} at {PAGES[addr]!r}"
        for mm in kernel.mms
        for addr, pte in enumerate(mm.pte)
        if type(pte) is Pte and pte.page is page
    ]


def _caches(kernel: Kernel, page: Page) -> list[str]:
    return [
        *(f"swap cache of {slot!r}" for slot in kernel.slots if slot.page is page),
        *(f"page cache of {file!r}" for file in kernel.files for other in file.pages if other is page),
    ]


def _swap_ptes(kernel: Kernel, slot: SwapSlot) -> list[str]:
    return [
        *(
            f"swap pte of {_owner(mm)} at {PAGES[addr]!r}"
            for mm in kernel.mms
            for addr, pte in enumerate(mm.pte)
            if pte is slot
        ),
        *(f"swap vector of {file!r}" for file in kernel.files for other in file.swap if other is slot),
    ]


def _pages_in(value: object) -> Iterator[Page]:
    """The pages that a field of a patch holds, in lists too."""
    if isinstance(value, Page):
        yield value
    elif isinstance(value, dict):
        yield from _pages_in([*value, *value.values()])
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _pages_in(one)


def _address_spaces(kernel: Kernel, wrong: list[str]) -> None:
    """mm_users, the lists of rmap, locks, and what the CPUs have cached of page tables."""
    users = dict.fromkeys(kernel.mms, 0)
    for task in kernel.tasks:
        if task.mm is not None:
            users[task.mm] = users.get(task.mm, 0) + 1
        if task.held:
            wrong.append(f"{task!r} does nothing, and holds {task.locks()}")
    anon_vmas: dict[AnonVma, list[Vma]] = {}
    for mm, threads in users.items():
        if mm.mm_users != threads:
            wrong.append(f"mm of {_owner(mm)}: mm_users {mm.mm_users}, but {threads} threads")
        for vma in mm.mmap:
            if vma.anon_vma is not None:
                anon_vmas.setdefault(vma.anon_vma, []).append(vma)
        for tlb in mm.tlbs:
            for addr, cached in tlb.items():
                pte = mm.pte[addr]
                if type(pte) is not Pte or pte.page is not cached.page or cached.bits & ~pte.bits & WRITE:
                    cpu = next((task for task in kernel.tasks if task.tlb is tlb), None)
                    wrong.append(f"stale TLB entry of {cpu!r} at {PAGES[addr]!r}: {cached!r}, but the pte is {pte!r}")
    for anon_vma, vmas in anon_vmas.items():
        if anon_vma.head != vmas and not _same(anon_vma.head, vmas):
            wrong.append(f"the list of an anon_vma has {anon_vma.head!r}, and {vmas!r} are of it")


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    """Whether two lists have the same things, in any order."""
    return len(some) == len(others) and {*map(id, some)} == {*map(id, others)}


def _files(kernel: Kernel, ghost: Ghost, wrong: list[str]) -> None:
    """Page cache, tags, i_mmap, users and size of each file."""
    mapping_of: dict[AddressSpace, list[Vma]] = {file: [] for file in kernel.files}
    for mm in kernel.mms:
        for vma in mm.mmap:
            if vma.vm_file is not None:
                mapping_of[vma.vm_file].append(vma)
    for page in kernel.frames:
        mapping = page.mapping
        if type(mapping) is AddressSpace and page.count and mapping.pages[page.index] is not page:
            if not page.PG_swapcache:
                wrong.append(f"{page!r}: its mapping is {mapping!r}, which does not have it")
    for file, vmas in mapping_of.items():
        if file.count != len(vmas):
            wrong.append(f"{file!r}: {file.count} users, but {len(vmas)} vmas")
        if file.i_mmap != vmas and not _same(file.i_mmap, vmas):
            wrong.append(f"i_mmap of {file!r} has {file.i_mmap!r}, and {vmas!r} map it")
        for at, cached in enumerate(file.pages):
            if cached is None:
                continue
            if cached.mapping is not file or cached.index != at:
                wrong.append(f"{cached!r} is in the page cache of {file!r}, and its mapping or index is another")
            if cached.PG_dirty and file.accounts_dirty and not cached.tag_dirty:
                wrong.append(f"{cached!r} of {file!r} is PG_dirty without PAGECACHE_TAG_DIRTY")
            if file.swap[at] is not None:
                wrong.append(f"{cached!r} is in the page cache of {file!r}, and in its swap vector")
            if at >= file.i_size and file.accounts_dirty and (cached.PG_dirty or cached.mapcount or cached.content):
                wrong.append(f"{cached!r} is past the end of {file!r}, and is mapped, dirty or not empty")
        if (file.i_nlink or file.count) and file.i_size != ghost.files[file].size:
            wrong.append(f"{file!r}: i_size {file.i_size}, but {ghost.files[file].size} pages were given to it")


def _not_found(mm: Mm, space: Space | None) -> Iterator[str]:
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


def _unsaid(files: Sequence[AddressSpace], steps: Sequence[Step]) -> Iterator[str]:
    if steps and steps[-1].rule.name == "pageout_failed":
        for file in files:
            if steps[-1].arguments[0] == file.name and file.accounts_dirty and not file.AS_EIO:
                yield f"a page of {file!r} was not written, and nobody will hear of it"
