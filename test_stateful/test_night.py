"""A night: its time, its jobs, its verdicts, and the losses that become tests."""

import re
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.kernel import Kernel
from mm_sim.loss import Step, explain
from mm_sim.names import P1, P2, A, ext2
from mm_sim.series import SeriesError, load
from mm_sim.system import SMALL, Loss
from strategies import deepen, plan
from strategies.corpus import Corpus, Store
from strategies.explore import SCOPES, Search
from strategies.finds import Finds
from strategies.machine import machine
from strategies.night import progress, report, verdicts_of
from strategies.plan import Job, seconds, seed_of
from strategies.reproducer import Live, Replay
from strategies.tally import BUGS, TALLIES, Tally, compact, coverage, plot, proofs, source_of, tallies, walks
from strategies.targets import MACHINES, custom
from strategies.verdict_text import REQUIRED
from strategies.worker import Worker
from test_stateful.nights import checkout, forgetful, fuzz, kept, one_point_more, pytest_night, small_night, work


def test_night_ends_on_time_and_says_what_it_reached(tmp_path: Path) -> None:
    night = small_night(tmp_path, budget=3)
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
        night = small_night(tmp_path, series, budget=8)
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
    night = small_night(tmp_path, forgetful(tmp_path, expected="safe"), budget=1)
    outcome, store = work(night)
    lines, good = report(night, store, [outcome])
    assert not good
    assert any("is expected to be safe, and loses" in line for line in lines)


def loss_of_2_6_26(kernel: type[Kernel]) -> list[Step]:
    """fsync() does not find the page: PG_dirty is set, its tag is not."""
    run = Replay(kernel)
    run.fork(process=P1, child=P2)
    run.store(process=P1, page=A, stop="set_page_dirty: PG_dirty set")
    run.store(process=P2, page=A)
    run.fsync(process=P2, file=ext2)
    return run.steps


def test_loss_of_the_base_is_kept_as_one_of_the_base(tmp_path: Path) -> None:
    series = one_point_more(tmp_path)
    night = small_night(tmp_path, series, scopes=("file",), budget=600)
    (job,) = night.jobs()
    worker = Worker(night, "w0")
    worker.finds.failed(job, SCOPES["file"].scope, loss_of_2_6_26(load(series)))
    done = worker.tally.of(job)
    assert not done["losses"]
    assert sum(done["of the base"].values()) == 1
    (test,) = worker.tally.new
    assert test.startswith("test_linux_2_6_26_")
    assert [file.name for file in (tmp_path / "tests").iterdir()] == [test]


def test_machine_named_by_its_size_is_walked_and_kept(tmp_path: Path) -> None:
    name, machine = custom("file", MACHINES["file"], pages=2)
    night = small_night(tmp_path, scopes=(name,), budget=1.0)
    outcome, store = work(night)
    (done,) = outcome.tally["jobs"].values()
    assert done["runs"]
    assert walks(store)[name] == machine.scope
    assert Corpus(store, load("linux_2_6_26"), "linux_2_6_26", "s390", name, machine.scope).load()[0]


def test_known_loss_of_the_base_is_no_surprise(tmp_path: Path) -> None:
    series = one_point_more(tmp_path)
    for new in (True, False):
        night = small_night(tmp_path, series, scopes=("file",), budget=600)
        (job,) = night.jobs()
        worker = Worker(night, "w0")
        worker.finds.failed(job, SCOPES["file"].scope, loss_of_2_6_26(load(series)))
        assert bool(worker.tally.new) is new
        assert bool(worker.tally.of(job)["bad"]) is new
        (verdict,) = verdicts_of(night, worker.tally, series, "s390")
        assert "losses: none; 1 more of its base" in str(verdict)


def test_search_goes_on_past_broken_bookkeeping_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched(monkeypatch, a=3)
    series = Path(forgetful(tmp_path, expected="safe"))
    series.write_text(series.read_text().replace("page.PG_dirty = False", 'raise KernelBug("broken")'))
    series.write_text(series.read_text().replace("import Steps", "import KernelBug, Steps"))
    night = small_night(tmp_path, str(series), scopes=("search anon",))
    (job,) = night.jobs()
    worker = Worker(night, "w0")
    state = deepen.deepen(job, night, worker.store, worker.tally, worker.finds, time.monotonic() + 60)
    assert state == deepen.CLOSED
    assert worker.tally.of(job)["bugs"] == {"page_remove_rmap": 1}
    assert worker.tally.of(job)["bad"] == {"forgetful breaks the kernel's bookkeeping in page_remove_rmap()": 1}
    assert not proofs(worker.store, source_of(load(str(series)), "s390"), job)
    (bug,) = worker.store.all(BUGS)
    assert len(bug.data["steps"]) == 2


