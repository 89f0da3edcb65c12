"""Options, profiles and the verdicts at the end of a test run."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from mm_sim import series as all_series
from mm_sim.kernel import Kernel
from mm_sim.series import SeriesError
from strategies import report
from strategies.reproducer import Told
from strategies.verdict import Verdict, register_profiles

register_profiles()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mm_sim")
    group.addoption(
        "--series",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="judge this series only, by name or by file; may be given more than once",
    )
    group.addoption(
        "--mm-report", type=Path, metavar="DIR", help="write a page for each loss, and an index of all verdicts"
    )
    group.addoption("--seed", type=int, default=None, help="seed of the walks (nightly: the date)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "verdict: judges a series with the state machine")
    if config.getoption("--hypothesis-profile") is None:
        settings.load_profile("ci" if os.environ.get("CI") else "dev")
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


def _chosen(config: pytest.Config) -> list[str]:
    return list(config.getoption("--series")) or list(all_series.names())


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
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of the walks: 0, or in the nightly profile the date, so that no night repeats another."""
    given = request.config.getoption("--seed")
    nightly = request.config.getoption("--hypothesis-profile") == "nightly"
    return given if given is not None else int(f"{datetime.now(UTC):%Y%m%d}") if nightly else 0


@pytest.fixture
def record_verdict(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[Verdict], None]:
    """Keeps a verdict for the end of the run, which may be in another process."""

    def record(verdict: Verdict) -> None:
        record_property("verdict", str(verdict))
        if request.config.getoption("--mm-report") is not None:
            record_property("judged", verdict.as_json())

    return record


def _recorded(reporter: pytest.TerminalReporter, key: str) -> list[Any]:
    reports = [*reporter.getreports("passed"), *reporter.getreports("failed")]
    return [value for one in reports for name, value in one.user_properties if name == key]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --mm-report, the pages: by the process that has all verdicts."""
    folder = session.config.getoption("--mm-report")
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if folder is None or reporter is None or hasattr(session.config, "workerinput"):
        return
    try:
        report.write_all(folder, _recorded(reporter, "judged"))
    except OSError as error:
        reporter.write_line(
            f"\n--mm-report: {error.filename}: {error.strerror}; the report is not complete", red=True
        )
        session.exitstatus = pytest.ExitCode.INTERRUPTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each verdict, and where the report is."""
    verdicts = sorted(_recorded(terminalreporter, "verdict"))
    if verdicts:
        terminalreporter.section("verdicts")
        for line in verdicts:
            terminalreporter.write_line(line)
    folder = terminalreporter.config.getoption("--mm-report")
    if folder is not None:
        terminalreporter.write_line(f"report: {folder / 'index.html'}")
