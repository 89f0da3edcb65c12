"""Small checks of the prover, quick ones first: each mutant of it has to fail one (test_prover.py).

What they compare with is found by a naive search before a mutant changes anything. A function of the patches below is
no code of the project; `ours` makes one that the state key takes for it.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache, partial
from itertools import combinations, permutations, product
from pathlib import Path
from select import select
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import mm_sim
from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.ghost import File, Ghost, Space
from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import MmuGather
from mm_sim.kernel.rmap import Swap
from mm_sim.loss import Step
from mm_sim.mm import AnonVma, Mm, Vma
from mm_sim.names import DIRECT, EXT2, KERNEL_TASKS, KSWAPD, P1, P2, P3, PAGES, PRIVATE, SHARED, TASKS, TMPFS, XFS, A
from mm_sim.page import GARBAGE, ZERO, Page, Pte, SwapSlot
from mm_sim.sched import SPIN, KernelBug, Lock, RwSem, Steps, Tracing, no_steps, points
from mm_sim.sched import run as run_task
from mm_sim.snapshot import Content, NoKey, Promise, canonical, is_quiet, restore, save, state_key
from mm_sim.system import PAST_END, FreedFrame, Loss, Rule, Scope, System, WrongStore
from strategies import explore, minimise
from strategies.comparison import Base, failure
from strategies.explore import Bounds, Node, NotDeterministic, Result, Search
from strategies.minimise import certify, within
from strategies.rules import instances, stops, table
from test_stateful.naive import Failed, Naive, build, plain
from test_stateful.test_explore import Settled
from test_stateful.test_snapshot_files import renumber, swap_names
from test_stateful.twice import Twice

# patches


class Forgets(Kernel):
    """Forgets that a page is modified when reclaim has unmapped it."""

    __slots__ = ()

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        page.mapcount -= 1
        yield "page_remove_rmap: forgotten"
        if not page.mapcount:
            page.PG_dirty = page.key_c = False


class ForgetsElsewhere(Forgets):
    """The same with other labels."""

    __slots__ = ()

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        yield "page_remove_rmap: begins"
        page.mapcount -= 1
        if not page.mapcount:
            page.PG_dirty = page.key_c = False
        yield "page_remove_rmap: ends"


class ForgetsAtFork(Forgets):
    """It also leaves the parent's pte writable."""

    __slots__ = ()

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        before = src_mm.pte[addr]
        super().copy_one_pte(dst_mm, src_mm, vma, addr)
        self.set_pte_at(src_mm, addr, before)


class Waits(Kernel):
    """A store sees a second preemption loses what another task has stored between two points."""

    __slots__ = ()

    def do_anonymous_page(self, mm: Mm, vma: Vma, address: int) -> Any:
        dirty = any(type(pte) is Pte for one in self.mms for pte in one.pte)
        yield "do_anonymous_page: one"
        now = any(type(pte) is Pte for one in self.mms for pte in one.pte)
        yield "do_anonymous_page: two"
        result = yield from super().do_anonymous_page(mm, vma, address)
        pte = mm.pte[address]
        if now and not dirty and type(pte) is Pte:
            pte.page.content = GARBAGE
            raise KernelBug("stored between two points")
        return result


def _flicker(points: tuple[int, ...]) -> Callable[..., Steps[None]]:
    """An operation that passes three points, at these with garbage in a page."""

    def flicker(s: System, process: int) -> Steps[None]:
        pte = s.kernel.mms[0].pte[0]
        assert type(pte) is Pte
        page = pte.page
        right = page.content
        for point in (1, 2, 3):
            page.content = GARBAGE if point in points else right
            yield f"flicker: {point}"
        page.content = right

    return flicker


def _flickers(*points: int, also: tuple[int, ...] = ()) -> type[Kernel]:
    """Has a page with garbage at these points of one operation, and at others of another one."""
    rules = [
        Rule(name, {"process": "process"}, lambda s, _: type(s.kernel.mms[0].pte[0]) is Pte, _flicker(at))
        for name, at in (("flicker", points), ("glitter", also))
    ]
    return type("Flickers", (Kernel,), {"__slots__": (), "rules": tuple(rules)})


class Breaks(Kernel):
    """Breaks in the midst of a fault."""

    __slots__ = ()

    def do_anonymous_page(self, mm: Mm, vma: Vma, address: int) -> Any:
        yield "do_anonymous_page: breaks"
        raise KernelBug("in do_anonymous_page")


def _locks(s: System, process: int) -> Steps[None]:
    task, ptl = s.kernel.tasks[process], s.kernel.mms[0].ptl
    while not ptl.acquire(task):
        yield ptl
        s.kernel.own["waited"] = True
    yield "locks: held"
    ptl.release(task)


class Locks(Kernel):
    """Has an operation that another task waits for, and nothing else."""

    __slots__ = ()

    fields = {"kernel": {"waited": False}}
    rules = (Rule("locks", {"process": "process"}, lambda s, process: process in (P1, P2), _locks),)


# machines, and what a naive search finds in them


class Case(NamedTuple):
    kernel: type[Kernel]
    arch: str
    bounds: Bounds


_LUMPY = (("reclaimer", (KSWAPD,)), ("order", (4,)))
_ANON = ("fork", "pageout_done", "reclaim", "resume", "store")


def _case(
    kernel: type[Kernel], arch: str, scope: Scope, rules: tuple[str, ...], steps: int, preemptions: int | None
) -> Case:
    return Case(kernel, arch, Bounds(scope, tuple(sorted({*rules, "resume"})), _LUMPY, steps, preemptions))


CASES: dict[str, Case] = {
    "threads": _case(
        Kernel,
        "x86",
        Scope(2, 1, 3, 0, (EXT2,), ("threads",)),
        ("store", "exit", "fork", "mprotect"),
        4,
        0,
    ),
    "file": _case(Kernel, "x86", Scope(1, 1, 2, 0, (EXT2,)), ("store", "fsync", "writeback", "pageout_done"), 4, 1),
    "forgets": _case(Forgets, "s390", Scope(2, 1, 3, 1), _ANON, 4, 1),
    "two preemptions": _case(Waits, "s390", Scope(2, 1, 2, 0), ("store", "fork"), 5, 2),
    "anon": _case(Kernel, "s390", Scope(2, 1, 2, 1), _ANON, 4, 1),
    "blocked": _case(Locks, "x86", Scope(2, 1, 2, 0), ("locks",), 5, 1),
    "any preemption": _case(Kernel, "x86", Scope(1, 1, 2, 1), ("store", "reclaim", "pageout_done"), 4, None),
}
#: What takes longer: every night.
MORE: dict[str, Case] = {
    "two threads store": _case(
        Kernel, "x86", Scope(2, 1, 2, 0, (), ("threads",)), ("store", "load", "munmap", "mmap"), 4, 1
    ),
    "file on s390": _case(
        Kernel, "s390", Scope(1, 1, 2, 0, (EXT2,)), ("store", "read", "write", "truncate", "reclaim", "fsync"), 3, 1
    ),
    "tmpfs": _case(
        Kernel, "s390", Scope(1, 1, 2, 1, (TMPFS,)), ("store", "load", "reclaim", "pageout_done", "write"), 4, 1
    ),
    "swapoff": _case(
        Kernel, "s390", Scope(1, 1, 3, 1), ("store", "load", "reclaim", "pageout_done", "swapoff"), 5, 1
    ),
    "locked": _case(Kernel, "s390", Scope(2, 1, 3, 1), ("store", "mlock", "mprotect", "reclaim", "fork"), 4, 0),
}


@cache
def naive(name: str) -> Naive:
    return Naive(*(CASES | MORE)[name])


def _kind(run: Failed) -> tuple[str, str, str | None]:
    return type(run.error).__name__, run.steps[-1].rule.name, run.steps[-1].stop


@cache
def shortest_failures(name: str) -> dict[tuple[str, str, str | None], int]:
    """By kind of error and last step, the fewest steps."""
    found: dict[tuple[str, str, str | None], int] = {}
    for run in naive(name).failed:
        found.setdefault(_kind(run), len(run.steps))
    return found


def prepare(more: bool = False) -> None:
    """Find all that the checks compare with."""
    gc.disable()  # it is kept: there is nothing to collect
    try:
        _prepare(more)
    finally:
        gc.enable()


def _prepare(more: bool) -> None:
    for name in CASES | MORE if more else CASES:
        shortest_failures(name)
        futures(name)
    losses_of_forgets()
    kept_in_hand()
    content_in_hand()
    things_in_hand()
    changes()


@cache
def futures(name: str) -> list[list[int]]:
    return naive(name).futures()


# the state key


def equal_keys_have_equal_futures(name: str) -> None:
    """States of one key, reached by as many preemptions, go on alike as far as the naive search has gone."""
    graph, of = naive(name), futures(name)
    same: dict[tuple[bytes, int], list[int]] = defaultdict(list)
    for state, system in enumerate(graph.systems):
        same[state_key(system), graph.preempted[state]].append(state)
    for states in same.values():
        for one, other in combinations(states, 2):
            for known, other_known in zip(of[one], of[other], strict=False):
                assert known == other_known, (graph.runs[one], graph.runs[other])


def keys_follow_keys(name: str) -> None:
    """States of one key lead by the same steps to states of the same keys."""
    graph = naive(name)
    keys = [state_key(system) for system in graph.systems]
    told: dict[tuple[bytes, int], Any] = {}
    for state, following in enumerate(graph.following):
        steps = frozenset((rule, stop, keys[one] if isinstance(one, int) else one) for rule, stop, one in following)
        assert told.setdefault((keys[state], graph.preempted[state]), steps) == steps, graph.runs[state]


def keys_are_few(name: str) -> None:
    """The key has no names of processes and frames, and no values: so many states of a naive search are one."""
    graph = naive(name)
    assert len({state_key(system) for system in graph.systems}) <= _FEW[name], name


#: How many keys there are; whether fewer would do is for the checks above.
_FEW = {
    "threads": 32,
    "file": 80,
    "forgets": 185,
    "two preemptions": 126,
    "anon": 357,
    "blocked": 8,
    "any preemption": 170,
    "two threads store": 107,
    "file on s390": 369,
    "tmpfs": 325,
    "swapoff": 572,
    "locked": 225,
}


class _Cell:
    """What a function keeps."""

    def __init__(self, value: int) -> None:
        self.value = value

    def get(self) -> int:
        return self.value


@dataclass
class _Record:
    value: int

    def get(self) -> int:
        return self.value

    def zero(self) -> int:
        return 0


class _Pair(NamedTuple):
    value: int
    other: int = 1


class _List(list[int]):
    """A list of a patch's own class."""


class _Number(Enum):
    ZERO = 0
    FOUR = 4


class _Other(Enum):
    ZERO = 0


def _zero() -> int:
    return 0


def _four() -> int:
    return 4


def _recursive(value: int) -> Callable[[], Any]:
    def get(again: bool = True) -> int:
        return get(False) if again else value

    return get


def _generator(value: int) -> Iterator[int]:
    yield value


def _closure(value: int) -> Callable[[], int]:
    return lambda: value


def _default(value: int) -> Callable[[], int]:
    def get(held: int = value) -> int:
        return held

    return get


def _keyword(value: int) -> Callable[[], int]:
    def get(*, held: int = value) -> int:
        return held

    return get


def _started(value: int) -> Any:
    def steps() -> Iterator[int]:
        yield from (4, 4, 0, 0)

    going = steps()
    for _ in range(1 if value else 3):
        next(going)
    return going


