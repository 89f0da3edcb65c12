"""The names of things: processes, pages and kernel tasks as they are printed, typed in and stored.

A name is an integer that prints as itself, so that the steps of a run read `state.store(process=P1, page=A)`
whether Hypothesis prints them, a stored test calls them, or a person types them into a shell.
Nothing here may import from the rest of the project.
"""

from string import ascii_uppercase
from typing import ClassVar


class Name(int):
    """A small integer that prints as a name: an index into a list of tasks or of virtual pages.

    There is one of each: one that comes from another process is the same as here.
    """

    name: str
    _all: ClassVar[dict[tuple[int, str], "Name"]] = {}

    def __new__(cls, value: int, name: str) -> "Name":
        if (value, name) not in cls._all:
            self = cls._all[value, name] = super().__new__(cls, value)
            self.name = name
        return cls._all[value, name]

    def __getnewargs__(self) -> tuple[int, str]:  # type: ignore[override]
        return int(self), self.name

    def __repr__(self) -> str:
        return self.name


#: Kernel tasks come first in the list of tasks, so that a process keeps its index whatever the scope.
KSWAPD, DIRECT, SWAPOFF, PDFLUSH = (Name(i, n) for i, n in enumerate(("kswapd", "direct", "swapoff", "pdflush")))
KERNEL_TASKS = (KSWAPD, DIRECT, SWAPOFF, PDFLUSH)
PROCESSES = tuple(Name(len(KERNEL_TASKS) + i, f"P{i + 1}") for i in range(8))
TASKS = (*KERNEL_TASKS, *PROCESSES)
#: Virtual pages, by position in the address space of a process.
PAGES = tuple(Name(i, ascii_uppercase[i % 26] * (1 + i // 26)) for i in range(32))
#: In place of a process: a page in the swap cache that no page table refers to.
NOBODY = Name(-1, "nobody")

#: Files: on a disk without and with page_mkwrite(), on tmpfs, and the one behind shared anonymous memory.
EXT2, XFS, TMPFS, SHM = FILES = tuple(Name(64 + i, n) for i, n in enumerate(("ext2", "xfs", "tmpfs", "shm")))

#: What mprotect(2) is asked for: the bits of vm_flags.
READ, READ_WRITE = Name(1, "R"), Name(3, "RW")
#: What mmap(2) is asked for.
PRIVATE, SHARED = Name(0, "PRIVATE"), Name(8, "SHARED")

BY_NAME = {n.name: n for n in (*KERNEL_TASKS, *PROCESSES, *PAGES, *FILES, NOBODY, READ, READ_WRITE, PRIVATE, SHARED)}

kswapd, direct, swapoff, pdflush, nobody = KSWAPD, DIRECT, SWAPOFF, PDFLUSH, NOBODY
ext2, xfs, tmpfs, shm = FILES
R, RW = READ, READ_WRITE
P1, P2, P3, P4, P5, P6, P7, P8 = PROCESSES
A, B, C, D, E, F, G, H = PAGES[:8]
