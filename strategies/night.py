"""Hours of walking and searching by many workers, that share what they find through a `Store` and nothing else.

A worker takes the job that has had least, works on it for a slice of time, stores what it found, and takes the next,
until the night ends. What a worker has done so far stands in its own tally in the store: from all tallies come the
choice of the next job, the line of progress, the verdicts and the coverage over the nights. A worker that is killed
loses its slice. May use all of `strategies` but the command.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from socket import gethostname
from typing import Any, NamedTuple

from mm_sim import series as all_series
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Report, Step, explain
from mm_sim.names import DIRECT, EXT2, KSWAPD, TMPFS
from mm_sim.sched import KernelBug
from mm_sim.series import SeriesError
from mm_sim.system import SMALL, Loss, Scope, System
from strategies import reproducer
from strategies.corpus import (
    DEFAULT,
    Corpus,
    Folder,
    Store,
    key,
    reaches_situation,
    reaches_state,
    state_name,
)
from strategies.explore import SCOPES, CheckpointError, Search
from strategies.minimise import Certificate, certify, minimise, shorter
from strategies.verdict import REQUIRED, expected_of, scope_as_json
from strategies.walk import Walk, danger

BASE = "linux_2_6_26"

#: The machines that are walked, smallest first. Both reclaimers may always be under way.
WALKED = {
    "small": SMALL,
    "processes": Scope(processes=3, pages=1, frames=4, slots=3),
    "vmas": Scope(processes=2, pages=2, frames=6, slots=4),
    "large": Scope(processes=3, pages=3, frames=9, slots=6),
    "tmpfs": SCOPES["tmpfs"].scope,
    "tmpfs vmas": Scope(pages=2, frames=6, slots=3, files=(TMPFS,)),
    "file": SCOPES["file"].scope,
    "file and swap": Scope(frames=4, files=(EXT2,)),
    "threads": SCOPES["threads"].scope,
    "threads and swap": Scope(frames=4, files=(EXT2,), also=("threads",)),
}

_TWO = (("reclaimer", (KSWAPD, DIRECT)), ("order", (4,)))
#: What is searched, one after the other: from what every test run proves to what takes nights.
SEARCHED = {
    **{name: SCOPES[name] for name in REQUIRED},
    "two reclaimers": replace(SCOPES["anon"], only=_TWO, steps=8),
    "three processes": replace(SCOPES["anon"], scope=WALKED["processes"], steps=8),
    "two vmas": replace(SCOPES["anon"], scope=WALKED["vmas"], rules=(*(SCOPES["lock"].rules or ()),), steps=7),
    "two stops": replace(SCOPES["anon"], stops=2),
    "lock": SCOPES["lock"],
    "race": SCOPES["race"],
}
SEARCH = "search"


def judged(scope: Scope) -> str:
    """By which scope of REQUIRED a machine is judged: the last whose files and threads it has."""
    return [
        name
        for name in REQUIRED
        if {*SCOPES[name].scope.files, *SCOPES[name].scope.also} <= {*scope.files, *scope.also}
    ][-1]


def judged_as(name: str) -> str:
    """By which scope of REQUIRED a job is judged; a search by `anon`, with which it begins."""
    return judged(WALKED.get(name, SMALL))


#: States that a search may keep, about 250 bytes each and as much again while they wait.
STATES = 1_000_000
#: Seconds of the longest slice, and seconds before the end in which no search is taken up any more.
_SLICE, _LAST = 60.0, 10.0
#: Share of a slice that goes into shortening the runs that are kept.
_KEEPING = 0.1
#: Seconds for the certificate of a new kind of loss.
_CERTIFY = 120.0
#: Seconds after its end in which a night may still be written to; nights whose tallies are kept.
_OVER, _NIGHTS = 3600, 200
#: Seconds after its end for which the verdicts wait for workers that are late.
_GRACE = 40.0


class Job(NamedTuple):
    """What a slice of time goes to. `scope` is a name of WALKED, or SEARCH."""

    series: str
    arch: str
    scope: str

    def __str__(self) -> str:
        return f"{Path(self.series).stem} {self.arch} {self.scope}"


@dataclass(frozen=True)
class Night:
    """What all workers of a night have in common, as plain data. `begin` and `end` are in seconds since 1970."""

    name: str
    seed: int
    begin: float
    end: float
    series: tuple[str, ...]
    arches: tuple[str, ...]
    scopes: tuple[str, ...]
    databases: tuple[str, ...]
    folder: str
    checkpoints: str
    workers: int

    def jobs(self) -> list[Job]:
        return [Job(*job) for job in product(self.series, self.arches, self.scopes)]

    @property
    def slice(self) -> float:
        """Short enough that every job has its turn."""
        return min(_SLICE, max(0.5, (self.end - self.begin) * self.workers / (2 * len(self.jobs()))))


def seed_of_tonight() -> int:
    """Date, time and machine: no night repeats another, here or elsewhere."""
    return int(f"{datetime.now(UTC):%Y%m%d%H%M%S}") * 10_000 + zlib.crc32(gethostname().encode()) % 10_000


def seed_of(seed: int, job: Job, shard: str) -> int:
    return zlib.crc32(f"{seed} {job} {shard}".encode())


@dataclass
class Tally:
    """What one worker has done in one night. It only grows, so of two versions the one with more slices counts."""

    night: str
    worker: str
    end: float
    slices: int = 0
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What happened, each a line and how often.
    said: dict[str, int] = field(default_factory=dict)
    #: Kinds first found this night, by name of the stored test.
    new: list[str] = field(default_factory=list)
    finished: bool = False
    merged: bool = False

    def of(self, job: Job) -> dict[str, Any]:
        return self.jobs.setdefault(str(job), _nothing())

    def say(self, line: str, times: int = 1) -> None:
        if times:
            self.said[line] = self.said.get(line, 0) + times


def _nothing() -> dict[str, Any]:
    """What is counted for a job: `new` of the `states` no night had reached before; `bad` is not as expected."""
    counts: dict[str, Any] = {"seconds": 0.0, "runs": 0, "steps": 0, "new": 0, "states": 0}
    return {**counts, "situations": {}, "losses": {}, "bad": {}}


def _add(into: dict[str, Any], other: dict[str, Any]) -> None:
    """Add what one worker did on a job to what another did."""
    for name in ("seconds", "runs", "steps", "new"):
        into[name] += other[name]
    into["states"] = max(into["states"], other["states"])
    for name in ("situations", "losses", "bad"):
        for what, times in other[name].items():
            into[name][what] = into[name].get(what, 0) + times


TALLIES = key("tallies")
LOSSES = key("losses")
BUGS = key("bugs")
PROOFS = key("proofs")


def tallies(store: Store) -> dict[str, list[Tally]]:
    """The tallies of each night, one for each worker."""
    best: dict[tuple[str, str], Tally] = {}
    for entry in store.all(TALLIES):
        try:
            tally = Tally(**entry.data)
            if not isinstance(tally.night, str) or not isinstance(tally.worker, str):
                raise TypeError
            for done in tally.jobs.values():
                _add(_nothing(), done)
        except (TypeError, KeyError, AttributeError):
            store.garbage += 1
            continue
        known = best.get((tally.night, tally.worker))
        if known is None or (known.slices, known.finished) < (tally.slices, tally.finished):
            best[tally.night, tally.worker] = tally
    nights: dict[str, list[Tally]] = {}
    for tally in best.values():
        nights.setdefault(tally.night, []).append(tally)
    return {night: [t for t in of if t.merged] or of for night, of in sorted(nights.items())}


def total(of: Iterable[Tally], night: str = "") -> Tally:
    """Several tallies as one."""
    result = Tally(night, "all", 0.0, merged=True)
    for tally in of:
        result.end = max(result.end, tally.end)
        result.slices += tally.slices
        result.new += [name for name in tally.new if name not in result.new]
        for line, times in tally.said.items():
            result.say(line, times)
        for name, done in tally.jobs.items():
            _add(result.of(Job(*name.split(" ", 2))), done)
    return result


def compact(store: Store, now: float) -> None:
    """Make the tallies of each night that is over one, and forget all but the last nights."""
    past = {night: of for night, of in tallies(store).items() if max(t.end for t in of) + _OVER < now}
    kept = {}
    for night, of in list(past.items())[-_NIGHTS:]:
        kept[night] = store.put(TALLIES, asdict(total(sorted(of, key=lambda t: t.worker), night)))
    for entry in store.all(TALLIES):
        if entry.data.get("night") in past and entry.value not in kept.values():
            store.delete(TALLIES, entry.value)


def proofs(store: Store, source: str, job: Job) -> dict[str, dict[str, Any]]:
    """What is known of the scopes searched for a series, by name of the scope; only of this version of the model."""
    name = Path(job.series).stem
    return {
        str(entry.data.get("name")): entry.data
        for entry in store.all(PROOFS)
        if (entry.data.get("series"), entry.data.get("arch"), entry.data.get("source")) == (name, job.arch, source)
        and entry.data.get("scope") == str(SEARCHED.get(str(entry.data.get("name"))))
    }


def source_of(kernel: type[Kernel], arch: str) -> str:
    """A digest of all that a proof rests on."""
    return str(Search(kernel, arch, SCOPES["anon"]).header()["source"])


@dataclass
class Outcome:
    """What a worker hands back beside what it stored: losses to be printed, tests that could not be written."""

    tally: dict[str, Any]
    told: list[str]
    unsaved: list[str]
    troubles: list[str]


class Worker:
    """One process of a night."""

    def __init__(self, night: Night, name: str, store: Store | None = None) -> None:
        self.night, self.name = night, name
        self.store = store or Store(night.databases)
        self.tally = Tally(night.name, f"{gethostname()} {name} {os.getpid()}", night.end)
        self.written: bytes | None = None
        self.stop = time.monotonic() + night.end - time.time()
        #: Of each stored test the series, architecture and function that forgot, and the rules used.
        self.kinds: dict[str, _Kind | None] = {}
        self.told: list[str] = []
        self.unsaved: list[str] = []
        self.closed: set[Job] = set()
        self.sources: dict[Job, str] = {}
        self.turns: Counter[Job] = Counter()
        #: A search that somebody else on this machine is at.
        self.taken: Job | None = None

    def work(self) -> Outcome:
        """Take one slice after the other until the night ends."""
        try:
            while (left := self.stop - time.monotonic()) > 0.2:
                job = self.next_job(left)
                if job is None:
                    if self.closed.issuperset(self.night.jobs()):
                        break
                    time.sleep(0.2)
                    self.taken = None
                else:
                    self.slice(job, min(self.night.slice * (5 if job.scope == SEARCH else 1), left))
        finally:
            self.tally.finished = True
            self.write()
            self.store.close()
        return Outcome(asdict(self.tally), self.told, self.unsaved, self.store.troubles())

    def next_job(self, left: float) -> Job | None:
        """The job that has had the least time, where time counts double for what has reached every situation."""
        spent: Counter[str] = Counter()
        reached: dict[str, set[str]] = {}
        stored = [tally for of in tallies(self.store).values() for tally in of if tally.worker != self.tally.worker]
        for tally in (*stored, self.tally):
            for name, done in tally.jobs.items():
                spent[name] += done["seconds"]
                reached.setdefault(name, set()).update(done["situations"])
        jobs = [job for job in self.night.jobs() if job not in self.closed and job != self.taken]
        if left < _LAST:
            jobs = [job for job in jobs if job.scope != SEARCH]

        def had(job: Job) -> tuple[float, int]:
            required = REQUIRED[judged_as(job.scope)]
            share = len(reached.get(str(job), set()).intersection(required)) / len(required)
            return spent[str(job)] * (1 + share), seed_of(self.night.seed, job, self.name)

        return min(jobs, key=had, default=None)

    def slice(self, job: Job, seconds: float) -> None:
        """Work on a job. Its time is written down beforehand, so that another worker takes another job."""
        start = time.monotonic()
        done = self.tally.of(job)
        self.tally.slices += 1
        done["seconds"] += seconds
        self.write()
        kernel = all_series.load(job.series)
        try:
            (self.search if job.scope == SEARCH else self.walk)(kernel, job, start + seconds)
        except Exception as error:  # a bug of the tool must not end the night; it makes it red
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.bad(job, f"{type(error).__name__} in {where.name}() ({where.filename}:{where.lineno}): {error}")
            self.closed.add(job)
        done["seconds"] += time.monotonic() - start - seconds
        self.tally.slices += 1
        self.write()

    def write(self) -> None:
        before = self.written
        self.written = self.store.put(TALLIES, asdict(self.tally))
        if before is not None and before != self.written:
            self.store.delete(TALLIES, before)

    # walking

    def walk(self, kernel: type[Kernel], job: Job, end: float) -> None:
        scope = WALKED[job.scope]
        done = self.tally.of(job)
        corpus = Corpus(self.store, kernel, job.series, job.arch, job.scope, scope)
        self.turns[job] += 1
        seed = seed_of(self.night.seed, job, f"{self.name} {self.turns[job]}")
        walk = Walk(kernel, job.arch, scope, seed)
        start = time.monotonic()
        runs, dropped = corpus.load()
        for entry, steps in runs:
            try:
                if not walk.adopt(steps):
                    dropped += 1
                    corpus.drop(entry)
            except (Loss, KernelBug) as error:
                self.failed(kernel, job, scope, list(walk.trace), error)
        self.tally.say(f"{job}: kept runs that the model no longer knows were dropped", dropped)
        walk.first.clear()
        known = dict(walk.marks)
        fresh: dict[str, list[Step]] = {}
        last = end - _KEEPING * (end - start)
        while time.monotonic() < last:
            try:
                lost: Loss | KernelBug | None = walk.run()
            except KernelBug as error:
                lost = error
            if len(walk.marks) > len(known):
                for name in walk.marks.keys() - known.keys():
                    known[name] = 0
                    fresh[name] = list(walk.trace)
            if lost is not None:
                self.failed(kernel, job, scope, walk.trace, lost)
        for name, steps in fresh.items():
            corpus.keep(steps, name, reaches_situation(name))
        for abstract, path in sorted(walk.first, key=lambda one: -danger(one[0])):
            if time.monotonic() > end:
                break
            corpus.keep(path, state_name(abstract), reaches_state(abstract))
        new, done["states"] = corpus.add_states(walk.seen)
        done["new"] += new
        done["runs"] += walk.runs
        done["steps"] += walk.steps
        for name, times in walk.marks.items():
            done["situations"][name] = done["situations"].get(name, 0) + times

    def failed(
        self, kernel: type[Kernel], job: Job, scope: Scope, steps: list[Step], error: Loss | KernelBug
    ) -> None:
        """Count a loss or a bug; of each kind the first is stored. Of one statement not every one is minimised."""
        losses = self.tally.of(job)["losses"]
        if isinstance(error, KernelBug):
            where = _raised_in(error)
        else:
            report = explain(kernel, job.arch, scope, steps)
            if report is None:  # the run was given a state that has changed since
                return
            where = report.forgotten_by.function
        losses[where] = times = losses.get(where, 0) + 1
        if times & (times - 1):
            return
        if isinstance(error, KernelBug):
            self.bug(kernel, job, scope, steps, where, error)
        else:
            self.loss(kernel, job, scope, steps, where)

    def bug(
        self, kernel: type[Kernel], job: Job, scope: Scope, steps: list[Step], where: str, error: KernelBug
    ) -> None:
        """Broken bookkeeping is a bug of the series or the model, or 2.6.26's own; its run is kept as steps."""
        base = all_series.load(BASE)
        own = job.series != BASE and not _breaks(base, job.arch, scope, steps, where)
        series = Path(job.series).stem if own else BASE
        nights = [
            entry.data.get("night")
            for entry in self.store.all(BUGS)
            if (entry.data.get("series"), entry.data.get("where")) == (series, where)
        ]
        if not nights:
            short = shorten_bug(kernel, job.arch, scope, steps, where)
            data = {
                "series": series,
                "where": where,
                "arch": job.arch,
                "scope": scope_as_json(scope),
                "says": str(error),
            }
            self.store.put(BUGS, {**data, "steps": [reproducer.call(s) for s in short], "night": self.night.name})
        line = f"{series} breaks the kernel's bookkeeping in {where}()"
        if own or all(night == self.night.name for night in nights):
            self.bad(job, line)
        else:
            self.tally.say(f"{line}, as is known")

    def bad(self, job: Job, line: str) -> None:
        bad = self.tally.of(job)["bad"]
        bad[line] = bad.get(line, 0) + 1

    def loss(self, kernel: type[Kernel], job: Job, scope: Scope, steps: list[Step], where: str) -> None:
        """Minimise a loss, in the smallest machine that has it; certify and store it if its kind is new.

        What 2.6.26 loses in the same run is no fault of the series, unless it claims to mend what 2.6.26 loses there.
        """
        series = job.series
        of = judged(scope)
        for small in WALKED.values():
            if judged(small) == of and _forgets(kernel, job.arch, small, steps) == where:
                scope = small
                break
        best, report = minimise(kernel, job.arch, scope, steps)
        base = all_series.load(BASE)
        if series != BASE and _forgets(base, job.arch, scope, best) is not None:
            kernel, series = base, BASE
        known = self.known(series, job.arch, best, report)
        if known is None:
            certificate = self.certified(kernel, job.arch, scope, best, report)
            best, report = certificate.steps, certificate.report
            known = self.known(series, job.arch, best, report)
        if known is None:
            known = self.keep(series, job.arch, scope, certificate)
        self.tally.say(f"{known}: met")
        if expected_of(base, job.arch, of) == "loses":
            kernel, series = all_series.load(job.series), job.series
        if expected_of(kernel, job.arch, of) == "safe" and (series != BASE or known in self.tally.new):
            self.bad(job, f"{Path(series).stem} is expected to be safe, and loses: {known}")

    def known(self, series: str, arch: str, steps: list[Step], report: Report) -> str | None:
        """The test of a loss of the kind of this one: forgotten by the same function, with no other rules."""
        for path in sorted(Path(self.night.folder).glob(f"test_{Path(series).stem}_*.py")):
            if path.name not in self.kinds:
                self.kinds[path.name] = _kind_in(path)
        rules = {step.rule.name for step in steps}
        for name, kind in sorted(self.kinds.items()):
            if kind is not None and kind[0] == (Path(series).stem, arch, report.forgotten_by.function):
                if kind[1] <= rules:
                    return name
        return None

    def certified(
        self, kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], report: Report
    ) -> Certificate:
        longest = min(_CERTIFY, (self.night.end - self.night.begin) / 20)
        deadline = min(time.monotonic() + longest, self.stop)
        try:
            return certify(kernel, arch, scope, steps, deadline=deadline)
        except KernelBug:  # met in the search for a shorter run
            return Certificate(steps, report, False, 0, shorter(scope, steps), [])

    def keep(self, series: str, arch: str, scope: Scope, found: Certificate) -> str:
        """Store a loss of a new kind, and write its test; where that fails it is at least printed."""
        name, function = Path(series).stem, found.report.forgotten_by.function
        kind = reproducer.kind(series, arch, found.steps, found.report)
        test = f"test_{name}_{kind}.py"
        if not any(entry.data.get("test") == test for entry in self.store.all(LOSSES)):
            self.tally.new.append(test)
            data = {
                "series": name,
                "arch": arch,
                "scope": scope_as_json(scope),
                "test": test,
                "forgotten by": function,
            }
            self.store.put(LOSSES, {**data, "steps": [reproducer.call(step) for step in found.steps]})
        try:
            reproducer.store(series, arch, scope, found, Path(self.night.folder))
        except OSError as error:
            self.unsaved.append(f"{test} could not be written: {error.strerror}")
        self.kinds[test] = ((name, arch, function), {step.rule.name for step in found.steps})
        self.told.append(f"{test}\n\n{reproducer.told(all_series.load(series), found, arch)}")
        return test

    # searching

    def search(self, kernel: type[Kernel], job: Job, end: float) -> None:
        """Go on with the first scope that is neither proven nor given up, from where the last slice stopped."""
        if job not in self.sources:
            self.sources[job] = source_of(kernel, job.arch)
        source = self.sources[job]
        past = proofs(self.store, source, job)
        stand = tonight(self.night, self.store)

        def of(name: str) -> Job:
            return job._replace(scope=name) if name in WALKED else job

        def open_(name: str) -> bool:
            """A loss that is expected is looked for once a night, where the walk seldom meets it."""
            loses = expected_of(kernel, job.arch, judged(SEARCHED[name].scope)) == "loses"
            return name not in past and not (loses and (of(name) is job or stand.of(of(name))["losses"]))

        name = next(filter(open_, SEARCHED), None)
        if name is None:
            self.closed.add(job)
            return
        bounds = SEARCHED[name]
        folder = Path(self.night.checkpoints)
        checkpoint = folder / f"{Path(job.series).stem}-{job.arch}-{name.replace(' ', '-')}.jsonl"
        with _only_one(checkpoint) as mine:
            self.taken = None if mine else job
            if not mine:
                return
            searching = Search(kernel, job.arch, bounds)
            try:
                if checkpoint.exists():
                    searching.load(checkpoint)
            except CheckpointError:
                self.tally.say(f"{job}: a checkpoint that does not fit was dropped")
                with suppress(OSError):
                    checkpoint.unlink()
                searching = Search(kernel, job.arch, bounds)
            try:
                result = searching.run(end, STATES, checkpoint=checkpoint)
            except CheckpointError as error:
                self.tally.say(str(error))
                result = searching.result
            except KernelBug as error:
                self.tally.say(f"{job}: {error}")
                self.closed.add(job)
                return
            if result.ended == "loss":
                self.failed(kernel, of(name), bounds.scope, *_lost(result.losses[-1]))
                if of(name) is not job and expected_of(kernel, job.arch, name) == "loses":
                    return
            if result.ended in ("complete", "loss", "out of memory"):
                record: dict[str, Any] = {
                    "series": Path(job.series).stem,
                    "arch": job.arch,
                    "name": name,
                    "scope": str(bounds),
                }
                record |= {"source": source, "ended": result.ended, "states": result.states, "depth": result.depth}
                self.store.put(PROOFS, record)
                with suppress(OSError):
                    checkpoint.unlink(missing_ok=True)


