"""The model held against the machine's own kernel: both run programs of system calls, and each answer is compared.

A program is a list of steps (`Step`), each an operation with arguments from the small fixed domains of the rules.
`OPERATIONS` says how the model does each one, `CALLS` in `strategies/real_kernel.py` how the kernel does. What
today's kernels do otherwise than 2.6.26 is in `KNOWN`, and nothing else is tolerated.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from errno import EFAULT, EIO, ENOMEM, errorcode
from itertools import chain, product
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st

from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.mm import VM_LOCKED, VM_SHARED, VM_WRITE, Mm
from mm_sim.names import EXT2, KSWAPD, P1, P2, PRIVATE, PROCESSES, READ, READ_WRITE, SHM, TMPFS, XFS, A, B, C, Name
from mm_sim.page import Page, Pte
from mm_sim.sched import KernelBug, Steps
from mm_sim.series.linux_2_6_26 import Linux2626
from mm_sim.series.mremap_anon_vma import MremapAnonVma
from mm_sim.system import Scope, System
from strategies.rules import domains

if TYPE_CHECKING:
    from strategies.real_kernel import Answer

#: The size of a program. There are frames for everything, since no program may run out of memory.
SCOPE = Scope(processes=3, pages=3, frames=24, slots=4, files=(EXT2, XFS, TMPFS))

#: Where the files are that are to be on a disk.
DISK = "/var/tmp"

#: The name of an operation and its arguments; the first is the process that does it.
Step = tuple[str, tuple[int, ...]]

#: What the model answers in place of an errno: a signal.
SIGNALS = {7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV"}


# how the model does each operation


def _mm(kernel: Kernel) -> Mm:
    mm = kernel.current.mm
    assert mm is not None
    return mm


def _load(kernel: Kernel, page: int) -> Steps[Answer]:
    mm = _mm(kernel)
    while (value := kernel.arch.load(kernel.current, page)) is None:
        if sig := (yield from kernel.do_page_fault(mm, page, write=False)):
            return SIGNALS[sig]
    return value


def _store(kernel: Kernel, page: int, value: int) -> Steps[Answer]:
    mm = _mm(kernel)
    while kernel.arch.store(kernel.current, page, value) is None:
        if sig := (yield from kernel.do_page_fault(mm, page, write=True)):
            return SIGNALS[sig]
    return 0


def _fork(kernel: Kernel, child: int) -> Steps[Answer]:
    yield from kernel.sys_fork(kernel.tasks[child])
    return 0


def _exit(kernel: Kernel) -> Steps[Answer]:
    yield from kernel.sys_exit()
    return 0


def _reclaim(kernel: Kernel, page: int) -> Steps[Answer]:
    pte = _mm(kernel).pte[page]
    return (yield from _shrink(kernel, pte.page if type(pte) is Pte else None))


def _reclaim_file(kernel: Kernel, file: Name, at: int) -> Steps[Answer]:
    mapping = _file(kernel, file)
    slot = mapping.swap[at]
    return (yield from _shrink(kernel, mapping.pages[at] if slot is None else slot.page))


def _shrink(kernel: Kernel, page: Page | None) -> Steps[Answer]:
    """The page is written out, and dropped if it can be: no program may see that."""
    kernel.current = kernel.tasks[KSWAPD]
    for _ in "from tmpfs to the swap cache", "write", "drop":
        if page is not None and page.PG_lru:
            yield from kernel.shrink_inactive_list(page, order=4, wait=False)
            if page.PG_writeback:
                _end_write(kernel, page)
    return 0


def _end_write(kernel: Kernel, page: Page) -> None:
    end = kernel.end_swap_bio_write if page.PG_swapcache else kernel.end_buffer_async_write
    end(page, uptodate=True)


def _file(kernel: Kernel, name: Name) -> AddressSpace:
    return kernel.files[SCOPE.files.index(name)]


def _mmap_file(kernel: Kernel, page: int, file: Name, at: int, kind: int) -> Steps[Answer]:
    return (yield from kernel.sys_mmap(page, kind, _file(kernel, file), at))


def _mmap_shared(kernel: Kernel, page: int) -> Steps[Answer]:
    file = AddressSpace(SHM, SCOPE.pages)  # shmem_zero_setup()
    file.count = file.i_size = 1
    kernel.files.append(file)
    error = yield from kernel.sys_mmap(page, VM_SHARED, file)
    yield from kernel.fput(file)
    return error


def _write(kernel: Kernel, file: Name, at: int, value: int) -> Steps[Answer]:
    done = yield from kernel.generic_file_write(_file(kernel, file), at, lambda page: value)
    return 0 if done else -ENOMEM


def _read(kernel: Kernel, file: Name, at: int) -> Steps[Answer]:
    found: list[int] = []
    yield from kernel.generic_file_read(_file(kernel, file), at, found.append)
    return found[0] if found else "EOF"


def _truncate(kernel: Kernel, file: Name, size: int) -> Steps[Answer]:
    yield from kernel.sys_ftruncate(_file(kernel, file), size)
    return 0


def _fsync(kernel: Kernel, file: Name) -> Steps[Answer]:
    return 0 if (yield from kernel.do_fsync(_file(kernel, file))) else -EIO


def _msync(kernel: Kernel, page: int, sync: bool = True) -> Steps[Answer]:
    done = yield from kernel.sys_msync(page, sync)
    return done if isinstance(done, int) else 0


_PAGE = {"process": "process", "page": "page"}
_FILE = {"process": "process", "file": "file"}

#: The operations: arguments with their domains, and how the model does them as `kernel.current`. The answer is 0 or a
#: value, -errno, or the name of a signal. A store and a write take the number of their step as their value.
OPERATIONS: dict[str, tuple[dict[str, str], Callable[..., Steps[Answer]]]] = {
    "load": (_PAGE, _load),
    "store": (_PAGE, _store),
    "fork": ({"process": "process", "child": "process"}, _fork),
    "munmap": (_PAGE, lambda kernel, page: kernel.sys_munmap(page)),
    "mprotect": ({**_PAGE, "prot": "prot"}, lambda kernel, page, prot: kernel.sys_mprotect(page, prot)),
    "mmap": (_PAGE, lambda kernel, page: kernel.sys_mmap(page)),
    "mmap_file": ({**_PAGE, "file": "file", "at": "at", "kind": "kind"}, _mmap_file),
    "mmap_shared": (_PAGE, _mmap_shared),
    "madvise_dontneed": (_PAGE, lambda kernel, page: kernel.sys_madvise_dontneed(page)),
    "mremap": ({**_PAGE, "to": "page"}, lambda kernel, page, to: kernel.sys_mremap(page, to)),
    "mlock": (_PAGE, lambda kernel, page: kernel.sys_mlock(page)),
    "munlock": (_PAGE, lambda kernel, page: kernel.sys_munlock(page)),
    "exit": ({"process": "process"}, _exit),
    "write": ({**_FILE, "at": "at"}, _write),
    "read": ({**_FILE, "at": "at"}, _read),
    "truncate": ({**_FILE, "size": "size"}, _truncate),
    "fsync": (_FILE, _fsync),
    "msync": (_PAGE, _msync),
    "msync_async": (_PAGE, lambda kernel, page: _msync(kernel, page, sync=False)),
    "reclaim": (_PAGE, _reclaim),
    "reclaim_file": ({**_FILE, "at": "at"}, _reclaim_file),
}


# what today's kernels do otherwise


class Difference(Kernel):
    """A known difference: what the kernel does since a release, why (its docstring), and a program that shows it."""

    __slots__ = ()

    since: ClassVar[tuple[int, ...]]
    shown_by: ClassVar[list[Step]]


class MremapLooksFirst(Difference):
    """mremap(2) of what is not mapped: EFAULT, and what is at the new address stays.

    2.6.26 unmaps the new address first and then looks at the old one; since 550a7d60bd5e (mremap of hugetlb
    mappings) the vma is looked up before anything is unmapped.
    """

    __slots__ = ()

    since = (5, 16)
    shown_by = [("munmap", (P1, A)), ("mremap", (P1, A, B)), ("load", (P1, B))]

    def sys_mremap(self, addr: int, new_addr: int) -> Steps[int]:
        if addr != new_addr and _mm(self).find_vma(addr) is None:
            return -EFAULT
        return (yield from super().sys_mremap(addr, new_addr))


class MremapKeepsAnonVma(Difference, MremapAnonVma):
    """Pages that mremap(2) moves into a vma without an anon_vma: fork(2) copies them, reclaim finds them.

    2.6.26 loses them: a loss of its own, stored in test_regressions/. Since 965f55dea0e3 is_mergeable_anon_vma() lets
    no vma without an anon_vma take them in; since 6.16 it does again, and takes the anon_vma over.
    """

    __slots__ = ()

    since = (3, 0)
    shown_by = [
        ("munmap", (P1, B)),
        ("mmap", (P1, A)),
        ("store", (P1, A)),
        ("mremap", (P1, A, C)),
        ("mmap", (P1, B)),
        ("mremap", (P1, C, A)),
        ("fork", (P1, P2)),
        ("load", (P2, A)),
    ]


class MlockErrno(Difference):
    """mlock(2) past the end of a file: ENOMEM, as POSIX has it, where 2.6.26 gives EFAULT."""

    __slots__ = ()

    since = (2, 6, 27)
    shown_by = [("truncate", (P1, EXT2, 0)), ("mlock", (P1, A))]

    def sys_mlock(self, addr: int) -> Steps[int]:
        error = yield from super().sys_mlock(addr)
        return -ENOMEM if error == -EFAULT else error


class MlockPopulates(Difference):
    """mlock(2) of what is locked already: faults in what has gone since, or fails.

    2.6.26 does nothing. Since fed067da46ad (mmap_sem is only shared while pages are faulted in) that is a second
    pass, over all that is locked.
    """

    __slots__ = ()

    since = (2, 6, 38)
    shown_by = [("mlock", (P1, A)), ("truncate", (P1, EXT2, 0)), ("mlock", (P1, A))]

    def sys_mlock(self, addr: int) -> Steps[int]:
        error = yield from super().sys_mlock(addr)
        return error or (yield from _populate(self, addr))


class MprotectBreaksCow(Difference):
    """mprotect(2) that makes a locked private page writable: the page is copied at once, not at the first store.

    So what is written to the file after that is not seen. Since 36f881883c57, to spare the store a fault.
    """

    __slots__ = ()

    since = (4, 2)
    shown_by = [
        ("mmap_file", (P1, B, EXT2, A, PRIVATE)),
        ("mprotect", (P1, B, READ)),
        ("mlock", (P1, B)),
        ("mprotect", (P1, B, READ_WRITE)),
        ("write", (P1, EXT2, A)),
        ("load", (P1, B)),
    ]

    def sys_mprotect(self, addr: int, prot: int) -> Steps[int]:
        vma = _mm(self).find_vma(addr)
        flags = 0 if vma is None else vma.vm_flags & (VM_LOCKED | VM_SHARED | VM_WRITE)
        error = yield from super().sys_mprotect(addr, prot)
        if flags == VM_LOCKED and prot & VM_WRITE:
            yield from _populate(self, addr)
        return error


def _populate(kernel: Kernel, addr: int) -> Steps[int]:
    vma = _mm(kernel).find_vma(addr)
    assert vma is not None
    return (yield from kernel.make_pages_present(_mm(kernel), vma, addr, addr + 1))


#: A later one may be changed by those before it.
KNOWN: tuple[type[Difference], ...] = (
    MremapLooksFirst,
    MremapKeepsAnonVma,
    MlockErrno,
    MlockPopulates,
    MprotectBreaksCow,
)


def release() -> tuple[int, ...]:
    """The release of the machine's kernel."""
    return tuple(map(int, re.findall(r"\d+", platform.release())[:3]))


