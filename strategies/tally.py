"""What the workers of a night have done, as it stands in the store; over the nights, the coverage and the proofs.

Each worker writes its own tally and no other, so that none has to wait. May use the store and the plan of a night.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel, base_of
from mm_sim.system import Scope
from strategies.comparison import Base
from strategies.corpus import Corpus, Store, key
from strategies.explore import SCOPES, Search
from strategies.plan import SEARCHED, WALKED, Job, Night, walked

TALLIES, LOSSES, BUGS, PROOFS = map(key, ("tallies", "losses", "bugs", "proofs"))
#: Seconds after its end in which a night may still be written to; nights whose tallies are kept.
_OVER, _NIGHTS = 3600, 200
#: What is added up for a job, and what is counted by name. `steps` of the rule `calls` could happen, `new` of the
#: `states` no night had reached before; what the base fails in, too, is `of the base`; `bad` is not as expected.
_SUMS = ("seconds", "runs", "calls", "steps", "new")
_COUNTS = ("situations", "losses", "bugs", "of the base", "bad")


def nothing() -> dict[str, Any]:
    """What was done on a job before anything was."""
    return {**dict.fromkeys(_SUMS, 0), "states": 0, **{name: {} for name in _COUNTS}}


def count(into: dict[str, int], what: str, times: int = 1) -> None:
    into[what] = into.get(what, 0) + times


def add(into: dict[str, Any], other: dict[str, Any]) -> None:
    """Add what one worker did on a job to what another did."""
    for name in _SUMS:
        into[name] += other.get(name, 0)
    into["states"] = max(into["states"], other["states"])
    for name in _COUNTS:
        for what, times in other.get(name, {}).items():
            count(into[name], what, times)


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
        return self.jobs.setdefault(str(job), nothing())

    def say(self, line: str, times: int = 1) -> None:
        if times:
            count(self.said, line, times)

    def bad(self, job: Job, line: str) -> None:
        """What makes the night red."""
        count(self.of(job)["bad"], line)

    def losses(self, series: str, arch: str, scopes: Iterable[str]) -> set[str]:
        """The functions that have forgotten a page in any of these jobs."""
        return {where for scope in scopes for where in self.of(Job(series, arch, scope))["losses"]}


def tallies(store: Store) -> dict[str, list[Tally]]:
    """The tallies of each night, one for each worker."""
    best: dict[tuple[str, str], Tally] = {}
    for entry in store.all(TALLIES):
        try:
            tally = Tally(**entry.data)
            total([tally], tally.night + tally.worker)  # raises where anything is not of its type
        except (TypeError, ValueError, KeyError, AttributeError):
            store.garbage.add((TALLIES, entry.value))
            continue
        known = best.get((tally.night, tally.worker))
        if known is None or known.slices <= tally.slices:
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
            add(result.of(Job(*name.split(" ", 2))), done)
    return result


def tonight(night: Night, store: Store, others: Iterable[Tally] = ()) -> Tally:
    """What all workers of a night have done; `others` are tallies that may not have come to the store."""
    of = {tally.worker: tally for tally in (*tallies(store).get(night.name, []), *others)}
    return total((of[worker] for worker in sorted(of)), night.name)


def compact(store: Store, now: float) -> None:
    """Make the tallies of each night that is over one, and forget all but the last nights."""
    past = {night: of for night, of in tallies(store).items() if max(t.end for t in of) + _OVER < now}
    kept = set()
    for night, of in list(past.items())[-_NIGHTS:]:
        kept.add(store.put(TALLIES, asdict(total(sorted(of, key=lambda t: t.worker), night))))
    for entry in store.all(TALLIES):
        if entry.data.get("night") in past and entry.value not in kept:
            store.delete(TALLIES, entry.value)


# over the nights


def walks(store: Store) -> dict[str, Scope]:
    """The machines, by name, of the nightly plan and of all nights that a database knows."""
    names = {name.split(" ", 2)[2] for of in tallies(store).values() for tally in of for name in tally.jobs}
    found = dict(WALKED)
    for name in sorted(names):
        with suppress(LookupError, ValueError):  # of another version of the tool
            if (scope := walked(name)) is not None:
                found[name] = scope
    return found


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
            add(reached.setdefault(series, {}).setdefault(night, nothing()), done)
        for series, nights in reached.items():
            if night in nights:
                nights[night]["states"] = sum(n for job, n in states.items() if job.split(" ")[0] == series)
                nights[night]["situations"] = dict.fromkeys(sorted(situations[series]), 1)
    return reached


def first_reached(store: Store, night: Night) -> dict[str, list[str]]:
    """The situations of each series that no night before had reached."""
    found = {}
    for series, nights in coverage(store).items():
        before = [set(at["situations"]) for name, at in nights.items() if name < night.name]
        if night.name in nights and (new := set(nights[night.name]["situations"]) - (before or [set()])[-1]):
            found[series] = sorted(new)
    return found


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
    if reached:
        above.legend(fontsize="small")
    figure.savefig(path)


# proofs


def source_of(kernel: type[Kernel], arch: str) -> str:
    """A digest of all that a proof rests on."""
    bounds, of = SCOPES["anon"], base_of(kernel)
    base = None if of is None else Base(of, arch, bounds.scope)
    return str(Search(kernel, arch, bounds, base=base).header()["source"])


def proofs(store: Store, source: str, job: Job) -> dict[str, dict[str, Any]]:
    """The scopes that were searched to the end for a series, by name; only with this version of the model."""
    bounds = {name: str(scope) for ladder in SEARCHED.values() for name, scope in ladder.items()}
    return {
        entry.data["name"]: entry.data
        for entry in store.all(PROOFS)
        if (entry.data.get("series"), entry.data.get("arch"), entry.data.get("source"))
        == (job.name, job.arch, source)
        and bounds.get(str(entry.data.get("name")), "") == entry.data.get("scope")
        and {"ended", "states"} <= entry.data.keys()
    }


def forget_proofs(store: Store, series: str, sources: list[str]) -> int:
    """Delete what was proven of a series with other versions of the model; how many proofs that were."""
    old = [e for e in store.all(PROOFS) if e.data.get("series") == series and e.data.get("source") not in sources]
    for entry in old:
        store.delete(PROOFS, entry.value)
    return len(old)


# between databases


def merge(into: Store, other: Store, kernels: Iterable[tuple[str, type[Kernel]]]) -> int:
    """Take over what another database has on these series; how many entries were new."""
    keys = [TALLIES, LOSSES, BUGS, PROOFS]
    machines = walks(other)
    for series, kernel in kernels:
        for arch in ARCHES:
            for name, scope in machines.items():
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
