"""The verdict on a patch: what it adds to its base, in each machine in which it can matter.

Stored runs are tried first, then each machine is walked a little, searched a little, and then all in turn within
growing bounds, until the budget is spent. Each process has machines of its own. May use all of `strategies` but what
is under it in this order: campaigns, and the faces.
"""

from __future__ import annotations

import io
import pickle
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count, product
from math import inf
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection, wait
from typing import cast

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.labels import methods
from mm_sim.loss import Step, explain
from mm_sim.sched import Endless, KernelBug, watchdog
from mm_sim.system import Loss, Rule, Scope
from strategies.comparison import Base, failure
from strategies.coverage import Coverage, Function, changed, functions_of, names, watch
from strategies.explore import Bounds, Search
from strategies.minimise import Certificate, certify, minimise, within
from strategies.reproducer import Stored, steps_on
from strategies.rules import table
from strategies.targets import MACHINES, Machine, Row, distances, possible, row
from strategies.walk import Walk

ADDS, BUG, PROVEN, FOUND, NOT_REACHED = (
    "adds a loss",
    "adds a bug",
    "adds no loss: proven",
    "adds no loss found",
    "not reached",
)
#: Of a kernel that is compared with nothing.
ALONE = {ADDS: "loses", BUG: "has a bug", PROVEN: "no loss: proven", FOUND: "no loss found", NOT_REACHED: NOT_REACHED}
#: The worst first; what is not reached is worst only where nothing else is known.
ORDER = (ADDS, BUG, FOUND, PROVEN, NOT_REACHED)

#: Runs of a slice of a walk, and states of a slice of a search: about a fifth and a third of a second.
_RUNS, _STATES = 100, 1_200
#: States of each of the first searches of a machine.
_SHORT = 800
#: States, and seconds, of the search for the shortest run; and states where no clock is to decide.
_CERTIFY, _CERTIFY_SECONDS, _CERTIFY_FIRST = 30_000, 4.0, 3_000
#: Seconds for the other machines once something is found.
_AFTER = 1.2
#: The phase in which all machines have had their first slices.
_LAST = 2


@dataclass(slots=True)
class Finding:
    """A run that counts against a patch: a loss with its certificate, or a bug."""

    scope: Scope
    certificate: Certificate
    bug: str = ""

    @property
    def steps(self) -> list[Step]:
        return self.certificate.steps


@dataclass(slots=True)
class Outcome:
    """What is known of a machine on an architecture.

    `complete` are the bounds within which every run was searched, `open` those that were begun; what holds `proof` is
    called proven. `reached` are the lines of the patch that ran. `base_fails` is a run in which the base fails by
    itself, `fixes` one in which it does and the patch does not.
    """

    machine: str
    arch: str
    scope: Scope
    complete: list[tuple[Bounds, int]] = field(default_factory=list)
    open: tuple[Bounds, int] | None = None
    finding: Finding | None = None
    bug: Finding | None = None
    base_fails: list[Step] | None = None
    fixes: list[Step] | None = None
    reached: set[tuple[str, int]] = field(default_factory=set)
    marks: dict[str, int] = field(default_factory=dict)
    proof: Bounds | None = None
    runs: int = 0
    steps: int = 0
    states: int = 0
    died: str = ""

    @property
    def name(self) -> str:
        return f"{self.machine} {self.arch}"

    @property
    def widest(self) -> list[tuple[Bounds, int]]:
        """The bounds that are complete, without those that lie within others."""
        return [
            (bounds, states)
            for bounds, states in self.complete
            if not any(bounds != other and bounds.lies_within(other) for other, _ in self.complete)
        ]

    @property
    def word(self) -> str:
        if self.finding is not None:
            return ADDS
        if self.bug is not None:
            return BUG
        if not self.reached:
            return NOT_REACHED
        least = self.proof
        return PROVEN if least and any(least.lies_within(bounds) for bounds, _ in self.complete) else FOUND


