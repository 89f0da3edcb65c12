"""A night as a whole: its workers are started, its progress is told, and in the end its verdicts.

Workers share what they find through a `Store` and nothing else, on one machine or many. May use all of `strategies`
but the command.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from socket import gethostname
from typing import Any

from strategies.corpus import Folder, Store
from strategies.plan import Job, Night, expected, judged_as, kernel_of, walked
from strategies.tally import Tally, add, compact, first_reached, nothing, tallies, tonight
from strategies.verdict_text import REQUIRED
from strategies.worker import Outcome, Worker

#: Seconds after its end for which a night waits for workers that are late.
_GRACE = 40.0
#: How often a worker that died is replaced: one that dies at once would do so all night.
_REPLACED = 100


def settled(night: Night, outcomes: Iterable[Outcome]) -> Tally:
    """What all workers have done, when those that are alive have come to their end; waits for them a while."""
    store = Store(night.databases)
    while True:
        late = [t.worker for t in tallies(store).get(night.name, []) if not t.finished and _alive(t.worker)]
        if not late or time.time() > night.end + _GRACE:
            return stand_of(night, store, outcomes)
        time.sleep(0.2)


def _alive(worker: str) -> bool:
    """Whether a worker of this machine still runs; of another machine nobody waits for it."""
    host, _, pid = worker.split(" ")
    if host != gethostname():
        return False
    try:
        os.kill(int(pid), 0)
        stat = Path("/proc", pid, "stat")  # whom nobody has waited for after its end has state Z
        return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
    except OSError:
        return False


def stand_of(night: Night, store: Store, outcomes: Iterable[Outcome] = ()) -> Tally:
    """What all workers of a night have done, also one that could store nothing but has come to its end."""
    return tonight(night, store, (Tally(**outcome.tally) for outcome in outcomes))


@dataclass(frozen=True, slots=True)
class NightVerdict:
    """What a night says of a series on an architecture; whether it was `walked`, or no more than searched."""

    series: str
    arch: str
    scope: str
    expected: str
    walked: bool
    done: dict[str, Any]

    def unreached(self) -> list[str]:
        return [situation for situation in REQUIRED[self.scope] if not self.done["situations"].get(situation)]

    def surprise(self) -> str | None:
        """Why the night is red; None if all is as expected."""
        if self.done["bad"]:
            return "; ".join(self.done["bad"])
        if not self.walked:
            return None
        if self.expected == "loses" and not self.done["losses"]:
            return "it is expected to lose"
        if self.expected == "safe" and self.unreached():
            return f"never reached: {', '.join(self.unreached())}"
        return None

    def __str__(self) -> str:
        done = self.done
        losses = ", ".join(f"{times} in {where}()" for where, times in sorted(done["losses"].items()))
        of = f", {self.scope}" if self.scope != "anon" else ""
        base = f"; {sum(done['of the base'].values())} more of its base" if done["of the base"] else ""
        said = f"{Path(self.series).stem} on {self.arch}{of}: losses: {losses or 'none'}{base}; "
        if not self.walked:
            return f"{said}searched for {done['seconds']:.0f} s"
        required = len(REQUIRED[self.scope])
        new = f"{done['new']} of them new" if done["new"] else "nothing new"
        return (
            f"{said}{done['runs']} runs, {done['calls']} rule calls, {done['steps']} of them could happen, "
            f"in {done['seconds']:.0f} s; "
            f"{done['states']} abstract states, {new}; {required - len(self.unreached())} of {required} situations"
        )


def verdicts_of(night: Night, all_: Tally, series: str, arch: str) -> list[NightVerdict]:
    """One verdict for each scope of REQUIRED that the night walks or searches."""
    verdicts = []
    for judged_by in night.judged:
        scopes = [scope for scope in night.scopes if judged_as(scope) == judged_by]
        done = nothing()
        states = 0
        for scope in scopes:
            of = all_.of(Job(series, arch, scope))
            add(done, of)
            states += of["states"]
        word = expected(kernel_of(series), (judged_by, *scopes), arch)
        some = any(map(walked, scopes))
        verdicts.append(NightVerdict(series, arch, judged_by, word, some, {**done, "states": states}))
    return verdicts


def all_verdicts(night: Night, all_: Tally) -> list[NightVerdict]:
    return [v for series, arch in product(night.series, night.arches) for v in verdicts_of(night, all_, series, arch)]


def progress(night: Night, all_: Tally, before: tuple[float, int]) -> tuple[str, tuple[float, int]]:
    """One line on where the night stands, and what the next call takes as `before`."""
    now = time.time()
    done = nothing()
    for of in all_.jobs.values():
        add(done, of)
    rate = (done["steps"] - before[1]) / max(now - before[0], 1e-9)
    unreached = {name for verdict in all_verdicts(night, all_) if verdict.walked for name in verdict.unreached()}
    losses = ", ".join(f"{where} {times}" for where, times in sorted(done["losses"].items()))
    line = (
        f"{_clock(now - night.begin)} gone, {_clock(night.end - now)} left: {max(rate, 0):.0f} steps/s, "
        f"{done['runs']} runs, {done['new']} new abstract states, {len(unreached)} situations unreached; "
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
            line, before = progress(self.night, stand_of(self.night, store), before)
            self.say(line)

    def __enter__(self) -> Progress:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()


def begin(night: Night) -> list[str]:
    """What is done once before the workers start; what is to be said before. Raises DatabaseError."""
    store = Store.open(night.databases)
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
    all_ = stand_of(night, store, outcomes)
    lines = [story_ for outcome in outcomes for story_ in outcome.told]
    good = not any(outcome.unsaved for outcome in outcomes)
    for verdict in all_verdicts(night, all_):
        surprise = verdict.surprise()
        good = good and surprise is None
        lines += [str(verdict), *([f"    not as expected: {surprise}"] if surprise else [])]
    first = first_reached(store, night)
    lines += [f"{series}: reached for the first time: {', '.join(of)}" for series, of in first.items()]
    if not first and not any(of["new"] for of in all_.jobs.values()) and not all_.new:
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
            in_time = wait(list(working), max(0.0, night.end + _GRACE - time.time()))
            if not in_time:
                break
            for ready in in_time:
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
                    if night.end - time.time() > 1 and len(died) <= _REPLACED:
                        start(f"{process.name}+")
    for process in working.values():
        died.append(f"worker {process.name} had to be ended; what it stored is kept")
        process.terminate()
        process.join()
    lines, good = report(night, Store(night.databases), outcomes)
    return [*lines, *died], good and not died
