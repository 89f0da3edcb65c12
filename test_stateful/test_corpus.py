"""Runs kept from night to night: as text, shortened, pruned, shared; and a database that fails for a while."""

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis.database import ExampleDatabase, InMemoryExampleDatabase

from mm_sim.loss import Step
from mm_sim.names import P1, P2, A, kswapd
from mm_sim.series import load
from mm_sim.system import SMALL
from strategies.corpus import (
    Corpus,
    DatabaseError,
    Folder,
    Patient,
    Stale,
    Store,
    reaches_situation,
    read_step,
    shorten,
)
from strategies.reproducer import Replay, call
from strategies.rules import instances, stops
from strategies.tally import merge
from strategies.walk import Walk

KERNEL = load("linux_2_6_26")


def corpus(path: Path) -> Corpus:
    return Corpus(Store([str(path)]), KERNEL, "linux_2_6_26", "s390", "small", SMALL)


def drop_from_the_swap_cache() -> Replay:
    """A run that comes to a clean drop from the swap cache, with two steps it does not need."""
    state = Replay(KERNEL)
    state.store(process=P1, page=A)
    state.load(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    state.fork(process=P1, child=P2)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    return state


SITUATION = "clean drop from the swap cache"


def test_every_step_reads_back_from_its_text() -> None:
    for rule, arguments in instances(KERNEL, SMALL):
        for stop in stops(KERNEL, rule) or (None,):
            step = Step(rule, arguments, stop)
            assert read_step(KERNEL, SMALL, call(step)) == step


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "store(page=__import__('os'), process=P1, stop=None)",
        "store(page=Z, process=P1, stop=None)",
        "store(page=A, process=P1, stop='nowhere: at all')",
        "store(page=A)",
        "teleport(process=P1)",
        "store(",
        "[" * 10_000,
        "\0",
    ],
)
def test_text_that_is_no_step_is_stale_and_never_evaluated(text: str) -> None:
    with pytest.raises(Stale):
        read_step(KERNEL, SMALL, text)


def test_kept_run_has_only_the_steps_it_needs(tmp_path: Path) -> None:
    steps = drop_from_the_swap_cache().steps
    shorter = shorten(KERNEL, "s390", SMALL, steps, reaches_situation(SITUATION))
    assert shorter is not None
    assert [step.rule.name for step in shorter][1:] == ["reclaim", "pageout_done", "reclaim"]


def test_kept_run_is_readable_json(tmp_path: Path) -> None:
    kept = corpus(tmp_path)
    assert kept.keep(drop_from_the_swap_cache().steps, SITUATION, reaches_situation(SITUATION))
    (entry,) = kept.store.all(kept.key)
    assert json.loads(entry.value)["reached"] == SITUATION
    assert json.loads(entry.value)["steps"][0] == "load(page=A, process=P1, stop=None)"


def test_later_walk_sets_out_from_a_kept_run(tmp_path: Path) -> None:
    kept = corpus(tmp_path)
    kept.keep(drop_from_the_swap_cache().steps, SITUATION, reaches_situation(SITUATION))
    walk = Walk(KERNEL, "s390", SMALL, seed=0)
    ((_, steps),), dropped = kept.load()
    assert dropped == 0
    assert walk.adopt(steps)
    assert walk.marks == {SITUATION: 1}
    assert tuple(steps[:3]) in [path for _, path in walk.corpus]


def test_one_run_is_kept_for_each_thing_reached_and_the_shortest(tmp_path: Path) -> None:
    kept = corpus(tmp_path)
    for n in (3, 1, 2):
        kept.store.put(kept.key, {"reached": "state 1.2", "steps": ["load(page=A, process=P1, stop=None)"] * n})
    runs, _ = kept.load()
    assert [len(steps) for _, steps in runs] == [1]


def test_corpus_is_pruned_to_its_bound_situations_first(tmp_path: Path) -> None:
    kept = corpus(tmp_path)
    for n in range(10):
        kept.store.put(kept.key, {"reached": f"state {n}.1", "steps": ["x"]})
    kept.store.put(kept.key, {"reached": SITUATION, "steps": ["x"] * 9})
    left = kept.pruned(kept.store.all(kept.key), bound=4)
    assert left[0].data["reached"] == SITUATION
    assert len(kept.store.all(kept.key)) == 4


def test_run_the_model_no_longer_knows_is_dropped_and_counted(tmp_path: Path) -> None:
    kept = corpus(tmp_path)
    kept.keep(drop_from_the_swap_cache().steps, SITUATION, reaches_situation(SITUATION))
    kept.store.put(kept.key, {"reached": "x", "steps": ["teleport(process=P1)"]})
    runs, dropped = kept.load()
    assert (len(runs), dropped) == (1, 1)
    assert len(kept.store.all(kept.key)) == 1


def test_run_with_a_step_that_cannot_happen_is_not_adopted() -> None:
    state = Replay(KERNEL)
    state.exit(process=P2)
    assert not Walk(KERNEL, "s390", SMALL, seed=0).adopt(state.steps)


