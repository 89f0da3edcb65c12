"""The words of a verdict, its JSON form and its exit status, of outcomes that are made by hand."""

import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.names import KSWAPD, P1, A, ext2
from mm_sim.system import SMALL, Scope
from strategies.coverage import Function
from strategies.explore import Bounds
from strategies.minimise import Certificate
from strategies.reproducer import recorded
from strategies.rules import RULES
from strategies.verdict import ADDS, BUG, FOUND, NOT_REACHED, PROVEN, Finding, Outcome, Verdict
from strategies.verdict_text import (
    REQUIRED,
    as_json,
    headline,
    not_reached,
    rows,
    status,
    text,
    uncovered,
    unexpected,
    unreached,
)
from test_stateful.faults import FsyncDoesNotWait, SyncsByARuleOfItsOwn

FUNCTIONS = (Function("zap", "folder/mine.py", (5, 6, 9)), Function("wp", "folder/mine.py", (20,)))
RULE = {rule.name: rule for rule in RULES}
RUN = [Step(RULE["store"], (P1, A), None), Step(RULE["reclaim"], (KSWAPD, P1, A, 4), None)]
ONE_PREEMPTION = Bounds(SMALL, ("store", "reclaim", "resume"), (), 7, 1)
NO_PREEMPTION = Bounds(SMALL, ("store", "reclaim", "resume"), (), 8, 0)


def finding(bug: str = "") -> Finding:
    return Finding(SMALL, Certificate(RUN, True, 123, ONE_PREEMPTION), bug)


def outcome(word: str, machine: str = "anon", arch: str = "s390", **more: Any) -> Outcome:
    """An outcome with this word."""
    made = Outcome(machine, arch, SMALL, reached={("folder/mine.py", 5)}, proof=ONE_PREEMPTION, **more)
    if word == ADDS:
        made.finding = finding()
    elif word == BUG:
        made.bug = finding("KeyError: 'x' in zap()")
    elif word == PROVEN:
        made.complete = [(NO_PREEMPTION, 40), (ONE_PREEMPTION, 500)]
    elif word == NOT_REACHED:
        made.reached = set()
    assert made.word == word
    return made


def verdict(*outcomes: Outcome, base: str | None = "linux_2_6_26", **more: Any) -> Verdict:
    return Verdict("mine.py", base, list(outcomes), FUNCTIONS, **more)


class Silent(Kernel):
    __slots__ = ()


class Safe(Kernel):
    __slots__ = ()
    expected = "safe"


class Loses(Kernel):
    __slots__ = ()
    expected = "loses"


class LosesInFile(Kernel):
    __slots__ = ()
    loses_in: ClassVar[dict[str, tuple[str, ...]]] = {"file": ("x86",)}


def test_overall_word_is_the_worst() -> None:
    words = [NOT_REACHED, PROVEN, FOUND, BUG, ADDS]
    for n, word in enumerate(words, 1):
        assert verdict(*map(outcome, words[:n])).word == word
    assert verdict().word == NOT_REACHED


def test_a_search_without_a_preemption_alone_is_no_proof() -> None:
    assert (
        Outcome("anon", "s390", SMALL, [(NO_PREEMPTION, 40)], reached={("", 0)}, proof=ONE_PREEMPTION).word == FOUND
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([PROVEN, FOUND, NOT_REACHED], 0),
        ([PROVEN, ADDS], 1),
        ([PROVEN, BUG], 1),
        ([FOUND], 3),
        ([NOT_REACHED], 3),
        ([], 3),
    ],
)
def test_exit_status(words: list[str], expected: int) -> None:
    assert status(verdict(*map(outcome, words))) == expected


def test_a_search_without_a_preemption_decides_nothing() -> None:
    assert status(verdict(outcome(FOUND, complete=[(NO_PREEMPTION, 40)]))) == 3


def test_exit_status_of_an_interrupt_is_130_whatever_is_known() -> None:
    assert status(verdict(outcome(ADDS), interrupted=True)) == 130
    assert status(verdict(outcome(PROVEN), interrupted=True)) == 130


