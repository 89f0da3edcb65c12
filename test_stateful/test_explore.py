"""The exhaustive search: that its reductions lose nothing, that it ends, stops and goes on, and what it says."""

import signal
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mm_sim.kernel import Kernel
from mm_sim.loss import Step, explain, replay
from mm_sim.names import DIRECT, KSWAPD, P1, P2, A
from mm_sim.sched import points
from mm_sim.series import load, names
from mm_sim.snapshot import canonical, is_quiet, restore, save, state_key
from mm_sim.system import SMALL, Scope, System, WrongStore
from strategies.comparison import declares
from strategies.explore import SCOPES, Bounds, CheckpointError, Node, Search
from strategies.minimise import certify, minimise
from strategies.reduce import (
    COMMUTES,
    FREE,
    LOCK,
    PRIVATE,
    Normal,
    argued,
    forget,
    goes_along_mmlist,
    lock,
    normal,
    undo,
)
from strategies.rules import RULES, stops
from strategies.walk import Walk

RACE = SCOPES["race"].rules
LUMPY = (("reclaimer", (KSWAPD,)), ("order", (4,)))
SHORT = Bounds(rules=RACE, only=LUMPY, steps=5)


class Settled(Search):
    """Remembers the quiet states it comes to, in `form`, or in that of a search, which may be `free` of bounds."""

    def __init__(self, *arguments: Any, free: bool = False, form: Normal | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.forms_of_quiet = form or normal(self.arch, self.rules, dict(self.bounds.only), free)
        self.quiet = {self.settled(self.system)}

    def visit(self, *step: Any) -> bool:
        known = super().visit(*step)
        if is_quiet(self.system):
            self.quiet.add(self.settled(self.system))
        return known

    def settled(self, system: System) -> bytes:
        kept = save(system)
        self.forms_of_quiet.form(system)
        key, _ = canonical(system, slots=False, mmlist=False)
        restore(system, kept)
        return key


@pytest.mark.parametrize("arch", ["s390", "x86"])
@pytest.mark.parametrize(
    ("rules", "stops"),
    [
        (("store", "fork", "exit", "reclaim", "pageout_done"), None),
        (("store", "fork", "exit", "reclaim", "pageout_done"), 1),
        (("store", "mlock", "mprotect", "munlock", "reclaim", "pageout_done"), 0),
        (("store", "mlock", "mprotect", "reclaim", "pageout_done"), None),
        (("store", "mlock", "mprotect"), None),
        (("store", "load", "fork", "reclaim", "pageout_done"), None),
        (("store", "load", "fork", "reclaim", "pageout_failed"), 1),
    ],
)
def test_reductions_hide_no_abstract_state(arch: str, rules: tuple[str, ...], stops: int | None) -> None:
    bounds = Bounds(rules=rules, only=LUMPY, steps=5, stops=stops)
    reduced = Settled(load("linux_2_6_26"), arch, bounds)
    whole = Settled(load("linux_2_6_26"), arch, bounds, reduce=False, symmetric=False)
    assert reduced.run().ended == whole.run().ended == "complete"
    assert whole.quiet <= reduced.quiet
    assert reduced.result.states < whole.result.states


def test_who_has_used_a_page_of_a_file_is_not_looked_at() -> None:
    """Where all reclaim is of a costly order: with and without that, a search comes to the same states."""
    bounds = replace(SCOPES["tmpfs"], steps=4, stops=1)
    reduced = Settled(load("linux_2_6_26"), "s390", bounds, form=Normal(forgets=True))
    whole = Settled(load("linux_2_6_26"), "s390", bounds, form=Normal(forgets=True), reduce=False)
    assert reduced.run().ended == whole.run().ended == "complete"
    assert reduced.quiet == whole.quiet
    assert reduced.result.states < whole.result.states


@pytest.mark.parametrize(("locks", "stops"), [(("mlock",), 0), ((), 1)])
def test_reductions_come_to_no_state_that_the_kernel_does_not(locks: tuple[str, ...], stops: int) -> None:
    """It may take more steps there: what nobody uses has to be written before it is freed."""
    rules = ("store", "exit", "fork", "reclaim", "pageout_done", *locks)
    few, more = (Bounds(rules=rules, only=LUMPY, steps=steps, stops=stops) for steps in (5, 7))
    reduced = Settled(load("linux_2_6_26"), "s390", few)
    whole = Settled(load("linux_2_6_26"), "s390", more, reduce=False)
    assert reduced.run().ended == whole.run().ended == "complete"
    assert reduced.quiet <= whole.quiet


LOCKS = ("load", "mlock", "munlock", "mprotect")


@pytest.mark.parametrize(
    ("arch", "rules", "orders", "processes"),
    [
        ("s390", ("store", "load", "mmap", "munmap", "reclaim", "pageout_done"), (0, 4), 1),
        ("s390", ("store", *LOCKS, "madvise_dontneed", "reclaim", "pageout_done"), (0, 4), 1),
        ("x86", ("store", *LOCKS, "reclaim", "pageout_done", "pageout_failed"), (0, 4), 1),
        ("s390", ("store", "fork", "reclaim"), (4,), 2),
    ],
)
def test_a_search_without_bounds_comes_to_every_normal_form(
    arch: str, rules: tuple[str, ...], orders: tuple[int, ...], processes: int
) -> None:
    scope, only = Scope(processes, 1, 2, 2), (("reclaimer", (KSWAPD,)), ("order", orders))
    free = Settled(load("linux_2_6_26"), arch, Bounds(scope, rules, only), free=True)
    assert free.run().ended == "complete"
    whole = Settled(load("linux_2_6_26"), arch, Bounds(scope, rules, only, steps=5), free=True, reduce=False)
    assert whole.run().ended == "complete"
    assert free.free
    assert whole.quiet <= free.quiet


def test_a_walk_comes_to_no_normal_form_that_a_search_without_bounds_has_not() -> None:
    """A walk stops where it likes, takes hundreds of steps and knows no reduction."""
    scope = Scope(processes=2, pages=1, frames=2, slots=1)
    free = Settled(load("linux_2_6_26"), "s390", Bounds(scope, RACE, LUMPY), free=True)
    assert free.run().ended == "complete"
    random = Random(0)
    met = set()
    for _ in range(150):
        system = System(load("linux_2_6_26"), "s390", scope)
        weights = [random.choice((1, 3, 9)) for _ in free.calls]
        for _ in range(150):
            [(rule, arguments)] = random.choices(free.calls, weights)
            if rule is LOCK or (task := system.start(rule, arguments)) is None:
                continue
            if task.steps is not None:
                next((point for point in points(task) if random.random() < 0.3), None)
            system.after()
            if is_quiet(system):
                met.add(free.settled(system))
    assert len(met) > 20
    assert met <= free.quiet


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("easy_mprotect", "zap_only") else pytest.param(name, marks=pytest.mark.nightly)
        for name in names()
        if declares(load(name), "anon", "s390")
    ],
)
def test_a_series_that_loses_does_so_in_a_search_without_bounds(name: str) -> None:
    search = Search(load(name), "s390", SCOPES["race"])
    assert search.run().ended == "loss"
    assert search.free
    report = explain(load(name), "s390", SMALL, search.result.loss or [])
    assert report is not None
    assert report.forgotten_by.function in ("page_zap_rmap", "zap_remove_rmap")


