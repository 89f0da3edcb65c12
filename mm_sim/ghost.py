"""The reference memory: what each process must read, and what must be on disk.

Written from the semantics of the system calls alone (mmap(2), munmap(2), fork(2), mprotect(2), mremap(2), madvise(2),
write(2), ftruncate(2), fsync(2), msync(2)). It knows nothing of pages, swap or dirty bits, the kernel never reads it,
and it imports nothing. An address space and a file are named by any objects that stay the same while they live.

What is to be read is one value, a set of values (a tuple) where the semantics leave open which, or None where nothing
is promised. Values are numbers that grow with each store, 0 for zeroes: what is newer is greater.
"""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = "int | tuple[int, ...] | None"


def either(one: Value, other: Value) -> Value:
    """What is to be read when the semantics leave open which of the two."""
    if one is None or other is None:
        return None
    values = {
        *(one if isinstance(one, tuple) else (one,)),
        *(other if isinstance(other, tuple) else (other,)),
    }
    return values.pop() if len(values) == 1 else tuple(sorted(values))


class File:
    """A file, or what lies behind shared anonymous memory: for each page the value to be read.

    A value is None past the end of the file, and after a failed write. `done` is the
    newest whose store or system call is complete, which an fsync(2) that begins now has to find. `promised` is
    the oldest value that may be on the disk, 0 where none is promised; `syncs` has what the calls under way will
    promise if they succeed, `reads` what a read(2) under way may find. `errors` has the newest value that the device
    could not write, 0 without one, until an fsync(2) has reported that. `directs` has for each write(2) with O_DIRECT
    that is under way the pages that are mapped, shared, at the same time.
    """

    __slots__ = ("directs", "done", "errors", "promised", "reads", "size", "syncs", "values")

    def __init__(self, pages: int, size: int) -> None:
        self.values: list[Value] = [0 if at < size else None for at in range(pages)]
        self.size = size
        self.done = [0] * pages
        self.promised = [0] * pages
        self.errors = [0] * pages
        self.syncs: list[list[int]] = []
        self.reads: list[list[Value]] = []
        self.directs: list[list[int]] = []


class Space:
    """One address space: for each virtual page what is mapped there and what is to be read.

    `busy` counts the system calls that are taking a page away, move or fill it: nothing is promised meanwhile. `pins`
    counts those of them that fill it; `cut` has what was taken away, cut off a file, or forked then, so that what
    fills it may go elsewhere. `of` is the file and its page, None for anonymous memory; a private mapping has its
    `own` value after the first store. Of the calls under way `forks` has the children of fork(2), by name, `moves`
    from where to where mremap(2) moves.
    """

    __slots__ = ("busy", "cut", "forks", "mapped", "moves", "of", "own", "pins", "shared", "values", "writable")

    def __init__(self, pages: int) -> None:
        self.mapped = [False] * pages
        self.values: list[Value] = [None] * pages
        self.writable = [False] * pages
        self.busy = [0] * pages
        self.pins = [0] * pages
        self.cut: set[int] = set()
        self.of: list[tuple[File, int] | None] = [None] * pages
        self.shared = [False] * pages
        self.own = [True] * pages
        self.forks: dict[int, Space] = {}
        self.moves: list[tuple[int, int]] = []

    def copy(self) -> Space:
        """The same mappings, and the same system calls under way."""
        new = Space.__new__(Space)  # whoever goes back to a state makes many
        new.become(self)
        return new

    def become(self, other: Space) -> None:
        """Be as another one is."""
        self.mapped = other.mapped.copy()
        self.values = other.values.copy()
        self.writable = other.writable.copy()
        self.busy = other.busy.copy()
        self.pins = other.pins.copy()
        self.cut = other.cut.copy()
        self.of = other.of.copy()
        self.shared = other.shared.copy()
        self.own = other.own.copy()
        self.forks = other.forks.copy()
        self.moves = other.moves.copy()


