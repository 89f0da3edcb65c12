"""The reference memory: what each process must read.

Written from the semantics of the system calls alone (mmap(2), munmap(2), fork(2), mprotect(2), mremap(2),
madvise(2)). It knows nothing of pages, swap or dirty bits, the kernel never reads it, and it imports nothing.
An address space is named by any object that stays the same while it lives.
"""

from __future__ import annotations


class Space:
    """One address space: for each virtual page the value to be read, None where nothing is promised.

    Nothing is promised of what is not mapped, nor of a page while a system call takes it away or moves it.
    """

    __slots__ = ("values", "writable")

    def __init__(self, values: list[int | None], writable: list[bool]) -> None:
        self.values = values
        self.writable = writable


class Ghost:
    """All address spaces, in the order of their creation."""

    __slots__ = ("spaces",)

    def __init__(self) -> None:
        self.spaces: dict[object, Space] = {}

    def exec(self, space: object, pages: int) -> None:
        """A first process: all pages mapped, private and anonymous, so they read as zeroes."""
        self.spaces[space] = Space([0] * pages, [True] * pages)

    def mmap(self, space: object, page: int) -> None:
        self.spaces[space].values[page] = 0
        self.spaces[space].writable[page] = True

    def munmap(self, space: object, page: int) -> None:
        self.spaces[space].values[page] = None

    def store(self, space: object, page: int, value: int) -> None:
        self.spaces[space].values[page] = value

    def mprotect(self, space: object, page: int, writable: bool) -> None:
        self.spaces[space].writable[page] = writable

    def move(self, space: object, old: int, new: int, value: int, writable: bool) -> None:
        """mremap(2) has moved a page that read as `value`."""
        self.spaces[space].values[new] = value
        self.spaces[space].writable[new] = writable

    def dontneed(self, space: object, page: int) -> None:
        """madvise(MADV_DONTNEED): private anonymous memory reads as zeroes afterwards."""
        self.spaces[space].values[page] = 0

    def fork(self, parent: object, child: object) -> None:
        """fork(2): private memory is copied."""
        of = self.spaces[parent]
        self.spaces[child] = Space(of.values.copy(), of.writable.copy())

    def exit(self, space: object) -> None:
        del self.spaces[space]