def test_misuse_of_a_lock_is_said_of_the_function_that_takes_it(tmp_path: Path) -> None:
    series = Path(forgetful(tmp_path))
    series.write_text(series.read_text().replace("page.PG_dirty = False", "page.lock.release(self.current)"))
    kernel = load(str(series))
    run = Replay(kernel)
    run.store(process=P1, page=A)
    run.munmap(process=P1, page=A)
    night = small_night(tmp_path, str(series))
    worker = Worker(night, "w0")
    worker.finds.failed(night.jobs()[0], SMALL, run.steps)
    assert worker.tally.of(night.jobs()[0])["bugs"] == {"page_remove_rmap": 1}


@pytest.mark.parametrize(
    ("said", "machine", "word"),
    [
        ('loses_in = {"file": ("x86",)}', "file", "loses"),
        ('loses_in = {"file": ("x86",)}', "anon", "safe"),
        ('expected = "safe"', "file", "safe"),
        ('expected = "loses"', "file", "loses somewhere"),
        ("", "file", "unknown"),
    ],
)
def test_what_is_expected_is_what_a_patch_says_of_itself(tmp_path: Path, said: str, machine: str, word: str) -> None:
    series = Path(one_point_more(tmp_path))
    series.write_text(series.read_text().replace('expected = "safe"', said))
    assert plan.expected(load(str(series)), (machine,), "x86") == word


def test_2_6_26_is_to_lose_in_no_new_way() -> None:
    assert plan.expected(load("linux_2_6_26"), ("file",), "x86") == "safe"