@dataclass(slots=True)
class Verdict:
    """The verdict on a patch, over all machines that were judged."""

    patch: str
    base: str | None
    outcomes: list[Outcome]
    functions: tuple[Function, ...]
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def word(self) -> str:
        words = {outcome.word for outcome in self.outcomes}
        return next((word for word in ORDER if word in words), NOT_REACHED)

    @property
    def found(self) -> Outcome | None:
        """The outcome with the run to be shown: the shortest loss, else the shortest bug."""
        losing = [one for one in self.outcomes if one.finding is not None] or [
            one for one in self.outcomes if one.bug is not None
        ]
        return min(losing, key=lambda one: len((one.finding or one.bug).steps), default=None)  # type: ignore[union-attr]


class Work:
    """What is done for one machine on one architecture.

    The search for the shortest run takes at most `seconds`, and ends at `end` (of time.monotonic()).
    """

    def __init__(
        self,
        kernel: type[Kernel],
        base: type[Kernel] | None,
        of: Row,
        coverage: Coverage | None,
        seconds: float | None = None,
    ) -> None:
        self.kernel, self.row, self.coverage, self.seconds = kernel, of, coverage, seconds
        self.end = inf
        #: Whether a step was met that does not end: nothing else is tried then.
        self.endless = False
        self.outcome = Outcome(of.machine, of.arch, of.scope, proof=of.proof)
        self.base = None if base is None else Base(base, of.arch, of.scope)
        self.walks: dict[int, Walk] = {}
        self.bounds = of.bounds()
        self.searches: dict[Bounds, Search] = {}
        #: Bounds that were begun.
        self.pending: list[Bounds] = []
        #: Runs in which the base fails and the patch does not.
        self.fixed: list[list[Step]] = []
        self.of_base: Search | None = None

    @property
    def done(self) -> bool:
        return self.outcome.finding is not None

    def counts(self, steps: list[Step], failed: Loss | KernelBug) -> bool:
        """Whether a run that fails counts against the patch."""
        if self.base is None or not self.base.fails(steps):
            return True
        self.outcome.base_fails = self.outcome.base_fails or steps
        return False

    def stored(self, steps: Sequence[Step]) -> None:
        done = list(steps)
        self.failed(done, failure(self.kernel, self.row.arch, self.row.scope, done))

    def failed(self, steps: list[Step], failed: Loss | KernelBug | None) -> None:
        """Look at a run that may have failed."""
        self.take()
        if failed is None or self.done or not self.counts(steps, failed):
            return
        kernel, arch, scope = self.kernel, self.row.arch, self.row.scope
        bounds = self.row.within(self.row.core, 0, 0)
        deadline = None if self.seconds is None else min(time.monotonic() + self.seconds, self.end)
        states = _CERTIFY if self.seconds else _CERTIFY_FIRST
        if isinstance(failed, Loss):
            found = certify(kernel, arch, bounds, steps, self.counts, self.base, states, deadline)
            self.outcome.finding = Finding(scope, found)
        elif isinstance(failed, Endless) and self.outcome.bug is None:
            self.endless = True
            self.outcome.bug = Finding(scope, self.until_endless(steps, bounds), str(failed))
        elif self.outcome.bug is None:
            found = certify(kernel, arch, bounds, steps, self.counts, self.base, states, deadline, KernelBug)
            shortest = failure(kernel, arch, scope, list(found.steps))
            self.outcome.bug = Finding(scope, found, str(shortest or failed))
        self.take()

    def until_endless(self, steps: list[Step], bounds: Bounds) -> Certificate:
        """The shortest run with a step that does not end; each try of one takes seconds, so nothing is minimised."""
        of = within(self.row.scope, steps, bounds.rules or (), dict(bounds.only))
        search = Search(self.kernel, self.row.arch, of, lambda run, other: isinstance(other, KernelBug), reduce=False)
        result = search.run(None if self.seconds is None else time.monotonic() + self.seconds, _CERTIFY)
        best = result.found or steps
        return Certificate(best, result.found is not None, result.states, replace(of, steps=len(best) - 1))

    def take(self) -> None:
        if self.coverage is None:
            self.outcome.reached = {("", 0)}
        else:
            self.outcome.reached |= self.coverage.take()

    def walk(self, tier: int) -> None:
        """A slice of a walk by the rules of a tier."""
        tier %= len(self.row.tiers)
        if tier not in self.walks:
            self.walks[tier] = Walk(
                self.kernel,
                self.row.arch,
                self.row.scope,
                seed=tier,
                marks=self.outcome.marks,
                rules=(*self.row.tiers[tier], "resume"),
            )
        walk = self.walks[tier]
        steps = walk.steps
        for _ in range(_RUNS):
            try:
                failed: Loss | KernelBug | None = walk.run()
            except KernelBug as bug:
                failed = bug
            if failed is not None and not (isinstance(failed, KernelBug) and self.outcome.bug):
                self.failed(list(walk.trace), failed)
                if self.done:
                    break
        self.outcome.runs = sum(walk.runs for walk in self.walks.values())
        self.outcome.steps += walk.steps - steps
        self.take()

    def search(self, bounds: Bounds, states: int = _STATES, deadline: float | None = None) -> bool:
        """A slice of a search; whether it has come to its end."""
        if bounds not in self.searches:
            self.searches[bounds] = Search(
                self.kernel, self.row.arch, bounds, reduce=False, marks=self.outcome.marks, base=self.base
            )
        search = self.searches[bounds]
        before = search.result.states if search.result.transitions else 0
        result = search.run(deadline, before + states)
        self.take()
        if result.ended == "interrupted":
            raise KeyboardInterrupt
        self.outcome.states += result.states - before
        self.outcome.base_fails = self.outcome.base_fails or result.base_fails
        if result.bug is not None and self.outcome.bug is None:
            self.failed(result.bug, failure(self.kernel, self.row.arch, self.row.scope, result.bug))
        if result.loss is not None:
            self.failed(result.loss, failure(self.kernel, self.row.arch, self.row.scope, result.loss))
        if result.ended == "complete":
            self.outcome.complete.append((bounds, result.states))
            self.outcome.open = None
        else:
            self.outcome.open = (bounds, result.depth - 1)
        if result.ended in ("complete", "loss"):
            del self.searches[bounds]
            return True
        return False

    # fixes

    def fix(self, steps: Sequence[Step]) -> None:
        """Note a run in which the base fails, and the patch in no run of the same operations."""
        if self.base is None or self.outcome.fixes is not None:
            return
        arch, scope = self.row.arch, self.row.scope
        run = list(steps)
        if isinstance(failure(self.base.kernel, arch, scope, run), Loss):
            if not Base(self.kernel, arch, scope).fails(run):
                self.fixed.append(run)
        self.take()

    def fixes(self) -> None:
        """Keep a run that the patch fixes: it changes what is to blame, and no loss by these rules is met.

        Where it only takes another way through the run it fixes nothing.
        """
        base, arch, scope = self.base, self.row.arch, self.row.scope
        for run in self.fixed if self.outcome.fixes is None else ():
            assert base is not None
            short = minimise(base.kernel, arch, scope, run, lambda steps, failed: isinstance(failed, Loss))
            search = Search(self.kernel, arch, within(scope, short), reduce=False)
            if self.changes_blamed(short) and search.run(None, _CERTIFY_FIRST).loss is None:
                self.outcome.fixes = short
                break
        self.fixed.clear()
        self.take()

    def changes_blamed(self, run: list[Step]) -> bool:
        """Whether the patch changes the function to blame for a loss of the base, what that calls, or a caller."""
        assert self.base is not None
        of = self.base.kernel
        report = explain(of, self.row.arch, self.row.scope, run)
        assert report is not None
        blamed = report.forgotten_by.function

        def called(function: str) -> set[str]:
            return {name for one in methods(of).get(function, ()) for name in names(one.__code__)}

        near = {blamed, *called(blamed)}
        return any(name in near or blamed in called(name) for name in changed(self.kernel, of))

    def search_base(self, bounds: Bounds, states: int = _STATES) -> bool:
        """A slice of a search of the base within bounds in which the patch adds no loss; whether it has ended."""
        assert self.base is not None
        if self.of_base is None:
            self.of_base = Search(self.base.kernel, self.row.arch, bounds, reduce=False)
        result = self.of_base.run(states=self.of_base.result.states + states)
        if result.ended == "interrupted":
            raise KeyboardInterrupt
        if result.loss is not None:
            self.outcome.base_fails = self.outcome.base_fails or result.loss
            self.fix(result.loss)
            self.fixes()
        return result.ended in ("complete", "loss")

    # what is done, slice by slice

    def begin(self) -> None:
        """A slice of the next bounds, where something is known to reach the change."""
        if self.outcome.reached:
            self.pending.append(next(self.bounds))
            if self.search(self.pending[-1], _SHORT):
                self.pending.pop()

    def turns(self) -> Iterator[None]:
        """What is done for this machine after its first slices, without an end: walks, and twice as many searches."""
        for turn in count():
            self.walk(turn)
            yield
            for _ in range(2):
                if not self.pending:
                    self.pending.append(next(self.bounds))
                ended = self.pending.pop(0)
                if not self.search(ended):
                    self.pending.append(ended)
                else:
                    yield
                    if ended.stops == 1 and self.base is not None and self.of_base is None:
                        while self.outcome.fixes is None and not self.search_base(ended):
                            yield
                yield