def test_headline_names_the_base_and_where_it_is_fixed() -> None:
    fixes = outcome(PROVEN, "file, two pages", "x86", fixes=RUN)
    assert headline(verdict(fixes)) == (
        "mine.py, compared with linux_2_6_26: adds no loss: proven; "
        "fixes a loss of linux_2_6_26 in file, two pages x86"
    )
    assert headline(verdict(outcome(FOUND), interrupted=True)).endswith("adds no loss found; interrupted")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (ADDS, "loses"),
        (BUG, "has a bug"),
        (PROVEN, "no loss: proven"),
        (FOUND, "no loss found"),
        (NOT_REACHED, "not reached"),
    ],
)
def test_a_kernel_that_is_compared_with_nothing_adds_nothing(word: str, said: str) -> None:
    alone = verdict(outcome(word), base=None)
    assert headline(alone) == f"mine.py: {said}"
    assert as_json(alone, Silent)["targets"][0]["verdict"] == said


def test_a_row_says_within_which_bounds_every_run_was_searched() -> None:
    (row,) = rows(verdict(outcome(PROVEN, open=(NO_PREEMPTION, 9))))
    assert row == (
        "anon s390",
        "adds no loss: proven",
        "every run of 2 rules up to 8 steps, no preemption: 40 states; "
        "every run of 2 rules up to 7 steps, at most 1 preemption: 500 states; "
        "beyond that cut off after 9 steps, no preemption",
    )


def test_a_row_leaves_out_bounds_that_lie_within_others() -> None:
    short = replace(NO_PREEMPTION, steps=4)
    of = Outcome("anon", "s390", SMALL, [(NO_PREEMPTION, 400), (short, 90)], reached={("", 0)})
    assert rows(verdict(of))[0][2] == "every run of 2 rules up to 8 steps, no preemption: 400 states"


def test_a_row_of_a_bug_says_what_it_is() -> None:
    assert rows(verdict(outcome(BUG)))[0][2] == "2 steps, shortest, proven: KeyError: 'x' in zap()"


def test_a_row_says_that_the_base_loses_there_unless_it_is_fixed() -> None:
    assert rows(verdict(outcome(FOUND, base_fails=RUN)))[0][2] == "linux_2_6_26 loses there, too"
    assert rows(verdict(outcome(FOUND, base_fails=RUN, fixes=RUN)))[0][2] == ""


def test_a_machine_that_is_not_reached_has_no_row_but_is_named() -> None:
    of = verdict(outcome(PROVEN), outcome(NOT_REACHED, "file, two pages"), outcome(NOT_REACHED, "pins"))
    assert [name for name, *_ in rows(of)] == ["anon s390"]
    assert not_reached(of) == ["file, two pages s390", "pins s390"]
    named = " ".join(text(of, Silent).split())
    assert "no function that the patch changes was called there: file, two pages s390; pins s390." in named


def test_a_process_that_died_is_told_in_its_rows() -> None:
    died = outcome(NOT_REACHED, died="its process died with exit status -9")
    assert rows(verdict(died)) == [("anon s390", "not reached", "its process died with exit status -9")]


def test_coverage_names_where_a_function_ran_and_its_lines_that_never_did() -> None:
    machines = [outcome(FOUND, machine) for machine in ("anon", "file", "tmpfs", "pins", "shm")]
    assert uncovered(verdict(*machines)) == [
        "zap() (mine.py:5) ran in anon s390; file s390; tmpfs s390; and 2 more. Lines that never ran: 6, 9",
        "wp() (mine.py:20) never ran",
    ]


def test_coverage_counts_the_lines_of_all_machines_together() -> None:
    one, other = outcome(FOUND), outcome(FOUND, "file")
    other.reached = {("folder/mine.py", 6), ("folder/mine.py", 9), ("folder/mine.py", 20)}
    assert not any("never ran" in line for line in uncovered(verdict(one, other)))


def test_required_marks_that_were_not_reached() -> None:
    first, *others = REQUIRED["anon"]
    assert unreached(outcome(FOUND, marks={first: 3, others[0]: 0})) == others
    assert unreached(outcome(FOUND, "two pages")) == []


def test_text_ends_with_the_run_that_counts() -> None:
    told = text(verdict(outcome(FOUND), outcome(BUG, "swap full")), Silent)
    assert "In swap full s390:" in told
    assert told.index("In swap full s390:") < told.index("reclaim(P1, A, 4)")


