"""What a patch changes, and which of its lines have run.

A function that the patch changes is compiled once more with a note at each statement, so a line that has run is known
for certain, and nothing else becomes slower. May use `mm_sim` only.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from mm_sim.kernel import Kernel
from mm_sim.labels import function_of

#: What a patch says about itself.
SAID = frozenset(("title", "posted", "applies_to", "base", "expected", "fields", "loses_in", "rules"))
_NOTE = "__ran__"


class Function(NamedTuple):
    """A function that a patch changes or brings: its name, its file, and the lines of its statements."""

    name: str
    file: str
    lines: tuple[int, ...]


def _attributes(kernel: type[Kernel]) -> dict[str, Any]:
    return {name: value for cls in reversed(kernel.__mro__[:-1]) for name, value in vars(cls).items()}


def changed(kernel: type[Kernel], base: type[Kernel]) -> dict[str, Any]:
    """What differs between two kernels, by name: functions, constants, properties."""
    ours, theirs = _attributes(kernel), _attributes(base)
    return {
        name: ours.get(name)
        for name in sorted((ours.keys() | theirs.keys()) - SAID)
        if name[:2] != "__"
        and ours.get(name) is not theirs.get(name)
        and not inspect.ismemberdescriptor(ours.get(name))
    }


def functions(kernel: type[Kernel], base: type[Kernel]) -> list[FunctionType]:
    """The functions that a patch changes, what they reach by super(), and the helpers and rules of its modules."""
    found: dict[FunctionType, None] = {}
    modules: dict[str, dict[str, Any]] = {}
    for name, value in changed(kernel, base).items():
        for cls in kernel.__mro__:
            if cls in base.__mro__ and value is not vars(cls).get(name):
                break
            if (function := function_of(vars(cls).get(name))) is not None:
                found[function] = None
                modules[function.__module__] = function.__globals__
                if "__class__" not in function.__code__.co_freevars:
                    break
    for rule in kernel.rules if kernel.rules is not base.rules else ():
        for part in (rule.when, rule.steps, rule.action):
            if isinstance(part, FunctionType) and part.__module__ == kernel.__module__:
                found[part] = None
    for module, names in modules.items():
        if not module.startswith(f"{Kernel.__module__}."):  # a module of the base is no module of the patch
            for value in names.values():
                if isinstance(value, FunctionType) and value.__module__ == module:
                    found[value] = None
    return list(found)


def names(code: CodeType) -> Iterator[str]:
    """The names that a function uses, nested functions included."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from names(const)


@dataclass(slots=True)
class Coverage:
    """The functions that a patch changes, and the lines of them that have run so far in this process."""

    functions: tuple[Function, ...]
    ran: set[tuple[str, int]]

    def take(self) -> set[tuple[str, int]]:
        """The lines that have run since the last call."""
        ran = set(self.ran)
        self.ran.clear()
        return ran


def functions_of(kernel: type[Kernel], base: type[Kernel]) -> tuple[Function, ...]:
    """The functions that a patch changes or brings, with their lines."""
    return tuple(one for one, *_ in _with_notes(kernel, base))


def watch(kernel: type[Kernel], base: type[Kernel]) -> Coverage:
    """Note from now on which lines of a patch run. In this process its functions stay as they are made here."""
    ran: set[tuple[str, int]] = set()
    found = []
    for one, function, noted in _with_notes(kernel, base):
        function.__code__ = noted
        function.__globals__[_NOTE] = ran
        found.append(one)
    return Coverage(tuple(found), ran)


def _with_notes(kernel: type[Kernel], base: type[Kernel]) -> Iterator[tuple[Function, FunctionType, CodeType]]:
    files: dict[str, dict[tuple[str, int], tuple[CodeType, tuple[int, ...]]]] = {}
    for function in functions(kernel, base):
        code = function.__code__
        file = code.co_filename
        if file not in files:
            files[file] = _noted(file)
        noted, lines = files[file].get((code.co_qualname, code.co_firstlineno), (code, ()))
        if noted.co_freevars == code.co_freevars:
            yield Function(function.__name__, file, lines), function, noted


def _noted(file: str) -> dict[tuple[str, int], tuple[CodeType, tuple[int, ...]]]:
    """The functions of a file with notes, by qualified name and first line, each with the lines of its statements."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"), file)
    lines: dict[int, tuple[int, ...]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            body = list(node.body if ast.get_docstring(node, clean=False) is None else node.body[1:])
            before = len(body)
            lines[first] = tuple(sorted(set(_note(body, file))))
            node.body[len(node.body) - before :] = body
    return {
        (code.co_qualname, code.co_firstlineno): (code, lines[code.co_firstlineno])
        for code in _codes(compile(ast.fix_missing_locations(tree), file, "exec"))
        if code.co_firstlineno in lines and not code.co_name.startswith("<")
    }


def _codes(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _codes(const)


def _note(body: list[ast.stmt], file: str) -> Iterator[int]:
    """Put a note before each statement that can be reached; their lines."""
    for at, statement in reversed(list(enumerate(body))):
        if any(isinstance(one, ast.Return | ast.Raise | ast.Continue | ast.Break) for one in body[:at]):
            continue
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):  # a nested function is one of its own
            yield statement.lineno
            for field in ("body", "orelse", "finalbody"):
                yield from _note(getattr(statement, field, []), file)
            for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                yield from _note(part.body, file)
        note = ast.parse(f"{_NOTE}.add({(file, statement.lineno)!r})").body[0]
        for node in ast.walk(note):
            ast.copy_location(node, statement)
        body.insert(at, note)
