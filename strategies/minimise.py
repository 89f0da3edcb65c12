"""From any run that fails to the shortest one, natively.

First chunks, pairs and single steps are deleted, and the rest is simplified; then all runs of a target that are no
longer are searched, which finds the shortest or proves that this is it. What counts as a failure the caller says: for
a verdict one that the base does not have, for a campaign one with the same function to blame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeAlias

from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.names import DIRECT, KSWAPD
from mm_sim.sched import KernelBug
from mm_sim.snapshot import Saved, is_quiet, restore, save
from mm_sim.system import Loss, Scope, System
from strategies.comparison import Base
from strategies.explore import Bounds, Result, Search
from strategies.rules import domains, instances, table

#: Domains whose values in a run bound the search for a shorter one.
_KEPT = ("reclaimer", "order", "prot", "kind")

#: How much is done to make a run shorter.
DELETE, CHANGE, EXCHANGE = range(3)

#: Whether a run that ends in this failure is one that is looked for.
Counts: TypeAlias = Callable[[list[Step], "Loss | KernelBug"], bool]


def minimise(
    kernel: type[Kernel],
    arch: str,
    scope: Scope,
    steps: Sequence[Step],
    counts: Counts = lambda run, failure: True,
    effort: int = CHANGE,
    deadline: float | None = None,
) -> list[Step]:
    """A shorter and simpler run that fails and `counts`, as `steps` must do at their end.

    With the `effort` DELETE steps are left out only; with CHANGE they are also changed; with EXCHANGE one is left out
    while another one changes, which takes seconds, and minutes on large machines; until `deadline` (of
    time.monotonic()).
    """
    best = list(steps)
    system = System(kernel, arch, scope)
    quiet = quiet_states(system, best)

    def attempt(candidate: list[Step]) -> bool:
        """Whether what can happen of these steps is a better run."""
        nonlocal best, quiet
        same = next((at for at, (new, old) in enumerate(zip(candidate, best, strict=False)) if new is not old), 0)
        at = max(at for at in quiet if at <= same)
        restore(system, quiet[at])
        done = candidate[:at]
        try:
            for step in candidate[at:]:
                if system.step(*step):
                    done.append(step)
        except (Loss, KernelBug) as failure:
            done.append(step)
            if (len(done), cost(done)) >= (len(best), cost(best)) or not counts(done, failure):
                return False
            restore(system, quiet[0])
            best, quiet = done, quiet_states(system, done)
            return True
        return False

    values = domains(scope)
    everything = [Step(rule, arguments, None) for rule, arguments in instances(kernel, scope)]
    while True:
        delete_chunks(best, lambda candidate: best if attempt(candidate) else None)
        if any(attempt(candidate) for candidate in _deletions(best, values)):
            continue
        if effort > DELETE and any(attempt(candidate) for candidate in _changes(best, values, everything)):
            continue
        if effort < EXCHANGE or not any(
            attempt(candidate)
            for candidate in _exchanges(best, everything)
            if deadline is None or time.monotonic() < deadline
        ):
            return best


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


def _values(steps: list[Step]) -> dict[str, set[Any]]:
    """What the run uses of the domains in `_KEPT`."""
    used: dict[str, set[Any]] = {}
    for step in steps:
        for domain, value in zip(step.rule.arguments.values(), step.arguments, strict=True):
            if domain in _KEPT:
                used.setdefault(domain, set()).add(value)
    return used


def cost(steps: list[Step]) -> tuple[int, int, int]:
    """Among runs of one length: few preemptions first, then few rules and values, then the arguments that come first.

    Of the orders the last: reclaim of a costly one does not care who has used a page, so no search need remember it.
    """
    arguments = [
        -a if domain == "order" else abs(int(a))
        for step in steps
        for domain, a in zip(step.rule.arguments.values(), step.arguments, strict=True)
    ]
    return (
        preemptions(steps),
        len({step.rule.name for step in steps}) + sum(map(len, _values(steps).values())),
        sum(arguments),
    )


def preemptions(steps: Sequence[Step]) -> int:
    """How many steps of a run end at a preemption point."""
    return sum(step.stop is not None for step in steps)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The shortest run that fails, and what stands behind the word.

    `proven`: all runs within `bounds`, which are one step shorter, were searched. Else the search was cut off after
    `states`, and this is only the shortest found.
    """

    steps: list[Step]
    proven: bool
    states: int
    bounds: Bounds

    def __str__(self) -> str:
        if self.proven:
            return f"shortest, proven over {self.states} states: {self.bounds}"
        return f"shortest found; the search for a shorter one was cut off at {self.states} states"


