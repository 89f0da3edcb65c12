"""What counts against a patch: a run in which it fails, and its base, by the same operations, does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel, base_of, name_of
from mm_sim.loss import Step
from mm_sim.mm import Mm
from mm_sim.names import P1, A, ext2, pdflush
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.series import load
from mm_sim.series.easy import Easy
from mm_sim.series.mremap_anon_vma import MremapAnonVma
from mm_sim.series.no_clear_uptodate import NoClearUptodate
from mm_sim.series.swapoff_key import SwapoffKey
from mm_sim.system import Loss
from strategies.comparison import Base, failure
from strategies.explore import SCOPES, Search
from strategies.reproducer import Replay
from strategies.rules import table

#: 2.6.26 loses here, in four steps.
FILE = replace(SCOPES["file"], steps=5)


class OnePointMore(Kernel):
    """A fault can be preempted before it has begun."""

    __slots__ = ()

    title = "one preemption point more"

    def do_page_fault(self, mm: Mm, address: int, write: bool) -> Steps[int]:
        yield "do_page_fault: entered"
        return (yield from super().do_page_fault(mm, address, write))


class OtherName(Kernel):
    """The preemption point at which 2.6.26 loses is called otherwise."""

    __slots__ = ()

    title = "a preemption point renamed"

    def tag_page_dirty(self, page: Page, mapping: AddressSpace) -> Steps[None]:
        yield "set_page_dirty: no tag yet"
        while mapping.tree_lock.busy():
            yield mapping.tree_lock
        if page.mapping is mapping:
            page.tag_dirty = True


class NoMkclean(Kernel):
    """Write-back leaves the ptes writable: a later store does not fault, and fsync() does not find the page."""

    __slots__ = ()

    title = "no page_mkclean()"

    def page_mkclean(self, page: Page) -> Steps[bool]:
        return False
        yield


class NeverWritten(Kernel):
    """No write is submitted, so none can end; 2.6.26 waits for it in fsync()."""

    __slots__ = ()

    title = "pages are never under writeback"

    def set_page_writeback(self, page: Page) -> None:
        page.tag_dirty = False


def search(kernel: type[Kernel], arch: str) -> Search:
    return Search(kernel, arch, FILE, reduce=False, base=Base(Kernel, arch, FILE.scope))


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("kernel", [OnePointMore, OtherName])
def test_a_patch_of_preemption_points_adds_nothing(kernel: type[Kernel], arch: str) -> None:
    result = search(kernel, arch).run()
    assert (result.ended, result.loss) == ("complete", None)
    assert result.base_fails is not None
    assert isinstance(failure(kernel, arch, FILE.scope, result.base_fails), Loss)


@pytest.mark.parametrize("arch", ARCHES)
def test_a_loss_of_the_base_hides_no_loss_that_is_added(arch: str) -> None:
    result = search(NoMkclean, arch).run()
    assert result.ended == "loss"
    assert result.loss is not None
    assert result.base_fails is not None
    assert len(result.base_fails) < len(result.loss) == 5
    assert not Base(Kernel, arch, FILE.scope).fails(result.loss)


def steps_of(kernel: type[Kernel]) -> list[Step]:
    run = Replay(kernel)
    run.store(process=P1, page=A)
    run.writeback(flusher=pdflush, file=ext2)
    run.pageout_done(holder=ext2, page=A)
    run.fsync(process=P1, file=ext2)
    return run.steps


def test_a_patch_that_makes_a_step_impossible_is_judged_by_what_it_loses_itself() -> None:
    run = steps_of(NeverWritten)
    assert isinstance(failure(NeverWritten, "s390", FILE.scope, run), Loss)
    assert [step.rule.name for step in run] == ["store", "writeback", "fsync"]
    assert not Base(Kernel, "s390", FILE.scope).fails(run)
    assert len(search(NeverWritten, "s390").run().loss or ()) == 2


def test_what_the_patch_adds_is_no_failure_of_the_base() -> None:
    run = steps_of(Kernel)
    assert not Base(Kernel, "s390", FILE.scope).fails(run)
    assert Base(NeverWritten, "s390", FILE.scope).fails(run)


def test_a_step_of_a_rule_that_the_base_lacks_does_nothing_there() -> None:
    store = next(rule for rule in table(Kernel) if rule.name == "store")
    run = steps_of(NeverWritten)
    run.insert(1, Step(replace(store, name="a rule of the patch"), (P1, A), None))
    base = Base(NeverWritten, "s390", FILE.scope)
    assert base.after(base.first, run[1]) == base.first
    assert base.fails(run)


@pytest.mark.parametrize("states", [20, 700])
def test_a_search_with_a_base_goes_on_from_its_checkpoint(states: int, tmp_path: Path) -> None:
    """At first no run has failed, and the search is one of the patch alone; later it is one of both."""
    file = tmp_path / "search.json"
    straight = search(OnePointMore, "s390").run()
    first = search(OnePointMore, "s390")
    assert first.run(states=states, checkpoint=file).ended == "out of memory"
    assert (first.beside is None) == (states == 20)
    again = search(OnePointMore, "s390")
    again.load(file)
    assert again.run().ended == "complete"
    assert (again.result.states, again.result.depth) == (straight.states, straight.depth)


def test_base_is_the_class_that_a_patch_derives_from_or_the_one_that_it_names() -> None:
    assert base_of(NoMkclean) is Kernel
    assert base_of(load("mmu_gather_flush")) is load("dirty_tracking_race")
    assert Easy.__bases__ != (Kernel,)
    assert base_of(Easy) is Kernel
    assert base_of(load("linux_2_6_26")) is base_of(Kernel) is None
    assert [name_of(base) for base in (Kernel, NoClearUptodate, None)] == ["linux_2_6_26", "no_clear_uptodate", None]


def test_base_of_a_patch_to_several_has_them_all() -> None:
    class Both(MremapAnonVma, SwapoffKey):
        __slots__ = ()

    base = base_of(Both)
    assert base is not None
    assert base.__mro__[1:] == Both.__mro__[1:]


def test_a_named_base_is_not_handed_on() -> None:
    class Later(Easy):
        __slots__ = ()

    assert base_of(Later) is Easy