def test_an_mlock_without_a_trace_is_one_with_mprotect_around_it() -> None:
    """P1's page is read-only after a fork: `undo` leaves it so."""
    system = System(load("linux_2_6_26"), "s390", SMALL)
    rule = {r.name: r for r in RULES}

    def step(name: str, arguments: tuple[Any, ...]) -> bool:
        return system.step(rule[name], arguments)

    assert step("store", (P1, A))
    assert step("fork", (P1, P2))
    forget(system)
    before = state_key(system)
    assert lock(system, step, P1, A)
    forget(system)
    assert state_key(system) != before
    assert undo(system, step, P1)
    assert state_key(system) == before


def test_what_is_lost_in_a_normal_form_is_lost_in_the_kernel() -> None:
    result = Search(
        load("page_zap_rmap"), "s390", Bounds(rules=("store", "fork", "reclaim", "pageout_done"), only=LUMPY)
    ).run()
    assert result.ended == "loss"
    report = explain(load("page_zap_rmap"), "s390", SMALL, result.loss or [])
    assert report is not None
    assert report.forgotten_by.function == "page_zap_rmap"


def test_no_argument_holds_for_a_series_that_changes_what_it_is_about() -> None:
    class Other(load("linux_2_6_26")):  # type: ignore[misc]
        __slots__ = ()

        def remove_mapping(self, page: Any) -> Any:
            return super().remove_mapping(page)

    assert argued(load("easy"), {"store", "reclaim"}, SMALL)
    assert not argued(Other, {"store", "reclaim"}, SMALL)
    assert not argued(load("easy"), {"store", "swapoff"}, SMALL)
    assert not argued(load("easy"), {"store"}, Scope(pages=2))