_Kind = tuple[tuple[str, str, str], set[str]]


def _kind_in(path: Path) -> _Kind | None:
    """The kind of a stored test; None if what it stores is no loss any more."""
    try:
        stored, steps = reproducer.read(path)
        replay = reproducer.Replay(all_series.load(stored.series))
        steps(replay)
        function = _forgets(replay.kernel, stored.arch, stored.scope, replay.steps)
    except (reproducer.BadReproducer, reproducer.StaleReproducer, SeriesError, OSError):
        return None
    if function is None:
        return None
    return (Path(stored.series).stem, stored.arch, function), {step.rule.name for step in replay.steps}


def _lost(found: tuple[list[Step], Report]) -> tuple[list[Step], Loss]:
    return found[0], found[1].loss


@contextmanager
def _only_one(checkpoint: Path) -> Iterator[bool]:
    """Whether nobody else on this machine works on a checkpoint; the lock goes with the process that holds it."""
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with checkpoint.with_suffix(".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
    except OSError:
        yield True


def _forgets(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> str | None:
    """The function that forgets a page in this run; None if nothing is lost, or a step cannot happen."""
    try:
        report = explain(kernel, arch, scope, steps)
    except (NotPossible, KernelBug, LookupError, AssertionError):
        return None
    return None if report is None else report.forgotten_by.function


def _raised_in(error: KernelBug) -> str:
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_name


def _breaks(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], where: str) -> bool:
    system = System(kernel, arch, scope)
    try:
        for step in steps:
            system.step(*step)
    except KernelBug as error:
        return _raised_in(error) == where
    except (Loss, LookupError):
        pass
    return False


def shorten_bug(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], where: str) -> list[Step]:
    """Fewer of the steps that still break the bookkeeping in the same function."""
    best = list(steps)
    size = len(best) // 2
    while size:
        start = 0
        while start < len(best):
            shorter_ = best[:start] + best[start + size :]
            if _breaks(kernel, arch, scope, shorter_, where):
                best = shorter_
            else:
                start += size
        size //= 2
    return best


