"""Timelines and views: what a run looks like to the person who has to believe it."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mm_sim.kernel import Kernel
from mm_sim.names import NOBODY, P1, PROCESSES, A, R, kswapd
from mm_sim.page import Page, SwapSlot
from mm_sim.sched import Steps
from mm_sim.series import load
from mm_sim.system import SMALL, Scope, System
from mm_sim.view import View, Viewer, changes
from strategies.reproducer import FOLDER, Live, Replay, docstring, read
from strategies.timeline import BLAMED_MARK, LOST_MARK, WIDTH, Run, _shown, text, timeline, trace, words

STORED = sorted(FOLDER.glob("test_*.py"))
RACE = FOLDER / "test_zap_only_1321f6851a.py"
LOCK = FOLDER / "test_page_zap_rmap_d91537a20a.py"


def run_of(path: object, series: str | None = None) -> Run:
    stored, steps = read(FOLDER / str(path))
    return stored.replay(load(series or stored.series), steps)


def rows(run: Run, step: int) -> list[tuple[int, str]]:
    return [(row.depth, row.text) for row in run.rows if row.step == step - 1]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_test_says_what_the_tool_says_today(path: object) -> None:
    """If the text has changed on purpose: python docs/refresh.py."""
    stored, steps = read(FOLDER / str(path))
    run = stored.replay(load(stored.series), steps)
    assert f'"""{docstring(run, stored.series, stored.proof)}"""' in (FOLDER / str(path)).read_text()
    assert all(len(line) <= WIDTH and line.isascii() for line in text(run).splitlines())


def test_interrupted_step_shows_where_the_other_task_came_in() -> None:
    assert rows(run_of(RACE), 6) == [
        (0, "reclaim(P1, A, 4)"),
        (1, "try_to_unmap()"),
        (2, "try_to_unmap_one()"),
        (3, "P1 pte A: frame0 ro -> none"),
        (3, "P1 pte A: none -> slot0"),
        (3, "page_remove_rmap()"),
        (4, "frame0 mapcount: 2 -> 1"),
        (2, "... next vma"),
    ]


def test_step_that_nobody_interrupts_is_one_row() -> None:
    assert rows(run_of(LOCK), 8) == [(0, "reclaim(P1, A, 4)")]


def test_the_rows_that_forget_and_lose_are_marked() -> None:
    marked = {row.mark: (row.step + 1, row.text) for row in run_of(LOCK).rows if row.mark}
    assert marked == {BLAMED_MARK: (9, "page_zap_rmap()"), LOST_MARK: (10, "remove_mapping()")}


def test_words_name_the_record_who_dropped_it_and_the_content() -> None:
    said = " ".join(words(run_of(LOCK)).split())
    assert "2 was stored in step 4, store(A) by P1" in said
    assert "Its only dirty record was the change bit of its storage key." in said
    assert "In step 9, exit() by P2, page_zap_rmap() (series/page_zap_rmap.py:" in said
    assert "dropped the last mapping without handing the change bit to PG_dirty." in said
    assert "remove_mapping() (kernel/vmscan.py:" in said
    assert "removed frame0, the last copy of 2; slot0 has 1." in said


def test_words_say_when_a_record_is_cleared_and_not_passed_over() -> None:
    class Forgetful(Kernel):
        """Clears PG_dirty and does not write."""

        __slots__ = ()

        def clear_page_dirty_for_io(self, page: Page) -> Steps[bool]:
            page.PG_dirty = False
            return False
            yield

    replay = Replay(Forgetful)
    replay.store(process=P1, page=A)
    replay.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    said = " ".join(words(trace(Forgetful, "s390", SMALL, replay.steps)).split())
    assert "Its only dirty record was PG_dirty." in said
    assert "clear_page_dirty_for_io() (test_stateful/test_timeline.py:" in said
    assert "cleared PG_dirty, and the content was not written." in said


def test_words_say_when_a_page_was_never_known_to_be_new() -> None:
    class Careless(Kernel):
        """Gives a clean page a slot and does not mark it dirty; a new page is clean although it was stored to."""

        __slots__ = ()

        def add_to_swap(self, page: Page) -> Steps[bool]:
            self.arch.page_clear_dirty(page)
            entry = self.get_swap_page()
            return (yield from self.add_to_swap_cache(page, entry)) if entry is not None else False

    replay = Replay(Careless)
    replay.store(process=P1, page=A)
    replay.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    said = " ".join(words(trace(Careless, "s390", SMALL, replay.steps)).split())
    assert "left frame0 without a record that it was newer than slot0." in said


def test_words_of_a_loss_on_disk_speak_of_what_fsync_looks_at() -> None:
    said = " ".join(words(run_of("test_linux_2_6_26_4620c02013.py")).split())
    assert "made P1's pte of page A writable before the page had PG_dirty and its tag." in said
    assert "In step 3, fsync(ext2) by P2 reported success without 1 on the disk." in said


def test_words_do_not_give_tmpfs_a_disk() -> None:
    said = " ".join(words(run_of("test_page_zap_rmap_fde934ef5c.py")).split())
    assert "Its only dirty record was the change bit of its storage key." in said
    assert "disk" not in said


def test_words_of_a_page_that_fork_does_not_copy_name_the_vma_without_an_anon_vma() -> None:
    said = " ".join(words(run_of("test_linux_2_6_26_77845f7c1a.py")).split())
    assert "extended a vma that has no anon_vma over page A." in said
    assert said.endswith("copied no pte of that vma, so P2 did not get the page.")


def test_blocked_task_says_for_whom_it_waits() -> None:
    assert rows(run_of(RACE), 7)[-1] == (1, "... waits for kswapd")


def test_a_run_ends_where_a_step_cannot_happen() -> None:
    replay = Replay(Kernel)
    replay.store(process=P1, page=A)
    replay.munlock(process=P1, page=A)
    run = trace(Kernel, "s390", SMALL, replay.steps)
    assert len(run.done) == 1
    assert "The run ends before step 2, munlock, cannot happen here" in words(run)


def test_many_columns_still_fit() -> None:
    replay = Replay(Kernel)
    replay.store(process=P1, page=A)
    for child in PROCESSES[1:]:
        replay.fork(process=P1, child=child)
        replay.store(process=child, page=A, stop="do_wp_page: page copied")
    run = trace(Kernel, "s390", Scope(8, 1, 20, 4), replay.steps)
    assert len(run.columns) == 8
    assert max(map(len, timeline(run).splitlines())) <= WIDTH


def test_pytest_fails_with_the_timeline_and_nothing_around_it(tmp_path: Path) -> None:
    file = tmp_path / "hopeful.py"
    file.write_text(
        "from mm_sim.series.page_zap_rmap import PageZapRmap\n\n\n"
        "class Hopeful(PageZapRmap):\n    __slots__ = ()\n\n    title = 'the proposal'\n    posted = 'here'\n"
        "    applies_to = '2.6.26'\n    expected = 'safe'\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "--series", file, "-p", "no:cacheprovider", RACE],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert f"{file} is expected to be safe and loses a page.\n\n{text(run_of(RACE, 'page_zap_rmap'))}" in ran.stdout
    assert not any(noise in ran.stdout for noise in ("Traceback", "reproducer.py:", "ypothesis.", "raise "))


@pytest.mark.parametrize("path", STORED[::16], ids=lambda path: path.stem)
def test_a_view_changes_only_where_what_is_compared_before_it_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[tuple[object, View]] = []

    def shown_and_viewed(system: System) -> object:
        states.append((_shown(system), Viewer(system)()))
        return states[-1][0]

    monkeypatch.setattr("strategies.timeline._shown", shown_and_viewed)
    run_of(path)
    same = [one[1] == other[1] for one, other in pairwise(states) if one[0] == other[0]]
    assert len(same) > 20
    assert all(same)


def test_view_shows_every_slot_of_the_model() -> None:
    """A field that is added to a class of the model is shown without a line anywhere else."""
    state = Live(Kernel)
    state.store(process=P1, page=A)
    view = Viewer(state.system)()
    assert view["Page"]["frame0"]["flags"] == "anon lru uptodate"
    assert view["Page"]["frame0"]["key"] == "C R"
    assert view["Page"]["frame0"]["content"] == "1"
    assert view["Mm"]["P1"]["pte A"] == "frame0 rw"
    assert view["Vma"]["vma"]["vm_flags"] == "r w"
    assert view["must read"]["P1"]["A"] == "1"

    class Tagged(Page):
        __slots__ = ("PG_private", "tag")

        def __init__(self, tag: SwapSlot) -> None:
            super().__init__(pfn=9)
            self.PG_private = True
            self.tag = tag

    state.system.kernel.frames.append(Tagged(state.system.kernel.slots[0]))
    shown = Viewer(state.system)()["Tagged"]["frame9"]
    assert (shown["flags"], shown["tag"]) == ("private", "slot0")


def test_changes_are_told_in_words() -> None:
    state = Live(Kernel)
    viewer = Viewer(state.system)
    state.store(process=P1, page=A)
    before = viewer()
    state.mprotect(process=P1, page=A, prot=R)
    assert "P1 pte A: frame0 rw -> frame0 ro" in map(str, changes(before, viewer()))


def test_nobody_may_be_the_first_argument_of_an_interrupt() -> None:
    replay = Replay(Kernel)
    replay.store(process=P1, page=A)
    replay.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    replay.munmap(process=P1, page=A)
    replay.pageout_done(holder=NOBODY, page=A)
    run = trace(Kernel, "s390", SMALL, replay.steps)
    assert run.columns == ["P1", "kswapd", "I/O"]
