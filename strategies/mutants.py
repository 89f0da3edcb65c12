"""Mutants of the model: the kernel without one of the statements that record, hand on or protect dirtiness.

They are read off the source by the patterns below, so a new statement has its mutant at once. A mutant is a subclass
of the kernel that all drivers take as a series. `judge` looks for what it loses, or breaks, and its base does not.
"""

from __future__ import annotations

import ast
import inspect
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

from mm_sim.arch import ARCHES, S390, X86, Arch
from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Step, replay
from mm_sim.mm import Mm
from mm_sim.names import EXT2, KSWAPD, PAGES, PROCESSES, SHARED, SHM, TMPFS, XFS
from mm_sim.page import DIRTY, Pte, PteVal
from mm_sim.sched import KernelBug, Steps
from mm_sim.series.delay_rmap import DelayRmap
from mm_sim.series.dirty_tracking_race import DirtyTrackingRace
from mm_sim.series.mremap_anon_vma import MremapAnonVma
from mm_sim.series.swapoff_key import SwapoffKey
from mm_sim.snapshot import few_collections, is_quiet
from mm_sim.system import SMALL, Scope, System
from strategies import rules as the_rules
from strategies.counts import count_everything, count_mended
from strategies.explore import SCOPES, Base, Bounds, Node, Search
from strategies.minimise import minimise
from strategies.rules import domains, table
from strategies.walk import Walk

# The patterns

#: Calls that are not made, and what is answered in their place: nothing was dirty; every lock is free.
CALLS: Final[dict[str, bool]] = {
    **dict.fromkeys(("set_page_dirty", "set_page_dirty_lock"), False),
    **dict.fromkeys(("page_test_dirty", "page_clear_dirty"), False),
    **dict.fromkeys(("page_mkclean", "page_mkclean_file", "page_mkclean_one"), False),
    **dict.fromkeys(("flush_tlb_page", "flush_tlb_mm"), False),
    "swap_duplicate": True,
    **dict.fromkeys(("acquire", "acquire_nested", "trylock"), True),
    **dict.fromkeys(("down_read", "down_read_trylock", "down_write", "down_write_nested"), True),
    "busy": False,
}
LOCKS: Final = frozenset(name for name, value in CALLS.items() if value) - {"swap_duplicate"}
#: What gives a lock back, and who must hold it.
RELEASES: Final = {"release": "{0}.owner is {1}", "up_write": "{0}.writer is {1}", "up_read": "{1} in {0}.readers"}
#: Records that are not written.
WRITTEN: Final = frozenset(("AS_EIO", "PG_dirty", "key_c", "tag_dirty"))
#: Records that are not seen: as if the page were clean, mapped nowhere, on no disk and on its way to none.
READ: Final = frozenset(("PG_dirty", "PG_writeback", "accounts_dirty", "key_c", "mapcount", "tag_dirty"))
#: Counts that are not looked at: as if nobody else had the page or the slot.
COUNTS: Final = frozenset(("count", "map", "mapcount"))
#: What s390 has not: the dirty bit of a pte, translations that outlive their pte.
ONLY_X86: Final = ("DIRTY", "pte_dirty", "the dirty bit", "flush_tlb")
#: Bits of a pte that are not set, tested, cleared.
BITS: Final = frozenset(("DIRTY", "pte_dirty"))
#: Looks at what another CPU may have changed while no lock was held: as if nobody had.
TABLES: Final = frozenset(("pages", "pte", "swap"))
OWNERS: Final = frozenset(("mapping", "page"))


def _name(node: ast.AST | None) -> str:
    """The last part of a dotted name; of a call, that of the function."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _as_if_unchanged(node: ast.Compare) -> bool | None:
    """What a comparison answers where nobody else has or had anything to do with the page; None: another question."""
    left, op, right = node.left, node.ops[0], node.comparators[0]
    if isinstance(left, (ast.Attribute, ast.Name)) and _name(left) in COUNTS and isinstance(right, ast.Constant):
        if isinstance(op, (ast.Eq, ast.LtE)):
            return True
        return False if isinstance(op, (ast.NotEq, ast.Gt)) else None
    if _name(right) == "i_size":
        return isinstance(op, ast.Lt)
    if isinstance(op, (ast.Is, ast.IsNot)):
        if isinstance(left, ast.Subscript) and _name(left.value) in TABLES:
            return isinstance(op, ast.Is)
        if isinstance(left, ast.Attribute) and left.attr in OWNERS:
            gone = left.attr == "mapping" and isinstance(right, ast.Constant)  # truncated
            return isinstance(op, ast.Is) != gone
    return None


def _observes(node: ast.AST) -> bool:
    """Code that is none of the kernel's: checks of the bookkeeping, marks, hooks of the loss check."""
    if isinstance(node, (ast.Assert, ast.Raise, ast.Yield, ast.JoinedStr)):
        return True
    if isinstance(node, ast.Call):
        return _name(node) == "mark"
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and all(
            isinstance(one, ast.Raise)
            or (isinstance(one, ast.Expr) and _name(one.value) == "mark")
            or (isinstance(one, ast.Assign) and _name(one.targets[0]) == "suspect")
            for one in node.body
        )
    )


