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
from functools import cache, partial
from itertools import combinations, product
from pathlib import Path
from select import select
from types import FunctionType
from typing import Any, NamedTuple

import mm_sim
from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.ghost import Ghost, Space
from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import MmuGather
from mm_sim.kernel.rmap import Swap
from mm_sim.loss import Step
from mm_sim.mm import AnonVma, Mm, Vma
from mm_sim.names import EXT2, KSWAPD, P1, P2, P3, PAGES, PRIVATE, SHARED, TASKS, TMPFS, A
from mm_sim.page import GARBAGE, ZERO, Page, Pte, SwapSlot
from mm_sim.sched import SPIN, KernelBug, Lock, RwSem, Steps, Tracing, no_steps, points
from mm_sim.sched import run as run_task
from mm_sim.snapshot import Content, Promise, canonical, is_quiet, restore, save, state_key
from mm_sim.system import PAST_END, FreedFrame, Loss, Rule, Scope, System, WrongStore
from strategies import explore
from strategies.comparison import Base, failure
from strategies.explore import Bounds, NotDeterministic, Result, Search
from strategies.minimise import certify, within
from strategies.rules import instances, stops, table
from test_stateful.naive import Failed, Naive, build, plain
from test_stateful.test_snapshot_files import renumber, swap_names

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
    "forgets": 179,
    "two preemptions": 126,
    "anon": 326,
    "any preemption": 170,
    "two threads store": 107,
    "file on s390": 331,
    "tmpfs": 325,
    "swapoff": 586,
    "locked": 217,
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
    "same list": (
        lambda value: (one := [1], one if value else [1]),
        lambda held: 4 * (held[0] is held[1]),
    ),
}


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
    code = function.__code__.replace(co_filename=str(Path(mm_sim.__file__).with_name("held.py")))
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)


def _rule(name: str, steps: Callable[..., Any]) -> Rule:
    return Rule(name, {"process": "process", "order": "order"}, lambda s, *_: True, steps)


class Holds(Kernel):
    """Has a system call for each way to hold a number, as a patch and as the model would."""

    __slots__ = ()

    rules = (
        *(_rule(f"hold_{n}", _hold(kind)) for n, kind in enumerate(_KINDS)),
        *(_rule(f"our_hold_{n}", ours(_hold(kind))) for n, kind in enumerate(_KINDS)),
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
    names.remove(f"our_hold_{[*_KINDS].index('same list')}")  # where the model has one list twice its code says
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
    for kind in ("number", "list", "tuple", "nested", "dict", "dataclass", "iterator", "set", "frozenset"):
        system = System(Holds, "s390", Scope(1, 1, 2, 1))
        assert system.step(rules["store"], (P1, A))
        assert system.step(rules[f"hold_{[*_KINDS].index(kind)}"], (P1, 4), "hold: held")
        kept.append(system)
    for field in ("count_of_kernel", "list_of_kernel"):
        system = System(Fields, "s390", Scope(1, 1, 2, 1))
        assert system.step(rules["store"], (P1, A))
        system.kernel.own[field] = 4 if field.startswith("count") else [4]
        kept.append(system)
    return kept


def key_has_whether_a_page_holds_the_same() -> None:
    for system in content_in_hand():
        page = next(page for page in system.kernel.frames if page.mapcount)
        keys = []
        for content in (4, 5):
            page.content, was = content, page.content
            keys.append(state_key(system))
            page.content = was
        assert keys[0] != keys[1]


@cache
def things_in_hand() -> tuple[System, list[object]]:
    """A state with forks, writes and reads under way, and things of it that can be held, no two of them alike."""
    system = System(Fields, "x86", Scope(3, 2, 8, 2, (EXT2, TMPFS)))
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
    kernel, ghost = system.kernel, system.ghost
    ghost.files[kernel.files[1]].syncs = [[0, 0], [0, 0]]
    anon_vmas = list(dict.fromkeys(vma.anon_vma for mm in kernel.mms for vma in mm.mmap if vma.anon_vma is not None))
    pages = [page for page in kernel.frames if page.count]
    ptes = [pte for mm in kernel.mms for pte in mm.pte if type(pte) is Pte]
    gone = [Space(2)]
    for field in ("busy", "pins", "shared", "own", "mapped"):
        gone.append(Space(2))
        getattr(gone[-1], field)[0] ^= 1
    gone.append(Space(2))
    gone[-1].cut = {0}
    gone.append(Space(2))
    gone[-1].of = [(ghost.files[kernel.files[0]], 0), None]
    things: list[Any] = [
        *(
            PAGES[0],
            PAGES[1],
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
        yield from (*file.reads, *file.syncs)


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


class Change(NamedTuple):
    """A field of an object in a state, and another value of it."""

    system: System
    owner: Any
    field: str
    value: Any

    def notices(self) -> bool:
        """Whether the key is another one with it."""
        before = state_key(self.system)
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
    things += [("", one) for some in (kernel.slots, kernel.mms) for one in some]
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
                        if change.notices():
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
    ("Mm", "name"): "fixed: it names who brought it to life, for messages",
    ("Fields", "current"): "set where each step begins",
    ("Task", "op"): "the name of the rule whose function the outermost frame is",
    ("Task", "held"): "the sum of the locks that have it as their owner",
}


def key_has_every_field() -> None:
    for change in changes():
        assert change.notices(), (type(change.owner).__name__, change.field)


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
        if field in ("frames", "slots", "files", "tasks", "name", "vm_mm"):  # stay the same
            continue
        was = _get(owner, field)
        before = was.copy() if isinstance(was, (list, dict, set)) else was
        kept = save(system)
        _set(owner, field, value)
        restore(system, kept)
        now = _get(owner, field)
        _set(owner, field, was)
        assert now == before, (type(owner).__name__, field)


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
            key = state_key(system)
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
            key, order = canonical(search.system, True, slots=True)
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
    key_has_every_field,
    every_field_comes_back,
    what_is_saved_is_brought_back,
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
    bounds_of_a_run_have_its_length_rules_and_preemptions,
    base_ends_what_the_patch_has_ended,
    base_knows_the_ways_to_its_states,
    base_fails_where_an_operation_breaks,
    failure_cuts_a_run_where_it_fails,
    search_sees_what_is_wrong_at_a_point_only,
    search_beside_a_base_goes_on_where_only_the_base_fails,
    search_compares_once_the_base_fails,
    search_keeps_the_first_of_its_failures,
    search_says_that_a_failure_does_not_come_again,
    search_keeps_losses_after_a_bug,
    search_builds_states_that_are_no_longer_at_hand,
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
