"""The random walk as a Hypothesis backend (`settings(backend="mm-walk")`).

For each test case the provider walks natively for some runs. When one loses data it is minimised, and its choices
are played to the state machine: Hypothesis sees an ordinary failing test case, verifies it under its own provider,
shrinks what is left, prints it and saves it. The choices of a step in hypothesis/stateful.py are: stop (a boolean),
once the feature flags (an integer), the index of the rule, one integer for each argument by name.
`test_drivers.py` fails if a release of Hypothesis changes that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager as ContextManager
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, PrimitiveProvider

from mm_sim.loss import Step
from mm_sim.sched import KernelBug
from strategies.machine import Machine
from strategies.rules import domains, stops
from strategies.walk import Walk

NAME = "mm-walk"
#: Chance with which stateful.py asks whether to stop.
_STOP = 2**-16


class WalkProvider(PrimitiveProvider):
    """One provider for a whole test function; `walking` and `playing` say from where it has its losses."""

    lifetime = "test_function"
    target: ClassVar[tuple[type[Machine], Callable[[], list[Step] | None]] | None] = None

    def __init__(self, conjecturedata: Any, /) -> None:
        super().__init__(conjecturedata)
        assert self.target is not None, "the backend mm-walk is used inside walking() or playing()"
        self.machine, self.next_loss = self.target
        self.choices: deque[int] = deque()
        self.steps_left = 0

    def per_test_case_context_manager(self) -> ContextManager[None]:
        self.choices.clear()
        self.steps_left = 0
        steps = self.next_loss()
        if steps is not None:
            self.play(steps)
        return nullcontext()

    def play(self, steps: list[Step]) -> None:
        """Queue the choices of these steps."""
        values = domains(self.machine.scope)
        rules = sorted(
            (r.function.__name__ for r in self.machine.setup_state().rules),
            key=lambda name: (len(self.arguments(name)), name),
        )
        self.steps_left = len(steps)
        for step in steps:
            self.choices.append(rules.index(step.rule.name))
            drawn: dict[str, tuple[tuple[Any, ...], Any]] = {
                name: (values[domain], value)
                for (name, domain), value in zip(step.rule.arguments.items(), step.arguments, strict=True)
            }
            points = stops(self.machine.kernel, step.rule)
            if points:
                drawn["stop"] = (points, step.stop)
            for _, (domain, value) in sorted(drawn.items()):  # by name, as stateful.py draws them
                if len(domain) > 1:  # sampled_from() of one value draws nothing
                    self.choices.append(domain.index(value))

    def arguments(self, name: str) -> dict[str, Any]:
        return next(r.arguments for r in self.machine.setup_state().rules if r.function.__name__ == name)

    def draw_boolean(self, p: float = 0.5) -> bool:
        if p == _STOP:
            self.steps_left -= 1
            return self.steps_left <= 0
        return p >= 1

    def draw_integer(
        self,
        min_value: int | None = None,
        max_value: int | None = None,
        *,
        weights: dict[int, float] | None = None,
        shrink_towards: int = 0,
    ) -> int:
        if max_value == 254 or not self.choices:  # the feature flags: all rules enabled
            return min_value or 0
        choice = self.choices.popleft()
        assert max_value is not None
        if choice > max_value:
            raise AssertionError("Hypothesis draws other choices than backend.py plays: see its docstring")
        return choice

    def draw_float(self, **kwargs: Any) -> float:
        raise NotImplementedError("no rule draws a float")

    def draw_string(self, intervals: Any, **kwargs: Any) -> str:
        raise NotImplementedError("no rule draws a string")

    def draw_bytes(self, min_size: int = 0, max_size: int = 0) -> bytes:
        raise NotImplementedError("no rule draws bytes")


@contextmanager
def walking(
    machine: type[Machine], seed: int, runs: int = 200, enough: Callable[[Walk], bool] = lambda walk: False
) -> Iterator[Walk]:
    """Within it the backend walks `machine` from `seed`, `runs` runs for each test case until it is `enough`."""
    walk = Walk(machine.kernel, machine.arch, machine.scope, seed, marks=machine.marks)

    def loses() -> bool:
        try:
            return walk.run() is not None and machine.adds(walk.trace)
        except KernelBug:
            if machine.adds(walk.trace):
                raise
            return False

    def next_loss() -> list[Step] | None:
        lost = not enough(walk) and any(loses() for _ in range(runs))
        return machine.certify(walk.trace).steps if lost else None

    with _from(machine, next_loss):
        yield walk


def playing(machine: type[Machine], steps: list[Step]) -> ContextManager[None]:
    """Within it the backend plays these steps to `machine`, as they are."""
    return _from(machine, lambda: steps)


@contextmanager
def _from(machine: type[Machine], next_loss: Callable[[], list[Step] | None]) -> Iterator[None]:
    WalkProvider.target = (machine, next_loss)
    try:
        yield
    finally:
        WalkProvider.target = None


AVAILABLE_PROVIDERS[NAME] = WalkProvider
