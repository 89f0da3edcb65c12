"""Mutants of the prover: of the state key, going back, pruning, preemption counting, certificates, base and check.

They are read off the source, as those of the model are (`mutants`): one statement, operand or element is left out,
one comparison or answer is another. A mutant changes the code of a function in place, so it is run in a process of
its own. May use `mm_sim` and the prover.
"""

from __future__ import annotations

import ast
import inspect
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from mm_sim import snapshot, system
from strategies import comparison, explore, minimise

#: What is mutated: all functions of a module or class, or those that are named.
PLACES: Final[tuple[tuple[ModuleType, str, tuple[str, ...]], ...]] = (
    (snapshot, "_Writer", ()),
    (
        snapshot,
        "",
        (
            *("stack", "_put_steps", "_put", "_put_code", "_function", "_numbers", "_outline", "orders", "canonical"),
            *("_signature", "_vmas", "save", "restore", "_save_file", "_restore_file", "is_quiet"),
        ),
    ),
    (
        explore,
        "Search",
        ("begin", "build", "redo", "expand", "follow", "failed", "visit", "run", "look_at_failures", "compare"),
    ),
    (comparison, "Base", ("after", "fails", "_outcomes", "_run", "state")),
    (comparison, "", ("failure",)),
    (minimise, "", ("within", "preemptions", "certify")),
    (
        system,
        "System",
        (
            "after",
            "peek",
            "peek_slot",
            "peek_file",
            "check",
            "check_page",
            "check_files",
            "check_tlbs",
            "check_store",
        ),
    ),
)
#: Of the reductions, of processes that share the work, and of what only makes a search quicker: not mutated here.
OTHERS: Final = frozenset(
    (
        *("free", "normal", "commutes", "movers", "goes_on", "normalise", "preludes", "changes_nothing", "forms"),
        *(
            "argued",
            "kswapd_alone",
            "endless",
            "LOCK",
            "use_is_unseen",
            "waits_at_once",
            "since",
            "seen_at",
            "before",
        ),
        *("jobs", "checkpoint", "progress", "interrupted", "handler", "start", "seconds", "transitions", "concrete"),
        *("same", "rest", "marks", "NotDeterministic", "Normal", "met"),
    )
)
_SWAPPED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
#: How a node changes: in words, and what is done to it in place. None: the statement is left out.
_Change = tuple[str, ast.AST, "Callable[[Any], ast.AST] | None"]


def _names(node: ast.AST) -> set[str]:
    return {getattr(one, "attr", getattr(one, "id", "")) for one in ast.walk(node)}


def _other(node: ast.AST) -> bool:
    """Whether a statement is about something else: its own expressions, not the statements in it."""
    if isinstance(node, (ast.If, ast.While)):
        return bool(_names(node.test) & OTHERS)
    if isinstance(node, (ast.For, ast.With, ast.Try, ast.FunctionDef)):
        return False
    if isinstance(node, (ast.Assert, ast.Raise, ast.AnnAssign, ast.Global)):
        return True
    return isinstance(node, ast.stmt) and bool(_names(node) & OTHERS)


def _nodes(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, ast.AST]]:
    """The nodes of a function with their parents, without what is about something else and without annotations."""
    todo: list[tuple[ast.AST, ast.AST]] = [(function, one) for one in reversed(function.body)]
    while todo:
        parent, node = todo.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        inside = isinstance(node, ast.stmt) and _other(node)
        if not inside:
            yield parent, node
        if inside and not isinstance(node, (ast.If, ast.While)):
            continue
        children = list(ast.iter_child_nodes(node))
        if inside and isinstance(node, (ast.If, ast.While)):
            children = [*node.body, *node.orelse]
        if isinstance(node, ast.FunctionDef):
            children = list(node.body)
        todo += [(node, child) for child in reversed(children)]


