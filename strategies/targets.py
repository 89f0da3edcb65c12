"""What a verdict is about: the machines in which a patch can matter, and for each what is walked and searched.

A *machine* is a size of the simulated system with the few rules that make its preconditions. For a patch the rules
that reach what it changes are added, nearest first: the *tiers*. A target is a machine on one architecture with one
tier. All of it is data and arithmetic on the call graph. May use `mm_sim`, and of `strategies` rules and search.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count
from types import FunctionType
from typing import Any, Final

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.labels import methods
from mm_sim.names import BY_NAME, EXT2, KSWAPD, PRIVATE, SHM, TMPFS, XFS
from mm_sim.system import Rule, Scope
from strategies.coverage import names
from strategies.explore import Bounds
from strategies.rules import domains, table


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine by name: its size, the rules without which little happens in it, and values that are enough there.

    `core` has what takes a page away by another party where there is one, which reaches nothing of the change; `more`
    has what is cheap to try beside it. `why` are the rules for whose sake there is such a machine:
    where they are near to a change it comes early.
    """

    scope: Scope
    core: tuple[str, ...]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    arches: tuple[str, ...] = tuple(ARCHES)
    more: tuple[str, ...] = ()
    why: tuple[str, ...] = ()


_SWAPPED = ("store", "fork", "reclaim", "pageout_done")
_MORE = ("load", "pageout_failed")
_WRITTEN = ("store", "writeback", "fsync", "pageout_done")
_PINS = ("read_direct", "ptrace")
_FILE: Final[dict[str, Any]] = {"files": (EXT2,), "slots": 0}

#: The machines, cheap ones first.
MACHINES: Final[dict[str, Machine]] = {
    "anon": Machine(Scope(), _SWAPPED, more=_MORE),
    "file": Machine(Scope(**_FILE), (*_WRITTEN, "fork")),
    "tmpfs": Machine(
        Scope(files=(TMPFS,), slots=1),
        ("store", "load", "fork", "mmap_file", "munmap", "reclaim", "pageout_done"),
        {"kind": (PRIVATE,)},
    ),
    "threads": Machine(Scope(also=("threads",), **_FILE), (*_WRITTEN, "munmap")),
    "anon threads": Machine(
        Scope(also=("threads",), slots=1), ("store", "reclaim", "pageout_done", "madvise_dontneed")
    ),
    "swap full": Machine(Scope(slots=1), _SWAPPED, more=_MORE, why=("reclaim",)),
    "private": Machine(
        Scope(**_FILE),
        ("store", "load", "fork", "mmap_file", "munmap", "reclaim", "writeback"),
        {"kind": (PRIVATE,)},
        why=("mmap_file",),
    ),
    "anon pins": Machine(Scope(also=("pins",), slots=1), (*_SWAPPED, "read_direct", "ptrace"), why=_PINS),
    "pins": Machine(Scope(also=("pins",), **_FILE), (*_WRITTEN, "fork", "read_direct", "ptrace"), why=_PINS),
    "pins threads": Machine(
        Scope(also=("threads", "pins"), processes=3, slots=1, frames=4),
        ("store", "fork", "reclaim", "pageout_done", "madvise_dontneed", "read_direct", "ptrace"),
        why=_PINS,
    ),
    "private pins": Machine(
        Scope(also=("threads", "pins"), **_FILE),
        ("load", "store", "mmap_file", "munmap", "madvise_dontneed", "read_direct"),
        {"kind": (PRIVATE,)},
        why=_PINS,
    ),
    "child": Machine(
        Scope(also=("threads",), processes=3, slots=1, frames=4),
        ("store", "fork", "load", "exit", "madvise_dontneed"),
        why=("exit", "fork"),
    ),
    "migration": Machine(
        Scope(also=("migration",)), ("store", "load", "fork", "move_pages"), arches=("x86",), why=("move_pages",)
    ),
    "file migration": Machine(
        Scope(also=("migration",), **_FILE), (*_WRITTEN, "move_pages"), arches=("x86",), why=("move_pages",)
    ),
    "threads migration": Machine(
        Scope(also=("threads", "migration")),
        ("store", "load", "move_pages", "madvise_dontneed", "reclaim"),
        arches=("x86",),
        why=("move_pages",),
    ),
    "two pages": Machine(
        Scope(pages=2, frames=5, slots=2),
        ("store", "reclaim", "pageout_done", "fork", "mmap"),
        why=("mprotect", "mremap"),
    ),
    "three pages": Machine(
        Scope(pages=3, frames=7, slots=1), ("store", "fork", "mremap", "mmap", "munmap"), why=("mremap",)
    ),
    "file, two pages": Machine(
        Scope(pages=2, frames=4, **_FILE), (*_WRITTEN, "mremap"), why=("mprotect", "mremap", "truncate")
    ),
    "file, three pages": Machine(
        Scope(pages=3, frames=4, **_FILE), ("write", "fork", "fsync", "pageout_done"), why=("fsync", "writeback")
    ),
    "threads, two pages": Machine(
        Scope(pages=2, frames=3, also=("threads",), **_FILE),
        (*_WRITTEN, "mremap"),
        arches=("x86",),
        why=("mprotect", "mremap"),
    ),
    "processes": Machine(Scope(processes=3, frames=4, slots=2), (*_SWAPPED, "exit", "load"), why=("exit", "fork")),
    "file, three processes": Machine(
        Scope(processes=3, frames=3, **_FILE), (*_WRITTEN, "fork"), why=("exit", "fork")
    ),
    "tmpfs threads": Machine(
        Scope(files=(TMPFS,), slots=1, also=("threads",)),
        ("store", "load", "reclaim", "pageout_done", "munmap"),
        why=("mprotect", "munmap"),
    ),
    "xfs": Machine(Scope(files=(XFS,), slots=0), _WRITTEN, why=("store",)),
    "shm": Machine(
        Scope(files=(SHM,), slots=1), ("store", "load", "fork", "reclaim", "pageout_done"), why=("reclaim",)
    ),
    "tmpfs, two pages": Machine(
        Scope(pages=2, frames=4, files=(TMPFS,), slots=2),
        ("store", "load", "reclaim", "pageout_done", "munmap"),
        why=("reclaim", "swapoff"),
    ),
}
#: By rule, what comes before it can happen, where the machine has it.
_NEEDS: Final = {
    "clone": "exit",
    "creat": "unlink",
    "exit": "fork",
    "mmap": "munmap",
    "mmap_file": "munmap",
    "mremap": "munmap",
    "msync": "mmap_file",
    "msync_async": "mmap_file",
    "munlock": "mlock",
    "pageout_done": "reclaim",
    "pageout_failed": "reclaim",
    "ptrace": "fork",
    "swapon": "swapoff",
}
#: What takes a page away: the other party of many a race, which reaches nothing of the change.
_TAKES: Final = ("exit", "fork", "madvise_dontneed", "munmap", "reclaim", "truncate")
_LUMPY = {"reclaimer": (KSWAPD,), "order": (4,)}
#: How many of the nearest rules the smallest tier has beside a patch's own and the core.
_NEAREST: Final = 3
#: More calls than lie between any rule and a change.
_FAR: Final = 99
#: What a machine can have beside its sizes and files, and the word for nothing of the kind.
_ALSO, _NONE = ("threads", "pins", "migration"), "none"