# the whole night


def settled(night: Night, outcomes: Iterable[Outcome]) -> Tally:
    """What all workers have done, when those that are alive have come to their end; waits for them a while."""
    store = Store(night.databases)
    while True:
        late = [t.worker for t in tallies(store).get(night.name, []) if not t.finished and _alive(t.worker)]
        if not late or time.time() > night.end + _GRACE:
            return tonight(night, store, outcomes)
        time.sleep(0.2)


def _alive(worker: str) -> bool:
    """Whether a worker of this machine still runs; of another machine nobody waits for it."""
    host, _, pid = worker.split(" ")
    try:
        os.kill(int(pid), 0)
    except OSError:
        return False
    return host == gethostname()


def tonight(night: Night, store: Store, outcomes: Iterable[Outcome] = ()) -> Tally:
    """What all workers of a night have done; `outcomes` has what may not have come to the store."""
    of = {tally.worker: tally for tally in tallies(store).get(night.name, [])}
    of.update((str(outcome.tally["worker"]), Tally(**outcome.tally)) for outcome in outcomes)
    return total((of[worker] for worker in sorted(of)), night.name)


@dataclass(frozen=True, slots=True)
class NightVerdict:
    """What a night says of a series on an architecture."""

    series: str
    arch: str
    scope: str
    expected: str
    done: dict[str, Any]

    def unreached(self) -> list[str]:
        return [situation for situation in REQUIRED[self.scope] if not self.done["situations"].get(situation)]

    def surprise(self) -> str | None:
        """Why the night is red; None if all is as expected."""
        if self.done["bad"]:
            return "; ".join(self.done["bad"])
        if self.expected == "loses" and not self.done["losses"]:
            return "it is expected to lose"
        if self.expected == "safe" and self.unreached():
            return f"never reached: {', '.join(self.unreached())}"
        return None

    def __str__(self) -> str:
        done = self.done
        losses = ", ".join(f"{times} in {where}()" for where, times in sorted(done["losses"].items()))
        of = f", {self.scope}" if self.scope != "anon" else ""
        required = len(REQUIRED[self.scope])
        new = f"{done['new']} of them new" if done["new"] else "nothing new"
        return (
            f"{Path(self.series).stem} on {self.arch}{of}: losses: {losses or 'none'}; {done['runs']} runs, "
            f"{done['steps']} steps in {done['seconds']:.0f} s; {done['states']} abstract states, {new}; "
            f"{required - len(self.unreached())} of {required} situations"
        )