def todays(*changes: type[Kernel], without: type[Difference] | None = None) -> type[Kernel]:
    """The model of 2.6.26 with what is known of the machine's kernel, and with changes to that."""
    known = [d for d in KNOWN if d.since <= release() and d is not without]
    made: type[Kernel] = type("Todays", (*changes, *known, Linux2626), {"__slots__": ()})
    return made


# programs


#: How many times as often as others these are picked; and the first process, which alone is there from the beginning.
OFTEN = {"store": 4, "mmap_file": 4, "load": 2, "write": 2, "fork": 2, "truncate": 2}
FIRST = 4


def programs() -> st.SearchStrategy[list[Step]]:
    """Programs of some twenty steps, on one file. Steps that cannot happen are among them; see `possible`."""
    # Of lists Hypothesis makes short ones, so a list of lists.
    lists = [st.lists(st.lists(_steps(file), max_size=10), max_size=10) for file in SCOPE.files]
    return st.one_of(lists).map(lambda parts: list(chain(*parts)))


def _steps(file: Name) -> st.SearchStrategy[Step]:
    values = domains(SCOPE)
    values = {**values, "file": (file,), "process": (P1,) * (FIRST - 1) + values["process"]}
    steps = [
        st.sampled_from([(name, chosen) for chosen in product(*(values[domain] for domain in arguments.values()))])
        for name, (arguments, _) in OPERATIONS.items()
        for _ in range(OFTEN.get(name, 1))
    ]
    return st.one_of(steps)