def _parents(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node of the kernel's code with its parent, in the order of the source."""
    todo: list[tuple[ast.AST, ast.AST]] = [(function, one) for one in reversed(function.body)]
    while todo:
        parent, node = todo.pop()
        if not _observes(node):
            yield parent, node
            todo += [(node, child) for child in reversed(list(ast.iter_child_nodes(node)))]


def _changes(function: ast.FunctionDef) -> Iterator[tuple[str, ast.AST, object]]:
    """What can be taken out of a function: in words, the node, and what comes in its place."""
    cleared = {
        id(one)
        for node in ast.walk(function)
        if (isinstance(node, ast.Call) and _name(node) == "clear")
        or (isinstance(node, ast.BinOp) and any(_name(side) == "DIRTY" for side in (node.left, node.right)))
        for one in ast.walk(node)
    }
    for parent, node in _parents(function):
        if isinstance(node, ast.Call):
            name = _name(node)
            if name in CALLS:
                yield ast.unparse(node), node, () if isinstance(parent, ast.YieldFrom) else CALLS[name]
            elif name == "set_pte_at" and not isinstance(node.args[2], ast.Constant):
                yield f"the dirty bit in {ast.unparse(node)}", node, "set_clean_pte_at"
        elif isinstance(node, ast.Assign):
            clears = isinstance(node.value, ast.Constant) and not node.value.value
            for target in node.targets:
                if _name(target) in WRITTEN and not clears:
                    yield f"{ast.unparse(target)} = {ast.unparse(node.value)}", node, target
        elif isinstance(node, ast.Compare):
            answer = _as_if_unchanged(node)
            if answer is not None:
                yield ast.unparse(node), node, answer
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load):
            name = _name(node)
            if name in BITS or (name == "WRITE" and id(node) in cleared):
                yield f"{ast.unparse(node)} in {ast.unparse(parent)}", node, 0
            elif name in READ and not isinstance(parent, ast.Compare):
                yield f"{ast.unparse(node)}", node, False


def _is_free(node: ast.AST) -> str:
    """What a call that takes a lock would answer, without taking it."""
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Attribute)
    lock = ast.unparse(node.func.value)
    return f"not {lock}{'.exclusive()' if node.func.attr.startswith('down_write') else ''}.busy()"


class _Take(ast.NodeTransformer):
    """Puts something in the place of one node, and notes where that makes a difference (see `_mutated`)."""

    def __init__(self, node: ast.AST, instead: object, marks: bool) -> None:
        self.node, self.instead, self.marks = node, instead, marks

    def visit(self, node: ast.AST) -> Any:
        if node is not self.node:
            return self.generic_visit(node)
        if isinstance(self.instead, str):
            assert isinstance(node, ast.Call)
            assert isinstance(node.func, ast.Attribute)
            node.func.attr = self.instead
            return node
        if isinstance(node, ast.Assign):
            target = self.instead
            node.targets = [one for one in node.targets if one is not target]
            mark = self.noted(ast.unparse(target), ast.unparse(node.value))  # type: ignore[arg-type]
            return [ast.Expr(mark), *([node] if node.targets else [])]
        called = isinstance(node, ast.Call) and _name(node) != "busy"
        was = _is_free(node) if _name(node) in LOCKS else repr(not self.instead) if called else ast.unparse(node)
        return self.noted(was, repr(self.instead))

    def noted(self, was: str, now: str) -> ast.expr:
        return ast.parse(f"self.mutated({was}, {now})" if self.marks else now, mode="eval").body


