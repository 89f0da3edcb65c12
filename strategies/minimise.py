"""From any run that loses data to the shortest one of its kind, natively.

First delete chunks, pairs and single steps, and simplify; then search all runs that are shorter, of the same rules
and with no more stops, which finds one or proves that there is none. The kind of the loss, which is the function
that forgot the page, stays the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeAlias

from mm_sim.kernel import Kernel
from mm_sim.loss import Report, Step, explain
from mm_sim.names import DIRECT, KSWAPD
from mm_sim.sched import KernelBug
from mm_sim.snapshot import Saved, is_quiet, restore, save
from mm_sim.system import Loss, Scope, System
from strategies.explore import Bounds, Result, Search
from strategies.rules import domains, instances, table

#: Domains whose values in a run bound the search for a shorter one.
_KEPT = ("reclaimer", "order", "prot")


def minimise(
    kernel: type[Kernel],
    arch: str,
    scope: Scope,
    steps: list[Step],
    thorough: bool = False,
    deadline: float | None = None,
) -> tuple[list[Step], Report]:
    """A shorter and simpler run found that loses a page as `steps` do. `steps` must lose data.

    `thorough` also leaves out each step while another of the run changes, which takes seconds, and
    minutes on large machines; until `deadline` (of time.monotonic()).
    """
    first = explain(kernel, arch, scope, steps)
    assert first is not None
    report = first
    best = steps[: report.at + 1]
    system = System(kernel, arch, scope)
    quiet = quiet_states(system, best)

    def attempt(candidate: list[Step]) -> bool:
        """Whether what can happen of these steps is a better run of the same kind."""
        nonlocal best, report, quiet
        same = next((at for at, (new, old) in enumerate(zip(candidate, best, strict=False)) if new is not old), 0)
        at = max(at for at in quiet if at <= same)
        restore(system, quiet[at])
        done = candidate[:at]
        try:
            for step in candidate[at:]:
                if system.step(*step):
                    done.append(step)
        except Loss:
            done.append(step)
        except KernelBug:
            return False
        else:
            return False
        if (len(done), _cost(done)) >= (len(best), _cost(best)):
            return False
        found = explain(kernel, arch, scope, done)
        if found is None or found.forgotten_by.function != first.forgotten_by.function:
            return False
        restore(system, quiet[0])
        best, report, quiet = done, found, quiet_states(system, done)
        return True

    values = domains(scope)
    everything = [Step(rule, arguments, None) for rule, arguments in instances(kernel, scope)]
    while True:
        delete_chunks(best, lambda candidate: best if attempt(candidate) else None)
        if any(attempt(candidate) for candidate in _deletions(best, values)):
            continue
        if any(attempt(candidate) for candidate in _changes(best, values, everything)):
            continue
        if not thorough or not any(
            attempt(candidate)
            for candidate in _exchanges(best, everything)
            if deadline is None or time.monotonic() < deadline
        ):
            return best, report


def quiet_states(system: System, steps: list[Step]) -> dict[int, Saved]:
    """The states of a run in which no operation is under way, by the number of steps before."""
    quiet = {0: save(system)}
    for at, step in enumerate(steps[:-1], 1):
        system.step(*step)
        if is_quiet(system):
            quiet[at] = save(system)
    return quiet


def delete_chunks(steps: Sequence[Step], attempt: Callable[[list[Step]], list[Step] | None]) -> list[Step]:
    """Fewer of the steps: halves, quarters, ... of them are left out, where `attempt` says what is then a run."""
    best = list(steps)
    size = len(best) // 2
    while size:
        start = 0
        while start < len(best):
            found = attempt(best[:start] + best[start + size :])
            if found is None:
                start += size
            else:
                best = found
        size //= 2
    return best


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
    """The steps with two processes, or the two reclaimers, exchanged."""
    exchange = {one: other, other: one}
    return [
        Step(
            rule,
            tuple(
                exchange.get(a, a) if domain in ("process", "holder", "task", "reclaimer") else a
                for a, domain in zip(arguments, rule.arguments.values(), strict=True)
            ),
            stop,
        )
        for rule, arguments, stop in steps
    ]


def _deletions(steps: list[Step], values: dict[str, tuple[Any, ...]]) -> Iterator[list[Step]]:
    """Runs with two steps less, some with processes exchanged from a step on; or with two steps made one."""
    pairs = list(combinations(values["process"], 2))
    for i, j in combinations(range(len(steps)), 2):
        if steps[i].stop is not None and steps[j].rule.action is steps[j].rule.steps is None:  # go on at once
            yield [*steps[:i], steps[i]._replace(stop=steps[j].stop), *steps[i + 1 : j], *steps[j + 1 :]]
        head, middle, tail = steps[:i], steps[i + 1 : j], steps[j + 1 :]
        yield head + middle + tail
        for one, other in pairs:
            yield head + middle + _swapped(tail, one, other)
            yield head + _swapped(middle + tail, one, other)


def _changes(steps: list[Step], values: dict[str, tuple[Any, ...]], everything: list[Step]) -> Iterator[list[Step]]:
    """Runs that differ in one step, or in the names of processes."""
    for one, other in combinations(values["process"], 2):
        yield _swapped(steps, one, other)
    for i, step in enumerate(steps):
        yield steps[:i] + _swapped(steps[i:], KSWAPD, DIRECT)
        for changed in (*_others(step, values), *everything):
            yield [*steps[:i], changed, *steps[i + 1 :]]


def _exchanges(steps: list[Step], everything: list[Step]) -> Iterator[list[Step]]:
    """Runs without a step, and with another in the place of one more step of the same task."""
    for i, step in enumerate(steps):
        for changed in everything:
            if changed.arguments[:1] == step.arguments[:1] and changed != step:
                for stop in dict.fromkeys((None, step.stop)):
                    for j in range(len(steps)):
                        if j != i:
                            new = changed._replace(stop=stop)
                            yield [new if k == i else kept for k, kept in enumerate(steps) if k != j]


def shorter_end(
    kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], kind: str, states: int, deadline: float | None
) -> list[Step] | None:
    """A run that begins like this one, from a quiet state on has fewer steps of its rules, and loses.

    Each search may see so many states.
    """
    bounds = shorter(scope, steps)
    for at in reversed(quiet_states(System(kernel, arch, scope), steps[:-1])):
        within = replace(bounds, steps=len(steps) - at - 1, stops=_stops(steps[at:]))
        search = Search(kernel, arch, within, lambda found: found.forgotten_by.function == kind, start=steps[:at])
        try:
            result = search.run(deadline, states)
        except KernelBug:
            break
        if result.ended == "loss":
            return result.losses[-1][0]
        if result.ended != "complete":
            break
    return None


def _values(steps: list[Step]) -> dict[str, set[Any]]:
    """What the run uses of the domains in `_KEPT`."""
    used: dict[str, set[Any]] = {}
    for step in steps:
        for domain, value in zip(step.rule.arguments.values(), step.arguments, strict=True):
            if domain in _KEPT:
                used.setdefault(domain, set()).add(value)
    return used


def _cost(steps: list[Step]) -> tuple[int, int, int]:
    """Among runs of one length: few stops first, then few rules and values, then the arguments that come first.

    Of the orders the last: reclaim of a costly one does not care who has used a page, so no search need remember it.
    """
    arguments = [
        -a if domain == "order" else abs(int(a))
        for step in steps
        for domain, a in zip(step.rule.arguments.values(), step.arguments, strict=True)
    ]
    return (
        _stops(steps),
        len({step.rule.name for step in steps}) + sum(map(len, _values(steps).values())),
        sum(arguments),
    )


def _stops(steps: list[Step]) -> int:
    return sum(step.stop is not None for step in steps)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The shortest run of a kind, and what stands behind the word.

    `proven`: all runs within `bounds`, which are one step shorter, were searched. Else the search was cut off after
    `states`, and this is only the shortest found. `others` are shorter losses of other kinds met on the way.
    """

    steps: list[Step]
    report: Report
    proven: bool
    states: int
    bounds: Bounds
    others: list[tuple[list[Step], Report]]

    def __str__(self) -> str:
        if self.proven:
            return f"shortest, proven over {self.states} states: {self.bounds}"
        return f"shortest found; the search for a shorter one was cut off at {self.states} states"