def reach(of_kernel: Mapping[str, Sequence[FunctionType]], function: FunctionType) -> dict[str, int]:
    """The names that a function uses, by itself or by what it calls, and how many calls lie between.

    A name stands for every function of the kernel (`methods`), and of the module, that has it: too much rather than
    too little.
    """
    found: dict[str, int] = {}
    seen = {function}
    layer = [function]
    distance = 0
    while layer:
        distance += 1
        following = []
        for one in layer:
            for name in names(one.__code__):
                found.setdefault(name, distance)
                for called in (*of_kernel.get(name, ()), one.__globals__.get(name)):
                    if isinstance(called, FunctionType) and called not in seen:
                        seen.add(called)
                        following.append(called)
        layer = following
    return found


def distances(kernel: type[Kernel], changed: frozenset[str]) -> dict[str, int]:
    """How many calls lie between each rule and the nearest name that is changed, for rules that reach one."""
    of_kernel = methods(kernel)
    found = {}
    for rule in table(kernel):
        function = rule.steps or rule.action
        if not isinstance(function, FunctionType):
            continue
        near = [distance for name, distance in reach(of_kernel, function).items() if name in changed]
        if near:
            found[rule.name] = min(near)
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """A machine on one architecture, as a patch sees it: its rules by tier, smallest first.

    `core` are the rules without which little happens, and those of the patch: with those of a run the bounds of a
    certificate. `rank` is how many calls lie between the rules that the machine is for and the change.
    """

    machine: str
    arch: str
    scope: Scope
    tiers: tuple[tuple[str, ...], ...]
    only: Mapping[str, tuple[Any, ...]]
    rank: int = 0
    core: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.machine} {self.arch}"

    @property
    def proof(self) -> Bounds:
        """What is searched at least where something is called proven: short races with whoever takes a page away."""
        return self.within(self.tiers[min(1, len(self.tiers) - 1)], 6, 1)

    def short(self) -> Iterator[Bounds]:
        """What is searched first: a few steps of all rules, and short races of the smallest tier."""
        yield self.within(self.tiers[-1], 3, 0, wide=True)
        yield self.within(self.tiers[0], 4, 2)

    def bounds(self) -> Iterator[Bounds]:
        """What is searched then, in growing bounds, without an end."""
        small, *wider = self.tiers
        for grow in count():
            yield self.within(small, 8 + grow, 0)
            yield replace(self.proof, steps=6 + grow)
            yield self.within(small, 7 + grow, 1)
            yield self.within(self.tiers[-1], 4 + grow, 0, wide=True)
            for tier in wider:
                yield self.within(tier, 5 + grow, 1, wide=True)
            for tier in self.tiers:
                yield self.within(tier, 5 + grow, 2, wide=tier != small)

    def within(self, rules: Collection[str], steps: int, stops: int, wide: bool = False) -> Bounds:
        only = dict(self.only) if wide else {**_LUMPY, **self.only}
        return Bounds(self.scope, (*sorted(rules), "resume"), tuple(only.items()), steps, stops)


