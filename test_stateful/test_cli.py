"""The mm-sim command: what it prints, its exit status, and one line for each kind of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.names import EXT2
from mm_sim.series import load, names
from mm_sim.system import Scope
from strategies import cli
from strategies.cli import _bounds, main
from strategies.corpus import Store
from strategies.explore import SCOPES
from strategies.reproducer import FOLDER
from strategies.tally import PROOFS, source_of
from strategies.targets import MACHINES, Machine
from strategies.verdict import Outcome, Verdict
from test_stateful.nights import forgetful

ROOT = Path(__file__).parent.parent


def mm_sim(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments)


def test_list_names_every_series() -> None:
    result = CliRunner(env={"COLUMNS": "250"}).invoke(main, ["list"])
    assert result.exit_code == 0
    assert all(name in result.output for name in names())


def test_list_shows_what_is_proven_and_prune_forgets_what_another_model_has_proven(tmp_path: Path) -> None:
    store = Store([str(tmp_path)])
    of = {"series": "linux_2_6_26", "arch": "s390", "name": "anon", "scope": str(SCOPES["anon"]), "ended": "complete"}
    now = source_of(load("linux_2_6_26"), "s390")
    for source, states in ((now, 123456), ("another model", 654321)):
        store.put(PROOFS, {**of, "source": source, "states": states})
    shown = CliRunner(env={"COLUMNS": "250"}).invoke(main, ["list", "--database", str(tmp_path)])
    assert "s390: anon (123456 states)" in shown.output
    assert "654321" not in shown.output
    assert "1 proofs of other versions" in mm_sim("corpus", "--prune", "9", "--database", str(tmp_path)).output
    assert [entry.data["source"] for entry in store.all(PROOFS)] == [now]


#: One cheap machine, for a loss that ends the search.
SMALL = ("--machine", "anon", "--arch", "s390", "--jobs", "1", "--budget", "10")
#: The same for a bug, after which the search for a loss goes on.
SHORT = (*SMALL[:-1], "1")


@pytest.fixture(autouse=True)
def _runs_are_stored_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Keeps the arguments of each call and does not judge: proven, or what the file name says."""
    seen: list[dict[str, Any]] = []

    def judge(
        kernel: type[Kernel],
        name: str,
        base: type[Kernel] | None,
        base_name: str | None,
        machines: Mapping[str, Machine],
        arches: Sequence[str],
        *others: object,
    ) -> Verdict:
        seen.append({"name": name, "base": base_name, "machines": machines, "arches": arches})
        outcome = Outcome("anon", "s390", SCOPES["anon"].scope, reached={("", 0)}, proof=SCOPES["anon"])
        if name.startswith("found"):
            outcome.open = (SCOPES["anon"], 3)
        else:
            outcome.complete = [(SCOPES["anon"], 9)]
        return Verdict(name, base_name, [outcome], (), interrupted=name.startswith("interrupted"))

    monkeypatch.setattr(cli, "judge_", judge)
    return seen


def patch(name: str, text: str = "", expected: str = "unknown") -> str:
    """A patch file in the current folder that changes nothing, but for what `text` adds to its class."""
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(
        "from mm_sim.kernel import Kernel\nfrom mm_sim.page import Page\nfrom mm_sim.sched import Steps\n"
        "from mm_sim.system import Rule\n\n\n"
        "class Mine(Kernel):\n    __slots__ = ()\n\n    title = 'mine'\n    posted = 'here'\n"
        f"    applies_to = '2.6.26'\n    expected = '{expected}'\n\n{text}"
    )
    return name


RAISES = (
    "    def add_to_swap(self, page: Page) -> Steps[bool]:\n"
    "        yield 'add_to_swap: before'\n        return {}['x']\n"
)