def test_states_are_new_once(tmp_path: Path) -> None:
    kept = corpus(tmp_path)
    assert kept.add_states([(1, 1), (2, 1)]) == (2, 2)
    assert kept.add_states([(2, 1), (3, 1)]) == (1, 3)
    assert corpus(tmp_path).add_states([(1, 1)]) == (0, 3)
    assert len(kept.store.all(kept.states_key)) == 1


@pytest.mark.parametrize("wrong", [5, "x", None, [5], {}])
def test_entry_of_the_wrong_type_is_dropped_and_never_an_error(tmp_path: Path, wrong: object) -> None:
    kept = corpus(tmp_path)
    kept.store.put(kept.key, {"reached": wrong, "steps": wrong})
    kept.store.put(kept.states_key, {"states": wrong})
    assert kept.load() == ([], 1)
    assert kept.add_states([(1, 1)])[0] == 1


def test_states_beyond_the_bound_are_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.corpus.STATES", 10)
    kept = corpus(tmp_path)
    assert kept.add_states([(n, 1) for n in range(20)]) == (10, 10)
    assert kept.add_states([(n, 1) for n in range(20)]) == (0, 10)


def test_databases_are_merged_and_merging_again_changes_nothing(tmp_path: Path) -> None:
    here, there = corpus(tmp_path / "here"), corpus(tmp_path / "there")
    there.keep(drop_from_the_swap_cache().steps, SITUATION, reaches_situation(SITUATION))
    assert merge(here.store, there.store, [("linux_2_6_26", KERNEL)]) == 1
    assert merge(here.store, there.store, [("linux_2_6_26", KERNEL)]) == 0
    assert len(here.load()[0]) == 1


def test_two_databases_share_what_either_has(tmp_path: Path) -> None:
    both = Store([str(tmp_path / "a"), str(tmp_path / "b")])
    both.put(b"key", {"n": 1})
    Store([str(tmp_path / "b")]).put(b"key", {"n": 2})
    assert [entry.data["n"] for entry in both.all(b"key")] == [1, 2]
    assert len(Store([str(tmp_path / "a")]).all(b"key")) == 1


class Moody(ExampleDatabase):
    """A database that fails while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = InMemoryExampleDatabase()
        self.down = True

    def save(self, key: bytes, value: bytes) -> None:
        self.check()
        self.inner.save(key, value)

    def delete(self, key: bytes, value: bytes) -> None:
        self.check()
        self.inner.delete(key, value)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        self.check()
        return self.inner.fetch(key)

    def check(self) -> None:
        if self.down:
            raise OSError(5, "it is down")


def test_what_a_database_does_not_take_is_handed_on_when_it_does() -> None:
    moody = Moody()
    patient = Patient(moody, "moody")
    patient.save(b"k", b"one")
    patient.save(b"k", b"two")
    patient.delete(b"k", b"two")
    assert set(patient.fetch(b"k")) == {b"one"}
    assert str(patient) == "moody: failed 2 times (it is down), 1 entries could not be saved"
    moody.down = False
    patient.flush(now=True)
    assert set(moody.fetch(b"k")) == {b"one"}
    assert str(patient) == "moody: failed 2 times (it is down), nothing was lost"


def test_what_is_deleted_twice_while_a_database_is_down_is_deleted() -> None:
    moody = Moody()
    moody.inner.save(b"k", b"one")
    patient = Patient(moody, "moody")
    patient.delete(b"k", b"one")
    patient.delete(b"k", b"one")
    moody.down = False
    patient.flush(now=True)
    assert set(moody.fetch(b"k")) == set()


def test_folder_is_read_by_hypothesis_own_database(tmp_path: Path) -> None:
    from hypothesis.database import DirectoryBasedExampleDatabase

    Folder(tmp_path).save(b"key", b"value")
    assert set(DirectoryBasedExampleDatabase(tmp_path).fetch(b"key")) == {b"value"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("github:nobody", "must read github:OWNER/REPOSITORY/SERIES"),
        ("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0: "),
        (__file__, "is a file; a database is a directory"),
    ],
)
def test_database_that_cannot_be_opened_is_named(name: str, message: str) -> None:
    with pytest.raises(DatabaseError) as error:
        Store.open([name])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_artifacts_of_a_ci_are_read_only() -> None:
    (part,) = Store(["github:owner/repository/zap_only"]).parts
    part.save(b"key", b"value")
    assert not part.failures
    assert not part.waiting


def test_artifact_of_a_ci_has_what_its_database_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store(["there"]).put(b"key", {"n": 1})
    here = tmp_path / ".mm_sim/artifacts/owner/repository/zap_only"
    downloaded = f"{datetime.now(UTC).isoformat()}".replace(":", "_")
    shutil.make_archive(str(here / downloaded), "zip", "there")
    assert [entry.data for entry in Store(["github:owner/repository/zap_only"]).all(b"key")] == [{"n": 1}]
