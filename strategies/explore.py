"""The exhaustive search: every interleaving of a stated scope, breadth first over steps, pruned by the state key.

A step starts an operation, or goes on with one, up to any of its preemption points. From a state each task runs on by
itself to its end, so the states on its way cost no building. What begins there is undone for the next one; after what
goes on, as no generator can be copied, the state is built again by the steps since the nearest quiet one.

The states are fewer by three reductions. *Symmetry*: states that differ in the names of processes, frames and values
have one key (`snapshot`), and those that differ in the order of slots, where nothing looks at it (`argued`). *Merged
steps*: a state whose task has been run on from there needs no second visit for it. *Partial order and normal forms*:
see `reduce`. A normal form can do at least what the states of the kernel
can that have it, in no more steps and stops, so "complete" is a proof; a loss is looked at again without them, and if
it is none, the search starts anew without. A search without bounds on steps and stops has more of them, and its loss
may be some steps longer than need be: no state says which vma is locked or read-only, so the system calls are put in
where they make a difference.
"""

from __future__ import annotations

import gc
import hashlib
import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from inspect import getsourcefile
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any, NamedTuple

import mm_sim
from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.names import EXT2, KSWAPD, PAGES, PRIVATE, TASKS, TMPFS
from mm_sim.sched import Failure, KernelBug, Task, points, run, watchdog
from mm_sim.snapshot import Saved, canonical, few_collections, is_quiet, restore, save, stack
from mm_sim.system import SMALL, Loss, Rule, Scope, System
from strategies import rules as the_rules
from strategies.comparison import Base, States, failure
from strategies.reduce import (
    FAULTED,
    LOCK,
    Forgetful,
    Normal,
    argued,
    changes_nothing,
    goes_along_mmlist,
    lock,
    movers,
    normal,
    preludes,
    undo,
    use_is_unseen,
    waits_at_once,
)
from strategies.rules import domains, instances, table


class CheckpointError(Exception):
    """A checkpoint that cannot be used: one line that names the file and what to do."""


class WorkerDied(Exception):
    """A process that shares in a search has died: one line that says what to do."""


class NotDeterministic(KernelBug):
    """A run that failed once, and not when it was done again."""

    def __init__(self, kernel: type[Kernel], run: Sequence[Step]) -> None:
        names = ", ".join(step.rule.name for step in run)
        super().__init__(
            f"{kernel.__name__} is not deterministic: the steps {names} failed once, and not when repeated"
        )


