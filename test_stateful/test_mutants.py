"""Proof that the fuzzer fuzzes: a kernel without one statement that guards dirtiness is found out, or it is said
why not.

The mutants are read off the source (`strategies/mutants.py`). All of them are judged by `pytest -m mutants`, which
writes docs/mutants.md; a sample is killed in every run.
"""

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

import mm_sim
from mm_sim.arch import ARCHES, X86
from mm_sim.kernel.rmap import Rmap
from mm_sim.kernel.swapfile import Swapfile
from mm_sim.loss import Step
from mm_sim.names import P1, A
from mm_sim.page import DIRTY, Pte
from mm_sim.sched import KernelBug
from mm_sim.series.swapoff_key import SwapoffKey
from mm_sim.system import SMALL
from strategies import fates
from strategies.fates import PAGE, CountingSearch, CountingWalk, Judge, Killed, names_on
from strategies.mutants import CALLS, of_function
from strategies.places import CORNERS, PLACES, Tracked, all_mutants, bases_of
from strategies.reasons import REASONS
from strategies.reproducer import Live
from strategies.rules import RULES

#: Killed in every run of the tests: some of each pattern, and of each file of the kernel that has them.
SAMPLE = (
    "S390.page_test_dirty: page.key_c",
    "delay_rmap.zap_remove_rmap: DIRTY in ptent.bits & DIRTY",
    "filemap.filemap_fdatawait: page.PG_writeback",
    "filemap.generic_file_write: self.set_page_dirty(page)",
    "memory.copy_one_pte: WRITE in pte.clear(WRITE)",
    "memory.tlb_flush: self.flush_tlb_mm(mm)",
    "migrate.migrate_page_copy: self.set_page_dirty_and_tag(new)",
    "migrate.unmap_and_move: page.PG_writeback",
    "mprotect.change_pte_range: mm.ptl.acquire(task)",
    "page_writeback.clear_page_dirty_for_io: page.PG_dirty",
    "page_writeback.pagevec_lookup_tag: page.tag_dirty",
    "rmap.page_mkclean_one: self.flush_tlb_page(mm, address)",
    "rmap.page_remove_rmap: self.arch.page_test_dirty(page)",
    "rmap.try_to_unmap_one: self.swap_duplicate(entry)",
    "shmem.shmem_getpage: page.PG_writeback",
    "shmem.shmem_getpage: page.lock.busy() (2)",
    "swapfile.can_share_swap_page: count == 1",
    "swapfile.try_to_unuse: page.lock.acquire(task)",
    "truncate.truncate_inode_pages: page.PG_writeback (2)",
    "vmscan.shrink_page_list: page.lock.trylock(task)",
)


# the mutants


def test_a_made_up_function_gets_its_mutants() -> None:
    tree = ast.parse(
        """
def made_up(self, page, entry, address):
    while not page.lock.acquire(self.current):
        yield page.lock
    if page.count != 2 or page.PG_dirty:
        return
    if mm.pte[address] is entry:
        self.set_page_dirty(page)
    page.PG_dirty = page.PG_anon = True
    self.set_pte_at(mm, address, entry.clear(DIRTY))
    page.lock.release(self.current)
"""
    )
    assert isinstance(tree.body[0], ast.FunctionDef)
    assert [mutant.name.partition(": ")[2] for mutant in of_function(Rmap, tree.body[0])] == [
        "page.lock.acquire(self.current)",
        "page.count != 2",
        "page.PG_dirty",
        "mm.pte[address] is entry",
        "self.set_page_dirty(page)",
        "page.PG_dirty = True",
        "the dirty bit in self.set_pte_at(mm, address, entry.clear(DIRTY))",
        "DIRTY in entry.clear(DIRTY)",
    ]


def test_checks_of_the_bookkeeping_have_no_mutants() -> None:
    tree = ast.parse(
        """
def checked(self, page):
    if page.count == 2:
        self.mark("two")
    if page.mapcount:
        raise KernelBug(f"{page.PG_dirty}")
    assert page.lock.trylock(self.current)
"""
    )
    assert isinstance(tree.body[0], ast.FunctionDef)
    assert list(of_function(Rmap, tree.body[0])) == []


