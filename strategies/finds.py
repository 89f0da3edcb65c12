"""What a night does with a loss or a bug that it meets.

A loss is minimised, and certified, stored and written as a test if its kind is new; a kind that is known is counted.
Broken bookkeeping is kept as steps. May use all of `strategies` but the command.
"""

from __future__ import annotations

import time
from pathlib import Path

from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Report, Step, explain
from mm_sim.sched import KernelBug
from mm_sim.series import SeriesError
from mm_sim.system import SMALL, Loss, Scope, System
from strategies import reproducer
from strategies.corpus import Store
from strategies.machine import machine
from strategies.minimise import Certificate, certify, delete_chunks, minimise
from strategies.plan import UNPATCHED, WALKED, Job, Night, judged, judged_as, kernel_of
from strategies.profiles import save_example
from strategies.tally import BUGS, LOSSES, Tally, count
from strategies.verdict_text import declares, scope_as_json

#: Seconds for the certificate of a new kind of loss.
_CERTIFY = 120.0


class Finds:
    """The losses and bugs one worker meets: `told` and `unsaved` are what is to be printed in the end.

    `stop` is the end of the night, of time.monotonic().
    """

    def __init__(self, night: Night, store: Store, tally: Tally, stop: float) -> None:
        self.night, self.store, self.tally, self.stop = night, store, tally, stop
        #: Of each stored test the series, architecture and way of forgetting, and the rules used.
        self.kinds: dict[str, _Kind | None] = {}
        self.told: list[str] = []
        self.unsaved: list[str] = []

    def failed(self, job: Job, scope: Scope, steps: list[Step], error: Loss | KernelBug) -> None:
        """Count a loss or a bug; the 1st, 2nd, 4th, ... of one statement is looked at: it may be of a new kind."""
        done = self.tally.of(job)
        if isinstance(error, KernelBug):
            where = _raised_in(error)
            count(done["bugs"], where)
            if not _is_sparse(done["bugs"][where]):
                return
            self.bug(job, scope, steps, where, error)
        else:
            where = _forgets(kernel_of(job.series), job.arch, scope, steps) or ""
            if not where:
                self.tally.bad(job, "a run that lost a page did not lose it again: the model is not deterministic")
                return
            count(done["losses"], where)
            if _is_sparse(done["losses"][where]):
                self.loss(job, scope, steps, where)

    def bug(self, job: Job, scope: Scope, steps: list[Step], where: str, error: KernelBug) -> None:
        """Broken bookkeeping is a bug of the series or the model, or 2.6.26's own; its run is kept as steps."""
        own = job.series != UNPATCHED and not _breaks(kernel_of(UNPATCHED), job.arch, scope, steps, where)
        series = job.name if own else UNPATCHED
        nights = [
            entry.data.get("night")
            for entry in self.store.all(BUGS)
            if (entry.data.get("series"), entry.data.get("where")) == (series, where)
        ]
        if not nights:
            kernel = kernel_of(job.series)
            breaks = lambda some: some if _breaks(kernel, job.arch, scope, some, where) else None  # noqa: E731
            data = {
                "series": series,
                "where": where,
                "arch": job.arch,
                "scope": scope_as_json(scope),
                "says": str(error),
                "night": self.night.name,
            }
            self.store.put(BUGS, {**data, "steps": [reproducer.call(step) for step in delete_chunks(steps, breaks)]})
        line = f"{series} breaks the kernel's bookkeeping in {where}()"
        if own or all(night == self.night.name for night in nights):
            self.tally.bad(job, line)
        else:
            self.tally.say(f"{line}, as is known")

    def loss(self, job: Job, scope: Scope, steps: list[Step], where: str) -> None:
        """Minimise a loss, in the smallest machine that has it; certify and store it if its kind is new.

        What 2.6.26 loses in the same run is no fault of the series, unless it claims to mend what 2.6.26 loses there.
        """
        kernel, series, base = kernel_of(job.series), job.series, kernel_of(UNPATCHED)
        of = judged_as(job.scope)
        for small in WALKED.values():
            if judged(small) == of and _forgets(kernel, job.arch, small, steps) == where:
                scope = small
                break
        best, report = minimise(kernel, job.arch, scope, steps)
        if series != UNPATCHED and _forgets(base, job.arch, scope, best) is not None:
            kernel, series = base, UNPATCHED
        known = self.known(series, job.arch, best, report)
        if known is None:
            found = self.certified(kernel, job.arch, scope, best, report)
            known = self.known(series, job.arch, found.steps, found.report) or self.keep(
                series, job.arch, scope, found
            )
        self.tally.say(f"{known}: met")
        if declares(base, of, job.arch):
            kernel, series = kernel_of(job.series), job.series
        if not declares(kernel, of, job.arch) and (series != UNPATCHED or known in self.tally.new):
            self.tally.bad(job, f"{Path(series).stem} is expected to be safe, and loses: {known}")

    def known(self, series: str, arch: str, steps: list[Step], report: Report) -> str | None:
        """The test of a loss of the kind of this one: forgotten in the same way, with no other rules."""
        name = Path(series).stem
        for path in sorted(Path(self.night.folder).glob(f"test_{name}_*.py")):
            if path.name not in self.kinds:
                self.kinds[path.name] = _kind_in(path)
        rules = {step.rule.name for step in steps}
        for test, kind in sorted(self.kinds.items()):
            if kind is not None and kind[0] == (name, arch, _way(report)) and kind[1] <= rules:
                return test
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
        """Store a loss of a new kind, and write its test; where that fails it is at least printed.

        In the machine of the verdict it is saved as Hypothesis does, too: the next run of that test begins with it.
        """
        kernel, name, function = kernel_of(series), Path(series).stem, found.report.forgotten_by.function
        test = reproducer.path(series, arch, found).name
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
        if scope == SMALL:
            save_example(machine(kernel, series, arch), found, self.store.database)
        try:
            reproducer.store(series, arch, scope, found, Path(self.night.folder))
        except OSError as error:
            self.unsaved.append(f"{test} could not be written: {error.strerror}")
        self.kinds[test] = ((name, arch, _way(found.report)), {step.rule.name for step in found.steps})
        self.told.append(f"{test}\n\n{reproducer.told(kernel, found, arch)}")
        return test


