"""From any run that loses data to a short one, natively: delete chunks, pairs and single steps, then simplify.

The kind of the loss, which is the function that forgot the page, stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Report, Step, explain, replay
from mm_sim.system import Scope
from strategies.rules import domains, instances


def _losing(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], kind: str) -> list[Step] | None:
    """The steps up to the loss without those that cannot happen any more, if they lose data in the way of `kind`."""
    while True:
        try:
            found = replay(kernel, arch, scope, steps)
        except NotPossible as error:
            steps = steps[: error.index] + steps[error.index + 1 :]
        else:
            break
    if found is None:
        return None
    steps = steps[: found[1] + 1]
    report = explain(kernel, arch, scope, steps)
    return steps if report is not None and report.forgotten_by.function == kind else None


def minimise(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> tuple[list[Step], Report]:
    """A shortest run found that loses a page as `steps` do. `steps` must lose data."""
    report = explain(kernel, arch, scope, steps)
    assert report is not None
    kind = report.forgotten_by.function
    best = steps[: report.at + 1]

    def attempt(candidate: list[Step]) -> bool:
        nonlocal best
        found = _losing(kernel, arch, scope, candidate, kind)
        if found is None or (len(found), _cost(found)) >= (len(best), _cost(best)):
            return False
        best = found
        return True

    def chunks() -> None:
        size = len(best) // 2
        while size:
            start = 0
            while start < len(best):
                if not attempt(best[:start] + best[start + size :]):
                    start += size
            size //= 2

    def passes() -> bool:
        chunks()
        return any(attempt(candidate) for candidate in _neighbours(best, values, everything))

    values = domains(scope)
    everything = [Step(rule, arguments, None) for rule, arguments in instances(kernel, scope)]
    while passes():
        pass
    report = explain(kernel, arch, scope, best)
    assert report is not None
    return best, report


def _others(step: Step, values: dict[str, tuple[Any, ...]]) -> Iterator[Step]:
    """The step with no stop, or with one argument changed."""
    rule, arguments, stop = step
    if stop is not None:
        yield Step(rule, arguments, None)
    for k, domain in enumerate(rule.arguments.values()):
        for value in values[domain]:
            if value != arguments[k]:
                yield Step(rule, (*arguments[:k], value, *arguments[k + 1 :]), stop)


def _swapped(steps: list[Step], one: Any, other: Any) -> list[Step]:
    """The steps with two processes exchanged."""
    exchange = {one: other, other: one}
    return [
        Step(
            rule,
            tuple(
                exchange.get(a, a) if domain in ("process", "holder", "task") else a
                for a, domain in zip(arguments, rule.arguments.values(), strict=True)
            ),
            stop,
        )
        for rule, arguments, stop in steps
    ]


def _neighbours(
    steps: list[Step], values: dict[str, tuple[Any, ...]], everything: list[Step]
) -> Iterator[list[Step]]:
    """Runs that differ in two places, at least one of them a deletion; then in one, without any."""
    n = len(steps)
    pairs = list(combinations(values["process"], 2))
    for i, j in combinations(range(n), 2):
        if steps[i].stop is not None and steps[j].rule.action is steps[j].rule.steps is None:  # go on at once
            yield [*steps[:i], steps[i]._replace(stop=steps[j].stop), *steps[i + 1 : j], *steps[j + 1 :]]
        head, middle, tail = steps[:i], steps[i + 1 : j], steps[j + 1 :]
        yield head + middle + tail
        for one, other in pairs:
            yield head + middle + _swapped(tail, one, other)
            yield head + _swapped(middle + tail, one, other)
    for i in range(n):
        for one, other in pairs:
            yield steps[:i] + _swapped(steps[i + 1 :], one, other)
        rest = steps[:i] + steps[i + 1 :]
        for j in range(n - 1):
            for changed in _others(rest[j], values):
                yield [*rest[:j], changed, *rest[j + 1 :]]
        for j in range(n):
            yield [*rest[:j], steps[i], *rest[j:]]
    for one, other in pairs:
        yield _swapped(steps, one, other)
    for i in range(n):
        for instance in everything:
            yield [*steps[:i], instance, *steps[i + 1 :]]
    for i in range(n):
        for changed in _others(steps[i], values):
            yield [*steps[:i], changed, *steps[i + 1 :]]


def _cost(steps: list[Step]) -> tuple[int, int]:
    """Among runs of one length: fewer stops first, then the arguments that come first in their domains."""
    return sum(step.stop is not None for step in steps), sum(abs(int(a)) for step in steps for a in step.arguments)
