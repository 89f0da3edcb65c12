"""A simulated machine under test: a kernel, the ghost beside it, and the check that compares them.

`System` starts operations, lets them run to a preemption point and go on, and looks after every step whether a
modified page is lost. What can be started is a `Rule`. May import the rest of `mm_sim` except the series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.fields import declared
from mm_sim.ghost import Ghost, Space, Value
from mm_sim.kernel import Kernel
from mm_sim.mm import VM_READ, VM_SHARED, VM_WRITE, Mm, Vma
from mm_sim.names import KERNEL_TASKS, PAGES, PROCESSES, SHM, Name
from mm_sim.page import ZERO, Migration, Page, Pte, PteVal, SwapSlot
from mm_sim.sched import Steps, Task, run


class Loss(AssertionError):
    """A process or a file would read as something else than what was stored last, or the disk has less than promised.

    `process` is whose page it is: a process, or a file for what read(2) would find. With `disk` it is what fsync(2)
    or msync(2) has said to be on the disk; `expected` is then the oldest content that may be there.
    """

    def __init__(self, process: Name, page: Name, expected: Value, found: int, disk: bool = False) -> None:
        text = f"{process!r} would read {found} at page {page!r}, where {expected} was stored"
        if disk:
            text = f"{process!r} has {found} on disk at page {page!r}, where {expected} was said to be written"
        super().__init__(text)
        self.process = process
        self.page = page
        self.expected = expected
        self.found = found
        self.disk = disk


#: In place of a value: there is no such page in the file.
PAST_END = -2

#: Stands for the task of a step that is done at once.
IDLE = Task(-1)


@dataclass(frozen=True, slots=True)
class Scope:
    """The size of a machine. Two slots of swap are the least at which swap can be more than half full.

    `files` are the files there are (names.FILES; SHM for shared anonymous memory), `also` what else can happen:
    "threads", "pins" (direct I/O, ptrace), "migration" (on x86).
    """

    processes: int = 2
    pages: int = 1
    frames: int = 3
    slots: int = 2
    files: tuple[Name, ...] = ()
    also: tuple[str, ...] = ()


SMALL = Scope()


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Something that can happen: an operation with arguments from small fixed domains.

    `arguments` maps the name of each argument to its domain. Where `steps` is given the operation can be
    interrupted: it is a generator, run by the task that the first argument names, and the step takes one
    more argument `stop`. Otherwise `action` does it at once; without either, the operation of the task
    named by the first argument goes on to `stop`. All are called with the system and the arguments.
    `when` says whether it can happen now; else the step does nothing. `weight` is how often a
    random walk picks the rule. `same` gives what the arguments come to: where it is equal, so is the step.
    """

    name: str
    arguments: dict[str, str]
    when: Callable[..., bool]
    steps: Callable[..., Steps[object]] | None = None
    action: Callable[..., object] | None = None
    weight: int = 4
    same: Callable[..., object] | None = None


