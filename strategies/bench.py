"""What a step, a clone and a key cost: `python -m strategies.bench`. Ratios count, from one run on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.names import P1, P2, A, kswapd
from mm_sim.series import load
from mm_sim.snapshot import clone, state_key
from mm_sim.system import SMALL, Scope
from strategies.machine import machine
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


def main() -> None:
    calls, steps = walk_rates(SMALL, seconds=5, length=400)
    plain = hypothesis_rate(examples=100)
    _, large = walk_rates(Scope(processes=8, pages=32, frames=128, slots=96), seconds=5, length=4000)
    state = Live(load("linux_2_6_26"))
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    print(f"rules called at random    {calls:10,.0f} calls/s, of which {steps:,.0f} could happen")
    print(f"plain Hypothesis          {plain:10,.0f} calls/s; ratio {calls / plain:.0f}")
    print(f"8 processes, 32 pages     {large:10,.0f} steps/s; ratio to 2 and 1: {large / steps:.2f}")
    print(f"clone of a quiet state    {microseconds(lambda: clone(state.system)):10.1f} us")
    print(f"state key                 {microseconds(lambda: state_key(state.system)):10.1f} us")


if __name__ == "__main__":
    main()
