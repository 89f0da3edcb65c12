"""The model answers as a real kernel does: every value loaded, every fault, every errno.

Here belongs what holds the model against the kernel of the machine that runs the tests, and the proof that it would
find a wrong model. How it works, and how a rule gets its operation: docs/conformance.md.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest
from hypothesis import find, given, settings

from mm_sim.kernel import Kernel
from mm_sim.kernel.memory import Memory
from mm_sim.mm import Mm, Vma
from mm_sim.names import P1, P2, A
from mm_sim.page import Pte
from mm_sim.sched import Steps
from strategies import conformance
from strategies.conformance import (
    KNOWN,
    OPERATIONS,
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
from strategies.real_kernel import CALLS
from strategies.rules import RULES

#: Some hundred programs in the ordinary run, in the nightly profile as many as it says.
RUNS = settings(max_examples=max(300, settings.default.max_examples), backend="hypothesis")


@pytest.fixture(scope="module")
def real() -> Iterator[RealKernel]:
    try:
        with RealKernel() as kernel:
            yield kernel
    except Unusable as reason:
        pytest.skip(str(reason))


def test_the_model_answers_as_the_kernel_does(real: RealKernel, record_property: Callable[[str, object], None]) -> None:
    kernel = todays()
    counted = [0, 0]

    @RUNS
    @given(programs())
    def each(program: list[Step]) -> None:
        compare(real, kernel, program)
        counted[0] += 1
        counted[1] += len(possible(program))

    each()
    left = [rule.name for rule in RULES if "process" in rule.arguments and rule.name not in OPERATIONS]
    text = f"the model and Linux {'.'.join(map(str, release()))} agree: {counted[0]} programs, {counted[1]} steps"
    record_property("verdict", text + (f"; not compared: {', '.join(left)}" if left else ""))


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.__name__)
def test_known_difference_is_one(real: RealKernel, known: type[Difference]) -> None:
    if known.since > release():
        pytest.skip(f"Linux {release()} does as 2.6.26 does")
    compare(real, todays(), known.shown_by)
    with pytest.raises(Differs):
        compare(real, todays(without=known), known.shown_by)


# wrong models, each of which must be found and shown by a short program


class ForkShares(Memory):
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

    def do_mlock(self, addr: int, on: bool) -> Steps[int]:
        error = yield from super().do_mlock(addr, on)
        return max(error, 0)


class DontneedOfALockedPage(Kernel):
    __slots__ = ()

    def sys_madvise_dontneed(self, addr: int) -> Steps[int]:
        mm = self.current.mm
        vma = mm and mm.find_vma(addr)
        if vma:
            vma.vm_flags &= ~4
        return (yield from super().sys_madvise_dontneed(addr))


class SwapInForgets(Kernel):
    __slots__ = ()

    def swap_readpage(self, page):  # type: ignore[no-untyped-def]
        yield from super().swap_readpage(page)
        page.content = 0


@pytest.mark.parametrize(
    ("wrong", "steps"),
    [(ForkShares, 4), (MprotectKeepsPtes, 3), (MlockOfNothing, 2), (DontneedOfALockedPage, 2), (SwapInForgets, 3)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_model_is_found_by_a_short_program(real: RealKernel, wrong: type[Kernel], steps: int) -> None:
    kernel = todays(wrong)

    cache = {}
    counted = [0]
    def differs(program: list[Step]) -> bool:
        counted[0] += 1
        key = tuple(possible(program))
        if key not in cache: cache[key] = differs_(program)
        return cache[key]
    def differs_(program: list[Step]) -> bool:
        try:
            compare(real, kernel, program)
        except Differs:
            return True
        return False

    found = find(programs(), differs, settings=settings(RUNS, max_examples=5_000))
    print(found, len(cache), counted)
    assert len(found) <= steps


def test_every_operation_is_known_to_both_sides() -> None:
    assert OPERATIONS.keys() - {"fork", "exit"} == CALLS.keys()


def test_killed_run_leaves_no_process(real: RealKernel) -> None:
    del real
