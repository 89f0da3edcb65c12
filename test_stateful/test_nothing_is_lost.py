"""Killed workers, full disks, read-only directories, garbage: what was stored stays, and the next night goes on."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from strategies.corpus import Folder, Store
from strategies.night import report
from test_stateful.nights import forgetful, small_night, until, work, work_away


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
    outcome, store = work(again)
    assert report(again, store, [outcome])[1]
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
    outcome, store = work(small_night(tmp_path))
    whole = len(entries(tmp_path / "kept"))
    file = max((tmp_path / "kept").glob("*/*"), key=lambda file: file.stat().st_size)
    file.write_bytes(damage)
    night = small_night(tmp_path)
    outcome, store = work(night)
    lines, good = report(night, store, [outcome])
    assert good, lines
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


@pytest.mark.nightly
def test_two_nights_at_once_share_a_corpus(tmp_path: Path) -> None:
    night = small_night(tmp_path, budget=4)
    processes = [get_context("fork").Process(target=work_away, args=(night, name)) for name in ("w0", "w1")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    store = Store(night.databases)
    assert report(night, store, [])[1]
    assert not store.troubles()
