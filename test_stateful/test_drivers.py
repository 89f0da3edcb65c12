"""The state machine, the walk as a backend, and the minimiser, on a kernel that loses quickly."""

from contextlib import nullcontext
from math import inf

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyBackendFailure
from hypothesis.internal.reflection import function_digest
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.kernel import Kernel
from mm_sim.labels import labels
from mm_sim.loss import Step, explain
from mm_sim.mm import Mm
from mm_sim.names import EXT2, NOBODY, P1, P2, RW, SHM, TMPFS, XFS, A, R, kswapd
from mm_sim.page import Page
from mm_sim.sched import Steps
from mm_sim.series import load
from mm_sim.system import SMALL, Loss, Scope
from strategies.backend import NAME, WalkProvider, walking
from strategies.bench import TARGETS, Way, hypothesis_to_a_loss, walk_to_a_loss
from strategies.explore import SCOPES
from strategies.machine import Machine, machine
from strategies.minimise import EXCHANGE, minimise
from strategies.reproducer import Live, Replay, StaleReproducer, call
from strategies.rules import RULES, instances, reclaim, stops
from strategies.walk import Walk

RULE = {rule.name: rule for rule in RULES}


class Forgetful(Kernel):
    """Forgets every modification when a page is unmapped: a store and a lumpy reclaim lose it."""

    __slots__ = ()

    title = "forgets"
    posted = "nowhere"
    applies_to = "2.6.26"
    expected = "loses"

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        page.mapcount -= 1
        page.PG_dirty = False
        yield "page_remove_rmap: forgotten"


class OnePointMore(Kernel):
    """A fault can be preempted before it has begun: adds nothing to what 2.6.26 loses."""

    __slots__ = ()

    title = "one preemption point more"

    def do_page_fault(self, mm: Mm, address: int, write: bool) -> Steps[int]:
        yield "do_page_fault: entered"
        return (yield from super().do_page_fault(mm, address, write))


SHORTEST = [
    Step(RULE["store"], (P1, A), None),
    Step(RULE["reclaim"], (kswapd, P1, A, 4), None),
]


def found_by(backend: str) -> tuple[Loss, type[Machine]]:
    tested = machine(Forgetful, "forgetful", "s390")
    chosen = settings(
        backend=backend,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if backend == NAME else (Phase.generate,),
        stateful_step_count=80,
        max_examples=2_000,
    )
    with walking(tested, seed=0, runs=50), pytest.raises(Loss) as caught:
        run_state_machine_as_test(tested, settings=chosen)
    return caught.value, tested


@pytest.mark.parametrize("backend", ["hypothesis", NAME])
def test_hypothesis_prints_the_steps_as_they_are_stored(backend: str) -> None:
    loss, _ = found_by(backend)
    printed = [line for note in loss.__notes__ for line in note.splitlines() if line.startswith("state.")]
    calls = {
        f"state.{call(Step(rule, arguments, stop))}"
        for rule, arguments in instances(Forgetful, SMALL)
        for stop in stops(Forgetful, rule) or (None,)
    }
    assert set(printed[:-1]) <= calls
    assert printed[-1] == "state.teardown()"
    if backend == NAME:  # Hypothesis may put a simpler rule in the first place: a load also faults the page in
        assert printed[1:] == [*(f"state.{call(step)}" for step in SHORTEST[1:]), "state.teardown()"]


def test_backend_says_so_when_hypothesis_draws_other_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    def play(self: WalkProvider, steps: list[Step]) -> None:
        self.steps_left = 3
        self.choices.extend([10**6] * 9)

    monkeypatch.setattr(WalkProvider, "play", play)
    tested = machine(Forgetful, "forgetful", "s390")
    with walking(tested, seed=0), pytest.raises(FlakyBackendFailure) as caught:
        run_state_machine_as_test(tested, settings=settings(backend=NAME, database=None, deadline=None))
    assert "Hypothesis draws other choices than backend.py plays" in str(caught.value.exceptions[0])


@pytest.mark.parametrize(("kernel", "loses"), [(load("linux_2_6_26"), True), (OnePointMore, False)])
def test_a_run_in_which_the_base_fails_is_over_and_no_failure(kernel: type[Kernel], loses: bool) -> None:
    """fsync() does not find the page: PG_dirty is set, its tag is not."""
    state = machine(kernel, "any", "s390", SCOPES["file"].scope)()
    state.do(RULE["fork"], {"process": P1, "child": P2})
    state.do(RULE["store"], {"process": P1, "page": A, "stop": "set_page_dirty: PG_dirty set"})
    state.do(RULE["store"], {"process": P2, "page": A})
    with pytest.raises(Loss) if loses else nullcontext():
        state.do(RULE["fsync"], {"process": P2, "file": EXT2})
    assert state.lost is loses
    steps = len(state.trace)
    if not loses:
        state.do(RULE["load"], {"process": P1, "page": A})
    assert len(state.trace) == steps == 4


def test_a_walk_passes_over_what_the_base_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = machine(OnePointMore, "any", "s390", SCOPES["file"].scope)
    run = Replay(OnePointMore)
    run.fork(process=P1, child=P2)
    run.store(process=P1, page=A, stop="set_page_dirty: PG_dirty set")
    run.store(process=P2, page=A)
    run.fsync(process=P2, file=EXT2)

    def loses(self: Walk) -> Loss:
        self.runs += 1
        self.trace = run.steps
        return Loss(EXT2, A, 2, 0, disk=True)

    monkeypatch.setattr(Walk, "run", loses)
    with walking(tested, seed=0, runs=3) as walk:
        assert WalkProvider.target is not None
        assert WalkProvider.target[1]() is None
    assert walk.runs == 3


