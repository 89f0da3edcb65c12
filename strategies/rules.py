"""The table of rules: everything that can happen to a machine, as data.

Each rule is an operation with arguments from small fixed domains (`Rule`, mm_sim/system.py). All drivers read
`RULES`; a series can add rules of its own. Below, for each rule, the function that says when it can happen and the
steps themselves: the system call or interrupt in the kernel, and what it promises in the ghost. No argument is an
index into something earlier steps change, so a step means the same when others are deleted.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from errno import EIO
from inspect import getsourcefile, isfunction, signature
from itertools import product
from keyword import iskeyword
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mm_sim.address_space import AddressSpace
from mm_sim.ghost import Value, either
from mm_sim.kernel import Kernel
from mm_sim.labels import labels
from mm_sim.mm import VM_LOCKED, VM_SHARED, VM_WRITE, Mm, Vma
from mm_sim.names import (
    DIRECT,
    FILES,
    KERNEL_TASKS,
    KSWAPD,
    NOBODY,
    PAGES,
    PDFLUSH,
    PRIVATE,
    PROCESSES,
    READ,
    READ_WRITE,
    SHARED,
    SHM,
    SWAPOFF,
    TASKS,
    Name,
)
from mm_sim.page import ZERO, Page
from mm_sim.patch_check import is_interruptible
from mm_sim.sched import Steps, Tracing, no_steps
from mm_sim.series import SeriesError
from mm_sim.system import Loss, Rule, Scope, System


def domains(scope: Scope) -> dict[str, tuple[Any, ...]]:
    """The domain of each kind of argument, simplest value first; empty for what the scope does not have."""
    processes = PROCESSES[: scope.processes]
    named = tuple(file for file in scope.files if file is not SHM)
    kernel_tasks = KERNEL_TASKS if named else KERNEL_TASKS[:-1]
    return {
        "process": processes,
        "holder": (*processes, NOBODY, *scope.files),
        "page": PAGES[: scope.pages],
        "prot": (READ, READ_WRITE),
        "reclaimer": (KSWAPD, DIRECT),
        "order": (0, 4),
        "swapoff": (SWAPOFF,),
        "task": (*processes, *kernel_tasks),
        "mapped file": scope.files,
        "file": named,
        "at": PAGES[: scope.pages] if scope.files else (),
        "kind": (SHARED, PRIVATE),
        "size": tuple(range(scope.pages + 1)) if named else (),
        "flusher": (PDFLUSH,),
        "thread": processes if "threads" in scope.also else (),
        "pinner": processes if "pins" in scope.also else (),
        "mover": processes if "migration" in scope.also else (),
    }


def _mm(s: System, process: int) -> Mm:
    mm = s.kernel.tasks[process].mm
    assert mm is not None
    return mm


def _vma(s: System, process: int, page: int) -> Vma:
    vma = _mm(s, process).find_vma(page)
    assert vma is not None
    return vma


def _file(s: System, name: int) -> AddressSpace:
    return next(file for file in s.kernel.files if file.name == name)


# loads and stores


def mapped(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and space.mapped[page] and not space.busy[page]


def can_go(s: System, process: int, page: int) -> bool:
    """Also while another thread has its page filled."""
    space = s.space_of(process)
    return space is not None and space.mapped[page] and space.busy[page] == space.pins[page]


def writable(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and space.writable[page] and space.mapped[page] and not space.busy[page]


def can_load(s: System, process: int, page: int) -> bool:
    """Also while another thread takes the page away, or moves it."""
    space = s.space_of(process)
    return space is not None and space.mapped[page]


def can_store(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and space.mapped[page] and space.writable[page]


def store(s: System, process: int, page: int) -> Steps[None]:
    kernel = s.kernel
    task = kernel.tasks[process]
    mm = _mm(s, process)
    while (stored := kernel.arch.store(task, page, s.last_value + 1)) is None:
        if (yield from kernel.do_page_fault(mm, page, write=True)):
            return
    target, before = stored
    s.check_store(PROCESSES[process - PROCESSES[0]], page, s.ghost.rest(mm, page), target, before)
    s.last_value += 1
    s.ghost.store(mm, page, s.last_value)
    if target.PG_swapcache and not target.PG_dirty:
        kernel.mark("store while in the swap cache with PG_dirty clear")
    if task.tlb is not None and mm.pte[page] is None:
        kernel.mark("store through a translation that only the TLB still has")


def load(s: System, process: int, page: int) -> Steps[None]:
    kernel = s.kernel
    task = kernel.tasks[process]
    mm = _mm(s, process)
    while (value := kernel.arch.load(task, page)) is None:
        if (yield from kernel.do_page_fault(mm, page, write=False)):
            return
    space = s.ghost.spaces[mm]
    expected = space.values[page]
    if not space.busy[page] and either(expected, value) != expected:
        raise Loss(PROCESSES[process - PROCESSES[0]], PAGES[page], expected, value)


# system calls


def unmapped(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and not space.mapped[page]


def mmap(s: System, process: int, page: int) -> Steps[None]:
    mm = _mm(s, process)
    s.ghost.taking(mm, page)
    yield from s.kernel.sys_mmap(page)
    s.ghost.taken(mm, page)
    s.ghost.mmap(mm, page)


def can_mmap_file(s: System, process: int, page: int, file: Name, at: int, kind: int) -> bool:
    """Shared anonymous memory is a new file with each mmap()."""
    mapping = _file(s, file)
    exists = kind == SHARED and not at and not mapping.count if file is SHM else mapping.i_nlink > 0
    return exists and unmapped(s, process, page)


def mmap_file(s: System, process: int, page: int, file: Name, at: int, kind: int) -> Steps[None]:
    mapping = _file(s, file)
    mapping.count += 1
    if file is SHM:  # shmem_zero_setup()
        mapping.i_size = 1
        s.ghost.creat(mapping, s.scope.pages, 1)
    mm = _mm(s, process)
    s.ghost.taking(mm, page)
    yield from s.kernel.sys_mmap(page, int(kind), mapping, at)
    s.ghost.taken(mm, page)
    s.ghost.mmap(mm, page, (mapping, at), kind == SHARED)
    yield from s.kernel.fput(mapping)


def munmap(s: System, process: int, page: int) -> Steps[None]:
    mm = _mm(s, process)
    s.ghost.taking(mm, page)
    yield from s.kernel.sys_munmap(page)
    s.ghost.taken(mm, page)
    s.ghost.munmap(mm, page)


def can_fork(s: System, process: int, child: int) -> bool:
    """No two forks that are under way have one child."""
    task = s.kernel.tasks[child]
    if s.space_of(process) is None or task.mm is not None or task.steps is not None:
        return False
    return child != process and not any(child in space.forks for space in s.ghost.spaces.values())


def fork(s: System, process: int, child: int) -> Steps[None]:
    task = s.kernel.tasks[child]
    mm = _mm(s, process)
    s.ghost.fork_begins(mm, child)
    yield from s.kernel.sys_fork(task)
    assert task.mm is not None
    s.ghost.fork_ends(mm, child, task.mm)


def clone(s: System, process: int, child: int) -> None:
    s.kernel.current = s.kernel.tasks[process]
    s.kernel.sys_clone(s.kernel.tasks[child])


def can_clone(s: System, process: int, child: int) -> bool:
    return can_fork(s, process, child) and s.kernel.tasks[process].steps is None


def can_exit(s: System, process: int) -> bool:
    """The last process does not exit: without one nothing can happen any more."""
    return s.space_of(process) is not None and (len(s.ghost.spaces) > 1 or has_threads(s, process))


def has_threads(s: System, process: int) -> bool:
    mm = _mm(s, process)
    return any(task.mm is mm and task.name != process for task in s.kernel.tasks)


def exit_(s: System, process: int) -> Steps[None]:
    if any(task.point == "try_to_unmap: next vma" for task in s.kernel.tasks):
        s.kernel.mark("exit between two vmas of try_to_unmap")
    mm = _mm(s, process)
    if not has_threads(s, process):
        s.ghost.exit(mm)
    yield from s.kernel.sys_exit()


def can_mprotect(s: System, process: int, page: int, prot: int) -> bool:
    space = s.space_of(process)
    return can_go(s, process, page) and space is not None and space.writable[page] != bool(prot & VM_WRITE)


def mprotect(s: System, process: int, page: int, prot: int) -> Steps[None]:
    mm = _mm(s, process)
    if not (yield from s.kernel.sys_mprotect(page, prot)):
        s.ghost.mprotect(mm, page, bool(prot & VM_WRITE))


def unlocked(s: System, process: int, page: int) -> bool:
    return can_go(s, process, page) and not _vma(s, process, page).vm_flags & VM_LOCKED


def mlock(s: System, process: int, page: int) -> Steps[object]:
    return s.kernel.sys_mlock(page)


def locked(s: System, process: int, page: int) -> bool:
    return mapped(s, process, page) and bool(_vma(s, process, page).vm_flags & VM_LOCKED)


def munlock(s: System, process: int, page: int) -> Steps[object]:
    return s.kernel.sys_munlock(page)


def can_mremap(s: System, process: int, page: int, to: int) -> bool:
    space = s.space_of(process)
    return page != to and mapped(s, process, page) and space is not None and not space.busy[to]


def mremap(s: System, process: int, page: int, to: int) -> Steps[None]:
    mm = _mm(s, process)
    s.ghost.mremap_begins(mm, page, to)
    if not (yield from s.kernel.sys_mremap(page, to)):
        s.ghost.mremap(mm, page, to)
    else:
        s.ghost.munmap(mm, to)
    s.ghost.mremap_ends(mm, page, to)


def madvise_dontneed(s: System, process: int, page: int) -> Steps[None]:
    mm = _mm(s, process)
    expected = s.ghost.spaces[mm].values[page]
    s.ghost.taking(mm, page)
    if not (yield from s.kernel.sys_madvise_dontneed(page)):
        s.ghost.dontneed(mm, page, expected)
    s.ghost.taken(mm, page)


def can_read_direct(s: System, process: int, page: int) -> bool:
    return writable(s, process, page)


def read_direct(s: System, process: int, page: int) -> Steps[None]:
    return filled_by(s, process, page, s.kernel.sys_read_direct)


def filled_by(
    s: System, process: int, page: int, read: Callable[[int, Callable[[Page], int]], Steps[bool]]
) -> Steps[None]:
    """The buffer's content is open until the call returns; then it must be what the device had."""
    mm = _mm(s, process)
    space = s.ghost.spaces[mm]
    pinned = s.ghost.filling(mm, page)
    value = ZERO
    went = None

    def copy_from_device(to: Page | None = None) -> int:
        nonlocal value, went
        if to is not None:
            s.check_store(PROCESSES[process - PROCESSES[0]], page, s.ghost.rest_in(space, page), to, to.content)
        s.last_value = value = s.last_value + 1
        went = s.ghost.store_in(space, page, value, pinned)
        return value

    yield from read(page, copy_from_device)
    s.ghost.filled_in(space, page)
    s.ghost.written(went, value)