def scopes_of(night: Night, all_: Tally) -> list[str]:
    """The scopes of REQUIRED by which a night is judged: those it walked, and where a search met what is bad."""
    bad = [Job(*name.split(" ", 2)).scope for name, done in all_.jobs.items() if done["bad"]]
    judged_by = {judged_as(name) for name in (*night.scopes, *bad)}
    return [scope for scope in REQUIRED if scope in judged_by]


def verdict_of(night: Night, all_: Tally, series: str, arch: str, judged_by: str = "anon") -> NightVerdict:
    done = _nothing()
    states = 0
    for scope in (scope for scope in (*WALKED, SEARCH) if judged_as(scope) == judged_by):
        of = all_.of(Job(series, arch, scope))
        _add(done, of)
        states += of["states"]
    expected = expected_of(all_series.load(series), arch, judged_by)
    return NightVerdict(series, arch, judged_by, expected, {**done, "states": states})


def progress(night: Night, all_: Tally, before: tuple[float, int]) -> tuple[str, tuple[float, int]]:
    """One line on where the night stands, and what the next call takes as `before`."""
    now = time.time()
    done = _nothing()
    states = 0
    for of in all_.jobs.values():
        _add(done, of)
        states += of["new"]
    rate = (done["steps"] - before[1]) / max(now - before[0], 1e-9)
    unreached = {
        situation
        for series, arch, scope in product(night.series, night.arches, scopes_of(night, all_))
        for situation in verdict_of(night, all_, series, arch, scope).unreached()
    }
    losses = ", ".join(f"{where} {times}" for where, times in sorted(done["losses"].items()))
    line = (
        f"{_clock(now - night.begin)} gone, {_clock(night.end - now)} left: {max(rate, 0):.0f} steps/s, "
        f"{done['runs']} runs, {states} new abstract states, {len(unreached)} situations unreached; "
        f"losses: {losses or 'none'}; new kinds: {len(all_.new)}"
    )
    return line, (now, done["steps"])


