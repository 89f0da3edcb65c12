"""What a night does with a loss or a bug that it meets.

It counts against a patch only if the base does not fail in the same run; else it is the base's own. A loss is
minimised, and certified, stored and written as a test if its kind is new; a kind that is known is counted. Broken
bookkeeping is kept as steps. May use all of `strategies` but the command.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from traceback import walk_tb

import mm_sim
from mm_sim import series as all_series
from mm_sim.kernel import Kernel, base_of, name_of
from mm_sim.loss import NotPossible, Report, Step, explain
from mm_sim.sched import KernelBug
from mm_sim.series import SeriesError
from mm_sim.system import SMALL, Loss, Scope
from strategies import reproducer
from strategies.comparison import Base, failure, renewed
from strategies.corpus import Store
from strategies.explore import Bounds
from strategies.machine import machine
from strategies.minimise import DELETE, Certificate, Counts, certify, minimise
from strategies.plan import UNPATCHED, WALKED, Job, Night, expected, judged, judged_as, kernel_of
from strategies.profiles import save_example
from strategies.tally import BUGS, LOSSES, Tally, count
from strategies.targets import MACHINES
from strategies.verdict import rows
from strategies.verdict_text import scope_as_json

#: Seconds for the certificate of a new kind of loss.
_CERTIFY = 120.0
#: Where the code is that is neither of the kernel nor of a patch.
_TOOL = (Path(mm_sim.__file__).parent, Path(__file__).parent)


class Finds:
    """The losses and bugs one worker meets: `told` and `unsaved` are what is to be printed in the end.

    `stop` is the end of the night, of time.monotonic().
    """

    def __init__(self, night: Night, store: Store, tally: Tally, stop: float) -> None:
        self.night, self.store, self.tally, self.stop = night, store, tally, stop
        #: Of each stored test the series, architecture and function to blame, and the rules used.
        self.kinds: dict[str, _Kind | None] = {}
        self.told: list[str] = []
        self.unsaved: list[str] = []
        self.bases: dict[tuple[type[Kernel], str, Scope], Base] = {}

    def base(self, kernel: type[Kernel], arch: str, scope: Scope) -> Base | None:
        """What a kernel is compared with; None if it is no patch."""
        base = base_of(kernel)
        if base is None:
            return None
        of = kernel, arch, scope
        self.bases[of] = renewed(self.bases[of]) if of in self.bases else Base(base, arch, scope)
        return self.bases[of]

    def whose(self, job: Job, scope: Scope, steps: list[Step]) -> str | None:
        """The series that a failure counts for: the first on the way down to 2.6.26 whose base does not fail.

        None if it is a base that is no series of the project.
        """
        series = job.series
        while (base := self.base(kernel_of(series), job.arch, scope)) is not None and base.fails(steps):
            name = name_of(base.kernel)
            if name not in all_series.names():
                return None
            series = name
        return series

    def failed(self, job: Job, scope: Scope, steps: list[Step]) -> None:
        """Count a loss or a bug; the 1st, 2nd, 4th, ... of one statement is looked at: it may be of a new kind."""
        done = self.tally.of(job)
        run = list(steps)
        error = failure(kernel_of(job.series), job.arch, scope, run)
        where = None if error is None else _blamed(kernel_of(job.series), job.arch, scope, run, error)
        if where is None:
            self.tally.bad(job, "a run that failed did not fail again: the model is not deterministic")
            return
        of = self.whose(job, scope, run)
        if of != job.series:
            met = done["of the base"]
        else:
            met = done["bugs" if isinstance(error, KernelBug) else "losses"]
        count(met, where)
        if of is None or not _is_sparse(met[where]):
            return
        if of != job.series:  # which may fail at other points only
            error = failure(kernel_of(of), job.arch, scope, run)
            where = None if error is None else _blamed(kernel_of(of), job.arch, scope, run, error)
        if where is None:
            return
        if isinstance(error, Loss):
            self.loss(job, of, scope, run, where)
        else:
            self.bug(job, of, scope, run, where, str(error))

    def same(self, kernel: type[Kernel], arch: str, scope: Scope, where: str, kind: type[Loss | KernelBug]) -> Counts:
        """Whether a failure is by the same function, and no failure of the base."""
        base = self.base(kernel, arch, scope)

        def counts(run: list[Step], error: Loss | KernelBug) -> bool:
            same = isinstance(error, kind) and _blamed(kernel, arch, scope, run, error) == where
            return same and (base is None or not base.fails(run))

        return counts

    def bug(self, job: Job, of: str, scope: Scope, steps: list[Step], where: str, says: str) -> None:
        """Broken bookkeeping is a bug of the series, of its base or of the model; its run is kept as steps."""
        series = Path(of).stem
        nights = [
            entry.data.get("night")
            for entry in self.store.all(BUGS)
            if (entry.data.get("series"), entry.data.get("where")) == (series, where)
        ]
        if not nights:
            kernel = kernel_of(of)
            same = self.same(kernel, job.arch, scope, where, KernelBug)
            shorter = minimise(kernel, job.arch, scope, steps, same, DELETE)
            data = {
                "series": series,
                "where": where,
                "arch": job.arch,
                "scope": scope_as_json(scope),
                "says": says,
                "night": self.night.name,
            }
            self.store.put(BUGS, {**data, "steps": [reproducer.call(step) for step in shorter]})
        line = f"{series} breaks the kernel's bookkeeping in {where}()"
        if (of == job.series and of != UNPATCHED) or all(night == self.night.name for night in nights):
            self.tally.bad(job, line)
        else:
            self.tally.say(f"{line}, as is known")

    def loss(self, job: Job, of: str, scope: Scope, steps: list[Step], where: str) -> None:
        """Minimise a loss, in the smallest machine that has it; certify and store it if its kind is new.

        That 2.6.26 loses is known: only a new kind makes the night red.
        """
        kernel, arch, judged_by = kernel_of(of), job.arch, judged_as(job.scope)
        for small in WALKED.values():
            if judged(small) == judged_by and self.is_lost(kernel, arch, small, steps, where):
                scope = small
                break
        same = self.same(kernel, arch, scope, where, Loss)
        best = minimise(kernel, arch, scope, steps, same)
        known = self.known(of, arch, best, scope)
        if known is None:
            found = self.certified(kernel, arch, judged_by, scope, best, same)
            known = self.known(of, arch, found.steps, scope) or self.keep(of, arch, scope, found)
        self.tally.say(f"{known}: met")
        if expected(kernel, (judged_by, job.scope), arch) == "safe" and (of != UNPATCHED or known in self.tally.new):
            self.tally.bad(job, f"{Path(of).stem} is expected to be safe, and loses: {known}")

    def is_lost(self, kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], where: str) -> bool:
        """Whether a machine has all that a run needs, and the run loses in the same way there."""
        run = list(steps)
        try:
            error = failure(kernel, arch, scope, run)
        except LookupError:
            return False
        return run == steps and error is not None and self.same(kernel, arch, scope, where, Loss)(run, error)

    def known(self, series: str, arch: str, steps: list[Step], scope: Scope) -> str | None:
        """The test of a loss of the kind of this one: with the same function to blame, and no other rules."""
        name = Path(series).stem
        for path in sorted(Path(self.night.folder).glob(f"test_{name}_*.py")):
            if path.name not in self.kinds:
                self.kinds[path.name] = _kind_in(path)
        report = _explained(kernel_of(series), arch, scope, steps)
        assert report is not None
        what, rules = _kind(series, arch, steps, report)
        for test, kind in sorted(self.kinds.items()):
            if kind is not None and kind[0] == what and kind[1] <= rules:
                return test
        return None

    def certified(
        self, kernel: type[Kernel], arch: str, judged_by: str, scope: Scope, steps: list[Step], same: Counts
    ) -> Certificate:
        """The shortest run within the first bounds that a verdict has for this machine."""
        longest = min(_CERTIFY, (self.night.end - self.night.begin) / 20)
        deadline = min(time.monotonic() + longest, self.stop)
        bounds = replace(first_bounds(kernel, arch, judged_by), scope=scope)
        return certify(kernel, arch, bounds, steps, same, self.base(kernel, arch, scope), deadline=deadline)

    def keep(self, series: str, arch: str, scope: Scope, found: Certificate) -> str:
        """Store a loss of a new kind, and write its test; where that fails it is at least printed.

        In the machine of the verdict it is saved as Hypothesis does, too: the next run of that test begins with it.
        """
        kernel, name = kernel_of(series), Path(series).stem
        report = _explained(kernel, arch, scope, found.steps)
        assert report is not None
        test = reproducer.path(series, arch, found).name
        if not any(entry.data.get("test") == test for entry in self.store.all(LOSSES)):
            self.tally.new.append(test)
            data = {
                "series": name,
                "arch": arch,
                "scope": scope_as_json(scope),
                "test": test,
                "forgotten by": report.forgotten_by.function,
            }
            self.store.put(LOSSES, {**data, "steps": [reproducer.call(step) for step in found.steps]})
        if scope == SMALL:
            save_example(machine(kernel, series, arch), found, self.store.database)
        try:
            reproducer.store(series, arch, scope, found, Path(self.night.folder))
        except OSError as error:
            self.unsaved.append(f"{test} could not be written: {error.strerror}")
        self.kinds[test] = _kind(series, arch, found.steps, report)
        self.told.append(f"{test}\n\n{reproducer.told(kernel, found, arch)}")
        return test


def first_bounds(kernel: type[Kernel], arch: str, machine: str) -> Bounds:
    """The rules and values by which a verdict on a kernel looks for the shortest run in a machine."""
    found, _ = rows(kernel, base_of(kernel), {machine: MACHINES[machine]}, [arch])
    return found[0].within(found[0].tiers[0], 0, 0) if found else Bounds(MACHINES[machine].scope)


_Kind = tuple[tuple[str, str, str], set[str]]


def _is_sparse(times: int) -> bool:
    """Whether this is the 1st, 2nd, 4th, 8th, ... time."""
    return not times & (times - 1)


def _kind(series: str, arch: str, steps: list[Step], report: Report) -> _Kind:
    """Series, architecture and the function to blame, and the rules used."""
    what = Path(series).stem, arch, report.forgotten_by.function
    return what, {step.rule.name for step in steps}


def _kind_in(path: Path) -> _Kind | None:
    """The kind of a stored test; None if what it stores is no loss any more."""
    try:
        stored, steps = reproducer.read(path)
        replay = reproducer.Replay(kernel_of(stored.series))
        steps(replay)
    except (reproducer.BadReproducer, reproducer.StaleReproducer, SeriesError, OSError):
        return None
    report = _explained(replay.kernel, stored.arch, stored.scope, replay.steps)
    return None if report is None else _kind(stored.series, stored.arch, replay.steps, report)


def _explained(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> Report | None:
    try:
        return explain(kernel, arch, scope, steps)
    except (NotPossible, KernelBug, LookupError):
        return None


def _blamed(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], error: Loss | KernelBug) -> str | None:
    """The function that forgets a page in this run, or breaks the bookkeeping; None if nothing fails again."""
    if isinstance(error, KernelBug):
        return _raised_in(error)
    report = _explained(kernel, arch, scope, steps)
    return None if report is None else report.forgotten_by.function


def _raised_in(error: KernelBug) -> str:
    """The function of the kernel, or of a patch, that was running; if there was none, the one that has noticed."""
    ran = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
    of_kernel = [code for code in ran if Path(code.co_filename).parent not in _TOOL]
    return (of_kernel or ran)[-1].co_name
