"""The memory manager of Linux 2.6.26, one module for each source file of the kernel.

Each module is a layer: a class that inherits the functions of the files it calls. `Kernel` is the last, and a patch
series is a subclass of it. Functions that another CPU can interrupt are generators (see `sched`); code under one
spinlock is a plain method. May import the data types of `mm_sim` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mm_sim.kernel.migrate import Migrate

if TYPE_CHECKING:
    from mm_sim.system import Rule


class Kernel(Migrate):
    """Linux 2.6.26. What a series says about itself is in `mm_sim.series`."""

    __slots__ = ()

    #: What the patch is called, where it was posted, the kernel it applies to.
    title: ClassVar[str]
    posted: ClassVar[str]
    applies_to: ClassVar[str]
    #: What a patch declares: the machines in which it adds a loss to its base, with the architectures.
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {}
    #: The same in a word, for a patch without such a table: "safe", "loses" or "unknown".
    expected: ClassVar[str] = "unknown"
    #: Rules that a series brings beside those of the table.
    rules: ClassVar[tuple[Rule, ...]] = ()


def base_of(kernel: type[Kernel]) -> type[Kernel] | None:
    """The kernel that a patch is compared with: `base`, if the class names one, else the class it derives from.

    None for a kernel that is no patch, which says so itself (`base = None`).
    """
    if "base" in vars(kernel):
        named: type[Kernel] | None = vars(kernel)["base"]
        return named
    if kernel is Kernel:
        return None
    first, *more = kernel.__bases__
    return type(first.__name__, kernel.__bases__, {"__slots__": ()}) if more else first


def name_of(base: type[Kernel] | None) -> str | None:
    """How a base is called: by the module of its patch, Kernel itself by the kernel it is."""
    if base is None:
        return None
    return "linux_2_6_26" if base is Kernel else base.__module__.rpartition(".")[2]


__all__ = ["Kernel", "base_of", "name_of"]