def _changes(function: ast.FunctionDef) -> Iterator[_Change]:
    for parent, node in _nodes(function):
        if isinstance(node, (ast.Expr, ast.AugAssign, ast.Break, ast.Continue)) or (
            isinstance(node, ast.Assign)
            and any(isinstance(one, (ast.Attribute, ast.Subscript)) for one in node.targets)
        ):
            yield f"without {ast.unparse(node)}", node, None
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            new = _SWAPPED[type(node.ops[0])]
            yield f"{ast.unparse(node)} with {new.__name__}", node, _with_operator(new)
        elif isinstance(node, ast.BoolOp):
            for i, value in enumerate(node.values):
                yield f"{ast.unparse(node)} without {ast.unparse(value)}", node, _without("values", i)
        elif isinstance(node, (ast.Tuple, ast.List)) and len(node.elts) > 1 and isinstance(node.ctx, ast.Load):
            grows = isinstance(parent, (ast.AugAssign, ast.For, ast.Call, ast.Return, ast.comprehension, ast.Tuple))
            for i, value in enumerate(node.elts) if grows else ():
                yield f"{ast.unparse(node)} without {ast.unparse(value)}", node, _without("elts", i)
        elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store):
            for i, value in enumerate(node.elts):
                if isinstance(value, (ast.Attribute, ast.Subscript)):
                    yield f"{ast.unparse(value)} is not brought back", node, _unset(i)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and type(node.value.value) is bool:
            yield f"return {not node.value.value}", node, _answering(not node.value.value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and not isinstance(node.left, ast.Constant):
            yield f"{ast.unparse(node)} without {ast.unparse(node.right)}", node, lambda old: old.left
        elif isinstance(node, (ast.If, ast.IfExp)) and not isinstance(node.test, (ast.Compare, ast.BoolOp)):
            yield f"as if {ast.unparse(node.test)}", node, _tested(True)
            yield f"as if not {ast.unparse(node.test)}", node, _tested(False)


def _with_operator(new: type[ast.cmpop]) -> Callable[[Any], ast.AST]:
    return lambda node: ast.Compare(node.left, [new()], node.comparators)


def _without(field: str, i: int) -> Callable[[Any], ast.AST]:
    def change(node: Any) -> ast.AST:
        rest = getattr(node, field)
        rest = rest[:i] + rest[i + 1 :]
        if field == "values":
            return rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        return type(node)(rest, node.ctx)  # type: ignore[no-any-return]

    return change


def _unset(i: int) -> Callable[[Any], ast.AST]:
    return lambda node: ast.Tuple([*node.elts[:i], ast.Name("_", ast.Store()), *node.elts[i + 1 :]], node.ctx)


def _answering(value: bool) -> Callable[[Any], ast.AST]:
    return lambda node: ast.Return(ast.Constant(value))


def _tested(value: bool) -> Callable[[Any], ast.AST]:
    def change(node: Any) -> ast.AST:
        node.test = ast.Constant(value)
        return node  # type: ignore[no-any-return]

    return change


class _Take(ast.NodeTransformer):
    """Puts something in the place of one node."""

    def __init__(self, node: ast.AST, instead: Callable[[Any], ast.AST] | None) -> None:
        self.node, self.instead = node, instead

    def visit(self, node: ast.AST) -> Any:
        if node is not self.node:
            return self.generic_visit(node)
        return ast.Pass() if self.instead is None else self.instead(node)


@dataclass(frozen=True, slots=True, eq=False)
class ProverMutant:
    """A function of the prover with one change: `name` is `module.function: change`."""

    name: str
    module: ModuleType
    owner: str
    function: str
    number: int

    def apply(self) -> None:
        """Change the function, for the rest of this process."""
        if self.function == "_PAGE":
            fields = [name for n, name in enumerate(_page_fields()) if n != self.number]
            snapshot._PAGE = operator.attrgetter(*fields)
            return
        definition = deepcopy(_functions_of(self.module, self.owner)[self.function])
        _, node, instead = list(_changes(definition))[self.number]
        definition = _Take(node, instead).visit(definition)
        definition.decorator_list = []
        tree = ast.fix_missing_locations(ast.Module([definition], []))
        flags = annotations.compiler_flag
        made = compile(tree, self.module.__file__ or "", "exec", flags, dont_inherit=True)
        code = next(one for one in made.co_consts if isinstance(one, CodeType) and one.co_name == self.function)
        _original(self.module, self.owner, self.function).__code__ = code


def _original(module: ModuleType, owner: str, name: str) -> FunctionType:
    function: Any = vars(getattr(module, owner) if owner else module)[name]
    unwrapped: FunctionType = inspect.unwrap(function)
    return unwrapped


@cache
def _functions_of(module: ModuleType, owner: str) -> dict[str, ast.FunctionDef]:
    body = ast.parse(inspect.getsource(module)).body
    if owner:
        body = next(node for node in body if isinstance(node, ast.ClassDef) and node.name == owner).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def _page_fields() -> tuple[str, ...]:
    """What the key says of a page beside what it refers to."""
    fields: tuple[str, ...] = snapshot._PAGE.__reduce__()[1]  # type: ignore[assignment]
    return fields


@cache
def all_prover_mutants() -> dict[str, ProverMutant]:
    """All mutants by their names, in the order of the source."""
    found: dict[str, ProverMutant] = {}
    for n, field in enumerate(_page_fields()):
        name = f"snapshot._PAGE: without {field}"
        found[name] = ProverMutant(name, snapshot, "", "_PAGE", n)
    for module, owner, some in PLACES:
        of_file = module.__name__.rpartition(".")[2]
        for function, definition in _functions_of(module, owner).items():
            if some and function not in some:
                continue
            times: Counter[str] = Counter()
            for number, (what, *_) in enumerate(_changes(definition)):
                what = " ".join(what.split())
                times[what] += 1
                nth = f" ({times[what]})" if times[what] > 1 else ""
                name = f"{of_file}.{function}: {what}{nth}"
                found[name] = ProverMutant(name, module, owner, function, number)
    return found


# what becomes of them

PAGE: Final = Path(__file__).parent.parent / "docs" / "prover.md"
_MARK: Final = "<!-- what follows is written by `pytest -m mutants` -->"
#: Why a mutant that passes all checks proves the same: by reason.
EQUIVALENT: Final[dict[str, tuple[str, ...]]] = {
    "what is written then is empty, or None for each page: the condition saves time": (
        "snapshot.__init__: as if owns",
        "snapshot.__init__: as if owns (2)",
        "snapshot.file: as if file.own",
        "snapshot.page: as if page.own",
        "snapshot.mm: as if mm.own",
        "snapshot.vma: as if vma.own",
        "snapshot.mm: as if mm.tlbs",
        "snapshot.mm: as if space.cut",
        "snapshot.mm: as if space.moves",
        "snapshot.mm: as if self.files",
        "snapshot.save: as if space.forks",
        "snapshot.__init__: slots and self.slots without self.slots",
    ),
    "one page is sorted, or looked at again: the same": (
        "snapshot.__init__: len(left) > 1 with GtE",
        "snapshot.__init__: page.count and page not in self.pages without page not in self.pages",
    ),
    "the key tells more states apart, and takes none for another: a search visits more": (
        "snapshot.__init__: without self.values.clear()",
        "snapshot.__init__: slots and self.slots without slots",
        "snapshot.__init__: as if mmlist",
        "snapshot.thing: self.alien and kind not in _ATOMS without kind not in _ATOMS",
        "snapshot.thing: self.alien and kind not in _ATOMS without self.alien",
        "snapshot.list: as if self.alien",
        "snapshot._put_steps: as if function.loops",
        "snapshot._function: one.opname == 'FOR_ITER' with NotEq",
        "snapshot.container: known is not None and (not isinstance(thing, tuple)) without not isinstance(thing, "
        "tuple)",
        "snapshot._numbers: is_dataclass(thing) and (not isinstance(thing, type)) without not isinstance(thing, "
        "type)",
    ),
    "pages that nobody can come to are written whole, in whatever order: one state may have more keys": tuple(
        "snapshot._outline: (page.PG_dirty, page.PG_writeback, page.PG_referenced, page.PG_uptodate, page.key_c, "
        f"page.key_r) without page.{name}"
        for name in ("PG_dirty", "PG_writeback", "PG_referenced", "PG_uptodate", "key_c", "key_r")
    ),
    "what is met for the first time has the next number, and its record is longer than a number": (
        "snapshot.page: (number, *_PAGE(page), self.values.get(page.content, GARBAGE)) without number",
        "snapshot.slot: (number, slot.map, self.values.get(slot.content, GARBAGE)) without number",
        "snapshot.mm: (number, mm.mm_users, len(mm.mmap), len(sem.readers), len(mm.tlbs)) without number",
    ),
    "the list is longer by each entry, and what is written around it has a fixed number of entries": (
        "snapshot.mm: (number, mm.mm_users, len(mm.mmap), len(sem.readers), len(mm.tlbs)) without len(mm.mmap)",
        "snapshot.mm: (number, mm.mm_users, len(mm.mmap), len(sem.readers), len(mm.tlbs)) without len(sem.readers)",
        "snapshot.mm: (number, mm.mm_users, len(mm.mmap), len(sem.readers), len(mm.tlbs)) without len(mm.tlbs)",
    ),
    "where there is a page, two more answers about each promise come before it": (
        "snapshot.file: without out.append(None)",
    ),
    "the two words change places": ("snapshot.lock: mm.ptl is lock with IsNot (2)",),
    "it is written as the one lock that is of nothing that is known": (
        "snapshot.lock: (kernel.tree_lock, *of_files) without kernel.tree_lock",
    ),
    "no key can be made of an iterator of a patch's own class: `thing` says so": (
        "snapshot._numbers: isinstance(thing, Iterator) and type(thing).__module__ == 'builtins' and (type(thing) "
        "not in _CODE) without type(thing).__module__ == 'builtins'",
    ),
    "None is no key of ghost.spaces": (
        "snapshot.live: task.mm is not None and (space := self.system.ghost.spaces.get(task.mm)) "
        "is not None without task.mm is not None",
    ),
    "the table of writers writes the same": (
        "snapshot.task: kind is int or kind is str or thing is None without kind is int",
        "snapshot.task: kind is int or kind is str or thing is None without kind is str",
        "snapshot.task: kind is int or kind is str or thing is None without thing is None",
    ),
    "all orders are tried, and the least key taken: the same key, later": (
        "snapshot.orders: one[0] != other[0] or one[0] == _NOBODY without one[0] == _NOBODY",
        "snapshot.orders: one[0] != other[0] or one[0] == _NOBODY without one[0] != other[0]",
        "snapshot.orders: as if not all((one[0] != other[0] or one[0] == _NOBODY for one, other in "
        "pairwise(signed)))",
        "snapshot._signature: (op, task.point or '', [8 if pte is None else pte.bits if type(pte) is Pte else 9 for "
        "pte in mm.pte]) without task.point or ''",
        "snapshot._signature: (op, task.point or '', [8 if pte is None else pte.bits if type(pte) is Pte else 9 for "
        "pte in mm.pte]) without [8 if pte is None else pte.bits if type(pte) is Pte else 9 for pte in mm.pte]",
        "snapshot._signature: task.point or '' without task.point",
        "snapshot._signature: pte is None with IsNot",
        "snapshot._vmas: v.anon_vma is None or v in v.anon_vma.head without v in v.anon_vma.head",
    ),
    "the same operation is run once more, or looked at in its midst as well: the same end, later": (
        "comparison._outcomes: (*asked, False) without *asked",
        "comparison._outcomes: (*asked, False) without False",
        "comparison._run: not end and point not in found without not end",
    ),
    "the cache of functions saves time": (
        "snapshot._put_steps: _functions.get(id(code)) or _function(code) without _functions.get(id(code))",
    ),
    "the state is built again by its steps, or saved though nobody needs it: the same state, later": (
        "explore.build: without self.keep(origin)",
        "explore.expand: len(todo) > 1 with GtE",
        "explore.expand: as if steps",
        "explore.visit: as if not is_quiet(system)",
        "explore.visit: without self.keep(origin)",
        "comparison.state: as if not is_quiet(self.system)",
    ),
    "a task is run on, or a state gone on from, once more than need be: the search visits more": (
        "explore.expand: as if not known >> order.index(task.name) & 1",
        "explore.visit: as if not known & bit",
        "explore.visit: without self.seen[key] = known | bit",
        "explore.expand: without continue",
        "explore.expand: without continue (2)",
    ),
    "the state before was checked when it was visited": ("explore.redo: without system.after()",),
    "it is None or a run: a run is not empty": (
        "explore.look_at_failures: path is None or failed is None without path is None",
    ),
    "the state is saved already, or `here` is None only where nothing comes after": (
        "explore.expand: as if n",
        "explore.expand: here is not None with Is",
        "explore.expand: unmoved and here is not None without here is not None",
    ),
    "what is pruned less: all that is visited is a run's state, and marks only prune": (
        "explore.follow: without break",
        "explore.follow: without marked.clear()",
    ),
    "what fails is a Loss or a KernelBug, and a loss that is wanted has ended the loop": (
        "explore.look_at_failures: isinstance(failed, Loss) and self.wanted(path, failed) without "
        "isinstance(failed, Loss)",
        "explore.look_at_failures: isinstance(failed, KernelBug) and self.wanted(path, failed) without "
        "isinstance(failed, KernelBug)",
    ),
    "a search beside the base finds no run in which the base fails: it is asked once more": (
        "explore.look_at_failures: self.base is not None and self.beside is None and self.base.fails(path) without "
        "self.beside is None",
    ),
    "at the last depth `visit` adds no state: the layer is empty": (
        "explore.run: not self.layer or result.depth == self.bounds.steps without result.depth == self.bounds.steps",
    ),
    "the look at the address, or at the file, that is saved finds what is expected": (
        "system.check: as if files",
        "system.check: as if mm.tlbs",
        "system.check_tlbs: page.content == expected or space.busy[addr] without page.content == expected",
        "system.check: without continue",
        "system.check: without continue (2)",
        "system.check: expected is None or (expected == ZERO and pte is None and (not files)) without "
        "expected is None",
        "system.check: expected is None or (expected == ZERO and pte is None and (not files)) without "
        "expected == ZERO and pte is None and (not files)",
        "system.check_files: expected is None or (page is not None and page.content == expected and "
        "page.PG_uptodate) without page is not None and page.content == expected and page.PG_uptodate",
    ),
    "without files no vma has one": ("system.peek: as if self.kernel.files",),
    "the next look at the clock sees it": (
        "explore.run: time.monotonic() >= deadline with Gt",
        "minimise.certify: time.monotonic() < deadline with LtE",
    ),
    "each search looks at the deadline itself: what is left of it is out of time": (
        "minimise.certify: result.ended not in _ENDS and (deadline is None or time.monotonic() < deadline) without "
        "deadline is None or time.monotonic() < deadline",
    ),
    "a search that was cut off is done again, after some of fewer rules": (
        "minimise.certify: states <= _FIRST with Lt",
    ),
    "the run is within the bounds of the search, which ends with it or another one": (
        "minimise.certify: result.found or best without best",
    ),
}


def reason(name: str) -> str:
    """Why a mutant proves the same; empty if nobody says so."""
    return next((why for why, names in EQUIVALENT.items() if name in names), "")


def killers_on(page: str) -> dict[str, str]:
    """The mutants in the table of the page, and the check that kills each; empty for those that survive."""
    found: dict[str, str] = {}
    for row in page.partition(_MARK)[2].splitlines():
        if row.startswith("| `"):
            _, name, by, _ = row.replace("\\|", "\0").split("|")
            name, by = (cell.strip().replace("\0", "|") for cell in (name, by))
            found[name.strip("`")] = by.removeprefix("survives").strip("`") if by.startswith("`") else ""
    return found


def write(killers: dict[str, str]) -> None:
    """Write the table anew: of each mutant the check that kills it."""
    survive = [name for name, by in killers.items() if not by]
    open_ = sum(not reason(name) for name in survive)
    lines = [
        _MARK,
        "",
        f"{len(killers)} mutants: {len(killers) - len(survive)} killed, "
        f"{len(survive) - open_} survive and are argued, {open_} survive with no reason yet.",
        "",
        "| mutant | killed by |",
        "|---|---|",
    ]
    for name, by in sorted(killers.items()):
        cells = f"`{name}`", f"`{by}`" if by else f"survives: {reason(name) or 'no reason yet'}"
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    PAGE.write_text(PAGE.read_text(encoding="utf-8").partition(_MARK)[0] + "\n".join(lines) + "\n", encoding="utf-8")
