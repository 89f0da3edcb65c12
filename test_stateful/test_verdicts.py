"""The verdict on every patch: it adds a loss where it says so itself, and nowhere else.

Tests that judge a patch belong here; tests of the model, the rules and the drivers have files of their own.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from threading import Timer
from typing import Any

import pytest

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel, base_of, name_of
from mm_sim.mm import Mm, Vma
from mm_sim.names import EXT2, XFS
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps
from mm_sim.series import load
from strategies.comparison import declares
from strategies.reproducer import Told, stored_runs
from strategies.targets import MACHINES, custom, named, possible, row
from strategies.verdict import ADDS, BUG, FOUND, NOT_REACHED, PROVEN, Outcome, Verdict, judge
from strategies.verdict_text import text
from strategies.walk import Walk

Record = Callable[[Verdict, type[Kernel]], None]

#: What every test run judges beside the machines in which a patch declares a loss.
SAMPLE = (("anon", "s390"),)
EVERYTHING = tuple((name, arch) for name, machine in MACHINES.items() for arch in machine.arches)


def judged(kernel: type[Kernel], series: str, machine: str, arch: str) -> Verdict:
    """The verdict in one machine, as far as its first slices go."""
    base = base_of(kernel)
    of = {machine: MACHINES[machine]}
    return judge(kernel, series, base, name_of(base), of, (arch,), budget=600, stored=stored_runs(), first=True)


def check(kernel: type[Kernel], series: str, machine: str, arch: str, record: Record) -> None:
    verdict = judged(kernel, series, machine, arch)
    record(verdict, kernel)
    if (verdict.word == ADDS) != declares(kernel, machine, arch) or verdict.word == BUG:
        raise Told(f"{series} in {machine} {arch} is not as it declares.\n\n{text(verdict, kernel)}")


@pytest.mark.verdict
@pytest.mark.parametrize(("machine", "arch"), SAMPLE)
def test_patch_adds_a_loss_where_it_declares_one(
    kernel: type[Kernel],
    series: str,
    machine: str,
    arch: str,
    record_verdict: Record,
) -> None:
    check(kernel, series, machine, arch, record_verdict)


@pytest.mark.verdict
def test_patch_adds_each_loss_that_it_declares(kernel: type[Kernel], series: str, record_verdict: Record) -> None:
    for machine, arches in vars(kernel).get("loses_in", {}).items():
        for arch in arches:
            if (machine, arch) not in SAMPLE:
                check(kernel, series, machine, arch, record_verdict)


@pytest.mark.nightly
@pytest.mark.parametrize(("machine", "arch"), EVERYTHING)
def test_patch_adds_a_loss_where_it_declares_one_in_every_machine(
    kernel: type[Kernel],
    series: str,
    machine: str,
    arch: str,
    record_verdict: Record,
) -> None:
    check(kernel, series, machine, arch, record_verdict)


# constructed patches, judged as a user would


class NoMkclean(Kernel):
    """Write-back does not write-protect the ptes."""

    __slots__ = ()
    title, posted, applies_to = "no page_mkclean()", "constructed", "2.6.26"

    def page_mkclean(self, page: Page) -> Steps[bool]:
        return False
        yield


class ForkLeavesWritable(Kernel):
    __slots__ = ()
    title, posted, applies_to = "fork leaves the parent's pte writable", "constructed", "2.6.26"

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        before = src_mm.pte[addr]
        super().copy_one_pte(dst_mm, src_mm, vma, addr)
        if isinstance(before, Pte):
            self.set_pte_at(src_mm, addr, before)


class MoreLabels(Kernel):
    """One more preemption point in each fault, and nothing else."""

    __slots__ = ()
    title, posted, applies_to = "labels", "constructed", "2.6.26"

    def do_page_fault(self, mm: Mm, address: int, write: bool) -> Steps[int]:
        yield "do_page_fault: entered"
        result = yield from super().do_page_fault(mm, address, write)
        yield "do_page_fault: left"
        return result


class Leaks(Kernel):
    __slots__ = ()
    title, posted, applies_to = "zap leaks a reference", "constructed", "2.6.26"

    def free_page_and_swap_cache(self, page: Page) -> Steps[None]:
        yield from self.free_swap_cache(page)


class Raises(Kernel):
    __slots__ = ()
    title, posted, applies_to = "fork raises", "constructed", "2.6.26"

    def copy_one_pte(self, dst_mm: Mm, src_mm: Mm, vma: Vma, addr: int) -> None:
        raise LookupError("no such pte")


class MigrateOnly(Kernel):
    """Changes what only migration calls."""

    __slots__ = ()
    title, posted, applies_to = "migration", "constructed", "2.6.26"

    def unmap_and_move(self, page: Page) -> Steps[bool]:
        return (yield from super().unmap_and_move(page))


class Unreached(Kernel):
    """Changes what write-back of a file calls, and only if the page is nowhere."""

    __slots__ = ()
    title, posted, applies_to = "a branch that is never taken", "constructed", "2.6.26"

    def can_share_swap_page(self, page: Page) -> bool:
        if page.count < 0:
            return False
        return super().can_share_swap_page(page)


def quick(kernel: type[Kernel], *machines: str, arches: tuple[str, ...] = tuple(ARCHES)) -> Verdict:
    of = {name: MACHINES[name] for name in machines}
    return judge(kernel, kernel.__name__, Kernel, "linux_2_6_26", of, arches, budget=600, first=True)


@pytest.mark.parametrize("machine", ["file", "threads"])
def test_loss_of_the_base_hides_no_loss_that_the_patch_adds(machine: str) -> None:
    verdict = quick(NoMkclean, machine)
    found = [outcome.finding for outcome in verdict.outcomes]
    assert [outcome.word for outcome in verdict.outcomes] == [ADDS, ADDS]
    assert [finding and (len(finding.steps), finding.certificate.proven) for finding in found] == [(5, True)] * 2


def test_preemption_point_of_the_patch_is_not_blamed_for_the_losses_of_the_base() -> None:
    outcomes = quick(MoreLabels, "threads").outcomes
    assert all(outcome.word in (PROVEN, FOUND) and outcome.base_fails for outcome in outcomes)


def test_what_no_rule_reaches_is_not_reached() -> None:
    verdict = quick(MigrateOnly, "anon", "migration")
    assert {outcome.name: outcome.word for outcome in verdict.outcomes if outcome.arch == "s390"} == {
        "anon s390": NOT_REACHED
    }
    assert next(outcome for outcome in verdict.outcomes if outcome.name == "migration x86").word != NOT_REACHED


def test_line_that_never_ran_is_named() -> None:
    verdict = quick(Unreached, "anon", arches=("s390",))
    (function,) = (one for one in verdict.functions if one.name == "can_share_swap_page")
    ran = {line for outcome in verdict.outcomes for _, line in outcome.reached}
    first, inside, last = function.lines
    assert {first, last} <= ran
    assert inside not in ran


def test_wrong_bookkeeping_is_a_verdict_with_its_run() -> None:
    verdict = quick(Leaks, "anon", arches=("s390",))
    assert verdict.word == BUG
    found = verdict.found
    assert found is not None
    assert found.bug is not None
    assert "page_count" in found.bug.bug


def test_exception_in_a_patch_is_a_verdict_with_its_run() -> None:
    verdict = quick(Raises, "anon", arches=("s390",))
    assert verdict.word == BUG
    assert "no such pte" in text(verdict, Raises)


def test_same_patch_has_the_same_run_whatever_it_is_called() -> None:
    of = {"anon": MACHINES["anon"]}
    one, other = (
        judge(ForkLeavesWritable, name, Kernel, "2.6.26", of, ("s390",), budget=600, first=True)
        for name in ("first.py", "another/second.py")
    )
    runs = [verdict.found and verdict.found.finding and verdict.found.finding.steps for verdict in (one, other)]
    assert runs[0] == runs[1]
    assert runs[0]


def test_every_rule_of_the_target_may_be_in_a_run_that_is_shorter() -> None:
    class IgnoresSlots(Kernel):
        __slots__ = ()

        def can_share_swap_page(self, page: Page) -> bool:
            return page.mapcount <= 1

    verdict = quick(IgnoresSlots, "anon")
    assert [outcome.finding and len(outcome.finding.steps) for outcome in verdict.outcomes] == [4, 4]


def test_kernel_that_is_no_patch_is_judged_by_itself() -> None:
    kernel, of = load("linux_2_6_26"), {"file": MACHINES["file"]}
    verdict = judge(kernel, "linux_2_6_26", None, None, of, ("x86",), budget=600, first=True)
    assert verdict.word == ADDS
    assert text(verdict, kernel).startswith("linux_2_6_26: loses")


def test_machine_of_another_size_has_the_rules_of_all_that_it_has() -> None:
    name, machine = custom("anon", MACHINES["anon"], files=MACHINES["file"].scope.files, threads=True, pages=2)
    assert name == "anon, pages 2, files ext2, also threads"
    assert {"fsync", "writeback", "madvise_dontneed"} <= set(machine.core)


@pytest.mark.parametrize(
    "size",
    [{}, {"pages": 3}, {"slots": 0, "files": (EXT2, XFS), "pins": True}, {"files": (), "threads": False}],
    ids=str,
)
@pytest.mark.parametrize("of", ["anon", "file", "pins threads", "file, two pages"])
def test_name_of_a_machine_says_what_it_has(of: str, size: dict[str, Any]) -> None:
    name, machine = custom(of, MACHINES[of], **size)
    assert named(name).scope == machine.scope


#: Cannot happen in a machine with one page, or with no second page of a file to create.
NEVER = {"creat", "mremap", "msync", "msync_async"}


@pytest.mark.parametrize("name", ["anon", "file", "pins", "xfs"])
def test_smallest_tier_has_what_comes_before_its_rules_can_happen(name: str) -> None:
    kernel, machine = load("linux_2_6_26"), MACHINES[name]
    for rule in possible(kernel, machine.scope):
        of = row(kernel, (), {rule.name: 1}, name, machine, "x86")
        walk = Walk(kernel, "x86", of.scope, seed=1, rules=(*of.tiers[0], "resume"))
        seen = {step.rule.name for _ in range(100) if walk.run() is None for step in walk.trace}
        without_swap = set() if machine.scope.slots else {"swapoff", "swapon"}
        assert rule.name in seen | NEVER | without_swap, rule.name


class OtherWay(Kernel):
    """A store maps a page of a file read-only first: the run of the base comes to another point."""

    __slots__ = ()
    title, posted, applies_to = "two faults for a store", "constructed", "2.6.26"

    def do_page_fault(self, mm: Mm, address: int, write: bool) -> Steps[int]:
        if write and mm.pte[address] is None:
            yield from super().do_page_fault(mm, address, False)
        return (yield from super().do_page_fault(mm, address, write))


def fixed(kernel: type[Kernel], machine: str) -> bool:
    base = base_of(kernel)
    of = {machine: MACHINES[machine]}
    verdict = judge(kernel, "x", base, name_of(base), of, ("x86",), budget=600, stored=stored_runs(), first=True)
    return verdict.outcomes[0].fixes is not None


def test_fix_is_said_to_fix() -> None:
    assert fixed(load("fault_page_locked"), "threads")


def test_other_way_through_a_run_fixes_nothing() -> None:
    assert not fixed(OtherWay, "threads")


def test_few_steps_of_few_rules_are_no_proof() -> None:
    kernel = load("linux_2_6_26")
    of = row(kernel, (), {"ptrace": 1}, "pins", MACHINES["pins"], "x86")
    short = of.within(of.tiers[0], 8, 1)
    outcome = Outcome("pins", "x86", of.scope, [(short, 300)], reached={("", 0)}, proof=of.proof)
    assert outcome.word == FOUND
    outcome.complete.append((of.proof, 9000))
    assert outcome.word == PROVEN


@contextmanager
def killing_a_worker() -> Iterator[None]:
    """Kill one of the processes of a verdict soon after they have begun."""

    def kill() -> None:
        for child in active_children()[:1]:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)

    timer = Timer(0.5, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def test_process_that_dies_is_noticed() -> None:
    of = {name: MACHINES[name] for name in ("anon", "swap full")}
    with killing_a_worker():
        verdict = judge(MoreLabels, "labels", Kernel, "linux_2_6_26", of, tuple(ARCHES), budget=3.0, jobs=2)
    died = [outcome for outcome in verdict.outcomes if outcome.died]
    assert len(died) == 2
    assert all("-9" in outcome.died for outcome in died)


def test_verdict_that_is_cut_off_is_not_proven() -> None:
    verdict = judge(MoreLabels, "labels", Kernel, "linux_2_6_26", {"anon": MACHINES["anon"]}, ("s390",), budget=0.001)
    assert verdict.word in (FOUND, NOT_REACHED)