class System:
    """A machine of one kernel, architecture and scope, with P1 running and all its pages mapped.

    They are private and anonymous, but where the scope has files page A is the first page of the first file, shared.
    With threads P2 is one of P1's.
    """

    __slots__ = ("ghost", "kernel", "last_value", "scope")

    def __init__(
        self, kernel: type[Kernel], arch: str = "s390", scope: Scope = SMALL, marks: dict[str, int] | None = None
    ) -> None:
        self.scope = scope
        self.kernel = kernel(
            ARCHES[arch](),
            tasks=len(KERNEL_TASKS) + scope.processes,
            pages=scope.pages,
            frames=scope.frames,
            slots=scope.slots,
            marks={} if marks is None else marks,
        )
        self.ghost = Ghost()
        self.last_value = ZERO
        first = self.kernel.tasks[PROCESSES[0]]
        first.mm = mm = Mm(first.name, scope.pages, declared(kernel))
        mm.mmap.append(Vma(mm, 0, scope.pages, VM_READ | VM_WRITE, 0))
        self.kernel.mms.append(mm)
        self.ghost.exec(mm, scope.pages)
        for name in scope.files:
            file = AddressSpace(name, scope.pages, declared(kernel))
            self.kernel.files.append(file)
            self.ghost.creat(file, scope.pages, file.i_size)
        if scope.files:
            self.map_first_file(mm)
        if "threads" in scope.also:
            self.kernel.current = first
            self.kernel.sys_clone(self.kernel.tasks[PROCESSES[1]])

    def map_first_file(self, mm: Mm) -> None:
        file = self.kernel.files[0]
        if file.name is SHM:
            file.i_size = 1
            self.ghost.creat(file, self.scope.pages, 1)
        mm.mmap[0].vm_start = mm.mmap[0].vm_pgoff = 1
        if self.scope.pages == 1:
            mm.mmap.clear()
        self.kernel.vma_link_locked(mm, Vma(mm, 0, 1, VM_READ | VM_WRITE | VM_SHARED, 0, file))
        self.ghost.mmap(mm, 0, (file, 0), shared=True)

    # steps

    def step(self, rule: Rule, arguments: tuple[Any, ...], stop: str | None = None) -> bool:
        """Do one step: False if it cannot happen now. Raises Loss or KernelBug."""
        task = self.start(rule, arguments)
        if task is None:
            return False
        if task.steps is not None:
            run(task, stop)
        self.after()
        return True

    def start(self, rule: Rule, arguments: tuple[Any, ...]) -> Task | None:
        """Begin a step, up to where its task has to run on: None if it cannot happen now."""
        kernel = self.kernel
        if rule.steps is not None:
            task: Task = kernel.tasks[arguments[0]]
            if task.steps is not None or not rule.when(self, *arguments):
                return None
            task.op = rule.name
            task.steps = rule.steps(self, *arguments)
        elif rule.action is not None:
            if not rule.when(self, *arguments):
                return None
            rule.action(self, *arguments)
            return IDLE
        else:
            task = kernel.tasks[arguments[0]]
            if task.steps is None or (task.waits is not None and task.waits.busy()):
                return None
        kernel.current = task
        return task

    def after(self) -> None:
        """End a step with the check. Raises Loss."""
        if self.kernel.touched or self.kernel.suspect:
            self.check_touched()

    def new_value(self) -> int:
        self.last_value += 1
        return self.last_value

    # the check

    def peek(self, pte: PteVal, mm: Mm, addr: int) -> int:
        """What a load through `pte` would return in the end."""
        if type(pte) is Pte:
            return pte.page.content
        if type(pte) is Migration and pte.page.PG_anon:
            return pte.page.content  # nobody stores to either page until the entry is gone
        if pte is None or type(pte) is Migration:
            vma = mm.find_vma(addr) if self.kernel.files else None
            if vma is None or vma.vm_file is None:
                return ZERO
            return self.peek_file(vma.vm_file, addr - vma.vm_start + vma.vm_pgoff)
        assert type(pte) is SwapSlot
        return self.peek_slot(pte)

    def peek_slot(self, slot: SwapSlot) -> int:
        """What a fault on a swap pte would find; a new page is filled from the page it replaces, or the slot."""
        page = slot.page
        if page is not None and not page.PG_uptodate:
            page = next((old for old in self.kernel.frames if old.private is slot and old.PG_uptodate), None)
        return slot.content if page is None else page.content

    def peek_file(self, file: AddressSpace, at: int) -> int:
        """What read(2) would find in a page of a file; PAST_END stands for the end of the file, or SIGBUS."""
        if at >= file.i_size:
            return PAST_END
        page: Page | None = file.pages[at]
        if page is not None and not page.PG_uptodate and not page.PG_dirty:  # or a new one that write() has locked
            frames = self.kernel.frames
            page = next((old for old in frames if old.mapping is file and old.index == at and old.PG_uptodate), None)
        if page is not None:
            return page.content
        slot = file.swap[at]
        return file.blocks[at] if slot is None else self.peek_slot(slot)

    def check_touched(self) -> None:
        """Check the addresses that the last step can have changed. Raises Loss.

        Nothing can be said of an empty pte while somebody holds its ptl: it is looked at again later.
        """
        kernel = self.kernel
        if kernel.suspect:
            kernel.suspect = False
            if kernel.files:
                self.check_files()
            kernel.touched = [  # but for what is plainly there
                (mm, addr)
                for mm in kernel.mms
                if (space := self.ghost.spaces.get(mm)) is not None
                for addr, (expected, pte) in enumerate(zip(space.values, mm.pte, strict=True))
                if expected is not None and not (type(pte) is Pte and pte.page.content == expected)
            ]
        undecided = []
        for entry in kernel.touched:
            mm, addr = entry
            space = self.ghost.spaces.get(mm)
            if space is None:
                continue
            expected = space.values[addr]
            if expected is None:
                continue
            pte = mm.pte[addr]
            found = pte.page.content if type(pte) is Pte else self.peek(pte, mm, addr)
            if found == expected and pte is not None:
                continue
            if pte is None and mm.ptl.owner is not None:
                undecided.append(entry)
            elif found != expected and not space.busy[addr] and (isinstance(expected, int) or found not in expected):
                if found != PAST_END:
                    raise Loss(PROCESSES[mm.name - len(KERNEL_TASKS)], PAGES[addr], expected, found)
        kernel.touched = undecided

    def check_files(self) -> None:
        """Check every page of every file, and what was promised to be on its disk. Raises Loss."""
        for file in self.kernel.files:
            ghost = self.ghost.files[file]
            for at, expected in enumerate(ghost.values):
                found = self.peek_file(file, at)
                if found == PAST_END:
                    continue
                if file.blocks[at] < ghost.promised[at]:
                    raise Loss(file.name, PAGES[at], ghost.promised[at], file.blocks[at], disk=True)
                if expected is None:
                    continue
                if found != expected and (isinstance(expected, int) or found not in expected):
                    raise Loss(file.name, PAGES[at], expected, found)

    def check(self) -> None:
        """Check every mapped address of every process. Raises Loss."""
        self.kernel.suspect = True
        self.check_touched()

    # what rules ask

    def space_of(self, process: int) -> Space | None:
        """The ghost's address space of a process; None if it is not alive."""
        mm = self.kernel.tasks[process].mm
        return None if mm is None else self.ghost.spaces.get(mm)
