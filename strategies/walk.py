"""The random walk: the rules of the table called at random, without Hypothesis' choice machinery.

Each run draws a schedule (how often operations are stopped and how eagerly they go on, or PCT) and, swarm testing
(Groce et al., ISSTA 2012), how often each rule is picked, if at all. The walk is steered by novelty: a quiet state
that looks like none before is kept, and later runs set out from there. The same seed walks the same way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Any

from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.names import TASKS
from mm_sim.page import DIRTY, WRITE, Pte
from mm_sim.sched import run_some, watchdog
from mm_sim.snapshot import Saved, few_collections, is_quiet, restore, save
from mm_sim.system import Loss, Rule, Scope, System
from strategies.rules import instances, table

# The bits of an abstract state, beside those of the pte.
CACHED, NEWER, SHARED, FILE, TLB = 32, 64, 128, 256, 512


def outline(system: System) -> tuple[int, ...]:
    """The abstract state by which novelty is judged.

    For each page of each process: how it is mapped, whether it is in the swap or page cache, newer than its slot or
    block and not known to be so by PG_dirty, and whether page or slot have another user. For each page of each file
    the same, and what is under way to its disk; for each translation a CPU has cached, whether it is dirty.
    """
    seen: list[int] = []
    for mm in system.kernel.mms:
        for pte in mm.pte:
            if pte is None:
                seen.append(0)
                continue
            page = pte.page
            bits = 1 | (pte.bits & WRITE) << 1 if type(pte) is Pte else 4
            if page is not None:
                slot = page.private
                if slot is not None:
                    bits |= CACHED
                    if page.content != (page.io if page.PG_writeback else slot.content) and not page.PG_dirty:
                        bits |= NEWER
                    if page.mapcount + slot.map > 2:
                        bits |= SHARED
                elif page.mapcount > 1:
                    bits |= SHARED
                if type(pte) is Pte and not page.PG_anon:
                    bits |= CACHED | FILE
                    if pte.bits & WRITE and not (page.PG_dirty and page.tag_dirty):
                        bits |= NEWER
            seen.append(bits)
    for file in system.kernel.files:
        for at, page in enumerate(file.pages):
            bits = FILE
            if page is not None:
                bits |= CACHED | page.PG_writeback | page.PG_dirty << 1 | page.tag_dirty << 2
                found = page.tag_dirty if file.accounts_dirty else page.PG_dirty
                if page.content != file.blocks[at] and not found and not page.PG_writeback:
                    bits |= NEWER
                if page.mapcount > 1:
                    bits |= SHARED
            elif file.swap[at] is not None:
                bits |= CACHED
            seen.append(bits)
    for mm in system.kernel.mms:
        for tlb in mm.tlbs:
            for pte in tlb.values():
                seen.append(TLB | (pte.bits & DIRTY) << 1)
    seen.sort()
    seen.append(system.kernel.total_swap_pages)
    return tuple(seen)


def danger(abstract: tuple[int, ...]) -> int:
    """How often to set out from an abstract state: more where a good copy is remembered by few.

    A page that is newer than its slot while PG_dirty is clear hangs on one record, the more so with two users. A CPU
    with a dirty translation can store without leaving any.
    """
    stale = sum(bits & TLB and bits > TLB for bits in abstract)
    return max(5 if stale else 1, *(1 if not bits & NEWER else 40 if bits & SHARED else 5 for bits in abstract[:-1]))


class Walk:
    """A walk over one kernel, architecture and scope, by all rules or by `rules`, with all values or those of `only`.

    `steps` counts the steps that happened, `calls` also those that could not. `trace` has the steps of the last
    run. `marks` counts the situations reached, `keys` the storage key instructions executed. `first` has the run that
    first came to each abstract state.
    """

    #: Chances to stop at a preemption point: run to completion, stop now and then, stop often.
    STOPS = (0.0, 0.06, 0.12, 0.2)
    PREEMPT = 0.7
    #: Share of the runs with a PCT schedule (Burckhardt et al., ASPLOS 2010): of the first HORIZON preemption points
    #: DEPTH - 1 are chosen beforehand; a task that comes to one is put last. It finds what DEPTH orderings decide.
    PCT = 0.3
    DEPTH = 3
    HORIZON = 120
    #: Share of the runs that set out from the first state: what happens to a page of a file at its first fault is not
    #: seen from where a page is in the page cache, as it is almost everywhere else.
    FIRST = 0.2
    #: How many runs to keep for each abstract state: they differ in what it does not show.
    KEPT = 6
    #: How many there may be in all; a dangerous one counts more than once. Then new ones take the place of others.
    ROOM = 200_000
    #: Factors for the weight of a rule in one run.
    SWARM = (0, 1, 1, 3)

    def __init__(
        self,
        kernel: type[Kernel],
        arch: str,
        scope: Scope,
        seed: int,
        length: int = 40,
        novelty: bool = True,
        marks: dict[str, int] | None = None,
        rules: Collection[str] | None = None,
        only: Mapping[str, tuple[Any, ...]] = MappingProxyType({}),
    ) -> None:
        self.random = random.Random(seed)
        self.length = length
        self.novelty = novelty
        self.marks: dict[str, int] = {} if marks is None else marks
        self.keys = {"iske": 0, "sske": 0, "rrbe": 0}
        self.calls = self.steps = self.runs = 0
        self.trace: list[Step] = []
        self.seen: dict[tuple[int, ...], int] = {}
        self.first: list[tuple[tuple[int, ...], tuple[Step, ...]]] = []
        self.system = System(kernel, arch, scope, self.marks)
        #: States to set out from, the first first, each with the steps that led to it.
        self.corpus: list[tuple[Saved, tuple[Step, ...]]] = [(save(self.system), ())]
        by_rule: dict[str, list[tuple[Rule, tuple[Any, ...]]]] = {}
        for instance in instances(kernel, scope, rules, only):
            by_rule.setdefault(instance[0].name, []).append(instance)
        self.by_rule = list(by_rule.values())
        self.resume = next(rule for rule in table(kernel) if rule.name == "resume")

    def change_points(self) -> Callable[[], float]:
        """What `run_some` asks at each preemption point: 0 at those of a PCT schedule, else 1."""
        draw = self.random.random
        changes = {int(draw() * self.HORIZON) for _ in range(self.DEPTH - 1)}
        points = count()
        return lambda: 0.0 if next(points) in changes else 1.0

    def look(self, steps: list[Step]) -> None:
        """Keep a quiet state that looks like few before: later runs set out from it."""
        abstract = outline(self.system)
        times = self.seen.get(abstract, 0)
        if times < self.KEPT:
            self.seen[abstract] = times + 1
            kept = (save(self.system), tuple(steps))
            if not times:
                self.first.append((abstract, kept[1]))
            corpus = self.corpus
            if len(corpus) < self.ROOM:
                corpus += [kept] * danger(abstract)
            else:
                for _ in range(danger(abstract)):
                    corpus[1 + int(self.random.random() * (len(corpus) - 1))] = kept

    @watchdog()
    def adopt(self, steps: Sequence[Step]) -> bool:
        """Set out also from the states on a run of an earlier walk; False if a step cannot happen here.

        Raises Loss and KernelBug as `run` does.
        """
        system = self.system
        restore(system, self.corpus[0][0])
        self.trace = done = []
        for step in steps:
            done.append(step)
            if not system.step(*step):
                return False
            if is_quiet(system):
                self.look(done)
        return True

    @few_collections()
    @watchdog()
    def run(self) -> Loss | None:
        """Do one run; what it lost, if anything. Raises KernelBug; `trace` has the steps in any case."""
        draw = self.random.random
        corpus = self.corpus
        start, trace = corpus[0 if draw() < self.FIRST else int(len(corpus) * draw())]
        system = self.system
        restore(system, start)
        self.trace = steps = list(trace)
        chance = self.STOPS[int(draw() * len(self.STOPS))]
        preempt = draw() < self.PREEMPT
        look, hold = draw, 3
        pct = draw() < self.PCT
        if pct:
            chance, preempt, look, hold = 0.5, True, self.change_points(), self.length // 2
        pick: list[list[tuple[Rule, tuple[Any, ...]]]] = []
        for rules in self.by_rule:
            pick += [rules] * (rules[0][0].weight * self.SWARM[int(draw() * len(self.SWARM))])
        n = len(pick)
        self.runs += 1
        done = len(steps)
        keys = {name: getattr(system.kernel.arch, name) for name in self.keys}
        call = -1
        held = 0
        victims: list[tuple[Rule, tuple[Any, ...]]] = []
        try:
            for call in range(self.length if n else 0):
                if victims and not held:
                    rule, arguments = victims.pop()
                else:
                    rules = pick[int(draw() * n)]
                    rule, arguments = rules[int(draw() * len(rules))]
                    if held and rule is self.resume:
                        continue
                task = system.start(rule, arguments)
                if task is None:
                    continue
                steps.append(Step(rule, arguments, None))
                if task.steps is not None:
                    stop = run_some(task, look, 0.0 if held and not pct else chance)
                    if stop is not None:
                        steps[-1] = Step(rule, arguments, stop)
                        if preempt:
                            held = held or 1 + int(draw() * hold)
                            victims.append((self.resume, (TASKS[task.name],)))
                system.after()
                if held:
                    held -= 1
                if self.novelty and is_quiet(system):
                    self.look(steps)
        except Loss as loss:
            return loss
        finally:
            self.calls += call + 1
            self.steps += len(steps) - done
            for name in self.keys:
                self.keys[name] += getattr(system.kernel.arch, name) - keys[name]
        return None