def aio_read(s: System, process: int, page: int) -> Steps[None]:
    """Until the page is marked dirty again where that is needed, which may be a little after the answer."""
    return filled_by(s, process, page, s.kernel.sys_io_submit)


def can_ptrace(s: System, process: int, tracee: int, page: int) -> bool:
    """The tracee does nothing, and is no thread of the tracer. A write to a private read-only mapping is forced."""
    traced = s.kernel.tasks[tracee]
    tracer = s.kernel.tasks[process].mm
    if tracer is None or tracer is traced.mm or traced.steps is not None or not mapped(s, tracee, page):
        return False
    space = s.ghost.spaces[_mm(s, tracee)]
    return space.writable[page] or not space.shared[page]


def ptrace(s: System, process: int, tracee: int, page: int) -> Steps[None]:
    """The tracee is stopped until the call ends; its other threads run. Left out: SIGKILL, which would wake it."""
    traced = s.kernel.tasks[tracee]
    traced.op, traced.steps, traced.waits = "traced", no_steps(), Tracing(s.kernel.tasks[process])
    mm = _mm(s, tracee)
    space = s.ghost.spaces[mm]
    pinned = s.ghost.filling(mm, page)
    value = ZERO
    went = None

    def copy_from_user(to: Page | None = None) -> int:
        nonlocal value, went
        if to is not None:
            s.check_store(PROCESSES[tracee - PROCESSES[0]], page, s.ghost.rest_in(space, page), to, to.content)
        s.last_value = value = s.last_value + 1
        went = s.ghost.store_in(space, page, value, pinned)
        return value

    yield from s.kernel.access_process_vm(mm, page, copy_from_user)
    s.ghost.filled_in(space, page)
    s.ghost.written(went, value)
    traced.steps = traced.waits = None


