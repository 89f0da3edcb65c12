"""A simulated machine under test: a kernel, the ghost beside it, and the check that compares them.

`System` starts operations, lets them run to a preemption point and go on, and looks after every step whether a
modified page is lost. What can be started is a `Rule`. May import the rest of `mm_sim` except the series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.bookkeeping import recount
from mm_sim.fields import declared
from mm_sim.ghost import Ghost, Space, Value, either
from mm_sim.kernel import Kernel
from mm_sim.mm import VM_READ, VM_SHARED, VM_WRITE, Mm, Vma
from mm_sim.names import KERNEL_TASKS, PAGES, PROCESSES, SHM, Name
from mm_sim.page import ZERO, Migration, Page, Pte, PteVal, SwapSlot
from mm_sim.sched import Failure, KernelBug, Steps, Task, failure, run, watchdog


class Loss(Failure):
    """A process or a file would read as something else than what was stored last, or the disk has less than promised.

    `process` is whose page it is: a process, or a file for what read(2) would find. With `disk` it is what fsync(2)
    or msync(2) has said to be on the disk; `expected` is then the oldest content that may be there. `frame` is what
    an access got to, where that is the loss.
    """

    def __init__(
        self, process: Name, page: Name, expected: Value, found: int, disk: bool = False, frame: int | None = None
    ) -> None:
        super().__init__(process, page, expected, found, disk, frame)
        self.process = process
        self.page = page
        self.expected = expected
        self.found = found
        self.disk = disk
        self.frame = frame

    def __str__(self) -> str:
        if self.disk:
            return (
                f"{self.process!r} has {self.found} on disk at page {self.page!r}, "
                f"where {self.expected} was said to be written"
            )
        return f"{self.process!r} would read {self.found} at page {self.page!r}, where {self.expected} was stored"


class WrongStore(Loss):
    """A store has changed a part of a page, and what that page had was not what was stored there last.

    The store is one of a process, of write(2), or of what fills a pinned page.
    """

    def __str__(self) -> str:
        return (
            f"a store to page {self.page!r} of {self.process!r} reached a page that had {self.found}, "
            f"where {self.expected} was stored"
        )


class FreedFrame(Loss):
    """A page frame was freed while somebody can still reach it: the CPU of `process` by a translation that it has
    cached, or what fills a page of that process.
    """

    def __str__(self) -> str:
        return f"{self.process!r} reaches frame{self.frame} at page {self.page!r}, which was freed"


#: In place of a value: there is no such page in the file.
PAST_END = -2

#: Stands for the task of a step that is done at once.
IDLE = Task(-1)


@dataclass(frozen=True, slots=True)
class Scope:
    """The size of a machine. Two slots of swap are the least at which swap can be more than half full.

    The slots are split among `areas` swap areas, which are used in this order and can be switched off one by one.
    `files` are the files there are (names.FILES; SHM for shared anonymous memory), `also` what else can happen:
    "threads", "pins" (direct I/O, ptrace), "migration" (on x86).
    """

    processes: int = 2
    pages: int = 1
    frames: int = 3
    slots: int = 2
    files: tuple[Name, ...] = ()
    also: tuple[str, ...] = ()
    areas: int = 1

    def holds(self, other: Scope) -> bool:
        """Whether a machine of the other size can be had in this one: the same things, and no fewer of each."""
        sizes = [(scope.processes, scope.pages, scope.frames, scope.slots) for scope in (self, other)]
        same = (self.files, {*self.also}, self.areas) == (other.files, {*other.also}, other.areas)
        return same and all(mine >= theirs for mine, theirs in zip(*sizes, strict=True))


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


def owner(mm: Mm, mms: Sequence[Mm | None]) -> int:
    """The task by whose name an mm goes, of the mms of all tasks: the first that had it, or a thread that is left."""
    if mms[mm.name] is mm or mm not in mms:
        return mm.name
    return mms.index(mm)


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
            areas=scope.areas,
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
        with watchdog():
            task = self.start(rule, arguments)
            if task is None:
                return False
            if task.steps is not None:
                run(task, stop)
            self.after()
        return True

    def start(self, rule: Rule, arguments: tuple[Any, ...]) -> Task | None:
        """Begin a step, up to where its task has to run on: None if it cannot happen now. Raises KernelBug."""
        kernel = self.kernel
        try:
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
        except Failure:
            raise
        except Exception as error:
            raise failure(error) from error
        kernel.current = task
        return task

    def after(self) -> None:
        """End a step: with the check, and where nothing is under way a recount. Raises Loss, or KernelBug."""
        try:
            self.check()
            for task in self.kernel.tasks:
                if task.steps is not None:
                    return
            recount(self.kernel, self.ghost)
        except Failure:
            raise
        except Exception as error:
            raise failure(error) from error

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
        if type(pte) is not SwapSlot:
            raise KernelBug(f"bad pte: {pte!r} at {PAGES[addr]!r}")
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

    def check(self) -> None:
        """Check every mapped address of every process, every page of every file and every promise. Raises Loss.

        It trusts nothing that the kernel keeps count of. An empty pte while somebody holds its ptl is passed over:
        what comes in its place is seen after a later step.
        """
        files = self.kernel.files
        if files:
            self.check_files()
        for mm, space in self.ghost.spaces.items():
            assert type(mm) is Mm
            values = space.values
            for addr, pte in enumerate(mm.pte):  # the inner loop of every driver: what is most frequent comes first
                expected = values[addr]
                if type(pte) is Pte:
                    if pte.page.content == expected:
                        continue
                elif expected is None or (expected == ZERO and pte is None and not files):
                    continue
                self.check_page(mm, space, addr)
            if mm.tlbs:
                self.check_tlbs(mm, space)

    def check_tlbs(self, mm: Mm, space: Space) -> None:
        """Check what the CPUs of an mm have cached, which a load finds first. Raises Loss, or FreedFrame.

        A translation may outlive its pte as long as the page does. Of a frame that is freed and handed out in one
        step only the content tells.
        """
        for tlb in mm.tlbs:
            for addr, pte in tlb.items():
                page, expected = pte.page, space.values[addr]
                if page.count > 0 and (page.content == expected or space.busy[addr]):
                    continue
                who = PROCESSES[next(task.name for task in self.kernel.tasks if task.tlb is tlb) - len(KERNEL_TASKS)]
                if page.count <= 0:
                    raise FreedFrame(who, PAGES[addr], expected, page.content, frame=page.pfn)
                if either(expected, page.content) != expected:
                    raise Loss(who, PAGES[addr], expected, page.content)

    def check_page(self, mm: Mm, space: Space, addr: int) -> None:
        """Check one address of one process. Raises Loss."""
        pte, expected = mm.pte[addr], space.values[addr]
        if expected is None or space.busy[addr] or (pte is None and mm.ptl.owner is not None):
            return
        found = self.peek(pte, mm, addr)
        if found not in (expected, PAST_END) and (isinstance(expected, int) or found not in expected):
            who = owner(mm, [task.mm for task in self.kernel.tasks])
            raise Loss(PROCESSES[who - len(KERNEL_TASKS)], PAGES[addr], expected, found)

    def check_files(self) -> None:
        """Check every page of every file, and what was promised to be on its disk. Raises Loss."""
        for file in self.kernel.files:
            ghost, blocks = self.ghost.files[file], file.blocks
            for at, expected in enumerate(ghost.values[: file.i_size]):
                if blocks[at] < ghost.promised[at]:
                    raise Loss(file.name, PAGES[at], ghost.promised[at], blocks[at], disk=True)
                page = file.pages[at]
                if expected is None or (page is not None and page.content == expected and page.PG_uptodate):
                    continue
                found = self.peek_file(file, at)
                if found != expected and (isinstance(expected, int) or found not in expected):
                    raise Loss(file.name, PAGES[at], expected, found)

    def check_store(self, who: Name, page: int, expected: Value, frame: Page, before: int) -> None:
        """Check what a store changes a part of: `frame` had `before`. Raises WrongStore, or FreedFrame."""
        if frame.count <= 0:
            raise FreedFrame(who, PAGES[page], expected, before, frame=frame.pfn)
        if before != expected and either(expected, before) != expected:
            raise WrongStore(who, PAGES[page], expected, before, frame=frame.pfn)

    # what rules ask

    def space_of(self, process: int) -> Space | None:
        """The ghost's address space of a process; None if it is not alive."""
        mm = self.kernel.tasks[process].mm
        return None if mm is None else self.ghost.spaces.get(mm)
