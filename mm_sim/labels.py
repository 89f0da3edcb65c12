"""The preemption points of an operation, read off the code: there is no list to keep by hand.

A point is a string constant of the form `function: where` in a generator. Starting from the function of a rule, every
method of the kernel that is named in the code is followed, in all the classes that define it. Uses the standard
library and `mm_sim.kernel` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import CO_GENERATOR, isfunction
from types import CodeType

from mm_sim.kernel import Kernel

_LABEL = re.compile(r"\w+: [\w' ]+")


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
    methods = _methods(kernel)

    def visit(code: CodeType) -> None:
        if code in seen:
            return
        seen.add(code)
        if code.co_flags & CO_GENERATOR:
            for const in code.co_consts[1:]:
                if isinstance(const, str) and _LABEL.fullmatch(const):
                    found[const] = None
        for name in code.co_names:
            for called in methods.get(name, ()):
                visit(called)

    assert isfunction(function)
    visit(function.__code__)
    return tuple(found)


def _methods(kernel: type[Kernel]) -> dict[str, list[CodeType]]:
    """The code of each function of a kernel, in all the classes that define it."""
    found: dict[str, list[CodeType]] = {}
    for cls in kernel.__mro__:
        for name, function in vars(cls).items():
            if isfunction(function):
                found.setdefault(name, []).append(function.__code__)
    return found