def can_move_pages(s: System, process: int, page: int) -> bool:
    return s.kernel.arch.name == "x86" and mapped(s, process, page)


def move_pages(s: System, process: int, page: int) -> Steps[object]:
    return s.kernel.sys_move_pages(page)


# files


def named(s: System, process: int, file: int) -> bool:
    return s.space_of(process) is not None and _file(s, file).i_nlink > 0


def write(s: System, process: int, file: Name, at: int) -> Steps[None]:
    """A page that was never read in is written whole, as there is nothing of it in memory."""
    mapping = _file(s, file)
    mapping.count += 1
    value = ZERO
    went = None

    def copy_from_user(to: Page | None = None) -> int:
        nonlocal value, went
        if to is not None and to.PG_uptodate:
            s.check_store(file, at, s.ghost.files[mapping].values[at], to, to.content)
        s.last_value = value = s.last_value + 1
        went = s.ghost.write(mapping, at, value)
        return value

    yield from s.kernel.generic_file_write(mapping, at, copy_from_user)
    s.ghost.written(went, value)
    yield from s.kernel.fput(mapping)


def write_direct(s: System, process: int, file: int, at: int) -> Steps[None]:
    mapping = _file(s, file)
    mapping.count += 1
    promise = s.ghost.direct_begins(mapping)
    value = ZERO
    expected: Value = None

    def copy_from_user() -> int:
        nonlocal value, expected
        s.last_value = value = s.last_value + 1
        expected = s.ghost.direct(mapping, at, value)
        return value

    if (yield from s.kernel.generic_file_direct_write(mapping, at, copy_from_user)):
        s.ghost.direct_ends(mapping, at, value, expected, promise)
    else:
        s.ghost.direct_fails(mapping, promise)
    yield from s.kernel.fput(mapping)