def test_each_machine_has_a_database_key_of_its_own() -> None:
    made = [machine(load(name), name, arch) for name in ("page_zap_rmap", "zap_only") for arch in ("s390", "x86")]
    digests = {cls.TestCase.__name__ for cls in made}
    assert len(digests) == 4
    assert len({function_digest(cls) for cls in made}) == 4


def test_minimiser_finds_the_shortest_run_of_the_same_kind() -> None:
    for seed in range(5):
        walk = Walk(Forgetful, "s390", SMALL, seed)
        while walk.run() is None:
            pass
        steps = minimise(Forgetful, "s390", SMALL, walk.trace)
        report = explain(Forgetful, "s390", SMALL, steps)
        assert len(steps) == 2, steps
        assert report is not None
        assert report.forgotten_by.function == "page_remove_rmap"


def test_thorough_minimiser_leaves_a_step_out_where_another_changes() -> None:
    """P2 gets write access back and copies the page; that it unmaps it is one step, and in the place of another."""
    state = Live(load("page_zap_rmap"), "s390", SMALL)
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.store(process=P1, page=A)
    state.mprotect(process=P1, page=A, prot=R)
    state.pageout_done(holder=P1, page=A)
    state.fork(process=P1, child=P2)
    state.mlock(process=P2, page=A)
    state.mprotect(process=P2, page=A, prot=RW)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.store(process=P2, page=A)
    with pytest.raises(Loss):
        state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    kernel = load("page_zap_rmap")
    assert len(minimise(kernel, "s390", SMALL, state.steps)) == 11
    assert len(minimise(kernel, "s390", SMALL, state.steps, effort=EXCHANGE)) == 10
    assert len(minimise(kernel, "s390", SMALL, state.steps, effort=EXCHANGE, deadline=0.0)) == 11


def test_report_names_the_statements() -> None:
    report = explain(Forgetful, "s390", SMALL, SHORTEST)
    assert report is not None
    assert report.at == 1
    assert report.forgotten_by.function == "page_remove_rmap"
    assert report.destroyed_by.function == "remove_mapping"


def test_preemption_points_are_read_off_the_code() -> None:
    points = labels(Kernel, reclaim)
    assert "try_to_unmap: next vma" in points
    assert "do_wp_page: page copied" not in points
    assert "page_remove_rmap: forgotten" in labels(Forgetful, reclaim)
    assert "page_remove_rmap: key cleared" in stops(Kernel, RULE["resume"])


def test_pct_schedule_stops_less_often_than_its_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Walk, "PCT", 1.0)
    walk = Walk(load("linux_2_6_26"), "s390", SMALL, seed=1, novelty=False)
    stopped = []
    for _ in range(300):
        walk.run()
        stopped.append(sum(step.stop is not None for step in walk.trace))
    assert set(stopped) == set(range(Walk.DEPTH))


def test_every_preemption_point_is_reached() -> None:
    """A label that no walk comes to stands in code that nothing tests."""
    unreached: set[str | None] = set(stops(Kernel, RULE["resume"]))
    unreached.remove("unuse_mm: page lock")  # test_model.py has a run: swapoff waits for the mm of a child
    pinned = Scope(2, 1, 3, 0, files=(EXT2,), also=("pins",))
    for arch, scope, seed, runs, rules in (
        ("s390", SMALL, 1, 600, None),
        ("s390", Scope(3, 2, 6, 3), 3, 1_000, None),
        ("s390", Scope(2, 2, 6, 0, files=(EXT2,), also=("pins",)), 1, 1_500, None),
        ("s390", Scope(2, 2, 6, 0, files=(EXT2,)), 1, 500, ("store", "mprotect", "munmap", "mmap_file", "resume")),
        ("s390", pinned, 3, 500, None),
        ("s390", pinned, 1, 500, ("write_direct", "store", "resume")),
        ("s390", pinned, 1, 1_000, ("aio_read", "store", "writeback", "pageout_done", "resume")),
        ("s390", Scope(2, 3, 4, 0, files=(EXT2,)), 1, 500, None),
        ("s390", Scope(2, 2, 6, 2, files=(TMPFS, SHM)), 3, 1_500, None),
        ("x86", Scope(2, 2, 6, 0, files=(XFS,)), 2, 600, None),
        ("x86", Scope(2, 1, 4, 2, also=("threads", "migration")), 2, 10_000, None),
    ):
        walk = Walk(load("linux_2_6_26"), arch, scope, seed, rules=rules)
        for _ in range(runs):
            if unreached:
                walk.run()
                unreached -= {step.stop for step in walk.trace}
    assert not unreached


def test_nobody_holds_only_what_no_page_table_refers_to() -> None:
    state = Live(Kernel)
    with pytest.raises(StaleReproducer, match="cannot happen"):
        state.reclaim(reclaimer=kswapd, holder=NOBODY, page=A, order=4)


# bench


def test_the_way_to_a_loss_is_told_in_thousands_of_calls_and_in_seconds() -> None:
    calls, seconds = walk_to_a_loss(*TARGETS[0], Way(), seed=0, longest=60.0)
    assert 0.1 < calls < inf
    assert 0.0 < seconds < inf


def test_where_nothing_is_lost_in_time_the_way_is_infinite() -> None:
    nothing = ("linux_2_6_26", "s390", "anon")
    assert walk_to_a_loss(*nothing, Way(), seed=0, longest=0.1) == (inf, inf)
    assert hypothesis_to_a_loss(*nothing, seed=0, longest=0.1) == (inf, inf)
