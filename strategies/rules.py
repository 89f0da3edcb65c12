"""The table of rules: everything that can happen to a machine, as data.

Each rule is an operation with arguments from small fixed domains (`Rule`, mm_sim/system.py). All drivers read
`RULES`; a series can add rules of its own. Below, for each rule, the function that says when it can happen and the
steps themselves: the system call or interrupt in the kernel, and what it promises in the ghost. No argument is an
index into something earlier steps change, so a step means the same when others are deleted.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from mm_sim.kernel import Kernel
from mm_sim.labels import labels
from mm_sim.mm import VM_LOCKED, VM_WRITE, Mm, Vma
from mm_sim.names import DIRECT, KERNEL_TASKS, KSWAPD, NOBODY, PAGES, PROCESSES, READ, READ_WRITE, SWAPOFF
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.system import Loss, Rule, Scope, System


def domains(scope: Scope) -> dict[str, tuple[Any, ...]]:
    """The domain of each kind of argument, simplest value first."""
    processes = PROCESSES[: scope.processes]
    return {
        "process": processes,
        "holder": (*processes, NOBODY),
        "page": PAGES[: scope.pages],
        "prot": (READ, READ_WRITE),
        "reclaimer": (KSWAPD, DIRECT),
        "order": (0, 4),
        "swapoff": (SWAPOFF,),
        "task": (*processes, *KERNEL_TASKS),
    }


def _mm(s: System, process: int) -> Mm:
    mm = s.kernel.tasks[process].mm
    assert mm is not None
    return mm


def _vma(s: System, process: int, page: int) -> Vma:
    vma = _mm(s, process).find_vma(page)
    assert vma is not None
    return vma


# loads and stores


def mapped(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and space.values[page] is not None


def writable(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and space.values[page] is not None and space.writable[page]


def store(s: System, process: int, page: int) -> Steps[None]:
    kernel = s.kernel
    mm = _mm(s, process)
    while (target := kernel.arch.store(mm, page, s.last_value + 1)) is None:
        if (yield from kernel.do_page_fault(mm, page, write=True)):
            return
    s.last_value += 1
    s.ghost.store(mm, page, s.last_value)
    if target.mapcount != 1 or (target.private is not None and target.private.map > 1):
        kernel.suspect = True
    if target.PG_swapcache and not target.PG_dirty:
        kernel.mark("store while in the swap cache with PG_dirty clear")


def load(s: System, process: int, page: int) -> Steps[None]:
    kernel = s.kernel
    mm = _mm(s, process)
    while (value := kernel.arch.load(mm, page)) is None:
        if (yield from kernel.do_page_fault(mm, page, write=False)):
            return
    expected = s.ghost.spaces[mm].values[page]
    if expected is not None and value != expected:
        raise Loss(PROCESSES[process - PROCESSES[0]], PAGES[page], expected, value)


# system calls


def unmapped(s: System, process: int, page: int) -> bool:
    space = s.space_of(process)
    return space is not None and space.values[page] is None


def mmap(s: System, process: int, page: int) -> Steps[None]:
    yield from s.kernel.sys_mmap(page)
    s.ghost.mmap(_mm(s, process), page)


def munmap(s: System, process: int, page: int) -> Steps[None]:
    s.ghost.munmap(_mm(s, process), page)
    yield from s.kernel.sys_munmap(page)


def can_fork(s: System, process: int, child: int) -> bool:
    task = s.kernel.tasks[child]
    return s.space_of(process) is not None and task.mm is None and task.steps is None and child != process


def fork(s: System, process: int, child: int) -> Steps[None]:
    task = s.kernel.tasks[child]
    yield from s.kernel.sys_fork(task)
    assert task.mm is not None
    s.ghost.fork(_mm(s, process), task.mm)
    s.kernel.touched += [(task.mm, page) for page in range(s.scope.pages)]


def can_exit(s: System, process: int) -> bool:
    """The last process does not exit: without one nothing can happen any more."""
    return s.space_of(process) is not None and len(s.ghost.spaces) > 1


def exit_(s: System, process: int) -> Steps[None]:
    if any(task.point == "try_to_unmap: next vma" for task in s.kernel.tasks):
        s.kernel.mark("exit between two vmas of try_to_unmap")
    s.ghost.exit(_mm(s, process))
    yield from s.kernel.sys_exit()


def can_mprotect(s: System, process: int, page: int, prot: int) -> bool:
    space = s.space_of(process)
    return space is not None and space.values[page] is not None and space.writable[page] != bool(prot & VM_WRITE)


def mprotect(s: System, process: int, page: int, prot: int) -> Steps[None]:
    mm = _mm(s, process)
    yield from s.kernel.sys_mprotect(page, prot)
    s.ghost.mprotect(mm, page, bool(prot & VM_WRITE))


def unlocked(s: System, process: int, page: int) -> bool:
    return mapped(s, process, page) and not _vma(s, process, page).vm_flags & VM_LOCKED


def mlock(s: System, process: int, page: int) -> Steps[object]:
    return s.kernel.sys_mlock(page)


def locked(s: System, process: int, page: int) -> bool:
    return mapped(s, process, page) and bool(_vma(s, process, page).vm_flags & VM_LOCKED)


def munlock(s: System, process: int, page: int) -> Steps[object]:
    return s.kernel.sys_munlock(page)


def can_mremap(s: System, process: int, page: int, to: int) -> bool:
    return page != to and mapped(s, process, page)


def mremap(s: System, process: int, page: int, to: int) -> Steps[None]:
    mm = _mm(s, process)
    space = s.ghost.spaces[mm]
    value = space.values[page]
    assert value is not None
    s.ghost.munmap(mm, page)
    s.ghost.munmap(mm, to)
    yield from s.kernel.sys_mremap(page, to)
    s.ghost.move(mm, page, to, value, space.writable[page])
    s.kernel.touched.append((mm, to))


def madvise_dontneed(s: System, process: int, page: int) -> Steps[None]:
    mm = _mm(s, process)
    s.ghost.munmap(mm, page)
    if not (yield from s.kernel.sys_madvise_dontneed(page)):
        s.ghost.dontneed(mm, page)
    s.kernel.touched.append((mm, page))


# reclaim and I/O


def _held(s: System, holder: int, page: int, writeback: bool = False) -> Page | None:
    """The page that `holder` has at `page`, for reclaim or under writeback.

    NOBODY holds the pages in the swap cache that no pte refers to; they are taken one by one, as page A.
    """
    if holder != NOBODY:
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


def pageout_done(s: System, holder: int, page: int) -> None:
    frame = _held(s, holder, page, writeback=True)
    assert frame is not None
    s.kernel.end_swap_bio_write(frame, uptodate=True)


def pageout_failed(s: System, holder: int, page: int) -> None:
    frame = _held(s, holder, page, writeback=True)
    assert frame is not None
    s.kernel.end_swap_bio_write(frame, uptodate=False)


def can_swapoff(s: System, task: int) -> bool:
    return s.kernel.swap_on


def run_swapoff(s: System, task: int) -> Steps[object]:
    return s.kernel.sys_swapoff()


def can_swapon(s: System) -> bool:
    return not s.kernel.swap_on and s.kernel.tasks[SWAPOFF].steps is None


def swapon(s: System) -> None:
    s.kernel.swap_on = True


def under_way(s: System, task: int) -> bool:
    return s.kernel.tasks[task].steps is not None


ANON = {"process": "process", "page": "page"}
HELD = {"holder": "holder", "page": "page"}

RULES = (
    Rule("store", ANON, writable, store, weight=10),
    Rule("load", ANON, mapped, load),
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
    Rule("munmap", ANON, mapped, munmap, weight=1),
    Rule("mremap", {**ANON, "to": "page"}, can_mremap, mremap, weight=2),
    Rule("madvise_dontneed", ANON, unlocked, madvise_dontneed, weight=1),
    Rule("swapoff", {"task": "swapoff"}, can_swapoff, run_swapoff, weight=1),
    Rule("swapon", {}, can_swapon, action=swapon),
    Rule("resume", {"task": "task"}, under_way, weight=16),
)


def table(kernel: type[Kernel]) -> tuple[Rule, ...]:
    """The rules for a kernel: the common ones and those its series brings."""
    return (*RULES, *kernel.rules)


def stops(kernel: type[Kernel], rule: Rule) -> tuple[str | None, ...]:
    """Where a step can be made to stop: at the end (None), or at a preemption point of its operation.

    Empty for what cannot be interrupted; for `resume` the points of all operations.
    """
    if rule.steps is not None:
        return (None, *labels(kernel, rule.steps))
    if rule.action is not None:
        return ()
    return (None, *dict.fromkeys(label for r in table(kernel) if r.steps for label in labels(kernel, r.steps)))


def instances(kernel: type[Kernel], scope: Scope) -> list[tuple[Rule, tuple[Any, ...]]]:
    """Every rule with every combination of its arguments, `stop` excepted."""
    values = domains(scope)
    return [
        (rule, arguments)
        for rule in table(kernel)
        for arguments in product(*(values[domain] for domain in rule.arguments.values()))
    ]
