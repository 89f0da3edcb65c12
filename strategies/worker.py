"""One process of a night: it takes the job that has had least, works on it for a slice of time, and takes the next.

What it has done stands in its own tally in the store, and is written after each slice: a worker that is killed loses
its slice. May use all of `strategies` but the command.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import parent_process
from socket import gethostname
from types import FrameType
from typing import Any

from mm_sim.loss import Step
from mm_sim.sched import KernelBug
from mm_sim.system import Loss
from strategies.corpus import BOUND, Corpus, Store, rank, reaches_situation, reaches_state, state_name
from strategies.deepen import CLOSED, OPEN, TAKEN, deepen
from strategies.finds import Finds
from strategies.plan import SEARCHES, Job, Night, judged_as, kernel_of, seed_of, walked
from strategies.tally import TALLIES, Tally, count, tallies
from strategies.verdict_text import REQUIRED
from strategies.walk import Walk

#: Seconds before the end in which no search is taken up any more, if there is something to walk; a search has to load
#: and save its checkpoint, so its slices are longer.
_LAST, _LONGER = 10.0, 5
#: Seconds that a slice may take longer than it was given, for certificates, and seconds after the end of the night.
_LONGEST, _LATE = 600.0, 30.0
#: Share of a slice that goes into shortening the runs that are kept.
_KEEPING = 0.1


class TooLong(BaseException):
    """What was begun does not end: a series may loop for ever. An Exception would be one of its code (Oops)."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong in the midst of whatever goes on after so many seconds. Only for the main thread."""

    def too_long(number: int, frame: FrameType | None) -> None:
        calls = [call.name for call in traceback.extract_stack(frame)]
        where = " > ".join(dict.fromkeys(calls[calls.index("slice") + 1 :]))
        raise TooLong(f"not done after {seconds:.0f} s, but in {where}")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
        self.finds = Finds(night, self.store, self.tally, self.stop)
        self.turns: Counter[Job] = Counter()
        #: Searches of which nothing is left, and those that somebody else on this machine was at.
        self.closed: set[Job] = set()
        self.taken: set[Job] = set()

    def work(self) -> Outcome:
        """Take one slice after the other until the night ends, or the process that began it is no more."""
        parent = parent_process()
        try:
            while (left := self.stop - time.monotonic()) > 0.2:
                if self.closed.issuperset(self.night.jobs()) or (parent is not None and not parent.is_alive()):
                    break
                job = self.next_job(left)
                if job is None:
                    time.sleep(0.2)
                    self.taken.clear()
                else:
                    longest = self.night.slice * (_LONGER if job.scope in SEARCHES else 1)
                    self.slice(job, min(longest, left))
        finally:
            self.tally.finished = True
            self.write()
            self.store.close()
        return Outcome(asdict(self.tally), self.finds.told, self.finds.unsaved, self.store.troubles())

    def next_job(self, left: float) -> Job | None:
        """The job that has had the least time, where time counts double for what has reached every situation."""
        spent: Counter[str] = Counter()
        reached: dict[str, set[str]] = {}
        stored = [tally for of in tallies(self.store).values() for tally in of if tally.worker != self.tally.worker]
        for tally in (*stored, self.tally):
            for name, done in tally.jobs.items():
                spent[name] += done["seconds"]
                reached.setdefault(name, set()).update(done["situations"])
        jobs = [job for job in self.night.jobs() if job not in self.closed | self.taken]
        if left < _LAST:
            jobs = [job for job in jobs if job.scope not in SEARCHES] or jobs

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
        try:
            with _at_most(min(seconds + _LONGEST, self.stop - start + _LATE)):
                if job.scope in SEARCHES:
                    self.search(job, start + seconds)
                else:
                    self.walk(job, start + seconds)
        except (Exception, TooLong) as error:  # a bug of the tool must not end the night; it makes it red
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.tally.bad(
                job, f"{type(error).__name__} in {where.name}() ({where.filename}:{where.lineno}): {error}"
            )
            self.closed.add(job)
        done["seconds"] += time.monotonic() - start - seconds
        self.tally.slices += 1
        self.write()

    def write(self) -> None:
        before = self.written
        self.written = self.store.put(TALLIES, asdict(self.tally))
        if before is not None and before != self.written:
            self.store.delete(TALLIES, before)

    def search(self, job: Job, end: float) -> None:
        state = deepen(job, self.night, self.store, self.tally, self.finds, end)
        if state == CLOSED:
            self.closed.add(job)
        elif state == TAKEN:
            self.taken.add(job)
        else:
            assert state == OPEN
            self.taken.clear()

    def walk(self, job: Job, end: float) -> None:
        """Walk from the runs that are kept, and keep those that come to something new."""
        kernel, scope = kernel_of(job.series), walked(job.scope)
        assert scope is not None
        done = self.tally.of(job)
        corpus = Corpus(self.store, kernel, job.series, job.arch, job.scope, scope)
        self.turns[job] += 1
        walk = Walk(kernel, job.arch, scope, seed_of(self.night.seed, job, f"{self.name} {self.turns[job]}"))
        start = time.monotonic()
        full = self.adopt(job, corpus, walk)
        known = set(walk.marks)
        fresh: dict[str, list[Step]] = {}
        last = end - _KEEPING * (end - start)
        while time.monotonic() < last:
            try:
                failed = walk.run() is not None
            except KernelBug:
                failed = True
            if len(walk.marks) > len(known):
                for name in walk.marks.keys() - known:
                    known.add(name)
                    fresh[name] = list(walk.trace)
            if failed:
                self.finds.failed(job, scope, walk.trace)
        for name, steps in fresh.items():
            corpus.keep(steps, name, reaches_situation(name))
        states = sorted((rank(state_name(abstract)), abstract, path) for abstract, path in walk.first)
        for first, abstract, path in states[:BOUND]:
            if time.monotonic() > end or (full is not None and first > full):
                break
            corpus.keep(path, state_name(abstract), reaches_state(abstract))
        new, done["states"] = corpus.add_states(walk.seen)
        done["new"] += new
        done["runs"] += walk.runs
        done["calls"] += walk.calls
        done["steps"] += walk.steps
        for name, times in walk.marks.items():
            count(done["situations"], name, times)

    def adopt(self, job: Job, corpus: Corpus, walk: Walk) -> tuple[bool, int, int] | None:
        """Have a walk set out from the runs that are kept; those that no longer come to what they did are dropped.

        Returns the rank of the last that is kept if no more are; a new one must come before it.
        """
        runs, dropped = corpus.load()
        stale = []
        for entry, steps in runs:
            try:
                if not walk.adopt(steps):
                    stale.append(entry)
            except (Loss, KernelBug):
                self.finds.failed(job, walk.system.scope, walk.trace)
        seen = {*walk.marks, *map(state_name, walk.seen)}
        stale += [entry for entry, _ in runs if entry not in stale and entry.reached not in seen]
        for entry in stale:
            corpus.drop(entry)
        dropped += len(stale)
        self.tally.say(f"{job}: kept runs that the model no longer knows were dropped", dropped)
        walk.first.clear()
        return rank(runs[-1][0].reached) if len(runs) >= BOUND else None