def possible(program: Sequence[Step]) -> list[Step]:
    """The steps that can happen: of living processes, forking one that does not live; the last does not exit.

    What a process asks for may well fail. A store and a write get their value.
    """
    alive: set[int] = {P1}
    steps: list[Step] = []
    for name, arguments in program:
        process = arguments[0]
        if process not in alive or (name == "fork" and arguments[1] in alive):
            continue
        if name == "exit":
            if len(alive) == 1:
                continue
            alive.remove(process)
        elif name == "fork":
            alive.add(arguments[1])
        steps.append((name, (*arguments, len(steps) + 1) if name in ("store", "write") else arguments))
    return steps


def last_look(steps: Sequence[Step]) -> list[Step]:
    """Steps for the end of a program, that see whatever it has done: load all pages, read all files."""
    alive: set[int] = {P1}
    for name, arguments in steps:
        if name == "fork":
            alive.add(arguments[1])
        elif name == "exit":
            alive.remove(arguments[0])
    values = domains(SCOPE)
    loads: list[Step] = [("load", (process, page)) for process in sorted(alive) for page in values["page"]]
    return loads + [("read", (min(alive), file, at)) for file in values["file"] for at in values["at"]]


def run_model(kernel: type[Kernel], arch: str, steps: Sequence[Step]) -> list[Answer]:
    """What the model answers to each step, up to one that breaks its bookkeeping."""
    model = System(kernel, arch, SCOPE).kernel
    answers: list[Answer] = []
    for name, (process, *arguments) in steps:
        model.current = model.tasks[process]
        try:
            answer = _finish(model, OPERATIONS[name][1](model, *arguments))
        except KernelBug as bug:
            return [*answers, f"BUG: {bug}"]
        answers.append(errorcode[-answer] if isinstance(answer, int) and answer < 0 else answer)
    return answers


