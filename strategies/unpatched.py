"""What is proven of 2.6.26 holds for a series that changes nothing of what the search has called.

Every step from every state does the same then: by induction the series comes to the same states, and to no other.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from typing import Any

from mm_sim.kernel import Kernel
from mm_sim.series import load
from strategies.explore import Bounds, Result, Search

UNPATCHED = "linux_2_6_26"
#: What a series says about itself.
_SAID = {
    "title",
    "posted",
    "applies_to",
    "expected",
    "loses_in",
    "__annotations__",
    "__doc__",
    "__module__",
    "__slots__",
}


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


_searched: dict[tuple[str, Bounds], Noting] = {}


def search(
    arch: str,
    bounds: Bounds,
    deadline: float | None = None,
    progress: Callable[[Result], None] = lambda result: None,
) -> Noting:
    """The search of 2.6.26 within these bounds, once for this process. Its marks are those of the search alone."""
    if (arch, bounds) not in _searched:
        searching = Noting(load(UNPATCHED), arch, bounds, marks={})
        if searching.run(deadline, progress=progress).ended not in ("complete", "loss"):
            return searching
        _searched[arch, bounds] = searching
    return _searched[arch, bounds]


def unchanged(kernel: type[Kernel], of: Noting) -> bool:
    """Whether a series changes nothing that a search of 2.6.26 has called, and brings no rules."""
    classes = kernel.__mro__[: kernel.__mro__.index(Kernel)]
    changed = {name: value for cls in classes for name, value in vars(cls).items() if name not in _SAID}
    functions = {name for name, value in changed.items() if isfunction(value) and name[:2] != "__"}
    return not kernel.rules and functions == set(changed) and functions.isdisjoint(of.called)