#: How many nodes are expanded between two looks at the clock, by one process, and by each of several.
_BLOCK, _SHARE = 64, 4_000
#: How many quiet states are kept at hand; others are built again from the start when needed.
_AT_HAND = 2_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a search covers: the machine, the rules allowed (None: all), the values of arguments, steps and stops.

    `only` has domains of rules.py with the values to be used; the others are whole. `stops` is how many steps may
    end at a preemption point (preemption bounding: Musuvathi and Qadeer, PLDI 2007), `steps` how many there may be
    at all; None is no bound.
    """

    scope: Scope = SMALL
    rules: tuple[str, ...] | None = None
    only: tuple[tuple[str, tuple[Any, ...]], ...] = (("reclaimer", (KSWAPD,)),)
    steps: int | None = None
    stops: int | None = None

    def lies_within(self, other: Bounds) -> bool:
        """Whether every run within these bounds is within the others."""
        mine, theirs = dict(self.only), dict(other.only)
        return (
            self.scope == other.scope
            and (other.rules is None or (self.rules is not None and {*self.rules} <= {*other.rules}))
            and all(domain in mine and {*mine[domain]} <= {*values} for domain, values in theirs.items())
            and (other.steps is None or (self.steps is not None and self.steps <= other.steps))
            and (other.stops is None or (self.stops is not None and self.stops <= other.stops))
        )

    def __str__(self) -> str:
        scope = self.scope
        parts = [
            f"{scope.processes} processes, {scope.pages} page{'s'[: scope.pages > 1]} each, "
            f"{scope.frames} frames, {scope.slots} slots{f' in {scope.areas} areas' * (scope.areas > 1)}",
            *([", ".join(map(repr, scope.files))] if scope.files else []),
            *([", ".join(scope.also)] if scope.also else []),
            "all rules" if self.rules is None else ", ".join(self.rules),
            *(f"{domain} {' or '.join(map(repr, values))}" for domain, values in self.only),
        ]
        if self.steps is not None:
            parts.append(f"up to {self.steps} steps")
        if self.stops is not None:
            parts.append(
                f"at most {self.stops} preemption{'s'[: self.stops != 1]}" if self.stops else "no preemption"
            )
        return "; ".join(parts)


#: Write-back by pdflush and by fsync().
_WRITTEN = ("fsync", "pageout_done", "resume", "store", "writeback")
_RACE = ("exit", "fork", "pageout_done", "reclaim", "resume", "store")
_LUMPY = (("reclaimer", (KSWAPD,)), ("order", (4,)))

#: Scopes by name. `anon` is what every test run proves of private anonymous memory, `tmpfs`, `file` (fsync and
#: write-back of a shared mapping) and `threads` (the same by two threads, with TLBs) what it proves of files; `pins`,
#: with direct I/O, ptrace and migration, it proves of one series, and a nightly of all; `race` is `anon` without
#: bounds on steps and stops; `lock` has no interleavings, but mlock and mprotect; `yardstick` all that two processes
#: do with a page each.
SCOPES = {
    "anon": Bounds(rules=_RACE, only=_LUMPY, steps=8, stops=1),
    "race": Bounds(rules=_RACE, only=_LUMPY),
    "tmpfs": Bounds(
        Scope(files=(TMPFS,), slots=1),
        rules=(*_RACE, "load", "mmap_file", "munmap"),
        only=(*_LUMPY, ("kind", (PRIVATE,))),
        steps=9,
        stops=0,
    ),
    "file": Bounds(
        Scope(files=(EXT2,), slots=0), rules=(*_WRITTEN, "fork", "mprotect"), only=_LUMPY, steps=8, stops=1
    ),
    "threads": Bounds(
        Scope(files=(EXT2,), slots=0, also=("threads",)), rules=(*_WRITTEN, "munmap"), only=_LUMPY, steps=8, stops=1
    ),
    "pins": Bounds(
        Scope(files=(EXT2,), slots=0, also=("pins", "migration")),
        rules=(*_WRITTEN, "fork", "ptrace", "read_direct", "move_pages"),
        only=_LUMPY,
        steps=6,
        stops=1,
    ),
    "lock": Bounds(rules=(*_RACE, "mlock", "mprotect", "munlock"), only=_LUMPY, stops=0),
    "yardstick": Bounds(
        rules=(*_RACE, "load", "madvise_dontneed", "mlock", "mmap", "mprotect", "munlock", "munmap", "pageout_failed")
    ),
}


class Origin:
    """A quiet state, from which others are built: its path from the start, and the state itself while at hand."""

    __slots__ = ("path", "saved")

    def __init__(self, path: tuple[Step, ...]) -> None:
        self.path = path
        self.saved: Saved | None = None


class Node(NamedTuple):
    """A state to be expanded: `steps` from `origin`, its key, the order of its tasks in the key, and stops so far.

    `beside` are the states in which the base can be after the same run, where the search compares with one.
    """

    origin: Origin
    steps: tuple[Step, ...]
    key: bytes
    order: tuple[int, ...]
    stops: int
    beside: States = frozenset()


@dataclass(slots=True)
class Result:
    """What a search has done so far.

    `ended` is "complete" when every state within the bounds was visited, "loss" or "bug" when a wanted failure ended
    the search, else what stopped it. `loss` is the run that did, `bug` the first that breaks the kernel: a search
    goes on past it unless it is wanted. `base_fails` has the first run in which the base fails as well.
    """

    states: int = 1
    transitions: int = 0
    depth: int = 0
    seconds: float = 0.0
    ended: str = ""
    loss: list[Step] | None = None
    bug: list[Step] | None = None
    base_fails: list[Step] | None = None

    @property
    def found(self) -> list[Step] | None:
        """The run that is wanted."""
        return self.bug if self.ended == "bug" else self.loss


# What is known of a state, in one number: tasks that were run on from it (by position in its key), depth, stops.
_DEPTH, _STOPS = 16, 32


class Search:
    """A search of one kernel on one architecture.

    A failure that `wanted` accepts ends it, by default any loss. It sets out from the quiet state after the steps of
    `start`, which count for no bound. Without `reduce` other tasks run at every point; unless `symmetric`, processes
    keep their names. `forms` says that states are put in a normal form, `free` that it is one for searches without
    bounds.

    With `base` a run in which that kernel fails, too, counts for nothing and is not followed. As long as none does,
    the search is one of `kernel` alone. From then on a state is one of both (`beside`): another run may come to the
    same state of `kernel` where the base is in a state from which it does not fail.
    """

    def __init__(
        self,
        kernel: type[Kernel],
        arch: str,
        bounds: Bounds,
        wanted: Callable[[list[Step], Loss | KernelBug], bool] = lambda steps, failed: isinstance(failed, Loss),
        reduce: bool = True,
        symmetric: bool = True,
        marks: dict[str, int] | None = None,
        start: Sequence[Step] = (),
        base: Base | None = None,
    ) -> None:
        self.kernel, self.arch, self.bounds = kernel, arch, bounds
        self.wanted = wanted
        self.base = base
        self.beside: Base | None = None
        self.symmetric = symmetric
        self.marks = marks
        self.start = tuple(start)
        self.rules = rules = {rule.name for rule in table(kernel)} if bounds.rules is None else set(bounds.rules)
        self.moves = [
            (rule, arguments)
            for rule, arguments in instances(kernel, bounds.scope, rules, dict(bounds.only))
            if rule.name != "resume"
        ]
        self.rule = {rule.name: rule for rule in table(kernel)}
        self.resume = self.rule["resume"]
        locks = [(LOCK, (process, PAGES[0])) for process in domains(bounds.scope)["process"]]
        self.calls = [*self.moves, *locks, *((self.resume, (task,)) for task in domains(bounds.scope)["task"])]
        self.number = {call: i for i, call in enumerate(self.calls)}
        self.result = Result(depth=1)
        self.begin(reduce, forms=reduce)

    def begin(self, reduce: bool, forms: bool) -> None:
        """Start at the first state, with the reductions that hold for these bounds, with normal forms or without."""
        kernel, bounds = self.kernel, self.bounds
        self.commutes = reduce and argued(kernel, self.rules, bounds.scope)
        self.mmlist = goes_along_mmlist(kernel, {*self.rules, *(step.rule.name for step in self.start)})
        kswapd_alone = {**domains(bounds.scope), **dict(bounds.only)}["reclaimer"] == (KSWAPD,)
        self.forms = forms and self.commutes and kswapd_alone
        endless = self.forms and bounds.steps is None and bounds.stops is None
        self.normal = normal(self.arch, self.rules, dict(bounds.only), free=endless)
        self.free = endless and self.normal.locks is ("mlock" in self.rules)
        if not self.free:
            self.normal = normal(self.arch, self.rules, dict(bounds.only), free=False) if self.forms else Normal()
            if forms and use_is_unseen(kernel, self.arch, dict(bounds.only)):
                self.normal = self.normal._replace(forgets=True)
        self.open = [(rule, arguments) for rule, arguments in self.moves if not self.normal.covers(rule, arguments)]
        self.movers = movers(kernel, self.rules, bounds.scope, self.free, self.normal) if reduce else {}
        self.system = System(self.machine(), self.arch, bounds.scope, self.marks)
        self.root = save(self.system)
        self.stacks: list[list[object]] = []
        self.redo(self.start)
        key, order = canonical(self.system, self.symmetric, slots=not self.commutes, mmlist=self.mmlist)
        self.seen: dict[bytes, int] = {key: 0}
        beside = frozenset[bytes]() if self.beside is None else self.beside.first
        self.layer = [Node(Origin(self.start), (), key, order, 0, beside)]
        self.next: list[Node] = []
        #: Runs that fail, as they are met, and bugs among them.
        self.found: list[list[Step]] = []
        self.at_hand: deque[Origin] = deque()

    def machine(self) -> type[Kernel]:
        """The kernel that is run."""
        forgetful = self.free and self.normal.forgets
        return type("Machine", (Forgetful, self.kernel), {"__slots__": ()}) if forgetful else self.kernel

    # one state

    def keep(self, origin: Origin) -> None:
        origin.saved = save(self.system)
        self.at_hand.append(origin)
        if len(self.at_hand) > _AT_HAND:
            self.at_hand.popleft().saved = None

    def build(self, origin: Origin, steps: tuple[Step, ...]) -> None:
        """Bring the system to the state after `steps` from `origin`, and see where each task stands."""
        if origin.saved is None:
            restore(self.system, self.root)
            self.redo(origin.path)
            self.keep(origin)
        else:
            restore(self.system, origin.saved)
        self.redo(steps)
        self.standing = [stack(task) for task in self.system.kernel.tasks]

    def redo(self, steps: tuple[Step, ...]) -> None:
        system = self.system
        for rule, arguments, stop in steps:
            task = system.start(rule, arguments)
            assert task is not None
            if rule is LOCK:  # seen by the next step alone
                continue
            if task.steps is not None:
                if stop is None or not self.free:
                    run(task, stop)
                else:  # to where it comes first and others need run
                    next(point for point in points(task) if point == stop and not self.goes_on(task, point))
            self.normalise(task, stop)
        system.after()

    def goes_on(self, task: Task, point: str) -> bool:
        """Whether no other task need run while `task` stands at a point."""
        mover = self.movers.get(point)
        return mover is not None and mover(task)

    def normalise(self, task: Task, stop: str | None) -> None:
        """After a step."""
        if self.free and stop == FAULTED and task.op == "store":
            task.steps = task.point = None
        self.normal.form(self.system)

    def expand(self, node: Node) -> None:
        """Run each task on from a state, and start each operation that can start."""
        origin, steps, key, order, *_ = node
        known = self.seen[key]
        self.build(origin, steps)
        system = self.system
        tasks = system.kernel.tasks
        todo: list[tuple[tuple[Step, ...], Rule, tuple[Any, ...]]] = []
        met: list[object] = []
        for rule, arguments in self.open:
            if (rule.steps is None or tasks[arguments[0]].steps is None) and rule.when(system, *arguments):
                if self.normal.flags and changes_nothing(system, rule, arguments[0]):
                    continue
                if rule.same is not None:
                    one = (rule, rule.same(system, *arguments))
                    if one in met:
                        continue
                    met.append(one)
                todo.append(((), rule, arguments))
                if self.normal.locks and rule.name == "store":
                    todo += [(before, rule, arguments) for before in preludes(system, tasks[arguments[0]])]
        for task in tasks:
            if task.steps is not None and (task.waits is None or not task.waits.busy()):
                if not known >> order.index(task.name) & 1:
                    todo.append(((), self.resume, (TASKS[task.name],)))
                if self.normal.locks:
                    todo += [(before, self.resume, (TASKS[task.name],)) for before in preludes(system, task)]
        here = (save(system) if steps else origin.saved) if len(todo) > 1 else None
        unmoved = True  # all that is under way still stands where it stood
        for n, (before, rule, arguments) in enumerate(todo):
            if n:
                if unmoved and here is not None:
                    restore(system, here)
                else:
                    self.build(origin, steps)
            unmoved = rule is not self.resume
            for step in before:
                system.start(step.rule, step.arguments)
            self.follow(node._replace(steps=(*steps, *before)) if before else node, rule, arguments)

    def follow(self, node: Node, rule: Rule, arguments: tuple[Any, ...]) -> None:
        """Run one task on to its end, or until it blocks, and visit the states on the way."""
        system = self.system
        seen_at = system.kernel.tasks[arguments[0]].point if rule is self.resume else ""
        crossed: list[str] = []
        since: list[str] = []  # crossed without a visit, since a state in which the task stands at `seen_at`
        self.stacks = self.standing.copy()
        stop: str | None = None
        bounded = self.bounds.stops is not None
        may_stop = self.bounds.stops is None or node.stops < self.bounds.stops
        passed: list[str] = []
        marked: list[tuple[bytes, int]] = []
        try:
            task = system.start(rule, arguments)
            assert task is not None
            self.running = max(task.name, 0)  # an action has no task
            if task.steps is not None:
                for stop in points(task):
                    since.append(stop)
                    if stop in (
                        passed if self.free else crossed
                    ):  # one step stops where the label comes first: this state takes two
                        for key, bit in marked:
                            self.seen[key] &= ~bit
                        marked.clear()
                    elif may_stop and not self.goes_on(task, stop):
                        passed.append(stop)
                        try:
                            if self.visit(node, Step(rule, arguments, stop), task, node.stops + bounded, marked):
                                break
                        except Failure as failed:  # of a step that ends here; one that goes on need not fail
                            self.failed(node, Step(rule, arguments, stop), failed)
                        if task.steps is None:  # given up
                            break
                        if self.free:
                            seen_at = stop
                            since.clear()
                    crossed.append(stop)
                    stop = None  # what is lost on the way to the next point is lost without a stop
            if stop is None and not (self.commutes and task.waits and waits_at_once(seen_at, since, self.free)):
                self.visit(node, Step(rule, arguments, None), None, node.stops, marked)
        except Failure as failed:
            self.failed(node, Step(rule, arguments, stop), failed)

    def failed(self, node: Node, step: Step, failed: Failure) -> None:
        """Keep a run that fails, unless the base fails in it, too; of bugs only the first."""
        if self.result.bug is not None and isinstance(failed, KernelBug):
            return
        run = [*node.origin.path, *node.steps, step]
        if self.beside is not None and self.beside.after(node.beside, step) is None:
            self.result.base_fails = self.result.base_fails or run
        else:
            self.found.append(run)

    def visit(
        self,
        node: Node,
        step: Step,
        task: Task | None,
        stops: int,
        marked: list[tuple[bytes, int]],
    ) -> bool:
        """Look at the state that a step leads to: True if what `task` does from here on is known. Raises Loss."""
        system = self.system
        self.result.transitions += 1
        system.after()
        depth = self.result.depth
        if depth == self.bounds.steps:  # nobody goes on from here
            return False
        self.normalise(system.kernel.current, step.stop)
        self.stacks[self.running] = stack(system.kernel.tasks[self.running])
        key, order = canonical(system, self.symmetric, self.stacks, not self.commutes, self.mmlist)
        bit = 0 if task is None else 1 << order.index(task.name)
        beside = node.beside
        if self.beside is not None:
            following = self.beside.after(beside, step)
            if following is None:
                self.result.base_fails = self.result.base_fails or [*node.origin.path, *node.steps, step]
                return False
            beside = following
            key = blake2b(key + b"".join(sorted(beside)), digest_size=16).digest()
            bit = 0
        known = self.seen.get(key)
        if known is not None and known >> _STOPS <= stops:
            if self.beside is not None:  # on from another point the base need not come to the same states
                return False
            if known & bit:
                return True
            earlier = known >> _DEPTH & 0xFFFF < depth
            if earlier and (self.bounds.stops is None or known >> _STOPS < stops):
                return True
            if not earlier and known >> _STOPS == stops:
                self.seen[key] = known | bit
                marked.append((key, bit))
            return False
        self.seen[key] = stops << _STOPS | depth << _DEPTH | bit
        marked.append((key, bit))
        steps = (*node.steps, step)
        if is_quiet(system):
            origin = Origin((*node.origin.path, *steps))
            self.keep(origin)
            self.next.append(Node(origin, (), key, order, stops, beside))
        else:
            self.next.append(Node(node.origin, steps, key, order, stops, beside))
        return False

    # all states

    @few_collections()
    @watchdog()
    def run(
        self,
        deadline: float | None = None,
        states: int = 10_000_000,
        jobs: int = 1,
        checkpoint: Path | None = None,
        progress: Callable[[Result], None] = lambda result: None,
    ) -> Result:
        """Search until it ends, until `deadline` (of time.monotonic()), or until `states` have been seen.

        A state takes about 250 bytes, and more while it waits to be expanded. `jobs` processes share the work where
        the system can fork. What stopped before its end is written to `checkpoint`, if given, and goes on when run
        again. Raises KernelBug.
        """
        result = self.result
        result.ended = ""
        start = time.monotonic() - result.seconds
        jobs = jobs if "fork" in get_all_start_methods() else 1
        interrupted: list[int] = []  # Ctrl-C waits for the end of a block: half a node would be lost on resuming
        handler = signal.signal(signal.SIGINT, lambda number, frame: interrupted.append(number))
        try:
            while not result.ended:
                if not self.layer:
                    self.layer, self.next = self.next, []
                    if not self.layer or result.depth == self.bounds.steps:
                        result.ended = "complete"
                        break
                    result.depth += 1
                if jobs > 1 and self.beside is None and len(self.layer) >= _BLOCK * jobs:
                    size = min(_SHARE * jobs, len(self.layer))
                    self.share(size, jobs)
                else:
                    size = min(_BLOCK, len(self.layer))
                    for node in self.layer[-size:]:
                        self.expand(node)
                del self.layer[-size:]
                result.states = len(self.seen)
                result.seconds = time.monotonic() - start
                self.look_at_failures()
                if not result.ended:
                    if deadline is not None and time.monotonic() >= deadline:
                        result.ended = "out of time"
                    elif result.states >= states:
                        result.ended = "out of memory"
                if interrupted and not result.ended:
                    result.ended = "interrupted"
                progress(result)
        finally:
            signal.signal(signal.SIGINT, handler)
        if checkpoint is not None and result.ended not in ("complete", "loss", "bug"):
            self.save(checkpoint)
        return result

    def failure(self, path: list[Step]) -> Failure | None:
        """What goes wrong in a run that has failed once."""
        return failure(self.kernel, self.arch, self.bounds.scope, path)

    def look_at_failures(self) -> None:
        """The first loss that is wanted ends the search; the first bug is kept. Both only if the base has neither."""
        for found in self.found:
            path = self.concrete(found) if self.free else found
            failed = None if path is None else self.failure(path)
            if path is None or failed is None:
                if not self.forms:
                    raise NotDeterministic(self.kernel, found)
                self.restart()  # it fails in a normal form only
                return
            if self.base is not None and self.beside is None and self.base.fails(path):
                self.compare()
                self.result.base_fails = path
                return
            if isinstance(failed, KernelBug):
                self.result.bug = self.result.bug or path
            elif isinstance(failed, Loss) and self.wanted(path, failed):
                self.result.loss, self.result.ended = path, "loss"
                break
            if isinstance(failed, KernelBug) and self.wanted(path, failed):
                self.result.ended = "bug"
                break
        self.found = []

    def compare(self) -> None:
        """Begin anew, with the base beside the kernel."""
        self.beside, self.symmetric = self.base, False
        self.restart()

    def restart(self) -> None:
        """Begin anew, without normal forms."""
        self.result.transitions, self.result.depth, self.result.bug = 0, 1, None
        self.begin(reduce=self.beside is None, forms=False)

    def concrete(self, found: list[Step]) -> list[Step] | None:
        """The steps of a run without what `normalise` does; None if there are none."""
        system = System(self.kernel, self.arch, self.bounds.scope)
        path: list[Step] = []

        def step(name: str, arguments: tuple[Any, ...], stop: str | None = None) -> bool:
            path.append(Step(self.rule[name], arguments, stop))
            return system.step(*path[-1])

        try:
            for i, (rule, arguments, stop) in enumerate(found):
                for process in domains(self.bounds.scope)["process"]:
                    if i and found[i - 1].rule is not LOCK and self.normal.flags and not undo(system, step, process):
                        return None
                if rule is LOCK:
                    if not lock(system, step, *arguments):
                        return None
                    continue
                if rule.steps is not None and system.kernel.tasks[arguments[0]].point == FAULTED:  # the store goes on
                    going = (TASKS[arguments[0]],)
                    if rule.name == "store":
                        rule, arguments = self.resume, going
                    elif not step("resume", going):
                        return None
                while step(rule.name, arguments, stop):
                    task = system.kernel.current
                    if stop is None or task.point != stop or not self.goes_on(task, stop):
                        break
                    rule, arguments = self.resume, (TASKS[task.name],)
                else:
                    return None
        except Failure:
            return path
        return None

    # several processes

    def share(self, size: int, jobs: int) -> None:
        """Expand the last `size` nodes of the layer in forked processes, which see what is seen so far."""
        global _searching
        _searching = self
        first = len(self.layer) - size
        part = -(-size // (4 * jobs))
        parts = [(i, min(i + part, len(self.layer))) for i in range(first, len(self.layer), part)]
        gc.freeze()
        begin = (signal.SIGINT, signal.SIG_IGN)
        with ProcessPoolExecutor(jobs, get_context("fork"), signal.signal, begin) as pool:
            for transitions, found, nodes in self._parts(pool, parts):
                self.result.transitions += transitions
                self.found += [self.decode(path) for path in found]
                for i, quiet, steps, key, order, value in nodes:
                    self.merge(self.layer[i], quiet, tuple(self.decode(steps)), key, order, value)
        gc.unfreeze()

    @staticmethod
    def _parts(pool: ProcessPoolExecutor, parts: list[tuple[int, int]]) -> Iterator[_Part]:
        """What the processes have done, as they finish. Raises WorkerDied."""
        try:
            for done in as_completed([pool.submit(_expand_part, part) for part in parts]):
                yield done.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                "a process of the search died; search again, with fewer --jobs if memory is short"
            ) from error

    @watchdog()
    def expand_part(self, start: int, stop: int) -> _Part:
        """What one process does for `share`: the nodes [start, stop) of the layer."""
        self.next, self.found = [], []
        before = self.result.transitions
        sent: list[_Sent] = []
        for i in range(start, stop):
            self.expand(self.layer[i])
            known = len(self.layer[i].origin.path)
            for origin, steps, key, order, *_ in self.next:
                quiet = not steps
                path = origin.path[known:] if quiet else steps
                sent.append((i, quiet, self.encode(path), key, order, self.seen[key]))
            self.next = []
        return self.result.transitions - before, [self.encode(path) for path in self.found], sent

    def merge(
        self, parent: Node, quiet: bool, steps: tuple[Step, ...], key: bytes, order: tuple[int, ...], value: int
    ) -> None:
        known = self.seen.get(key)
        if known is not None and known >> _STOPS <= value >> _STOPS:
            if known >> _DEPTH == value >> _DEPTH:
                self.seen[key] = known | value
            return
        self.seen[key] = value
        origin = Origin((*parent.origin.path, *steps)) if quiet else parent.origin
        self.next.append(Node(origin, () if quiet else steps, key, order, value >> _STOPS))

    def encode(self, steps: Sequence[Step]) -> _Path:
        return [(self.number[step.rule, step.arguments], step.stop) for step in steps]

    def decode(self, path: _Path) -> list[Step]:
        return [Step(*self.calls[number], stop) for number, stop in path]

    # checkpoints

    def header(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the search that goes on with it."""
        calls = [f"{rule.name}{arguments!r}" for rule, arguments in self.calls]
        source = hashlib.sha256()
        base = None if self.base is None else self.base.kernel
        classes = (*self.kernel.__mro__, *(() if base is None else base.__mro__))
        files = {Path(getsourcefile(cls) or __file__) for cls in classes if cls is not object}
        for file in sorted(
            files
            | {
                *Path(mm_sim.__file__).parent.glob("*.py"),
                Path(the_rules.__file__),
                Path(__file__),
                *(Path(__file__).with_name(name) for name in ("comparison.py", "reduce.py")),
            }
        ):
            source.update(file.read_bytes())
        return {
            "kernel": self.kernel.title,
            "base": base and f"{base.__module__}.{base.__qualname__}",
            "arch": self.arch,
            "bounds": str(self.bounds),
            "calls": calls,
            "source": source.hexdigest(),
        }

    def save(self, path: Path) -> None:
        """Write a checkpoint as lines of JSON: header, progress, states seen, nodes. Raises CheckpointError."""
        draft = path.with_name(path.name + ".part")
        try:
            with draft.open("w", encoding="utf-8") as file:
                result = self.result
                progress = [result.transitions, result.depth, result.seconds, self.forms]
                met = [None if run is None else self.encode(run) for run in (result.bug, result.base_fails)]
                ways = {} if self.beside is None else self.beside.ways
                beside = {key.hex(): self.encode(way.path) for key, way in ways.items()}
                for line in (self.header(), progress, met, beside, {k.hex(): v for k, v in self.seen.items()}):
                    file.write(json.dumps(line) + "\n")
                for nodes in (self.layer, self.next):
                    lines = [
                        (
                            self.encode(node.origin.path),
                            self.encode(node.steps),
                            node.key.hex(),
                            node.order,
                            node.stops,
                            [key.hex() for key in sorted(node.beside)],
                        )
                        for node in nodes
                    ]
                    file.write(json.dumps(lines) + "\n")
            draft.replace(path)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror}); name another place") from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises CheckpointError."""
        try:
            with path.open(encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
            header, progress, met, beside, seen, layer, following = lines
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read as a checkpoint ({error}); delete it") from error
        if header != json.loads(json.dumps(self.header())):
            what = header.get("bounds") if isinstance(header, dict) else header
            raise CheckpointError(
                f"{path}: is of another search or another model ({what}); delete it or name another"
            )
        try:
            *done, forms = progress
            if beside and self.base is not None:
                self.compare()
                self.base.go_on({bytes.fromhex(key): tuple(self.decode(way)) for key, way in beside.items()})
            elif not forms and self.forms:
                self.begin(reduce=True, forms=False)
            self.result.transitions, self.result.depth, self.result.seconds = done
            self.seen = {bytes.fromhex(key): value for key, value in seen.items()}
            self.layer, self.next = self._nodes(layer), self._nodes(following)
            self.result.bug, self.result.base_fails = (None if run is None else self.decode(run) for run in met)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: is damaged ({error}); delete it") from error
        self.result.states = len(self.seen)

    def _nodes(self, lines: list[Any]) -> list[Node]:
        origins: dict[str, Origin] = {}
        nodes = []
        for path, steps, key, order, stops, beside in lines:
            origin = origins.setdefault(json.dumps(path), Origin(tuple(self.decode(path))))
            of_base = frozenset(map(bytes.fromhex, beside))
            nodes.append(Node(origin, tuple(self.decode(steps)), bytes.fromhex(key), tuple(order), stops, of_base))
        return nodes


#: Steps as numbers: index into `Search.calls`, and stop.
_Path = list[tuple[int, str | None]]
#: A new state on its way between processes: number of its parent, whether it is quiet, steps, key, order, what is
#: known of it.
_Sent = tuple[int, bool, _Path, bytes, tuple[int, ...], int]
#: What a process has done: transitions, runs that fail, new states.
_Part = tuple[int, list[_Path], list[_Sent]]
#: The search whose nodes the forked processes expand.
_searching: Search | None = None


def _expand_part(part: tuple[int, int]) -> _Part:
    assert _searching is not None
    return _searching.expand_part(*part)