class Ghost:
    """All address spaces in the order of their creation, and all files."""

    __slots__ = ("files", "spaces")

    def __init__(self) -> None:
        self.spaces: dict[object, Space] = {}
        self.files: dict[object, File] = {}

    def exec(self, space: object, pages: int) -> None:
        """A first process: all pages mapped, private and anonymous, so they read as zeroes."""
        self.spaces[space] = Space(pages)
        for page in range(pages):
            self.mmap(space, page)

    def creat(self, file: object, pages: int, size: int) -> None:
        """A new file, of `size` of at most `pages` pages, all of it a hole."""
        self.files[file] = File(pages, size)

    # mappings

    def mmap(
        self,
        space: object,
        page: int,
        of: tuple[object, int] | None = None,
        shared: bool = False,
        writable: bool = True,
    ) -> None:
        s = self.spaces[space]
        self.unsettle(s, page)
        s.mapped[page] = True
        s.writable[page] = writable
        s.of[page] = view = None if of is None else (self.files[of[0]], of[1])
        s.shared[page] = shared
        s.own[page] = view is None
        s.values[page] = 0 if view is None else view[0].values[view[1]]
        if shared:
            self.mixed(view)

    def taking(self, space: object, page: int) -> None:
        """A system call begins to take a page away or to move it; what fills a private one may go with it."""
        s = self.spaces[space]
        s.busy[page] += 1
        if s.pins[page] and not s.shared[page]:
            s.cut.add(page)

    def taken(self, space: object, page: int) -> None:
        """That system call is done."""
        self._rested(self.spaces[space], page)

    def _rested(self, s: Space, page: int) -> None:
        s.busy[page] -= 1
        if not s.busy[page]:
            s.cut.discard(page)

    def filling(self, space: object, page: int) -> tuple[File, int] | None:
        """A system call begins to fill a page, for which it pins it: the page of a file, if it fills that.

        Where a process forks meanwhile, its private page may be the child's, or the child's alone: open(2) forbids
        it with O_DIRECT, and a tracee is stopped for ptrace(2).
        """
        s = self.spaces[space]
        s.busy[page] += 1
        s.pins[page] += 1
        if s.shared[page]:
            self.mixed(s.of[page])
            return s.of[page]
        if s.forks:
            self.unsettle(s, page)
            s.cut.add(page)
        return None

    def filled_in(self, s: Space, page: int) -> None:
        """It is done, with an address space that may have exited meanwhile."""
        s.pins[page] -= 1
        self._rested(s, page)

    def unsettle(self, space: Space, page: int) -> None:
        """What is mapped changes while another thread forks: the child may have it or not."""
        for child in space.forks.values():
            child.mapped[page] = False
            child.values[page] = child.of[page] = None

    def munmap(self, space: object, page: int) -> None:
        s = self.spaces[space]
        self.unsettle(s, page)
        s.mapped[page] = False
        s.values[page] = s.of[page] = None
        if s.pins[page]:
            s.cut.add(page)

    def mprotect(self, space: object, page: int, writable: bool) -> None:
        self.spaces[space].writable[page] = writable

    def mremap_begins(self, space: object, old: int, new: int) -> None:
        self.taking(space, old)
        self.taking(space, new)
        self.spaces[space].moves.append((old, new))

    def mremap_ends(self, space: object, old: int, new: int) -> None:
        self.spaces[space].moves.remove((old, new))
        self.taken(space, old)
        self.taken(space, new)

    def mremap(self, space: object, old: int, new: int) -> None:
        """mremap(2) has moved a page, over what was at the new address."""
        s = self.spaces[space]
        self.unsettle(s, new)
        s.mapped[new] = s.mapped[old]
        s.values[new] = s.values[old]
        s.writable[new] = s.writable[old]
        s.of[new], s.shared[new], s.own[new] = s.of[old], s.shared[old], s.own[old]
        self.munmap(space, old)

    def dontneed(self, space: object, page: int, before: Value) -> None:
        """madvise(MADV_DONTNEED): private memory reads as it did when it was mapped, unless stored to meanwhile.

        Of a file's page that was stored to meanwhile nothing is promised until the next store. `before` is what was
        to be read when the call began. Shared memory keeps its contents.
        """
        s = self.spaces[space]
        if not s.mapped[page] or s.shared[page]:
            return
        if s.pins[page]:
            s.cut.add(page)
        for child in s.forks.values():
            child.values[page] = None
        view = s.of[page]
        fresh: Value = 0 if view is None else view[0].values[view[1]]
        if s.values[page] != before:
            s.values[page] = either(fresh, s.values[page]) if view is None else None
        else:
            s.values[page] = fresh
            s.own[page] = view is None

    def fork_begins(self, parent: object, name: int) -> None:
        """fork(2): of what another thread stores meanwhile the child has either; nothing of what one takes away."""
        s = self.spaces[parent]
        child = s.copy()
        child.busy = [0] * len(s.busy)
        child.pins = [0] * len(s.busy)
        child.cut, child.forks, child.moves = set(), {}, []
        s.forks[name] = child
        for page, busy in enumerate(s.busy):
            if busy:
                if s.pins[page] and not s.shared[page]:
                    s.cut.add(page)
                child.mapped[page] = False
                child.values[page] = child.of[page] = None

    def fork_ends(self, parent: object, name: int, child: object) -> None:
        self.spaces[child] = self.spaces[parent].forks.pop(name)

    def exit(self, space: object) -> None:
        del self.spaces[space]

    # stores and files

    def rest(self, space: object, page: int) -> Value:
        """What a store to a part of a page leaves of it, and so has to find; nothing is promised of a page that a
        system call takes away or moves.
        """
        s = self.spaces[space]
        return s.values[page] if s.busy[page] == s.pins[page] else None

    def rest_in(self, s: Space, page: int) -> Value:
        """The same for what fills a page, which is open where that may go elsewhere, or the process has exited."""
        alive = any(one is s for one in self.spaces.values())
        return s.values[page] if alive and page not in s.cut and s.busy[page] == s.pins[page] else None

    def store(self, space: object, page: int, value: int) -> None:
        self.written(self.store_in(self.spaces[space], page, value), value)

    def store_in(
        self, s: Space, page: int, value: int, pinned: tuple[File, int] | None = None
    ) -> tuple[File, int] | None:
        """A store to an address space that may have exited meanwhile: the page of a file that it certainly went to.

        `pinned` is the page of a file, if that is what is filled. Where a page is just being moved to, the store goes
        to that page or to what it replaces.
        """
        for old, new in s.moves:
            if new == page:
                self.maybe(s, old, value)
                self.maybe(s, new, value)
                return None
        if page in s.cut:
            if pinned is not None:
                self.change(*pinned, either(pinned[0].values[pinned[1]], value))
            self.maybe(s, page, value)
            return None
        if s.shared[page]:
            of = s.of[page]
            assert of is not None
            self.change(of[0], of[1], value)
            return of
        s.values[page] = value
        s.own[page] = True
        for child in s.forks.values():
            child.values[page] = either(child.values[page], value)
            child.own[page] = True
        return None

    def written(self, of: tuple[File, int] | None, value: int) -> None:
        """What has stored `value` to a page of a file is complete; it may have been cut off the file meanwhile."""
        if of is not None:
            file, at = of
            now = file.values[at]
            if now is not None and either(now, value) == now:
                file.done[at] = max(file.done[at], value)

    def maybe(self, s: Space, page: int, value: int) -> None:
        """A store that may have gone to this page; whether a private mapping has its own copy now is open, too."""
        of = s.of[page]
        if of is not None and s.shared[page]:
            self.change(of[0], of[1], either(of[0].values[of[1]], value))
        else:
            for space in (s, *s.forks.values()):
                space.values[page] = either(space.values[page], value) if space.own[page] else None

    def change(self, file: File, at: int, value: Value) -> None:
        """A page of a file changes: for its shared mappings too; a private one shows the old or the new."""
        file.values[at] = value
        for read in file.reads:
            read[at] = either(read[at], value)
        of = (file, at)
        for s in self.spaces.values():
            for space in (s, *s.forks.values()):
                for page, view in enumerate(space.of):
                    if view == of and not space.own[page]:
                        space.values[page] = value if space.shared[page] else either(space.values[page], value)

    def write(self, file: object, at: int, value: int) -> tuple[File, int]:
        """write(2) has copied a page into the file; a file that ended before has zeroes in between."""
        f = self.files[file]
        for hole in range(f.size, at):
            self.change(f, hole, 0)
        f.size = max(f.size, at + 1)
        self.change(f, at, value)
        return f, at

    def failed(self, file: object, at: int, value: int) -> None:
        """The device could not write `value`: it may be gone. An fsync(2) or msync(2) is to report that."""
        f = self.files[file]
        f.errors[at] = value
        if either(f.values[at], value) == f.values[at]:
            self.change(f, at, None)

    def truncating(self, file: object, size: int) -> None:
        """ftruncate(2) begins: nothing is promised of what is past the new end, nor of private copies of it."""
        f = self.files[file]
        for at in range(size, len(f.values)):
            f.done[at] = f.promised[at] = f.errors[at] = 0
            for sync in f.syncs:
                sync[at] = 0
            for s in self.spaces.values():
                for space in (s, *s.forks.values()):
                    for page, view in enumerate(space.of):
                        if view == (f, at):
                            space.own[page] = False
                            if space.busy[page]:
                                space.cut.add(page)
            self.change(f, at, None)

    def truncate(self, file: object, size: int) -> None:
        """ftruncate(2) has succeeded: what is new reads as zeroes, whatever was written meanwhile is gone."""
        self.truncating(file, size)
        f = self.files[file]
        for at in range(f.size, size):
            self.change(f, at, 0)
        f.size = size

    def read_begins(self, file: object) -> list[Value]:
        """read(2): what is written meanwhile may be found or not. Remove the answer from `reads` at the end."""
        f = self.files[file]
        f.reads.append(f.values.copy())
        return f.reads[-1]

    def sync_begins(self, file: object) -> list[int]:
        """fsync(2) or msync(MS_SYNC) begins: what has been written by now is to be on the disk at its end."""
        f = self.files[file]
        sync = [0 if isinstance(value, tuple) else done for value, done in zip(f.values, f.done, strict=True)]
        f.syncs.append(sync)
        return sync

    def sync_ends(self, file: object, sync: list[int], promise: bool, error: bool = False) -> None:
        """It is done; with `promise` what it found is on the disk, or what is newer. With `error` it has said EIO.

        An error is reported to one caller at least: while others are under way, one of them may do so.
        """
        f = self.files[file]
        f.syncs = [other for other in f.syncs if other is not sync]
        if error:
            self.reported(f)
        elif promise:
            for at, failed in enumerate(f.errors):
                if not failed or not (f.syncs or f.directs):
                    f.promised[at] = max(f.promised[at], sync[at])

    def reported(self, file: File) -> None:
        """A caller has been told of the errors: what was not written is owed to nobody."""
        for at, failed in enumerate(file.errors):
            for oldest in (file.done, *file.syncs):
                if oldest[at] <= failed:
                    oldest[at] = 0
            file.errors[at] = 0

    def mixed(self, view: tuple[File, int] | None) -> None:
        """A page of a file is mapped, or filled: open(2) says not to mix that with O_DIRECT."""
        if view is not None:
            for direct in view[0].directs:
                direct[view[1]] = 1

    def direct_begins(self, file: object) -> list[int]:
        """write(2) with O_DIRECT begins: 1 for each page that is mapped, shared, or pinned by anybody."""
        f = self.files[file]
        pinned = any(any(s.pins) for s in self.spaces.values())
        views = [view for s in self.spaces.values() for view, shared in zip(s.of, s.shared, strict=True) if shared]
        f.directs.append([int(pinned or (f, at) in views) for at in range(len(f.values))])
        return f.directs[-1]

    def direct(self, file: object, at: int, value: int) -> Value:
        """The device has the data: from now on they may be found. The answer is what is to be read until the end."""
        f = self.files[file]
        self.change(f, at, either(f.values[at], value))
        return f.values[at]

    def direct_ends(self, file: object, at: int, value: int, found: Value, direct: list[int]) -> None:
        """It has succeeded: its data are to be read, unless the page was mapped or written to meanwhile."""
        f = self.files[file]
        f.directs = [other for other in f.directs if other is not direct]
        if direct[at] or f.values[at] != found:
            for hole in range(f.size, at):
                self.change(f, hole, 0)
            f.size = max(f.size, at + 1)
        else:
            self.written(self.write(file, at, value), value)

    def direct_fails(self, file: object, direct: list[int]) -> None:
        """It has said EIO, which reports what could not be written before it."""
        f = self.files[file]
        f.directs = [other for other in f.directs if other is not direct]
        self.reported(f)