@pytest.mark.parametrize("name", CALLS)
def test_every_call_in_the_model_has_a_mutant(name: str) -> None:
    """Found in the text, line by line, without a look at how mutants are made; calls that are run, too."""
    changed = {(mutant.file, mutant.line) for mutant in all_mutants().values()}
    call = re.compile(rf"^(?!\s*(?:yield (?!from)|f\"|def)).*\.{name}\(")  # in no message, and not what is yielded
    series = {Path(inspect.getfile(mutant.owner)) for mutant in all_mutants().values()} - {Path(inspect.getfile(X86))}
    for path in series.union(Path(mm_sim.__file__).parent.glob("kernel/*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if call.match(line):
                assert (path.name, number) in changed, f"{path.name}:{number}: {line.strip()}"


def test_a_mutant_is_the_kernel_but_for_one_statement() -> None:
    mutant = all_mutants()[
        "memory.do_anonymous_page: self.arch.pte_dirty in self.mk_pte(page, vma).set(self.arch.pte_dirty)"
    ]
    for kernel, bits in ((Tracked, DIRTY), (mutant.on(Tracked), 0)):
        state = Live(kernel, "x86", SMALL)
        state.store(process=P1, page=A, stop="do_page_fault: return")
        pte = state.system.kernel.mms[0].pte[A]
        assert isinstance(pte, Pte)
        assert pte.bits & DIRTY == bits


def test_a_mutant_without_a_lock_goes_on_where_others_wait() -> None:
    mutant = all_mutants()["memory.do_anonymous_page: mm.ptl.acquire(task)"]
    for kernel, waits in ((Tracked, True), (mutant.on(Tracked), False)):
        state = Live(kernel, "s390", SMALL)
        kswapd = state.system.kernel.tasks[0]
        kswapd.steps = (label for label in ("it holds the ptl",))
        state.system.kernel.mms[0].ptl.trylock(kswapd)
        state.store(process=P1, page=A)
        assert (state.system.kernel.tasks[P1].waits is not None) == waits


def test_a_mutant_of_an_architecture_changes_that_one_only() -> None:
    mutant = next(mutant for mutant in all_mutants().values() if mutant.owner is X86)
    assert type(Live(mutant.on(Tracked), "x86", SMALL).system.kernel.arch) is not X86
    assert type(Live(mutant.on(Tracked), "s390", SMALL).system.kernel.arch) is ARCHES["s390"]


def test_a_check_that_fires_with_the_base_too_kills_no_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = all_mutants()["memory.tlb_flush: self.flush_tlb_mm(mm)"]
    store = next(rule for rule in RULES if rule.name == "store")
    steps = [Step(store, (P1, A), None)]
    with pytest.raises(Killed):
        Judge(mutant).failed(("all", "x86"), steps, KernelBug())

    def fires(*_: object) -> None:
        raise KernelBug

    monkeypatch.setattr(fates, "recount_fixed", fires)
    Judge(mutant).failed(("all", "x86"), steps, KernelBug())


def test_a_mutant_keeps_the_mend_that_calls_it() -> None:
    mutant = all_mutants()["swapfile.unuse_mm: page.lock.acquire(task)"]
    order = mutant.on(Tracked).__mro__
    owners = [cls for cls in order if "unuse_mm" in vars(cls)]
    assert owners[0] is SwapoffKey
    assert owners[1:] == [order[order.index(Swapfile) - 1], Swapfile]


def test_a_walk_of_the_judge_sets_out_from_stored_runs() -> None:
    """What swapoff loses takes more steps than a search from the start comes to."""
    fate = Judge(all_mutants()["swapoff_key.unuse_mm: self.set_page_dirty(page)"], quick=True).judge()
    assert (fate.word, fate.how) == ("loss", "stored run")


def test_a_machine_without_swap_is_none_for_a_mutant_of_swap() -> None:
    places = Judge(all_mutants()["memory.do_swap_page: page.lock.acquire(task)"]).places
    assert ("msync", "s390") not in places
    assert ("swapped in twice", "s390") in places


@pytest.mark.parametrize(
    ("done", "searched"),
    [(True, ["locked on s390", "anon on s390"]), (False, ["locked on s390", "locked on x86", "anon on s390"])],
)
def test_a_scope_is_searched_on_the_other_architecture_where_nothing_differed(
    done: bool, searched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge(all_mutants()["memory.handle_pte_fault: mm.pte[address] is not entry"])
    judge.places = {place: judge.places[place] for place in judge.places if place[0] in ("locked", "anon")}
    asked: list[str] = []

    def search(self: Judge, place: tuple[str, str]) -> bool:
        asked.append(" on ".join(place))
        return done or place[0] == "anon"

    monkeypatch.setattr(Judge, "walk", lambda self, place, runs: place[1] == "s390")
    monkeypatch.setattr(Judge, "search", search)
    judge.judge()
    assert asked == searched


def test_no_search_is_begun_beyond_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge(all_mutants()["memory.do_wp_page: self.flush_tlb_page(mm, address)"])
    monkeypatch.setattr(fates, "BUDGET", 0)
    monkeypatch.setattr(fates, "RUNS", (1, 1))
    assert judge.judge().how == "walk"


# what is said of them


def test_reasons_are_about_mutants_that_exist() -> None:
    said = [name for names in REASONS.values() for name in names]
    assert len(said) == len(set(said))
    assert set(said) <= all_mutants().keys()


def test_the_table_has_all_mutants() -> None:
    """Else it is stale: `pytest -n auto -m mutants` writes it anew."""
    assert names_on(PAGE.read_text(encoding="utf-8")) == sorted(all_mutants())


# their fates


@pytest.mark.parametrize("name", SAMPLE)
def test_mutant_of_the_sample_is_killed(name: str) -> None:
    assert Judge(all_mutants()[name], quick=True).judge().word != "survived"


@pytest.mark.mutants
@pytest.mark.parametrize("name", all_mutants())
def test_mutant_is_killed_or_equivalent(name: str, record_property: Callable[[str, object], None]) -> None:
    fate = Judge(all_mutants()[name]).judge()
    record_property("fate", asdict(fate))
    if fate.word == "survived":
        assert fate.why(), "survives, and nobody says why: mend the rules or the walk, or give the reason in REASONS"
    else:
        assert not fate.argued(), f"is killed ({fate.what}), and said to be equivalent"


@pytest.mark.mutants
@pytest.mark.parametrize("place", {bounds.scope: place for place, bounds in PLACES.items()}.values())
@pytest.mark.parametrize("arch", ARCHES)
def test_bases_lose_nothing_where_they_are_walked(place: str, arch: str) -> None:
    scope = PLACES[place].scope
    for base in bases_of(scope):
        walk = CountingWalk(base, arch, scope, seed=0)
        for _ in range(1_000):
            assert walk.run() is None


@pytest.mark.mutants
@pytest.mark.parametrize("place", [place for place, bounds in (PLACES | CORNERS).items() if bounds.steps is not None])
@pytest.mark.parametrize("arch", ARCHES)
def test_bases_lose_nothing_where_they_are_searched(place: str, arch: str) -> None:
    bounds = (PLACES | CORNERS)[place]
    for base in bases_of(bounds.scope):
        assert CountingSearch(base, arch, bounds, reduce=False).run().ended == "complete"