def test_judge_shows_the_loss_and_its_certificate_and_stores_the_run(tmp_path: Path) -> None:
    result = mm_sim("judge", forgetful(tmp_path), *SMALL)
    assert result.exit_code == 1, result.output
    assert "forgetful.py, compared with linux_2_6_26: adds a loss\n" in result.output
    assert "page_remove_rmap() (forgetful.py:18) ran in anon s390" in result.output
    assert "<-- lost" in result.output
    assert "shortest, proven over" in result.output
    assert "UNEXPECTED" not in result.output
    (stored,) = Path("mm_regressions").iterdir()
    assert f"State after each step: mm-sim explain {stored}" in result.output
    assert "<-- lost" in mm_sim("explain", str(stored), "--timeline").output


def test_a_loss_of_a_patch_that_declares_to_be_safe_is_unexpected(tmp_path: Path) -> None:
    result = mm_sim("judge", forgetful(tmp_path, expected="safe"), *SMALL)
    assert result.exit_code == 1
    assert "UNEXPECTED: declared safe, but adds a loss" in result.output


def test_judge_shows_a_bug_with_its_run_and_the_command_that_shows_more() -> None:
    result = mm_sim("judge", patch("raises.py", RAISES), *SHORT)
    assert result.exit_code == 1
    assert "raises.py, compared with linux_2_6_26: adds a bug\n" in result.output
    assert "KeyError: 'x' in add_to_swap() (raises.py:17)" in result.output
    assert "<-- bug" in result.output
    (stored,) = Path("mm_regressions").iterdir()
    assert f"State after each step: mm-sim explain {stored}\n" in result.output
    assert "<-- bug" in mm_sim("explain", str(stored), "--timeline").output


def test_judge_writes_pages_for_a_browser(tmp_path: Path) -> None:
    result = mm_sim("judge", forgetful(tmp_path), *SMALL, "--report", "pages")
    assert "Report: pages/index.html" in result.output
    assert sorted(file.name for file in Path("pages").iterdir()) == ["forgetful_anon_s390_loss.html", "index.html"]


def test_judge_as_json_has_one_object_for_each_patch(judged: list[dict[str, Any]]) -> None:
    result = mm_sim("judge", "zap_only", patch("found.py"), "--json")
    proven, found = json.loads(result.stdout)
    assert (proven["patch"], proven["base"], proven["verdict"]) == (
        "zap_only",
        "linux_2_6_26",
        "adds no loss: proven",
    )
    assert (found["patch"], found["verdict"]) == ("found.py", "adds no loss found")
    assert proven["targets"][0]["complete"][0]["states"] == 9


def test_a_patch_that_cannot_be_loaded_does_not_keep_the_others_from_being_judged(
    judged: list[dict[str, Any]],
) -> None:
    bad = patch(
        "bad.py", "    rules = (Rule('poke', {'process': 'proc'}, lambda s, p: True, lambda s, p: iter(())),)\n"
    )
    result = mm_sim("judge", "zap_onyl", "zap_only", bad, "easy")
    assert [one["name"] for one in judged] == ["zap_only", "easy"]
    assert result.exit_code == 2
    wrong, rule = result.stderr.splitlines()
    assert "did you mean zap_only?" in wrong
    assert "bad.py:15: rule poke: there is no domain 'proc'" in rule
    assert "easy, compared with linux_2_6_26: adds no loss: proven" in result.stdout


def test_json_names_a_patch_that_cannot_be_loaded(judged: list[dict[str, Any]]) -> None:
    result = mm_sim("judge", "zap_onyl", "zap_only", "--json", "--report", "pages")
    bad, good = json.loads(result.stdout)
    assert (bad["version"], bad["patch"]) == (good["version"], "zap_onyl")
    assert "did you mean zap_only?" in bad["error"]
    assert good["verdict"] == "adds no loss: proven"


def test_two_files_of_one_name_are_told_apart(judged: list[dict[str, Any]]) -> None:
    result = mm_sim("judge", patch("v1/mine.py"), patch("v2/mine.py"))
    assert "v1/mine.py, compared with" in result.output
    assert "v2/mine.py, compared with" in result.output