def test_mmlist_counts_only_where_swapoff_or_a_patch_goes_along_it() -> None:
    class Looks(Kernel):
        __slots__ = ()

        def vm_swap_full(self) -> bool:
            return bool(self.mmlist)

    assert not goes_along_mmlist(load("easy"), {"fork", "reclaim", "store"})
    assert goes_along_mmlist(load("easy"), {"fork", "reclaim", "store", "swapoff"})
    assert goes_along_mmlist(Looks, {"fork", "reclaim", "store"})


def test_bounds_name_the_swap_areas_if_there_are_several() -> None:
    assert "2 slots;" in str(Bounds(SMALL))
    assert "2 slots in 2 areas;" in str(Bounds(Scope(areas=2)))


def test_no_argument_holds_for_a_series_that_looks_at_what_normal_forms_forget() -> None:
    class Looks(load("easy")):  # type: ignore[misc]
        __slots__ = ()

        def copy_one_pte(self, dst_mm: Any, src_mm: Any, vma: Any, addr: int) -> None:
            assert vma.vm_flags is not None
            super().copy_one_pte(dst_mm, src_mm, vma, addr)

    assert not argued(Looks, {"store", "reclaim"}, SMALL)


def test_order_of_two_reclaimers_is_not_reduced_away() -> None:
    alone = replace(SCOPES["race"], only=(("reclaimer", (KSWAPD,)), ("order", (4,))))
    assert Search(load("linux_2_6_26"), "s390", alone).free
    assert not Search(load("linux_2_6_26"), "s390", replace(alone, only=(("order", (4,)),))).free


@pytest.mark.parametrize("reductions", [{}, {"reduce": False}, {"symmetric": False}])
def test_the_shortest_loss_is_found_with_and_without_reductions(reductions: dict[str, Any]) -> None:
    bounds = Bounds(rules=("store", "fork", "reclaim", "pageout_done"), only=LUMPY, stops=1)
    result = Search(load("page_zap_rmap"), "s390", bounds, **reductions).run()
    assert result.ended == "loss"
    assert result.loss is not None
    assert len(result.loss) == 8
    assert replay(load("page_zap_rmap"), "s390", SMALL, result.loss) is not None


@pytest.mark.parametrize("arch", ["s390", "x86"])
def test_a_swap_pte_that_comes_back_is_found_by_stores_alone(arch: str) -> None:
    bounds = Bounds(
        Scope(also=("threads",), slots=1),
        ("store", "reclaim", "pageout_done", "madvise_dontneed", "resume"),
        LUMPY,
        steps=8,
        stops=1,
    )
    result = Search(load("linux_2_6_26"), arch, bounds).run()
    assert result.loss is not None
    found = explain(load("linux_2_6_26"), arch, bounds.scope, result.loss)
    assert found is not None
    assert isinstance(found.loss, WrongStore)
    assert found.forgotten_by.function == "do_swap_page"
    assert Search(load("swapin_race"), arch, bounds).run().ended == "complete"


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["easy_mprotect", "zap_only"])
def test_the_shortest_loss_by_a_lock_is_as_short_without_normal_forms(name: str) -> None:
    bounds = replace(SCOPES["lock"], steps=11)
    lengths = []
    for forms in (True, False):
        search = Search(load(name), "s390", bounds)
        search.begin(reduce=True, forms=forms)
        assert search.run().ended == "loss"
        lengths.append(len(search.result.loss or []))
    assert lengths[0] == lengths[1]


def test_what_is_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    straight = Search(load("linux_2_6_26"), "s390", SHORT).run()
    first = Search(load("linux_2_6_26"), "s390", SHORT)
    assert first.run(states=300, checkpoint=file).ended == "out of memory"
    again = Search(load("linux_2_6_26"), "s390", SHORT)
    again.load(file)
    result = again.run()
    assert result.ended == "complete"
    assert (result.states, result.depth) == (straight.states, straight.depth)