def test_json_has_what_the_text_has() -> None:
    of = as_json(verdict(outcome(ADDS), outcome(PROVEN, "file", base_fails=RUN), outcome(BUG, "pins")), Silent)
    assert json.loads(json.dumps(of)) == of
    assert (of["version"], of["patch"], of["base"], of["verdict"]) == (1, "mine.py", "linux_2_6_26", ADDS)
    lost, proven, broken = of["targets"]
    steps = [
        "store(page=A, process=P1, stop=None)",
        "reclaim(holder=P1, order=4, page=A, reclaimer=kswapd, stop=None)",
    ]
    assert (lost["loss"]["steps"], lost["loss"]["shortest"], lost["bug"]) == (steps, "proven", None)
    assert [entry["states"] for entry in proven["complete"]] == [40, 500]
    assert proven["base fails"] == steps
    assert broken["bug"]["bug"] == "KeyError: 'x' in zap()"
    assert of["functions"][0] == {
        "name": "zap",
        "file": "folder/mine.py",
        "lines": [5, 6, 9],
        "ran in": ["anon s390", "file s390", "pins s390"],
        "never ran": [6, 9],
    }


def test_json_names_the_function_that_is_blamed() -> None:
    of = outcome(FOUND, "file")
    files = Scope(slots=0, files=(ext2,))
    steps = recorded(
        FsyncDoesNotWait, ["store(page=A, process=P1, stop=None)", "msync(page=A, process=P1, stop=None)"]
    )
    of.finding = Finding(files, Certificate(steps, True, 123, replace(ONE_PREEMPTION, scope=files)))
    lost = as_json(verdict(of), FsyncDoesNotWait)["targets"][0]["loss"]
    assert lost["blamed"].startswith("filemap_fdatawait() (test_stateful/faults.py:")
    assert lost["beyond the base"] is None


def test_json_says_where_a_rule_of_the_patch_may_promise_more_than_the_base_keeps() -> None:
    of = outcome(FOUND, "threads")
    threads = Scope(slots=0, files=(ext2,), also=("threads", "pins"))
    calls = (
        'read_direct(page=A, process=P1, stop="do_linear_fault: page unlocked")',
        "store(page=A, process=P2, stop=None)",
        "sync_page(file=ext2, process=P2, stop=None)",
    )
    steps = recorded(SyncsByARuleOfItsOwn, list(calls))
    of.finding = Finding(threads, Certificate(steps, True, 123, replace(ONE_PREEMPTION, scope=threads)))
    lost = as_json(verdict(of), SyncsByARuleOfItsOwn)["targets"][0]["loss"]
    assert lost["blamed"].startswith("do_linear_fault() (kernel/memory.py:")
    assert lost["beyond the base"].startswith("The run needs sync_page(), a rule of the patch")
    told = " ".join(text(verdict(of), SyncsByARuleOfItsOwn).split())
    assert f"{lost['beyond the base']}." in told


@pytest.mark.parametrize(
    ("kernel", "words", "lines"),
    [
        (Silent, {"anon": ADDS}, []),
        (Safe, {"anon": FOUND}, []),
        (Safe, {"anon": ADDS}, ["declared safe, but adds a loss"]),
        (Safe, {"anon": BUG}, ["declared safe, but adds a bug"]),
        (Loses, {"anon": ADDS}, []),
        (Loses, {"anon": PROVEN}, ["declared to lose, and no loss was found"]),
        (LosesInFile, {"file": ADDS, "anon": ADDS}, []),
        (LosesInFile, {"file": ADDS, "anon": PROVEN}, []),
        (LosesInFile, {"anon": FOUND}, []),
        (
            LosesInFile,
            {"file": FOUND, "anon": ADDS},
            ["not declared to lose in anon x86", "declared to lose in file x86, where no loss was found"],
        ),
    ],
)
def test_what_is_not_as_the_patch_declares(kernel: type[Kernel], words: dict[str, str], lines: list[str]) -> None:
    of = verdict(*(outcome(word, machine, "x86") for machine, word in words.items()))
    assert unexpected(of, kernel) == lines


@pytest.mark.parametrize("kernel", [Loses, LosesInFile])
def test_an_interrupt_does_not_make_a_loss_that_was_not_found_yet_unexpected(kernel: type[Kernel]) -> None:
    assert unexpected(verdict(outcome(FOUND, "file", "x86"), interrupted=True), kernel) == []


def test_what_a_base_declares_is_not_declared_by_its_patch() -> None:
    class OnTop(LosesInFile):
        __slots__ = ()

    assert unexpected(verdict(outcome(FOUND, "file", "x86")), OnTop) == []
