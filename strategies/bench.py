"""What steps, searches and reproducers cost: `mm-sim bench`. Ratios count, from one run on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.names import P1, P2, A, kswapd
from mm_sim.series import load, names
from mm_sim.snapshot import clone, state_key
from mm_sim.system import SMALL, Scope
from strategies.explore import SCOPES, Bounds, Result, Search
from strategies.machine import machine
from strategies.minimise import certify
from strategies.reproducer import Live
from strategies.walk import Walk


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
    chosen = settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    start = time.perf_counter()
    run_state_machine_as_test(tested, settings=chosen)
    return calls / (time.perf_counter() - start)


def microseconds(call: Callable[[], object], times: int = 3000) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times * 1e6


def certified_seconds(name: str, seeds: int) -> list[float]:
    """Seconds from the start of a walk to the certified shortest reproducer, for each seed, sorted."""
    kernel = load(name)
    taken = []
    for seed in range(seeds):
        start = time.perf_counter()
        walk = Walk(kernel, "s390", SMALL, seed)
        while walk.run() is None:
            pass
        certify(kernel, "s390", SMALL, walk.trace)
        taken.append(time.perf_counter() - start)
    return sorted(taken)


#: What steers a walk: whether it keeps novel runs, and the share of runs with a PCT schedule.
STEERED = {
    "novelty, both schedules": (True, Walk.PCT),
    "no novelty": (False, Walk.PCT),
    "novelty, random stops only": (True, 0.0),
    "novelty, PCT only": (True, 1.0),
}


def steps_to_a_loss(name: str, scope: Scope, seeds: int, longest: float = 10.0) -> dict[str, list[float]]:
    """Rule calls to the first loss, in thousands, for each way to steer and each seed, sorted; inf: none in time."""
    taken: dict[str, list[float]] = {}
    for what, (novelty, pct) in STEERED.items():
        for seed in range(seeds):
            walk = Walk(load(name), "s390", scope, seed, novelty=novelty)
            setattr(walk, "PCT", pct)  # noqa: B010
            end = time.perf_counter() + longest
            while (lost := walk.run()) is None and time.perf_counter() < end:
                pass
            taken.setdefault(what, []).append(float("inf") if lost is None else walk.calls / 1000)
    return {what: sorted(of) for what, of in taken.items()}


def search(name: str = "linux_2_6_26", **options: Any) -> Result:
    """A search of a small scope: every run of up to six steps."""
    bounds = Bounds(options.pop("scope", SMALL), SCOPES["race"].rules, steps=options.pop("steps", 6))
    return Search(load(name), "s390", bounds, **options).run()


def measure(seeds: int) -> dict[str, float]:
    """All figures by name."""
    calls, steps = walk_rates(SMALL, seconds=5, length=400)
    plain = hypothesis_rate(examples=100)
    _, large = walk_rates(Scope(processes=8, pages=32, frames=128, slots=96), seconds=5, length=4000)
    state = Live(load("linux_2_6_26"))
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    figures: dict[str, float] = {
        "walk: rules called, per second": calls,
        "walk: steps that happened, per second": steps,
        "plain Hypothesis: rules called, per second": plain,
        "walk / plain Hypothesis": calls / plain,
        "steps per second, 8 processes and 32 pages / 2 and 1": large / steps,
        "clone of a quiet state, microseconds": microseconds(lambda: clone(state.system)),
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
        if load(name).expected == "loses":
            taken = certified_seconds(name, seeds)
            figures[f"{name}: seconds to the certified reproducer, median"] = taken[len(taken) // 2]
            figures[f"{name}: seconds to the certified reproducer, worst"] = taken[-1]
            for what, of in steps_to_a_loss(name, SMALL, seeds).items():
                figures[f"{name}: 1000 calls to a loss, median, {what}"] = of[len(of) // 2]
    return figures
