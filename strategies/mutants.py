"""Mutants of the model: the kernel without one of the statements that record, hand on or protect dirtiness.

They are read off the source by the patterns below, so a new statement has its mutant at once. A mutant is a subclass
of the kernel that all drivers take as a series. May use `mm_sim`.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

from mm_sim.arch import S390, X86, Arch
from mm_sim.kernel import Kernel
from mm_sim.mm import Mm
from mm_sim.names import SHM, TMPFS
from mm_sim.page import DIRTY, Pte, PteVal
from mm_sim.sched import KernelBug, Steps
from mm_sim.system import Scope

#: Calls that are not made, and what is answered in their place: nothing was dirty; every lock is free.
CALLS: Final[dict[str, bool]] = {
    **dict.fromkeys(("SetPageDirty", "set_page_dirty", "set_page_dirty_lock"), False),
    **dict.fromkeys(("set_page_dirty_and_tag", "mark_buffer_dirty"), False),
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
WRITTEN: Final = frozenset(("AS_EIO", "PG_dirty", "buffers", "key_c", "tag_dirty"))
#: Records that are not seen: as if the page were clean, mapped nowhere, on no disk and on its way to none.
READ: Final = frozenset(("PG_dirty", "PG_writeback", "accounts_dirty", "buffers", "key_c", "mapcount", "tag_dirty"))
#: Counts that are not looked at: as if nobody else had the page or the slot.
COUNTS: Final = frozenset(("count", "map", "mapcount"))
#: What s390 has not: the dirty bit of a pte, which page_mkclean() cleans, and translations that outlive their pte.
ONLY_X86: Final = ("DIRTY", "pte_dirty", "the dirty bit", "mkclean", "flush_tlb")
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
    if _name(right) == "mmlist":  # it is there already
        return isinstance(op, ast.In)
    if isinstance(op, (ast.Is, ast.IsNot)):
        if isinstance(left, ast.Subscript) and _name(left.value) in TABLES:
            return isinstance(op, ast.Is)
        if isinstance(left, ast.Attribute) and left.attr in OWNERS:
            gone = left.attr == "mapping" and isinstance(right, ast.Constant)  # truncated
            return isinstance(op, ast.Is) != gone
    return None


def _observes(node: ast.AST) -> bool:
    """Code that is none of the kernel's: checks of the bookkeeping, marks."""
    if isinstance(node, (ast.Assert, ast.Raise, ast.Yield, ast.JoinedStr)):
        return True
    if isinstance(node, ast.Call):
        return _name(node) == "mark"
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and all(
            isinstance(one, ast.Raise) or (isinstance(one, ast.Expr) and _name(one.value) == "mark")
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
                steps = isinstance(parent, (ast.Return, ast.YieldFrom))
                yield ast.unparse(node), node, () if steps else CALLS[name]
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
def functions_of(cls: type) -> dict[str, ast.FunctionDef]:
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
        for name, function in functions_of(cls).items() if cls.__module__.startswith("mm_sim.") else ():
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
            names = names_in(vars(cls).get(self.function.name))
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


def names_in(function: object) -> list[str]:
    """The names that the code of a function has, and of the functions within."""
    code = getattr(function, "__code__", None)
    inner = [const for const in code.co_consts if isinstance(const, CodeType)] if code else []
    return [*code.co_names, *(name for one in inner for name in one.co_names)] if code else []