def shorter(scope: Scope, steps: list[Step]) -> Bounds:
    """The runs among which a shorter one is looked for: same rules and values, no more stops, one step less."""
    used = _values(steps)
    rules = {step.rule.name for step in steps} | {"resume"}
    return Bounds(
        scope=scope,
        rules=tuple(sorted(rules)),
        only=tuple((domain, tuple(sorted(used[domain]))) for domain in _KEPT if domain in used),
        steps=len(steps) - 1,
        stops=_stops(steps),
    )


_Asked: TypeAlias = tuple[type[Kernel], str, Bounds, str]
#: Searches that came to an end, for other runs that are within the same bounds, and the last that was cut off.
_ended: dict[_Asked, Result] = {}
_cut_off: dict[_Asked, Search] = {}


def _search(
    kernel: type[Kernel], arch: str, bounds: Bounds, kind: str, states: int, deadline: float | None
) -> Result:
    """Search for a loss of a kind, until so many states are seen in all.

    What came to an end is not done again while this process runs, and what was cut off last goes on.
    """
    asked = kernel, arch, bounds, kind
    if asked not in _ended:
        search = _cut_off.pop(asked, None)
        _cut_off.clear()
        search = search or Search(kernel, arch, bounds, lambda found: found.forgotten_by.function == kind)
        result = search.run(deadline, states)
        if result.ended not in ("complete", "loss"):
            _cut_off[asked] = search
            return result
        _ended[asked] = result
    return _ended[asked]


