"""Options, profiles and the verdicts at the end of a test run."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from mm_sim import series as all_series
from mm_sim.kernel import Kernel
from mm_sim.series import SeriesError
from strategies import fates as the_fates
from strategies import night, places, plan, prover_mutants, report, verdict_text
from strategies.corpus import DEFAULT, DatabaseError, Store
from strategies.profiles import register_profiles
from strategies.reproducer import (
    ADDS,
    BUG,
    RAN,
    SKIPPED,
    STALE,
    Adds,
    Calls,
    CannotReplay,
    Check,
    Reproducer,
    StaleReproducer,
    Told,
)
from strategies.tally import Tally
from strategies.verdict import Verdict
from strategies.worker import Outcome, Worker

register_profiles()


#: The seed of this run, the same in all its workers.
SEED = pytest.StashKey[int]()


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed of the walks: {config.stash[SEED]}"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mm_sim")
    group.addoption(
        "--series",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="judge this series only, by name or by file; may be given more than once",
    )
    group.addoption("--seed", type=int, default=None, help="seed of the walks (nightly: date, time and machine)")
    group.addoption(
        "--budget", metavar="TIME", help="a night: walk and search for 8h, 90m or 30s, and say what came of it"
    )
    group.addoption(
        "--database",
        action="append",
        default=[],
        metavar="DIR|redis://HOST|github:OWNER/REPOSITORY/SERIES",
        help=f"where a night keeps runs, losses and proofs (default: {DEFAULT}); may be given more than once",
    )
    group.addoption(
        "--mm-report",
        type=Path,
        metavar="DIR",
        help="write a page for each loss and each bug, and an index of all verdicts",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "verdict: judges a series with the state machine")
    config.addinivalue_line("markers", "night: says what came of a night; run with --budget only, and then alone")
    if config.getoption("--hypothesis-profile") is None:
        night_ = config.getoption("--budget") is not None
        settings.load_profile("nightly" if night_ else "ci" if os.environ.get("CI") else "dev")
    for name in config.getoption("--series"):
        try:
            all_series.load(name)
        except SeriesError as error:
            pytest.exit(str(error), returncode=2)
    folder = config.getoption("--mm-report")
    if folder is not None:
        try:
            report.write_all(folder, [])
        except OSError as error:
            pytest.exit(f"--mm-report: {error.filename}: {error.strerror}", returncode=2)

    config.stash[SEED] = _seed(config)
    if config.getoption("--database"):
        try:
            opened = Store if hasattr(config, "workerinput") else Store.open
            kept = opened(config.getoption("--database")).database
        except DatabaseError as error:
            pytest.exit(str(error), returncode=2)
        settings.register_profile("nightly", settings.get_profile("nightly"), database=kept)
    if settings.get_current_profile_name() == "nightly":
        settings.load_profile("nightly")
    config.pluginmanager.register(Nightly(config), "mm_sim-nightly")


class Nightly:
    """A night under pytest: every worker walks until the budget is spent, then the tests say what came of it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.outcomes: list[Outcome] = []
        self.night: plan.Night | None = None
        sent = getattr(config, "workerinput", {}).get("night")
        if sent is not None:
            self.night = plan.Night(**json.loads(sent))
        elif (budget := config.getoption("--budget")) is not None and not hasattr(config, "workerinput"):
            try:
                self.night = plan.plan(
                    _chosen(config),
                    plan.seconds(budget),
                    config.stash[SEED],
                    _workers(config),
                    config.getoption("--database"),
                )
                self.lines = night.begin(self.night)
            except ValueError:
                pytest.exit(f"--budget {budget}: is no length of time; write 8h, 90m or 30s", returncode=2)
            except (DatabaseError, SeriesError) as error:
                pytest.exit(str(error), returncode=2)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["seed"] = self.config.stash[SEED]
        if self.night is not None:
            node.workerinput["night"] = json.dumps(asdict(self.night))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        sent = getattr(node, "workeroutput", {}).get("night")
        if sent is not None:
            self.outcomes.append(Outcome(**json.loads(sent)))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        chosen = self.night
        if chosen is None or self.config.option.collectonly:
            return (yield)
        worker = getattr(self.config, "workerinput", {}).get("workerid")
        if worker is not None:
            outcome = Worker(chosen, worker).work()
            self.config.workeroutput["night"] = json.dumps(asdict(outcome))  # type: ignore[attr-defined]
            self.outcomes.append(outcome)
            return (yield)
        terminal: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        for line in ("", *self.lines):
            terminal.write_line(line)
        with night.Progress(chosen, terminal.write_line, terminal.isatty):
            if not self.config.getoption("numprocesses", None):
                self.outcomes.append(Worker(chosen, "main").work())
            return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if any(outcome.unsaved for outcome in self.outcomes) and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.night is not None and not self.config.option.collectonly:
            terminalreporter.section(f"night {self.night.seed}")
            for line in night.report(self.night, Store(self.night.databases), self.outcomes)[0]:
                terminalreporter.write_line(line)


