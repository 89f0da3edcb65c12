"""The model answers as a real kernel does: every value loaded, every fault, every errno.

Here belongs what holds the model against the kernel of the machine that runs the tests, and the proof that it would
find a wrong model. How it works, and how a rule gets its operation: docs/conformance.md.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import find, given, settings

from mm_sim.address_space import AddressSpace
from mm_sim.kernel import Kernel
from mm_sim.mm import Mm, Vma
from mm_sim.names import P1, P2, PRIVATE, SHARED, A, B, C, Name, R
from mm_sim.page import ZERO, Page, Pte
from mm_sim.sched import Steps
from strategies.conformance import (
    KNOWN,
    OPERATIONS,
    SCOPE,
    Difference,
    Differs,
    RealKernel,
    Step,
    Unusable,
    compare,
    possible,
    programs,
    release,
    todays,
)
from strategies.rules import RULES

RUNS = settings(max_examples=150, backend="hypothesis")
#: Each part of a night has its own, and others than the night before.
NIGHTLY = settings(RUNS, max_examples=2_500, derandomize=False)
nightly = pytest.mark.nightly


@pytest.fixture(scope="module")
def real() -> Iterator[RealKernel]:
    try:
        with RealKernel() as kernel:
            yield kernel
    except Unusable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(
    "runs", [RUNS, *(pytest.param(NIGHTLY, marks=nightly, id=f"part {part}") for part in range(8))]
)
def test_model_answers_as_the_kernel_does(
    real: RealKernel, runs: settings, record_property: Callable[[str, object], None]
) -> None:
    kernel = todays()
    counted = [0, 0]

    @runs
    @given(programs())
    def each(program: list[Step]) -> None:
        compare(real, kernel, program)
        counted[0] += 1
        counted[1] += len(possible(program))

    each()
    left = [rule.name for rule in RULES if "process" in rule.arguments and rule.name not in OPERATIONS]
    text = f"Linux {release()[0]}.{release()[1]} and the model agree: {counted[0]} programs, {counted[1]} steps"
    record_property("verdict", text + (f"; not compared: {', '.join(left)}" if left else ""))


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.__name__)
def test_known_difference_is_one(real: RealKernel, known: type[Difference]) -> None:
    if known.since > release():
        pytest.skip("this machine's kernel still does as 2.6.26")
    compare(real, todays(), known.shown_by)
    with pytest.raises(Differs):
        compare(real, todays(without=known), known.shown_by)


def test_each_operation_is_known_to_both_sides(real: RealKernel) -> None:
    from strategies.real_kernel import CALLS  # imports on Linux only

    assert OPERATIONS.keys() - {"fork", "exit"} == CALLS.keys()


@pytest.mark.parametrize("file", SCOPE.files)
@pytest.mark.parametrize("kind", [SHARED, PRIVATE])
def test_access_past_the_end_of_a_file_is_sigbus(real: RealKernel, file: Name, kind: Name) -> None:
    program: list[Step] = [
        ("mmap_file", (P1, B, file, C, kind)),
        ("store", (P1, B)),
        ("truncate", (P1, file, 2)),
        ("load", (P1, B)),
        ("store", (P1, B)),
    ]
    compare(real, todays(), program)
    assert real.run(possible(program)) == [0, 0, 0, "SIGBUS", "SIGBUS"]


# wrong models: each must be found, and shown by a short program


class ForkShares(Kernel):
    __slots__ = ()

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        pte = src_mm.pte[addr]
        super().copy_one_pte(dst_mm, src_mm, vma, addr)
        if type(pte) is Pte:
            src_mm.pte[addr] = dst_mm.pte[addr] = pte


class MprotectKeepsPtes(Kernel):
    __slots__ = ()

    def pte_modify(self, oldpte: Pte, vma: Vma) -> Pte:
        return oldpte


class MlockOfNothing(Kernel):
    __slots__ = ()

    def sys_mlock(self, addr: int) -> Steps[int]:
        yield from super().sys_mlock(addr)
        return 0


class DontneedKeepsThePage(Kernel):
    __slots__ = ()

    def zap_page_range(
        self, vma: Vma, start: int, end: int, check_mapping: AddressSpace | None = None
    ) -> Steps[None]:
        if vma.vm_file is not None:
            yield from super().zap_page_range(vma, start, end, check_mapping)


class SwapInForgets(Kernel):
    __slots__ = ()

    def swap_readpage(self, page: Page) -> Steps[None]:
        yield from super().swap_readpage(page)
        page.content = ZERO


class TruncateKeepsPrivateCopies(Kernel):
    __slots__ = ()

    def unmap_mapping_range(self, mapping: AddressSpace, start: int, end: int, even_cows: bool) -> Steps[None]:
        return super().unmap_mapping_range(mapping, start, end, even_cows=False)


class WritePassesThePageCache(Kernel):
    __slots__ = ()

    def generic_file_write(
        self, mapping: AddressSpace, index: int, copy_from_user: Callable[[Page], int]
    ) -> Steps[bool]:
        page = mapping.pages[index]
        if page is None or not page.mapcount:
            return (yield from super().generic_file_write(mapping, index, copy_from_user))
        mapping.blocks[index] = copy_from_user(page)
        return True


class PrivateStoreReachesTheFile(Kernel):
    __slots__ = ()

    def mk_pte(self, page: Page, vma: Vma) -> Pte:
        return self.maybe_mkwrite(super().mk_pte(page, vma), vma)


class NothingIsPastTheEnd(Kernel):
    __slots__ = ()

    def filemap_fault(self, mapping: AddressSpace, index: int) -> Steps[Page | bool]:
        mapping.i_size = max(mapping.i_size, index + 1)
        return super().filemap_fault(mapping, index)


class WriteBackForgets(Kernel):
    __slots__ = ()

    def set_page_writeback(self, page: Page) -> None:
        super().set_page_writeback(page)
        page.io = ZERO


@pytest.mark.parametrize(
    ("wrong", "shown_by"),
    [
        (NothingIsPastTheEnd, ["truncate"]),
        (TruncateKeepsPrivateCopies, ["mmap_file", "store", "truncate"]),
        pytest.param(WritePassesThePageCache, ["load", "write"], marks=nightly),
        pytest.param(PrivateStoreReachesTheFile, ["mmap_file", "load", "store"], marks=nightly),
        pytest.param(WriteBackForgets, ["store", "reclaim"], marks=nightly),
        pytest.param(ForkShares, ["load", "fork", "store"], marks=nightly),
        pytest.param(MlockOfNothing, ["munmap", "mlock"], marks=nightly),
        pytest.param(MprotectKeepsPtes, ["load", "mprotect", "store"], marks=nightly),
        pytest.param(DontneedKeepsThePage, ["store", "madvise_dontneed"], marks=nightly),
        pytest.param(SwapInForgets, ["store", "reclaim"], marks=nightly),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_model_is_found_by_a_short_program(real: RealKernel, wrong: type[Kernel], shown_by: list[str]) -> None:
    kernel = todays(wrong)

    def differs(program: list[Step]) -> bool:
        try:
            compare(real, kernel, program)
        except Differs:
            return True
        return False

    found = find(programs(), differs, settings=settings(RUNS, max_examples=2_000))
    names = [name for name, _ in found]
    assert [name for name in names if name in shown_by] == shown_by
    assert len(names) <= len(shown_by) + 1  # a page may have to be mapped first


def test_difference_is_printed_with_its_program(real: RealKernel) -> None:
    with pytest.raises(Differs) as error:
        compare(real, todays(MprotectKeepsPtes), [("load", (P1, B)), ("mprotect", (P1, B, R)), ("store", (P1, B))])
    first, *lines = str(error.value).splitlines()
    assert first.endswith("answers SIGSEGV, the model (s390) 0:")
    assert [line.split() for line in lines] == [
        ["load(process=P1,", "page=B)", "0", "0"],
        ["mprotect(process=P1,", "page=B,", "prot=R)", "0", "0"],
        ["store(process=P1,", "page=B)", "SIGSEGV", "0"],
    ]


# what a run leaves behind

STUCK = """
from strategies.conformance import RealKernel
from mm_sim.names import P1, P2, A
with RealKernel() as real:
    print(real.server.pid, flush=True)
    while True:
        real.run([("fork", (P1, P2)), ("exit", (P1,)), *[("load", (P2, A))] * 1000])
"""


def running(group: int) -> list[str]:
    """The processes of a process group; those that only wait to be reaped do not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state not in "ZX":
            found.append(path.parent.name)
    return found


def until(condition: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_killed_run_leaves_no_process(real: RealKernel) -> None:
    run = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE)
    assert run.stdout is not None
    group = int(run.stdout.readline())
    assert until(lambda: len(running(group)) > 1)
    run.kill()
    run.communicate()
    assert until(lambda: not running(group)), running(group)


def test_closed_run_leaves_no_process(real: RealKernel) -> None:
    with RealKernel() as other:
        other.run([("fork", (P1, P2)), ("load", (P2, A))])
        group = os.getpgid(other.server.pid)
        assert running(group) == [str(other.server.pid)]
    assert not running(group)
