"""What the tests of nights have in common: a series that loses at once, and a night small enough for a test."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from strategies.corpus import Store
from strategies.plan import Night, plan
from strategies.tally import tonight
from strategies.worker import Outcome, Worker

#: What it says of itself.
TABLE = 'loses_in = {"anon": ("s390",)}'
FORGETFUL = '''
from mm_sim.kernel import Kernel
from mm_sim.page import Page
from mm_sim.sched import Steps


class Forgetful(Kernel):
    """Forgets every modification when a page is unmapped: a store and a lumpy reclaim lose it."""

    __slots__ = ()

    title = "forgets"
    posted = "nowhere"
    applies_to = "2.6.26"
    loses_in = {"anon": ("s390",)}

    def page_remove_rmap(self, page: Page) -> Steps[None]:
        page.mapcount -= 1
        page.PG_dirty = False
        yield "page_remove_rmap: forgotten"
'''


def forgetful(folder: Path, expected: str = "loses") -> str:
    """A series file that loses a page within a few steps."""
    file = folder / "forgetful.py"
    file.write_text(FORGETFUL.replace(TABLE, TABLE if expected == "loses" else f'expected = "{expected}"'))
    return str(file)


ONE_POINT_MORE = """
from mm_sim.kernel import Kernel
from mm_sim.mm import Mm
from mm_sim.sched import Steps


class OnePointMore(Kernel):
    __slots__ = ()

    title = "one preemption point more"
    posted = "nowhere"
    applies_to = "2.6.26"
    expected = "safe"

    def do_page_fault(self, mm: Mm, address: int, write: bool) -> Steps[int]:
        yield "do_page_fault: entered"
        return (yield from super().do_page_fault(mm, address, write))
"""


def one_point_more(folder: Path) -> str:
    """A series file that adds nothing: a fault can be preempted before it has begun."""
    file = folder / "one_point_more.py"
    file.write_text(ONE_POINT_MORE)
    return str(file)


def small_night(
    at: Path, *series: str, budget: float = 2.0, seed: int = 1, scopes: tuple[str, ...] = ("small",), **more: object
) -> Night:
    """A night on s390 whose database and tests are below `at`."""
    (at / "tests").mkdir(exist_ok=True)
    databases = more.get("databases", [str(at / "kept")])
    assert isinstance(databases, list)
    return plan(series or ("linux_2_6_26",), budget, seed, 1, databases, ["s390"], scopes, at / "tests")


def kept(at: Path) -> Store:
    """What the nights of `small_night` have stored so far."""
    return Store([str(at / "kept")])


def work(night: Night, name: str = "w0") -> tuple[Outcome, Store]:
    store = Store(night.databases)
    return Worker(night, name, store).work(), store


def bad(night: Night) -> list[str]:
    """What was not as expected, but for what a busy machine has left no time to reach."""
    done = tonight(night, Store(night.databases)).jobs
    assert all(of["runs"] for of in done.values())
    return [line for of in done.values() for line in of["bad"]]


def work_away(night: Night, name: str) -> None:
    """What a process of a test does."""
    Worker(night, name).work()


def fuzz(at: Path, *options: str) -> subprocess.Popen[str]:
    """A night of `mm-sim fuzz` on s390, with the database and the folder of `small_night`."""
    (at / "tests").mkdir(exist_ok=True)
    where = [f"--database={at / 'kept'}", f"--folder={at / 'tests'}", "--arch=s390", "--scope=small"]
    command = [sys.executable, "-c", "from strategies.cli import main; main()", "fuzz", *where, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(true: object, seconds: float = 20.0) -> None:
    """Wait until a function says True."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def checkout(at: Path) -> Path:
    """A copy of the project that a night of `pytest --budget` may write its tests to."""
    root = Path(__file__).parent.parent
    for name in ("mm_sim", "strategies", "test_stateful"):
        shutil.copytree(root / name, at / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(root / name, at)
    (at / "test_regressions").mkdir()
    return at


def pytest_night(at: Path, *options: str) -> subprocess.Popen[str]:
    """A night of pytest, in a checkout of its own."""
    verdicts = "test_stateful/test_night_verdicts.py"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--database={at / 'kept'}", verdicts]
    return subprocess.Popen([*command, *options], cwd=at, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