def _second(numbers: list[int]) -> Iterator[int]:
    going = iter(numbers)
    next(going)
    return going


def _loop(value: int) -> Iterator[int]:
    going = iter([4, 4, 0, 0])
    for _ in range(1 if value else 3):
        next(going)
    return going


#: Ways to hold a number across a preemption point: how, and how to get it back.
_KINDS: dict[str, tuple[Callable[[int], Any], Callable[[Any], int]]] = {
    "number": (lambda value: value, lambda held: held),
    "text": (str, int),
    "bytes": (lambda value: bytes([value]), lambda held: held[0]),
    "fraction": (float, int),
    "none": (lambda value: value or None, lambda held: held or 0),
    "flag": (bool, lambda held: 4 * held),
    "list": (lambda value: [value, 1], lambda held: held[0]),
    "last in a list": (lambda value: [1, value], lambda held: held[1]),
    "length": (lambda value: [1] * value, len),
    "tuple": (lambda value: (1, value), lambda held: held[1]),
    "nested": (lambda value: [[1, [value]]], lambda held: held[0][1][0]),
    "dict": (lambda value: {1: value}, lambda held: held[1]),
    "key of a dict": (lambda value: {value: 1}, lambda held: next(iter(held))),
    "set": (lambda value: {value, 1}, lambda held: max(held) if len(held) == 2 and 4 in held else 0),
    "frozenset": (lambda value: frozenset((value,)), lambda held: next(iter(held))),
    "dataclass": (_Record, lambda held: held.value),
    "exception": (lambda value: ValueError(value), lambda held: held.args[0]),
    "name": (lambda value: P2 if value else P1, lambda held: 4 * (held == P2)),
    "range": (range, len),
    "closure": (_closure, lambda held: held()),
    "default": (_default, lambda held: held()),
    "keyword": (_keyword, lambda held: held()),
    "function": (lambda value: max if value else min, lambda held: held(0, 4)),
    "generator": (_generator, next),
    "generator under way": (_started, next),
    "in a list": (lambda value: [_closure(value)], lambda held: held[0]()),
    "iterator": (_loop, next),
    "iterator of one": (lambda value: iter([value]), next),
    "same list": (
        lambda value: (one := [1], one if value else [1]),
        lambda held: 4 * (held[0] is held[1]),
    ),
    "which of two lists": (
        lambda value: (one := [1], other := [1], one if value else other),
        lambda held: 4 * (held[0] is held[2]),
    ),
    "which of two dicts": (
        lambda value: (one := {1: 1}, other := {1: 1}, one if value else other),
        lambda held: 4 * (held[0] is held[2]),
    ),
    "tuple with names": (_Pair, lambda held: held.value),
    "list of its own": (lambda value: _List([value]), lambda held: held[0]),
    "in a tuple": (lambda value: (_closure(value),), lambda held: held[0]()),
    "text in a set": (lambda value: {str(value)}, lambda held: int(*held)),
    "enum": (_Number, lambda held: held.value),
    "another enum": (
        lambda value: _Number.ZERO if value else _Other.ZERO,
        lambda held: 4 * isinstance(held, _Number),
    ),
    "enum in a set": (lambda value: {_Number(value)}, lambda held: next(iter(held)).value),
    "our function": (lambda value: _four if value else _zero, lambda held: held()),
    "function in a dict": (lambda value: {1: _four if value else _zero}, lambda held: held[1]()),
    "method": (lambda value: _Record(value).get, lambda held: held()),
    "another method": (lambda value: _Record(4).get if value else _Record(4).zero, lambda held: held()),
    "recursive": (_recursive, lambda held: held()),
    "another iterator": (
        lambda value: reversed([4, 0]) if value else _second([4, 0]),
        lambda held: [*held][-1],
    ),
    "another exception": (
        lambda value: KeyError(1) if value else ValueError(1),
        lambda held: 4 * isinstance(held, KeyError),
    ),
}
#: In one local the model has things of one kind, and each list once.
_ALIEN = ("same list", "which of two lists", "another enum")


def _in_a_cell(s: System, process: int, order: int) -> Steps[None]:
    """Of a function that is there no longer."""
    held, order = order, 0
    [lambda: held].clear()
    yield "hold: held"
    if held:
        yield "hold: four"


def _of_an_outer_function(s: System, process: int, order: int) -> Steps[None]:
    def outer(held: int) -> Steps[None]:
        def inner() -> Steps[None]:
            yield "hold: held"
            if held:
                yield "hold: four"

        return inner()

    steps = [outer(order)]
    order = 0
    yield from steps.pop()


def _in_one_of_two_lists(s: System, process: int, order: int) -> Steps[None]:
    some, more = ([_zero, _zero], [_zero]) if order else ([_zero], [_zero, _zero])
    order = 0
    yield "hold: held"
    if len(some) > len(more):
        yield "hold: four"


def _itself(s: System, process: int, order: int) -> Steps[None]:
    held: Any = s.kernel.tasks[process].steps
    if not order:
        held = _generator(0)
        assert [*held] == [0]
    order = 0
    yield "hold: held"
    if held.gi_frame is not None:
        yield "hold: four"