def read(s: System, process: int, file: Name, at: int) -> Steps[None]:
    mapping = _file(s, file)
    mapping.count += 1
    ghost = s.ghost.files[mapping]
    promise = s.ghost.read_begins(mapping)

    def copy_to_user(found: int) -> None:
        if promise[at] != either(promise[at], found):
            raise Loss(file, PAGES[at], promise[at], found)

    yield from s.kernel.generic_file_read(mapping, at, copy_to_user)
    ghost.reads = [other for other in ghost.reads if other is not promise]
    yield from s.kernel.fput(mapping)


def named_at(s: System, process: int, file: int, at: int) -> bool:
    return named(s, process, file)


def can_write_direct(s: System, process: int, file: int, at: int) -> bool:
    """tmpfs has no O_DIRECT."""
    return named(s, process, file) and not _file(s, file).shmem


def can_truncate(s: System, process: int, file: int, size: int) -> bool:
    return named(s, process, file) and _file(s, file).i_size != size


def truncate(s: System, process: int, file: int, size: int) -> Steps[None]:
    mapping = _file(s, file)
    s.ghost.truncating(mapping, size)
    mapping.count += 1
    yield from s.kernel.sys_ftruncate(mapping, size)
    s.ghost.truncate(mapping, size)
    yield from s.kernel.fput(mapping)


def fsync(s: System, process: int, file: int) -> Steps[None]:
    mapping = _file(s, file)
    mapping.count += 1
    promise = s.ghost.sync_begins(mapping)
    done = yield from s.kernel.do_fsync(mapping)
    s.ghost.sync_ends(mapping, promise, done and not mapping.shmem, error=not done)
    yield from s.kernel.fput(mapping)


def shared(s: System, process: int, page: int) -> bool:
    return mapped(s, process, page) and bool(_vma(s, process, page).vm_flags & VM_SHARED)


