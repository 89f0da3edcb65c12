"""A search that cannot be wrong: every sequence of steps, each done again from the start, with nothing pruned.

It uses no key, no saved state and no reduction, so the prover is compared with it (test_prover.py). `plain` describes
a state by all that can be reached from it, whatever the classes: no field is named here.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.names import TASKS
from mm_sim.sched import KernelBug, points, run
from mm_sim.system import Loss, Scope, System
from strategies.explore import Bounds
from strategies.rules import domains, instances, table

#: What says nothing of a state: counts of what ran, and what is made when it is first asked for.
_ASIDE = ("marks", "iske", "sske", "rrbe", "ptes", "migration")
_ATOMS = (type(None), bool, int, str, bytes, float)
_CODE = (CodeType, FrameType, ModuleType, type, BuiltinFunctionType, CellType)


def plain(system: System) -> tuple[object, ...]:
    """Everything that can be reached from a system, in the order in which it is met."""
    out: list[object] = []
    met: dict[int, int] = {}
    kept: list[object] = []
    todo: list[object] = [system]
    while todo:
        thing = todo.pop()
        if isinstance(thing, _ATOMS):
            out.append(thing)
            continue
        if isinstance(thing, _CODE):
            out.append(getattr(thing, "__qualname__", type(thing).__name__))
            continue
        if id(thing) in met and not isinstance(thing, tuple):
            out.append(("again", met[id(thing)]))
            continue
        met[id(thing)] = len(met)
        kept.append(thing)
        out.append(type(thing).__qualname__)
        parts = list(_parts(thing))
        out.append(len(parts))
        todo += reversed(parts)
    return tuple(out)


def _parts(thing: Any) -> Iterator[object]:
    if isinstance(thing, GeneratorType):
        frame = thing.gi_frame
        yield thing.gi_code.co_qualname
        if frame is not None:
            yield frame.f_lasti
            yield dict(frame.f_locals)
            yield [one for one in gc.get_referents(thing) if not isinstance(one, (*_CODE, dict))]
    elif isinstance(thing, FunctionType):
        yield thing.__qualname__
        yield [_content(cell) for cell in thing.__closure__ or ()]
        yield thing.__defaults__
    elif isinstance(thing, MethodType):
        yield from (thing.__func__, thing.__self__)
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield from (key, value)
    elif isinstance(thing, (list, tuple)):
        yield from thing
    elif isinstance(thing, (set, frozenset)):
        yield from sorted(thing, key=repr)
    elif hasattr(thing, "__next__"):
        yield from thing.__reduce__()[1:]
    else:
        for cls in type(thing).__mro__:
            slots = vars(cls).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in _ASIDE and hasattr(thing, name):
                    yield getattr(thing, name)
        yield from vars(thing).values() if hasattr(thing, "__dict__") and not isinstance(thing, int) else ()
        if isinstance(thing, int):
            yield int(thing)


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return "unbound"


def build(kernel: type[Kernel], arch: str, scope: Scope, steps: Sequence[Step]) -> System:
    """The system after a run that does not fail."""
    system = System(kernel, arch, scope)
    for step in steps:
        assert system.step(*step)
    return system


class Failed(NamedTuple):
    """A run that fails, and with what."""

    steps: tuple[Step, ...]
    error: Loss | KernelBug


#: Of a state: every step with how it ends, where the state that it leads to is a number.
Following = frozenset[tuple[str, "str | None", "int | str"]]


class Naive:
    """All runs within the bounds, shorter ones first, and the systems at their ends; none goes on after a failure.

    Runs that lead to the same `plain` state after as many preemptions are one; `states` (at least) are looked for.
    """

    def __init__(self, kernel: type[Kernel], arch: str, bounds: Bounds, states: int = 10_000) -> None:
        self.kernel, self.arch, self.bounds = kernel, arch, bounds
        rules = {rule.name for rule in table(kernel)} if bounds.rules is None else {*bounds.rules}
        resume = next(rule for rule in table(kernel) if rule.name == "resume")
        every = instances(kernel, bounds.scope, rules, dict(bounds.only))
        self.moves = [move for move in every if move[0] is not resume]
        self.moves += [(resume, (TASKS[task],)) for task in domains(bounds.scope)["task"]]
        self.systems: list[System] = []
        self.runs: list[tuple[Step, ...]] = []
        self.preempted: list[int] = []
        self.following: list[Following] = []
        self.failed: list[Failed] = []
        self._known: dict[tuple[object, int], int] = {}
        self._add(System(kernel, arch, bounds.scope), ())
        while len(self.following) < len(self.runs) < states:
            run_ = self.runs[len(self.following)]
            if len(run_) == bounds.steps:
                break
            self.following.append(frozenset(self._steps(run_)))

    def _add(self, system: System, steps: tuple[Step, ...]) -> int:
        preempted = sum(step.stop is not None for step in steps)
        state = plain(system), preempted
        if state not in self._known:
            self._known[state] = len(self.runs)
            self.systems.append(system)
            self.runs.append(steps)
            self.preempted.append(preempted)
        return self._known[state]

    def _steps(self, before: tuple[Step, ...]) -> Iterator[tuple[str, str | None, int | str]]:
        """All steps after a run. A step stops at a label where it comes first."""
        may_stop = self.bounds.stops is None or sum(step.stop is not None for step in before) < self.bounds.stops
        for rule, arguments in self.moves:
            system = build(self.kernel, self.arch, self.bounds.scope, before)
            passed: dict[str, None] = {}
            try:
                task = system.start(rule, arguments)
                if task is None:
                    continue
                if task.steps is not None and may_stop:
                    for point in points(task):
                        passed[point] = None
            except (Loss, KernelBug):
                pass  # as is the step that does not stop before
            for stop in (*passed, None):
                step = Step(rule, arguments, stop)
                system = build(self.kernel, self.arch, self.bounds.scope, before)
                try:
                    task = system.start(rule, arguments)
                    assert task is not None
                    if task.steps is not None:
                        run(task, stop)
                    system.after()
                except (Loss, KernelBug) as error:
                    self.failed.append(Failed((*before, step), error))
                    yield rule.name, stop, type(error).__name__
                else:
                    yield rule.name, stop, self._add(system, (*before, step))

    def futures(self) -> list[list[int]]:
        """Of each state that was gone on from: what can follow in one step, in two steps and so on, as numbers."""
        futures: list[list[int]] = [[0] for _ in self.runs]
        number: dict[object, int] = {}
        assert self.bounds.steps is not None
        for depth in range(self.bounds.steps):  # a run may come back to a state
            found: dict[int, int] = {}
            for state, following in enumerate(self.following):
                nexts = [one for *_, one in following if isinstance(one, int)]
                if all(len(futures[one]) > depth for one in nexts):
                    told = frozenset(
                        (rule, stop, futures[one][depth] if isinstance(one, int) else one)
                        for rule, stop, one in following
                    )
                    found[state] = number.setdefault((depth, told), len(number) + 1)
            for state, future in found.items():
                futures[state].append(future)
        return futures
