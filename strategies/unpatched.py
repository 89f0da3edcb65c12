"""What is proven of 2.6.26 holds for a series that changes nothing of what the search has called.

Every step from every state does the same then: by induction the series comes to the same states, and to no other.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from typing import Any, NamedTuple

from mm_sim.kernel import Kernel
from mm_sim.series import load
from strategies.explore import Bounds, Result, Search

UNPATCHED = "linux_2_6_26"
#: What a series says about itself, and what every class has.
_SAID = {"title", "posted", "applies_to", "expected", *vars(Kernel)}


class Searched(NamedTuple):
    """What a search of 2.6.26 has come to: its result, the functions of the kernel that it called, its situations."""

    result: Result
    called: frozenset[str]
    marks: dict[str, int]


class Noting(Search):
    """A search that notes the names of the functions of the kernel that are called, by one process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.called: set[str] = set()
        super().__init__(*arguments, **options)

    def machine(self) -> type[Kernel]:
        kernel = super().machine()
        functions = {name: function for name in dir(kernel) if isfunction(function := getattr(kernel, name))}
        noted = {name: self.noted(name, function) for name, function in functions.items() if name[:2] != "__"}
        return type("Noting", (kernel,), {"__slots__": (), **noted})

    def noted(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        called = self.called

        def note(*arguments: Any, **options: Any) -> object:
            called.add(name)
            return function(*arguments, **options)

        return note


_searched: dict[tuple[str, Bounds], Searched] = {}


def search(
    arch: str,
    bounds: Bounds,
    deadline: float | None = None,
    progress: Callable[[Result], None] = lambda result: None,
) -> Searched:
    """Search 2.6.26 within these bounds; what came to an end is not done again while this process runs."""
    known = _searched.get((arch, bounds))
    if known is None:
        marks: dict[str, int] = {}
        searching = Noting(load(UNPATCHED), arch, bounds, marks=marks)
        known = Searched(searching.run(deadline, progress=progress), frozenset(searching.called), marks)
        if known.result.ended in ("complete", "loss"):
            _searched[arch, bounds] = known
    return known


def unchanged(kernel: type[Kernel], of: Searched) -> bool:
    """Whether a series brings no rules, and changes nothing but functions that a search of 2.6.26 has not called."""
    classes = kernel.__mro__[: kernel.__mro__.index(Kernel)]
    changed = {name: value for cls in classes for name, value in vars(cls).items() if name not in _SAID}
    functions = {name for name, value in changed.items() if isfunction(value) and name[:2] != "__"}
    return not kernel.rules and functions == set(changed) and functions.isdisjoint(of.called)