_Kind = tuple[tuple[str, str, str], set[str]]


def _is_sparse(times: int) -> bool:
    """Whether this is the 1st, 2nd, 4th, 8th, ... time."""
    return not times & (times - 1)


def _kind_in(path: Path) -> _Kind | None:
    """The kind of a stored test; None if what it stores is no loss any more."""
    try:
        stored, steps = reproducer.read(path)
        replay = reproducer.Replay(kernel_of(stored.series))
        steps(replay)
    except (reproducer.BadReproducer, reproducer.StaleReproducer, SeriesError, OSError):
        return None
    report = _explained(replay.kernel, stored.arch, stored.scope, replay.steps)
    if report is None:
        return None
    return (Path(stored.series).stem, stored.arch, _way(report)), {step.rule.name for step in replay.steps}


def _way(report: Report) -> str:
    """The function that is to blame."""
    return report.forgotten_by.function


def _explained(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> Report | None:
    try:
        return explain(kernel, arch, scope, steps)
    except (NotPossible, KernelBug, LookupError):
        return None


def _forgets(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> str | None:
    """The function that forgets a page in this run; None if nothing is lost, or a step cannot happen."""
    report = _explained(kernel, arch, scope, steps)
    return None if report is None else report.forgotten_by.function


def _raised_in(error: KernelBug) -> str:
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_name


def _breaks(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], where: str) -> bool:
    """Whether these steps break the bookkeeping in this function; not if the kernel or the machine lacks one."""
    system = System(kernel, arch, scope)
    try:
        for step in steps:
            system.step(*step)
    except KernelBug as error:
        return _raised_in(error) == where
    except (Loss, LookupError):
        pass
    return False
