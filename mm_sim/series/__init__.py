"""Patch series: what a patch changes, as a subclass of the kernel in one file.

A series file has one class with `title`, `posted`, `applies_to`, and `loses_in` or `expected`, and overrides the
functions that the patch touches. Every file in this folder is found by itself; `load()` also takes a path to a file
elsewhere. Each is checked (`mm_sim.patch_check`).
"""

from __future__ import annotations

import ast
import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from mm_sim.kernel import Kernel
from mm_sim.patch_check import EXPECTATIONS, Finding, SeriesError, check, check_module

__all__ = ["EXPECTATIONS", "SeriesError", "load", "names"]

_FOLDER = Path(__file__).parent
_HOW = (
    "a patch is written in Python, as a subclass of mm_sim.kernel.Kernel in a .py file that overrides what the patch "
    "touches (CONTRIBUTING.md)"
)


def names() -> tuple[str, ...]:
    """The names of all series of the project, 2.6.26 first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")
    return tuple(sorted(found, key=lambda name: name != "linux_2_6_26"))


def load(name_or_file: str) -> type[Kernel]:
    """The kernel of a series, by name or by path. A file that has not changed gives the same class again.

    Raises SeriesError for an unknown name, and for a file that does not import, holds no series or more
    than one, or is not as a patch must be (`mm_sim.patch_check`).
    """
    path = Path(name_or_file)
    name = name_or_file.replace("-", "_").replace(".", "_")
    if name in names():
        return _named(name)
    if path.suffix == ".py":
        return _from_file(path)
    if path.is_dir():
        raise SeriesError(f"{path}: is a folder; name a .py file in it")
    if path.exists() or len(path.parts) > 1 or path.suffix in _OTHER:
        raise SeriesError(f"{path}: no Python file: {_HOW}")
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.3)
    hint = f", did you mean {near[0]}?" if near else f"; there are: {', '.join(names())}"
    raise SeriesError(f"no series is called {name_or_file!r}{hint}")


#: Suffixes of what people have of a patch.
_OTHER = (".c", ".diff", ".eml", ".h", ".mbox", ".patch", ".txt")


@cache
def _named(name: str) -> type[Kernel]:
    path = _FOLDER / f"{name}.py"
    module = importlib.import_module(f"{__name__}.{name}")
    return _checked(module, _parse(path, path.read_bytes()), path)


@dataclass
class _File:
    """A file that was loaded, with the files beside it that it imports, and its series once it is checked."""

    source: bytes
    module: ModuleType
    tree: ast.Module
    beside: dict[Path, _File]
    kernel: type[Kernel] | None = None

    def is_current(self, source: bytes) -> bool:
        return self.source == source and all(file.is_current(_read(path)) for path, file in self.beside.items())


#: By absolute path.
_loaded: dict[Path, _File] = {}


def _from_file(path: Path) -> type[Kernel]:
    file = _import(path)
    if file.kernel is None:
        file.kernel = _checked(file.module, file.tree, path)
        _check_beside(file, file.kernel)
    return file.kernel


def _check_beside(file: _File, kernel: type[Kernel]) -> None:
    for path, other in file.beside.items():
        if _series_in(other.module):
            _checked(other.module, other.tree, path)
        else:
            with _named_in(path):
                check_module(kernel, other.module, other.tree)
        _check_beside(other, kernel)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SeriesError(f"{path}: there is no such series file") from None
    except IsADirectoryError:
        raise SeriesError(f"{path}: is a folder; name a .py file in it") from None
    except OSError as error:
        raise SeriesError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(path: Path, source: bytes) -> ast.Module:
    if _DIFF.match(source) or b"\0" in source:
        raise SeriesError(f"{path}: no Python file: {_HOW}")
    try:
        return ast.parse(source.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = source[: error.start].count(b"\n") + 1
        raise SeriesError(f"{path}:{line}: is not UTF-8: save it as UTF-8") from None
    except SyntaxError as error:
        raise SeriesError(f"{path}:{error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise SeriesError(f"{path}: is no Python: {error}: {_HOW}") from error


#: How a patch for the kernel begins, whatever its file is called.
_DIFF = re.compile(rb"(From |diff |Index: |--- )")


def _import(path: Path) -> _File:
    """Run a file as a module under a name of its own, so that it is in no other module's way."""
    source, absolute = _read(path), Path(os.path.abspath(path))
    known = _loaded.get(absolute)
    if known is not None and known.is_current(source):
        return known
    tree = _parse(path, source)
    digest = sha256(b"%s\0%s" % (os.fsencode(absolute), source)).hexdigest()[:12]
    module = ModuleType(f"{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}@{digest}")
    module.__file__ = str(absolute)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        code = compile(tree, str(absolute), "exec", dont_inherit=True)
        with _files_beside(absolute.parent) as beside:
            exec(code, vars(module))
    except SeriesError:
        _forget(module, before)
        raise
    except (Exception, SystemExit) as error:
        _forget(module, before)
        line = getattr(error, "lineno", None) or "?"
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == str(absolute):
                line = trace.tb_lineno
            trace = trace.tb_next
        text = " ".join(str(error).split())
        raise SeriesError(f"{path}:{line}: does not import: {type(error).__name__}: {text}") from error
    file = _loaded[absolute] = _File(source, module, tree, beside)
    return file


def _forget(module: ModuleType, before: ModuleType | None) -> None:
    del sys.modules[module.__name__]
    if before is not None:
        sys.modules[module.__name__] = before


class _Ready(Loader):
    """Hands out a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """It has run."""


class _Beside(MetaPathFinder):
    """Finds the modules of one folder, but for what the standard library has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[Path, _File] = {}
        self.names: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.folder / f"{name}.py"
        if path is not None or "." in name or name in sys.stdlib_module_names or not file.is_file():
            return None
        self.found[file] = _import(file)
        self.names.append(name)
        return ModuleSpec(name, _Ready(self.found[file].module))


@contextmanager
def _files_beside(folder: Path) -> Iterator[dict[Path, _File]]:
    """Let a file import what lies beside it."""
    finder = _Beside(folder)
    sys.meta_path.insert(0, finder)
    try:
        yield finder.found
    finally:
        sys.meta_path.remove(finder)
        for name in finder.names:
            sys.modules.pop(name, None)


def _series_in(module: ModuleType) -> list[type[Kernel]]:
    mine = [cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == module.__name__]
    return [cls for cls in dict.fromkeys(mine) if issubclass(cls, Kernel)]


def _checked(module: ModuleType, tree: ast.Module, path: Path) -> type[Kernel]:
    """The one series of a module."""
    found = _series_in(module)
    if len(found) != 1:
        what = "no series" if not found else "more than one series: " + ", ".join(c.__name__ for c in found)
        raise SeriesError(f"{path}: {what}; it needs one class that derives from mm_sim.kernel.Kernel")
    with _named_in(path):
        check(found[0], module, tree)
    return found[0]


@contextmanager
def _named_in(path: Path) -> Iterator[None]:
    try:
        yield
    except Finding as finding:
        raise SeriesError(f"{path}:{finding.line}: {finding}") from None