def test_interrupt_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    straight = Search(load("linux_2_6_26"), "s390", SHORT).run()
    first = Search(load("linux_2_6_26"), "s390", SHORT)
    expand = first.expand

    def interrupted(node: Node) -> None:
        if len(first.seen) > 200:
            signal.raise_signal(signal.SIGINT)
        expand(node)

    first.expand = interrupted  # type: ignore[method-assign]
    assert first.run(checkpoint=file).ended == "interrupted"
    again = Search(load("linux_2_6_26"), "s390", SHORT)
    again.load(file)
    assert (again.run().states, again.result.ended) == (straight.states, "complete")


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    class Changed(Kernel):
        __slots__ = ()

        title = load("linux_2_6_26").title

    file = tmp_path / "search.json"
    Search(load("linux_2_6_26"), "s390", SHORT).run(states=10, checkpoint=file)
    with pytest.raises(CheckpointError, match="another model"):
        Search(Changed, "s390", SHORT).load(file)


def test_checkpoint_of_another_search_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    Search(load("linux_2_6_26"), "s390", SHORT).run(states=10, checkpoint=file)
    with pytest.raises(CheckpointError, match=r"search\.json: is of another search"):
        Search(load("zap_only"), "s390", SHORT).load(file)


@pytest.mark.parametrize("text", ["", "not JSON\n", "{}\n[]\n", None])
def test_broken_checkpoint_is_one_line(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "search.json"
    search = Search(load("linux_2_6_26"), "s390", SHORT)
    search.run(states=10, checkpoint=file)
    if text is None:  # a number too large
        text = file.read_text().replace("[[", "[[9", 1)
    file.write_text(text)
    with pytest.raises(CheckpointError, match="delete it"):
        Search(load("linux_2_6_26"), "s390", SHORT).load(file)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_see_the_same_states() -> None:
    bounds = Bounds(rules=RACE, only=LUMPY, steps=6)
    one = Search(load("linux_2_6_26"), "s390", bounds).run()
    two = Search(load("linux_2_6_26"), "s390", bounds).run(jobs=2)
    assert (one.states, one.depth, one.ended) == (two.states, two.depth, two.ended)


def test_movers_are_preemption_points() -> None:
    assert {*PRIVATE, *COMMUTES, *FREE} - {"page_zap_rmap: mapping gone"} <= set(
        stops(Kernel, next(rule for rule in RULES if rule.name == "resume"))
    )


def test_small_scope_is_proven_without_bounds() -> None:
    """One process has no race to lose: all its states are few enough to be visited."""
    bounds = Bounds(Scope(processes=1, pages=1, frames=2, slots=2), rules=("store", "reclaim", "pageout_done"))
    result = Search(load("page_zap_rmap"), "s390", bounds).run()
    assert result.ended == "complete"
    assert result.states > 15


def test_bounds_say_what_they_cover() -> None:
    bounds = Bounds(rules=("store", "reclaim"), only=(("reclaimer", (KSWAPD, DIRECT)),), steps=4, stops=1)
    assert str(bounds) == (
        "2 processes, 1 page each, 3 frames, 2 slots; store, reclaim; reclaimer kswapd or direct; "
        "up to 4 steps; at most 1 preemption"
    )


def test_certificate_finds_what_deleting_steps_does_not() -> None:
    """From a race with locks in it, from which nothing can be deleted, to the race in eight steps."""
    kernel = load("page_zap_rmap")
    walk = Walk(kernel, "s390", SMALL, seed=4)
    while walk.run() is None or not any(step.stop for step in minimise(kernel, "s390", SMALL, walk.trace)):
        pass
    assert len(minimise(kernel, "s390", SMALL, walk.trace)) > 8
    found = certify(kernel, "s390", SCOPES["race"], walk.trace)
    assert found.proven
    assert str(found).startswith(f"shortest, proven over {found.states} states: 2 processes")
    assert len(found.steps) == 8


def test_certificate_that_was_cut_off_says_so() -> None:
    rule = {r.name: r for r in RULES}
    walk = Walk(load("page_zap_rmap"), "s390", SMALL, seed=0)
    while walk.run() is None:
        pass
    found = certify(load("page_zap_rmap"), "s390", SCOPES["race"], walk.trace, states=1, deadline=0.0)
    assert not found.proven
    assert "cut off" in str(found)
    assert all(isinstance(step, Step) and step.rule in rule.values() for step in found.steps)