def msync(s: System, process: int, page: int) -> Steps[None]:
    """MS_SYNC: of the whole file, which is what 2.6.26 does."""
    mapping = _vma(s, process, page).vm_file
    assert mapping is not None
    promise = s.ghost.sync_begins(mapping)
    done = yield from s.kernel.sys_msync(page, sync=True)
    s.ghost.sync_ends(mapping, promise, done is mapping and not mapping.shmem, error=done == -EIO)


def msync_async(s: System, process: int, page: int) -> Steps[object]:
    return s.kernel.sys_msync(page, sync=False)


def unlink(s: System, process: int, file: int) -> Steps[None]:
    return s.kernel.sys_unlink(_file(s, file))


def can_creat(s: System, file: int) -> bool:
    mapping = _file(s, file)
    return not mapping.i_nlink and not mapping.count


def creat(s: System, file: int) -> None:
    mapping = _file(s, file)
    mapping.i_nlink = 1
    mapping.i_size = s.scope.pages
    s.ghost.creat(mapping, s.scope.pages, s.scope.pages)


def can_writeback(s: System, flusher: int, file: int) -> bool:
    return any(page is not None and page.tag_dirty for page in _file(s, file).pages)


def writeback(s: System, flusher: int, file: int) -> Steps[object]:
    return s.kernel.background_writeout(_file(s, file))


# reclaim and I/O


def _held(s: System, holder: int, page: int, writeback: bool = False) -> Page | None:
    """The page that `holder` has at `page`, for reclaim or under writeback.

    NOBODY holds the pages in the swap cache that no pte refers to; they are taken one by one, as page A. A file holds
    its page in the page cache, on tmpfs also one that is on its way to or from swap.
    """
    if holder >= FILES[0]:
        file = _file(s, holder)
        slot = file.swap[page]
        frame = file.pages[page] if slot is None else slot.page
        if frame is not None and (frame.PG_writeback if writeback else frame.PG_lru):
            return frame
    elif holder != NOBODY:
        mm = s.kernel.tasks[holder].mm
        pte = None if mm is None else mm.pte[page]
        frame = None if pte is None else pte.page
        if frame is not None and (frame.PG_writeback if writeback else frame.PG_lru):
            return frame
    elif page == PAGES[0]:
        for frame in s.kernel.frames:
            if frame.private is not None and frame.private.map == 1 and not frame.mapcount:
                if frame.PG_writeback if writeback else frame.PG_lru:
                    return frame
    return None


def frame_held(s: System, holder: int, page: int) -> Page | None:
    return _held(s, holder, page, writeback=True)


def frame_reclaimed(s: System, reclaimer: int, holder: int, page: int, order: int) -> tuple[int, Page | None, int]:
    return reclaimer, _held(s, holder, page), order


def can_reclaim(s: System, reclaimer: int, holder: int, page: int, order: int) -> bool:
    return _held(s, holder, page) is not None


def reclaim(s: System, reclaimer: int, holder: int, page: int, order: int) -> Steps[object]:
    frame = _held(s, holder, page)
    assert frame is not None
    if any(task.point == "mlock_fixup: VM_LOCKED set" for task in s.kernel.tasks):
        s.kernel.mark("reclaim between mlock's flag and its fault-in")
    return s.kernel.shrink_inactive_list(frame, order, wait=reclaimer == DIRECT)


def under_writeback(s: System, holder: int, page: int) -> bool:
    return _held(s, holder, page, writeback=True) is not None


def _end_write(s: System, holder: int, page: int, uptodate: bool) -> None:
    frame = _held(s, holder, page, writeback=True)
    assert frame is not None
    if frame.PG_swapcache:
        s.kernel.end_swap_bio_write(frame, uptodate)
        return
    mapping = frame.mapping
    assert type(mapping) is AddressSpace
    s.kernel.end_buffer_async_write(frame, uptodate)
    if not uptodate:
        s.ghost.failed(mapping, frame.index, frame.io)


def pageout_done(s: System, holder: int, page: int) -> None:
    _end_write(s, holder, page, uptodate=True)


def pageout_failed(s: System, holder: int, page: int) -> None:
    _end_write(s, holder, page, uptodate=False)


def can_swapoff(s: System, task: int) -> bool:
    return any(si.SWP_WRITEOK for si in s.kernel.swap_info)


