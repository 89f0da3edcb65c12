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
    #: What it adds to its base: the machines in which it adds a loss, with the architectures. Who expects something
    #: and has no such table says in a word: "safe", "loses" or "unknown".
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {}
    expected: ClassVar[str] = "unknown"
    #: Rules that a series brings beside those of the table.
    rules: ClassVar[tuple[Rule, ...]] = ()


__all__ = ["Kernel"]
