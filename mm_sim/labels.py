"""The preemption points of an operation, read off the code: there is no list to keep by hand.

A point is a string constant of the form `function: where` in a generator. Starting from the function of a rule, every
method of the kernel that is named in the code is followed, in all the classes that define it; so is every function of
a module, and what is nested in one. Uses the standard library and `mm_sim.kernel` only.
"""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from inspect import CO_GENERATOR, isfunction
from types import CodeType, FunctionType, ModuleType

from mm_sim.kernel import Kernel

#: The form of a label.
LABEL = re.compile(r"\w+: [\w' ]+")


def labels(kernel: type[Kernel], function: Callable[..., object]) -> tuple[str, ...]:
    """The labels at which `function` can stop on `kernel`, in the order in which the code names them."""
    known = _KNOWN.get((kernel, function))
    if known is None:
        known = _KNOWN[kernel, function] = _read(kernel, function)
    return known


_KNOWN: dict[tuple[type, Callable[..., object]], tuple[str, ...]] = {}


def _read(kernel: type[Kernel], function: Callable[..., object]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    seen: set[CodeType] = set()
    of_kernel = methods(kernel)

    def visit(code: CodeType, space: dict[str, object]) -> None:
        if code in seen:
            return
        seen.add(code)
        if code.co_flags & CO_GENERATOR:
            for const in code.co_consts[1:]:
                if isinstance(const, str) and LABEL.fullmatch(const):
                    found[const] = None
        read = _globals(code)
        for name in code.co_names:
            of_module = _of_module(space, name, code.co_names) if name in read else ()
            for called in (*of_kernel.get(name, ()), *of_module):
                visit(called.__code__, called.__globals__)
        for const in code.co_consts:
            if isinstance(const, CodeType):
                visit(const, space)

    assert isfunction(function)
    visit(function.__code__, function.__globals__)
    return tuple(found)


@cache
def _globals(code: CodeType) -> frozenset[str]:
    return frozenset(one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL")


def _of_module(space: dict[str, object], name: str, names: tuple[str, ...]) -> Iterator[FunctionType]:
    """The functions that a global name stands for: itself, those of a class or, where they are named, of a module."""
    value = space.get(name)
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, ModuleType) and value.__name__.partition(".")[0] not in sys.stdlib_module_names:
        for part in names:
            yield from _of_module(vars(value), part, ())
    elif isinstance(value, type) and not issubclass(value, Kernel) and value.__module__ == space["__name__"]:
        yield from _functions(value)


def function_of(value: object) -> FunctionType | None:
    """The function behind an attribute of a class: a method of any kind, or the getter of a property."""
    function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    return function if isinstance(function, FunctionType) else None


def _functions(cls: type) -> Iterator[FunctionType]:
    for value in vars(cls).values():
        if (function := function_of(value)) is not None:
            yield function


def methods(kernel: type[Kernel]) -> dict[str, list[FunctionType]]:
    """The functions of a kernel by name, in all the classes that define them."""
    found: dict[str, list[FunctionType]] = {}
    for cls in kernel.__mro__:
        for name, value in vars(cls).items():
            if (function := function_of(value)) is not None:
                for known_as in {function.__name__: None, name: None}:
                    found.setdefault(known_as, []).append(function)
    return found
