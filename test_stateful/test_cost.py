"""What a series saves and costs: workloads, counts, and the picture."""

import json
from pathlib import Path

import pytest

from mm_sim.names import EXT2, P2, A, B, C, kswapd
from mm_sim.series import names
from mm_sim.system import Scope
from strategies.cost import WORKLOADS, CannotRun, Workload, all_costs, expand, known_losses, measure, plot, saved
from strategies.rules import RULES

RULE = {rule.name: rule for rule in RULES}
LOOP = WORKLOADS[0]


def test_a_range_of_pages_stands_for_a_step_on_each() -> None:
    assert list(expand("store P2 A..C  # touched", RULE)) == [(RULE["store"], (P2, page)) for page in (A, B, C)]
    assert list(expand("reclaim kswapd P2 A 4", RULE)) == [(RULE["reclaim"], (kswapd, P2, A, 4))]


def test_the_final_patch_spends_no_key_instruction_on_pages_that_never_meet_swap() -> None:
    final, proposal, base = (measure(name, LOOP) for name in ("a4b526b3ba63", "page_zap_rmap", "linux_2_6_26"))
    assert final.instructions == 0
    assert base.keys["iske"] > 0
    assert proposal.keys == {**base.keys, "iske": 0, "sske": proposal.keys["sske"]}
    assert 0 < saved(proposal, base) < saved(final, base) == 1


def test_exit_is_counted_apart() -> None:
    one = Workload("one page", "", Scope(), 3, "store P1 A\nfork P1 P2\nstore P2 A\nexit P2")
    cost = measure("linux_2_6_26", one)
    assert cost.exits == 3
    assert cost.in_exit == {"iske": 3, "sske": 3, "rrbe": 0}


def test_a_write_of_what_the_slot_holds_already_is_spurious() -> None:
    """With swap more than half full a page that is read back leaves the swap cache, dirty."""
    clean = "store P1 A\nreclaim kswapd P1 A 4\npageout_done P1 A\nreclaim kswapd P1 A 4\nload P1 A\n"
    again = clean + "reclaim kswapd P1 A 4\nreclaim kswapd P1 A 4\npageout_done P1 A"
    cost = measure("linux_2_6_26", Workload("again", "", Scope(slots=1), 1, again))
    assert (cost.writes, cost.spurious) == (2, 1)


def test_a_page_written_with_write_is_written_again_once_it_was_mapped() -> None:
    """Write-back of a page that nobody maps leaves its change bit to the next unmap."""
    scope = Scope(files=(EXT2,), slots=0)
    write = "write P1 ext2 A\nwriteback pdflush ext2\npageout_done ext2 A\n"
    mapped = "load P1 A\nmunmap P1 A\nwriteback pdflush ext2\npageout_done ext2 A"
    new = measure("linux_2_6_26", Workload("new", "", scope, 1, write + mapped))
    assert (new.writes, new.spurious) == (1, 0)  # SetPageUptodate() has cleared the change bit
    again = measure("linux_2_6_26", Workload("again", "", scope, 1, write + write + mapped))
    assert (again.writes, again.spurious) == (3, 1)
    on_x86 = measure("linux_2_6_26", Workload("again", "", scope, 1, write + write + mapped), "x86")
    assert (on_x86.writes, on_x86.spurious) == (2, 0)


def test_work_that_not_all_series_could_do_is_refused() -> None:
    with pytest.raises(CannotRun, match="out of memory in the workload 'too much'"):
        measure("linux_2_6_26", Workload("too much", "", Scope(pages=8, frames=2), 1, "store P1 A..H"))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_every_process_that_a_workload_starts_exits(workload: Workload) -> None:
    cost = measure("linux_2_6_26", workload)
    assert cost.exits == workload.times * workload.steps.count("exit P")


def test_stored_runs_tell_who_loses_and_a_loss_of_2_6_26_is_held_against_nobody() -> None:
    losses = known_losses(names())
    assert not losses["linux_2_6_26"]
    assert not losses["a4b526b3ba63"]
    assert losses["page_zap_rmap"] > 0


def test_picture_carries_its_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the extra `plot`")
    file = tmp_path / "cost.svg"
    costs = all_costs(["page_zap_rmap"])
    plot(costs, {"linux_2_6_26": 0, "page_zap_rmap": 1}, file)
    text = file.read_text()
    assert "page_zap_rmap" in text
    assert json.dumps({"iske": 280})[1:-1] in text.replace("&quot;", '"')
    plot(costs, {"linux_2_6_26": 0, "page_zap_rmap": 1}, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