@pytest.mark.parametrize(
    ("each", "status"),
    [([0, 0], 0), ([0, 3], 3), ([3, 1, 0], 1), ([1, 2, 3], 2), ([2, 130, 1], 130), ([], 0)],
)
def test_exit_status_of_several_patches_is_the_worst(each: list[int], status: int) -> None:
    assert cli.worst(each) == status


def test_an_interrupted_verdict_is_the_last(judged: list[dict[str, Any]]) -> None:
    result = mm_sim("judge", patch("interrupted.py"), "zap_only")
    assert result.exit_code == 130
    assert [one["name"] for one in judged] == ["interrupted.py"]
    assert "adds no loss: proven; interrupted" in result.output


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_prints_what_is_known(jobs: str) -> None:
    """The program says that it judges by touching a file at the first call of a function of the patch."""
    mine = patch(
        "mine.py",
        "    def add_to_swap(self, page: Page) -> Steps[bool]:\n"
        "        open('begun', 'w').close()\n        return (yield from super().add_to_swap(page))\n",
    )
    program = "import sys; from strategies.cli import main; main(sys.argv[1:])"
    arguments = ["judge", mine, "zap_only", "--budget", "60", "--jobs", jobs]
    judging = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not Path("begun").exists() and judging.poll() is None:
        time.sleep(0.05)
    judging.send_signal(signal.SIGINT)
    out, err = judging.communicate()
    assert judging.returncode == 130, err
    assert out.startswith("mine.py, compared with linux_2_6_26: ")
    assert "; interrupted\n" in out
    assert "zap_only" not in out
    assert err == ""


def test_without_options_all_machines_are_judged_on_all_architectures(judged: list[dict[str, Any]]) -> None:
    mm_sim("judge", "zap_only")
    assert judged[0]["machines"] == MACHINES
    assert judged[0]["arches"] == list(ARCHES)


def test_machines_can_be_named(judged: list[dict[str, Any]]) -> None:
    mm_sim("judge", "zap_only", "--machine", "file", "--machine", "two pages", "--arch", "x86", "--base", "easy")
    assert judged == [
        {
            "name": "zap_only",
            "base": "easy",
            "machines": {name: MACHINES[name] for name in ("file", "two pages")},
            "arches": ["x86"],
        }
    ]


@pytest.mark.parametrize(
    ("options", "name", "scope"),
    [
        ("--processes 3", "anon, processes 3", Scope(processes=3)),
        (
            "--threads --files ext2,ext2 --pages 2 --slots 0",
            "anon, pages 2, slots 0, files ext2, also threads",
            Scope(pages=2, slots=0, files=(EXT2,), also=("threads",)),
        ),
        ("--machine threads --no-threads", "threads, also none", MACHINES["file"].scope),
        ("--frames 5 --pins", "anon, frames 5, also pins", Scope(frames=5, also=("pins",))),
    ],
)
def test_any_machine_can_be_built_by_options(
    options: str, name: str, scope: Scope, judged: list[dict[str, Any]]
) -> None:
    result = mm_sim("judge", "zap_only", *options.split())
    assert result.exit_code == 0, result.output
    ((built, machine),) = judged[0]["machines"].items()
    assert (built, machine.scope) == (name, scope)