def test_safe_series_that_reached_nothing_makes_the_night_red(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    (verdict,) = verdicts_of(night, Tally(night.name, "w0", 0.0), "linux_2_6_26", "s390")
    assert "never reached" in str(verdict.surprise())


def test_series_that_loops_for_ever_does_not_hold_up_the_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = Path(forgetful(tmp_path))
    series.write_text(series.read_text().replace("page.mapcount -= 1", "while True:\n            pass"))
    monkeypatch.setattr("strategies.worker._LATE", 0.5)
    night = small_night(tmp_path, str(series), budget=1)
    outcome, store = work(night)
    assert time.time() < night.end + 10
    lines, good = report(night, store, [outcome])
    assert not good
    assert any("> page_remove_rmap" in line for line in lines)


def test_night_that_reached_nothing_new_says_so(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    lines, _ = report(night, Store(night.databases), [])
    assert "This night reached nothing new." in lines


def test_what_was_walked_least_comes_first(tmp_path: Path) -> None:
    night = small_night(tmp_path, scopes=("small", "vmas"))
    worker = Worker(night, "w0")
    worker.tally.of(Job("linux_2_6_26", "s390", "small"))["seconds"] = 9.0
    assert worker.next_job(60.0) == Job("linux_2_6_26", "s390", "vmas")


def test_series_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="more than one series is called zap_only"):
        small_night(tmp_path, "zap_only", "elsewhere/zap_only.py")


ANON = SCOPES["anon"]


def searched(monkeypatch: pytest.MonkeyPatch, **steps: int) -> None:
    """Let a night search `anon` up to so many steps, one scope after the other."""
    monkeypatch.setitem(plan.SEARCHED, "anon", {name: replace(ANON, steps=n) for name, n in steps.items()})


def test_search_proves_a_scope_and_goes_on_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched(monkeypatch, a=4, b=5)
    night = small_night(tmp_path, scopes=("search anon",), budget=5)
    outcome, store = work(night)
    (job,) = night.jobs()
    source = source_of(load("linux_2_6_26"), "s390")
    done = proofs(store, source, job)
    assert {name: proof["ended"] for name, proof in done.items()} == {"a": "complete", "b": "complete"}
    assert proofs(store, "another version of the model", job) == {}
    lines, good = report(night, store, [outcome])
    assert good, "a night that is to search need not walk: " + "; ".join(lines)


def test_search_that_meets_a_loss_makes_the_night_red(tmp_path: Path) -> None:
    night = small_night(tmp_path, forgetful(tmp_path, expected="safe"), scopes=("search anon",), budget=30)
    outcome, store = work(night)
    lines, good = report(night, store, [outcome])
    assert not good
    assert any("is expected to be safe, and loses" in line for line in lines)


def test_loss_that_is_expected_is_searched_for_until_it_is_met(tmp_path: Path) -> None:
    night = small_night(tmp_path, forgetful(tmp_path), scopes=("search anon",), budget=30)
    outcome, store = work(night)
    assert report(night, store, [outcome])[1]
    (job,) = night.jobs()
    assert outcome.tally["jobs"][str(job)]["losses"]
    worker = Worker(night, "w1")
    assert deepen.deepen(job, night, store, worker.tally, worker.finds, time.monotonic()) == deepen.CLOSED


def test_search_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched(monkeypatch, a=6)
    night = small_night(tmp_path, scopes=("search anon",))
    (job,) = night.jobs()
    slices = 0
    while not (done := proofs(kept(tmp_path), source_of(load("linux_2_6_26"), "s390"), job)):
        worker = Worker(night, f"w{slices}")
        assert deepen.deepen(job, night, worker.store, worker.tally, worker.finds, 0.0) == deepen.OPEN
        slices += 1
    assert slices > 2
    assert done["a"]["states"] == Search(load("linux_2_6_26"), "s390", replace(ANON, steps=6)).run().states
    assert not list(tmp_path.glob("kept/checkpoints/*.jsonl"))


def test_search_that_another_worker_is_at_is_left_to_it(tmp_path: Path) -> None:
    night = small_night(tmp_path, scopes=("search anon", "search file"))
    one, other = night.jobs()
    worker = Worker(night, "w0")
    with deepen._only_one(tmp_path / "kept/checkpoints/linux_2_6_26-s390-anon.lock") as mine:
        assert mine
        worker.search(one, time.monotonic())
    assert worker.next_job(60.0) == other


def test_each_scope_of_a_verdict_is_walked_and_searched() -> None:
    assert plan.SEARCHED.keys() == REQUIRED.keys()
    assert {plan.judged_as(name) for name in plan.WALKED} == REQUIRED.keys()


def test_a_loss_that_a_patch_declares_in_a_walked_machine_is_expected_there() -> None:
    kernel = load("swapin_synchronous")
    assert plan.judged_as("anon threads") == "anon"
    assert plan.expected(kernel, ("anon", "anon threads"), "s390") == "loses"
    assert plan.expected(kernel, ("anon", "small"), "s390") == "safe"


@pytest.mark.parametrize("name", list(plan.SEARCHED))
def test_larger_searches_begin_with_what_every_test_run_proves(name: str) -> None:
    first, *larger = plan.SEARCHED[name].items()
    assert first == (name, SCOPES[name])
    assert all(set(bounds.scope.files) >= set(SCOPES[name].scope.files) for _, bounds in larger)
    assert larger


def test_loss_of_a_night_is_what_hypothesis_begins_with(tmp_path: Path) -> None:
    series = forgetful(tmp_path)
    work(small_night(tmp_path, series, budget=1))
    again = machine(load(series), series, "s390")
    reuse = settings(
        settings.get_profile("plain"), phases=[Phase.reuse], database=kept(tmp_path).database, max_examples=10
    )
    with pytest.raises(Loss):
        run_state_machine_as_test(again, settings=reuse)  # type: ignore[no-untyped-call,unused-ignore]


def test_situations_reached_for_the_first_time_are_named_once(tmp_path: Path) -> None:
    for first in (True, False):
        night = small_night(tmp_path, scopes=("threads",), budget=1)
        tally = Tally(night.name, "host w0 1", night.end)
        tally.of(night.jobs()[0])["situations"]["clean drop from the page cache"] = 3
        kept(tmp_path).put(TALLIES, asdict(tally))
        lines, _ = report(night, kept(tmp_path), [])
        said = "linux_2_6_26: reached for the first time: clean drop from the page cache"
        assert (said in lines) == first
        assert ("This night reached nothing new." in lines) != first


def test_coverage_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra for pictures is not installed")
    work(small_night(tmp_path, budget=1))
    work(small_night(tmp_path, budget=1))
    plot(kept(tmp_path), tmp_path / "coverage.png")
    assert (tmp_path / "coverage.png").read_bytes().startswith(b"\x89PNG")


def test_progress_is_one_line(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    line, _ = progress(night, Tally(night.name, "w0", 0.0), (night.begin, 0))
    assert "\n" not in line
    assert "8 situations unreached; losses: none" in line


def test_seeds_differ_by_job_and_shard_and_repeat() -> None:
    jobs = [Job("a", "s390", "small"), Job("a", "x86", "small")]
    seeds = {seed_of(7, job, shard) for job in jobs for shard in ("w0 1", "w0 2", "w1 1")}
    assert len(seeds) == 6
    assert seed_of(7, jobs[0], "w0 1") in seeds


def test_nightly_profile_overrides_the_ci_profile_of_hypothesis() -> None:
    nightly = settings.get_profile("nightly")
    assert not nightly.derandomize
    assert nightly.database is not None


@pytest.mark.parametrize(
    "wrong", [{"jobs": {"a": {}}}, {"slices": "x"}, {"said": {"a": "b"}}, {"night": 3}, {"end": None}, {"more": 1}]
)
def test_tally_that_is_none_is_passed_over_and_counted(tmp_path: Path, wrong: dict[str, object]) -> None:
    store = kept(tmp_path)
    store.put(TALLIES, {**asdict(Tally("night", "host w0 1", 0.0)), **wrong})
    assert tallies(store) == tallies(store) == {}
    assert store.troubles() == [f"{tmp_path / 'kept'}: 1 entries could not be read, and were passed over"]
    assert store.tidy() == 1
    assert store.all(TALLIES) == []


def test_tallies_of_a_night_that_is_over_become_one(tmp_path: Path) -> None:
    night = small_night(tmp_path)
    store = Store(night.databases)
    for name in ("w0", "w1"):
        tally = Tally(night.name, f"host {name} 1", night.end)
        tally.of(night.jobs()[0])["steps"] = 5
        store.put(TALLIES, asdict(tally))
    compact(store, night.end + 10_000)
    ((one,),) = tallies(store).values()
    assert one.jobs["linux_2_6_26 s390 small"]["steps"] == 10
    assert coverage(store)["linux_2_6_26"][night.name]["steps"] == 10


@pytest.mark.nightly
def test_night_of_pytest_ends_on_time_with_the_exit_status_of_what_it_says(tmp_path: Path) -> None:
    at = checkout(tmp_path)
    begin = time.time()
    night = pytest_night(at, "-n", "2", "--budget", "75s", "--series", "a4b526b3ba63", "--seed", "1")
    said, _ = night.communicate(timeout=180)
    assert time.time() - begin < 75 + 60
    assert night.returncode == ("not as expected" in said), said
    assert re.search(r"[12] (passed|failed).* in ", said.splitlines()[-1])
    assert re.search("night 1: [0-9]+ jobs, 2 workers", said)
    assert said.count(" gone, ") == 1, "a line each minute"
    assert "a4b526b3ba63 on s390: losses: none" in said


@pytest.mark.nightly
def test_night_of_mm_sim_ends_on_time_with_the_losses_it_found(tmp_path: Path) -> None:
    begin = time.time()
    night = fuzz(tmp_path, "--budget=20s", "--jobs=2", forgetful(tmp_path))
    said, _ = night.communicate(timeout=120)
    assert night.returncode == 0, said
    assert time.time() - begin < 20 + 60
    new = {line.rpartition(" ")[2] for line in said.splitlines() if line.startswith("new kind of loss")}
    assert new
    assert new <= {file.name for file in (tmp_path / "tests").iterdir()}
    assert "<-- lost" in said


def test_lengths_of_time() -> None:
    assert [seconds(text) for text in ("8h", "90m", "30s", "2.5")] == [28800, 5400, 30, 2.5]


@pytest.mark.parametrize("text", ["", "h", "-1", "soon"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text}|convert"):
        seconds(text)


def test_losses_with_one_function_to_blame_and_the_same_rules_are_of_one_kind(tmp_path: Path) -> None:
    """In the stored run the other thread stores and calls fsync()."""
    kernel, scope = load("linux_2_6_26"), SCOPES["threads"].scope
    state = Live(kernel, "s390", scope)
    state.store(process=P2, page=A, stop="do_linear_fault: page unlocked")
    state.store(process=P1, page=A)
    with pytest.raises(Loss):
        state.fsync(process=P1, file=ext2)
    found = explain(kernel, "s390", scope, state.steps)
    assert found is not None
    assert found.forgotten_by.function == "do_linear_fault"
    night = plan.plan(["linux_2_6_26"], 60, 0, 1, [str(tmp_path)])
    finds = Finds(night, Store(night.databases), Tally("a night", "a worker", 0.0), stop=0.0)
    assert finds.known("linux_2_6_26", "s390", state.steps, scope) == "test_linux_2_6_26_fc6a0bcceb.py"
