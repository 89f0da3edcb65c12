"""The base beside the patch: whether a run that fails on a patched kernel fails on its base, too.

A run counts against a patch only if its base does not fail in it. The base does the same operations in the same
order. Where it does not come to the preemption point of a step, because the patch names or places its points
otherwise, it is preempted at each of the points that it does come to. A step that cannot happen on the base, such as
one of a rule of the patch, does nothing there. May use `mm_sim`, and of `strategies` the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.names import TASKS
from mm_sim.sched import KernelBug, points, run
from mm_sim.snapshot import Saved, canonical, is_quiet, restore, save
from mm_sim.system import Loss, Rule, Scope, System
from strategies.rules import table

#: States of the base in which a run can be, by their keys.
States: TypeAlias = frozenset[bytes]
#: Where one operation leads from one state, by preemption point (None: to its end); None where the base fails.
_Outcomes: TypeAlias = "dict[str | None, bytes | None]"


class Way(NamedTuple):
    """How to come to a state: from a quiescent state that is saved by some steps, or by `path` from the start."""

    origin: Saved
    steps: tuple[Step, ...]
    path: tuple[Step, ...]


class Base:
    """The states of a base, made as runs of a patched kernel come to them.

    `first` are the states in which a run begins, `after` those to which a step leads.
    """

    def __init__(self, kernel: type[Kernel], arch: str, scope: Scope) -> None:
        self.kernel = kernel
        self.system = System(kernel, arch, scope)
        self.rules = {rule.name: rule for rule in table(kernel)}
        key = self._key()
        self.first: States = frozenset((key,))
        self._root = save(self.system)
        self.ways = {key: Way(self._root, (), ())}
        self._known: dict[tuple[bytes, str, tuple[Any, ...], bool], _Outcomes] = {}

    def after(self, states: States, step: Step) -> States | None:
        """The states of the base after a step of the patched kernel; None if the base fails in one of them."""
        following: set[bytes] = set()
        for state in states:
            outcomes = self._outcomes(state, step)
            reached: Iterable[bytes | None] = (
                (outcomes[step.stop],) if step.stop in outcomes else outcomes.values() or (state,)
            )
            for key in reached:
                if key is None:
                    return None
                following.add(key)
        return frozenset(following)

    def fails(self, steps: Iterable[Step]) -> bool:
        """Whether the base loses a page, or breaks, in a run of these operations."""
        states: States | None = self.first
        for step in steps:
            assert states is not None
            states = self.after(states, step)
            if states is None:
                return True
        return False

    def _outcomes(self, state: bytes, step: Step) -> _Outcomes:
        """Where an operation leads; for a step to its end the end alone, as there are many such in a search."""
        asked = state, step.rule.name, step.arguments
        known = self._known.get((*asked, False))
        if known is None:
            asked_ = (*asked, step.stop is None)
            known = self._known.get(asked_)
            if known is None:
                rule = self.rules.get(step.rule.name)
                known = self._known[asked_] = self._run(state, rule, step.arguments, step.stop is None)
        return known

    def _run(self, state: bytes, rule: Rule | None, arguments: tuple[Any, ...], end: bool) -> _Outcomes:
        found: _Outcomes = {}
        if rule is None:
            return found
        system = self.system
        origin, way, path = self.ways[state]
        restore(system, origin)
        for step in way:
            started = system.start(step.rule, step.arguments)
            assert started is not None
            if started.steps is not None:
                run(started, step.stop)
        try:
            if rule.steps is not None and system.kernel.tasks[arguments[0]].steps is not None:
                going = Step(self.rules["resume"], (TASKS[arguments[0]],), None)  # the patch has ended it by now
                if not system.step(*going):
                    return found
                way, path = (*way, going), (*path, going)
            task = system.start(rule, arguments)
            if task is None:
                return found
            if task.steps is not None:
                for point in points(task):
                    if not end and point not in found:
                        step = Step(rule, arguments, point)
                        found[point] = self.state(origin, (*way, step), (*path, step))
        except (Loss, KernelBug):
            found[None] = None
            return found
        step = Step(rule, arguments, None)
        found[None] = self.state(origin, (*way, step), (*path, step))
        return found

    def state(self, origin: Saved, way: tuple[Step, ...], path: tuple[Step, ...]) -> bytes | None:
        """The state that the system has come to, by `way` from `origin`, or by `path`; None if it fails there."""
        try:
            self.system.after()
        except (Loss, KernelBug):
            return None
        key = self._key()
        if key not in self.ways:
            self.ways[key] = Way(save(self.system), (), path) if is_quiet(self.system) else Way(origin, way, path)
        return key

    def go_on(self, paths: dict[bytes, tuple[Step, ...]]) -> None:
        """Know the states of a search that goes on from a checkpoint: their keys, and the steps that lead there."""
        self.ways |= {key: Way(self._root, path, path) for key, path in paths.items()}

    def _key(self) -> bytes:
        return canonical(self.system, symmetric=False)[0]


#: States that a base may know of before `renewed` forgets them.
_MOST = 50_000


def renewed(base: Base) -> Base:
    """The base, without the states of earlier runs if they are many: for who looks at one run after the other."""
    system = base.system
    return base if len(base.ways) <= _MOST else Base(base.kernel, system.kernel.arch.name, system.scope)


def failure(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> Loss | KernelBug | None:
    """What goes wrong in a run, if anything; what comes after that, and steps that cannot happen, are left out."""
    system = System(kernel, arch, scope)
    done: list[Step] = []
    try:
        for step in steps:
            if system.step(*step):
                done.append(step)
    except (Loss, KernelBug) as error:
        steps[:] = [*done, step]
        return error
    return None


def declares(kernel: type[Kernel], machine: str, arch: str) -> bool:
    """Whether a patch says of itself that it adds a loss in a machine on an architecture."""
    return arch in vars(kernel).get("loses_in", {}).get(machine, ())