def possible(kernel: type[Kernel], scope: Scope) -> list[Rule]:
    """The rules that can happen in a machine, but for `resume`."""
    values = domains(scope)
    return [
        rule
        for rule in table(kernel)
        if rule.name != "resume" and all(values[domain] for domain in rule.arguments.values())
    ]


def row(
    kernel: type[Kernel], own: Collection[str], near: Mapping[str, int], name: str, of: Machine, arch: str
) -> Row:
    """A machine with the tiers of a patch: `own` are the rules it brings, `near` the distance of each rule."""
    there = [rule.name for rule in possible(kernel, of.scope)]
    reaching = sorted((one for one in there if one in near), key=lambda one: (near[one], there.index(one)))
    core = tuple(one for one in there if one in of.core or one in own)
    small = {*core, *of.more} | _with_needs(reaching[:_NEAREST], there)
    tiers = (small, small | {one for one in there if one in _TAKES}, small | _with_needs(reaching, there), set(there))
    distinct = dict.fromkeys(tuple(sorted(tier)) for tier in tiers)
    rank = min((near[one] for one in of.why or there if one in near), default=_FAR)
    return Row(name, arch, of.scope, tuple(distinct), of.only, rank, core)


def _with_needs(rules: Collection[str], there: Collection[str]) -> set[str]:
    """Rules with what comes before they can happen."""
    return {*rules, *(_NEEDS[rule] for rule in rules if _NEEDS.get(rule) in there)}


def custom(name: str, of: Machine, **size: Any) -> tuple[str, Machine]:
    """A machine of another size and its name, which says what is not as in the machine `of`: what is None stays.

    `threads`, `pins` and `migration` say whether there are such; the other names are those of `Scope`.
    """
    also = {one: one in of.scope.also if size.get(one) is None else size[one] for one in _ALSO}
    given = {one: value for one, value in size.items() if value is not None and one not in also}
    scope = replace(of.scope, **given, also=tuple(one for one, there in also.items() if there))
    fits = [
        one
        for one in MACHINES.values()
        if {*one.scope.files} <= {*scope.files}
        and {*one.scope.also} <= {*scope.also}
        and one.scope.slots <= scope.slots
    ]
    core = dict.fromkeys(rule for one in (*fits, of) for rule in one.core)
    changed = [f"{field.name} {_written(getattr(scope, field.name))}" for field in fields(scope)]
    same = [f"{field.name} {_written(getattr(of.scope, field.name))}" for field in fields(scope)]
    said = ", ".join((name, *(one for one in changed if one not in same)))
    arches = ("x86",) if also["migration"] else tuple(ARCHES)
    return said, Machine(scope, tuple(core), of.only, arches)


def named(name: str) -> Machine:
    """The machine of MACHINES, or of another size, whose name is as `custom` writes it."""
    known = max((one for one in MACHINES if f"{name}, ".startswith(f"{one}, ")), key=len)
    size: dict[str, Any] = {}
    for part in filter(None, name.removeprefix(known).split(", ")):
        field_, value = part.split(" ")
        there = [] if value == _NONE else value.split("+")
        if field_ == "also":
            size |= {one: one in there for one in _ALSO}
        else:
            size[field_] = tuple(BY_NAME[one] for one in there) if field_ == "files" else int(value)
    return custom(known, MACHINES[known], **size)[1] if size else MACHINES[known]


def _written(value: object) -> str:
    return "+".join(map(str, value)) or _NONE if isinstance(value, tuple) else str(value)
