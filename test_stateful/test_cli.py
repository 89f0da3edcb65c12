"""The mm-sim command: what it prints, its exit status, and one line for each kind of bad input."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mm_sim.kernel import Kernel
from mm_sim.series import load, names
from strategies.cli import _bounds, main
from strategies.corpus import Store
from strategies.explore import SCOPES
from strategies.reproducer import FOLDER
from strategies.tally import PROOFS, source_of
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


def test_judge_shows_the_loss_and_its_certificate() -> None:
    result = mm_sim("judge", "page_zap_rmap", "--budget", "15")
    assert result.exit_code == 0, result.output
    assert "page_zap_rmap on s390: loses" in result.output
    assert "<-- lost" in result.output
    assert "shortest, proven over" in result.output


def test_judge_as_json() -> None:
    result = mm_sim("judge", "page_zap_rmap", "no_clear_uptodate", "--budget", "6", "--jobs", "1", "--json")
    loses, safe = json.loads(result.output)
    assert result.exit_code == 0, result.output
    assert (loses["series"], loses["arch"], loses["verdict"]) == ("page_zap_rmap", "s390", "loses")
    loss = loses["losses"][0]
    assert loss.keys() == {"kind", "process", "page", "forgotten_by", "steps", "shortest", "proof", "scope"}
    assert loss["shortest"] == "proven"
    assert loss["page"] == "A"
    assert loss["forgotten_by"].startswith("page_zap_rmap()")
    assert safe["verdict"] == "proven"
    assert safe["losses"] == []
    assert safe["walked"].keys() == {"runs", "steps", "seconds"}
    assert safe["searched"].keys() == {"scope", "states", "seconds", "complete", "unchanged"}
    assert safe["situations"]["clean drop from the swap cache"] > 0
    assert safe["key_instructions"]["iske"] > 0


def test_verdict_that_is_not_expected_is_status_1(tmp_path: Path) -> None:
    result = mm_sim("judge", forgetful(tmp_path, expected="safe"), "--budget", "10")
    assert result.exit_code == 1
    assert "not as expected: it is expected to be safe" in result.output


def test_walk_too_short_to_reach_anything_is_not_as_expected() -> None:
    result = mm_sim("judge", "linux_2_6_26", "--budget", "0.1", "--jobs", "1")
    assert result.exit_code == 1
    assert "not as expected: never reached" in result.output


def test_search_says_what_it_covered() -> None:
    result = mm_sim("search", "linux_2_6_26", "--steps", "4", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "proven: linux_2_6_26 on s390; 2 processes, 1 page each" in result.output
    assert "complete;" in result.output
    assert "states/s" in result.output


@pytest.mark.parametrize("name", SCOPES)
def test_a_scope_is_searched_whole_if_no_option_changes_it(name: str) -> None:
    unchanged = dict.fromkeys(("processes", "pages", "frames", "slots", "reclaimers", "rules", "steps", "stops"))
    assert str(_bounds(Kernel, SCOPES[name], unchanged)) == str(SCOPES[name])


def test_search_that_finds_an_expected_loss_is_status_0() -> None:
    options = ["--rules", "store,fork,reclaim,pageout_done", "--jobs", "1"]
    result = mm_sim("search", "page_zap_rmap", *options)
    assert result.exit_code == 0, result.output
    assert "loses: page_zap_rmap" in result.output
    assert "<-- lost" in result.output


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


RACE = "test_regressions/test_zap_only_1321f6851a.py"


def test_explain_shows_every_step_with_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = mm_sim("explain", RACE)
    assert result.exit_code == 0, result.output
    assert "zap_only on s390" in result.output
    assert "page_zap_rmap()  <-- blamed" in result.output
    for step in range(1, 9):
        assert f"Step {step}: " in result.output
    assert "+swapcache" in result.output
    assert "frame0 rw -> slot0" in result.output
    assert "\x1b" not in result.output


def test_explain_one_step_and_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert mm_sim("explain", RACE, "--step", "7").output.startswith("Step 7: exit() by P2")
    point = mm_sim("explain", RACE, "--to", "remove_mapping: count is 2")
    assert point.output.startswith("Step 8, resume() by kswapd, at remove_mapping: count is 2")
    assert "Step 7" not in point.output


def test_explain_compares_with_the_series_that_remembers() -> None:
    result = mm_sim("explain", "easy_mprotect", "--compare", "easy_mprotect_fork", "--timeline")
    assert result.exit_code == 0, result.output
    assert "On easy_mprotect_fork: Nothing is lost." in result.output
    assert "set_page_dirty()" in result.output
    mended = mm_sim("explain", str(FOLDER / "test_linux_2_6_26_77845f7c1a.py"), "--compare", "mremap_anon_vma")
    assert "Already after step 5, mremap(C, A) by P1" in mended.output
    assert "anon_vma: none -> anonvma" in " ".join(mended.output.split())


def test_explain_judges_a_series_of_which_no_run_is_stored(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from mm_sim.kernel import Kernel\nfrom mm_sim.page import Page\nfrom mm_sim.sched import Steps\n\n\n"
        "class Mine(Kernel):\n    __slots__ = ()\n\n    title = 'never writes'\n    posted = 'here'\n"
        "    applies_to = '2.6.26'\n    expected = 'loses'\n\n"
        "    def clear_page_dirty_for_io(self, page: Page) -> Steps[bool]:\n"
        "        page.PG_dirty = False\n        return False\n        yield\n"
    )
    result = mm_sim("explain", str(file), "--timeline", "--budget", "15")
    assert result.exit_code == 0, result.output
    assert "<-- lost" in result.output
    safe = mm_sim("explain", "a4b526b3ba63", "--budget", "0.2")
    assert "no run is known, nor was one found" in safe.output


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


def test_series_that_breaks_the_bookkeeping_is_bad_input(tmp_path: Path) -> None:
    file = tmp_path / "leaky.py"
    file.write_text(
        "from mm_sim.kernel import Kernel\nfrom mm_sim.page import Page\n\n\n"
        "class Leaky(Kernel):\n    __slots__ = ()\n\n    title = 'puts a page twice'\n    posted = 'here'\n"
        "    applies_to = '2.6.26'\n    expected = 'unknown'\n\n"
        "    def put_page(self, page: Page) -> None:\n"
        "        super().put_page(page)\n        super().put_page(page)\n"
    )
    result = mm_sim("judge", str(file), "--budget", "2", "--jobs", "1")
    assert result.exit_code == 2
    assert "breaks the kernel's bookkeeping" in result.output
