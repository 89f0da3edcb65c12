"""Tasks, locks and preemption points: who may run, and who has to wait.

Kernel code that another CPU can interrupt is a generator. It yields the label of a preemption point
(`"function: where"`), or the object it waits for. May import `fields` and `names` only.

A lock is taken with one line, which both waits and keeps the order of locks:

    while not mm.ptl.acquire(self.current):
        yield mm.ptl

It stands in place of `yield from mm.ptl.acquire(task)`: a generator less for each lock of each step.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ContextDecorator
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from mm_sim.fields import has_fields
from mm_sim.names import TASKS

if TYPE_CHECKING:
    from mm_sim.mm import Mm
    from mm_sim.page import Pte

T = TypeVar("T")


class Failure(AssertionError):
    """What a run is made to find: a KernelBug, or a Loss (see `system`)."""


class KernelBug(Failure):
    """Broken bookkeeping, misuse of a lock, code that fails or never ends: a bug of a patch, but no loss."""

    @property
    def message(self) -> str:
        return str(self)


class Deadlock(KernelBug):
    """A task waits for a lock whose owner, in the end, waits for that task, or has ended."""


class Endless(KernelBug):
    """A step that does not end."""


class Oops(KernelBug):
    """Code of a patch, or of the kernel by what a patch has done, has raised what is no Failure: its `__cause__`."""


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
_NAMES: Final = ("i_mutex", "mmap_sem", "page lock", "i_mmap_lock", "anon_vma lock", "ptl", "tree_lock")
I_MUTEX, MMAP_SEM, PAGE_LOCK, I_MMAP_LOCK, ANON_VMA_LOCK, PTL, TREE_LOCK = (1 << 4 * rank for rank in range(7))


def _names(held: int) -> str:
    """The locks that a task holds, by kind."""
    counts = [(name, held >> 4 * rank & 15) for rank, name in enumerate(_NAMES)]
    return ", ".join(name if n == 1 else f"{n} x {name}" for name, n in counts if n)


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

    def locks(self) -> str:
        """What it holds, in words."""
        return _names(self.held)

    def __repr__(self) -> str:
        return repr(TASKS[self.name])


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
            raise KernelBug(f"lock order: {task!r} takes {self!r} while it holds {task.locks()}")
        if self.owner is not None:
            return False
        self.owner = task
        task.held += self.unit
        return True

    def acquire_nested(self, task: Task) -> bool:
        """Like `acquire`, beside one other lock of the same rank (`spin_lock_nested`)."""
        if task.held >= 2 * self.unit:
            raise KernelBug(f"lock order: {task!r} takes {self!r} while it holds {task.locks()}")
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
            raise KernelBug(f"{task!r} releases {self!r}, which it does not hold")
        self.owner = None
        task.held -= self.unit

    def __repr__(self) -> str:
        return _names(self.unit)


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
            raise KernelBug(f"lock order: {task!r} takes mmap_sem while it holds {task.locks()}")

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
        if task not in self.readers:
            raise KernelBug(f"{task!r} releases mmap_sem, which it does not hold for reading")
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
            raise KernelBug(f"{task!r} releases mmap_sem, which it does not hold")
        self.writer = None
        task.held -= MMAP_SEM

    def __repr__(self) -> str:
        return "mmap_sem"


class _Exclusive:
    """What a writer waits for."""

    __slots__ = ("sem",)

    def __init__(self, sem: RwSem) -> None:
        self.sem = sem

    def busy(self) -> bool:
        return self.sem.writer is not None or bool(self.sem.readers)

    def owners(self) -> tuple[Task, ...]:
        return (*self.sem.owners(), *self.sem.readers)

    def __repr__(self) -> str:
        return "mmap_sem for writing"


class Tracing:
    """What a traced task waits for as long as its tracer's call lasts (ptrace_check_attach(), kernel/ptrace.c)."""

    __slots__ = ("tracer",)

    def __init__(self, tracer: Task) -> None:
        self.tracer = tracer

    def busy(self) -> bool:
        return True

    def owners(self) -> tuple[Task, ...]:
        return (self.tracer,)

    def __repr__(self) -> str:
        return f"{self.tracer!r}, which traces it"


class _Spin:
    """What a task yields that goes round in a loop until another task has done something."""

    __slots__ = ()

    def busy(self) -> bool:
        return False

    def owners(self) -> tuple[Task, ...]:
        return ()


SPIN = _Spin()


#: More preemption points than a step passes on the largest machine.
POINTS: Final = 20_000


def run(task: Task, stop: str | None) -> bool:
    """Run the operation of `task` to the preemption point `stop`, to its end (None), or until it blocks.

    Returns True when the operation has ended. Raises KernelBug (Deadlock if it blocks for ever, Endless, Oops), or
    the Loss that a load has seen.
    """
    steps = task.steps
    assert steps is not None
    try:
        for point in islice(steps, POINTS):
            if point == stop and stop is not None:
                task.point = stop
                task.waits = None
                return False
            if not isinstance(point, str):
                _wait(task, point)
                return False
        _end(task, steps)
    except Failure:
        raise
    except Exception as error:
        raise failure(error) from error
    return True


