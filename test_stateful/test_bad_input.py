"""Bad input gets one clear line that names the thing and what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.names import P1, P2, A, kswapd
from mm_sim.series import SeriesError, load
from mm_sim.system import SMALL
from strategies.explore import Bounds
from strategies.minimise import certify
from strategies.reproducer import BadReproducer, Replay, Reproducer, StaleReproducer, read, store
from strategies.rules import RULES
from strategies.targets import MACHINES
from strategies.verdict import ADDS, judge

HEAD = """
from mm_sim.kernel import Kernel, base_of

class Mine(Kernel):
    __slots__ = ()
    title, posted, applies_to, expected = "mine", "here", "2.6.26", "safe"
"""
ROOT = Path(__file__).parent.parent


def series_file(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(SeriesError) as error:
        load(series_file(tmp_path, "x = 1\ndef f(:\n"))
    assert "mine.py:2: " in one_line(error)


def test_failing_import_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(SeriesError) as error:
        load(series_file(tmp_path, "import os\nos.nothing()\n"))
    assert "mine.py:2: does not import: AttributeError" in one_line(error)


def test_file_without_a_series(tmp_path: Path) -> None:
    with pytest.raises(SeriesError) as error:
        load(series_file(tmp_path, "x = 1\n"))
    assert "no series" in one_line(error)


def test_overriding_what_the_kernel_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(SeriesError) as error:
        load(series_file(tmp_path, HEAD + "\n    def page_remove_rmapp(self, page): ...\n"))
    assert "mine.py:8: the kernel has no page_remove_rmapp()" in one_line(error)
    assert "did you mean page_remove_rmap?" in one_line(error)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("def zap_pte_range(self, *arguments):\n        pass", "zap_pte_range() can be interrupted: it must yield"),
        ("def put_page(self, page):\n        yield 'here'", "put_page() cannot be interrupted: it must not yield"),
    ],
)
def test_overriding_with_a_function_of_the_other_kind(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SeriesError) as error:
        load(series_file(tmp_path, f"{HEAD}\n    {override}\n"))
    assert f"mine.py:8: {message}" in one_line(error)


def test_series_that_does_not_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(SeriesError) as error:
        load(series_file(tmp_path, HEAD.replace('"safe"', '"fine"')))
    assert "it must be one of loses, safe, unknown" in one_line(error)


def test_missing_file() -> None:
    with pytest.raises(SeriesError) as error:
        load("nowhere/mine.py")
    assert "there is no such series file" in one_line(error)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(SeriesError) as error:
        load("page_zap_rmpa")
    assert "did you mean page_zap_rmap?" in one_line(error)


def test_pytest_exits_with_2_and_one_line() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--series", "easi", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "did you mean easy?" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def test_series_file_can_bring_rules_of_its_own() -> None:
    path = str(ROOT / "docs" / "example_pageout.py")
    kernel = load(path)
    assert [rule.name for rule in kernel.rules] == ["madvise_pageout"]
    Replay(kernel).madvise_pageout(process=P1, page=A)
    with pytest.raises(StaleReproducer, match="no rule madvise_pageout"):
        Replay(load("linux_2_6_26")).madvise_pageout(process=P1, page=A)


STORED = Reproducer(("page_zap_rmap",), "s390", SMALL)


def test_stored_step_that_no_longer_exists() -> None:
    def steps(state: Replay) -> None:
        state.teleport(process=P1)

    with pytest.raises(StaleReproducer, match="there is no rule teleport; there are: aio_read, clone, creat, exit"):
        STORED.check("page_zap_rmap", steps)


def test_stored_stop_that_no_longer_exists() -> None:
    def steps(state: Replay) -> None:
        state.store(process=P1, page=A, stop="do_page_fault: nowhere")

    with pytest.raises(StaleReproducer, match="no preemption point 'do_page_fault: nowhere'"):
        STORED.check("page_zap_rmap", steps)


def test_stored_step_that_can_no_longer_happen_fails_in_its_line() -> None:
    def steps(state: Replay) -> None:
        state.store(process=P1, page=A)
        state.munlock(process=P1, page=A)

    with pytest.raises(StaleReproducer, match="step 2, munlock, cannot happen") as error:
        STORED.check("page_zap_rmap", steps)
    assert any(entry.name == "steps" for entry in error.traceback)


def test_stored_loss_that_is_none_any_more_fails() -> None:
    def steps(state: Replay) -> None:
        state.store(process=P1, page=A)

    with pytest.raises(StaleReproducer, match="the run must fail in step 1, and now loses nothing"):
        STORED.check("page_zap_rmap", steps)


def test_a_kind_of_loss_is_stored_once_and_reads_back(tmp_path: Path) -> None:
    rule = {r.name: r for r in RULES}
    held = (kswapd, P1, A, 4)
    child = next(r for r in RULES if r.name == "fork")
    run = [
        Step(rule["store"], (P1, A), None),
        Step(rule["reclaim"], held, None),
        Step(rule["pageout_done"], (P1, A), None),
        Step(rule["store"], (P1, A), None),
        Step(child, (P1, P2), None),
        Step(rule["reclaim"], held, "try_to_unmap: next vma"),
        Step(rule["exit"], (P2,), None),
        Step(rule["resume"], (kswapd,), None),
    ]
    found = certify(load("page_zap_rmap"), "s390", Bounds(SMALL), run, states=1, deadline=0.0)
    path = store("page_zap_rmap", "s390", SMALL, found, tmp_path)
    assert path is not None
    replay = Replay(load("page_zap_rmap"))
    read(path)[1](replay)
    assert replay.steps == found.steps
    assert store("page_zap_rmap", "s390", SMALL, found, tmp_path) is None


def test_example_patch_is_judged() -> None:
    path = str(ROOT / "docs" / "example_pageout.py")
    verdict = judge(load(path), path, Kernel, "linux_2_6_26", {"anon": MACHINES["anon"]}, ["s390"], 5.0, first=True)
    assert verdict.word != ADDS
    assert all(function.lines for function in verdict.functions)
    assert verdict.outcomes[0].reached


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("REPRODUCER = (\n", "run.py:1: '(' was never closed"),
        ("REPRODUCER = 1\n", "run.py: not a stored run"),
        ("REPRODUCER = f(arch='vax')\ndef steps(state):\n    import os\n", "run.py:3: not as the tool writes it"),
        ("REPRODUCER = f(size=1)\ndef steps(state):\n    state.x()\n", "run.py:1: not as the tool writes it"),
        ("REPRODUCER = f()\ndef steps(state):\n    state.store(page=open('x'))\n", "run.py:3: not as"),
    ],
)
def test_stored_run_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.py"
    path.write_text(text)
    with pytest.raises(BadReproducer) as error:
        read(path)
    assert message in one_line(error)