def run_swapoff(s: System, task: int) -> Steps[object]:
    """The first area that is on: where there is another, the two differ only by the name once both have been used."""
    return s.kernel.sys_swapoff(next(si for si in s.kernel.swap_info if si.SWP_WRITEOK))


def can_swapon(s: System) -> bool:
    return not all(si.SWP_WRITEOK for si in s.kernel.swap_info) and s.kernel.tasks[SWAPOFF].steps is None


def swapon(s: System) -> None:
    for si in s.kernel.swap_info:
        if not si.SWP_WRITEOK:
            s.kernel.sys_swapon(si)


def under_way(s: System, task: int) -> bool:
    return s.kernel.tasks[task].steps is not None


ANON = {"process": "process", "page": "page"}
HELD = {"holder": "holder", "page": "page"}

RULES = (
    Rule("store", ANON, can_store, store, weight=10),
    Rule("load", ANON, can_load, load),
    Rule("fork", {"process": "process", "child": "process"}, can_fork, fork),
    Rule("exit", {"process": "process"}, can_exit, exit_),
    Rule(
        "reclaim",
        {"reclaimer": "reclaimer", **HELD, "order": "order"},
        can_reclaim,
        reclaim,
        weight=14,
        same=frame_reclaimed,
    ),
    Rule("pageout_done", HELD, under_writeback, action=pageout_done, weight=8, same=frame_held),
    Rule("pageout_failed", HELD, under_writeback, action=pageout_failed, weight=1, same=frame_held),
    Rule("mprotect", {**ANON, "prot": "prot"}, can_mprotect, mprotect),
    Rule("mlock", ANON, unlocked, mlock),
    Rule("munlock", ANON, locked, munlock, weight=2),
    Rule("mmap", ANON, unmapped, mmap),
    Rule("munmap", ANON, can_go, munmap, weight=1),
    Rule("mremap", {**ANON, "to": "page"}, can_mremap, mremap, weight=2),
    Rule("madvise_dontneed", ANON, unlocked, madvise_dontneed, weight=1),
    Rule("swapoff", {"task": "swapoff"}, can_swapoff, run_swapoff, weight=1),
    Rule("swapon", {}, can_swapon, action=swapon),
    Rule(
        "mmap_file", {**ANON, "file": "mapped file", "at": "at", "kind": "kind"}, can_mmap_file, mmap_file, weight=8
    ),
    Rule("write", {"process": "process", "file": "file", "at": "at"}, named_at, write),
    Rule("read", {"process": "process", "file": "file", "at": "at"}, named_at, read, weight=2),
    Rule("writeback", {"flusher": "flusher", "file": "file"}, can_writeback, writeback, weight=6),
    Rule("fsync", {"process": "process", "file": "file"}, named, fsync),
    Rule("msync", ANON, shared, msync, weight=2),
    Rule("msync_async", ANON, shared, msync_async, weight=1),
    Rule("truncate", {"process": "process", "file": "file", "size": "size"}, can_truncate, truncate, weight=1),
    Rule("unlink", {"process": "process", "file": "file"}, named, unlink, weight=1),
    Rule("creat", {"file": "file"}, can_creat, action=creat),
    Rule("clone", {"process": "thread", "child": "thread"}, can_clone, action=clone),
    Rule("read_direct", {"process": "pinner", "page": "page"}, can_read_direct, read_direct, weight=2),
    Rule("aio_read", {"process": "pinner", "page": "page"}, can_read_direct, aio_read, weight=1),
    Rule(
        "write_direct",
        {"process": "pinner", "file": "file", "at": "at"},
        can_write_direct,
        write_direct,
        weight=1,
    ),
    Rule("ptrace", {"process": "pinner", "tracee": "pinner", "page": "page"}, can_ptrace, ptrace, weight=2),
    Rule("move_pages", {"process": "mover", "page": "page"}, can_move_pages, move_pages, weight=10),
    Rule("resume", {"task": "task"}, under_way, weight=16),
)


def table(kernel: type[Kernel]) -> tuple[Rule, ...]:
    """The rules for a kernel: the common ones and those its series brings. Raises SeriesError (`check_rules`)."""
    known = _TABLES.get(kernel)
    if known is None:
        check_rules(kernel)
        known = _TABLES[kernel] = (*RULES, *kernel.rules)
    return known


