"""A simulated machine under test: a kernel, the ghost beside it, and the check that compares them.

`System` starts operations, lets them run to a preemption point and go on, and looks after every step whether a
modified page is lost. What can be started is a `Rule`. May import the rest of `mm_sim` except the series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mm_sim.arch import ARCHES
from mm_sim.ghost import Ghost, Space
from mm_sim.kernel import Kernel
from mm_sim.mm import VM_READ, VM_WRITE, Mm, Vma
from mm_sim.names import KERNEL_TASKS, PAGES, PROCESSES, Name
from mm_sim.page import ZERO, Pte, PteVal
from mm_sim.sched import Steps, Task, run


class Loss(AssertionError):
    """A process would read something else than what was stored last."""

    def __init__(self, process: Name, page: Name, expected: int, found: int) -> None:
        super().__init__(f"{process!r} would read {found} at page {page!r}, where {expected} was stored")
        self.process = process
        self.page = page
        self.expected = expected
        self.found = found


#: Stands for the task of a step that is done at once.
IDLE = Task(-1)


@dataclass(frozen=True, slots=True)
class Scope:
    """The size of a machine. Two slots of swap are the least at which swap can be more than half full."""

    processes: int = 2
    pages: int = 1
    frames: int = 3
    slots: int = 2


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
    """A machine of one kernel, architecture and scope, with P1 running and all its pages mapped."""

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
        first.mm = mm = Mm(first.name, scope.pages)
        mm.mmap.append(Vma(mm, 0, scope.pages, VM_READ | VM_WRITE, 0))
        self.kernel.mms.append(mm)
        self.ghost.exec(mm, scope.pages)

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

    def peek(self, pte: PteVal) -> int:
        """What a load through `pte` would return in the end."""
        if type(pte) is Pte:
            return pte.page.content
        if pte is None:
            return ZERO
        page = pte.page
        return page.content if page is not None and page.PG_uptodate else pte.content

    def check_touched(self) -> None:
        """Check the addresses that the last step can have changed. Raises Loss.

        Nothing can be said of an empty pte while somebody holds its ptl: it is looked at again later.
        """
        kernel = self.kernel
        if kernel.suspect:
            kernel.suspect = False
            kernel.touched = [(mm, a) for mm in kernel.mms for a in range(self.scope.pages)]
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
            if pte is None and mm.ptl.owner is not None:
                undecided.append(entry)
            elif self.peek(pte) != expected:
                raise Loss(PROCESSES[mm.name - len(KERNEL_TASKS)], PAGES[addr], expected, self.peek(pte))
        kernel.touched = undecided

    def check(self) -> None:
        """Check every mapped address of every process. Raises Loss."""
        self.kernel.suspect = True
        self.check_touched()

    # what rules ask

    def space_of(self, process: int) -> Space | None:
        """The ghost's address space of a process; None if it is not alive."""
        mm = self.kernel.tasks[process].mm
        return None if mm is None else self.ghost.spaces.get(mm)