class _IfHeld(ast.NodeTransformer):
    """Locks are given back only by who holds them."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        call = node.value
        held = RELEASES.get(_name(call)) if isinstance(call, ast.Call) else None
        if held is None:
            return node
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Attribute)
        test = held.format(ast.unparse(call.func.value), ast.unparse(call.args[0]))
        return ast.If(ast.parse(test, mode="eval").body, [node], [])


#: More than a walk or a search can come to: who does not wait goes round in a loop.
SPINS: Final = 300_000
#: How often the function ran, and how often it made a difference that a statement was missing.
RAN: Final = "a mutant ran"
REACHED: Final = "a statement was missing"


def _compile(owner: type, function: ast.FunctionDef) -> FunctionType:
    """A method of `owner`, in the globals of its module, at its lines."""
    module = sys.modules[owner.__module__]
    outer = ast.parse("def made(__class__): pass")
    made = outer.body[0]
    assert isinstance(made, ast.FunctionDef)
    made.body = [function, ast.Return(ast.Name(function.name, ast.Load()))]
    for node in ast.walk(outer):
        if "lineno" in node._attributes and not hasattr(node, "lineno"):
            node.lineno = node.end_lineno = function.lineno  # type: ignore[attr-defined]
    ast.fix_missing_locations(outer)
    flags = annotations.compiler_flag
    space: dict[str, Any] = {}
    exec(compile(outer, module.__file__ or "", "exec", flags, dont_inherit=True), vars(module), space)
    method: FunctionType = space["made"](owner)
    method.__qualname__ = f"{owner.__name__}.{function.name}"
    return method


@cache
def _functions(cls: type) -> dict[str, ast.FunctionDef]:
    """The methods that a class defines, by name."""
    module = sys.modules[cls.__module__]
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    mine = next(node for node in classes if node.name == cls.__name__)
    return {node.name: node for node in mine.body if isinstance(node, ast.FunctionDef)}


@cache
def _if_held(base: type) -> type[Kernel]:
    """A kernel that gives back only the locks that it holds."""
    own: dict[str, object] = {"__slots__": ()}
    for cls in reversed(base.__mro__[:-1]):
        for name, function in _functions(cls).items() if cls.__module__.startswith("mm_sim.") else ():
            own.pop(name, None)
            if any(_name(node) in RELEASES for node in ast.walk(function) if isinstance(node, ast.Call)):
                own[name] = _compile(cls, _IfHeld().visit(deepcopy(function)))
    return type(base.__name__, (base,), own)


def _mutated(self: Kernel, was: object, now: object) -> object:
    """What a mutant has in place of an expression: counted where it makes a difference."""
    if bool(was) is not bool(now):
        self.mark(REACHED)
        if self.marks[REACHED] > SPINS:
            raise KernelBug("goes round in a loop for ever")
    return now


def _set_clean_pte_at(self: Kernel, mm: Mm, addr: int, pte: PteVal) -> None:
    """set_pte_at() that loses the dirty bit."""
    if type(pte) is Pte and pte.bits & DIRTY:
        self.mark(REACHED)
        pte = pte.clear(DIRTY)
    self.set_pte_at(mm, addr, pte)


#: More often no operation faults before another goes on.
FAULTS: Final = 1_000


def _impatient(base: type[Kernel]) -> type[Kernel]:
    """A kernel that says so when an access faults for ever."""
    last: list[Any] = [None, 0]

    def do_page_fault(self: Kernel, mm: Mm, address: int, write: bool) -> Steps[int]:
        steps = self.current.steps
        last[:] = steps, last[1] + 1 if steps is last[0] else 1
        if last[1] > FAULTS:
            raise KernelBug("faults for ever")
        return base.do_page_fault(self, mm, address, write)

    return type(base.__name__, (base,), {"__slots__": (), "do_page_fault": do_page_fault})


_HELPERS: Final = {"__slots__": (), "mutated": _mutated, "set_clean_pte_at": _set_clean_pte_at}


@dataclass(frozen=True, slots=True, eq=False)
class Mutant:
    """A function without one of its statements: `name` is `file.function: statement`.

    `owner` is the class that defines it, a layer of the kernel, a series or an architecture; `number` counts what
    can be taken out of it, `line` is where it stands, `lock` says that it is a lock.
    """

    name: str
    owner: type
    function: ast.FunctionDef
    number: int
    line: int
    lock: bool

    @property
    def file(self) -> str:
        return Path(sys.modules[self.owner.__module__].__file__ or "").name

    def fits(self, base: type[Kernel], arch: str) -> bool:
        """Whether `base` runs the function: it is not overridden, or by what calls it."""
        if issubclass(self.owner, Arch):
            return self.owner.name == arch
        for cls in base.__mro__:
            names = _names(vars(cls).get(self.function.name))
            if cls is self.owner or (names and "super" not in names):
                return cls is self.owner
        return False

    def suits(self, scope: Scope) -> bool:
        """Whether a machine has what the function is about, by its name."""
        name = self.name.partition(":")[0]
        has = {"swap": scope.slots, "shmem": {TMPFS, SHM} & {*scope.files}, "migration": "migration" in scope.also}
        return all(there or word not in name for word, there in has.items())

    @property
    def only_x86(self) -> bool:
        return any(word in self.name for word in ONLY_X86)

    def likelier(self, scope: Scope) -> str:
        """The architecture that is searched first; s390 cannot move pages."""
        return X86.name if self.only_x86 or "migration" in scope.also else S390.name

    def on(self, base: type[Kernel]) -> type[Kernel]:
        """The kernel `base` with the function changed."""
        function = deepcopy(self.function)
        _, node, instead = list(_changes(function))[self.number]
        function = _Take(node, instead, marks=not issubclass(self.owner, Arch)).visit(function)
        own: dict[str, object] = {**_HELPERS, "title": self.name}
        bases: tuple[type, ...] = (base,)
        if issubclass(self.owner, Arch):
            space = {"__slots__": (), function.name: _compile(self.owner, function)}
            owner, made = self.owner, type(self.owner.__name__, (self.owner,), space)

            def start(kernel: Kernel, arch: Arch, **sizes: Any) -> None:
                base.__init__(kernel, made() if type(arch) is owner else arch, **sizes)

            own["__init__"] = start
        else:
            function.body.insert(0, ast.Expr(ast.parse(f"self.mark({RAN!r})", mode="eval").body))
            overridden = getattr(base, function.name) is not vars(self.owner)[function.name]
            if self.lock:
                base, function = _if_held(base), _IfHeld().visit(function)  # type: ignore[arg-type]
            bases = (_impatient(base),)
            own[function.name] = _compile(self.owner, function)
            if overridden:  # by a mend, which still comes first
                layer = {"__slots__": (), function.name: own.pop(function.name)}
                bases = (*bases, type(self.owner.__name__, (self.owner,), layer))
        return type(base.__name__, bases, own)


def of_function(owner: type, function: ast.FunctionDef) -> Iterator[Mutant]:
    """The mutants of a method of `owner`."""
    file = owner.__name__ if issubclass(owner, Arch) else owner.__module__.rpartition(".")[2]
    times: Counter[str] = Counter()
    for number, (what, node, _) in enumerate(_changes(function)):
        times[what] += 1
        nth = f" ({times[what]})" if times[what] > 1 else ""
        line: int = node.lineno  # type: ignore[attr-defined]
        yield Mutant(f"{file}.{function.name}: {what}{nth}", owner, function, number, line, _name(node) in LOCKS)


# Where they are judged


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
    "moved": _place(("fork", "load", "move_pages", "resume", "store"), 6, "migration", stops=2),
    "moved and reclaimed": _place((*_RACE, "exit", "move_pages"), 5, "migration"),
    "moved file": _place((*_WRITTEN, "move_pages"), 6, "migration", **_EXT2),
    "swapoff": _place((*_RACE, "madvise_dontneed", "swapoff"), 5),
    "scarce": _place((*_RACE[1:], "read"), 6, frames=2, **_TMPFS),
    "truncate": _place((*_RACE, "truncate", "write"), 5, **_TMPFS),
    "threads, anon": _place((*_RACE, "madvise_dontneed", "mprotect", "munmap"), 5, "threads"),
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
        for name, function in _functions(cls).items()
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
            todo += _names(rule.steps) + _names(rule.action)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            for space in (*base.__mro__, S390, X86, the_rules):
                todo += _names(vars(space).get(name))
    return frozenset(seen)


def _names(function: object) -> list[str]:
    """The names that the code of a function has, and of the functions within."""
    code = getattr(function, "__code__", None)
    inner = [const for const in code.co_consts if isinstance(const, CodeType)] if code else []
    return [*code.co_names, *(name for one in inner for name in one.co_names)] if code else []


@dataclass(slots=True)
class Fate:
    """What became of a mutant. `word` is "loss", "check" or "survived"; `what` was lost, or said by the check.

    `steps` and `seconds` are what it took, `length` the steps of a short run that loses. `where` and `how` (walk or
    search) it was killed; of a survivor, `reached` has the scopes that came to the place where the statement is
    missing, and `proven` those of them whose search was complete.
    """

    name: str
    word: str = "survived"
    what: str = ""
    where: str = ""
    how: str = ""
    steps: int = 0
    seconds: float = 0.0
    length: int = 0
    reached: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()

    def argued(self) -> str:
        """The reason given why it is equivalent."""
        return next((reason for reason, names in REASONS.items() if self.name in names), "")

    def why(self) -> str:
        """Why a mutant may survive; empty if nobody says so."""
        proven = f"proven by search: {'; '.join(self.proven)}" if self.proven else ""
        return ". ".join(filter(None, (self.argued(), proven)))


class Killed(Exception):
    """A mutant has lost a page, or broken the bookkeeping."""

    def __init__(self, word: str, what: str, length: int = 0) -> None:
        super().__init__(what)
        self.word, self.what, self.length = word, what, length


class CountingWalk(Walk):
    """A walk that counts everything in each quiet state."""

    def look(self, system: System, steps: list[Step]) -> None:
        count_everything(system)
        count_mended(system, steps)
        super().look(system, steps)


#: How many runs are walked at first, in each scope on each architecture; and then, where the missing statement made
#: most differences; in how many scopes that is; and after how many steps no other search is begun.
RUNS: Final = (20, 300)
MOST: Final = 3
BUDGET: Final = 250_000


class CountingSearch(Search):
    """A search that counts everything in each quiet state."""

    def keep(self, base: Base, system: System) -> None:
        count_everything(system)
        count_mended(system, base.path)
        super().keep(base, system)

    def visit(self, system: System, node: Node, step: Step, *rest: Any) -> bool:
        known = super().visit(system, node, step, *rest)
        if self.result.depth == self.bounds.steps and is_quiet(system):  # which is not kept
            count_everything(system)
            count_mended(system, (step,))
        return known


class Judge:
    """Judges one mutant: in each scope in which it makes a difference, first what is quickest.

    A `quick` one does not search.
    """

    def __init__(self, mutant: Mutant, quick: bool = False) -> None:
        self.mutant, self.quick = mutant, quick
        self.fate = Fate(mutant.name)
        self.walks: dict[tuple[Scope, str], CountingWalk] = {}  # by machine: places may have one in common
        kernels = {base: mutant.on(base) for base in BASES if any(mutant.fits(base, arch) for arch in ARCHES)}
        self.places = {
            (name, arch): (base, kernels[base], bounds)
            for name, bounds in (PLACES | CORNERS).items()
            if mutant.suits(bounds.scope)
            for arch in sorted(ARCHES, key=lambda arch: arch != mutant.likelier(bounds.scope))
            for base in bases_of(bounds.scope)
            if mutant.fits(base, arch) and mutant.function.name in called(base, replace(bounds, rules=None))  # type: ignore[arg-type]
        }

    @few_collections()
    def judge(self) -> Fate:
        fate = self.fate
        start = time.process_time()
        try:
            self.look()
        except Killed as killed:
            fate.word, fate.what, fate.length = killed.word, killed.what, killed.length
        fate.seconds = round(time.process_time() - start, 2)
        return fate

    def look(self) -> None:
        """Walk a little everywhere, and on where it made most differences; then search, corners first."""
        times = {place: self.walk(place, RUNS[0]) for place in self.places if place[0] in PLACES}
        reached = sorted(filter(times.get, times), key=lambda place: -times[place])
        self.fate.reached = tuple(map(" on ".join, reached))
        most = None if issubclass(self.mutant.owner, Arch) else MOST  # whose difference is not counted
        for place in list({self.machine(place): place for place in reached}.values())[:most]:
            self.walk(place, RUNS[1])
        if self.quick:
            return
        todo = sorted(self.places, key=lambda place: 2 - bool(times[place]) if place in times else 0)
        if self.mutant.lock or self.mutant.only_x86:  # a lock is contended on both architectures or on none
            todo.sort(key=lambda place: place[1] != self.mutant.likelier(self.machine(place)[0]))
        seen: set[str] = set()
        for place in filter(self.searchable, todo):
            if place[0] not in seen and self.fate.steps <= BUDGET and self.search(place):
                seen.add(place[0])

    def searchable(self, place: tuple[str, str]) -> bool:
        base, _, bounds = self.places[place]
        return bounds.steps is not None and self.mutant.function.name in called(base, bounds)  # type: ignore[arg-type]

    def machine(self, place: tuple[str, str]) -> tuple[Scope, str]:
        return self.places[place][2].scope, place[1]

    def walk(self, place: tuple[str, str], runs: int) -> int:
        """Walk until there were so many runs: how often the statement was missing in a run."""
        _, kernel, bounds = self.places[place]
        machine = self.machine(place)
        walk = self.walks.get(machine) or CountingWalk(kernel, place[1], bounds.scope, seed=0)
        self.walks[machine] = walk
        self.fate.where, self.fate.how = " on ".join(place), "walk"
        before = walk.steps
        try:
            while walk.runs < runs:
                try:
                    lost = walk.run()
                except Exception as error:
                    self.broke(place, walk.trace, error)
                else:
                    if lost is not None:
                        self.lost(place, walk.trace)
        finally:
            self.fate.steps += walk.steps - before
        return 1 if issubclass(self.mutant.owner, Arch) else walk.marks.get(REACHED, 0)

    def search(self, place: tuple[str, str]) -> bool:
        """Search a scope: False if the function ran, and nowhere there it made a difference."""
        _, kernel, bounds = self.places[place]
        self.fate.where, self.fate.how = " on ".join(place), "search"
        marks = {REACHED: 1} if issubclass(self.mutant.owner, Arch) else {}
        search = CountingSearch(kernel, place[1], bounds, reduce=False, marks=marks)
        try:
            result = search.run()
        except Exception as error:
            self.broke(place, search.broken, error)
            return True
        finally:
            self.fate.steps += search.result.transitions
        if result.ended == "loss":
            self.lost(place, result.losses[-1][0])
        if REACHED in marks and result.ended == "complete":
            self.fate.proven += (self.fate.where,)
        return REACHED in marks or RAN not in marks

    def broke(self, place: tuple[str, str], steps: list[Step], error: Exception) -> None:
        """A check that fires kills, unless it fires with the base, too."""
        base, _, bounds = self.places[place]
        system = System(base, place[1], bounds.scope)
        try:
            for step in steps:
                system.step(*step)
                if is_quiet(system):
                    count_everything(system)
                    count_mended(system, [step])
        except AssertionError:
            return
        raise Killed("check", f"{type(error).__name__}: {error}") from error

    def lost(self, place: tuple[str, str], steps: list[Step]) -> None:
        """A loss kills, unless the base loses the page, too."""
        base, kernel, bounds = self.places[place]
        scope = bounds.scope
        with suppress(NotPossible):
            if replay(base, place[1], scope, steps) is not None:
                return
        short, report = minimise(kernel, place[1], scope, steps)
        raise Killed("loss", str(report.forgotten_by), len(short))


# What is said of them

PAGE: Final = Path(__file__).parent.parent / "docs" / "mutants.md"
_MARK: Final = "<!-- what follows is written by `pytest -m mutants` -->"

#: Why a mutant that is not killed does the same as the kernel.
REASONS: Final[dict[str, tuple[str, ...]]] = {
    "a swap pte and a migration entry have no dirty bit (include/linux/swapops.h)": (
        "memory.copy_one_pte: the dirty bit in self.set_pte_at(dst_mm, addr, pte)",
        "memory.copy_one_pte: the dirty bit in self.set_pte_at(dst_mm, addr, pte) (2)",
        "memory.copy_one_pte: the dirty bit in self.set_pte_at(src_mm, addr, pte)",
        "mprotect.change_pte_range: the dirty bit in "
        "self.set_pte_at(mm, address, oldpte.page.make_migration_entry(write=False))",
        "rmap.try_to_unmap_one: the dirty bit in self.set_pte_at(mm, address, entry)",
        "rmap.try_to_unmap_one: the dirty bit in "
        "self.set_pte_at(mm, address, page.make_migration_entry(bool(pte.bits & WRITE)))",
    ),
    "mk_pte() with vm_page_prot makes a clean pte, and page_mkclean_one() has just cleaned it": (
        "migrate.remove_migration_pte: the dirty bit in "
        "self.set_pte_at(mm, address, pte.set(WRITE) if entry.write else pte)",
        "rmap.page_mkclean_one: the dirty bit in self.set_pte_at(mm, address, pte.clear(DIRTY | WRITE))",
        "swapfile.unuse_pte: the dirty bit in self.set_pte_at(mm, addr, page.ptes[0])",
    ),
    "copy_page_range() leaves a vma without an anon_vma to the child's faults, and a shared one never has one": (
        "memory.copy_one_pte: DIRTY in pte.clear(DIRTY)",
    ),
    "the page is locked, or not yet in a cache, and remove_mapping() holds tree_lock for a page that it has locked "
    "(shrink_page_list()), which is another": (
        "migrate.migrate_page_move_mapping: tree_lock.busy()",
        "shmem.shmem_unuse: self.tree_lock.busy()",
        "swap_state.add_to_swap_cache: self.tree_lock.busy()",
        "swap_state.delete_from_swap_cache: self.tree_lock.busy()",
        "swapfile.remove_exclusive_swap_page: self.tree_lock.busy()",
    ),
    "add_to_swap() marks an anonymous page dirty when it gets a slot again (`Add it to the swap cache and mark it "
    "dirty')": (
        "swapfile.free_swap_and_cache: page.PG_dirty = True",
        "swapfile.remove_exclusive_swap_page: page.PG_dirty = True",
        "swapfile.try_to_unuse_entry: page.PG_dirty = True",
    ),
    "migration_entry_wait() only waits: the access faults again": (
        "memory.migration_entry_wait: mm.ptl.acquire(self.current)",
    ),
    "unmap_and_move() moves a page for nothing that truncation has orphaned: its corner case 2": (
        "migrate.unmap_and_move: page.mapping is not None",
    ),
    "page_mkclean() has the page lock and i_mmap_lock: at its address in a shared vma is no other page": (
        "dirty_tracking_race.mkclean_check_address: pte.page is page",
    ),
    # write faults of a file
    "the mend fault_page_locked marks the page dirty itself, under the page lock and before there is a pte that may "
    "write; 2.6.26 needs it": (
        "filemap.block_page_mkwrite: page.lock.acquire(self.current)",
        "filemap.block_page_mkwrite: self.set_page_dirty(page)",
        "page_writeback.clear_page_dirty_for_io: self.set_page_dirty(page)",
    ),
    "the CPU sets the dirty bit with the store itself, page_mkclean_one() looks at the write bit, too, and the page "
    "has PG_dirty before": (
        "fault_page_locked.wp_page_shared: self.arch.pte_dirty in self.arch.pte_young | self.arch.pte_dirty",
        "fault_page_locked.wp_page_shared: the dirty bit in "
        "self.set_pte_at(mm, address, self.maybe_mkwrite(entry, vma))",
    ),
    "a CPU whose translation allows less than the pte faults once more (`useless tlb flushes', handle_pte_fault())": (
        "fault_page_locked.wp_page_shared: self.flush_tlb_page(mm, address)",
    ),
    "who calls looks again: at page->mapping under the page lock (__do_fault()), or at the pte, which truncation has "
    "cleared (do_wp_page())": (
        "fault_page_locked.wp_page_shared: page.mapping is mapping",
        "filemap.block_page_mkwrite: page.mapping is mapping",
    ),
    # truncation
    "what is dirty past the end is not kept: truncate_complete_page() calls cancel_dirty_page()": (
        "filemap.block_page_mkwrite: page.index < mapping.i_size",
        "shmem.shmem_writepage: self.set_page_dirty(page) (2)",
    ),
    "i_size is set before the ptes go (vmtruncate()): a page that is mapped later is unmapped by "
    "truncate_inode_pages(), which waits for its lock": (
        "filemap.block_page_mkwrite: page.index <= mapping.i_size",
        "shmem.shmem_fault: index >= mapping.i_size",
    ),
    "truncate_inode_pages() waits for the write, and the blocks go after that (vmtruncate())": (
        "filemap.block_write_full_page: page.index < mapping.i_size",
    ),
    "do_generic_file_read() looks at i_size once the page is uptodate, and not before": (
        "filemap.generic_file_read: index < mapping.i_size",
    ),
    "who reads while the file is cut may find what was there": (
        "filemap.generic_file_read: index < mapping.i_size (2)",
    ),
    "shmem_truncate() frees what has gone to swap: it comes when nothing is in the page cache any more": (
        "shmem.shmem_writepage: index >= mapping.i_size",
    ),
    "of a page that has gone (`Race with truncate?', __set_page_dirty()) the tag goes with the page, which has it "
    "here; in the kernel it is the radix tree's": ("page_writeback.tag_page_dirty: page.mapping is mapping",),
    "what leaves the page cache is mapped nowhere (BUG_ON(page_mapped(page)), __remove_from_page_cache())": (
        "truncate.truncate_inode_pages: page.mapping is mapping",
    ),
    "who writes or truncates has a reference, and the last one takes the inode away (iput())": (
        "truncate.sys_unlink: mapping.i_mutex.acquire(self.current)",
    ),
    # the page cache and its tree_lock
    "remove_mapping() holds tree_lock for a page that it has locked, and this one is new, or locked by another; the "
    "radix tree itself, which the lock keeps whole, is left out": (
        "filemap.new_locked_page: mapping.tree_lock.busy()",
        "filemap.remove_from_page_cache: mapping.tree_lock.busy()",
        "shmem.shmem_getpage: mapping.tree_lock.busy()",
        "shmem.shmem_getpage: self.tree_lock.busy()",
        "shmem.shmem_unuse: mapping.tree_lock.busy()",
        "shmem.shmem_writepage: mapping.tree_lock.busy()",
        "shmem.shmem_writepage: self.tree_lock.busy()",
    ),
    "who marks a page dirty has a reference, which remove_mapping() counts under tree_lock": (
        "page_writeback.tag_page_dirty: mapping.tree_lock.busy()",
    ),
    "info->lock is held from the look at the swap vector on (shmem_getpage()): there is no second": (
        "shmem.shmem_getpage: mapping.swap[index] is not swap",
    ),
    "the loop looks the page up again, and waits for its lock there": ("shmem.shmem_getpage: page.lock.busy()",),
    "who fails as if out of memory has read and stored nothing": (
        "filemap.filemap_fault: mapping.pages[index] is None",
        "filemap.generic_file_read: mapping.pages[index] is None",
        "filemap.generic_file_write: mapping.pages[index] is None",
        "shmem.shmem_fault: index < mapping.i_size",
        "shmem.shmem_getpage: mapping.pages[index] is None",
    ),
    # write-back
    "__set_page_dirty() marks once more what is marked": ("page_writeback.set_page_dirty: page.PG_dirty",),
    "the lock keeps page->mapping from being freed (set_page_dirty_lock()), and no address_space is freed here": (
        "page_writeback.set_page_dirty_lock: page.lock.acquire(self.current)",
    ),
    "the vma is not freed between find_vma() and get_file(), nor is any here": (
        "msync.sys_msync: mm.mmap_sem.down_read(task)",
    ),
    # reclaim
    "page_mapping_inuse() says what is worth keeping, not what may go": (
        "vmscan.page_mapping_inuse: page.mapcount > 0",
    ),
    "it waits for nothing but the success of lumpy reclaim: shrink_page_list() looks at PG_writeback again": (
        "vmscan.pageout: page.PG_writeback",
    ),
    "remove_mapping() counts again, under tree_lock": ("vmscan.pageout: page.count != 2",),
    "remove_mapping() looks at PG_dirty again, under tree_lock": (
        "vmscan.shrink_locked_page: page.PG_dirty",
        "vmscan.shrink_locked_page: page.PG_dirty (3)",
    ),
    "shrink_page_list() looks once more, with the page locked again": (
        "vmscan.shrink_locked_page: page.PG_dirty (2)",
        "vmscan.shrink_locked_page: page.PG_writeback (3)",
    ),
    # faults
    "on x86 the CPU sets the dirty bit at the store itself; until then the page is what it was, or is an anonymous "
    "one that add_to_swap() will mark, or who writes to it for the user calls set_page_dirty_lock()": (
        "memory.do_anonymous_page: self.arch.pte_dirty in self.mk_pte(page, vma).set(self.arch.pte_dirty)",
        "memory.do_anonymous_page: the dirty bit in self.set_pte_at(mm, address, entry)",
        "memory.do_linear_fault: self.arch.pte_dirty in entry.set(self.arch.pte_dirty)",
        "memory.do_linear_fault: the dirty bit in self.set_pte_at(mm, address, entry)",
        "memory.do_swap_page: self.arch.pte_dirty in pte.set(self.arch.pte_dirty)",
        "memory.do_wp_page: self.arch.pte_dirty in self.arch.pte_young | self.arch.pte_dirty",
        "memory.do_wp_page: self.arch.pte_dirty in self.mk_pte(new_page, vma).set(self.arch.pte_dirty)",
        "memory.do_wp_page: the dirty bit in self.set_pte_at(mm, address, entry)",
        "memory.handle_pte_fault: self.arch.pte_dirty in entry.set(self.arch.pte_dirty)",
        "memory.handle_pte_fault: mm.pte[address] is not entry",
    ),
    "an older translation allows less, so the CPU faults once more (`spurious', handle_pte_fault())": (
        "memory.do_wp_page: self.flush_tlb_page(mm, address)",
        "memory.handle_pte_fault: self.flush_tlb_page(mm, address)",
    ),
    "only the age of the page differs": (
        "rmap.page_referenced_file: mapping.i_mmap_lock.acquire(self.current)",
        "rmap.ptep_clear_flush_young: self.flush_tlb_page(vma.vm_mm, address)",
    ),
    "a shared mapping of tmpfs may write from its first pte on (vm_page_prot), so do_wp_page() does not come here; "
    "for a disk file the bases have fault_page_locked in its place": (
        "memory.wp_page_shared: mm.pte[address] is not orig_pte",
        "memory.wp_page_shared: mm.ptl.acquire(task)",
        "memory.wp_page_shared: self.arch.pte_dirty in self.arch.pte_young | self.arch.pte_dirty",
        "memory.wp_page_shared: self.flush_tlb_page(mm, address)",
        "memory.wp_page_shared: self.set_page_dirty(page)",
        "memory.wp_page_shared: the dirty bit in self.set_pte_at(mm, address, entry)",
    ),
    "only for tmpfs, as fault_page_locked has marked other pages before: a tmpfs page becomes dirty when it is "
    "unmapped": ("memory.do_linear_fault: self.set_page_dirty(page)",),
    "VM_FAULT_OOM where the pte has changed fails an access that could be done: nothing was stored": (
        "memory.do_swap_page: mm.pte[address] is entry",
        "memory.do_swap_page: mm.ptl.acquire(task)",
    ),
    "who holds the ptl at a preemption point has emptied or changed the pte before, and the look at the pte is one "
    "step with what it decides; what it is in the kernel without the ptl, the model does not show": (
        "memory.do_wp_page: mm.ptl.acquire(task)",
        "memory.handle_pte_fault: mm.ptl.acquire(task)",
        "swapfile.unuse_pte: mm.ptl.acquire(self.current)",
    ),
    "nobody knows the child's mm yet but swapoff, which comes to the parent first, whose mmap_sem fork holds": (
        "fork.dup_mmap: mm.mmap_sem.down_write_nested(task)",
    ),
    "copy_pte_range() counts only how long it has held the ptls": (
        "memory.copy_page_range: src_mm.pte[addr] is None",
    ),
    # rmap
    "a pte that maps the page has a reference to it, and pageout(), remove_mapping() and migrate_page_move_mapping() "
    "count these: a page that is still mapped stays": (
        "migrate.unmap_and_move: page.mapcount (2)",
        "rmap.page_lock_anon_vma: anon_vma.lock.acquire(self.current)",
        "rmap.page_lock_anon_vma: page.mapcount",
        "rmap.try_to_unmap: page.mapcount",
        "rmap.try_to_unmap_anon: page.mapcount",
        "rmap.try_to_unmap_anon: page.mapcount (2)",
        "rmap.try_to_unmap_file: mapping.i_mmap_lock.acquire(self.current)",
        "rmap.try_to_unmap_file: page.mapcount",
    ),
    "a vma is added at the tail of a list, where a walk that is under way still comes to it; that two CPUs at once "
    "break the list itself, the model leaves out": (
        "mmap.vma_link: anon_vma.lock.acquire(self.current)",
        "rmap.anon_vma_link: anon_vma.lock.acquire(self.current)",
        "rmap.anon_vma_prepare: anon_vma.lock.acquire(self.current)",
    ),
    "all vmas that map an anonymous page have its anon_vma and its index (__page_check_anon_rmap())": (
        "rmap.page_add_anon_rmap: page.mapcount == 1",
    ),
    "a pte that may write counts as dirty (page_mkclean_one()), and the page was marked before it might": (
        "rmap.page_mkclean: self.arch.page_test_dirty(page)",
    ),
    "a change bit that stays set makes the page dirty once more": (
        "rmap.page_mkclean: self.arch.page_clear_dirty(page)",
        "rmap.page_remove_rmap: self.arch.page_clear_dirty(page)",
    ),
    "the change bit goes to PG_dirty too early, and a later store sets it again": (
        "rmap.page_remove_rmap: page.mapcount",
    ),
    "all that unmap_mapping_range() with even_cows == 0 unmaps is past the end, where private copies go, too "
    "(vmtruncate())": ("memory.zap_pte_range: page.mapping is not check_mapping",),
    # migration
    "set_page_dirty(newpage) sets it again": ("migrate.migrate_page_move_mapping: page.tag_dirty",),
    "mmap_sem keeps the vma from which follow_page() starts; the model starts from the pte": (
        "migrate.sys_move_pages: mm.mmap_sem.down_read(task)",
    ),
    # swap
    "remove_mapping() holds tree_lock for a page that it has locked, so that TestSetPageLocked() fails": (
        "swapfile.free_swap_and_cache: self.tree_lock.busy()",
    ),
    "two mappings are not one, whatever the count of the slot": ("swapfile.can_share_swap_page: count <= 1",),
    "with more users the page goes, too, once swap is half full (vm_swap_full()), and it is marked dirty": (
        "swapfile.free_swap_and_cache: page.count == 2",
    ),
    "it is looked at twice, and the page is locked, so no write begins in between": (
        "swapfile.remove_exclusive_swap_page: page.PG_writeback",
        "swapfile.remove_exclusive_swap_page: page.PG_writeback (2)",
    ),
    "only the swap cache has the slot, so who has another reference finds another pte under the ptl, and tries "
    "again; and the page is marked dirty": ("swapfile.remove_exclusive_swap_page: page.count != 2 (2)",),
    "unuse_pte() looks again under the ptl": ("swapfile.unuse_vma: vma.vm_mm.pte[addr] is entry",),
    "a vma of another anon_vma has no pte with the slot": ("swapfile.unuse_vma: page.mapping is vma.anon_vma",),
    "swapoff does not end: it reads the slot again and again, and loses nothing": (
        "swapfile.unuse_vma: page.mapping is not None",
    ),
    # architectures
    "what the kernel writes to a page, it marks dirty itself, or clears the change bit after (SetPageUptodate())": (
        "S390.write: page.key_c = True",
    ),
    "a CPU that walks the page table at each store, loses less": (
        "X86.store: DIRTY in DIRTY | WRITE",
        "X86.store: WRITE in DIRTY | WRITE",
    ),
}


def names_on(page: str) -> list[str]:
    """The mutants in the table of the page."""
    rows = page.partition(_MARK)[2].splitlines()
    return [row.split("`")[1].replace("\\|", "|") for row in rows if row.startswith("| `")]


def write(fates: list[Fate]) -> None:
    """Write the table anew."""
    killed = sorted((fate for fate in fates if fate.word != "survived"), key=lambda fate: fate.seconds)
    losses = sum(fate.word == "loss" for fate in killed)
    quick = sum(fate.seconds < 10 for fate in killed)
    open_ = sum(fate.word == "survived" and not fate.why() for fate in fates)
    lines = [
        _MARK,
        "",
        f"{len(fates)} mutants: {losses} killed by a loss, {len(killed) - losses} by a check of the bookkeeping, "
        f"{len(fates) - len(killed)} survive, {open_} of them with no reason yet. "
        f"{quick} of {len(killed)} are killed in less than ten seconds.",
        "",
        "| mutant | fate | where | steps | seconds | shortest run found |",
        "|---|---|---|---|---|---|",
    ]
    for fate in sorted(fates, key=lambda fate: fate.name):
        what = (
            f"survives: {fate.why() or 'no reason yet'}" if fate.word == "survived" else f"{fate.word}: {fate.what}"
        )
        where = "" if fate.word == "survived" else f"{fate.where}, {fate.how}"
        cells = (f"`{fate.name}`", what, where, str(fate.steps), f"{fate.seconds:.1f}", str(fate.length or ""))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    PAGE.write_text(PAGE.read_text(encoding="utf-8").partition(_MARK)[0] + "\n".join(lines) + "\n", encoding="utf-8")
