"""What steps, searches and reproducers cost: `mm-sim bench`. Ratios count, from one run on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.names import P1, P2, A, kswapd
from mm_sim.series import load, names
from mm_sim.snapshot import restore, save, state_key
from mm_sim.system import SMALL, Loss, Scope
from strategies.comparison import declares
from strategies.explore import SCOPES, Bounds, Result, Search
from strategies.finds import first_bounds
from strategies.machine import machine
from strategies.minimise import certify
from strategies.reproducer import Live
from strategies.walk import Walk

_GENERATED = settings(
    backend="hypothesis",
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def walk_rates(scope: Scope, seconds: float, length: int) -> tuple[float, float]:
    """Rule calls, and steps that happened, per second of a walk without novelty, with the check after each."""
    walk = Walk(load("linux_2_6_26"), "s390", scope, seed=0, length=length, novelty=False)
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        walk.run()
    return walk.calls / spent, walk.steps / spent


def hypothesis_rate(examples: int) -> float:
    """Rule calls per second under Hypothesis' own generation."""
    tested = machine(load("linux_2_6_26"), "linux_2_6_26", "s390")
    calls = 0
    inner: Callable[..., None] = tested.do

    def counted(self: object, *args: object) -> None:
        nonlocal calls
        calls += 1
        inner(self, *args)

    setattr(tested, "do", counted)  # noqa: B010
    start = time.perf_counter()
    run_state_machine_as_test(tested, settings=settings(_GENERATED, max_examples=examples, derandomize=True))
    return calls / (time.perf_counter() - start)


def microseconds(call: Callable[[], object], times: int = 3000) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times * 1e6


def certified_seconds(name: str, seeds: int) -> list[float]:
    """Seconds from the start of a walk to the certified shortest reproducer, for each seed, sorted."""
    kernel = load(name)
    bounds = first_bounds(kernel, "s390", "anon")
    taken = []
    for seed in range(seeds):
        start = time.perf_counter()
        walk = Walk(kernel, "s390", bounds.scope, seed, rules=bounds.rules)
        while walk.run() is None:
            pass
        certify(kernel, "s390", bounds, walk.trace, states=30_000)
        taken.append(time.perf_counter() - start)
    return sorted(taken)


class Way(NamedTuple):
    """How a walk is steered: whether it keeps novel runs, its share of PCT schedules, whether it has a corpus."""

    novelty: bool = True
    pct: float = Walk.PCT
    corpus: bool = False


WAYS = {
    "novelty and the corpus of an earlier walk": Way(corpus=True),
    "novelty": Way(),
    "novelty, random stops only": Way(pct=0.0),
    "novelty, PCT only": Way(pct=1.0),
    "no novelty": Way(novelty=False),
}
PLAIN = "plain Hypothesis"
#: What is looked for: a loss of a series on an architecture in a scope of SCOPES. The first two are of two kinds.
TARGETS = (
    ("page_zap_rmap", "s390", "anon"),
    ("easy_mprotect", "s390", "anon"),
    ("page_zap_rmap", "s390", "tmpfs"),
    ("fault_page_locked", "x86", "file"),
    ("linux_2_6_26", "s390", "threads"),
)
#: Rule calls of the earlier walk that leaves a corpus.
EARLIER = 200_000


def walk_to_a_loss(series: str, arch: str, scope: str, way: Way, seed: int, longest: float) -> tuple[float, float]:
    """Rule calls, in thousands, and seconds of CPU time to the first loss; inf if there is none in `longest`."""
    kernel, machine_of = load(series), SCOPES[scope].scope
    walk = Walk(kernel, arch, machine_of, seed, novelty=way.novelty)
    setattr(walk, "PCT", way.pct)  # noqa: B010
    earlier = Walk(kernel, arch, machine_of, seed + 1_000_000)
    while way.corpus and earlier.calls < EARLIER:
        earlier.run()
    start = time.process_time()
    try:
        for _, steps in earlier.first:
            walk.adopt(steps)
        while walk.run() is None:
            if time.process_time() - start > longest:
                return inf, inf
    except Loss:  # adopted
        pass
    return walk.calls / 1000, time.process_time() - start


class _Enough(KeyboardInterrupt):
    """Ends a run of Hypothesis at once, as Ctrl-C does."""


def hypothesis_to_a_loss(series: str, arch: str, scope: str, seed: int, longest: float) -> tuple[float, float]:
    """The same with Hypothesis' own generation in place of the walk."""
    tested = machine(load(series), series, arch, SCOPES[scope].scope)
    tested.base = None  # a walk is not asked whose loss it is, either
    inner: Callable[..., None] = tested.do
    start = time.process_time()
    calls = 0
    lost = False

    def counted(self: object, *args: object) -> None:
        nonlocal calls, lost
        calls += 1
        try:
            inner(self, *args)
        except Loss:
            lost = True
        if lost or time.process_time() - start > longest:
            raise _Enough

    setattr(tested, "do", counted)  # noqa: B010
    chosen = settings(_GENERATED, max_examples=10**9)
    with suppress(_Enough):
        run_state_machine_as_test(with_seed(seed)(tested), settings=chosen)
    return (calls / 1000, time.process_time() - start) if lost else (inf, inf)


def steering(seeds: int, longest: float) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
    """For each target and way, by seed: what walk_to_a_loss() says, sorted."""
    for target in TARGETS:
        for name, way in WAYS.items():
            found = sorted(walk_to_a_loss(*target, way, seed, longest) for seed in range(seeds))
            yield " ".join(target), name, found
        yield " ".join(target), PLAIN, sorted(hypothesis_to_a_loss(*target, seed, longest) for seed in range(seeds))


def search(name: str = "linux_2_6_26", **options: Any) -> Result:
    """A search of a small scope: every run of up to six steps."""
    bounds = Bounds(options.pop("scope", SMALL), SCOPES["race"].rules, steps=options.pop("steps", 6))
    return Search(load(name), "s390", bounds, **options).run()


def measure(seeds: int) -> dict[str, float]:
    """All figures by name."""
    calls, steps = walk_rates(SMALL, seconds=5, length=400)
    plain = hypothesis_rate(examples=100)
    _, large = walk_rates(Scope(processes=8, pages=32, frames=384, slots=256), seconds=5, length=4000)
    state = Live(load("linux_2_6_26"))
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    saved = save(state.system)
    figures: dict[str, float] = {
        "walk: rules called, per second": calls,
        "walk: steps that happened, per second": steps,
        "plain Hypothesis: rules called, per second": plain,
        "walk / plain Hypothesis": calls / plain,
        "steps per second, 8 processes and 32 pages / 2 and 1": large / steps,
        "back to a quiet state, microseconds": microseconds(lambda: restore(state.system, saved)),
        "state key, microseconds": microseconds(lambda: state_key(state.system)),
    }
    found = search()
    figures["search: states per second"] = found.states / found.seconds
    figures["search: transitions per second"] = found.transitions / found.seconds
    for what, other in (
        ("without partial order", search(reduce=False)),
        ("without symmetry", search(symmetric=False)),
        ("with 3 processes", search(scope=Scope(3, 1, 3, 2))),
        ("with 2 pages", search(scope=Scope(2, 2, 3, 2))),
        ("one step less", search(steps=5)),
    ):
        figures[f"search: states {what} / with all"] = other.states / found.states
    for name in names():
        if declares(load(name), "anon", "s390"):
            taken = certified_seconds(name, seeds)
            figures[f"{name}: seconds to the certified reproducer, median"] = taken[len(taken) // 2]
            figures[f"{name}: seconds to the certified reproducer, worst"] = taken[-1]
    return figures
