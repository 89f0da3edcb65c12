"""Killed workers, full disks, read-only directories, garbage: what was stored stays, and the next night goes on."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from mm_sim.series import load
from mm_sim.system import SMALL
from strategies import plan
from strategies.corpus import BOUND, Corpus, Folder, Store
from strategies.deepen import OPEN, deepen
from strategies.explore import SCOPES, Search
from strategies.night import report
from strategies.tally import tallies, tonight
from strategies.worker import Worker
from test_stateful.nights import (
    bad,
    checkout,
    forgetful,
    fuzz,
    kept,
    pytest_night,
    small_night,
    until,
    work,
    work_away,
)


@contextmanager
def mounted(at: Path, *options: str) -> Iterator[Path]:
    """Something mounted on a directory; skipped where the tests may not mount."""
    at.mkdir(exist_ok=True)
    if subprocess.run(["mount", *options, str(at)], capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def entries(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.glob("*/*") if file.parent.name != "checkpoints"}


@pytest.mark.nightly
def test_killed_worker_leaves_only_whole_entries(tmp_path: Path) -> None:
    night = small_night(tmp_path, budget=60)
    kept = tmp_path / "kept"
    for seed in range(4):
        process = get_context("fork").Process(target=work_away, args=(night, f"w{seed}"))
        process.start()
        before = entries(kept)
        until(lambda before=before: entries(kept).keys() - before)
        time.sleep(random.Random(seed).random() / 5)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    folder = Folder(kept)
    for file, value in entries(kept).items():
        assert file.name == folder._value_path(b"", value).name
    again = small_night(tmp_path)
    _, store = work(again)
    assert not bad(again)
    assert not store.troubles()


@pytest.mark.nightly
def test_full_disk_keeps_what_was_there_and_says_so(tmp_path: Path) -> None:
    with mounted(tmp_path / "kept", "-t", "tmpfs", "-o", "size=64k", "none"):
        first = Folder(tmp_path / "kept")
        first.save(b"key", b"value")
        with pytest.raises(OSError, match="No space left"):
            first.save(b"key", b"x" * 100_000)
        with suppress(OSError), (tmp_path / "kept" / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        night = small_night(tmp_path, budget=3)
        outcome, store = work(night)
        lines, _ = report(night, store, [outcome])
        assert list(first.fetch(b"key")) == [b"value"]
        assert not list((tmp_path / "kept").glob(".part-*"))
        said = [line for line in lines if "No space left on device" in line]
        assert len(said) == 1
        assert "entries could not be saved" in said[0]


@pytest.mark.nightly
def test_full_disk_below_the_tests_prints_the_loss_and_is_red(tmp_path: Path) -> None:
    series = forgetful(tmp_path)
    with mounted(tmp_path / "tests", "-t", "tmpfs", "-o", "size=4k", "none"):
        (tmp_path / "tests" / "filler").write_bytes(b"x" * 4096)
        night = small_night(tmp_path, series, budget=3)
        outcome, store = work(night)
        lines, good = report(night, store, [outcome])
        assert not good
        assert [file.name for file in (tmp_path / "tests").iterdir()] == ["filler"]
        assert any("could not be written: No space left on device" in line for line in lines)
        assert any("<-- lost" in line for line in lines)


@pytest.mark.nightly
def test_read_only_directory_is_read_and_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    Store([str(source)]).put(b"key", {"n": 1})
    with mounted(tmp_path / "kept", "--bind", str(source)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path / "kept")], check=True)
        night = small_night(tmp_path)
        outcome, store = work(night)
        lines, _ = report(night, store, [outcome])
        assert [entry.data for entry in store.all(b"key")] == [{"n": 1}]
        assert any("Read-only file system" in line for line in lines)


@pytest.mark.nightly
@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\x00garbage"])
def test_damaged_entry_is_passed_over_and_counted(tmp_path: Path, damage: bytes) -> None:
    work(small_night(tmp_path))
    whole = len(entries(tmp_path / "kept"))
    runs = [file for file, value in entries(tmp_path / "kept").items() if b'"steps"' in value]
    file = max(runs, key=lambda file: file.stat().st_size)
    file.write_bytes(damage)
    night = small_night(tmp_path, seed=2)  # the same walk would write it again
    outcome, _ = work(night)
    assert not bad(night)
    assert ["1 damaged entries were passed over" in line for line in outcome.troubles] == [True]
    assert len(entries(tmp_path / "kept")) >= whole - 5
    assert file.exists()


def test_entry_that_was_damaged_is_written_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.save(b"key", b"value")
    (file,) = tmp_path.glob("*/*")
    file.write_bytes(b"val")
    assert list(folder.fetch(b"key")) == []
    assert len(folder.damaged) == 1
    folder.save(b"key", b"value")
    assert list(folder.fetch(b"key")) == [b"value"]
    assert not folder.damaged


def test_something_else_in_the_place_of_an_entry_is_passed_over(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.save(b"key", b"value")
    (file,) = tmp_path.glob("*/*")
    (file.parent / "directory").mkdir()
    assert list(folder.fetch(b"key")) == [b"value"]


def test_directory_that_is_removed_in_the_night_is_made_again(tmp_path: Path) -> None:
    store = kept(tmp_path)
    store.put(b"key", {"n": 1})
    shutil.rmtree(tmp_path / "kept")
    store.put(b"key", {"n": 2})
    assert [entry.data for entry in store.all(b"key")] == [{"n": 2}]
    assert not store.troubles()


@pytest.mark.nightly
def test_two_nights_at_once_share_a_corpus(tmp_path: Path) -> None:
    nights = [small_night(tmp_path, budget=6, seed=seed, scopes=("small", "search anon")) for seed in (1, 2)]
    processes = [get_context("fork").Process(target=work_away, args=(night, "w0")) for night in nights]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    for night in nights:
        store = kept(tmp_path)
        assert tonight(night, store).slices
        assert not any(done["bad"] for done in tonight(night, store).jobs.values())
        assert not store.troubles()
    runs, dropped = Corpus(store, load("linux_2_6_26"), "linux_2_6_26", "s390", "small", SMALL).load()
    assert 0 < len(runs) <= BOUND
    assert not dropped


@pytest.mark.nightly
def test_search_that_is_killed_goes_on_from_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plan.SEARCHED, "anon", {"race": SCOPES["race"]})
    night = small_night(tmp_path, scopes=("search anon",), budget=60)
    (job,) = night.jobs()
    checkpoint = tmp_path / "kept/checkpoints/linux_2_6_26-s390-race.jsonl"

    def search(seconds: float) -> None:
        worker = Worker(night, "w0")
        assert deepen(job, night, worker.store, worker.tally, worker.finds, time.monotonic() + seconds) == OPEN

    search(1.0)
    before = checkpoint.read_bytes()
    process = get_context("fork").Process(target=search, args=(60.0,))
    process.start()
    time.sleep(2.0)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert checkpoint.read_bytes() == before
    search(1.0)
    goes_on = Search(load("linux_2_6_26"), "s390", SCOPES["race"])
    goes_on.load(checkpoint)
    assert goes_on.result.seconds > 1.5


@pytest.mark.nightly
def test_worker_of_xdist_that_is_killed_is_replaced_and_makes_the_night_red(tmp_path: Path) -> None:
    at = checkout(tmp_path)
    night = pytest_night(at, "-n", "2", "--budget", "30s", "--series", "linux_2_6_26")
    begin = time.time()
    until(lambda: len(working(at)) == 2, seconds=60)
    killed = working(at).pop()
    os.kill(int(killed.split(" ")[2]), signal.SIGKILL)
    said, _ = night.communicate(timeout=120)
    assert night.returncode == 1, said
    assert time.time() - begin < 30 + 20
    assert f"worker '{killed.split(' ')[1]}' crashed" in said
    assert re.search(r"\d failed.* in ", said.splitlines()[-1])
    assert killed in working(at)
    assert len(working(at)) == 3


@pytest.mark.nightly
def test_worker_of_mm_sim_that_is_killed_is_replaced_and_makes_the_night_red(tmp_path: Path) -> None:
    night = fuzz(tmp_path, "--budget=20s", "--jobs=2", "linux_2_6_26")
    until(lambda: len(working(tmp_path)) == 2, seconds=60)
    os.kill(int(working(tmp_path)[0].split(" ")[2]), signal.SIGKILL)
    said, _ = night.communicate(timeout=120)
    assert night.returncode == 1, said
    assert "died (exit status -9); what it stored is kept" in said
    assert len(working(tmp_path)) == 3


@pytest.mark.nightly
def test_night_that_is_interrupted_says_what_it_did(tmp_path: Path) -> None:
    night = fuzz(tmp_path, "--budget=10m", "--jobs=1", "linux_2_6_26")
    until(lambda: len(working(tmp_path)) == 1, seconds=60)
    night.send_signal(signal.SIGINT)
    said, _ = night.communicate(timeout=60)
    assert night.returncode == 1, said
    assert "linux_2_6_26 on s390: losses: none" in said
    assert "worker w0 had to be ended; what it stored is kept" in said


def working(at: Path) -> list[str]:
    """The workers of the night there was."""
    return [tally.worker for of in tallies(kept(at)).values() for tally in of]


@pytest.mark.nightly
def test_workers_do_not_outlive_the_night_that_is_killed(tmp_path: Path) -> None:
    night = fuzz(tmp_path, "--budget=60s", "--jobs=1", "linux_2_6_26", "a4b526b3ba63", "no_clear_uptodate")
    until(lambda: working(tmp_path))
    worker = int(working(tmp_path)[0].split(" ")[2])
    night.kill()
    until(lambda: not Path(f"/proc/{worker}").exists())  # after its slice of ten seconds
    night.communicate()
