"""What becomes of a mutant: `Judge` looks for what it loses, or breaks, and its base does not; and the table of it.

May use all of `strategies` but the command.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from mm_sim.arch import ARCHES, Arch
from mm_sim.bookkeeping import recount_fixed
from mm_sim.kernel import Kernel
from mm_sim.loss import Step, explain
from mm_sim.sched import Failure, KernelBug
from mm_sim.snapshot import Saved, few_collections, is_quiet
from mm_sim.system import Loss, Scope, System
from strategies import reproducer
from strategies.comparison import Base
from strategies.explore import Node, Origin, Search
from strategies.minimise import minimise
from strategies.mutants import RAN, REACHED, Mutant
from strategies.places import BASES, CORNERS, PLACES, bases_of, called
from strategies.reasons import REASONS
from strategies.walk import Walk

PAGE: Final = Path(__file__).parent.parent / "docs" / "mutants.md"
_MARK: Final = "<!-- what follows is written by `pytest -m mutants` -->"


@dataclass(slots=True)
class Fate:
    """What became of a mutant. `word` is "loss", "check" or "survived"; `what` was lost, or said by the check.

    `steps` and `seconds` are what it took, `length` the steps of a short run that loses. `where` and `how` (stored
    run, walk or search) it was killed; of a survivor, `reached` has the scopes that came to the place where the
    statement is missing, and `proven` those of them whose search was complete.
    """

    name: str
    word: str = "survived"
    what: str = ""
    where: str = ""
    how: str = ""
    steps: int = 0
    seconds: float = 0.0
    length: int = 0
    reached: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()

    def argued(self) -> str:
        """The reason given why it is equivalent."""
        return next((reason for reason, names in REASONS.items() if self.name in names), "")

    def why(self) -> str:
        """Why a mutant may survive; empty if nobody says so."""
        proven = f"proven by search: {'; '.join(self.proven)}" if self.proven else ""
        return ". ".join(filter(None, (self.argued(), proven)))


class Killed(Exception):
    """A mutant has lost a page, or broken the bookkeeping."""

    def __init__(self, word: str, what: str, length: int = 0) -> None:
        super().__init__(what)
        self.word, self.what, self.length = word, what, length


@cache
def stored_runs() -> dict[tuple[Scope, str], list[list[Step]]]:
    """The runs that stored tests have, by machine and architecture."""
    runs: dict[tuple[Scope, str], list[list[Step]]] = {}
    for arch, scope, calls in reproducer.stored_runs():
        steps = reproducer.steps_on(Kernel, calls)
        if steps is not None:
            runs.setdefault((scope, arch), []).append(steps)
    return runs


def count(system: System, steps: Sequence[Step]) -> None:
    """Look in a quiet state, after these steps, whether rmap finds everything. Raises KernelBug."""
    recount_fixed(system.kernel, system.ghost, steps)


class CountingWalk(Walk):
    """A walk that looks in each quiet state whether rmap finds everything."""

    def set_out(self, steps: list[Step]) -> Loss | None:
        """Set out from a stored run, too; what it loses, if anything."""
        try:
            self.adopt(steps)
        except Loss as loss:
            return loss
        return None

    def look(self, steps: list[Step]) -> None:
        count(self.system, steps)
        super().look(steps)


#: How many runs are walked at first, in each scope on each architecture; and then, where the missing statement made
#: most differences; in how many scopes that is; and after how many steps no other search is begun.
RUNS: Final = (20, 300)
MOST: Final = 3
BUDGET: Final = 250_000


class CountingBase(Base):
    """A base that fails, too, where a count of a quiet state is wrong."""

    def state(self, origin: Saved, way: tuple[Step, ...], path: tuple[Step, ...]) -> bytes | None:
        try:
            if is_quiet(self.system):
                count(self.system, path)
        except KernelBug:
            return None
        return super().state(origin, way, path)


class CountingSearch(Search):
    """A search that counts everything in each quiet state, and ends where a count is wrong."""

    def keep(self, origin: Origin) -> None:
        count(self.system, origin.path)
        super().keep(origin)

    def visit(self, node: Node, step: Step, *rest: Any) -> bool:
        known = super().visit(node, step, *rest)
        if self.result.depth == self.bounds.steps and is_quiet(self.system):  # which is not kept
            count(self.system, (step,))
        return known

    def failure(self, path: list[Step]) -> Failure | None:
        system = System(self.kernel, self.arch, self.bounds.scope)
        try:
            for step in path:
                system.step(*step)
                if is_quiet(system):
                    count(system, (step,))
        except Failure as error:
            return error
        return None

    def look_at_failures(self) -> None:
        super().look_at_failures()
        if self.result.bug is not None:
            self.result.ended = self.result.ended or "bug"


class Judge:
    """Judges one mutant: in each scope in which it makes a difference, first what is quickest.

    A `quick` one does not search.
    """

    def __init__(self, mutant: Mutant, quick: bool = False) -> None:
        self.mutant, self.quick = mutant, quick
        self.fate = Fate(mutant.name)
        self.walks: dict[tuple[Scope, str], CountingWalk] = {}  # by machine: places may have one in common
        self.bases: dict[tuple[type[Kernel], Scope, str], Base] = {}
        kernels = {base: mutant.on(base) for base in BASES if any(mutant.fits(base, arch) for arch in ARCHES)}
        self.places = {
            (name, arch): (base, kernels[base], bounds)
            for name, bounds in (PLACES | CORNERS).items()
            if mutant.suits(bounds.scope)
            for arch in sorted(ARCHES, key=lambda arch: arch != mutant.likelier(bounds.scope))
            for base in bases_of(bounds.scope)
            if mutant.fits(base, arch) and mutant.function.name in called(base, replace(bounds, rules=None))  # type: ignore[arg-type]
        }

    @few_collections()
    def judge(self) -> Fate:
        fate = self.fate
        start = time.process_time()
        try:
            self.look()
        except Killed as killed:
            fate.word, fate.what, fate.length = killed.word, killed.what, killed.length
        fate.seconds = round(time.process_time() - start, 2)
        return fate

    def look(self) -> None:
        """Walk a little everywhere, and on where it made most differences; then search, corners first."""
        times = {place: self.walk(place, RUNS[0]) for place in self.places if place[0] in PLACES}
        reached = sorted(filter(times.get, times), key=lambda place: -times[place])
        self.fate.reached = tuple(map(" on ".join, reached))
        most = None if issubclass(self.mutant.owner, Arch) else MOST  # whose difference is not counted
        for place in list({self.machine(place): place for place in reached}.values())[:most]:
            self.walk(place, RUNS[1])
        if self.quick:
            return
        todo = sorted(self.places, key=lambda place: 2 - bool(times[place]) if place in times else 0)
        if self.mutant.lock or self.mutant.only_x86:  # a lock is contended on both architectures or on none
            todo.sort(key=lambda place: place[1] != self.mutant.likelier(self.machine(place)[0]))
        seen: set[str] = set()
        for place in filter(self.searchable, todo):
            if place[0] not in seen and self.fate.steps <= BUDGET and self.search(place):
                seen.add(place[0])

    def searchable(self, place: tuple[str, str]) -> bool:
        base, _, bounds = self.places[place]
        return bounds.steps is not None and self.mutant.function.name in called(base, bounds)  # type: ignore[arg-type]

    def machine(self, place: tuple[str, str]) -> tuple[Scope, str]:
        return self.places[place][2].scope, place[1]

    def walk(self, place: tuple[str, str], runs: int) -> int:
        """Walk until there were so many runs: how often the statement was missing in a run."""
        _, kernel, bounds = self.places[place]
        machine = self.machine(place)
        adopt: list[list[Step]] = []
        if machine not in self.walks:
            self.walks[machine] = CountingWalk(kernel, place[1], bounds.scope, seed=0)
            adopt = stored_runs().get(machine, []).copy()
        walk = self.walks[machine]
        self.fate.where = " on ".join(place)
        before = walk.steps
        try:
            while adopt or walk.runs < runs:
                self.fate.how = "stored run" if adopt else "walk"
                try:
                    lost = walk.set_out(adopt.pop()) if adopt else walk.run()
                except Exception as error:
                    self.failed(place, walk.trace, error)
                else:
                    if lost is not None:
                        self.failed(place, walk.trace, lost)
        finally:
            self.fate.steps += walk.steps - before
        return 1 if issubclass(self.mutant.owner, Arch) else walk.marks.get(REACHED, 0)

    def search(self, place: tuple[str, str]) -> bool:
        """Search a scope: False if the function ran, and nowhere there it made a difference."""
        _, kernel, bounds = self.places[place]
        self.fate.where, self.fate.how = " on ".join(place), "search"
        marks = {REACHED: 1} if issubclass(self.mutant.owner, Arch) else {}
        search = CountingSearch(kernel, place[1], bounds, reduce=False, marks=marks, base=self.base(place))
        result = search.run()
        self.fate.steps += result.transitions
        for run in (result.loss, result.bug):
            if run is not None:
                self.failed(place, run, search.failure(run))
        if REACHED in marks and result.ended == "complete":
            self.fate.proven += (self.fate.where,)
        return REACHED in marks or RAN not in marks

    def base(self, place: tuple[str, str]) -> Base:
        """What the mutant is made of: what fails there, too, kills no mutant."""
        of, _, bounds = self.places[place]
        key = of, bounds.scope, place[1]
        if key not in self.bases:
            self.bases[key] = CountingBase(of, place[1], bounds.scope)
        return self.bases[key]

    def failed(self, place: tuple[str, str], steps: list[Step], error: Exception | None) -> None:
        """A loss, or a check that fires, kills, unless the base fails, too."""
        _, kernel, bounds = self.places[place]
        scope = bounds.scope
        base = self.base(place)
        if base.fails(steps):
            return
        if not isinstance(error, Loss):
            raise Killed("check", f"{type(error).__name__}: {error}") from error
        lost = lambda run, other: isinstance(other, Loss) and not base.fails(run)  # noqa: E731
        short = minimise(kernel, place[1], scope, steps, lost)
        report = explain(kernel, place[1], scope, short)
        assert report is not None
        raise Killed("loss", str(report.forgotten_by), len(short))


def names_on(page: str) -> list[str]:
    """The mutants in the table of the page."""
    rows = page.partition(_MARK)[2].splitlines()
    return [row.split("`")[1].replace("\\|", "|") for row in rows if row.startswith("| `")]


def write(fates: list[Fate]) -> None:
    """Write the table anew."""
    killed = sorted((fate for fate in fates if fate.word != "survived"), key=lambda fate: fate.seconds)
    losses = sum(fate.word == "loss" for fate in killed)
    quick = sum(fate.seconds < 10 for fate in killed)
    open_ = sum(fate.word == "survived" and not fate.why() for fate in fates)
    lines = [
        _MARK,
        "",
        f"{len(fates)} mutants: {losses} killed by a loss, {len(killed) - losses} by a check of the bookkeeping, "
        f"{len(fates) - len(killed)} survive, {open_} of them with no reason yet. "
        f"{quick} of {len(killed)} are killed in less than ten seconds.",
        "",
        "| mutant | fate | where | steps | seconds | shortest run found |",
        "|---|---|---|---|---|---|",
    ]
    for fate in sorted(fates, key=lambda fate: fate.name):
        what = (
            f"survives: {fate.why() or 'no reason yet'}" if fate.word == "survived" else f"{fate.word}: {fate.what}"
        )
        where = "" if fate.word == "survived" else f"{fate.where}, {fate.how}"
        cells = (f"`{fate.name}`", what, where, str(fate.steps), f"{fate.seconds:.1f}", str(fate.length or ""))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    PAGE.write_text(PAGE.read_text(encoding="utf-8").partition(_MARK)[0] + "\n".join(lines) + "\n", encoding="utf-8")