def _workers(config: pytest.Config) -> int:
    chosen = config.getoption("numprocesses", None)
    return len(config.getoption("tx", None) or ()) or (chosen if isinstance(chosen, int) else 0) or 1


def _chosen(config: pytest.Config) -> list[str]:
    return [plan.called(name) for name in config.getoption("--series") or all_series.names()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "series" in metafunc.fixturenames:
        names = _chosen(metafunc.config)
        metafunc.parametrize("series", names, ids=[Path(name).stem for name in names])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --series only the tests that are about a series are left; the long ones start first."""
    if config.getoption("--series"):
        kept = [item for item in items if "series" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    is_night = config.getoption("--budget") is not None
    kept = [item for item in items if (item.get_closest_marker("night") is not None) == is_night]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    items.sort(key=lambda item: item.get_closest_marker("verdict") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure that says everything is shown as it is."""
    made = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, Told):
        made.longrepr = str(call.excinfo.value)
    return made


@pytest.fixture
def kernel(series: str) -> type[Kernel]:
    """The kernel of the series under test."""
    return all_series.load(series)


@pytest.fixture
def check(series: str, record_property: Callable[[str, object], None]) -> Check:
    """Replays a stored run on the series under test; skipped with the step that cannot happen there."""

    def check(stored: Reproducer, steps: Calls) -> None:
        came_of_it = STALE
        try:
            came_of_it = stored.check(series, steps)
        except Adds as error:
            came_of_it = error.word
            raise
        except CannotReplay as error:
            came_of_it = SKIPPED
            pytest.skip(str(error))
        finally:
            record_property("stored run", (series, came_of_it))

    return check


def _seed(config: pytest.Config) -> int:
    """The seed of the walks: 0, or in the nightly profile date and time, so that no night repeats another."""
    given: int | None = config.getoption("--seed")
    if given is None:
        given = getattr(config, "workerinput", {}).get("seed")
    if given is None:
        given = plan.seed_of_tonight() if settings.get_current_profile_name() == "nightly" else 0
    return given


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return request.config.stash[SEED]


@pytest.fixture
def tonight(request: pytest.FixtureRequest) -> tuple[plan.Night, Tally]:
    """The night that this run has spent its budget on, and what its workers have done in it."""
    nightly: Any = request.config.pluginmanager.get_plugin("mm_sim-nightly")
    assert nightly.night is not None
    return nightly.night, night.settled(nightly.night, nightly.outcomes)


@pytest.fixture
def record_verdict(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[Verdict, type[Kernel]], None]:
    """Keeps a verdict for the end of the run, which may be in another process."""

    def record(verdict: Verdict, kernel: type[Kernel]) -> None:
        for name, word, behind in verdict_text.rows(verdict):
            record_property("verdict", f"{Path(verdict.patch).stem} {name}: {word}; {behind}".removesuffix("; "))
        for line in verdict_text.unexpected(verdict, kernel):
            record_property("verdict", f"{Path(verdict.patch).stem} UNEXPECTED: {line}")
        if request.config.getoption("--mm-report") is not None:
            record_property("judged", verdict_text.as_json(verdict, kernel))

    return record


def _recorded(reporter: pytest.TerminalReporter, key: str) -> list[Any]:
    reports = [one for outcome in ("passed", "failed", "skipped") for one in reporter.getreports(outcome)]
    return [value for one in reports for name, value in one.user_properties if name == key]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --mm-report, the pages, and the table of mutants: by the process that has all verdicts and all fates."""
    folder = session.config.getoption("--mm-report")
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    fates = [the_fates.Fate(**fate) for fate in _recorded(reporter, "fate")]
    if fates and len(fates) == len(places.all_mutants()):
        the_fates.write(fates)
    killers = dict(_recorded(reporter, "killer"))
    if killers and len(killers) == len(prover_mutants.all_prover_mutants()):
        prover_mutants.write(killers)
    if folder is None:
        return
    try:
        report.write_all(folder, _recorded(reporter, "judged"))
    except (OSError, SeriesError, StaleReproducer) as error:
        wrong = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        reporter.write_line(f"\n--mm-report: {wrong}; the report is not complete", red=True)
        session.exitstatus = pytest.ExitCode.INTERRUPTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What came of the stored runs on each patch that is named, a line for each verdict, and where the report is."""
    stored = [tuple(one) for one in _recorded(terminalreporter, "stored run")]
    for name in dict.fromkeys(terminalreporter.config.getoption("--series")):
        counted = Counter(came_of_it for patch, came_of_it in stored if patch == plan.called(name))
        if counted:
            said = ", ".join(
                f"{counted[one]} {one}" for one in (RAN, SKIPPED, ADDS, BUG, STALE) if counted[one] or one == RAN
            )
            terminalreporter.write_line(f"stored runs on {Path(name).stem}: {said}")
    verdicts = sorted(_recorded(terminalreporter, "verdict"))
    if verdicts:
        terminalreporter.section("verdicts")
        for line in verdicts:
            terminalreporter.write_line(line)
    folder = terminalreporter.config.getoption("--mm-report")
    if folder is not None:
        terminalreporter.write_line(f"report: {folder / 'index.html'}")