#: The first slices of a machine: what stored runs show, a walk, searches of a few steps, its first bounds.
FIRST: tuple[Callable[[Work], object], ...] = (
    Work.fixes,
    lambda work: work.walk(0),
    lambda work: [work.search(bounds, _SHORT) for bounds in work.row.short() if not work.done],
    Work.begin,
    Work.begin,
    Work.begin,
)


def schedule(works: list[Work], stored: Iterator[None]) -> Iterator[int]:
    """What one process does, slice by slice: the phase it is in, 0 to _LAST.

    The half of the machines that are nearest to the change have their first slices before the others.
    """
    for _ in stored:
        yield 0
    works = sorted(works, key=lambda work: work.row.rank)
    half = (len(works) + 1) // 2
    for part in (works[:half], works[half:]):
        for slice_ in FIRST:
            for work in part:
                if not work.done:
                    slice_(work)
                    yield 1
    turns = [(work, work.turns()) for work in works]
    turn = 0
    while any(not work.done for work, _ in turns):
        turn += 1
        for work, going in turns:
            near = work.row.rank <= works[half - 1].row.rank
            if not work.done and (near or not turn % 2) and (work.outcome.reached or not turn % 4):
                next(going)
                yield _LAST


# all machines


def rows(
    kernel: type[Kernel],
    base: type[Kernel] | None,
    machines: Mapping[str, Machine],
    arches: Collection[str],
) -> tuple[list[Row], list[Outcome]]:
    """The machines in which a rule reaches what the patch changes, and an outcome for each of the others."""
    own = [] if base is None else [rule.name for rule in kernel.rules if rule not in base.rules]
    near = {} if base is None else distances(kernel, frozenset(changed(kernel, base)))
    found, others = [], []
    for name, machine in machines.items():
        for arch in machine.arches:
            if arch in arches:
                of = row(kernel, own, near, name, machine, arch)
                if base is None or any(rule.name in near or rule.name in own for rule in possible(kernel, of.scope)):
                    found.append(of)
                else:
                    others.append(Outcome(name, arch, of.scope))
    return found, others