_TABLES: dict[type[Kernel], tuple[Rule, ...]] = {}
#: A machine that has all there is.
_ALL = Scope(processes=2, pages=2, files=FILES, also=("threads", "pins", "migration"))


def check_rules(kernel: type[Kernel]) -> None:
    """Check the rules that a series brings. Raises SeriesError with file, line and what to do."""
    if not kernel.rules:
        return
    owner = next(cls for cls in kernel.__mro__ if "rules" in vars(cls))
    file = Path(getsourcefile(owner) or "?")
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    taken = {rule.name for rule in RULES}
    for rule in kernel.rules:
        wrong = _wrong_with(rule, taken)
        if wrong:
            name = getattr(rule, "name", None)
            lines = (
                node.lineno
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
                and any(isinstance(arg, ast.Constant) and arg.value == name for arg in _named_first(node))
            )
            at = max(lines, default=1)
            raise SeriesError(f"{file}:{at}: rule {name}: {wrong}")
        taken.add(rule.name)


def _are_tasks(values: tuple[Any, ...]) -> bool:
    return all(any(value is task for task in TASKS) for value in values)  # a page equals a task as a number


def _named_first(call: ast.Call) -> list[ast.expr]:
    return [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]


def _wrong_with(rule: Rule, taken: set[str]) -> str:
    """What is wrong with a rule, and what to do; empty if nothing is."""
    if not isinstance(rule, Rule):
        return f"rules has a {type(rule).__name__}: write Rule(name, arguments, when, steps)"
    if not isinstance(rule.name, str) or not rule.name.isidentifier() or iskeyword(rule.name):
        return "its name must be an identifier: it is called as state.NAME(...)"
    if rule.name in taken:
        return "there is one of that name already: give it another name"
    if not isinstance(rule.arguments, dict):
        return "its arguments are a dict of names and domains"
    known = domains(_ALL)
    for argument, domain in rule.arguments.items():
        if domain not in known:
            return f"there is no domain {domain!r} for {argument}; there are: {', '.join(known)}"
        if not argument.isidentifier() or iskeyword(argument) or argument == "stop":
            return f"no argument can be called {argument!r}"
    if rule.steps is not None and rule.action is not None:
        return "it has steps and an action: an operation is one or the other"
    if rule.action is None and not _are_tasks(known[next(iter(rule.arguments.values()), "page")]):
        return "its first argument must name the task that runs it, such as a process"
    for what in ("when", "steps", "action", "same"):
        function = getattr(rule, what)
        if function is None and what != "when":
            continue
        if what == "steps" and not (
            isfunction(function) and (is_interruptible(function) or "<" in function.__name__)
        ):
            return "its steps must be a generator, or a function that returns steps"
        try:
            signature(function).bind(None, *rule.arguments)
        except (TypeError, ValueError) as error:
            takes = ", ".join(("system", *rule.arguments))
            return f"its {what} is called with ({takes}): {error}"
    return ""


def stops(kernel: type[Kernel], rule: Rule) -> tuple[str | None, ...]:
    """Where a step can be made to stop: at the end (None), or at a preemption point of its operation.

    Empty for what cannot be interrupted; for `resume` the points of all operations.
    """
    if rule.steps is not None:
        return (None, *labels(kernel, rule.steps))
    if rule.action is not None:
        return ()
    return (None, *dict.fromkeys(label for r in table(kernel) if r.steps for label in labels(kernel, r.steps)))


def instances(
    kernel: type[Kernel],
    scope: Scope,
    rules: Collection[str] | None = None,
    only: Mapping[str, tuple[Any, ...]] = MappingProxyType({}),
) -> list[tuple[Rule, tuple[Any, ...]]]:
    """Every rule (of `rules`, if given) with every combination of its arguments, `stop` excepted.

    `only` has domains with the values to be used; the others are whole.
    """
    values = {**domains(scope), **only}
    return [
        (rule, arguments)
        for rule in table(kernel)
        if rules is None or rule.name in rules
        for arguments in product(*(values[domain] for domain in rule.arguments.values()))
    ]