def _finish(kernel: Kernel, steps: Steps[Answer]) -> Answer:
    """Run an operation to its end; nothing else runs, so it waits for nobody but the device."""
    while True:
        try:
            point = next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        if isinstance(point, Page):
            _end_write(kernel, point)
        else:
            assert isinstance(point, str), f"waits for {point!r}"


class Unusable(Exception):
    """The machine's kernel cannot be asked, with the reason."""


class Differs(AssertionError):
    """The model does not answer as the machine's kernel does."""


class RealKernel:
    """The machine's own kernel, in a process that runs programs; all it started is gone when the context is left."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise Unusable("only Linux can be held against a model of Linux")
        import resource  # not everywhere

        least = SCOPE.pages * resource.getpagesize()
        if 0 <= resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < least:
            raise Unusable(f"mlock(2) needs {least} bytes, and RLIMIT_MEMLOCK (ulimit -l) is less")
        self.files = {name: _create(name) for name in SCOPE.files}
        descriptors = {name: file.fileno() for name, file in self.files.items()}
        #: What stands for a name in a call, by the domain of the argument.
        self.numbers: dict[str, dict[Any, int]] = {
            "process": {name: i for i, name in enumerate(PROCESSES)},
            "file": descriptors,
        }
        self.server = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("real_kernel.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(descriptors.values()),
        )

    def __enter__(self) -> RealKernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the server and every process of its programs, whatever they are doing."""
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.communicate()
        for file in self.files.values():
            file.close()

    def call(self, name: str, values: tuple[int, ...]) -> tuple[int, list[Any]]:
        """A step as the server takes it: the process, and what it is to do."""
        domains = [*OPERATIONS[name][0].values(), "value"]
        process, *rest = (self.numbers.get(d, {}).get(v, v) for d, v in zip(domains, values, strict=False))
        return process, [name, *rest]

    def run(self, steps: Sequence[Step], timeout: float = 60) -> list[Answer]:
        """What the kernel answers to each step."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        calls = [self.call(*step) for step in steps]
        for file in self.files.values():
            file.truncate(0)
            file.truncate(SCOPE.pages * os.sysconf("SC_PAGE_SIZE"))
        mapped = self.files[SCOPE.files[0]].fileno()
        task = {"processes": SCOPE.processes, "pages": SCOPE.pages, "file": mapped, "steps": calls}
        self.server.stdin.write(json.dumps(task).encode() + b"\n")
        self.server.stdin.flush()
        if not select.select([self.server.stdout], [], [], timeout)[0]:
            raise TimeoutError(f"the kernel has not answered within {timeout} s:\n{listing(steps)}")
        line = self.server.stdout.readline()
        assert line, "the server has ended; what it said is above"
        answers: list[Answer] = json.loads(line)
        return answers


def _create(name: Name) -> io.FileIO:
    """An empty file without a name: a real one of tmpfs, or one on a disk."""
    if name is TMPFS:
        return io.FileIO(os.memfd_create("mm_sim"), "r+")
    try:
        file = tempfile.TemporaryFile(dir=DISK, buffering=0)  # noqa: SIM115 - RealKernel closes it
    except OSError as error:
        raise Unusable(f"no file can be made in {DISK}: {error.strerror}") from error
    os.fchmod(file.fileno(), 0o666)  # or nobody may not ask for its pages to be reclaimed
    return file


def listing(steps: Sequence[Step], *columns: Sequence[Any]) -> str:
    """A program as text, with what was answered."""
    rows = []
    for i, (name, values) in enumerate(steps):
        arguments = ", ".join(f"{key}={value!r}" for key, value in zip(OPERATIONS[name][0], values, strict=False))
        rows.append("  ".join((f"{name}({arguments})".ljust(44), *(str(column[i]).ljust(9) for column in columns))))
    return "\n".join(row.rstrip() for row in rows)


def compare(real: RealKernel, kernel: type[Kernel], program: Sequence[Step]) -> None:
    """Run a program on both, and look at everything. Raises Differs, with the program up to what differs."""
    steps = possible(program)
    look = last_look(steps)
    theirs = real.run(steps + look)
    for arch in ARCHES:
        ours = run_model(kernel, arch, steps + look)
        for i, (their, our) in enumerate(zip(theirs, ours, strict=False)):
            if their != our:
                shown = [*range(min(i, len(steps))), i]
                columns = ([column[i] for i in shown] for column in (steps + look, theirs, ours))
                raise Differs(
                    f"Linux {platform.release()} answers {their}, the model ({arch}) {our}:\n{listing(*columns)}"
                )
