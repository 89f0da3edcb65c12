"""A night: its time, its jobs, its verdicts, and the losses that become tests."""

import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import settings

from mm_sim.series import load
from strategies import night as nights
from strategies.corpus import Store
from strategies.night import Job, Tally, coverage, progress, proofs, report, seconds, tallies, verdict_of
from test_stateful.nights import forgetful, small_night, work


def test_night_ends_on_time_and_says_what_it_reached(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    outcome, store = work(night)
    assert abs(time.time() - night.end) < 20
    lines, good = report(night, store, [outcome])
    assert good, lines
    assert "8 of 8 situations" in lines[0]


@pytest.mark.nightly
def test_loss_becomes_a_test_and_is_recognised_the_next_night(tmp_path: Path) -> None:
    series = forgetful(tmp_path)
    stored: set[str] = set()
    for _ in range(2):
        night = small_night(tmp_path, series, budget=3)
        outcome, store = work(night)
        lines, good = report(night, store, [outcome])
        assert good, lines
        new = {line.rpartition(" ")[2] for line in lines if line.startswith("new kind of loss")}
        met = {line.partition(":")[0] for line in lines if ": met (" in line}
        assert not new & stored
        assert met
        assert bool(new) == any("<-- lost" in line for line in lines)
        if stored:
            assert met & stored
        stored |= new
        assert {file.name for file in (tmp_path / "tests").iterdir()} == stored


def test_loss_of_a_series_that_should_be_safe_makes_the_night_red(tmp_path: Path) -> None:
    night = small_night(tmp_path, forgetful(tmp_path, expected="safe"))
    outcome, store = work(night)
    lines, good = report(night, store, [outcome])
    assert not good
    assert any("is expected to be safe, and loses" in line for line in lines)


def test_safe_series_that_reached_nothing_makes_the_night_red(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    verdict = verdict_of(night, Tally(night.name, "w0", 0.0), "linux_2_6_26", "s390")
    assert "never reached" in str(verdict.surprise())


def test_night_that_reached_nothing_new_says_so(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    lines, _ = report(night, Store(night.databases), [])
    assert "This night reached nothing new." in lines


def test_what_was_walked_least_comes_first(tmp_path: Path) -> None:
    night = small_night(tmp_path, scopes=("small", "vmas"))
    worker = nights.Worker(night, "w0")
    worker.tally.of(Job("linux_2_6_26", "s390", "small"))["seconds"] = 9.0
    assert worker.next_job(60.0) == Job("linux_2_6_26", "s390", "vmas")


def test_search_proves_a_scope_and_goes_on_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dict(list(nights.SEARCHED.items())[:1])
    bounds = replace(first["anon"], steps=4)
    monkeypatch.setattr(nights, "SEARCHED", {"a": bounds, "b": replace(bounds, steps=5)})
    monkeypatch.setattr(nights, "_LAST", 0.0)
    night = small_night(tmp_path, scopes=("search",), budget=5)
    _, store = work(night)
    job = night.jobs()[0]
    source = nights.source_of(load("linux_2_6_26"), "s390")
    assert {name: proof["ended"] for name, proof in proofs(store, source, job).items()} == dict.fromkeys(
        "ab", "complete"
    )
    assert proofs(store, "another version of the model", job) == {}


def test_progress_is_one_line(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    line, _ = progress(night, Tally(night.name, "w0", 0.0), (night.begin, 0))
    assert "\n" not in line
    assert "8 situations unreached; losses: none" in line


def test_seeds_differ_by_job_and_shard_and_repeat() -> None:
    jobs = [Job("a", "s390", "small"), Job("a", "x86", "small")]
    seeds = {nights.seed_of(7, job, shard) for job in jobs for shard in ("w0 1", "w0 2", "w1 1")}
    assert len(seeds) == 6
    assert nights.seed_of(7, jobs[0], "w0 1") in seeds


def test_nightly_profile_overrides_the_ci_profile_of_hypothesis() -> None:
    nightly = settings.get_profile("nightly")
    assert not nightly.derandomize
    assert nightly.database is not None


def test_tallies_of_a_night_that_is_over_become_one(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    store = Store(night.databases)
    for name in ("w0", "w1"):
        tally = Tally(night.name, f"host {name} 1", night.end)
        tally.of(night.jobs()[0])["steps"] = 5
        store.put(nights.TALLIES, asdict(tally))
    nights.compact(store, night.end + 10_000)
    ((one,),) = tallies(store).values()
    assert one.jobs["linux_2_6_26 s390 small"]["steps"] == 10
    assert coverage(store)["linux_2_6_26"][night.name]["steps"] == 10


def test_lengths_of_time() -> None:
    assert [seconds(text) for text in ("8h", "90m", "30s", "2.5")] == [28800, 5400, 30, 2.5]


@pytest.mark.parametrize("text", ["", "h", "-1", "soon"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text}|convert"):
        seconds(text)
