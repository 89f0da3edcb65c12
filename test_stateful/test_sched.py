"""Locks and tasks: waiting, and every misuse that must raise."""

import signal
from collections.abc import Callable
from multiprocessing import get_context
from threading import Thread

import pytest

from mm_sim.kernel import Kernel
from mm_sim.names import P1, A
from mm_sim.page import Pte
from mm_sim.sched import (
    PAGE_LOCK,
    PTL,
    Deadlock,
    Endless,
    KernelBug,
    Lock,
    Oops,
    RwSem,
    Steps,
    Task,
    points,
    run,
    run_some,
    watchdog,
)
from mm_sim.system import System
from strategies.rules import RULES


def started(name: int, steps: Steps[object]) -> Task:
    task = Task(name)
    task.steps = steps
    return task


def take(task: Task, *locks: Lock) -> Steps[None]:
    for lock in locks:
        while not lock.acquire(task):
            yield lock
        yield "take: got one"
    for lock in locks:
        lock.release(task)


def test_a_task_waits_until_the_owner_releases() -> None:
    lock, owner, waiter = Lock(PTL), Task(0), Task(1)
    owner.steps, waiter.steps = take(owner, lock), take(waiter, lock)
    run(owner, "take: got one")
    run(waiter, None)
    assert waiter.waits is lock
    assert run(owner, None)
    assert run(waiter, None)


def test_inner_lock_before_outer_raises() -> None:
    task = Task(0)
    Lock(PTL).acquire(task)
    with pytest.raises(KernelBug, match="lock order"):
        Lock(PAGE_LOCK).acquire(task)


def test_recursion_raises() -> None:
    task, lock = Task(0), Lock(PTL)
    lock.acquire(task)
    with pytest.raises(KernelBug, match="lock order"):
        lock.acquire(task)


def test_two_nested_locks_of_one_rank_and_a_third_raise() -> None:
    task = Task(0)
    Lock(PTL).acquire(task)
    Lock(PTL).acquire_nested(task)
    with pytest.raises(KernelBug, match="lock order"):
        Lock(PTL).acquire_nested(task)


def test_mmap_sem_inside_an_inner_lock_raises() -> None:
    task = Task(0)
    Lock(PTL).acquire(task)
    with pytest.raises(KernelBug, match="takes mmap_sem"):
        RwSem().down_read(task)
    with pytest.raises(KernelBug, match="takes mmap_sem"):
        RwSem().down_write(task)


def test_release_of_mmap_sem_by_another_task_raises() -> None:
    sem = RwSem()
    sem.down_write(Task(0))
    with pytest.raises(KernelBug, match="releases mmap_sem"):
        sem.up_write(Task(1))


def test_page_lock_may_be_tried_under_the_ptl() -> None:
    task = Task(0)
    Lock(PTL).acquire(task)
    assert Lock(PAGE_LOCK).trylock(task)


def test_release_by_another_task_raises() -> None:
    lock = Lock(PTL)
    lock.acquire(Task(0))
    with pytest.raises(KernelBug, match="does not hold"):
        lock.release(Task(1))


def test_ending_with_a_lock_held_raises() -> None:
    lock, task = Lock(PTL), Task(0)

    def forgetful() -> Steps[None]:
        lock.acquire(task)
        yield "forgetful: has it"

    task.steps = forgetful()
    with pytest.raises(KernelBug, match="locks held: ptl"):
        run(task, None)


def test_deadlock_raises_at_once() -> None:
    one, two = Lock(PAGE_LOCK), Lock(PTL)
    first, second = Task(0), Task(1)

    def backwards() -> Steps[None]:
        two.trylock(second)
        yield "backwards: got one"
        while not one.trylock(second):
            yield one

    first.steps, second.steps = take(first, one, two), backwards()
    run(first, "take: got one")
    run(second, "backwards: got one")
    run(first, None)
    with pytest.raises(Deadlock, match="page lock, which kswapd holds; kswapd in  waits for ptl, which direct"):
        run(second, None)


