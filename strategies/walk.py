"""The random walk: the rules of the table called at random, without Hypothesis' choice machinery.

Each run draws a schedule (how often operations are stopped, how eagerly they go on) and, swarm testing (Groce et al.,
ISSTA 2012), how often each rule is picked, if at all. The walk is steered by novelty: a quiet state that looks like
none before is kept, and later runs set out from there. The same seed walks the same way.
"""

from __future__ import annotations

import random
from itertools import product
from typing import Any, NamedTuple

from mm_sim.kernel import Kernel
from mm_sim.page import WRITE, Pte
from mm_sim.sched import run_some
from mm_sim.snapshot import clone, is_quiet
from mm_sim.system import Loss, Rule, Scope, System
from strategies.rules import domains, table


class Step(NamedTuple):
    """One step of a run: `stop` is where its operation was stopped, None for the end (or a lock)."""

    rule: Rule
    arguments: tuple[Any, ...]
    stop: str | None


def instances(kernel: type[Kernel], scope: Scope) -> list[tuple[Rule, tuple[Any, ...]]]:
    """Every rule with every combination of its arguments, `stop` excepted."""
    values = domains(scope)
    return [
        (rule, arguments)
        for rule in table(kernel)
        for arguments in product(*(values[domain] for domain in rule.arguments.values()))
    ]


def outline(system: System) -> tuple[object, ...]:
    """The abstract state by which novelty is judged.

    For each page of each process: mapped how, in the swap cache, newer than its slot, remembered to be so,
    shared; for each operation under way: where it stands.
    """
    seen: list[object] = []
    kernel = system.kernel
    for mm in kernel.mms:
        for pte in mm.pte:
            if pte is None:
                seen.append(0)
                continue
            page = pte.page
            if type(pte) is Pte:
                bits = 1 | (pte.bits & WRITE) << 1
            else:
                bits = 4
            if page is not None:
                slot = page.private
                bits |= page.PG_dirty << 3 | page.key_c << 4 | page.PG_writeback << 5
                if slot is not None:
                    bits |= 64 | (slot.content != page.content) << 7 | (slot.map > 1) << 8
                if page.mapcount > 1:
                    bits |= 512
            seen.append(bits)
    for task in kernel.tasks:
        if task.steps is not None:
            seen.append(task.op)
            seen.append(task.point)
    return tuple(seen)


class Walk:
    """A walk over one kernel, architecture and scope.

    `steps` counts the steps that happened, `calls` also those that could not. `loss` and `trace` are those
    of the last run. `marks` counts the situations reached.
    """

    #: Chances to stop at a preemption point: run to completion, stop now and then, stop often.
    STOPS = (0.0, 0.05, 0.15, 0.4)
    #: Factors for the weight of a rule in one run.
    SWARM = (0, 1, 1, 3)

    def __init__(
        self, kernel: type[Kernel], arch: str, scope: Scope, seed: int, length: int = 40, novelty: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.length = length
        self.novelty = novelty
        self.marks: dict[str, int] = {}
        self.calls = self.steps = self.runs = 0
        self.trace: list[Step] = []
        self.seen: set[tuple[object, ...]] = set()
        self.corpus: list[tuple[System, tuple[Step, ...], tuple[Step, ...]]] = [
            (System(kernel, arch, scope, self.marks), (), ())
        ]
        by_rule: dict[str, list[tuple[Rule, tuple[Any, ...]]]] = {}
        for instance in instances(kernel, scope):
            by_rule.setdefault(instance[0].name, []).append(instance)
        self.by_rule = list(by_rule.values())

    def run(self) -> Loss | None:
        """Do one run; what it lost, if anything. Raises KernelBug; `trace` has the steps in any case."""
        draw = self.random.random
        corpus = self.corpus
        size = len(corpus)
        quiet, tail, trace = corpus[int(size * (draw() if draw() < 0.5 else 1 - draw() ** 2 / 2))]
        system = clone(quiet)
        for step in tail:
            system.step(*step)
        base = len(trace) - len(tail)
        self.trace = steps = list(trace)
        chance = self.STOPS[int(draw() * 4)]
        pick: list[list[tuple[Rule, tuple[Any, ...]]]] = []
        for rules in self.by_rule:
            pick += [rules] * (rules[0][0].weight * self.SWARM[int(draw() * 4)])
        n = len(pick)
        self.runs += 1
        done = len(steps)
        call = -1
        try:
            for call in range(self.length if n else 0):
                rules = pick[int(draw() * n)]
                rule, arguments = rules[int(draw() * len(rules))]
                task = system.start(rule, arguments)
                if task is None:
                    continue
                steps.append(Step(rule, arguments, None))
                if task.steps is not None:
                    stop = run_some(task, draw, chance)
                    if stop is not None:
                        steps[-1] = Step(rule, arguments, stop)
                system.after()
                if self.novelty:
                    abstract = outline(system)
                    if abstract not in self.seen:
                        self.seen.add(abstract)
                        if is_quiet(system):
                            quiet, base = clone(system), len(steps)
                        corpus.append((quiet, tuple(steps[base:]), tuple(steps)))
        except Loss as loss:
            return loss
        finally:
            self.calls += call + 1
            self.steps += len(steps) - done
        return None