def _try_stored(
    works: list[Work], rows: Sequence[Row], stored: Sequence[Stored], kernel: type[Kernel]
) -> Iterator[None]:
    """Replay each stored run in one machine that holds it, on the patch, and on the base if the patch may fix it.

    Where it is one of `rows`, the machines of all processes, that is not among `works`, another process does so.
    """
    for arch, scope, calls in stored:
        steps = steps_on(kernel, calls)
        fitting = [row for row in rows if row.arch == arch and row.scope.holds(scope)]
        best = min(fitting, key=lambda row: row.scope != scope, default=None)
        work = next((work for work in works if work.row is best), None)
        if steps is not None and work is not None and not work.done:
            work.stored(steps)
            if not work.done:
                work.fix(steps)
            yield


class _Judge:
    """One process: the machines that it judges, and what it tells about them."""

    def __init__(
        self,
        kernel: type[Kernel],
        base: type[Kernel] | None,
        of: Sequence[Row],
        rows: Sequence[Row],
        stored: Sequence[Stored],
        seconds: float | None = _CERTIFY_SECONDS,
    ) -> None:
        self.coverage = None if base is None else watch(kernel, base)
        if self.coverage is not None and not self.coverage.functions and changed(kernel, base):  # type: ignore[arg-type]
            self.coverage = None  # constants only: nothing says whether they were looked at
        self.works = [Work(kernel, base, one, self.coverage, seconds) for one in of]
        self.slices = schedule(self.works, _try_stored(self.works, rows, stored, kernel))

    @property
    def outcomes(self) -> list[Outcome]:
        return [work.outcome for work in self.works]

    @property
    def bugs(self) -> bool:
        return any(outcome.bug is not None for outcome in self.outcomes)

    def run(self, deadline: float, stop: Callable[[int, bool], float | None]) -> None:
        """Work until `deadline`, or what `stop` says of the phase and of whether a loss was found."""
        with watchdog():
            for phase in self.slices:
                until = stop(phase, any(work.done for work in self.works))
                end = deadline if until is None else min(until, deadline)
                if time.monotonic() >= end or any(work.endless for work in self.works):
                    return
                for work in self.works:
                    work.end = end


