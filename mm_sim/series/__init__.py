"""Patch series: what a patch changes, as a subclass of the kernel in one file.

A series file has one class with `title`, `posted`, `applies_to` and `expected`, and overrides the functions that the
patch touches. Every file in this folder is found by itself; `load()` also takes a path to a file elsewhere.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

from mm_sim.kernel import Kernel

#: What a series can expect of the tool.
EXPECTATIONS = ("loses", "safe", "unknown")
_FOLDER = Path(__file__).parent
_ATTRIBUTES = ("title", "posted", "applies_to")


class SeriesError(Exception):
    """A series that cannot be used: one line that names the file, the line and what to do."""


def names() -> tuple[str, ...]:
    """The names of all series of the project, 2.6.26 first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")
    return tuple(sorted(found, key=lambda name: name != "linux_2_6_26"))


def load(name_or_file: str) -> type[Kernel]:
    """The kernel of a series, by name or by path.

    Raises SeriesError for an unknown name, and for a file that does not import, holds no series or more
    than one, or overrides what the kernel does not have.
    """
    path = Path(name_or_file)
    if path.suffix != ".py":
        return _named(name_or_file)
    kernel = _only_series(_import(path), path)
    _check(kernel, path)
    return kernel


@cache
def _named(given: str) -> type[Kernel]:
    name = given.replace("-", "_").replace(".", "_")
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.3)
        hint = f", did you mean {near[0]}?" if near else f"; there are: {', '.join(names())}"
        raise SeriesError(f"no series is called {given!r}{hint}")
    path = _FOLDER / f"{name}.py"
    kernel = _only_series(importlib.import_module(f"{__name__}.{name}"), path)
    _check(kernel, path)
    return kernel


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if not path.is_file():
        raise SeriesError(f"{path}: there is no such series file")
    try:
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SeriesError(f"{path}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        line = "?"
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(path):
                line = str(trace.tb_lineno)
            trace = trace.tb_next
        raise SeriesError(f"{path}:{line}: does not import: {type(error).__name__}: {error}") from error
    return module


def _only_series(module: ModuleType, path: Path) -> type[Kernel]:
    found = [
        cls
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Kernel) and cls.__module__ == module.__name__
    ]
    if len(found) != 1:
        what = "no series" if not found else "more than one series: " + ", ".join(c.__name__ for c in found)
        raise SeriesError(f"{path}: {what}; it needs one class that derives from mm_sim.kernel.Kernel")
    return found[0]


def _check(kernel: type[Kernel], path: Path) -> None:
    """What a series overrides must exist in the kernel, or be called by the series, and be as interruptible."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    mine = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == kernel.__name__)
    defined = {node.name: node for node in mine.body if isinstance(node, ast.FunctionDef)}
    for attribute in _ATTRIBUTES:
        if not isinstance(vars(kernel).get(attribute), str):
            raise SeriesError(f"{path}:{mine.lineno}: {kernel.__name__} does not say its {attribute!r}")
    if kernel.expected not in EXPECTATIONS:
        raise SeriesError(
            f"{path}:{mine.lineno}: expected is {kernel.expected!r}; it must be one of {', '.join(EXPECTATIONS)}"
        )
    for name, value in vars(kernel).items():
        if not callable(value) or name.startswith("__") or name == "base":
            continue
        line = defined.get(name, mine).lineno
        overridden = next((vars(base)[name] for base in kernel.__mro__[1:] if name in vars(base)), None)
        if overridden is None and name not in used:
            known = [n for base in Kernel.__mro__ for n in vars(base)]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise SeriesError(f"{path}:{line}: the kernel has no {name}() to override{hint}")
        if overridden is not None and name in defined:
            yields = inspect.isgeneratorfunction(value)
            returns = any(isinstance(node, ast.Return) and node.value for node in ast.walk(defined[name]))
            if not _is_interruptible(overridden) and yields:
                raise SeriesError(f"{path}:{line}: {name}() cannot be interrupted: it must not yield")
            if _is_interruptible(overridden) and not yields and not returns:
                raise SeriesError(f"{path}:{line}: {name}() can be interrupted: it must yield, or return steps")


def _is_interruptible(function: FunctionType) -> bool:
    return inspect.isgeneratorfunction(function) or str(function.__annotations__.get("return")).startswith("Steps")
