"""Tasks, locks and preemption points: who may run, and who has to wait.

Kernel code that another CPU can interrupt is a generator. It yields the label of a preemption point
(`"function: where"`), or the object it waits for. This module may use `fields` and the standard library only.

A lock is taken with one line, which both waits and keeps the order of locks:

    while not mm.ptl.acquire(self.current):
        yield mm.ptl

It stands in place of `yield from mm.ptl.acquire(task)`: a generator less for each lock of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mm_sim.fields import has_fields

if TYPE_CHECKING:
    from mm_sim.mm import Mm
    from mm_sim.page import Pte

T = TypeVar("T")


class KernelBug(AssertionError):
    """Broken bookkeeping or misuse of a lock: a bug of the model or of a series, never a loss."""


class Deadlock(KernelBug):
    """A task waits for a lock whose owner, in the end, waits for that task."""


class Waitable(Protocol):
    """What a task can wait for: a lock, a page under writeback."""

    def busy(self) -> bool: ...

    def owners(self) -> tuple[Task, ...]: ...


#: An interruptible piece of kernel code: yields labels and waitables, returns T.
Steps = Generator["str | Waitable", None, T]


def no_steps() -> Steps[None]:
    """What an interruptible function returns that has nothing to do."""
    return
    yield


# The order of locks, outermost first (kernel.md section 8, mm/rmap.c). Each has four bits in `Task.held`,
# so that one comparison sees whether a lock of the same or of an inner rank is already held.
I_MUTEX, MMAP_SEM, PAGE_LOCK, I_MMAP_LOCK, ANON_VMA_LOCK, PTL, TREE_LOCK = (1 << 4 * rank for rank in range(7))


@has_fields("task")
class Task:
    """A thread of execution on a CPU of its own: a thread of a process, or a kernel thread.

    `mm` is None for kernel threads and for what has exited. `tlb` has the translations that the CPU has cached, by
    address, if its mm has or had another thread (see `arch`). While a system call, a fault or reclaim
    is under way, `steps` is its generator, `op` its rule and `point` the label where it stands;
    `waits` is the object it is blocked on. `held` counts locks by rank.
    """

    __slots__ = ("held", "mm", "name", "op", "own", "point", "steps", "tlb", "waits")

    def __init__(self, name: int) -> None:
        self.name = name
        self.mm: Mm | None = None
        self.tlb: dict[int, Pte] | None = None
        self.op = ""
        self.steps: Steps[object] | None = None
        self.point: str | None = None
        self.waits: Waitable | None = None
        self.held = 0
        self.own: dict[str, Any] = {}


class Lock:
    """A spinlock, or the page lock, with an owner."""

    __slots__ = ("owner", "unit")

    def __init__(self, unit: int) -> None:
        self.owner: Task | None = None
        self.unit = unit

    def busy(self) -> bool:
        return self.owner is not None

    def owners(self) -> tuple[Task, ...]:
        return () if self.owner is None else (self.owner,)

    def acquire(self, task: Task) -> bool:
        """Take the lock, or say False if it is held: the caller yields the lock and tries again.

        Raises KernelBug if `task` holds a lock of the same or of an inner rank (recursion, order).
        """
        if task.held >= self.unit:
            raise KernelBug(f"lock order: {task.name!r} takes {self!r} while it holds {task.held:#x}")
        if self.owner is not None:
            return False
        self.owner = task
        task.held += self.unit
        return True

    def acquire_nested(self, task: Task) -> bool:
        """Like `acquire`, beside one other lock of the same rank (`spin_lock_nested`)."""
        if task.held >= 2 * self.unit:
            raise KernelBug(f"lock order: {task.name!r} takes {self!r} while it holds {task.held:#x}")
        return self.trylock(task)

    def trylock(self, task: Task) -> bool:
        """Take the lock if nobody holds it; never waits, so no order is kept."""
        if self.owner is not None:
            return False
        self.owner = task
        task.held += self.unit
        return True

    def release(self, task: Task) -> None:
        if self.owner is not task:
            raise KernelBug(f"{task.name!r} releases {self!r}, which it does not hold")
        self.owner = None
        task.held -= self.unit

    def __repr__(self) -> str:
        return f"<lock {self.unit:#x}>"


class RwSem:
    """`mmap_sem`: any number of readers or one writer. Fairness towards a waiting writer is left out."""

    __slots__ = ("readers", "writer")

    def __init__(self) -> None:
        self.readers: list[Task] = []
        self.writer: Task | None = None

    def busy(self) -> bool:
        """For a reader that waits; a writer waits for `exclusive()`."""
        return self.writer is not None

    def owners(self) -> tuple[Task, ...]:
        return () if self.writer is None else (self.writer,)

    def exclusive(self) -> _Exclusive:
        return _Exclusive(self)

    def _order(self, task: Task) -> None:
        if task.held >= MMAP_SEM:
            raise KernelBug(f"lock order: {task.name!r} takes mmap_sem while it holds {task.held:#x}")

    def down_read(self, task: Task) -> bool:
        self._order(task)
        return self.down_read_trylock(task)

    def down_read_trylock(self, task: Task) -> bool:
        if self.writer is not None:
            return False
        self.readers.append(task)
        task.held += MMAP_SEM
        return True

    def up_read(self, task: Task) -> None:
        self.readers.remove(task)
        task.held -= MMAP_SEM

    def down_write(self, task: Task) -> bool:
        self._order(task)
        return self.down_write_nested(task)

    def down_write_nested(self, task: Task) -> bool:
        if self.writer is not None or self.readers:
            return False
        self.writer = task
        task.held += MMAP_SEM
        return True

    def up_write(self, task: Task) -> None:
        if self.writer is not task:
            raise KernelBug(f"{task.name!r} releases mmap_sem, which it does not hold")
        self.writer = None
        task.held -= MMAP_SEM


class _Exclusive:
    """What a writer waits for."""

    __slots__ = ("sem",)

    def __init__(self, sem: RwSem) -> None:
        self.sem = sem

    def busy(self) -> bool:
        return self.sem.writer is not None or bool(self.sem.readers)

    def owners(self) -> tuple[Task, ...]:
        return (*self.sem.owners(), *self.sem.readers)


class _Spin:
    """What a task yields that goes round in a loop until another task has done something."""

    __slots__ = ()

    def busy(self) -> bool:
        return False

    def owners(self) -> tuple[Task, ...]:
        return ()


SPIN = _Spin()


def run(task: Task, stop: str | None) -> bool:
    """Run the operation of `task` to the preemption point `stop`, to its end (None), or until it blocks.

    Returns True when the operation has ended. Raises Deadlock if it blocks for ever, KernelBug if it
    ends with a lock held.
    """
    steps = task.steps
    assert steps is not None
    for point in steps:
        if point == stop:
            task.point = stop
            task.waits = None
            return False
        if not isinstance(point, str):
            task.point = None
            task.waits = point
            _check_deadlock(task)
            return False
    _end(task)
    return True


def run_some(task: Task, random: Callable[[], float], chance: float) -> str | None:
    """Like `run`, but stop with the given chance at each point whose label comes for the first time.

    Returns the label at which it stopped: `run` with that label does the same.
    """
    steps = task.steps
    assert steps is not None
    passed: list[str] = []
    for point in steps:
        if not isinstance(point, str):
            task.point = None
            task.waits = point
            _check_deadlock(task)
            return None
        if random() < chance and point not in passed:
            task.point = point
            task.waits = None
            return point
        passed.append(point)
    _end(task)
    return None


def points(task: Task) -> Iterator[str]:
    """Run the operation of `task` from each preemption point to the next, until it ends or blocks."""
    steps = task.steps
    assert steps is not None
    for point in steps:
        if not isinstance(point, str):
            task.point = None
            task.waits = point
            _check_deadlock(task)
            return
        task.point = point
        task.waits = None
        yield point
    _end(task)


def _end(task: Task) -> None:
    task.steps = task.point = task.waits = None
    if task.held:
        raise KernelBug(f"{task.name!r} ends {task.op} with locks held: {task.held:#x}")


def _check_deadlock(task: Task) -> None:
    seen: list[Task] = []
    todo = [task]
    while todo:
        waits = todo.pop().waits
        if waits is None or not waits.busy():
            continue
        for owner in waits.owners():
            if owner is task:
                raise Deadlock(f"{task.name!r} in {task.op} waits for itself, by way of {seen!r}")
            if owner not in seen:
                seen.append(owner)
                todo.append(owner)