def judge(
    kernel: type[Kernel],
    name: str,
    base: type[Kernel] | None,
    base_name: str | None = None,
    machines: Mapping[str, Machine] = MACHINES,
    arches: Collection[str] = tuple(ARCHES),
    budget: float = 60.0,
    jobs: int = 1,
    stored: Sequence[Stored] = (),
    progress: Callable[[str], None] = lambda text: None,
    first: bool = False,
) -> Verdict:
    """The verdict on a patch within `budget` seconds, by so many processes.

    `base` is the kernel that it is compared with, None for one that is judged by itself. Once a loss is found the
    machines that have not had their first slices still get them, for some seconds. An interrupt ends it with what is
    known so far. With `first` it ends when every machine has had its first slices, by one process: the same is done
    then however fast the machine is.
    """
    start = time.monotonic()
    of, others = rows(kernel, base, machines, arches)
    verdict = Verdict(name, base_name, [], () if base is None else functions_of(kernel, base))
    if jobs > 1 and len(of) > 1 and not first and "fork" in get_all_start_methods():
        outcomes = _side_by_side(kernel, base, of, stored, start + budget, min(jobs, len(of)), verdict, progress)
    else:
        one = _Judge(kernel, base, of, of, stored, None if first else _CERTIFY_SECONDS)
        since: list[float] = []

        def stop(phase: int, lost: bool) -> float | None:
            progress(_told(name, one.outcomes))
            if (lost or (phase == _LAST and one.bugs)) and not since and not first:
                since.append(time.monotonic())
            if phase == _LAST and (first or since):
                return 0.0
            return since[0] + _AFTER if since else None

        try:
            one.run(start + budget, stop)
        except KeyboardInterrupt:
            verdict.interrupted = True
        outcomes = one.outcomes
    order = {f"{machine} {arch}": n for n, (machine, arch) in enumerate(product(machines, ARCHES))}
    verdict.outcomes = sorted([*outcomes, *others], key=lambda outcome: order[outcome.name])
    verdict.seconds = time.monotonic() - start
    return verdict


def _told(name: str, outcomes: Sequence[Outcome]) -> str:
    lost = [outcome.name for outcome in outcomes if outcome.finding is not None]
    states, steps = (sum(getattr(outcome, what) for outcome in outcomes) for what in ("states", "steps"))
    where = f"adds a loss in {', '.join(lost)}; " if lost else ""
    return f"{name}: {where}{states} states searched, {steps} steps walked"