def within(
    scope: Scope,
    steps: Sequence[Step],
    rules: Collection[str] = (),
    only: Mapping[str, tuple[Any, ...]] | None = None,
) -> Bounds:
    """The runs that are no longer than this one, with no more preemptions: of its rules and of `rules`.

    Arguments have the values in the run; with `only` those and its own in the domains that it has, any in the others.
    """
    used = _values(list(steps))
    allowed = used if only is None else {domain: {*values, *used.get(domain, ())} for domain, values in only.items()}
    return Bounds(
        scope=scope,
        rules=tuple(sorted({*(step.rule.name for step in steps), *rules, "resume"})),
        only=tuple((domain, tuple(sorted(allowed[domain]))) for domain in sorted(allowed)),
        steps=len(steps),
        stops=preemptions(steps),
    )


#: How a search ends that says that nothing is shorter.
_ENDS = ("complete", "loss", "bug")
#: States after which a search gives way to one of fewer rules.
_FIRST = 6_000


def certify(
    kernel: type[Kernel],
    arch: str,
    bounds: Bounds,
    steps: list[Step],
    counts: Counts = lambda run, failure: True,
    base: Base | None = None,
    states: int = 100_000,
    deadline: float | None = None,
    kind: type[Loss] | type[KernelBug] = Loss,
) -> Certificate:
    """The shortest run within `bounds` that fails, by a failure of a `kind`, and `counts`; `steps` is one that does.

    All runs of the rules of `bounds` and of this run are searched that are no longer and have no more preemptions,
    until so many states are seen or `deadline` (of time.monotonic()) has come. What that finds first is the same
    whatever run it was given. A long run is first made shorter: by searches of its own rules, those first that come
    first in the table.
    """
    scope = bounds.scope
    rules = bounds.rules or [rule.name for rule in table(kernel)]

    def lost(run: list[Step], failure: Loss | KernelBug) -> bool:
        return isinstance(failure, kind) and counts(run, failure)

    def search(some: Bounds, most: int) -> Result:
        result = Search(kernel, arch, some, lost, reduce=False, base=base).run(deadline, most)
        if result.ended == "interrupted":
            raise KeyboardInterrupt
        return result

    def all_of(run: list[Step], most: int) -> tuple[Bounds, Result]:
        full = within(scope, run, rules, dict(bounds.only))
        return full, search(full, most)

    best = minimise(kernel, arch, scope, steps, lost)
    full, result = all_of(best, min(_FIRST, states))
    if result.ended not in _ENDS and states <= _FIRST:
        return Certificate(best, False, result.states, replace(full, steps=len(best) - 1))
    if result.ended not in _ENDS and (deadline is None or time.monotonic() < deadline):
        best = _shorter(kernel, arch, scope, best, lost, search)
        full, result = all_of(best, states)
    if result.ended not in _ENDS:
        best = minimise(kernel, arch, scope, best, lost, EXCHANGE, deadline)
        return Certificate(best, False, result.states, replace(full, steps=len(best) - 1))
    best = minimise(kernel, arch, scope, result.found or best, lost)
    return Certificate(best, True, result.states, replace(full, steps=len(best) - 1))


def _shorter(
    kernel: type[Kernel],
    arch: str,
    scope: Scope,
    best: list[Step],
    lost: Counts,
    search: Callable[[Bounds, int], Result],
) -> list[Step]:
    """A run of some of the rules of this one that is as short as can be found in a while."""
    while True:
        own = within(scope, best)
        used = [rule.name for rule in table(kernel) if rule.name in (own.rules or ()) and rule.name != "resume"]
        for n in range(1, len(used) + 1):
            found = search(replace(own, rules=(*used[:n], "resume"), steps=len(best) - 1), _FIRST).found
            if found is not None:
                best = minimise(kernel, arch, scope, found, lost)
                break
        else:
            return best
