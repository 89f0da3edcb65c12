"""Linux 2.6.26 as it was released: nothing is changed."""

from typing import ClassVar

from mm_sim.kernel import Kernel


class Linux2626(Kernel):
    __slots__ = ()

    title = "Linux 2.6.26"
    posted = "released 13 July 2008"
    applies_to = "2.6.26"
    base = None  # it is no patch: it is judged by itself
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {
        "anon": ("s390",),
        "file": ("s390", "x86"),
        "threads": ("s390", "x86"),
    }