def _side_by_side(
    kernel: type[Kernel],
    base: type[Kernel] | None,
    of: list[Row],
    stored: Sequence[Stored],
    deadline: float,
    jobs: int,
    verdict: Verdict,
    progress: Callable[[str], None],
) -> list[Outcome]:
    """Judge with several processes. One that dies is noticed: what it had is lost, and its machines say so."""
    context = get_context("fork")
    order = [*range(jobs), *reversed(range(jobs))]  # else each would have one architecture
    parts = [[one for at, one in enumerate(of) if order[at % len(order)] == n] for n in range(jobs)]
    pipes = [context.Pipe() for _ in parts]
    started = []
    for part, (_, theirs) in zip(parts, pipes, strict=True):
        process = context.Process(target=_work, args=(theirs, kernel, base, part, of, stored, deadline), daemon=True)
        process.start()
        theirs.close()
        started.append(process)
    latest = [[Outcome(one.machine, one.arch, one.scope) for one in part] for part in parts]
    left = {ours: n for n, (ours, _) in enumerate(pipes)}
    lost = False

    def tell(what: float | None) -> None:
        for pipe in left:
            with suppress(BrokenPipeError):
                pipe.send(what)

    while left:
        try:
            wait([*left, *(started[n].sentinel for n in left.values())], timeout=0.5)
            for ours, n in list(left.items()):
                ended = started[n].exitcode is not None  # before the last look at what it has sent
                with suppress(EOFError, ConnectionResetError):
                    while ours in left and ours.poll():
                        last, latest[n] = _unpacked(kernel, ours.recv_bytes())
                        if last:
                            del left[ours]
                if ended and ours in left:
                    del left[ours]
                    for outcome in latest[n]:
                        outcome.died = f"its process died with exit status {started[n].exitcode}"
            outcomes = [outcome for part in latest for outcome in part]
            progress(_told(verdict.patch, outcomes))
            if not lost and any(outcome.finding for outcome in outcomes):
                lost = True
                tell(time.monotonic())
        except KeyboardInterrupt:
            verdict.interrupted = True
            tell(None)
    return [outcome for part in latest for outcome in part]


class _Pickler(pickle.Pickler):
    """Sends a rule by its name: its functions may be those of a patch."""

    def persistent_id(self, obj: object) -> str | None:
        return obj.name if isinstance(obj, Rule) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, kernel: type[Kernel], sent: bytes) -> None:
        super().__init__(io.BytesIO(sent))
        self.rules = {rule.name: rule for rule in table(kernel)}

    def persistent_load(self, pid: str) -> Rule:
        return self.rules[pid]


def _packed(what: tuple[bool, list[Outcome]]) -> bytes:
    file = io.BytesIO()
    _Pickler(file).dump(what)
    return file.getvalue()


def _unpacked(kernel: type[Kernel], sent: bytes) -> tuple[bool, list[Outcome]]:
    return cast(tuple[bool, list[Outcome]], _Unpickler(kernel, sent).load())


def _work(
    pipe: Connection,
    kernel: type[Kernel],
    base: type[Kernel] | None,
    of: Sequence[Row],
    rows: Sequence[Row],
    stored: Sequence[Stored],
    deadline: float,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one = _Judge(kernel, base, of, rows, stored)
    since: list[float] = []
    told = [time.monotonic(), 0.0]

    def stop(phase: int, lost: bool) -> float | None:
        while pipe.poll():
            heard = pipe.recv()
            since.append(0.0 if heard is None else heard + _AFTER)
        done = sum(work.done for work in one.works)
        if (lost or (phase == _LAST and one.bugs)) and not since:  # a bug hides no loss that the first slices find
            since.append(time.monotonic() + _AFTER)
        if time.monotonic() > told[0] + 0.5 or done > told[1]:
            told[:] = time.monotonic(), done
            pipe.send_bytes(_packed((False, one.outcomes)))
        if not since:
            return None
        return 0.0 if phase == _LAST else min(since)

    one.run(deadline, stop)
    pipe.send_bytes(_packed((True, one.outcomes)))
