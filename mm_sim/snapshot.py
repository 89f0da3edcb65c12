"""Going back to a state, and keys of whole states.

`save` remembers a state, and `restore` brings the system back to it as long as what was under way has not gone on: a
generator cannot be copied. `state_key` names any state, so that two states get the same key if they differ only in
the names of frames and processes, or in which values were stored; swap slots have an order. May import the rest of
`mm_sim`.
"""

from __future__ import annotations

import gc
import marshal
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from dis import get_instructions
from enum import Enum
from hashlib import blake2b
from itertools import groupby, pairwise, permutations, product
from operator import attrgetter, itemgetter
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from mm_sim.address_space import AddressSpace
from mm_sim.arch import Arch
from mm_sim.fields import Kept, bring_back, declared, keep
from mm_sim.ghost import File, Ghost, Space, Value
from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import MmuGather
from mm_sim.kernel.state import State
from mm_sim.mm import AnonVma, Mm, Vma
from mm_sim.names import KERNEL_TASKS, PROCESSES, Name
from mm_sim.page import GARBAGE, ZERO, Migration, Page, Pte, PteVal, SwapInfo, SwapSlot
from mm_sim.sched import SPIN, KernelBug, Lock, RwSem, Task, Tracing, _Exclusive
from mm_sim.system import System

_FIRST = len(KERNEL_TASKS)
_KERNEL_TASKS = tuple(range(_FIRST))


def is_quiet(system: System) -> bool:
    """Whether no operation is under way, so that the state can be come back to at any time."""
    return all(task.steps is None for task in system.kernel.tasks)


