"""Where mutants are judged: the bases they are made of, the scopes that are walked, and those that are searched.

All of it is data. May use `mm_sim`, and of `strategies` the rules, the scopes and the mutants.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from mm_sim.arch import ARCHES, S390, X86
from mm_sim.kernel import Kernel
from mm_sim.names import EXT2, KSWAPD, PAGES, PROCESSES, SHARED, SHM, TMPFS, XFS
from mm_sim.series.delay_rmap import DelayRmap
from mm_sim.series.dirty_tracking_race import DirtyTrackingRace
from mm_sim.series.mremap_anon_vma import MremapAnonVma
from mm_sim.series.swapoff_key import SwapoffKey
from mm_sim.system import SMALL, Scope
from strategies import rules as the_rules
from strategies.explore import SCOPES, Bounds
from strategies.mutants import Mutant, functions_of, names_in, of_function
from strategies.rules import domains, table


class Plain(MremapAnonVma, SwapoffKey):
    """2.6.26 with mends for what it loses of anonymous memory."""

    __slots__ = ()


class Tracked(DirtyTrackingRace, Plain):
    """2.6.26 with mends for what it loses with one thread in each process."""

    __slots__ = ()


class Mended(DelayRmap, Plain):
    """2.6.26 with mends for what it loses with threads, too."""

    __slots__ = ()


BASES: Final[tuple[type[Kernel], ...]] = (Plain, Tracked, Mended)

_ALL = ("threads", "pins", "migration")
_LUMPY = (("reclaimer", (KSWAPD,)), ("order", (4,)))
_RACE = ("fork", "load", "pageout_done", "reclaim", "resume", "store")
_WRITTEN = ("fsync", "pageout_done", "reclaim", "resume", "store", "writeback")


def _place(rules: tuple[str, ...], steps: int, *also: str, stops: int = 1, **sizes: Any) -> Bounds:
    return Bounds(Scope(also=also, **sizes), rules, _LUMPY, steps=steps, stops=stops)


_EXT2: Final[dict[str, Any]] = {"files": (EXT2,), "slots": 0}
_TMPFS: Final[dict[str, Any]] = {"files": (TMPFS,), "slots": 1}

#: Where mutants are walked, and then searched for unless there is no bound on steps.
PLACES: Final[dict[str, Bounds]] = {
    **{name: SCOPES[name] for name in ("file", "threads", "anon", "tmpfs")},
    "loads": _place(_RACE, 6),
    "mapped file": _place((*_WRITTEN, "exit", "mmap_file", "munmap"), 5, **_EXT2),
    "xfs": _place((*_WRITTEN, "mprotect"), 8, files=(XFS,), slots=0),
    "mremap": _place((*_WRITTEN, "mremap"), 5, pages=2, frames=4, **_EXT2),
    "pinned": _place((*_RACE, "ptrace", "read_direct"), 5, "pins"),
    "pinned file": _place((*_WRITTEN, "read_direct"), 6, "pins", **_EXT2),
    "aio": _place((*_WRITTEN, "aio_read"), 6, "pins", **_EXT2),
    "written directly": _place((*_WRITTEN, "read", "write", "write_direct"), 5, "pins", **_EXT2),
    "buffers": _place((*_WRITTEN, "write"), 6, **_EXT2),
    "moved": _place(("fork", "load", "move_pages", "resume", "store"), 6, "migration", stops=2),
    "moved and reclaimed": _place((*_RACE, "exit", "move_pages"), 5, "migration"),
    "moved file": _place((*_WRITTEN, "move_pages"), 6, "migration", **_EXT2),
    "swapoff": _place((*_RACE, "madvise_dontneed", "swapoff"), 5),
    "scarce": _place((*_RACE[1:], "read"), 6, frames=2, **_TMPFS),
    "truncate": _place((*_RACE, "truncate", "write"), 5, **_TMPFS),
    "threads, anon": _place((*_RACE, "madvise_dontneed", "mprotect", "munmap"), 5, "threads"),
    "processes": Bounds(Scope(processes=3, frames=4, slots=3)),
    "all": Bounds(Scope(processes=3, pages=2, frames=5, slots=3, files=(EXT2, XFS, TMPFS, SHM), also=_ALL)),
}
#: Small scopes that are only searched, each for a race or a chain of steps that no walk comes to: cheap ones first.
CORNERS: Final[dict[str, Bounds]] = {
    "tmpfs, no frame": _place(
        ("pageout_done", "read", "reclaim", "store"), 7, stops=0, pages=2, frames=1, files=(TMPFS,), slots=1
    ),
    "tmpfs, written": _place(("reclaim", "resume", "write"), 6, stops=2, processes=1, **_TMPFS),
    "swapoff, tmpfs": _place(("pageout_failed", "reclaim", "resume", "store", "swapoff"), 6, processes=1, **_TMPFS),
    "locked": _place(("mlock", "mprotect", "munlock", "pageout_done", "reclaim", "store"), 9, stops=0, processes=1),
    "msync": _place(("msync", "munmap", "resume", "store", "writeback"), 5, "threads", **_EXT2),
    "forked": _place(("fork", "reclaim", "resume", "store"), 5, stops=2),
    "protected file": _place(("mprotect", "resume", "store", "writeback"), 5, **_EXT2),
    "unmapped and pinned": _place(("munmap", "read_direct", "resume"), 4, "threads", "pins", stops=2),
    "pinned and written": _place(
        ("munmap", "read_direct", "resume", "writeback"), 6, "threads", "pins", stops=3, **_EXT2
    ),
    "written twice": _place(
        ("pageout_done", "reclaim", "resume", "write", "writeback"), 7, stops=2, processes=1, **_EXT2
    ),
    "private file": _place(("load", "mmap_file", "munmap", "reclaim", "resume", "store"), 6, processes=1, **_TMPFS),
    "truncated xfs": _place(("fork", "resume", "store", "truncate"), 5, stops=2, files=(XFS,), slots=0),
    "tmpfs, swapoff": _place(("pageout_done", "reclaim", "resume", "store", "swapoff", "truncate"), 7, **_TMPFS),
    "swapped in twice": _place(("load", "pageout_done", "reclaim", "resume", "store"), 7, "threads"),
    "tmpfs, swapped in": _place(("pageout_done", "read", "reclaim", "resume", "store"), 8, "threads", **_TMPFS),
    "pinned and moved": _place(
        ("fork", "load", "move_pages", "read_direct", "resume", "store"), 5, "pins", "migration", **_EXT2
    ),
    "forked file": _place(("exit", "fork", "munmap", "resume", "store", "writeback"), 6, **_EXT2),
    "traced file": _place(
        ("fork", "fsync", "pageout_done", "ptrace", "resume", "store", "writeback"), 6, "pins", **_EXT2
    ),
    "cut and filled": _place(("read", "resume", "truncate", "write"), 8, "threads", stops=2, **_EXT2),
    "traced": _place(("fork", "mprotect", "munmap", "ptrace", "resume", "store"), 5, "pins", "threads", processes=3),
    "cut by a thread": _place(("read", "reclaim", "resume", "store", "truncate", "write"), 6, "threads", **_EXT2),
    "cut and dropped": _place(("load", "read", "reclaim", "resume", "truncate"), 6, "threads", stops=2, **_EXT2),
    "cut and pinned": _place(
        ("munmap", "read_direct", "resume", "truncate", "writeback"), 6, "threads", "pins", stops=2, **_EXT2
    ),
    "threads, files": Bounds(
        Scope(pages=2, frames=4, also=("threads",), **_EXT2),
        ("mmap_file", "mprotect", "mremap", "munmap", "resume"),
        (("kind", (SHARED,)),),
        steps=5,
        stops=2,
    ),
    "tmpfs, a race": _place(("fork", "load", "pageout_done", "reclaim", "resume", "store", "write"), 6, **_TMPFS),
    "mremap, anon": _place(
        ("mremap", "pageout_done", "reclaim", "resume", "store"), 6, stops=2, processes=1, pages=2
    ),
    "threads, vmas": _place(
        ("madvise_dontneed", "mlock", "mmap", "mprotect", "mremap", "munmap", "resume", "store"),
        4,
        "threads",
        pages=2,
        frames=4,
    ),
    "moved, merged": Bounds(
        Scope(pages=2, frames=4, also=("migration",)),
        ("fork", "mprotect", "move_pages", "resume", "store"),
        (("mover", PROCESSES[1:2]),),
        steps=6,
        stops=1,
    ),
    "threads, tmpfs": Bounds(
        Scope(also=("threads",), **_TMPFS),
        ("load", "mmap_file", "munmap", "reclaim", "resume", "store"),
        (("reclaimer", (KSWAPD,)),),
        steps=6,
        stops=1,
    ),
    "merged file": Bounds(
        Scope(processes=1, pages=2, **_EXT2),
        ("mmap_file", "mprotect", "munmap", "resume", "store", "writeback"),
        (("kind", (SHARED,)), ("at", PAGES[1:2])),
        steps=7,
        stops=1,
    ),
    "cut by a third": _place(
        ("clone", "load", "read", "resume", "truncate"), 7, "threads", processes=3, stops=2, **_EXT2
    ),
    "moved by two": _place(
        ("exit", "fork", "mprotect", "move_pages", "resume", "store"), 6, "migration", stops=2, frames=4
    ),
    "cut": _place(("fork", "load", "read", "reclaim", "resume", "store", "truncate"), 6, files=(XFS,), slots=0),
    "mremap, merged": Bounds(
        Scope(processes=1, pages=3, frames=4, files=(EXT2,), slots=0),
        ("mmap_file", "mremap", "munmap", "resume", "store", "writeback"),
        (("kind", (SHARED,)), ("at", PAGES[1:2]), ("page", PAGES[1:3])),
        steps=8,
        stops=2,
    ),
    "read from disk": Bounds(
        Scope(files=(EXT2,), slots=0, also=("threads",)),
        ("pageout_done", "read", "reclaim", "resume", "truncate", "write"),
        (*_LUMPY, ("size", (0,)), ("holder", (EXT2,))),
        steps=8,
        stops=2,
    ),
    "swapoff and exit": Bounds(
        SMALL,
        ("exit", "fork", "madvise_dontneed", "pageout_failed", "reclaim", "resume", "store", "swapoff"),
        (*_LUMPY, ("holder", PROCESSES[:1])),
        steps=8,
        stops=1,
    ),
    "swapoff of three": Bounds(
        Scope(processes=3),
        ("fork", "pageout_failed", "reclaim", "resume", "store", "swapoff"),
        (*_LUMPY, ("holder", PROCESSES[:1])),
        steps=7,
        stops=1,
    ),
}


def bases_of(scope: Scope) -> tuple[type[Kernel], ...]:
    """The bases that lose nothing in a scope."""
    if "threads" in scope.also:
        return BASES[2:]
    return BASES[1:] if {EXT2, XFS} & {*scope.files} else BASES


@cache
def all_mutants() -> dict[str, Mutant]:
    """Every mutant of the model, by name."""
    classes = dict.fromkeys(cls for base in BASES for cls in base.__mro__ if cls.__module__.startswith("mm_sim."))
    return {
        mutant.name: mutant
        for cls in (*classes, S390, X86)
        for name, function in functions_of(cls).items()
        if name != "remembers"  # tells of a loss; the kernel does not call it
        for mutant in of_function(cls, function)
        if any(mutant.fits(base, arch) for base in BASES for arch in ARCHES)
    }


@cache
def called(base: type, bounds: Bounds) -> frozenset[str]:
    """The functions whose names can be come to from the rules of a scope."""
    values = domains(bounds.scope)
    todo: list[str] = []
    seen = set(todo)
    for rule in table(base):
        if (bounds.rules is None or rule.name in bounds.rules) and all(map(values.get, rule.arguments.values())):
            todo += names_in(rule.steps) + names_in(rule.action)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            for space in (*base.__mro__, S390, X86, the_rules):
                todo += names_in(vars(space).get(name))
    return frozenset(seen)