def _clock(seconds: float) -> str:
    left = max(0, int(seconds))
    return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"


class Progress(threading.Thread):
    """Says where the night stands: every ten seconds on a terminal, every minute in a log."""

    def __init__(self, night: Night, say: Callable[[str], None], terminal: bool) -> None:
        super().__init__(daemon=True)
        self.night, self.say = night, say
        self.every = 10.0 if terminal else 60.0
        self.over = threading.Event()

    def run(self) -> None:
        store = Store(self.night.databases)
        before = (self.night.begin, 0)
        while not self.over.wait(self.every) and time.time() < self.night.end:
            line, before = progress(self.night, tonight(self.night, store), before)
            self.say(line)

    def __enter__(self) -> Progress:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()


def begin(night: Night) -> list[str]:
    """What is done once before the workers start; what is to be said before."""
    store = Store(night.databases)
    for part in store.parts:
        if isinstance(part.database, Folder):
            part.database.drafts()
    compact(store, night.begin)
    return [
        f"night {night.seed}: {len(night.jobs())} jobs, {night.workers} workers, {night.slice:.0f} s each time, "
        f"{_clock(night.end - night.begin)} in all; `--seed {night.seed}` repeats its walks",
        *store.troubles(),
    ]


def report(night: Night, store: Store, outcomes: list[Outcome]) -> tuple[list[str], bool]:
    """The lines that say what the night found, and whether all is as expected."""
    all_ = tonight(night, store, outcomes)
    lines = [story_ for outcome in outcomes for story_ in outcome.told]
    good = not any(outcome.unsaved for outcome in outcomes)
    for series, arch, scope in product(night.series, night.arches, scopes_of(night, all_)):
        verdict = verdict_of(night, all_, series, arch, scope)
        surprise = verdict.surprise()
        good = good and surprise is None
        lines += [str(verdict), *([f"    not as expected: {surprise}"] if surprise else [])]
    if not any(of["new"] for of in all_.jobs.values()) and not all_.new:
        lines.append("This night reached nothing new.")
    lines += [f"new kind of loss: {name}" for name in all_.new]
    lines += [f"{line} ({times} times)" for line, times in sorted(all_.said.items())]
    lines += [line for outcome in outcomes for line in outcome.unsaved]
    lines += sorted({line for outcome in outcomes for line in outcome.troubles} | set(store.troubles()))
    return lines, good


