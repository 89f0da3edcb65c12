"""Stored runs: what a patch must make of them, where they are written, and what a refresh may change."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from docs.refresh import stored_tests
from mm_sim.names import P1, A
from mm_sim.series import load, names
from mm_sim.system import SMALL
from strategies import reproducer
from strategies.cli import main
from strategies.minimise import Certificate, within
from strategies.reproducer import (
    ADDS,
    BUG,
    FOLDER,
    OUTSIDE,
    RAN,
    Adds,
    CannotReplay,
    Replay,
    Reproducer,
    StaleReproducer,
    keep,
    read,
    store,
    stored_runs,
)

RACE = "test_zap_only_1321f6851a.py"
PROMISE = "test_linux_2_6_26_4620c02013.py"
LABELS = """
    def page_remove_rmap(self, page):
        yield "page_remove_rmap: mine"
        yield from super().page_remove_rmap(page)
"""
CLEAN = """
    def page_mkclean(self, page):
        return False
        yield
"""
LOCK = """
    def page_remove_rmap(self, page):
        yield from super().page_remove_rmap(page)
        page.lock.trylock(self.current)
"""


def patch(folder: Path, base: str = "zap_only.ZapOnly", body: str = "", says: str = "expected = 'safe'") -> str:
    """A patch in a file: all that `base` does, and `body`."""
    module, name = base.split(".")
    folder.mkdir(exist_ok=True)
    path = folder / "mine.py"
    path.write_text(
        f"from mm_sim.kernel import Kernel\nfrom mm_sim.series.{module} import {name}\n\n\n"
        f"class Mine({name}):\n    __slots__ = ()\n    base = Kernel\n"
        f"    title, posted, applies_to = 'mine', 'here', '2.6.26'\n    {says}\n{body}"
    )
    return str(path)


def check(series: str, test: str = RACE) -> str:
    stored, steps = read(FOLDER / test)
    return stored.check(series, steps)


def copy(folder: Path, test: str = RACE, old: str = "", new: str = "") -> Path:
    """A stored test with other words in it."""
    source = (FOLDER / test).read_text()
    assert old in source
    path = folder / test
    path.write_text(source.replace(old, new))
    return path


def certificate(series: str, test: str = RACE) -> Certificate:
    stored, steps = read(FOLDER / test)
    run = stored.steps(load(series), steps)
    return Certificate(run, True, 1, within(stored.scope, run))


def mm_sim(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments)


# what a patch must make of a stored run


@pytest.mark.parametrize("path", sorted(FOLDER.glob("test_*.py")), ids=lambda path: path.stem)
def test_a_stored_test_names_patches_of_the_project_that_lose(path: Path) -> None:
    stored, _ = read(path)
    assert stored.loses
    assert {*stored.loses, *stored.cures} <= {*names()}
    assert not {*stored.loses} & {*stored.cures}
    assert not stored.cures or "linux_2_6_26" in stored.loses


def test_no_run_is_stored_twice() -> None:
    runs = [repr(run) for run in stored_runs()]
    assert len(runs) == len(set(runs)) == len(list(FOLDER.glob("test_*.py")))


def test_a_patch_that_is_not_named_must_add_no_loss(tmp_path: Path) -> None:
    series = patch(tmp_path)
    with pytest.raises(Adds, match=f"{series} adds a loss.\n\nP1 must read 2 at page A") as error:
        check(series)
    assert error.value.word == ADDS
    assert "<-- lost" in str(error.value)


@pytest.mark.parametrize("says", ["loses_in = {'anon': ('s390',)}", "expected = 'loses'"])
def test_a_patch_that_declares_the_loss_may_add_it(tmp_path: Path, says: str) -> None:
    assert check(patch(tmp_path, says=says)) == ADDS


def test_a_loss_that_is_declared_for_another_machine_is_not_declared(tmp_path: Path) -> None:
    with pytest.raises(Adds):
        check(patch(tmp_path, says="loses_in = {'anon': ('x86',), 'file': ('s390',)}"))


def test_a_loss_that_the_base_has_too_is_not_added(tmp_path: Path) -> None:
    assert check(patch(tmp_path, "linux_2_6_26.Linux2626"), PROMISE) == RAN


def test_a_bug_that_the_base_does_not_have_is_added(tmp_path: Path) -> None:
    with pytest.raises(Adds) as error:
        check(patch(tmp_path, "linux_2_6_26.Linux2626", LOCK), "test_zap_only_7a63fc3f88.py")
    assert error.value.word == BUG


def test_a_step_that_cannot_happen_is_named(tmp_path: Path) -> None:
    stored = Reproducer(("page_zap_rmap",), "s390", SMALL)

    def steps(state: Replay) -> None:
        state.store(process=P1, page=A)
        state.munlock(process=P1, page=A)

    with pytest.raises(CannotReplay, match="step 2, munlock, cannot happen here"):
        stored.check("easy", steps)


def test_a_rule_that_the_kernel_does_not_have_is_named() -> None:
    stored = Reproducer(("docs/example_pageout.py",), "s390", SMALL)
    with pytest.raises(CannotReplay, match="no rule madvise_pageout"):
        stored.check("easy", lambda state: state.madvise_pageout(process=P1, page=A))


def test_a_label_that_the_kernel_does_not_have_is_named(tmp_path: Path) -> None:
    stored = Reproducer((patch(tmp_path, body=LABELS),), "s390", SMALL)
    with pytest.raises(CannotReplay, match="no preemption point 'page_remove_rmap: mine'"):
        stored.check("easy", lambda state: state.exit(process=P1, stop="page_remove_rmap: mine"))


def test_a_cure_must_cure() -> None:
    stored, steps = read(FOLDER / PROMISE)
    assert stored.check("fault_page_locked", steps) == RAN
    wrong = Reproducer(stored.loses, stored.arch, stored.scope, cures=("swapin_race",))
    with pytest.raises(StaleReproducer, match="swapin_race cures this run no more"):
        wrong.check("swapin_race", steps)


def test_pytest_says_what_came_of_the_stored_runs_and_writes_none(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in FOLDER.glob("*.py")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--series", patch(tmp_path), "-p", "no:cacheprovider"]
        + [str(FOLDER / test) for test in (RACE, PROMISE)],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "stored runs on mine: 1 ran to the end, 1 adds a loss" in ran.stdout
    assert {path: path.read_bytes() for path in FOLDER.glob("*.py")} == before


# where runs are written


def test_the_run_of_a_patch_in_a_file_is_never_stored_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    series = patch(tmp_path)
    path = store(series, "s390", SMALL, certificate(series))
    assert path is not None
    assert path.parent == OUTSIDE
    assert read(path)[0].loses == (series,)


def test_a_run_that_is_stored_is_not_stored_for_another_patch(tmp_path: Path) -> None:
    copy(tmp_path)
    assert store("easy", "s390", SMALL, certificate("easy"), tmp_path) is None
    assert [path.name for path in tmp_path.glob("test_*.py")] == [RACE]


def test_a_run_of_the_project_is_stored_with_all_patches_that_lose(tmp_path: Path) -> None:
    path = store("easy", "s390", SMALL, certificate("easy"), tmp_path)
    assert path is not None
    assert read(path)[0].loses == ("easy", "easy_cow", "easy_mprotect", "page_zap_rmap", "zap_only")
    assert path.read_text().startswith('"""After step 8 P1 would read 1 at page A, where 2 was stored.\n\nreclaim(')


def test_two_patches_of_one_name_have_a_file_each_and_a_second_verdict_goes_over_the_first(tmp_path: Path) -> None:
    one, other = patch(tmp_path / "one"), patch(tmp_path / "other")
    paths = {keep(load(of), of, "s390", certificate(of), tmp_path) for of in (one, other, one)}
    assert len(paths) == 2
    assert sorted(read(path)[0].series for path in paths) == [one, other]


def test_explain_shows_a_run_that_judge_has_stored_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    patch(tmp_path, "linux_2_6_26.Linux2626", CLEAN)
    judged = mm_sim("judge", "mine.py", "--machine", "file", "--arch", "x86", "--budget", "20", "--jobs", "1")
    assert judged.exit_code == 1, judged.output
    (path,) = OUTSIDE.glob("test_mine_*.py")
    assert read(path)[0].loses == ("mine.py",)
    explained = mm_sim("explain", str(path), "--timeline")
    assert explained.exit_code == 0, explained.output
    assert explained.output.startswith("mine.py on x86\n")
    assert "ext2 must have 2 or newer on its disk at page A, and has 1" in explained.output


def test_a_bug_that_is_no_loss_is_stored_and_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    patch(tmp_path, "linux_2_6_26.Linux2626", LOCK)
    judged = mm_sim("judge", "mine.py", "--machine", "anon", "--arch", "s390", "--budget", "3", "--jobs", "1")
    assert judged.exit_code == 1, judged.output
    (path,) = OUTSIDE.glob("test_mine_*.py")
    stored, steps = read(path)
    assert stored.ends
    assert stored.check("mine.py", steps) == ADDS
    explained = mm_sim("explain", str(path), "--timeline")
    assert explained.exit_code == 0, explained.output
    assert stored.ends in " ".join(explained.output.split())


def test_explain_shows_a_stored_run_on_another_patch() -> None:
    shown = mm_sim("explain", str(FOLDER / RACE), "--timeline", "--on", "easy_cow")
    assert shown.output.startswith("easy_cow on s390\n")
    assert mm_sim("explain", "zap_only", "--on", "easy_cow").exit_code == 2


# what a refresh may change


def test_a_refresh_changes_no_stored_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy(tmp_path, old='("zap_only",', new='("zap_only", "linux_2_6_26",')
    before = path.read_text()
    assert not stored_tests(accept=False, folder=tmp_path)
    assert path.read_text() == before
    assert f"{RACE}  linux_2_6_26  loses   -" in capsys.readouterr().out


def test_a_refresh_that_may_prints_and_writes_what_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy(tmp_path, old='("zap_only",', new='("zap_only", "linux_2_6_26",')
    assert stored_tests(accept=True, folder=tmp_path)
    assert path.read_text() == (FOLDER / RACE).read_text()
    assert f"{RACE}  linux_2_6_26  loses   -" in capsys.readouterr().out


def test_a_refresh_drops_a_test_only_if_it_may(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy(tmp_path, old="    state.exit(process=P2)\n")
    assert not stored_tests(accept=False, folder=tmp_path)
    assert path.exists()
    assert f"{RACE}: no patch loses by this run any more: to be deleted" in capsys.readouterr().out
    assert stored_tests(accept=True, folder=tmp_path)
    assert not path.exists()


def test_a_patch_that_is_new_changes_no_stored_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy(tmp_path, old='"easy_cow", ')
    before = path.read_text()
    assert stored_tests(accept=False, folder=tmp_path)
    assert path.read_text() == before
    assert not capsys.readouterr().out


def test_a_refresh_keeps_the_words_of_a_person(tmp_path: Path) -> None:
    path = copy(tmp_path, old="After step 8 P1", new="Written by a person: \\\\ P1")
    before = path.read_text()
    assert stored_tests(accept=True, folder=tmp_path)
    assert path.read_text() == before


def test_stored_tests_are_as_the_tool_writes_them() -> None:
    for path in FOLDER.glob("test_*.py"):
        assert reproducer.rewritten(path) == path.read_text(), path