def test_search_says_what_it_covered() -> None:
    result = mm_sim("search", "linux_2_6_26", "--steps", "4", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "no loss: proven: linux_2_6_26 on s390; 2 processes, 1 page each" in result.output
    assert "complete;" in result.output
    assert "states/s" in result.output


@pytest.mark.parametrize("name", SCOPES)
def test_a_scope_is_searched_whole_if_no_option_changes_it(name: str) -> None:
    unchanged = dict.fromkeys(
        ("processes", "pages", "frames", "slots", "reclaimers", "rules", "steps", "preemptions")
    )
    assert str(_bounds(Kernel, SCOPES[name], unchanged)) == str(SCOPES[name])


def test_search_that_finds_an_added_loss_is_status_1(tmp_path: Path) -> None:
    result = mm_sim("search", forgetful(tmp_path), "--jobs", "1")
    assert result.exit_code == 1, result.output
    assert result.output.startswith("adds a loss: ")
    assert "forgetful.py on s390, compared with linux_2_6_26" in result.output
    assert "<-- lost" in result.output


def test_search_takes_the_same_machine_options() -> None:
    options = ["--machine", "tmpfs", "--pages", "2", "--steps", "1", "--jobs", "1", "--arch", "x86"]
    result = mm_sim("search", "zap_only", *options)
    assert result.exit_code == 0, result.output
    assert "zap_only on x86, compared with linux_2_6_26; 2 processes, 2 pages each" in result.output
    assert "1 slots; tmpfs" in result.output


def test_search_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    file = str(tmp_path / "checkpoint")
    cut = mm_sim(
        "search", "zap_only", "--steps", "5", "--states", "50", "--jobs", "1", "--checkpoint", file, "--json"
    )
    assert json.loads(cut.output)["ended"] == "out of memory"
    rest = mm_sim("search", "zap_only", "--steps", "5", "--jobs", "1", "--checkpoint", file, "--json")
    whole = mm_sim("search", "zap_only", "--steps", "5", "--jobs", "1", "--json")
    assert json.loads(rest.output)["complete"]
    assert json.loads(rest.output)["states"] == json.loads(whole.output)["states"]


RACE = str(FOLDER / "test_zap_only_1321f6851a.py")


def test_explain_shows_every_step_with_what_changed() -> None:
    result = mm_sim("explain", RACE)
    assert result.exit_code == 0, result.output
    assert "zap_only on s390" in result.output
    assert "page_zap_rmap()  <-- blamed" in result.output
    for step in range(1, 9):
        assert f"Step {step}: " in result.output
    assert "+swapcache" in result.output
    assert "frame0 rw -> slot0" in result.output
    assert "\x1b" not in result.output


def test_explain_one_step_and_one_point() -> None:
    assert mm_sim("explain", RACE, "--step", "7").output.startswith("Step 7: exit() by P2")
    point = mm_sim("explain", RACE, "--to", "remove_mapping: count is 2")
    assert point.output.startswith("Step 8, resume() by kswapd, at remove_mapping: count is 2")
    assert "Step 7" not in point.output


def test_explain_compares_with_the_series_that_remembers() -> None:
    result = mm_sim("explain", "easy_mprotect", "--compare", "easy_mprotect_fork", "--timeline")
    assert result.exit_code == 0, result.output
    assert "On easy_mprotect_fork: Nothing is lost." in result.output
    assert "SetPageDirty()" in result.output
    mended = mm_sim("explain", str(FOLDER / "test_linux_2_6_26_77845f7c1a.py"), "--compare", "mremap_anon_vma")
    assert "Already after step 5, mremap(C, A) by P1" in mended.output
    assert "anon_vma: none -> anonvma" in " ".join(mended.output.split())


def test_explain_judges_a_patch_of_which_no_run_is_stored(tmp_path: Path) -> None:
    result = mm_sim("explain", forgetful(tmp_path), "--timeline", *SMALL[:4], *SMALL[-2:])
    assert result.exit_code == 0, result.output
    assert "<-- lost" in result.output
    safe = mm_sim("explain", "a4b526b3ba63", "--budget", "0.2", *SMALL[:4])
    assert "no run with a loss or a bug of it is known, and none was found" in safe.output


def test_explain_takes_no_stored_run_of_another_patch_of_the_same_name() -> None:
    result = mm_sim("explain", patch("zap_only.py"), "--budget", "0.2", "--arch", "s390")
    assert result.output == "zap_only.py: no run with a loss or a bug of it is known, and none was found.\n"


def test_cost_names_series_that_are_no_different_in_a_line() -> None:
    result = mm_sim("cost", "mremap_anon_vma", "zap_only")
    assert result.exit_code == 0, result.output
    assert "The same: mremap_anon_vma.\n" in result.output
    assert "The same: mremap_anon_vma, zap_only (loses).\n" in result.output


def test_cost_as_table_and_json() -> None:
    result = mm_sim("cost", "page_zap_rmap")
    assert result.exit_code == 0, result.output
    assert "page_zap_rmap  loses" in result.output
    loop = json.loads(mm_sim("cost", "page_zap_rmap", "--json").output)[0]
    base, patched = loop["series"]
    assert (base["series"], base["saved"], patched["keys"]["iske"]) == ("linux_2_6_26", 0, 0)
    assert patched["known_losses"] > 0


def test_plot_where_it_cannot_be_written_says_so() -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra `plot`")
    result = mm_sim("cost", "zap_only", "--plot", "/nowhere/x.png")
    assert result.exit_code == 2
    assert "/nowhere/x.png: No such file or directory" in result.output


def test_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = mm_sim("cost", "zap_only", "--plot", str(tmp_path / "x.png"))
    assert result.exit_code == 2
    assert result.output == "Error: --plot needs matplotlib: pip install 'mm_sim[plot]'\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["judge", "zap_onyl"], "did you mean zap_only?"),
        (["judge", "no_such_file.py"], "no_such_file.py: there is no such series file"),
        (["search", "zap_only", "--rules", "store,frok"], "no rule is called 'frok'"),
        (["search", "zap_only", "--scope", "huge"], "'huge' is not one of"),
        (["search", "zap_only", "--steps", "4", "--states", "9", "--checkpoint", "/nowhere/x"], "/nowhere/x"),
        (["judge", "--budget", "0", "zap_only"], "0"),
        (["judge", "zap_only", "--base", "zap_onyl"], "did you mean zap_only?"),
        (["judge", "zap_only", "--slots", "-1"], "'--slots': -1 is not in the range"),
        (["judge", "zap_only", "--files", "ext2,ext4"], "no file is called 'ext4'; there are: ext2, xfs, tmpfs, shm"),
        (["judge", "zap_only", "--processes", "1", "--threads"], "a machine with threads needs two"),
        (["judge", "zap_only", "--machine", "file", "--machine", "anon", "--pages", "2"], "name one machine"),
        (["judge", "zap_only", "--migration", "--arch", "s390"], "pages migrate on x86 only"),
        (["judge", "zap_only", "--report", "/proc/nowhere"], "/proc/nowhere: No such file or directory"),
        (["search", "zap_only", "--migration"], "pages migrate on x86 only"),
        (["search", "zap_only", "--machine", "file", "--machine", "anon"], "a search is of one machine"),
        (["search", "zap_only", "--scope", "pins", "--pages", "2"], "pages migrate on x86 only"),
        (["fuzz", "zap_only", "--migration", "--arch", "s390"], "pages migrate on x86 only"),
        (["explain", "zap_only", "--migration", "--arch", "s390"], "pages migrate on x86 only"),
        (["explain", "zap_onyl"], "did you mean zap_only?"),
        (["explain", "nowhere.py"], "nowhere.py: No such file"),
        (["explain", "zap_only", "--step", "99"], "--step 99: the run has 8 steps"),
        (["explain", "zap_only", "--to", "try_to_unmap: next"], "did you mean 'try_to_unmap: next vma'?"),
        (["explain", "zap_only", "--to", "move_ptes: ptl"], "the run never passes 'move_ptes: ptl'"),
        (["explain", "zap_only", "--compare", "nothing"], "no series is called 'nothing'"),
        (["explain", "zap_only", "--html", "/nowhere/x.html"], "/nowhere/x.html: No such file or directory"),
        (["cost", "zap_onyl"], "did you mean zap_only?"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], message: str) -> None:
    result = mm_sim(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.strip().splitlines()[-1].startswith("Error: ")