def run_some(task: Task, random: Callable[[], float], chance: float) -> str | None:
    """Like `run`, but stop with the given chance at each point whose label comes for the first time.

    Returns the label at which it stopped: `run` with that label does the same.
    """
    steps = task.steps
    assert steps is not None
    passed: list[str] = []
    try:
        for point in islice(steps, POINTS):
            if not isinstance(point, str):
                _wait(task, point)
                return None
            if random() < chance and point not in passed:
                task.point = point
                task.waits = None
                return point
            passed.append(point)
        _end(task, steps)
    except Failure:
        raise
    except Exception as error:
        raise failure(error) from error
    return None


def points(task: Task) -> Iterator[str]:
    """Run the operation of `task` from each preemption point to the next, until it ends or blocks."""
    steps = task.steps
    assert steps is not None
    try:
        for point in islice(steps, POINTS):
            if not isinstance(point, str):
                _wait(task, point)
                return
            task.point = point
            task.waits = None
            yield point
        _end(task, steps)
    except Failure:
        raise
    except Exception as error:
        raise failure(error) from error


def failure(error: Exception) -> KernelBug:
    """What an exception is that is no Failure, raised by code that a step runs."""
    where = error.__traceback__
    assert where is not None
    while where.tb_next is not None:
        where = where.tb_next
    code = where.tb_frame.f_code
    if isinstance(error, RecursionError):
        endless = Endless(f"{code.co_name}() ({Path(code.co_filename).name}) calls itself for ever")
        return endless.with_traceback(error.__traceback__)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    oops = Oops(f"{text} in {code.co_name}() ({Path(code.co_filename).name}:{where.tb_lineno})")
    return oops.with_traceback(error.__traceback__)


def _wait(task: Task, waits: Waitable) -> None:
    if not hasattr(waits, "busy"):
        raise KernelBug(f"{task!r} in {task.op} yields {waits!r}, which is no label and nothing to wait for")
    task.point = None
    task.waits = waits
    _check_deadlock(task)


def _end(task: Task, steps: Steps[object]) -> None:
    for point in steps:  # there are more than POINTS
        raise Endless(f"{task!r} in {task.op} passes {point!r} for ever")
    task.steps = task.point = task.waits = None
    if task.held:
        raise KernelBug(f"{task!r} ends {task.op} with locks held: {task.locks()}")


def _check_deadlock(task: Task) -> None:
    seen: list[Task] = []
    todo: list[tuple[Task, ...]] = [(task,)]
    while todo:
        way = todo.pop()
        waits = way[-1].waits
        if waits is None or not waits.busy():
            continue
        for owner in waits.owners():
            if owner is task or owner.steps is None:
                raise Deadlock("; ".join(map(_waiting, way, (*way[1:], owner))))
            if owner not in seen:
                seen.append(owner)
                todo.append((*way, owner))


def _waiting(task: Task, owner: Task) -> str:
    idle = " and does nothing" if owner.steps is None else ""
    return f"{task!r} in {task.op} waits for {task.waits!r}, which {owner!r} holds{idle}"


# code that goes round without a preemption point

#: The watchdog looks every so many seconds of CPU time, and raises when it has seen a step so often in
#: a row; a step that is traced line by line is slow.
_INTERVAL: Final = 0.5
_LOOKS, _LOOKS_TRACED = 3, 60
#: The functions that run code of the kernel.
_RUNNERS: Final = ("run", "run_some", "points", "start")
_MODULES: Final = ("mm_sim.sched", "mm_sim.system")


class _Watchdog(ContextDecorator):
    """Knows a step by the frame that runs it, so that a step costs nothing.

    `stack` has the frames, from that one inwards, that were there at each of the last `looks`: the innermost has the
    loop. `process` is where the timer runs, entered `depth` times; `outer` is what to go back to.
    """

    def __init__(self) -> None:
        self.process = self.depth = self.looks = 0
        self.stack: list[FrameType] = []
        self.outer: list[tuple[int, int, Any, tuple[float, float]]] = []

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        process = os.getpid()
        if self.process != process:
            handler = signal.signal(signal.SIGVTALRM, self.look)
            timer = signal.setitimer(signal.ITIMER_VIRTUAL, _INTERVAL, _INTERVAL)
            self.outer.append((self.process, self.depth, handler, timer))  # forked inside another process's, perhaps
            self.process, self.depth = process, 0
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        self.depth -= 1
        if self.depth == 0:
            self.process, self.depth, handler, timer = self.outer.pop()
            signal.setitimer(signal.ITIMER_VIRTUAL, *timer)
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL if handler is None else handler)
            self.stack = []

    def look(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signal. Raises Endless in the running frame."""
        inner: list[FrameType] = []
        while frame is not None:
            inner.append(frame)
            if frame.f_code.co_name in _RUNNERS and frame.f_globals.get("__name__") in _MODULES:
                break
            frame = frame.f_back
        stack = inner[::-1] if frame is not None else []
        if not stack or not self.stack or stack[0] is not self.stack[0]:
            self.stack, self.looks = stack, 1
            return
        self.stack = [now for now, before in zip(stack, self.stack, strict=False) if now is before]
        self.looks += 1
        if self.looks >= (_LOOKS if sys.gettrace() is None else _LOOKS_TRACED):
            code = self.stack[-1].f_code
            self.stack = []
            raise Endless(
                f"{code.co_name}() ({Path(code.co_filename).name}) goes round for ever without a preemption point"
            )


_watchdog = _Watchdog()


def watchdog() -> _Watchdog:
    """A context: a step inside that has used more than a second of CPU time without an end raises Endless.

    In the main thread only, where signals are; in another, or inside another watchdog, it does nothing. A caller
    with many short runs enters it once around all of them.
    """
    return _watchdog