def _work(night: Night, name: str, to: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that has started it
    to.send(Worker(night, name).work())


def run(night: Night, say: Callable[[str], None], terminal: bool) -> tuple[list[str], bool]:
    """A night without pytest: its workers are processes, and one that dies is replaced."""
    for line in begin(night):
        say(line)
    context = get_context("spawn")
    outcomes: list[Outcome] = []
    died: list[str] = []
    working: dict[Connection, Any] = {}

    def start(name: str) -> None:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(night, name, send), name=name)
        process.start()
        send.close()
        working[receive] = process

    with Progress(night, say, terminal), suppress(KeyboardInterrupt):
        for number in range(night.workers):
            start(f"w{number}")
        while working:
            for ready in wait(list(working)):
                assert isinstance(ready, Connection)
                process = working.pop(ready)
                try:
                    outcomes.append(ready.recv())
                    process.join()
                except EOFError:
                    process.join()
                    died.append(
                        f"worker {process.name} died (exit status {process.exitcode}); what it stored is kept"
                    )
                    say(died[-1])
                    if night.end - time.time() > 1:
                        start(f"{process.name}+")
    for process in working.values():
        died.append(f"worker {process.name} was interrupted; what it stored is kept")
        process.terminate()
        process.join()
    lines, good = report(night, Store(night.databases), outcomes)
    return [*lines, *died], good and not died