def _in_an_iterator(s: System, process: int, order: int) -> Steps[None]:
    labels = [["hold: held", "hold: four"][: 1 + order // 4]]
    order = 0
    yield from iter(labels.pop())


def _by_the_place(s: System, process: int, order: int) -> Steps[None]:
    if order:
        order = 0
        yield "hold: held"
        yield "hold: four"
    else:
        yield "hold: held"


def _by_the_function(s: System, process: int, order: int) -> Steps[None]:
    def ends() -> Steps[None]:
        yield "hold: held"

    def goes_on() -> Steps[None]:
        yield "hold: held"
        yield "hold: four"

    steps = [goes_on() if order else ends()]
    order = 0
    yield from steps.pop()


#: Functions that hold a number otherwise than in a local.
_HOLDERS = (
    *(_in_a_cell, _of_an_outer_function, _in_one_of_two_lists, _itself, _in_an_iterator),
    *(_by_the_place, _by_the_function),
)


def _hold(kind: str) -> Callable[..., Steps[None]]:
    make, get = _KINDS[kind]

    def hold(s: System, process: int, order: int) -> Steps[None]:
        held = make(order)
        order = 0
        yield "hold: held"
        if get(held):
            yield "hold: four"

    return hold


def _go_round(s: System, process: int, order: int) -> Steps[None]:
    one = [0]
    for _ in [one, one, one]:
        yield "hold: held"


def ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one of the model's: its locals are known by their names."""
    assert isinstance(function, FunctionType)
    file = str(Path(mm_sim.__file__).with_name("held.py"))

    def of(code: CodeType) -> CodeType:
        inner = tuple(of(one) if isinstance(one, CodeType) else one for one in code.co_consts)
        return code.replace(co_filename=file, co_consts=inner)

    return FunctionType(
        of(function.__code__), function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )


def _rule(name: str, steps: Callable[..., Any]) -> Rule:
    return Rule(name, {"process": "process", "order": "order"}, lambda s, *_: True, steps)


class Holds(Kernel):
    """Has a system call for each way to hold a number, as a patch and as the model would."""

    __slots__ = ()

    rules = (
        *(_rule(f"hold_{n}", _hold(kind)) for n, kind in enumerate(_KINDS)),
        *(_rule(f"our_hold_{n}", ours(_hold(kind))) for n, kind in enumerate(_KINDS)),
        *(_rule(f"hold{function.__name__}", function) for function in _HOLDERS),
        *(_rule(f"our_hold{function.__name__}", ours(function)) for function in _HOLDERS),
        _rule("go_round", _go_round),
        _rule("our_go_round", ours(_go_round)),
    )


def _held(name: str, *orders: int, more: int = 0) -> list[System]:
    """The states in which a call holds these numbers, after going on some more times."""
    rules = {rule.name: rule for rule in table(Holds)}
    kept = []
    for order in orders:
        system = System(Holds, "s390", Scope(1, 1, 2, 1))
        assert system.step(rules[name], (P1, order), "hold: held")
        for _ in range(more):
            assert system.step(rules["resume"], (P1,), "hold: held")
        kept.append(system)
    return kept


@cache
def kept_in_hand() -> dict[str, list[System]]:
    """By the way to hold it: the states that hold 0, 0 again, and 4."""
    names = [f"{of}hold_{n}" for of in ("", "our_") for n in range(len(_KINDS))]
    for kind in _ALIEN:
        names.remove(f"our_hold_{[*_KINDS].index(kind)}")
    names += [f"{of}hold{function.__name__}" for of in ("", "our_") for function in _HOLDERS]
    kept = {name: _held(name, 0, 0, 4) for name in names}
    for name in ("go_round", "our_go_round"):
        kept[name] = [*_held(name, 0, 0), *_held(name, 0, more=1)]
    return kept


def key_has_what_is_held() -> None:
    """In every way in which a function can hold something across a preemption point, also where a loop is."""
    for name, (once, again, four) in kept_in_hand().items():
        assert state_key(once) == state_key(again), name
        assert state_key(once) != state_key(four), name


@cache
def content_in_hand() -> list[System]:
    """States in which a page has a content that is nowhere but in what a patch holds, or in its field."""
    rules = {rule.name: rule for rule in table(Holds)}
    kept = []
    for kind in ("number", "list", "tuple", "nested", "dict", "dataclass", "iterator of one", "set", "frozenset"):
        system = System(Holds, "s390", Scope(1, 1, 2, 1))
        assert system.step(rules["store"], (P1, A))
        assert system.step(rules[f"hold_{[*_KINDS].index(kind)}"], (P1, 40), "hold: held")
        kept.append(system)
    for field in ("count_of_kernel", "list_of_kernel"):
        system = System(Fields, "s390", Scope(1, 1, 2, 1))
        assert system.step(rules["store"], (P1, A))
        system.kernel.own[field] = 40 if field.startswith("count") else [40]
        kept.append(system)
    return kept


def key_has_whether_a_page_holds_the_same() -> None:
    for system in content_in_hand():
        page = next(page for page in system.kernel.frames if page.mapcount)
        keys = []
        for content in (40, 50):
            page.content, was = content, page.content
            keys.append(state_key(system))
            page.content = was
        assert keys[0] != keys[1]


def _busy() -> System:
    """A machine with all there is, in which a fork, a read and writes are under way."""
    system = System(Fields, "x86", Scope(3, 2, 8, 2, (EXT2, TMPFS, XFS), areas=2))
    rules = {rule.name: rule for rule in table(Fields)}
    for name, arguments, stop in (
        ("store", (P1, PAGES[0]), None),
        ("store", (P1, PAGES[1]), None),
        ("fork", (P1, P2), None),
        ("store", (P2, PAGES[1]), None),
        ("read", (P1, EXT2, PAGES[0]), "do_generic_file_read: page found"),
        ("fork", (P2, P3), "dup_mmap: i_mmap lock"),
    ):
        assert system.step(rules[name], arguments, stop), name
    system.ghost.files[system.kernel.files[1]].syncs = [[0, 0], [0, 0]]
    system.ghost.files[system.kernel.files[2]].reads = [[0, 0], [0, 0]]
    system.ghost.files[system.kernel.files[0]].directs = [[0, 0], [0, 0]]
    return system


@cache
def things_in_hand() -> tuple[System, list[object]]:
    """A state, and things of it that can be held, no two of them alike."""
    system = _busy()
    kernel, ghost = system.kernel, system.ghost
    anon_vmas = list(dict.fromkeys(vma.anon_vma for mm in kernel.mms for vma in mm.mmap if vma.anon_vma is not None))
    pages = [page for page in kernel.frames if page.count]
    ptes = [pte for mm in kernel.mms for pte in mm.pte if type(pte) is Pte]
    gone = [Space(2)]
    for field in ("busy", "pins", "shared", "own", "mapped"):
        gone.append(Space(2))
        getattr(gone[-1], field)[0] ^= 1
    gone.append(Space(2))
    gone[-1].cut = {A}
    gone.append(Space(2))
    gone[-1].of = [(ghost.files[kernel.files[0]], 0), None]
    things: list[Any] = [
        *(
            PAGES[0],
            PAGES[1],
            PAGES[P1],  # the same number as P1
            P1,
            P2,
            P3,
            0,
            1,
            True,
            False,
            None,
            "text",
            b"text",
            0.5,
            ValueError(1),
            ValueError(2),
            KeyError(1),
        ),
        *(max, min, Page, Pte, random, ValueError, Swap.AGAIN, Swap.FAIL, SPIN, kernel, kernel.arch, system, ghost),
        *(Content((0, 1)), Content((0, system.last_value)), Content(system.last_value)),
        *dict.fromkeys(pages),
        *dict.fromkeys(ptes),
        *(page.make_migration_entry(write) for page in pages[:3] for write in (False, True)),
        *(page.lock for page in pages),
        *kernel.slots[:1],
        *kernel.swap_info,
        *(one for mm in kernel.mms for one in (mm, mm.ptl, mm.mmap_sem, mm.mmap_sem.exclusive())),
        *(vma for mm in kernel.mms for vma in mm.mmap),
        *(one for anon in anon_vmas for one in (anon, anon.lock)),
        kernel.tree_lock,
        *(one for file in kernel.files for one in (file, file.i_mutex, file.i_mmap_lock, file.tree_lock)),
        *ghost.files.values(),
        *map(Promise, _promises(ghost)),
        Promise([9]),
        *ghost.spaces.values(),
        *(child for space in ghost.spaces.values() for child in space.forks.values()),
        *gone,
        *(_gather(pages, which) for which in range(5)),
        *([], [1], (), (1,), {}, {1: 2}, {2: 1}, {1}, {2}, {1, 2}, [1, 2], [2, 1], [[1], 2], [1, [2]], [1, "1"]),
        *(iter([1, 2]), iter((1, 2)), range(2), range(1, 2), _Record(1), _Record(2), [1, None], [None, 1]),
    ]
    return system, things


def _promises(ghost: Ghost) -> Iterator[Any]:
    for file in ghost.files.values():
        yield from (*file.reads, *file.syncs, *file.directs)


def _gather(pages: list[Page], which: int) -> MmuGather:
    """A batch that differs from others in one field."""
    tlb = MmuGather()
    tlb.pages = pages[: which == 1]
    tlb.delayed = pages[: which == 2]
    tlb.need_flush, tlb.force_flush = which == 3, which == 4
    return tlb


def key_has_which_thing_is_held() -> None:
    system, things = things_in_hand()
    keys: dict[bytes, object] = {}
    for thing in things:
        system.kernel.own["count_of_kernel"] = thing
        known = keys.setdefault(state_key(system), thing)
        system.kernel.own["count_of_kernel"] = 0
        assert known is thing, (known, thing)


def _holding(held: object) -> Iterator[str]:
    yield "held"


def _holding_value(value: object) -> Iterator[str]:
    yield "held"


def _holding_promise(promise: object) -> Iterator[str]:
    yield "held"


def _key_with(system: System, thing: object, function: Any = _holding, task: int = DIRECT) -> bytes:
    """The key of a state in which a task holds something, in a function of the model's."""
    one = system.kernel.tasks[task]
    was = one.steps, one.point
    going = ours(function)(thing)
    one.steps, one.point = going, next(going)
    try:
        return canonical(system, symmetric=False)[0]
    finally:
        one.steps, one.point = was


def _differ(keys: Any) -> None:
    """Each thing has a key of its own."""
    seen: dict[bytes, object] = {}
    for what, key in keys:
        assert key not in seen, (seen[key], what)
        seen[key] = what


def key_has_which_of_one_kind_our_function_holds() -> None:
    """In the model a local has things of one kind: which one, or what a task can wait for."""
    system = _busy()
    kernel, ghost = system.kernel, system.ghost
    pages = [page for page in kernel.frames if page.count]
    for vma in [vma for mm in kernel.mms for vma in mm.mmap][:3]:  # that no page has
        vma.anon_vma = AnonVma()
    anon_vmas = [*dict.fromkeys(vma.anon_vma for mm in kernel.mms for vma in mm.mmap if vma.anon_vma is not None)]
    assert len(anon_vmas) > 2
    of_files = [one for file in kernel.files for one in (file.i_mutex, file.i_mmap_lock, file.tree_lock)]
    waits: list[Any] = [
        *(one for mm in kernel.mms for one in (mm.ptl, mm.mmap_sem, mm.mmap_sem.exclusive())),
        *(page.lock for page in pages),
        *(anon.lock for anon in anon_vmas),
        *(kernel.tree_lock, *of_files),
        SPIN,
    ]
    for task in (DIRECT, P1, P2, P3):
        _differ((one, _key_with(system, one, task=task)) for one in waits)
    space = ghost.spaces[kernel.mms[0]]
    space.forks.update({P2: Space(2), P3: Space(2)})
    twin = Vma.__new__(Vma)
    for name in _slots(kernel.mms[0].mmap[0]):
        setattr(twin, name, getattr(kernel.mms[0].mmap[0], name))
    iterators = iter([1, 2]), iter((1, 2)), reversed([1]), iter([1])
    groups: list[list[Any]] = [
        [kernel, kernel.arch, system, ghost, SPIN],
        [*ghost.files.values()],
        [*kernel.files],
        [*kernel.swap_info],
        [*ghost.spaces.values(), *space.forks.values(), Space(2)],
        [*kernel.mms],
        [*(vma for mm in kernel.mms for vma in mm.mmap), twin],
        [*anon_vmas],
        [(anon_vmas[0].lock, 1, 7), *((lock, None, [7]) for lock in (kernel.tree_lock, *of_files))],
        [*iterators],
        [*ghost.files.values(), None],
    ]
    for group in groups:
        _differ((one, _key_with(system, one)) for one in group)
    del space.forks[P2], space.forks[P3]
    for group in ([*_promises(ghost), None], [(1,), (2,)]):
        _differ((one, _key_with(system, one, _holding_promise)) for one in group)
    for group in ([0, (0, 1), None], ["one", "other"], pages[:2]):
        _differ((one, _key_with(system, one, _holding_value)) for one in group)


def key_has_whether_an_error_is_newer_than_what_was_promised() -> None:
    system = _busy()
    file = system.ghost.files[system.kernel.files[0]]
    keys = []
    for file.promised[0], file.errors[0] in ((5, 0), (5, 4), (5, 5), (5, 6)):
        keys.append(state_key(system))
    assert len({*keys[:3]}) == 3
    assert keys[2] == keys[3]


def key_has_whether_a_page_holds_what_is_to_be_read() -> None:
    """By whomever: and it does not have the value itself."""
    system = _busy()
    ghost, own = system.ghost, system.kernel.own
    page = next(page for page in system.kernel.frames if page.mapcount and page.PG_anon)

    def key(value: int, thing: Any = None) -> bytes:
        page.content, was = value, page.content
        try:
            return state_key(system) if thing is None else _key_with(system, thing, _holding_value)
        finally:
            page.content = was

    space = next(iter(ghost.spaces.values()))
    space.forks[P3] = Space(2)
    holders: list[Any] = [space.values, space.forks[P3].values, *(file.values for file in ghost.files.values())]
    holders += [values for file in ghost.files.values() for values in file.reads]
    for values in holders:
        was, values[0] = values[0], 1001
        assert key(1001) != key(1002)
        values[0] = (1001, 1002)
        assert key(1001) != key(1003) != key(1002) != key(1001)
        values[0] = was
    del space.forks[P3]
    assert key(1001, 1001) != key(1001, 1002) == key(1001, 1003)
    assert key(1001, (1001, 1005)) != key(1001, (1002, 1005)) == key(1001, (1003, 1005))
    keys = []
    own["count_of_kernel"] = 1001
    for value in (1001, 1002):
        space.values[0] = value
        keys.append(key(value))
    assert keys[0] != keys[1]


def key_has_what_is_to_be_read() -> None:
    """Also where it is one of some values, or nothing: by a process, and by a read that is under way."""
    system = _busy()
    first, *_, last = (mm for task in canonical(system)[1] if (mm := system.kernel.tasks[task].mm) is not None)
    spaces: dict[Any, Space] = system.ghost.spaces
    spaces[first].values[:] = [3001, 3002]
    read: Any = system.ghost.files[system.kernel.files[2]].reads[0]
    for values in (spaces[last].values, read):
        keys = []
        for values[0] in (None, 3001, (0, 3001), (0, 3002)):
            keys.append((values[0], state_key(system)))
        _differ(keys)


def key_has_whether_what_is_on_a_disk_is_new_enough() -> None:
    """Of a block, a page and a write under way: for what is complete, promised, and will be."""
    system = _busy()
    file = system.kernel.files[0]
    ghost, page = system.ghost.files[file], file.pages[0]
    assert page is not None
    kept = page.content, page.io, page.PG_writeback, file.blocks[0], ghost.done[0], ghost.promised[0], ghost.syncs
    ghost.done[0], ghost.promised[0], ghost.syncs = 2010, 2020, [[2030, 0], [2040, 0]]
    page.PG_writeback = True
    groups = ((2009,), (2010, 2019), (2020, 2029), (2030, 2039), (2040, 2041))
    for owner, name in ((page, "io"), (page, "content"), (file, "blocks")):
        page.content, page.io, file.blocks[0] = 2000, 2000, 2000
        found: list[bytes] = []
        for group in groups:
            keys = set()
            for value in group:
                setattr(owner, name, value if name != "blocks" else [value, *file.blocks[1:]])
                keys.add(state_key(system))
            assert len(keys) == 1, (name, group)
            found += keys
        assert len({*found}) == len(groups), name
    page.content, page.io, page.PG_writeback, file.blocks[0], ghost.done[0], ghost.promised[0], ghost.syncs = kept


def key_has_each_page_table_and_tlb() -> None:
    """Of all that there can be, two addresses long, where files have the pages and the slot, too."""
    system = _busy()
    kernel = system.kernel
    file, slot = kernel.files[0], kernel.slots[0]
    pages = [page for page in kernel.frames if page.count][:3]
    file.pages[:], file.swap[1] = pages[1:], slot
    ptes: list[Any] = [None, slot, *(page.ptes[bits] for page in pages for bits in range(4))]
    ptes += [page.make_migration_entry(write) for page in pages[:2] for write in (False, True)]
    mm = kernel.mms[1]
    table = mm.pte.copy()
    keys: list[tuple[object, bytes]] = []
    for mm.pte[0], mm.pte[1] in product(ptes, repeat=2):
        keys.append((mm.pte.copy(), state_key(system)))
    _differ(keys)
    mm.pte[:] = table
    one, other = kernel.tasks[P1], kernel.tasks[P2]
    some = [pte for pte in ptes if type(pte) is Pte][:2]
    tlbs: list[Any] = [None, {}, *({at: pte} for at in (0, 1) for pte in some), {0: some[0], 1: some[1]}]
    keys = []
    for one.tlb, other.tlb in product(tlbs, repeat=2):
        keys.append(((one.tlb, other.tlb), state_key(system)))
    _differ(keys)


def key_has_who_does_what_and_holds_what() -> None:
    """Which task stands in a function, and has which lock; the order in which free pages come."""
    system = _busy()
    kernel = system.kernel
    _differ((task, _key_with(system, 0, task=task)) for task in KERNEL_TASKS)
    anon_vmas = dict.fromkeys(vma.anon_vma for mm in kernel.mms for vma in mm.mmap if vma.anon_vma is not None)
    locks: list[tuple[Any, str]] = [(mm.mmap_sem, "writer") for mm in kernel.mms]
    locks += [(mm.ptl, "owner") for mm in kernel.mms] + [(anon.lock, "owner") for anon in anon_vmas]
    locks += [(page.lock, "owner") for page in kernel.frames if page.count] + [(kernel.tree_lock, "owner")]
    locks += [(one, "owner") for file in kernel.files for one in (file.i_mutex, file.i_mmap_lock, file.tree_lock)]
    keys: list[tuple[object, bytes]] = [(None, state_key(system))]
    for lock, field in locks:
        was = getattr(lock, field)
        for task in kernel.tasks[P1 : P3 + 1]:
            if task is not was:
                setattr(lock, field, task)
                keys.append(((lock, task), state_key(system)))
        setattr(lock, field, was)
    _differ(keys)
    kernel.own["list_of_kernel"] = kernel.free[:2]
    keys = []
    for kernel.free[:3] in permutations(kernel.own["list_of_kernel"] + kernel.free[2:3]):  # noqa: B020
        keys.append((kernel.free.copy(), state_key(system)))
    _differ(keys)
    for page in kernel.frames:
        page.mapping = None if type(page.mapping) is AnonVma else page.mapping
    vmas = [vma for mm in kernel.mms for vma in mm.mmap]
    for vma in vmas:
        vma.anon_vma = None
    one, other = vmas[0].anon_vma, vmas[1].anon_vma = AnonVma(), AnonVma()
    keys = []
    for n, order in product(range(4), permutations(vmas[:3])):
        one.head[:], other.head[:] = order[:n], order[n:]
        keys.append((order, state_key(system)))
    _differ(keys)
    page = next(page for page in kernel.frames if page.PG_anon)
    keys = []
    for page.mapping in (None, one, other):
        keys.append((page.mapping, state_key(system)))
    _differ(keys)


def key_has_the_names_of_processes_unless_they_do_not_count() -> None:
    """And tells the order in which all tasks were written; processes that look alike are told apart by the rest."""
    rules = {rule.name: rule for rule in table(Kernel)}
    system = System(Kernel, "s390", Scope(3, 1, 4, 1))
    for name, arguments in (("store", (P1, A)), ("fork", (P1, P2)), ("fork", (P1, P3)), ("store", (P3, A))):
        assert is_quiet(system)
        assert system.step(rules[name], arguments)
    for mm in system.kernel.mms:
        vma = mm.mmap[0]
        vma.anon_vma = anon = AnonVma()
        alone = state_key(system)  # in no list, as when it is being taken away
        anon.head.append(vma)
        assert state_key(system) != alone
    anon_vmas = [mm.mmap[0].anon_vma for mm in system.kernel.mms]
    for task in (P1, P2, P3):
        _differ((one, _key_with(system, one and one.lock, task=task)) for one in anon_vmas)
    mms = [Mm(P1, 1, system.kernel.mms[0].fields) for _ in range(2)]
    _differ((one, _key_with(system, one)) for one in ((mms[0], mms[0]), (mms[0], mms[1])))
    assert system.step(rules["store"], (P2, A))
    before, key = canonical(system, symmetric=False), state_key(system)
    assert sorted(before[1]) == [*range(len(system.kernel.tasks))]
    assert is_quiet(system)
    swap_names(system, P1, P2)
    assert canonical(system, symmetric=False)[0] != before[0]
    assert state_key(system) == key
    for task in (P1, P2):  # in the same function, one of them waits
        one = system.kernel.tasks[task]
        one.op, one.steps, one.point = "waits", ours(_holding)(0), "held"
        assert one.steps is not None
        next(one.steps)
    system.kernel.tasks[P2].point, system.kernel.tasks[P2].waits = None, SPIN
    assert not is_quiet(system)
    key = state_key(system)
    p1, p2 = system.kernel.tasks[P1], system.kernel.tasks[P2]
    p1.point, p2.point, p1.waits, p2.waits = p2.point, p1.point, p2.waits, p1.waits
    swap_names(system, P1, P2)
    assert state_key(system) == key


class _Endless:
    """An iterator of a patch's own class."""

    def __iter__(self) -> _Endless:
        return self

    def __next__(self) -> int:
        return 0


def what_has_no_key_is_said() -> None:
    """A patch holds something that could change unseen."""
    for thing in (
        *({1: _closure(1)}, {1: _default(1)}, {1: _generator(1)}, {(1, 2), (1, 3)}, {_generator(1)}),
        *(object(), _Endless(), {1: _Endless()}, _Cell(1)),
    ):
        system = _busy()
        system.kernel.own["count_of_kernel"] = thing
        try:
            state_key(system)
        except NoKey:
            system.kernel.own["count_of_kernel"] = 0
            continue
        raise AssertionError(thing)


class Change(NamedTuple):
    """A field of an object in a state, and another value of it."""

    system: System
    owner: Any
    field: str
    value: Any

    def notices(self, before: bytes) -> bool:
        """Whether the key is another one with it than `before`."""
        was = _get(self.owner, self.field)
        _set(self.owner, self.field, self.value)
        try:
            return state_key(self.system) != before
        except Exception:  # nothing that could be there
            return False
        finally:
            _set(self.owner, self.field, was)


def _get(owner: Any, field: str) -> Any:
    return owner.own[field[4:]] if field.startswith("own.") else getattr(owner, field)


def _set(owner: Any, field: str, value: Any) -> None:
    if field.startswith("own."):
        owner.own[field[4:]] = value
    else:
        setattr(owner, field, value)


def _other_values(system: System, value: Any) -> Iterator[Any]:
    """Values that could be there as well."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
        holders: list[Any] = [*system.ghost.spaces.values(), *system.ghost.files.values()]
        live = {one for holder in holders for one in holder.values if isinstance(one, int)}
        yield from sorted({*live, 0, GARBAGE} - {value})[:4]
    elif isinstance(value, list):
        yield value[:-1] if value else [0]
        yield value[:-1] if value else [[0] * system.scope.pages]
        if len(value) > 1 and value[0] != value[-1]:
            yield value[::-1]
        for at, one in enumerate(value):
            for other in _other_values(system, one):
                yield [*value[:at], other, *value[at + 1 :]]
    elif isinstance(value, (Page, SwapSlot, Mm, AnonVma, Vma)):
        yield None
        kernel = system.kernel
        for others in (kernel.frames, kernel.slots, kernel.mms):
            yield from [one for one in others if type(one) is type(value) and one is not value][:1]
    elif isinstance(value, Pte):
        yield from (
            None,
            value.page.ptes[value.bits ^ 1],
            value.page.ptes[value.bits ^ 2],
            value.page.ptes[value.bits ^ 4],
        )
    elif isinstance(value, str):
        yield f"not {value}"
    elif isinstance(value, dict) and value:
        yield {}
    elif isinstance(value, set):
        yield value ^ {0}
    elif isinstance(value, tuple):
        yield value[:-1]
        yield (*value[:-1], value[-1] + 1) if value and isinstance(value[-1], int) else (0,)
    elif value is None:
        yield from (0, *system.kernel.slots[:1], *system.kernel.frames[:1], *system.kernel.files[:1])
    elif isinstance(value, AddressSpace):
        yield from [file for file in system.kernel.files if file is not value]


def _owners_of_fields(system: System) -> Iterator[tuple[str, Any, list[str]]]:
    """The objects of a state, what they are, and their fields."""
    kernel, ghost = system.kernel, system.ghost
    things: list[tuple[str, Any]] = [("", kernel), ("", kernel.tree_lock)]
    things += [(type(page.mapping).__name__, page) for page in kernel.frames]
    things += [("", one) for some in (kernel.slots, kernel.swap_info, kernel.mms) for one in some]
    things += [(file.name.name, file) for file in kernel.files]
    things += [("process" if task.mm else "other", task) for task in kernel.tasks]
    things += [("", vma) for mm in kernel.mms for vma in mm.mmap]
    things += [("", vma.anon_vma) for mm in kernel.mms for vma in mm.mmap if vma.anon_vma is not None]
    things += [("", one) for some in (ghost.spaces, ghost.files) for one in some.values()]
    things += [("child", child) for space in ghost.spaces.values() for child in space.forks.values()]
    for where, one in things.copy():
        locks = [name for name in _slots(one) if isinstance(getattr(one, name), (Lock, RwSem))]
        things += [(f"{where} {type(one).__name__}.{name}", getattr(one, name)) for name in locks]
    for where, one in things:
        yield where, one, [name for name in _slots(one) if name not in _UNTRIED]
        if isinstance(getattr(one, "own", None), dict):
            yield where, one, [f"own.{name}" for name in one.own]


#: Made when first asked for, counted, for messages only, or what no other value can be given to.
_UNTRIED = ("ptes", "migration", "pfn", "steps", "marks", "arch")


def _slots(thing: Any) -> list[str]:
    return [name for cls in type(thing).__mro__ for name in vars(cls).get("__slots__", ()) if hasattr(thing, name)]


@cache
def states_of_walks() -> list[System]:
    """States with all that there is, many with operations under way."""
    found = []
    for case in large_machines():
        draw = random.Random(5)
        moves = instances(case.kernel, case.bounds.scope)
        points_of = {rule.name: stops(case.kernel, rule) or (None,) for rule, _ in moves}
        for _ in range(12):
            system = System(case.kernel, case.arch, case.bounds.scope)
            with suppress(Loss, KernelBug):
                for _ in range(draw.randrange(10, 120)):
                    rule, arguments = draw.choice(moves)
                    system.step(rule, arguments, draw.choice(points_of[rule.name]) if draw.random() < 0.5 else None)
                found.append(system)
    return found


@cache
def changes() -> list[Change]:
    """Of each field of each class some changes that the key is to notice, in different states."""
    found: dict[tuple[str, str, str, int], list[Change]] = defaultdict(list)
    tried: Counter[tuple[str, str, str, int]] = Counter()
    for system in reversed(states_of_walks()):  # those with threads first
        before = state_key(system)
        for where, owner, fields in _owners_of_fields(system):
            for field in fields:
                was = _get(owner, field)
                others = [*_other_values(system, was)]
                if field in ("owner", "writer"):
                    others = [one for one in (None, *system.kernel.tasks[:5]) if one is not was]
                for n, value in enumerate(others):
                    kind = where, type(owner).__name__, field, min(n, 9)
                    of = found[kind]
                    change = Change(system, owner, field, value)
                    if len(of) < 2 and tried[kind] < 40 and (not of or of[-1].system is not system):
                        tried[kind] += 1
                        if change.notices(before):
                            of.append(change)
    return [change for some in found.values() for change in some]


def fields_of_states() -> set[tuple[str, str]]:
    """Class and field of everything that a change was tried of."""
    return {
        (type(owner).__name__, field)
        for system in states_of_walks()
        for _, owner, fields in _owners_of_fields(system)
        for field in fields
    }


#: What the key need not have: it never changes, is an object of its own whose fields count, or follows from the rest.
DERIVED: dict[tuple[str, str], str] = {
    **dict.fromkeys(
        (("AddressSpace", name) for name in ("accounts_dirty", "name", "page_mkwrite", "shmem")), "fixed"
    ),
    **dict.fromkeys((("AddressSpace", name) for name in ("i_mmap_lock", "i_mutex", "tree_lock")), "an object"),
    **dict.fromkeys((("AnonVma", "lock"), ("Mm", "mmap_sem"), ("Mm", "ptl"), ("Page", "lock")), "an object"),
    ("Fields", "tree_lock"): "an object",
    **dict.fromkeys((("Fields", "pages"), ("Lock", "unit"), ("Mm", "fields"), ("SwapSlot", "number")), "fixed"),
    ("SwapInfo", "slots"): "fixed",
    ("Mm", "name"): "fixed: it names who brought it to life, for messages",
    ("Fields", "current"): "set where each step begins",
    ("Task", "op"): "the name of the rule whose function the outermost frame is",
    ("Task", "held"): "the sum of the locks that have it as their owner",
}


def key_has_every_field() -> None:
    for change in changes():
        assert change.notices(state_key(change.system)), (type(change.owner).__name__, change.field)


def key_has_no_names_and_no_values() -> None:
    """It stays the same when processes, frames and values are renamed, where nothing is under way."""
    for name in ("threads", "file", "anon"):
        for system in naive(name).systems[::7]:
            if is_quiet(system):
                before = state_key(system)
                renumber(system)
                assert state_key(system) == before
                kernel = system.kernel
                if len(kernel.tasks) > P2 and "threads" not in system.scope.also:
                    swap_names(system, P1, P2)
                    kernel.frames.reverse()
                    assert state_key(system) == before
                    kernel.frames.reverse()
                    swap_names(system, P1, P2)


# going back


@cache
def large_machines() -> list[Case]:
    """Machines that have all there is, with fields of all kinds."""
    scopes = [Scope(3, 2, 6, 3), Scope(3, 2, 6, 3, (EXT2, TMPFS), ("threads", "pins", "migration"))]
    return [Case(Fields, arch, Bounds(scope)) for arch in ARCHES for scope in scopes]


class Fields(Kernel):
    """Has fields of all kinds of object."""

    __slots__ = ()

    fields = {
        kind: {f"count_of_{kind}": 0, f"list_of_{kind}": []}
        for kind in ("kernel", "page", "vma", "mm", "file", "task")
    }

    def mark(self, situation: str) -> None:
        """Called often: changes a field of each kind of object."""
        super().mark(situation)
        holders: list[Any] = [self, self.frames[0], self.current, *self.files[:1], *self.mms[:1]]
        holders += [vma for mm in self.mms[:1] for vma in mm.mmap[:1]]
        for kind, one in zip(("kernel", "page", "task", "file", "mm", "vma"), holders, strict=False):
            if f"count_of_{kind}" in one.own:
                setattr(one, f"count_of_{kind}", getattr(one, f"count_of_{kind}") + 1)
                getattr(one, f"list_of_{kind}").append(1)


def what_is_saved_is_brought_back() -> None:
    """All of it, by a description of everything that can be reached: also when other operations begin meanwhile."""
    for case in large_machines():
        draw = random.Random(3)
        moves = instances(case.kernel, case.bounds.scope)
        points = {rule.name: stops(case.kernel, rule) or (None,) for rule, _ in moves}
        for _ in range(3):
            system = System(case.kernel, case.arch, case.bounds.scope)
            try:
                for _ in range(60):
                    rule, arguments = draw.choice(moves)
                    system.step(rule, arguments, draw.choice(points[rule.name]) if draw.random() < 0.3 else None)
                    if draw.random() < 0.3:
                        _comes_back(system, moves, points, draw)
            except (Loss, KernelBug):
                continue


def _comes_back(system: System, moves: Any, points: Any, draw: random.Random) -> None:
    going = {task.name for task in system.kernel.tasks if task.steps is not None}
    before, kept = plain(system), save(system)
    for _ in range(12):
        rule, arguments = draw.choice(moves)
        if rule.name != "resume" and (rule.action is not None or arguments[0] not in going):
            try:
                system.step(rule, arguments, draw.choice(points[rule.name]) if draw.random() < 0.3 else None)
            except (Loss, KernelBug):
                break
    restore(system, kept)
    assert plain(system) == before


def every_field_comes_back() -> None:
    """Whatever is changed after a state was saved."""
    for system, owner, field, value in changes():
        if field in ("frames", "slots", "swap_info", "files", "tasks", "name", "vm_mm"):  # stay the same
            continue
        was = _get(owner, field)
        before = was.copy() if isinstance(was, (list, dict, set)) else was
        kept = save(system)
        _set(owner, field, value)
        restore(system, kept)
        now = _get(owner, field)
        _set(owner, field, was)
        assert now == before, (type(owner).__name__, field)


def what_is_changed_in_place_comes_back() -> None:
    """Lists of calls under way, a cached translation, a file in place of another, a vma that no mm has."""
    system = _busy()
    kernel, ghost = system.kernel, system.ghost
    ghost.files[kernel.files[1]].reads = [[1, 2]]
    kernel.tasks[P1].tlb = tlb = {0: kernel.frames[0].ptes[0]}
    mapped = [vma for mm in kernel.mms for vma in mm.mmap]
    alone = [vma for vma in mapped if vma.vm_file is None][:1] + [vma for vma in mapped if vma.vm_file][:1]
    for vma in alone:
        vma.vm_mm.mmap.remove(vma)
    page = next(page for page in kernel.frames if page.PG_anon)
    page.mapping = of_page = AnonVma()  # that no vma has
    of_page.head.append(vma := Vma(kernel.mms[0], 0, 1, 0, 0))
    before, kept = plain(system), save(system)
    tlb.clear()
    for promises in _promises(ghost):
        promises[:] = [7, 7]
    for one in (*alone, vma):
        one.vm_end = 9
    of_page.head.clear()
    of_page.lock.owner = kernel.tasks[P1]
    for file in kernel.files:
        ghost.files[file] = File(2, 2)
    restore(system, kept)
    assert plain(system) == before


# the search


class Seeing(Search):
    """Notes each failure with its length, and never begins anew for one."""

    def look_at_failures(self) -> None:
        self.failures: dict[tuple[str, str, str | None], int] = getattr(self, "failures", {})
        for steps in self.found:
            error = failure(self.kernel, self.arch, self.bounds.scope, list(steps))
            assert error is not None
            self.failures.setdefault(_kind(Failed(tuple(steps), error)), len(steps))
        self.found = []


def search_meets_the_failures_of_a_naive_one(name: str) -> None:
    """Each kind of failure, in as few steps."""
    case = (CASES | MORE)[name]
    search = Seeing(*case, reduce=False)
    assert search.run().ended == "complete"
    assert search.failures == shortest_failures(name)


def search_visits_the_states_of_a_naive_one(name: str) -> None:
    """As many states, by their keys, each with the fewest preemptions; those that are one step before the end."""
    graph, case = naive(name), (CASES | MORE)[name]
    search = Search(*case, wanted=lambda steps, failed: False, reduce=False)
    result = search.run()
    assert result.ended == "complete"
    fewest: dict[bytes, int] = {}
    for state, system in enumerate(graph.systems):
        if len(graph.runs[state]) < (case.bounds.steps or 0):
            key, _ = canonical(system, mmlist=search.mmlist)
            preempted = graph.preempted[state] if case.bounds.stops is not None else 0
            fewest[key] = min(fewest.get(key, 99), preempted)
    assert {key: known >> 32 for key, known in search.seen.items()} == fewest
    assert result.states == len(fewest)


def search_finds_the_shortest() -> None:
    """Of each bound of steps: nothing before, and then a run that has as many."""
    case = CASES["forgets"]
    length = min(len(run.steps) for run in naive("forgets").failed if isinstance(run.error, Loss))
    for steps, ended in ((length - 1, "complete"), (length, "loss"), (length + 1, "loss")):
        result = Search(case.kernel, case.arch, replace(case.bounds, steps=steps), reduce=False).run()
        assert result.ended == ended
        assert result.loss is None or len(result.loss) == length
        assert result.depth == min(steps, length)


def search_goes_on_past_what_is_not_wanted() -> None:
    """`bug` has the first failure that is no loss; a loss that is not wanted ends nothing."""
    case = CASES["two preemptions"]
    result = Search(*case, reduce=False).run()
    assert result.ended == "complete"
    assert result.bug is not None
    assert len(result.bug) == min(len(run.steps) for run in naive("two preemptions").failed)
    assert result.loss is None
    unwanted = Search(*CASES["forgets"], wanted=lambda steps, failed: False, reduce=False).run()
    assert (unwanted.ended, unwanted.loss) == ("complete", None)


def search_stops_where_it_is_told() -> None:
    case = CASES["anon"]
    assert Search(*case, reduce=False).run(states=5).ended == "out of memory"
    assert Search(*case, reduce=False).run(deadline=0.0).ended == "out of time"


def certificate_is_the_shortest() -> None:
    """From a long run, and by its preemptions and rules."""
    case = CASES["forgets"]
    lost = [run for run in naive("forgets").failed if isinstance(run.error, Loss)]
    length = min(len(run.steps) for run in lost)
    for run in (lost[0], max(lost, key=lambda one: len(one.steps))):
        found = certify(case.kernel, case.arch, case.bounds, list(run.steps))
        assert found.proven
        assert len(found.steps) == length
        assert found.bounds.steps == length - 1
        assert isinstance(failure(case.kernel, case.arch, case.bounds.scope, list(found.steps)), Loss)
    cut = certify(case.kernel, case.arch, case.bounds, list(lost[-1].steps), states=1)
    assert not cut.proven
    assert not certify(case.kernel, case.arch, case.bounds, list(lost[-1].steps), deadline=0.0).proven
    only = [run for run in lost if run.steps[-1].rule.name == "pageout_done"]
    if only:
        counted = certify(
            case.kernel,
            case.arch,
            case.bounds,
            list(only[-1].steps),
            counts=lambda steps, error: steps[-1].rule.name == "pageout_done",
        )
        assert len(counted.steps) == min(len(run.steps) for run in only)


def certificate_is_of_what_counts() -> None:
    """A failure of the kind that is asked for, and that counts; within the rules that are allowed, by default all."""
    kernel = _flickers(1, also=(1,))
    rules = ("flicker", "glitter", "resume", "store")
    bounds = Bounds(_ONE, rules, (), 3, 1)
    run = _steps(kernel, ("store", None), ("store", None), ("glitter", "flicker: 1"))
    found = certify(
        kernel, "s390", bounds, run, counts=lambda steps, error: steps[-1].rule.name == "glitter", states=5_000
    )
    assert (found.proven, len(found.steps), found.steps[-1].rule.name) == (True, 2, "glitter")
    assert found.bounds.rules == rules
    assert certify(kernel, "s390", replace(bounds, rules=None), run).proven
    both = type("Both", (Breaks, kernel), {"__slots__": ()})
    run = _steps(both, ("store", None))
    assert certify(both, "s390", bounds, run, kind=KernelBug).steps == run


class TwoWays(Kernel):
    """Loses by the fourth call of one kind, and by one of another kind after one of a third."""

    __slots__ = ()

    fields = {"kernel": {"calls": 0, "ready": False}}

    @staticmethod
    def _again(s: System, process: int) -> None:
        s.kernel.own["calls"] += 1
        if s.kernel.own["calls"] == 4:
            _spoil(s)

    @staticmethod
    def _prepare(s: System, process: int) -> None:
        s.kernel.own["ready"] = True

    @staticmethod
    def _go(s: System, process: int) -> None:
        if s.kernel.own["ready"]:
            _spoil(s)

    rules = tuple(
        Rule(name, {"process": "process"}, lambda s, _: type(s.kernel.mms[0].pte[0]) is Pte, action=action)
        for name, action in (("again", _again), ("prepare", _prepare), ("go", _go))
    )


def _spoil(s: System) -> None:
    pte = s.kernel.mms[0].pte[0]
    assert type(pte) is Pte
    pte.page.content = GARBAGE


def certificate_is_shorter_than_what_one_change_finds() -> None:
    """By a search of all rules; where that is cut off first, after one of fewer rules, however much time there is."""
    bounds = Bounds(_ONE, ("again", "go", "prepare", "resume", "store"), (), 5, 0)
    run = _steps(TwoWays, ("store", None), *[("again", None)] * 4)
    kept = minimise._FIRST
    try:
        for minimise._FIRST in (kept, 3):
            for deadline in (None, time.monotonic() + 1_000):
                found = certify(TwoWays, "s390", bounds, run, deadline=deadline)
                assert (found.proven, len(found.steps)) == (True, 3)
    finally:
        minimise._FIRST = kept


def certificate_is_by_a_failure_of_its_kind() -> None:
    """Not by a loss, nor by a bug, that comes as soon."""

    def spoils(s: System, process: int) -> None:
        _spoil(s)

    def breaks(s: System, process: int) -> None:
        raise KernelBug("breaks")

    def may(s: System, process: int) -> bool:
        return type(s.kernel.mms[0].pte[0]) is Pte

    actions = {"spoil": spoils, "break_it": breaks}
    for names, kind in product((("spoil", "break_it"), ("break_it", "spoil")), (Loss, KernelBug)):
        rules = tuple(Rule(name, {"process": "process"}, may, action=actions[name]) for name in names)
        kernel = type("Fails", (Kernel,), {"__slots__": (), "rules": rules})
        last = "spoil" if kind is Loss else "break_it"
        run = _steps(kernel, ("store", None), (last, None))
        found = certify(kernel, "s390", Bounds(_ONE, (*names, "resume", "store"), (), 2, 0), run, kind=kind)
        assert (found.proven, found.steps[-1].rule.name) == (True, last)


def bounds_of_a_run_have_its_length_rules_and_preemptions() -> None:
    rules = {rule.name: rule for rule in table(Kernel)}
    steps = [
        Step(rules["store"], (P1, A), None),
        Step(rules["reclaim"], (KSWAPD, P1, A, 4), "try_to_unmap: next vma"),
        Step(rules["resume"], (P1,), None),
    ]
    bounds = within(Scope(2, 1, 3, 1), steps, ("fork",))
    assert (bounds.steps, bounds.stops) == (3, 1)
    assert bounds.rules == ("fork", "reclaim", "resume", "store")
    assert dict(bounds.only) == {"reclaimer": (KSWAPD,), "order": (4,)}
    more = within(Scope(2, 1, 3, 1), steps, (), {"order": (0,), "kind": (SHARED, PRIVATE)})
    assert dict(more.only) == {"order": (0, 4), "kind": tuple(sorted((SHARED, PRIVATE)))}


_ONE = Scope(1, 1, 2, 0)


def _flicker_search(kernel: type[Kernel], steps: int | None, **more: Any) -> Search:
    rules = ("flicker", "glitter", "resume", "store")
    return Search(kernel, "s390", Bounds(_ONE, rules, (), steps, 1), reduce=False, **more)


def _steps(kernel: type[Kernel], *steps: tuple[str, str | None]) -> list[Step]:
    """Steps of one process."""
    rules = {rule.name: rule for rule in table(kernel)}
    return [Step(rules[name], (P1, A) if name in ("store", "munmap") else (P1,), stop) for name, stop in steps]


def search_sees_what_is_wrong_at_a_point_only() -> None:
    """At any point of the last step that the bounds allow."""
    for point in (1, 2, 3):
        result = _flicker_search(_flickers(point), 2).run()
        assert result.loss is not None
        assert (len(result.loss), result.loss[-1].stop) == (2, f"flicker: {point}")


def search_beside_a_base_goes_on_where_only_the_base_fails() -> None:
    """A run that does not stop there does not fail on the base."""
    kernel, base = _flickers(3, also=(1,)), _flickers(2, also=(1,))
    search = _flicker_search(kernel, 3, base=Base(base, "s390", _ONE))
    search.compare()
    result = search.run()
    assert result.loss is not None
    assert (len(result.loss), result.loss[-1].stop) == (2, "flicker: 3")
    assert result.base_fails is not None
    assert len(result.base_fails) == 2


def search_compares_once_the_base_fails() -> None:
    """Not before; `base_fails` is the first run in which it does, and processes keep their names from then on."""
    kernel = _flickers(1)
    alone = _flicker_search(kernel, 3, base=Base(_flickers(), "s390", _ONE))
    result = alone.run()
    assert (result.ended, result.base_fails, alone.beside) == ("loss", None, None)
    search = _flicker_search(kernel, 3, base=Base(kernel, "s390", _ONE))
    both = _steps(kernel, ("store", None), ("flicker", "flicker: 1"))
    search.found = [both]
    search.look_at_failures()
    assert search.beside is search.base
    assert not search.symmetric
    assert search.result.base_fails == both
    result = search.run()
    assert (result.ended, result.loss) == ("complete", None)
    assert result.base_fails is both


def search_keeps_the_first_of_its_failures() -> None:
    kernel = type("Both", (Breaks, _flickers(1)), {"__slots__": ()})
    bugs = [_steps(kernel, ("store", None)), _steps(kernel, ("store", "do_anonymous_page: breaks"), ("resume", None))]
    bugs[1][1] = bugs[1][1]._replace(arguments=(TASKS[P1],))
    search = _flicker_search(kernel, 3)
    search.found = bugs.copy()
    search.look_at_failures()
    assert search.result.bug is bugs[0]
    assert not search.result.ended
    assert not search.found
    seen: list[list[Step]] = []

    def wanted(steps: list[Step], failed: Loss | KernelBug) -> bool:
        seen.append(steps)
        return True

    search = _flicker_search(kernel, 3, wanted=wanted)
    search.found = bugs.copy()
    search.look_at_failures()
    assert (search.result.ended, search.result.bug, len(seen)) == ("bug", bugs[0], 1)
    kernel = _flickers(1, 2)
    losses = [_steps(kernel, ("store", None), ("flicker", f"flicker: {point}")) for point in (1, 2)]
    search = _flicker_search(kernel, 3)
    search.found = losses.copy()
    search.look_at_failures()
    assert (search.result.ended, search.result.loss) == ("loss", losses[0])


def search_says_that_a_failure_does_not_come_again() -> None:
    search = _flicker_search(_flickers(1), 3)
    search.found = [_steps(_flickers(1), ("store", None))]
    try:
        search.look_at_failures()
    except NotDeterministic:
        return
    raise AssertionError("a run that does not fail was taken for one that does")


def search_keeps_losses_after_a_bug() -> None:
    search = _flicker_search(_flickers(1), 3)
    step = _steps(_flickers(1), ("store", None))[0]
    search.result.bug = [step]
    search.failed(search.layer[0], step, KernelBug("again"))
    assert not search.found
    search.failed(search.layer[0], step, Loss(P1, A, 1, 0))
    assert search.found == [[step]]


def search_notes_the_first_run_in_which_the_base_fails() -> None:
    """In the midst of a step, and at its end."""
    kernel = _flickers(1, 2)
    search = _flicker_search(kernel, 3, base=Base(kernel, "s390", _ONE))
    search.compare()
    steps = _steps(kernel, ("store", None), ("flicker", "flicker: 1"), ("flicker", "flicker: 2"))
    assert search.beside is not None
    after = search.beside.after(search.layer[0].beside, steps[0])
    assert after is not None
    node = search.layer[0]._replace(beside=after)
    for step in steps[1:]:
        search.failed(node, step, Loss(P1, A, 1, 0))
    assert not search.found
    assert search.result.base_fails == [steps[1]]
    for first in (None, steps[1:]):
        search, node, step = _at_a_point(1, Base(_flickers(), "s390", _ONE))
        step = step._replace(stop=None)
        search.beside = Base(Breaks, "s390", _ONE)
        search.result.base_fails = first
        beside = search.beside.first
        assert not search.visit(node._replace(beside=beside), step, search.system.kernel.current, 1, [])
        assert search.result.base_fails == (first or [step])
        assert not search.next


def search_begins_anew_for_what_fails_in_a_normal_form_only() -> None:
    search = Search(Kernel, "s390", CASES["anon"].bounds)
    assert search.forms
    search.result.transitions = 5
    search.found = [_steps(Kernel, ("store", None))]
    search.look_at_failures()
    assert not search.forms
    assert (search.result.transitions, search.found) == (0, [])


class _Building(Search):
    """Builds each state that it comes to from the start."""

    def expand(self, node: Node) -> None:
        known = len(self.next)
        super().expand(node)
        for one in self.next[known:]:
            one.origin.saved = None
            self.build(one.origin, one.steps)
            key, _ = canonical(self.system, self.symmetric, slots=not self.commutes, mmlist=self.mmlist)
            assert key == one.key, one


def search_without_bounds_comes_where_its_steps_lead() -> None:
    """Whatever it puts into a normal form, gives up or passes over; and to all normal forms of another search."""
    locks = ("store", "load", "mlock", "munlock", "mprotect", "reclaim", "pageout_done")
    bounds = Bounds(Scope(1, 1, 2, 1), locks, _LUMPY)
    free = Settled(Kernel, "x86", bounds, free=True)
    whole = Settled(Kernel, "x86", replace(bounds, steps=4), reduce=False, free=True)
    for search in (free, whole):
        assert search.run().ended == "complete"
    assert free.free
    assert whole.quiet <= free.quiet
    for kernel, arch, processes, rules in (
        (Kernel, "x86", 1, locks),
        (Kernel, "s390", 2, ("store", "fork", "reclaim")),
        (Twice, "s390", 1, ("store", "reclaim")),
    ):
        building = _Building(kernel, arch, Bounds(Scope(processes, 1, 2, 1), rules, _LUMPY))
        assert building.free
        assert building.run().ended == "complete"


def search_builds_states_that_are_no_longer_at_hand() -> None:
    """By their path from the start."""
    kept, explore._AT_HAND = explore._AT_HAND, 1
    try:
        search_visits_the_states_of_a_naive_one("file")
    finally:
        explore._AT_HAND = kept


def visit_prunes_only_what_is_known() -> None:
    """By what is known of a state: True if what the task does from there on is, too."""
    for bounded in (None, 3):
        search, node, step = _at_a_point(bounded)
        for known in (None, *product((0, 1, 2), (1, 2), (0, 1))):
            search.seen, search.next = {}, []
            key, order = canonical(search.system, True, slots=True, mmlist=search.mmlist)
            task = search.system.kernel.current
            mask = 1 << order.index(task.name)
            if known is not None:
                search.seen[key] = known[0] << 32 | known[1] << 16 | mask * known[2]
            before = dict(search.seen)
            marked: list[tuple[bytes, int]] = []
            answer = search.visit(node, step, task, 1, marked)
            if known is None or known[0] > 1:
                assert len(search.next) == 1
                assert search.seen[key] == 1 << 32 | 2 << 16 | mask
                assert (answer, marked) == (False, [(key, mask)])
                continue
            fewer, earlier, done = known[0] < 1, known[1] < 2, known[2] == 1
            assert not search.next
            assert answer == (done or (earlier and (fewer or bounded is None)))
            if not (done or fewer or earlier):
                assert search.seen[key] == before[key] | mask
                assert marked == [(key, mask)]
            else:
                assert search.seen == before
                assert not marked


def _at_a_point(stops: int | None, base: Base | None = None) -> tuple[Search, Any, Step]:
    """A search at depth 2, whose system stands at a point."""
    kernel = _flickers()
    search = _flicker_search(kernel, 9, base=base)
    search.bounds = replace(search.bounds, stops=stops)
    if base is not None:
        search.compare()
    search.result.depth = 2
    node = search.layer[0]
    search.build(node.origin, ())
    step = _steps(kernel, ("store", None))[0]
    step = step._replace(stop=_labels(kernel, "s390", _ONE, (), step.rule, step)[0])
    task = search.system.start(step.rule, step.arguments)
    assert task is not None
    run_task(task, step.stop)
    search.running, search.stacks = task.name, search.standing.copy()
    return search, node, step


def visit_beside_a_base_tells_states_of_the_base_apart() -> None:
    base = Base(_flickers(), "s390", _ONE)
    search, node, step = _at_a_point(1, base)
    task = search.system.kernel.current
    for _ in range(2):
        assert not search.visit(node, step, task, 1, [])
        assert len(search.next) == 1
    other = base.after(base.first, step._replace(stop=None))
    assert other is not None
    assert not search.visit(node._replace(beside=other), step, task, 1, [])
    assert len(search.next) == 2


def search_ends_when_it_is_to() -> None:
    result = _flicker_search(_flickers(), None).run()
    assert result.ended == "complete"
    bounded = _flicker_search(_flickers(), 90).run()
    assert (bounded.ended, bounded.depth) == ("complete", result.depth)
    assert _flicker_search(_flickers(), 4).run(deadline=time.monotonic() + 1_000).ended == "complete"
    case = CASES["anon"]
    search = Search(*case, reduce=False)
    some = search.run(states=1)
    assert some.ended == "out of memory"
    assert Search(*case, reduce=False).run(states=some.states).states == some.states
    assert search.run().ended == "complete"
    whole = Search(*CASES["forgets"], reduce=False).run()
    assert Search(*CASES["forgets"], reduce=False).run(states=whole.states).ended == "loss"
    broken = Search(*case, reduce=False).run(progress=lambda result: os.kill(os.getpid(), signal.SIGINT))
    assert broken.ended == "interrupted"


# the base


def base_ends_what_the_patch_has_ended() -> None:
    """Before the next operation of the same process."""
    kernel = _flickers()
    base = Base(kernel, "s390", _ONE)
    store, flicker, again = _steps(kernel, ("store", None), ("flicker", "flicker: 2"), ("glitter", "flicker: 1"))
    states: Any = base.first
    for step in (store, flicker, again):
        states = base.after(states, step)
    going = Step(base.rules["resume"], (TASKS[P1],), None)
    expected = build(kernel, "s390", _ONE, (store, flicker, going, again))
    assert states == {canonical(expected, symmetric=False)[0]}


def base_knows_the_ways_to_its_states() -> None:
    """From the start, and from a quiet state."""
    kernel = _flickers()
    base = Base(kernel, "s390", _ONE)
    store, *more = _steps(
        kernel, ("store", None), ("flicker", "flicker: 2"), ("glitter", "flicker: 1"), ("munmap", None)
    )
    states: Any = base.first
    for step in (store, *more):
        states = base.after(states, step)
    for key, way in base.ways.items():
        assert canonical(build(kernel, "s390", _ONE, way.path), symmetric=False)[0] == key
        restore(base.system, way.origin)
        for step in way.steps:
            assert base.system.step(*step)
        assert canonical(base.system, symmetric=False)[0] == key


def base_knows_the_whole_way_to_the_end_of_an_operation() -> None:
    """And to a label that comes twice: to where it comes first."""
    for kernel, *operations in (
        (Kernel, ("fork", (P1, P2), None)),
        (Twice, ("reclaim", (KSWAPD, P1, A, 4), "page_remove_rmap: again")),
    ):
        base = Base(kernel, "s390", Scope(2, 1, 3, 1))
        states: Any = base.first
        for name, arguments, stop in (("store", (P1, A), None), *operations):
            states = base.after(states, Step(base.rules[name], arguments, stop))
        for key in states:
            system = build(kernel, "s390", base.system.scope, base.ways[key].path)
            assert canonical(system, symmetric=False)[0] == key


def base_fails_where_an_operation_breaks() -> None:
    """In the midst of it, also after points that it has passed."""
    assert Base(Breaks, "s390", _ONE).fails(_steps(Breaks, ("store", None)))


def failure_cuts_a_run_where_it_fails() -> None:
    kernel = _flickers(1)
    run = _steps(kernel, ("flicker", None), ("store", None), ("flicker", "flicker: 1"), ("store", None))
    steps = run.copy()
    assert isinstance(failure(kernel, "s390", _ONE, steps), Loss)
    assert steps == run[1:3]


def _fails_naively(base: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> bool:
    """Whether the base fails in a run of these operations: all runs of it that fit are tried, each from the start."""
    rules = {rule.name: rule for rule in table(base)}
    runs: list[tuple[Step, ...]] = [()]
    for step in steps:
        following: list[tuple[Step, ...]] = []
        for before in runs:
            rule = rules.get(step.rule.name)
            system = build(base, arch, scope, before)
            if rule is not None and rule.steps is not None and system.kernel.tasks[step.arguments[0]].steps:
                going = Step(rules["resume"], (TASKS[step.arguments[0]],), None)
                ends = _how(base, arch, scope, before, going)
                if ends == "fails":
                    return True
                if ends == "not":
                    following.append(before)
                    continue
                before = (*before, going)
            if rule is None or _how(base, arch, scope, before, Step(rule, step.arguments, None)) == "not":
                following.append(before)
                continue
            labels = _labels(base, arch, scope, before, rule, step)
            for stop in (step.stop,) if step.stop in (*labels, None) else (*labels, None):
                one = Step(rule, step.arguments, stop)
                if _how(base, arch, scope, before, one) == "fails":
                    return True
                following.append((*before, one))
        runs = list(dict.fromkeys(following))
    return False


def _how(base: type[Kernel], arch: str, scope: Scope, before: tuple[Step, ...], step: Step) -> str:
    system = build(base, arch, scope, before)
    try:
        return "goes" if system.step(*step) else "not"
    except (Loss, KernelBug):
        return "fails"


def _labels(
    base: type[Kernel], arch: str, scope: Scope, before: tuple[Step, ...], rule: Rule, step: Step
) -> list[str]:
    """The points that an operation passes, if nobody else runs."""
    system = build(base, arch, scope, before)
    found: list[str] = []
    with suppress(Loss, KernelBug):
        task = system.start(rule, step.arguments)
        if task is not None and task.steps is not None:
            for point in points(task):
                found.append(point)
    return found


@cache
def losses_of_forgets() -> dict[str, list[tuple[tuple[Step, ...], bool]]]:
    """Of two patches of a base that loses: runs that fail, and whether the base fails in them, too."""
    found = {}
    for kernel in (ForgetsElsewhere, ForgetsAtFork):
        _, arch, bounds = CASES["forgets"]
        graph = Naive(kernel, arch, bounds)
        found[kernel.__name__] = [
            (run.steps, _fails_naively(Forgets, arch, bounds.scope, list(run.steps))) for run in graph.failed
        ]
    assert any(fails for runs in found.values() for _, fails in runs)
    assert any(not fails for runs in found.values() for _, fails in runs)
    return found


def base_fails_where_a_naive_one_does() -> None:
    _, arch, bounds = CASES["forgets"]
    for name, runs in losses_of_forgets().items():
        base = Base(Forgets, arch, bounds.scope)
        for steps, fails in runs:
            assert base.fails(steps) == fails, (name, steps)


def compared_search_finds_the_shortest_that_the_base_does_not_have() -> None:
    _, arch, bounds = CASES["forgets"]
    for kernel in (ForgetsElsewhere, ForgetsAtFork):
        runs = losses_of_forgets()[kernel.__name__]
        result = _compared(kernel, arch, bounds)
        own = [len(steps) for steps, fails in runs if not fails]
        assert (result.loss is None) == (not own), kernel
        assert result.loss is None or len(result.loss) == min(own), kernel
        assert result.ended == ("loss" if own else "complete"), kernel
        assert (result.base_fails is not None) == any(fails for _, fails in runs), kernel


def _compared(kernel: type[Kernel], arch: str, bounds: Bounds) -> Result:
    return Search(kernel, arch, bounds, reduce=False, base=Base(Forgets, arch, bounds.scope)).run()


def key_has_who_traces() -> None:
    """A task that is traced by one or by another."""
    system = System(Kernel, "s390", Scope(3, 1, 3, 1))
    tasks = [system.kernel.tasks[name] for name in (P1, P2, P3)]
    tasks[0].steps = no_steps()
    keys = []
    for waits in (Tracing(tasks[1]), Tracing(tasks[2]), SPIN):
        tasks[0].waits = waits
        keys.append(canonical(system, symmetric=False)[0])
    assert len({*keys}) == 3


# the check


def check_sees_what_is_wrong() -> None:
    """Each thing that is to be read, changed to something else."""
    for arch in ARCHES:
        for files in ((), (EXT2,), (TMPFS,)):
            rules = {rule.name: rule for rule in table(Kernel)}
            system = System(Kernel, arch, Scope(2, 1, 3, 1, files))
            system.step(rules["store"], (P1, A))
            system.check()
            space = next(iter(system.ghost.spaces.values()))
            right = space.values[0]
            for wrong, lost in ((99, True), ((98, 99), True), ((99, right), False), (None, False)):
                space.values[0] = wrong  # type: ignore[assignment]
                assert _loses(system) == lost, (arch, files, wrong)
            space.values[0] = 99
            space.busy[0] = 1
            assert not _loses(system)
            space.busy[0] = 0
            space.values[0] = right
            for file, ghost in system.ghost.files.items():
                ghost.promised[0] = 99
                assert _loses(system)
                ghost.promised[0] = 0
                values = ghost.values[0]
                for wrong, lost in ((99, True), ((98, 99), True), ((99, values), False), (None, False)):
                    ghost.values[0] = wrong  # type: ignore[assignment]
                    assert _loses(system) == lost, (arch, files, wrong)
                ghost.values[0] = values
                page = file.pages[0]  # type: ignore[attr-defined]
                page.content, was = 99, page.content
                assert _loses(system)
                page.content = was
            assert not _loses(system)


def _loses(system: System) -> bool:
    try:
        system.check()
    except Loss:
        return True
    return False


def check_passes_over_a_pte_that_somebody_changes() -> None:
    rules = {rule.name: rule for rule in table(Kernel)}
    system = System(Kernel, "s390", Scope(2, 1, 3, 1))
    system.step(rules["store"], (P1, A))
    mm = system.kernel.mms[0]
    pte, mm.pte[0] = mm.pte[0], None
    assert _loses(system)
    mm.ptl.owner = system.kernel.tasks[0]
    assert not _loses(system)
    mm.ptl.owner = None
    mm.pte[0] = pte
    assert not _loses(system)


def peek_finds_what_a_load_would() -> None:
    """Behind each kind of pte, through pages that take the place of others."""
    rules = {rule.name: rule for rule in table(Kernel)}
    system = System(Kernel, "s390", Scope(1, 2, 6, 1, (EXT2, TMPFS)))
    kernel, (file, other) = system.kernel, system.kernel.files
    mm = kernel.mms[0]
    assert system.step(rules["read"], (P1, EXT2, A))
    page = file.pages[0]
    assert page is not None
    file.blocks[:], page.content = [3, 4], 5
    vma = mm.mmap[0]
    vma.vm_file, vma.vm_pgoff = file, 0
    assert system.peek(None, mm, vma.vm_start) == 5
    moved = next(one for one in kernel.frames if one is not page)
    moved.content, moved.PG_anon = 6, False
    assert system.peek(moved.make_migration_entry(False), mm, vma.vm_start) == 5
    moved.PG_anon = True
    assert system.peek(moved.make_migration_entry(False), mm, vma.vm_start) == 6
    vma.vm_pgoff = 1
    assert system.peek(None, mm, vma.vm_start) == 4
    vma.vm_file = None
    assert system.peek(None, mm, vma.vm_start) == ZERO
    kernel.frames.reverse()  # the page comes last
    frames = [one for one in kernel.frames if one is not page]
    for n, (one, of, index, uptodate) in enumerate(
        zip(frames, (other, file, file, file), (0, 1, 0, 0), (True, True, False, True), strict=False)
    ):
        one.mapping, one.index, one.PG_uptodate, one.content = of, index, uptodate, 10 + n
    for uptodate, dirty, content in ((True, False, 5), (True, True, 5), (False, True, 5), (False, False, 13)):
        page.PG_uptodate, page.PG_dirty = uptodate, dirty
        assert system.peek_file(file, 0) == content
    file.i_size = 1
    assert system.peek_file(file, 1) == PAST_END
    slot = kernel.slots[0]
    slot.page, slot.content = page, 7
    for n, (one, of_slot, uptodate) in enumerate(zip(frames, (None, slot, slot), (True, False, True), strict=False)):
        one.private, one.PG_uptodate, one.content = of_slot, uptodate, 20 + n
    for uptodate, content in ((True, 5), (False, 22)):
        page.PG_uptodate = uptodate
        assert system.peek_slot(slot) == content


def check_looks_at_what_is_there() -> None:
    """And at nothing that only seems right: a page that is not up to date, an empty pte over a file."""
    rules = {rule.name: rule for rule in table(Kernel)}
    system = System(Kernel, "s390", Scope(1, 1, 3, 1, (EXT2,)))
    assert system.step(rules["read"], (P1, EXT2, A))
    file = system.kernel.files[0]
    page = file.pages[0]
    assert page is not None
    assert not _loses(system)
    spaces = system.ghost.spaces.copy()
    system.ghost.spaces.clear()
    page.PG_uptodate, file.blocks[0] = False, 9
    assert _loses(system)
    page.PG_uptodate, file.blocks[0] = True, 0
    system.ghost.spaces.update(spaces)
    mm = system.kernel.mms[0]
    space = system.ghost.spaces[mm]
    system.ghost.files[file].values[0] = None
    page.content = 9
    space.values[0] = ZERO
    assert _loses(system)
    system = System(Kernel, "s390", Scope(1, 1, 3, 1))
    assert system.step(rules["store"], (P1, A))
    mm = system.kernel.mms[0]
    pte = mm.pte[0]
    assert type(pte) is Pte
    pte.page.content = 99
    mm.ptl.owner = system.kernel.tasks[0]
    assert _loses(system)


def check_looks_at_what_cpus_have_cached() -> None:
    """A frame that was freed, and another content than the page table leads to; not where nothing is promised."""
    system = System(Kernel, "x86", Scope(2, 1, 3, 1, also=("threads",)))
    assert system.step({rule.name: rule for rule in table(Kernel)}["store"], (P2, A))
    mm = system.kernel.mms[0]
    space, pte, copy = system.ghost.spaces[mm], mm.pte[0], system.kernel.alloc_page()
    assert type(pte) is Pte
    assert copy is not None
    copy.content, page = pte.page.content, pte.page
    mm.pte[0] = copy.ptes[pte.bits]
    assert not _loses(system)
    page.content = 99
    for busy, expected, lost in ((0, 1, True), (1, 1, False), (0, (1, 99), False), (0, None, False)):
        space.busy[0], space.values[0] = busy, expected
        assert _loses(system) == lost, (busy, expected)
        for free in (0, -1):
            page.count = free
            assert isinstance(_lost(system.check), FreedFrame)
        page.count = 1
    space.busy[0], space.values[0] = 0, 1
    lost_by = _lost(system.check)
    assert (type(lost_by), lost_by and lost_by.process, lost_by and lost_by.found) == (Loss, P2, 99)


def check_looks_at_what_a_store_changes() -> None:
    page = System(Kernel, "s390", _ONE).kernel.frames[0]
    system = System(Kernel, "s390", _ONE)
    for count, expected, kind in (
        *((1, 1, None), (1, 2, WrongStore), (1, (1, 2), None), (1, (2, 3), WrongStore), (1, None, None)),
        *((0, 1, FreedFrame), (-1, None, FreedFrame)),
    ):
        page.count = count
        found = _lost(partial(system.check_store, P1, A, expected, page, 1))
        assert type(found) is (kind or type(None)), (count, expected)
        assert found is None or (found.frame, found.found) == (page.pfn, 1)


def _lost(check: Callable[[], None]) -> Loss | None:
    try:
        check()
    except Loss as loss:
        return loss
    return None


def a_quiet_state_is_counted() -> None:
    """And no other one."""
    kernel = _flickers()
    system = System(kernel, "s390", _ONE)
    store, flicker = _steps(kernel, ("store", None), ("flicker", "flicker: 1"))
    assert system.step(*store)
    pte = system.kernel.mms[0].pte[0]
    assert type(pte) is Pte
    pte.page.count += 1
    try:
        system.after()
    except KernelBug:
        assert system.step(*flicker)
        return
    raise AssertionError("a page is counted once too often, and nobody sees it")


#: By what they are about, quick ones first: checks of a state key and of going back; of the search; of the rest.
_OF_STATES: list[Callable[[], None]] = [
    key_has_what_is_held,
    key_has_whether_a_page_holds_the_same,
    key_has_which_thing_is_held,
    what_has_no_key_is_said,
    key_has_whether_a_page_holds_what_is_to_be_read,
    key_has_whether_an_error_is_newer_than_what_was_promised,
    key_has_what_is_to_be_read,
    key_has_whether_what_is_on_a_disk_is_new_enough,
    key_has_each_page_table_and_tlb,
    key_has_which_of_one_kind_our_function_holds,
    key_has_who_does_what_and_holds_what,
    key_has_the_names_of_processes_unless_they_do_not_count,
    key_has_every_field,
    every_field_comes_back,
    what_is_saved_is_brought_back,
    what_is_changed_in_place_comes_back,
    key_has_no_names_and_no_values,
    key_has_who_traces,
]
_OF_KEYS: list[Callable[[str], None]] = [keys_follow_keys, equal_keys_have_equal_futures, keys_are_few]
_OF_SEARCHES: list[Callable[[str], None]] = [
    search_visits_the_states_of_a_naive_one,
    search_meets_the_failures_of_a_naive_one,
]
_OF_ALL: list[Callable[[], None]] = [
    check_sees_what_is_wrong,
    check_passes_over_a_pte_that_somebody_changes,
    check_looks_at_what_cpus_have_cached,
    check_looks_at_what_a_store_changes,
    peek_finds_what_a_load_would,
    check_looks_at_what_is_there,
    a_quiet_state_is_counted,
    certificate_is_of_what_counts,
    certificate_is_shorter_than_what_one_change_finds,
    certificate_is_by_a_failure_of_its_kind,
    bounds_of_a_run_have_its_length_rules_and_preemptions,
    base_ends_what_the_patch_has_ended,
    base_knows_the_ways_to_its_states,
    base_knows_the_whole_way_to_the_end_of_an_operation,
    base_fails_where_an_operation_breaks,
    failure_cuts_a_run_where_it_fails,
    search_sees_what_is_wrong_at_a_point_only,
    search_beside_a_base_goes_on_where_only_the_base_fails,
    search_compares_once_the_base_fails,
    search_notes_the_first_run_in_which_the_base_fails,
    search_begins_anew_for_what_fails_in_a_normal_form_only,
    search_keeps_the_first_of_its_failures,
    search_says_that_a_failure_does_not_come_again,
    search_keeps_losses_after_a_bug,
    search_builds_states_that_are_no_longer_at_hand,
    search_without_bounds_comes_where_its_steps_lead,
    visit_prunes_only_what_is_known,
    visit_beside_a_base_tells_states_of_the_base_apart,
    search_ends_when_it_is_to,
    search_finds_the_shortest,
    search_stops_where_it_is_told,
    search_goes_on_past_what_is_not_wanted,
    base_fails_where_a_naive_one_does,
    compared_search_finds_the_shortest_that_the_base_does_not_have,
    certificate_is_the_shortest,
]


def checks(module: str = "", more: bool = False) -> Iterator[tuple[str, Callable[[], None]]]:
    """All checks by name, or those of a module, in the order in which a mutant meets them; `more` take longer."""
    of_key = module in ("", "mm_sim.snapshot")
    of_rest = module != "mm_sim.snapshot"
    cases = CASES | MORE if more else CASES
    for check in (*(_OF_STATES if of_key else ()), *(_OF_ALL if of_rest else ())):
        yield check.__name__, check
    for of_machine in (*(_OF_KEYS if of_key else ()), *(_OF_SEARCHES if of_rest else ())):
        for name in cases:
            yield f"{of_machine.__name__}[{name}]", partial(of_machine, name)


def killed_by(
    apply: Callable[[], None], module: str = "", more: bool = False, only: str = "", seconds: float = 30.0
) -> str:
    """The first check that fails once `apply` has changed the prover, or whether one does; empty if none does.

    In a process of its own, as checks change the states that they look at.
    """
    prepare(more)
    receive, send = os.pipe()
    gc.freeze()  # else a collection in the child goes through, and copies, all that was prepared
    child = os.fork()
    if child:
        gc.unfreeze()
    else:
        os.close(receive)
        name, told = "", ""
        try:
            apply()
            for name, check in checks(module, more) if not only else [(only, dict(checks(more=more))[only])]:
                os.write(send, f"{name}\n".encode())
                check()
            name = ""
        except BaseException as error:
            told = type(error).__name__
        os.write(send, f"={name} {told}\n".encode())
        os._exit(0)
    os.close(send)
    text = b""
    end = time.monotonic() + seconds
    while select([receive], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(receive, 1_000)
        if not part:
            break
        text += part
    else:
        os.kill(child, signal.SIGKILL)
    os.close(receive)
    os.waitpid(child, 0)
    *_, last = text.decode().splitlines() or [""]
    return last[1:].strip() if last.startswith("=") else f"{last} TimeoutError"