#: States after which a search of some of the rules gives way to one of more, and one of an end to one of all.
_FIRST, _END = 10_000, 4_000


def certify(
    kernel: type[Kernel],
    arch: str,
    scope: Scope,
    steps: list[Step],
    states: int = 100_000,
    deadline: float | None = None,
) -> Certificate:
    """Minimise a run that loses data, and search for a shorter one of its kind.

    First the rules that come first in the table are searched, then more, then all that the run uses. If that is too
    much, a shorter end is searched for; then all are, until so many states, or `deadline` (of time.monotonic()).
    """
    best, report = minimise(kernel, arch, scope, steps)
    kind = report.forgotten_by.function
    bounds = shorter(scope, best)
    used = [rule.name for rule in table(kernel) if rule.name in (bounds.rules or ()) and rule.name != "resume"]
    others: list[tuple[list[Step], Report]] = []
    for n in range(1, len(used) + 1):
        if n == len(used):  # what is found now need not be searched for
            found = minimise(kernel, arch, scope, best, thorough=True, deadline=deadline)
            if len(found[0]) < len(best):
                return certify(kernel, arch, scope, found[0], states, deadline)
        bounds = replace(bounds, rules=(*used[:n], "resume"))
        result = _search(kernel, arch, bounds, kind, min(_FIRST, states), deadline)
        if n == len(used) and result.ended not in ("complete", "loss"):
            end = shorter_end(kernel, arch, scope, best, kind, min(_END, states), deadline)
            if end is not None:
                return certify(kernel, arch, scope, end, states, deadline)
            result = _search(kernel, arch, bounds, kind, states, deadline)
        others = list(result.losses)
        if result.ended == "loss":  # breadth first: nothing within the bounds is shorter than the first that is found
            path = others.pop()[0]
            best, report = minimise(kernel, arch, scope, path)
            bounds = replace(bounds, steps=len(path) - 1)
            if len(best) < len(path) or not _within(best, bounds):
                return certify(kernel, arch, scope, best, states, deadline)
            break
    return Certificate(best, report, result.ended in ("complete", "loss"), result.states, bounds, others)


def _within(steps: list[Step], bounds: Bounds) -> bool:
    """Whether the run has the rules and values of `bounds`, and no more stops."""
    only = dict(bounds.only)
    return (
        {step.rule.name for step in steps} <= {*(bounds.rules or ())}
        and all(used <= set(only.get(domain, ())) for domain, used in _values(steps).items())
        and (bounds.stops is None or _stops(steps) <= bounds.stops)
    )
