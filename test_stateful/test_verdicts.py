"""The verdict on every series: what the state machine finds must be what the series expects.

Tests that judge a series belong here; tests of the model, the rules and the drivers have files of their own.
"""

from collections.abc import Callable
from itertools import product

import pytest
from strategies.unpatched import search, unchanged

from docs.billion import Mended
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.series import load
from strategies.explore import SCOPES, Result, Search
from strategies.plan import WALKED
from strategies.reproducer import FOLDER, Told, told
from strategies.rules import RULES
from strategies.verdict import REQUIRED, Verdict, judge, judge_scope
from strategies.walk import Walk


@pytest.mark.verdict
@pytest.mark.parametrize("arch", ARCHES)
def test_verdict_is_as_expected(
    kernel: type[Kernel], series: str, arch: str, seed: int, record_verdict: Callable[[Verdict], None]
) -> None:
    verdict = judge(kernel, series, arch, seed, folder=FOLDER)
    record_verdict(verdict)
    if verdict.surprise() is not None:
        losses = [told(kernel, found, arch) for found in verdict.losses[:1]]
        raise Told("\n\n".join([f"{verdict}\nBut {verdict.surprise()}.", *losses]))
    assert verdict.word != "no loss found"
    assert all(found.proven for found in verdict.losses[:1])


@pytest.mark.verdict
@pytest.mark.parametrize(
    ("scope", "arch"),
    [
        ("tmpfs", "s390"),
        *product(("file", "threads"), ARCHES),
        pytest.param("tmpfs", "x86", marks=pytest.mark.nightly),
        *(pytest.param("pins", arch, marks=pytest.mark.nightly) for arch in ARCHES),
    ],
)
def test_verdict_on_files_and_threads_is_as_expected(
    kernel: type[Kernel], series: str, arch: str, scope: str, record_verdict: Callable[[Verdict], None]
) -> None:
    verdict = judge_scope(kernel, series, arch, scope, folder=FOLDER)
    record_verdict(verdict)
    if verdict.surprise() is not None:
        losses = [told(kernel, found, arch) for found in verdict.losses[:1]]
        raise Told("\n\n".join([f"{verdict}\nBut {verdict.surprise()}.", *losses]))
    assert verdict.word != "no loss found"


def test_pinned_and_migrated_pages_are_safe_once_the_promise_of_fsync_is() -> None:
    verdict = judge_scope(load("dirty_tracking_race"), "dirty_tracking_race", "x86", "pins")
    assert (verdict.word, verdict.surprise()) == ("proven", None)
    assert verdict.marks["page migrated"]


@pytest.mark.nightly
@pytest.mark.parametrize("novelty", [True, False])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("machine", WALKED)
def test_nothing_is_lost_where_all_that_is_known_is_mended(machine: str, arch: str, novelty: bool) -> None:
    """What a walk loses here is another bug of 2.6.26, or a false alarm."""
    walk = Walk(Mended, arch, WALKED[machine], seed=1, length=40 if novelty else 400, novelty=novelty)
    while walk.calls < (500_000 if novelty else 5_000_000):
        assert walk.run() is None, walk.trace


def test_a_series_that_changes_nothing_that_is_called_comes_to_the_states_of_2_6_26() -> None:
    of = search("s390", SCOPES["anon"])
    mended = load("fault_page_locked")
    assert unchanged(mended, of)
    assert Search(mended, "s390", SCOPES["anon"]).run().states == of.result.states
    assert not unchanged(load("no_clear_uptodate"), of)
    assert "set_new_page_uptodate" in of.called


def test_a_series_with_a_rule_or_a_constant_of_its_own_is_searched_itself() -> None:
    class WithRule(Kernel):
        __slots__ = ()
        rules = RULES[:1]

    class WithConstant(Kernel):
        __slots__ = ()
        PAGE_CLUSTER = 3

    of = search("s390", SCOPES["anon"])
    assert unchanged(Kernel, of)
    assert not unchanged(WithRule, of)
    assert not unchanged(WithConstant, of)


def test_a_verdict_says_where_nothing_of_the_series_was_called() -> None:
    searched = Result(states=1116, ended="complete")
    text = "1116 states searched: complete, nothing that it changes is called in them"
    assert text in str(Verdict("a_mend", "s390", "safe", [], (0, 0, 0.0), {}, {}, searched, unchanged=True))
    assert text not in str(Verdict("linux_2_6_26", "s390", "safe", [], (0, 0, 0.0), {}, {}, searched, unchanged=True))


def test_a_verdict_that_reached_nothing_proves_nothing() -> None:
    nothing = Verdict("any", "s390", "safe", [], (0, 0, 0.0), {}, {})
    assert nothing.unreached() == list(REQUIRED["anon"])
    assert "never reached" in str(nothing.surprise())
    assert "0 of 8 situations" in str(nothing)