def seconds(text: str) -> float:
    """A length of time such as 8h, 90m, 30s or 45. Raises ValueError."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    length = float(number) * unit
    if not 0 < length < 1e7:
        raise ValueError(text)
    return length


def plan(
    series: Sequence[str],
    budget: float,
    seed: int | None,
    workers: int,
    databases: Sequence[str] = (),
    arches: Sequence[str] = tuple(ARCHES),
    scopes: Sequence[str] = (*WALKED, SEARCH),
    folder: Path = reproducer.FOLDER,
) -> Night:
    """A night that begins now. The first database that is a directory also has the checkpoints of the searches."""
    now = time.time()
    databases = tuple(databases) or (DEFAULT,)
    here = next((one for one in databases if ":" not in one), DEFAULT)
    return Night(
        name=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f} {gethostname()}",
        seed=seed_of_tonight() if seed is None else seed,
        begin=now,
        end=now + budget,
        series=tuple(series),
        arches=tuple(arches),
        scopes=tuple(scopes),
        databases=databases,
        folder=str(folder),
        checkpoints=str(Path(here) / "checkpoints"),
        workers=workers,
    )


# over the nights


def coverage(store: Store) -> dict[str, dict[str, dict[str, Any]]]:
    """What was reached on each series by the end of each night, summed over architectures and scopes."""
    reached: dict[str, dict[str, dict[str, Any]]] = {}
    states: dict[str, int] = {}
    situations: dict[str, set[str]] = {}
    for night, of in tallies(store).items():
        for job, done in total(of).jobs.items():
            series = job.split(" ")[0]
            states[job] = max(states.get(job, 0), done["states"])
            situations.setdefault(series, set()).update(done["situations"])
            at = reached.setdefault(series, {}).setdefault(night, _nothing())
            _add(at, done)
        for series, nights in reached.items():
            if night in nights:
                nights[night]["states"] = sum(n for job, n in states.items() if job.split(" ")[0] == series)
                nights[night]["situations"] = dict.fromkeys(sorted(situations[series]), 1)
    return reached


def plot(store: Store, path: Path) -> None:
    """Draw the abstract states and situations reached on each series, night by night. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    reached = coverage(store)
    nights = sorted({night for of in reached.values() for night in of})
    for series, of in sorted(reached.items()):
        x = [nights.index(night) for night in of]
        above.plot(x, [at["states"] for at in of.values()], marker=".", label=series)
        below.plot(x, [len(at["situations"]) for at in of.values()], marker=".", label=series)
    above.set_ylabel("abstract states reached")
    below.set_ylabel("situations reached")
    below.set_xlabel("night")
    below.set_xticks(range(len(nights)), [night[:16] for night in nights], rotation=45)
    above.legend(fontsize="small")
    figure.savefig(path)


def merge(into: Store, other: Store, kernels: Iterable[tuple[str, type[Kernel]]]) -> int:
    """Take over what another database has on these series; how many entries were new."""
    keys = [TALLIES, LOSSES, BUGS, PROOFS]
    for series, kernel in kernels:
        for arch in ARCHES:
            for name, scope in WALKED.items():
                corpus = Corpus(into, kernel, series, arch, name, scope)
                keys += [corpus.key, corpus.states_key]
    new = 0
    for each in keys:
        here = {entry.value for entry in into.all(each)}
        for entry in other.all(each):
            if entry.value not in here:
                into.put(each, entry.data)
                new += 1
    return new
