"""Going back to states with files, threads, pins and migration, and their keys, for whatever a walk comes to."""

import random
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

import pytest

from mm_sim.arch import ARCHES
from mm_sim.ghost import File, Space
from mm_sim.loss import Step
from mm_sim.names import P1, P2, Name, ext2, shm, tmpfs, xfs
from mm_sim.series import load
from mm_sim.snapshot import restore, save, state_key
from mm_sim.system import Loss, Scope, System
from strategies.rules import instances, stops
from strategies.walk import Walk

KERNEL = load("linux_2_6_26")
SCOPES = [
    Scope(3, 2, 5, 2, files, also)
    for files in ((ext2,), (tmpfs, shm), (xfs, tmpfs))
    for also in ((), ("threads", "pins", "migration"))
]

any_machine = pytest.mark.parametrize(
    ("arch", "scope"), [(arch, scope) for arch in ARCHES for scope in SCOPES], ids=str
)


@cache
def kept(arch: str, scope: Scope) -> list[tuple[Step, ...]]:
    """The steps to each state that a walk has kept."""
    walk = Walk(KERNEL, arch, scope, seed=3)
    for _ in range(40):
        walk.run()
    return list(dict.fromkeys(steps for _, steps in walk.corpus))


def states(arch: str, scope: Scope, number: int = 12) -> Iterator[System]:
    """States of a walk, spread over all that it has kept."""
    all_states = kept(arch, scope)
    assert len(all_states) >= number
    for steps in all_states[:: len(all_states) // number]:
        yield at(arch, scope, steps)


def at(arch: str, scope: Scope, steps: tuple[Step, ...]) -> System:
    system = System(KERNEL, arch, scope)
    assert all(system.step(*step) for step in steps)
    return system


def renumber(system: System) -> None:
    """Other values in the same order; zeroes and garbage stay what they are."""

    def new(value: int) -> int:
        return 3 * value + 1 if value > 0 else value

    kernel, ghost = system.kernel, system.ghost
    for page in kernel.frames:
        page.content, page.io = new(page.content), new(page.io)
    for slot in kernel.slots:
        slot.content = new(slot.content)
    for file in kernel.files:
        file.blocks = [new(value) for value in file.blocks]
        ghost.files[file].promised = [new(value) for value in ghost.files[file].promised]
        ghost.files[file].done = [new(value) for value in ghost.files[file].done]
        ghost.files[file].errors = [new(value) for value in ghost.files[file].errors]
    holders: list[File | Space] = [*ghost.files.values(), *ghost.spaces.values()]
    for holder in holders:
        holder.values = [
            tuple(new(one) for one in value) if isinstance(value, tuple) else None if value is None else new(value)
            for value in holder.values
        ]
    system.last_value = new(system.last_value)


def swap_names(system: System, one: Name, other: Name) -> None:
    """What was one process is the other one."""
    a, b = system.kernel.tasks[one], system.kernel.tasks[other]
    a.mm, b.mm = b.mm, a.mm
    a.tlb, b.tlb = b.tlb, a.tlb


@any_machine
def test_what_follows_a_state_follows_it_again(arch: str, scope: Scope) -> None:
    draw = random.Random(1)
    table = instances(KERNEL, scope)
    points = {rule.name: stops(KERNEL, rule) or (None,) for rule, _ in table}
    for system in states(arch, scope):
        saved = save(system)
        steps = [Step(*(drawn := draw.choice(table)), draw.choice(points[drawn[0].name])) for _ in range(40)]
        first = list(following(system, steps))
        restore(system, saved)
        assert list(following(system, steps)) == first


@any_machine
def test_what_is_under_way_goes_on_as_if_nothing_else_had_begun(arch: str, scope: Scope) -> None:
    draw = random.Random(2)
    table = instances(KERNEL, scope)
    points = {rule.name: stops(KERNEL, rule) or (None,) for rule, _ in table}
    undone = 0
    for steps in kept(arch, scope)[:: len(kept(arch, scope)) // 12]:
        system, other = at(arch, scope, steps), at(arch, scope, steps)
        for rule, arguments in draw.sample(table, len(table)):
            stop = draw.choice(points[rule.name])
            if rule.steps is not None and system.step(rule, arguments, stop):
                other.step(rule, arguments, stop)
        going = {task.name for task in system.kernel.tasks if task.steps is not None}
        saved = save(system)
        for rule, arguments in draw.sample(table, len(table)):
            if rule.action is not None or (rule.steps is not None and arguments[0] not in going):
                with suppress(Loss):
                    undone += system.step(rule, arguments, draw.choice(points[rule.name]))
                restore(system, saved)
        after = [Step(*(drawn := draw.choice(table)), draw.choice(points[drawn[0].name])) for _ in range(60)]
        assert list(following(system, after)) == list(following(other, after))
    assert undone > 20


def following(system: System, steps: list[Step]) -> Iterator[bytes | str]:
    """The keys of the states that follow, until one loses a page."""
    yield state_key(system)
    for step in steps:
        try:
            if system.step(*step):
                yield state_key(system)
        except Loss as loss:
            yield str(loss)
            return


@any_machine
def test_key_does_not_depend_on_values(arch: str, scope: Scope) -> None:
    for system in states(arch, scope):
        before = state_key(system)
        renumber(system)
        assert state_key(system) == before


@any_machine
def test_key_does_not_depend_on_names(arch: str, scope: Scope) -> None:
    for system in states(arch, scope):
        before = state_key(system)
        swap_names(system, P1, P2)
        system.kernel.frames.reverse()
        system.kernel.free.reverse()
        assert state_key(system) == before


def test_what_is_known_of_a_file_matters() -> None:
    """Each of these decides what can be lost, or what is done next."""
    some = (at("s390", SCOPES[0], steps) for steps in kept("s390", SCOPES[0]))
    system = next(system for system in some if system.kernel.files[0].pages[0] is not None)
    file, page = system.kernel.files[0], system.kernel.files[0].pages[0]
    assert page is not None
    seen = {state_key(system)}
    for thing, field in ((page, "tag_dirty"), (page, "key_c"), (file, "AS_EIO"), (file, "i_size"), (file, "i_nlink")):
        old = getattr(thing, field)
        setattr(thing, field, not old)
        seen.add(state_key(system))
        setattr(thing, field, old)
    for buffers in (None, False, True):
        page.buffers = buffers
        seen.add(state_key(system))
    assert len(seen) == 8


def test_an_error_that_is_not_reported_matters_and_so_does_whether_it_covers_what_is_done() -> None:
    system = next(at("s390", SCOPES[0], steps) for steps in kept("s390", SCOPES[0]))
    ghost = system.ghost.files[system.kernel.files[0]]
    keys = set()
    for ghost.errors[0], ghost.done[0] in ((0, 1), (1, 1), (1, 2)):
        ghost.promised[0] = 0
        keys.add(state_key(system))
    assert len(keys) == 3


def test_direct_writes_under_way_matter_by_the_pages_that_are_mapped_meanwhile() -> None:
    system = next(at("s390", SCOPES[0], steps) for steps in kept("s390", SCOPES[0]))
    ghost = system.ghost.files[system.kernel.files[0]]
    keys = set()
    for ghost.directs in ([], [[0, 0]], [[0, 1]]):
        keys.add(state_key(system))
    assert len(keys) == 3


def test_what_a_cpu_has_cached_matters() -> None:
    some = (at("x86", SCOPES[1], steps) for steps in kept("x86", SCOPES[1]))
    system = next(system for system in some if any(task.tlb for task in system.kernel.tasks))
    before = state_key(system)
    for task in system.kernel.tasks:
        if task.tlb:
            task.tlb.clear()
    assert state_key(system) != before
