"""The machine's own kernel runs programs of system calls: `strategies.conformance` starts this as its own process.

Reads one program a line from standard input, as JSON, and writes the answers to its steps as one line. A program's
processes are real ones, made by fork(2) and commanded over pipes. They need no privilege (root is given up), write no
file but those they are given, open and without a name, and end with this process: the server reaps all of them after
each program, and when it dies they read the end of their pipes. The standard library only, and little of it: this
process is forked all the time.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import EFAULT, errorcode

PAGE = os.sysconf("SC_PAGE_SIZE")
#: Where the pages of every process are: far from what the kernel hands out by itself.
BASE = 1 << 37

PROT_READ, PROT_WRITE = 1, 2
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
MS_ASYNC, MS_SYNC = 1, 4
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MADV_DONTNEED, MADV_PAGEOUT = 4, 21
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36

#: What a step gives: the value loaded, 0, or the name of an errno or of a signal.
Answer = int | str

_libc = ctypes.CDLL(None, use_errno=True)
_LONG, _POINTER = ctypes.c_long, ctypes.c_void_p
for _name, _result, _arguments in (
    ("mmap", _POINTER, (_POINTER, _LONG, ctypes.c_int, ctypes.c_int, ctypes.c_int, _LONG)),
    ("munmap", ctypes.c_int, (_POINTER, _LONG)),
    ("mremap", _POINTER, (_POINTER, _LONG, _LONG, ctypes.c_int, _POINTER)),
    ("mprotect", ctypes.c_int, (_POINTER, _LONG, ctypes.c_int)),
    ("mlock", ctypes.c_int, (_POINTER, _LONG)),
    ("munlock", ctypes.c_int, (_POINTER, _LONG)),
    ("madvise", ctypes.c_int, (_POINTER, _LONG, ctypes.c_int)),
    ("msync", ctypes.c_int, (_POINTER, _LONG, ctypes.c_int)),
    ("fsync", ctypes.c_int, (ctypes.c_int,)),
    ("ftruncate", ctypes.c_int, (ctypes.c_int, _LONG)),
    ("read", _LONG, (ctypes.c_int, _POINTER, _LONG)),
    ("write", _LONG, (ctypes.c_int, _POINTER, _LONG)),
):
    getattr(_libc, _name).restype = _result
    getattr(_libc, _name).argtypes = _arguments

_FAILED = {-1, ctypes.c_void_p(-1).value}
_scratch: tuple[int, int]  # a pipe through which words go that are loaded and stored


def system_call(name: str, *arguments: int) -> Answer:
    """0, or the name of the errno."""
    return errorcode[ctypes.get_errno()] if getattr(_libc, name)(*arguments) in _FAILED else 0


def address(page: int) -> int:
    return BASE + page * PAGE


def access(page: int, value: int | None) -> Answer:
    """The CPU loads the first word of a page, or stores `value` there: the value, or the signal.

    The kernel tries first, by copying the word to or from a pipe: it takes the same fault as the CPU, and fails where
    the CPU's would end in a signal. Which one, a child tells by dying of it.
    """
    out, into = _scratch
    if value is None:
        done = _libc.write(into, address(page), 8)
    else:
        os.write(into, value.to_bytes(8, sys.byteorder))
        done = _libc.read(out, address(page), 8)
    if done < 0 and ctypes.get_errno() != EFAULT:
        raise OSError(ctypes.get_errno(), "the word could not be copied")
    if (done < 0) == (value is not None):  # what is left in the pipe
        os.read(out, 8)
    if done > 0:
        return touch(page, value)
    child = os.fork()
    if not child:
        touch(page, value)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "EFAULT without a signal"


def touch(page: int, value: int | None) -> int:
    """The access itself, done by the CPU."""
    if value is None:
        return ctypes.c_uint64.from_address(address(page)).value
    ctypes.memmove(address(page), value.to_bytes(8, sys.byteorder), 8)  # to set a c_uint64 ctypes loads it first
    return 0


def reclaim(page: int) -> Answer:
    """Ask for the page to be swapped out; where there is no swap, or no such advice, nothing happens."""
    system_call("madvise", address(page), PAGE, MADV_PAGEOUT)
    return 0


def mmap(page: int, flags: int, file: int = -1, at: int = 0) -> Answer:
    """One page of memory, or of a file, over whatever is there."""
    return system_call("mmap", address(page), PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file, at * PAGE)


def write(file: int, at: int, value: int) -> Answer:
    """A whole page of the same word."""
    page = value.to_bytes(8, sys.byteorder) * (PAGE // 8)
    return 0 if os.pwrite(file, page, at * PAGE) == PAGE else "written in part"


def read(file: int, at: int) -> Answer:
    """The first word of a page."""
    word = os.pread(file, 8, at * PAGE)
    return int.from_bytes(word, sys.byteorder) if word else "EOF"


def reclaim_file(file: int, at: int) -> Answer:
    """Ask for a page to leave the page cache; one that is mapped or dirty stays."""
    os.posix_fadvise(file, at * PAGE, PAGE, os.POSIX_FADV_DONTNEED)
    return 0


#: How each operation is done in the process it names. The same names are in `strategies.conformance`.
CALLS: dict[str, Callable[..., Answer]] = {
    "load": lambda page: access(page, None),
    "store": access,
    "mmap": lambda page: mmap(page, MAP_PRIVATE | MAP_ANONYMOUS),
    "mmap_shared": lambda page: mmap(page, MAP_SHARED | MAP_ANONYMOUS),
    "mmap_file": lambda page, file, at, kind: mmap(page, MAP_SHARED if kind else MAP_PRIVATE, file, at),
    "munmap": lambda page: system_call("munmap", address(page), PAGE),
    "mprotect": lambda page, prot: system_call("mprotect", address(page), PAGE, prot),
    "mlock": lambda page: system_call("mlock", address(page), PAGE),
    "munlock": lambda page: system_call("munlock", address(page), PAGE),
    "mremap": lambda page, to: system_call(
        "mremap", address(page), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, address(to)
    ),
    "madvise_dontneed": lambda page: system_call("madvise", address(page), PAGE, MADV_DONTNEED),
    "msync": lambda page: system_call("msync", address(page), PAGE, MS_SYNC),
    "msync_async": lambda page: system_call("msync", address(page), PAGE, MS_ASYNC),
    "write": write,
    "read": read,
    "truncate": lambda file, size: system_call("ftruncate", file, size * PAGE),
    "fsync": lambda file: system_call("fsync", file),
    "reclaim": reclaim,
    "reclaim_file": reclaim_file,
}


class Program:
    """One program: its processes, each of which reads its steps from a pipe and answers into a common one."""

    def __init__(self, processes: int, pages: int, file: int) -> None:
        self.pages = pages
        self.file = file
        self.steps = [os.pipe() for _ in range(processes)]
        self.answers = os.pipe()
        if not os.fork():
            self.live(0)

    def live(self, me: int) -> None:
        """The life of the first process; the others go on from here when it forks."""
        try:
            for _, end in self.steps:
                os.close(end)
            os.close(self.answers[0])
            for page in range(1, self.pages):
                CALLS["mmap"](page)
            mmap(0, MAP_SHARED, self.file)
            while line := os.read(self.steps[me][0], 4096):
                name, *arguments = json.loads(line)
                answer: Answer = 0
                if name == "fork":
                    if not os.fork():
                        me = arguments[0]
                        continue
                elif name != "exit":
                    answer = CALLS[name](*arguments)
                self.answer(answer)
                if name == "exit":
                    break
        except Exception as error:
            self.answer(repr(error))
        finally:
            os._exit(0)

    def answer(self, answer: Answer) -> None:
        os.write(self.answers[1], json.dumps(answer).encode())

    def ask(self, process: int, step: list[object]) -> Answer:
        os.write(self.steps[process][1], json.dumps(step).encode())
        answer: Answer = json.loads(os.read(self.answers[0], 4096))
        return answer

    def end(self) -> None:
        """Let all processes go and wait until they are gone."""
        for end in (*(end for pipe in self.steps for end in pipe), *self.answers):
            os.close(end)
        with suppress(ChildProcessError):
            while True:
                os.wait()


def serve() -> None:
    global _scratch
    parent = os.getppid()
    if not os.geteuid():
        with suppress(PermissionError):  # root of a container that may not
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        return
    _libc.prctl(PR_SET_DUMPABLE, 0)  # no core files
    _scratch = os.pipe()
    for line in sys.stdin:
        task = json.loads(line)
        program = Program(task["processes"], task["pages"], task["file"])
        answers = [program.ask(process, step) for process, step in task["steps"]]
        program.end()
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    serve()