@contextmanager
def few_collections() -> Iterator[None]:
    """Look for garbage more rarely: a kernel is full of cycles, and each time all that is kept is looked through."""
    thresholds = gc.get_threshold()
    gc.set_threshold(2_000, 10, 1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


#: What changes of each thing; lists are kept beside it.
_KERNEL = attrgetter("current", "nr_swap_pages", "total_swap_pages", "tree_lock.owner")
_FRAME = attrgetter(
    "PG_anon",
    "PG_dirty",
    "PG_lru",
    "PG_referenced",
    "PG_swapcache",
    "PG_uptodate",
    "PG_writeback",
    "buffers",
    "content",
    "count",
    "index",
    "io",
    "key_c",
    "key_r",
    "lock.owner",
    "mapcount",
    "mapping",
    "private",
    "tag_dirty",
)
_SLOT = attrgetter("content", "map", "page")
_MM = attrgetter("mm_users", "ptl.owner", "mmap_sem.writer")
_VMA = attrgetter("vm_start", "vm_end", "vm_flags", "vm_pgoff", "vm_file", "anon_vma")
_FILE = attrgetter(
    "i_nlink",
    "count",
    "i_size",
    "AS_EIO",
    "SHMEM_PAGEIN",
    "i_mutex.owner",
    "i_mmap_lock.owner",
    "tree_lock.owner",
)
_TASK = attrgetter("held", "mm", "op", "point", "steps", "tlb", "waits")
#: In the order of the things themselves.
_Fields: TypeAlias = tuple[Any, ...]


class Saved(NamedTuple):
    """What the objects of a system held in a state. Storage key instructions and marks go on being counted."""

    kernel: _Fields
    lists: tuple[list[Page], list[Mm], list[Mm]]
    areas: list[bool]
    frames: list[_Fields]
    slots: list[_Fields]
    mms: list[tuple[_Fields, list[PteVal], list[Vma], list[Task], list[dict[int, Pte]]]]
    vmas: list[tuple[Vma, _Fields]]
    anon_vmas: list[tuple[AnonVma, Task | None, list[Vma]]]
    tasks: list[tuple[_Fields, dict[int, Pte]]]
    files: list[tuple[_Fields, tuple[list[Any], ...], File, _Fields]]
    last_value: int
    spaces: dict[object, Space]
    #: Fields of a patch.
    own: list[Kept]
    promises: list[tuple[Space, Space]]


def save(system: System) -> Saved:
    """Remember a state: `restore` brings this system back to it."""
    kernel, ghost = system.kernel, system.ghost
    vmas = {vma: _VMA(vma) for mm in kernel.mms for vma in mm.mmap}
    anon_vmas = {vma.anon_vma: None for vma in vmas if vma.anon_vma is not None}
    for page in kernel.frames:
        if type(page.mapping) is AnonVma:
            anon_vmas[page.mapping] = None
    for rmap in (*(anon_vma.head for anon_vma in anon_vmas), *(file.i_mmap for file in kernel.files)):
        for vma in rmap:  # also those that an operation has not yet put into their mm, or has taken out
            if vma not in vmas:
                vmas[vma] = _VMA(vma)
    spaces = list(ghost.spaces.values())
    for space in spaces:  # grows
        if space.forks:
            spaces += space.forks.values()
    return Saved(
        _KERNEL(kernel),
        (kernel.free.copy(), kernel.mms.copy(), kernel.mmlist.copy()),
        [si.SWP_WRITEOK for si in kernel.swap_info],
        [_FRAME(page) for page in kernel.frames],
        [_SLOT(slot) for slot in kernel.slots],
        [(_MM(mm), mm.pte.copy(), mm.mmap.copy(), mm.mmap_sem.readers.copy(), mm.tlbs.copy()) for mm in kernel.mms],
        list(vmas.items()),
        [(anon_vma, anon_vma.lock.owner, anon_vma.head.copy()) for anon_vma in anon_vmas],
        [(_TASK(task), {} if task.tlb is None else task.tlb.copy()) for task in kernel.tasks],
        [_save_file(file, ghost.files[file]) for file in kernel.files],
        system.last_value,
        ghost.spaces.copy(),
        [keep(owner) for owner in _owners(kernel, vmas) if owner.own] if any(declared(type(kernel)).values()) else [],
        [(space, space.copy()) for space in spaces],
    )


def _owners(kernel: Kernel, vmas: Iterable[Vma]) -> Iterable[Any]:
    """What can have fields of a patch."""
    return (kernel, *kernel.frames, *kernel.files, *kernel.tasks, *kernel.mms, *vmas)


def restore(system: System, saved: Saved) -> None:
    """Bring a system back to a state that was saved of it. What has begun since is forgotten.

    What was under way may not have gone on since, for no generator goes back. It may be in the midst of a list, which
    therefore stays the same object.
    """
    kernel, ghost = system.kernel, system.ghost
    for task, (fields, tlb) in zip(kernel.tasks, saved.tasks, strict=True):
        task.held, task.mm, task.op, task.point, task.steps, task.tlb, task.waits = fields
        if task.tlb is not None:
            task.tlb.clear()
            task.tlb.update(tlb)
    kernel.current, kernel.nr_swap_pages, kernel.total_swap_pages, kernel.tree_lock.owner = saved.kernel
    kernel.free[:], kernel.mms[:], kernel.mmlist[:] = saved.lists
    for si, writeok in zip(kernel.swap_info, saved.areas, strict=True):
        si.SWP_WRITEOK = writeok
    for page, fields in zip(kernel.frames, saved.frames, strict=True):
        (
            page.PG_anon,
            page.PG_dirty,
            page.PG_lru,
            page.PG_referenced,
            page.PG_swapcache,
            page.PG_uptodate,
            page.PG_writeback,
            page.buffers,
            page.content,
            page.count,
            page.index,
            page.io,
            page.key_c,
            page.key_r,
            page.lock.owner,
            page.mapcount,
            page.mapping,
            page.private,
            page.tag_dirty,
        ) = fields
    for slot, fields in zip(kernel.slots, saved.slots, strict=True):
        slot.content, slot.map, slot.page = fields
    for mm, (fields, pte, mmap, readers, tlbs) in zip(kernel.mms, saved.mms, strict=True):
        mm.mm_users, mm.ptl.owner, mm.mmap_sem.writer = fields
        mm.pte[:], mm.mmap[:], mm.mmap_sem.readers[:], mm.tlbs[:] = pte, mmap, readers, tlbs
    for vma, fields in saved.vmas:
        vma.vm_start, vma.vm_end, vma.vm_flags, vma.vm_pgoff, vma.vm_file, vma.anon_vma = fields
    for anon_vma, owner, head in saved.anon_vmas:
        anon_vma.lock.owner = owner
        anon_vma.head[:] = head
    for file, kept in zip(kernel.files, saved.files, strict=True):
        _restore_file(system, file, *kept)
    system.last_value = saved.last_value
    ghost.spaces = saved.spaces.copy()
    for space, was in saved.promises:
        space.become(was)
    for fields_of_patch in saved.own:
        bring_back(fields_of_patch)


def _save_file(file: AddressSpace, ghost: File) -> tuple[_Fields, tuple[list[Any], ...], File, _Fields]:
    kept = file.pages.copy(), file.swap.copy(), file.blocks.copy(), file.i_mmap.copy()
    under_way = [
        [(promise, promise.copy()) for promise in promises] for promises in (ghost.syncs, ghost.reads, ghost.directs)
    ]
    promises = (
        ghost.size,
        ghost.values.copy(),
        ghost.done.copy(),
        ghost.promised.copy(),
        ghost.errors.copy(),
        under_way,
    )
    return _FILE(file), kept, ghost, promises


def _restore_file(
    system: System, file: AddressSpace, fields: _Fields, kept: tuple[list[Any], ...], ghost: File, promises: _Fields
) -> None:
    file.i_nlink, file.count, file.i_size, file.AS_EIO, file.SHMEM_PAGEIN = fields[:5]
    file.i_mutex.owner, file.i_mmap_lock.owner, file.tree_lock.owner = fields[5:]
    file.pages[:], file.swap[:], file.blocks[:], file.i_mmap[:] = kept
    system.ghost.files[file] = ghost
    ghost.size, ghost.values[:], ghost.done[:], ghost.promised[:], ghost.errors[:], under_way = promises
    ghost.syncs, ghost.reads, ghost.directs = ([promise for promise, _ in each] for each in under_way)
    for each in under_way:
        for promise, was in each:
            promise[:] = was


#: Locals of the project's functions that hold the content of a page, or what may be its content.
_VALUES = frozenset(("value", "expected"))
_PROJECT = (str(Path(__file__).parent) + os.sep, str(Path(__file__).parent.parent / "strategies") + os.sep)


class _Function(NamedTuple):
    """What the key says of a function: a code is kept by its id, as its hash is that of all its bytes."""

    code: CodeType
    number: int
    names: tuple[str, ...]
    #: Whether its locals that hold contents are known by their names, and nothing else is a content.
    ours: bool
    #: Whether it has a loop, which may be somewhere in a list.
    loops: bool


_functions: dict[int, _Function] = {}


def _function(code: CodeType) -> _Function:
    known = _functions.get(id(code))
    if known is None:
        names = tuple(dict.fromkeys((*code.co_varnames, *code.co_cellvars, *code.co_freevars)))
        ours = code.co_filename.startswith(_PROJECT)
        loops = any(one.opname == "FOR_ITER" for one in get_instructions(code))
        known = _functions[id(code)] = _Function(code, _code_id(code), names, ours, loops)
    return known


class Content(NamedTuple):
    """What a function of the project holds that is a content: it counts only which others are the same."""

    value: Value


class Alien(NamedTuple):
    """What a patch holds: any number in it may be a content."""

    thing: object


class Promise(NamedTuple):
    """What a system call under way has been promised by the ghost."""

    values: list[Value]


#: In place of a local that is not bound, and of steps that have ended.
_UNBOUND, _ENDED = b"unbound", b"ended"
#: What a loop of the project goes through; where it is in a range its variable says.
_ITERATORS = frozenset(map(type, (iter([]), iter(()), reversed([]), enumerate(()), zip())))
#: What holds code, with locals or cells of its own.
_CODE = frozenset((FunctionType, GeneratorType, MethodType))


def stack(task: Task) -> list[object]:
    """Where a task stands: its point or what it waits for, then each function with its instruction and locals."""
    if task.steps is None:
        return []
    found: list[object] = [task.point] if task.waits is None else ["w", task.waits]
    _put_steps(found, task.steps, [])
    return found


def _put_steps(found: list[object], steps: object, outer: list[object]) -> None:
    """Put down the functions that a generator is in, from the outermost on; `outer` are those around it."""
    while type(steps) is GeneratorType:
        if any(steps is one for one in outer):
            return  # it is written where it began
        outer.append(steps)
        frame = steps.gi_frame
        if frame is None:
            found.append(_ENDED)
            return
        code = steps.gi_code
        function = _functions.get(id(code)) or _function(code)
        inner: object = steps.gi_yieldfrom
        found.append(function.number)
        found.append(frame.f_lasti)
        values = frame.f_locals
        if function.ours:
            for name in function.names:
                value = values.get(name, _UNBOUND)
                if name in _VALUES or type(value) in _COMPOUND:
                    _put(found, name, value, True, outer, inner)
                else:
                    found.append(value)
            if function.loops:  # the same thing may be in a list twice, or the list change
                found += [one for one in gc.get_referents(steps) if type(one) in _ITERATORS]
        else:
            for name in function.names:
                _put(found, name, values.get(name, _UNBOUND), False, outer, inner)
            known = (values, steps.__name__, steps.__qualname__)
            for value in gc.get_referents(steps):  # and what an expression or a loop is in the midst of
                if type(value) not in _NO_VALUES and not any(value is one for one in known):
                    _put(found, "", value, False, outer, inner)
        steps = inner
    if steps is not None:
        found.append(Alien(steps))


def _put(
    found: list[object], name: str, value: object, ours: bool, outer: list[object], inner: object = None
) -> None:
    """Put down a local, or what is in a cell."""
    kind = type(value)
    if kind in _CODE:
        if value is not inner:
            _put_code(found, value, outer)
    elif (kind is list or kind is tuple) and any(type(one) in _CODE for one in value):  # type: ignore[attr-defined]
        found.append(len(value))  # type: ignore[arg-type]
        for one in value:  # type: ignore[attr-defined]
            _put(found, "", one, ours, outer)
    elif not ours:
        found.append(Alien(value))
    elif name in _VALUES and (kind is int or kind is tuple):
        found.append(Content(value))  # type: ignore[arg-type]
    elif name == "promise" and kind is list:
        found.append(Promise(value))  # type: ignore[arg-type]
    else:
        found.append(value)


def _put_code(found: list[object], value: Any, outer: list[object]) -> None:
    """Put down a function that a local refers to, with its cells and defaults, or steps not yet run."""
    if type(value) is GeneratorType:
        _put_steps(found, value, outer)
    elif type(value) is MethodType:
        _put_code(found, value.__func__, outer)
        _put(found, "", value.__self__, True, outer)
    elif not any(value is one for one in outer):  # else it calls itself
        outer.append(value)
        function = _function(value.__code__)
        found.append(function.number)
        for default in (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()):
            _put(found, "", default, function.ours, outer)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:
                content = _UNBOUND
            _put(found, name, content, function.ours, outer)


#: What the key says of a page beside what it refers to.
_PAGE = attrgetter(
    "count",
    "mapcount",
    "PG_anon",
    "PG_dirty",
    "PG_lru",
    "PG_referenced",
    "PG_swapcache",
    "PG_uptodate",
    "buffers",
    "key_c",
    "key_r",
    "tag_dirty",
)


class NoKey(KernelBug):
    """A patch holds something of which no key can be made."""


class _Writer:
    """Writes a state as a flat list of numbers and strings, naming things in the order in which it meets them."""

    __slots__ = (
        "again",
        "alien",
        "anon",
        "files",
        "mms",
        "out",
        "pages",
        "position",
        "slots",
        "system",
        "values",
        "vmas",
    )

    def __init__(
        self, system: System, order: tuple[int, ...], stacks: list[list[object]], slots: bool, mmlist: bool
    ) -> None:
        self.system = system
        self.out: list[object] = []
        self.position = {task: i for i, task in enumerate(order)}
        self.pages: dict[Page, int] = {}
        self.slots: dict[SwapSlot, int] = {}
        self.anon: dict[AnonVma, int] = {}
        self.mms: dict[Mm, int] = {}
        self.vmas: dict[Vma, int] = {}
        self.files = {file: n for n, file in enumerate(system.kernel.files)}
        self.values = {ZERO: ZERO}
        #: Whether what is written is a patch's, and its containers that were written already.
        self.alien = False
        self.again: dict[int, tuple[int, object]] = {}
        kernel = system.kernel
        for task in order:
            self.live(kernel.tasks[task])
        for stands in stacks:
            for thing in stands:
                if type(thing) is Content:
                    self.live_values((thing.value,))
                elif type(thing) is Alien:
                    self.live_values(_numbers(thing.thing))
        owns = any(declared(type(kernel)).values())
        if owns:
            for owner in _owners(kernel, [vma for mm in kernel.mms for vma in mm.mmap]):
                for value in owner.own.values():
                    self.live_values(_numbers(value))
        for file in kernel.files:
            for values in (system.ghost.files[file].values, *system.ghost.files[file].reads):
                self.live_values(values)
        for file in kernel.files:
            self.file(file)
        for task in order + _KERNEL_TASKS:
            stands = stacks[task]
            self.out.append("|")
            if stands or task >= _FIRST:
                self.task(kernel.tasks[task], stands)
        for mm in kernel.mms:  # what swapoff or an exit has not yet let go
            self.mm(mm)
        if owns:
            self.own(kernel)
            for one in kernel.tasks:
                self.own(one)
        self.values.clear()  # nobody can come to what is left
        left = [page for page in kernel.frames if page.count and page not in self.pages]
        for page in sorted(left, key=_outline) if len(left) > 1 else left:
            if page not in self.pages:
                self.page(page)
        out = self.out
        for anon in tuple(self.anon):
            out.append(len(anon.head))
            for vma in anon.head:
                self.vma(vma)
        for at, page in enumerate(reversed(kernel.free)):  # when those are handed out that somebody still has
            if page in self.pages:
                out += (at, self.pages[page])
        if slots and self.slots:  # get_swap_page() and swapoff take them in order
            out += [self.slots.get(slot) for slot in kernel.slots]
        out += [si.SWP_WRITEOK for si in kernel.swap_info]
        out += (kernel.nr_swap_pages, kernel.total_swap_pages)
        if mmlist:
            out.append(tuple([self.mms[mm] for mm in kernel.mmlist]))
        self.holder(kernel.tree_lock.owner)

    def live(self, task: Task) -> None:
        """Number the values that somebody must read, or will when an mremap() that is under way ends."""
        if task.mm is not None and (space := self.system.ghost.spaces.get(task.mm)) is not None:
            self.live_values(space.values)
            for child in space.forks.values():
                self.live_values(child.values)

    def live_values(self, expected: Iterable[Value]) -> None:
        values = self.values
        for value in expected:
            if isinstance(value, int):
                values.setdefault(value, len(values))
            elif value is not None:
                for one in value:
                    values.setdefault(one, len(values))

    def expected(self, value: Value) -> None:
        if isinstance(value, tuple):
            self.out.append(tuple(sorted(self.value(one) for one in value)))
        else:
            self.out.append(None if value is None else self.value(value))

    def file(self, file: AddressSpace) -> None:
        """A file; of its disk and its writes under way also whether they are new enough for what was promised."""
        out = self.out
        ghost = self.system.ghost.files[file]
        out += (
            file.i_size,
            file.i_nlink,
            file.count,
            file.AS_EIO,
            file.SHMEM_PAGEIN,
            ghost.size,
        )
        out += map(tuple, ghost.directs)
        for values in (ghost.values, *ghost.reads):
            for value in values:
                self.expected(value)
        for at, page in enumerate(file.pages):
            out.append(self.value(file.blocks[at]))
            for oldest in (ghost.done, ghost.promised, *ghost.syncs):
                out.append(file.blocks[at] >= oldest[at])
                out.append(ghost.errors[at] and ghost.errors[at] >= oldest[at])
                if page is not None:
                    out.append(page.content >= oldest[at])
                    out.append(page.PG_writeback and page.io >= oldest[at])
            if page is None:
                out.append(None)
            else:
                self.page(page)
            slot = file.swap[at]
            if slot is not None:
                self.slot(slot)
        for lock in (file.i_mutex, file.i_mmap_lock, file.tree_lock):
            self.holder(lock.owner)
        for vma in file.i_mmap:
            self.vma(vma)
        if file.own:
            self.own(file)

    def area(self, si: SwapInfo) -> None:
        self.out.append(self.system.kernel.swap_info.index(si))

    def file_name(self, file: AddressSpace) -> None:
        self.out.append(self.files[file])

    def ghost_file(self, file: File) -> None:
        """Its contents are written with the file."""
        known = (n for one, n in self.files.items() if self.system.ghost.files[one] is file)
        self.out.append(next(known, None))

    def space(self, space: Space) -> None:
        """What a process must read is written with its mm; of one that has gone only what is under way may look."""
        for mm, one in self.system.ghost.spaces.items():
            if one is space:
                assert isinstance(mm, Mm)
                self.mm(mm)
                return
            for name, child in one.forks.items():
                if child is space:
                    self.out.append(f"child {self.position.get(name, ~name)}")
                    return
        cut = sorted(map(int, space.cut))
        self.out.append((*space.busy, *space.pins, *cut, *space.shared, *space.own, *space.mapped))
        for view in space.of:
            self.thing(view)

    def promise(self, promise: Promise) -> None:
        """It is written with the file: which one of all it is, None if it has ended."""
        files = self.system.ghost.files
        of_files = [files[file] for file in self.files]
        promises = [one for of in of_files for one in (*of.syncs, *of.reads, *of.directs)]
        self.out.append(next((n for n, one in enumerate(promises) if one is promise.values), None))

    def lock(self, lock: Lock | RwSem) -> None:
        """A lock, by what it is of."""
        kernel = self.system.kernel
        for page in kernel.frames:
            if page.lock is lock:
                self.out.append("page lock")
                self.page(page)
                return
        for mm in kernel.mms:
            if mm.ptl is lock or mm.mmap_sem is lock:
                self.out.append("ptl" if mm.ptl is lock else "sem")
                self.mm(mm)
                return
        of_files = [one for file in kernel.files for one in (file.i_mutex, file.i_mmap_lock, file.tree_lock)]
        for n, one in enumerate((kernel.tree_lock, *of_files)):
            if one is lock:
                self.out.append(n)
                return
        anon_vmas = [*self.anon, *(page.mapping for page in kernel.frames if type(page.mapping) is AnonVma)]
        anon_vmas += [vma.anon_vma for mm in kernel.mms for vma in mm.mmap if vma.anon_vma is not None]
        self.out.append("anon")
        for anon in anon_vmas:
            if anon.lock is lock:
                self.anon_vma(anon)
                return

    def exclusive(self, sem: _Exclusive) -> None:
        self.out.append("x")
        self.lock(sem.sem)

    def tracing(self, by: Tracing) -> None:
        self.owner(by.tracer)

    def same(self, thing: object) -> None:
        """There is one in each machine."""
        self.out.append(_code_name(type(thing)))

    def own(self, owner: Any) -> None:
        """The fields of a patch."""
        for value in owner.own.values():
            self.of_patch(Alien(value))

    def of_patch(self, alien: Alien) -> None:
        before, self.alien = self.alien, True
        self.thing(alien.thing)
        self.alien = before

    def migration(self, entry: Migration) -> None:
        self.out.append("m" if entry.write else "n")
        self.page(entry.page)

    def value(self, value: int) -> int:
        """A content that nobody must read, now or later, is as good as garbage."""
        return self.values.get(value, GARBAGE)

    def pte(self, pte: PteVal) -> None:
        if pte is None:
            self.out.append(None)
        elif type(pte) is Pte:
            self.out.append(pte.bits)
            self.page(pte.page)
        elif type(pte) is SwapSlot:
            self.out.append("s")
            self.slot(pte)
        else:
            self.thing(pte)

    def page(self, page: Page) -> None:
        number = self.pages.get(page)
        if number is not None:
            self.out.append(number)
            return
        self.pages[page] = number = len(self.pages)
        self.out += (number, *_PAGE(page), self.values.get(page.content, GARBAGE))
        self.out.append(self.value(page.io) if page.PG_writeback else None)
        self.holder(page.lock.owner)
        mapping = page.mapping
        if type(mapping) is AddressSpace:
            self.out += (int(page.index), self.files[mapping])
        elif type(mapping) is AnonVma:
            self.out.append(int(page.index))
            self.anon_vma(mapping)
        if page.private is not None:
            self.slot(page.private)
        if page.own:
            self.own(page)

    def slot(self, slot: SwapSlot) -> None:
        number = self.slots.get(slot)
        if number is not None:
            self.out.append(number)
            return
        self.slots[slot] = number = len(self.slots)
        self.out += (number, slot.map, self.values.get(slot.content, GARBAGE))
        if slot.page is not None:
            self.page(slot.page)

    def mm(self, mm: Mm) -> None:
        number = self.mms.get(mm)
        if number is not None:
            self.out.append(number)
            return
        self.mms[mm] = number = len(self.mms)
        sem = mm.mmap_sem
        self.out += (number, mm.mm_users, len(mm.mmap), len(sem.readers), len(mm.tlbs))
        if mm.tlbs:
            of = [next((t for t in self.system.kernel.tasks if t.tlb is tlb), None) for tlb in mm.tlbs]
            self.out += sorted(~len(of) if t is None else self.position.get(t.name, ~t.name) for t in of)
        space = self.system.ghost.spaces.get(mm)
        if space is not None:
            for value in space.values:
                if type(value) is int:
                    self.out.append(self.values.get(value, GARBAGE))
                else:
                    self.expected(value)
            self.out += space.writable
            self.out += space.mapped
            self.out += space.busy
            self.out += space.pins
            self.out.append(tuple(sorted(map(int, space.cut))) if space.cut else ())
            if space.moves:
                self.out += [tuple(map(int, move)) for move in space.moves]
            if self.files:
                for page, view in enumerate(space.of):
                    self.out.append(None if view is None else (space.shared[page], space.own[page]))
            for child in space.forks.values():
                for value in child.values:
                    self.expected(value)
        for vma in mm.mmap:
            self.vma(vma)
        for pte in mm.pte:
            self.pte(pte)
        if mm.own:
            self.own(mm)
        for reader in sem.readers:
            self.owner(reader)
        self.holder(sem.writer)
        self.holder(mm.ptl.owner)

    def task(self, task: Task, stands: list[object]) -> None:
        if task.mm is not None:
            self.mm(task.mm)
        out = self.out
        if task.tlb is not None:
            out.append(len(task.tlb))  # an empty one is still one
            for addr, pte in sorted(task.tlb.items()):
                out.append(int(addr))
                self.pte(pte)
        for thing in stands:
            kind = type(thing)
            if kind is int or kind is str or thing is None:
                out.append(thing)
            elif kind in _WRITE:
                _WRITE[kind](self, thing)
            else:
                self.thing(thing)

    def thing(self, thing: object) -> None:
        """Something that a generator or another thing refers to."""
        kind = type(thing)
        write = _WRITE.get(kind)
        if self.alien and kind not in _ATOMS:  # a patch may hold now this, now that
            self.out.append(_code_name(kind))
        if write is not None:
            write(self, thing)
        elif isinstance(thing, (State, Arch)):
            self.same(thing)
        elif isinstance(thing, Enum):
            self.out.append(thing.name)
        elif isinstance(thing, (list, tuple, dict)) or is_dataclass(thing):
            self.container(thing)
        elif isinstance(thing, (set, frozenset)) and all(isinstance(one, (int, str, Enum)) for one in thing):
            self.many(sorted(thing, key=lambda one: (type(one).__name__, repr(one))))
        elif isinstance(thing, (type, BuiltinFunctionType, ModuleType)) or (
            isinstance(thing, FunctionType) and not thing.__closure__ and not thing.__defaults__
        ):
            self.out.append(thing.__name__)
        elif isinstance(thing, BaseException):
            self.out.append(_code_name(kind))
            self.many(thing.args)
        elif isinstance(thing, Iterator) and kind.__module__ == "builtins" and kind not in _CODE:
            self.out.append(_code_name(kind))
            reduced = thing.__reduce__()  # how far it has come
            assert isinstance(reduced, tuple)
            self.many(reduced[1:])
        else:
            raise NoKey(
                f"a {kind.__name__} is held across a preemption point, and no key of a state can have it: hold "
                "numbers, flags, text, objects of the model, or lists and tuples of these"
            )

    def container(self, thing: Any) -> None:
        """A list or a mapping of a patch, a tuple with names, a dataclass: a second reference to it says so."""
        known = self.again.get(id(thing))
        if known is not None and not isinstance(thing, tuple):
            self.out.append(~known[0])  # no length
            return
        self.again[id(thing)] = (len(self.again), thing)
        if isinstance(thing, dict):
            self.many([part for pair in thing.items() for part in pair])
        elif isinstance(thing, (list, tuple)):
            self.many(thing)
        else:
            self.many([getattr(thing, one.name, _UNBOUND) for one in dataclass_fields(thing)])

    def list(self, things: list[object]) -> None:
        if self.alien:
            self.container(things)
        else:
            self.many(things)

    def content(self, content: Content) -> None:
        self.expected(content.value)

    def plain(self, thing: object) -> None:
        self.out.append(thing)

    def number(self, number: int) -> None:
        self.out.append(number)
        if self.alien:
            self.out.append(self.value(number))

    def vma(self, vma: Vma) -> None:
        number = self.vmas.get(vma, -1)
        self.out.append(number)
        if number < 0:
            self.vmas[vma] = len(self.vmas)
            self.out += (int(vma.vm_start), int(vma.vm_end), int(vma.vm_flags), int(vma.vm_pgoff))
            if vma.vm_file is not None:
                self.out.append(self.files[vma.vm_file])
            self.mm(vma.vm_mm)
            if vma.anon_vma is not None:
                self.anon_vma(vma.anon_vma)
            if vma.own:
                self.own(vma)

    def owner(self, task: Task) -> None:
        self.out.append(self.position.get(task.name, ~task.name))

    def holder(self, task: Task | None) -> None:
        """Who holds a lock."""
        self.out.append(None if task is None else self.position.get(task.name, ~task.name))

    def anon_vma(self, anon: AnonVma) -> None:
        number = self.anon.get(anon)
        if number is None:
            self.anon[anon] = number = len(self.anon)
        self.out.append(number)
        self.holder(anon.lock.owner)

    def name(self, name: Name) -> None:
        is_process = _FIRST <= name < _FIRST + len(PROCESSES) and PROCESSES[name - _FIRST] is name
        self.out.append(f"task {self.position.get(name, ~name)}" if is_process else int(name))

    def gather(self, tlb: MmuGather) -> None:
        self.many(tlb.pages)
        self.many(tlb.delayed)
        self.out.extend((tlb.need_flush, tlb.force_flush))

    def many(self, things: Sequence[object]) -> None:
        self.out.append(len(things))
        for thing in things:
            self.thing(thing)


_WRITE: dict[type, Callable[[_Writer, Any], None]] = {
    type(None): _Writer.plain,
    bool: _Writer.plain,
    int: _Writer.number,
    str: _Writer.plain,
    bytes: _Writer.plain,
    float: _Writer.plain,
    Alien: _Writer.of_patch,
    Content: _Writer.content,
    Promise: _Writer.promise,
    Name: _Writer.name,
    Page: _Writer.page,
    Pte: _Writer.pte,
    SwapSlot: _Writer.slot,
    SwapInfo: _Writer.area,
    Vma: _Writer.vma,
    Mm: _Writer.mm,
    AnonVma: _Writer.anon_vma,
    Task: _Writer.owner,
    MmuGather: _Writer.gather,
    list: _Writer.list,
    tuple: _Writer.many,
    range: _Writer.many,
    Lock: _Writer.lock,
    RwSem: _Writer.lock,
    _Exclusive: _Writer.exclusive,
    Tracing: _Writer.tracing,
    type(SPIN): _Writer.same,
    System: _Writer.same,
    Ghost: _Writer.same,
    AddressSpace: _Writer.file_name,
    File: _Writer.ghost_file,
    Space: _Writer.space,
    Migration: _Writer.migration,
}
#: What is written as it is, and so tells its type.
_ATOMS = frozenset((type(None), bool, int, str, bytes, float))
#: Locals of the project's functions that are looked into at once.
_COMPOUND = _CODE | {list, tuple}
#: What a generator refers to beside its values: its code, its names, cells, which stand for locals.
_NO_VALUES = _CODE | {BuiltinFunctionType, CellType, CodeType, FrameType, ModuleType}


def _numbers(thing: object) -> Iterator[int]:
    """The numbers in what a patch holds."""
    if isinstance(thing, int):
        yield int(thing)
    elif isinstance(thing, dict):
        for pair in thing.items():
            yield from _numbers(pair)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for one in thing:
            yield from _numbers(one)
    elif is_dataclass(thing) and not isinstance(thing, type):
        for field in dataclass_fields(thing):
            yield from _numbers(getattr(thing, field.name, None))
    elif isinstance(thing, Iterator) and type(thing).__module__ == "builtins" and type(thing) not in _CODE:
        yield from _numbers(thing.__reduce__()[1:])


def _code_name(cls: type) -> str:
    return cls.__qualname__


def _code_id(code: CodeType) -> int:
    """A function by its name and line: the same in every process and in every checkout."""
    return crc32(f"{code.co_qualname} {code.co_firstlineno}".encode())


def _outline(page: Page) -> tuple[bool, ...]:
    """What tells a page in the swap cache from another that no page table refers to."""
    return page.PG_dirty, page.PG_writeback, page.PG_referenced, page.PG_uptodate, page.key_c, page.key_r


#: The signature of who is not alive and does nothing.
_NOBODY = ("",)


def _signature(task: Task) -> tuple[Any, ...]:
    """What tells a process from another, whatever their names: enough to order most of them."""
    mm = task.mm
    op = task.op if task.steps is not None else ""
    if mm is None:
        return (op,)
    return op, task.point or "", [8 if pte is None else pte.bits if type(pte) is Pte else 9 for pte in mm.pte]


def _vmas(task: Task) -> list[tuple[int, ...]]:
    """What tells a process from another that has the same signature."""
    return [
        (v.vm_start, v.vm_flags, v.vm_pgoff, -1 if v.anon_vma is None else v.anon_vma.head.index(v))
        for v in ([] if task.mm is None else task.mm.mmap)
        if v.anon_vma is None or v in v.anon_vma.head
    ]


def orders(system: System) -> Iterable[tuple[int, ...]]:
    """The orders of the processes to be tried: one, but for processes that look alike."""
    tasks = system.kernel.tasks
    signed = sorted([(_signature(task), task.name) for task in tasks[_FIRST:]])
    if all(one[0] != other[0] or one[0] == _NOBODY for one, other in pairwise(signed)):
        return (tuple([name for _, name in signed]),)
    looked = sorted((signature, _vmas(tasks[name]), name) for signature, name in signed)
    groups = [[name for *_, name in same] for _, same in groupby(looked, itemgetter(0, 1))]
    return (tuple(name for part in choice for name in part) for choice in product(*map(permutations, groups)))


def canonical(
    system: System,
    symmetric: bool = True,
    stacks: list[list[object]] | None = None,
    slots: bool = True,
    mmlist: bool = True,
) -> tuple[bytes, tuple[int, ...]]:
    """The key of a state, and the order of the tasks in which it was written.

    The key is 16 bytes, equal for states that differ only in the names of things and in values; unless
    `symmetric`, the names of processes count. `stacks` has `stack()` of each task, if known. Without `slots` the
    order of the swap slots does not count: nothing that can happen may take them in order, but to find a free one.
    Without `mmlist` that list does not count: nothing that can happen may go along it.
    """
    tries = orders(system) if symmetric else (tuple(task.name for task in system.kernel.tasks[_FIRST:]),)
    if stacks is None:
        stacks = [stack(task) for task in system.kernel.tasks]
    keys = [(_key(system, order, stacks, slots, mmlist), order + _KERNEL_TASKS) for order in tries]
    return keys[0] if len(keys) == 1 else min(keys)


def _key(system: System, order: tuple[int, ...], stacks: list[list[object]], slots: bool, mmlist: bool) -> bytes:
    return blake2b(marshal.dumps(_Writer(system, order, stacks, slots, mmlist).out, 2), digest_size=16).digest()


def state_key(system: System) -> bytes:
    """The canonical key of a state."""
    return canonical(system)[0]
