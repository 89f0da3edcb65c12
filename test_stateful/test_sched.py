"""Locks and tasks: waiting, and every misuse that must raise."""

import pytest

from mm_sim.sched import PAGE_LOCK, PTL, Deadlock, KernelBug, Lock, RwSem, Steps, Task, run


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
    with pytest.raises(KernelBug, match="locks held"):
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
    with pytest.raises(Deadlock):
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