def test_writer_waits_for_readers_and_readers_for_the_writer() -> None:
    sem, reader, writer = RwSem(), Task(0), Task(1)
    assert sem.down_read(reader)
    assert not sem.down_write(writer)
    assert sem.exclusive().busy()
    sem.up_read(reader)
    assert sem.down_write(writer)
    assert not sem.down_read(reader)
    sem.up_write(writer)


def test_waiting_for_a_lock_whose_owner_has_ended_raises() -> None:
    lock, waiter = Lock(PTL), Task(1)
    lock.acquire(Task(0))
    waiter.steps = take(waiter, lock)
    with pytest.raises(Deadlock, match="waits for ptl, which kswapd holds and does nothing"):
        run(waiter, None)


def test_the_end_of_a_read_of_mmap_sem_that_did_not_begin_raises() -> None:
    with pytest.raises(KernelBug, match="does not hold for reading"):
        RwSem().up_read(Task(0))


def test_what_is_no_label_and_no_lock_raises() -> None:
    def bare() -> Steps[None]:
        yield  # type: ignore[misc]

    with pytest.raises(KernelBug, match="yields None"):
        run(started(0, bare()), None)


RUNNERS: dict[str, Callable[[Task], object]] = {
    "run": lambda task: run(task, None),
    "run_some": lambda task: run_some(task, lambda: 1.0, 0.0),
    "points": lambda task: list(points(task)),
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_an_exception_in_kernel_code_is_an_oops_that_says_where(runner: str) -> None:
    def wrong() -> Steps[object]:
        yield "wrong: here"
        raise KeyError("x")

    with pytest.raises(Oops, match=r"^KeyError: 'x' in wrong\(\) \(test_sched\.py:\d+\)$") as said:
        RUNNERS[runner](started(0, wrong()))
    assert isinstance(said.value.__cause__, KeyError)
    assert said.traceback[-1].name == "wrong"


@pytest.mark.parametrize("runner", RUNNERS)
def test_preemption_points_without_an_end_raise(runner: str) -> None:
    def again() -> Steps[None]:
        while True:
            yield "again: round"

    with pytest.raises(Endless, match="passes 'again: round' for ever"):
        RUNNERS[runner](started(0, again()))


def test_a_call_of_itself_without_an_end_raises() -> None:
    def deeper() -> Steps[None]:
        yield from deeper()

    with pytest.raises(Endless, match=r"deeper.* calls itself for ever"):
        run(started(0, deeper()), None)


class Faulty(Kernel):
    """Fails where a step begins."""

    __slots__ = ()

    def sys_mlock(self, addr: int) -> Steps[int]:
        raise LookupError


def test_an_exception_where_a_step_begins_is_an_oops() -> None:
    rule = next(rule for rule in RULES if rule.name == "mlock")
    with pytest.raises(Oops, match="LookupError in sys_mlock"):
        System(Faulty).step(rule, (P1, A))


class Busy(Kernel):
    """Goes round in a plain function."""

    __slots__ = ()

    def maybe_mkwrite(self, pte: object, vma: object) -> Pte:
        while True:
            len("")


def store_busily() -> None:
    rule = next(rule for rule in RULES if rule.name == "store")
    with pytest.raises(Endless, match=r"^maybe_mkwrite\(\) \(test_sched\.py\) goes round"):
        System(Busy).step(rule, (P1, A))


def test_a_loop_without_preemption_points_raises() -> None:
    store_busily()


def test_a_loop_in_a_process_forked_under_a_watchdog_raises() -> None:
    with watchdog():
        child = get_context("fork").Process(target=store_busily)
        child.start()
        child.join(60)
    assert child.exitcode == 0


def test_a_watchdog_leaves_handler_and_timer_as_they_were() -> None:
    before = signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
    try:
        with watchdog():
            with watchdog():
                pass
            assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0
        assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_IGN
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_a_watchdog_does_nothing_in_another_thread() -> None:
    handlers: list[object] = []

    def enter() -> None:
        with watchdog():
            handlers.append(signal.getsignal(signal.SIGVTALRM))

    thread = Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGVTALRM)]
