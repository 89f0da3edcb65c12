"""A verdict in words and as JSON: what `judge` prints and what reports are made of.

May use all of `strategies` but campaigns and the faces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Step, explain
from mm_sim.system import Scope
from strategies import reproducer
from strategies.comparison import declares
from strategies.coverage import Function
from strategies.timeline import wrapped
from strategies.verdict import ADDS, ALONE, BUG, NOT_REACHED, PROVEN, Finding, Outcome, Verdict

#: The version of the JSON form.
JSON_VERSION = 1

#: Coverage marks without which a machine has not seen what it is there for.
REQUIRED: dict[str, tuple[str, ...]] = {
    "anon": (
        "COW of a page in the swap cache",
        "SWAP_FAIL at a locked vma after another pte was unmapped",
        "clean drop from the swap cache",
        "exit between two vmas of try_to_unmap",
        "page locked by someone else in do_wp_page",
        "reclaim between mlock's flag and its fault-in",
        "store while in the swap cache with PG_dirty clear",
        "swap-in racing with reclaim",
    ),
    "tmpfs": ("clean drop from the page cache", "tmpfs page moved to swap"),
    "file": ("clean drop from the page cache", "page_mkclean() while somebody holds the ptl"),
    "threads": ("clean drop from the page cache",),
    "pins": ("clean drop from the page cache", "set_page_dirty_lock() of a page that is clean"),
}


def unreached(outcome: Outcome) -> list[str]:
    """The required coverage marks that a machine did not come to."""
    return [mark for mark in REQUIRED.get(outcome.machine, ()) if not outcome.marks.get(mark)]


def word(verdict: Verdict, of: str) -> str:
    """The word for an outcome; a kernel that is compared with nothing adds nothing."""
    return of if verdict.base is not None else ALONE[of]


def headline(verdict: Verdict) -> str:
    """The verdict in one line."""
    against = "" if verdict.base is None else f", compared with {verdict.base}"
    fixes = [outcome.name for outcome in verdict.outcomes if outcome.fixes is not None]
    fixed = f"; fixes a loss of {verdict.base} in {'; '.join(fixes)}" if fixes else ""
    cut = "; interrupted" if verdict.interrupted else ""
    return f"{verdict.patch}{against}: {word(verdict, verdict.word)}{fixed}{cut}"


def rows(verdict: Verdict) -> list[tuple[str, str, str]]:
    """A line for each machine that was reached: its name, the word, and what stands behind the word."""
    return [
        (outcome.name, word(verdict, outcome.word), "; ".join(_behind(verdict, outcome)))
        for outcome in verdict.outcomes
        if outcome.word != NOT_REACHED or outcome.died
    ]


def _behind(verdict: Verdict, outcome: Outcome) -> Iterable[str]:
    finding = outcome.finding or outcome.bug
    if finding is not None:
        proof = "shortest, proven" if finding.certificate.proven else "shortest found"
        yield f"{len(finding.steps)} steps, {proof}" + (f": {finding.bug}" if outcome.finding is None else "")
    else:
        for bounds, states in outcome.widest:
            rules = len(bounds.rules or ()) - 1
            steps = f"up to {bounds.steps} steps, {_preempted(bounds.stops)}"
            yield f"every run of {rules} rules {steps}: {states} states"
    if finding is None and outcome.open is not None:
        bounds, depth = outcome.open
        yield f"{'beyond that ' if outcome.complete else ''}cut off after {depth} steps, {_preempted(bounds.stops)}"
    if outcome.base_fails is not None and verdict.base is not None and outcome.fixes is None:
        yield f"{verdict.base} loses there, too"
    if outcome.died:
        yield outcome.died


def _preempted(stops: int | None) -> str:
    return "no preemption" if stops == 0 else f"at most {stops} preemption{'s'[: stops != 1]}"


def uncovered(verdict: Verdict) -> list[str]:
    """What the patch changes: for each function where it ran, and which of its lines never did."""
    lines = []
    for function in verdict.functions:
        where, missing = _ran(verdict, function)
        name = f"{function.name}() ({Path(function.file).name}:{function.lines[0] if function.lines else '?'})"
        if not where:
            lines.append(f"{name} never ran")
        else:
            more = f"; and {len(where) - 3} more" if len(where) > 3 else ""
            never = f". Lines that never ran: {', '.join(map(str, missing))}" if missing else ""
            lines.append(f"{name} ran in {'; '.join(where[:3])}{more}{never}")
    return lines


def _ran(verdict: Verdict, function: Function) -> tuple[list[str], list[int]]:
    """The machines in which a function ran, and its lines that never did."""
    where = [
        outcome.name
        for outcome in verdict.outcomes
        if any((function.file, line) in outcome.reached for line in function.lines)
    ]
    ran = {line for outcome in verdict.outcomes for file, line in outcome.reached if file == function.file}
    return where, [line for line in function.lines if line not in ran]


def not_reached(verdict: Verdict) -> list[str]:
    return [outcome.name for outcome in verdict.outcomes if outcome.word == NOT_REACHED and not outcome.died]


def run(kernel: type[Kernel], arch: str, finding: Finding) -> str:
    """The run that counts against a patch: in words, as a timeline, and what stands behind its length."""
    return reproducer.told(kernel, finding.certificate, arch)


def text(verdict: Verdict, kernel: type[Kernel]) -> str:
    """All that is known, without colours."""
    parts = [headline(verdict), ""]
    shown = rows(verdict)
    width = max((len(name) for name, *_ in shown), default=0)
    of_word = max((len(said) for _, said, _ in shown), default=0)
    parts += [f"  {name.ljust(width)}  {said.ljust(of_word)}  {behind}".rstrip() for name, said, behind in shown]
    left = not_reached(verdict)
    if left and verdict.base is not None:
        parts += [
            "",
            wrapped(f"Not reached, no function that the patch changes was called there: {'; '.join(left)}."),
        ]
    if verdict.functions:
        parts += ["", "Changed functions:", *(f"  {line}" for line in uncovered(verdict))]
    found = verdict.found
    if found is not None:
        finding = found.finding or found.bug
        assert finding is not None
        parts += ["", f"In {found.name}:", "", run(kernel, found.arch, finding)]
    return "\n".join(parts)


def scope_as_json(scope: Scope) -> dict[str, Any]:
    return {
        **asdict(replace(scope, files=())),
        "files": [repr(file) for file in scope.files],
        "also": list(scope.also),
    }


def calls(steps: Sequence[Step] | None) -> list[str] | None:
    """The steps of a run as they are stored."""
    return None if steps is None else [reproducer.call(step) for step in steps]


def _finding_as_json(finding: Finding, kernel: type[Kernel], arch: str) -> dict[str, Any]:
    report = None
    if not finding.bug:
        with suppress(NotPossible):
            report = explain(kernel, arch, finding.scope, finding.steps)
    return {
        "steps": [reproducer.call(step) for step in finding.steps],
        "shortest": "proven" if finding.certificate.proven else "found",
        "proof": str(finding.certificate),
        "machine": scope_as_json(finding.scope),
        "bug": finding.bug or None,
        "blamed": None if report is None else str(report.forgotten_by),
        "beyond the base": None if report is None else report.beyond or None,
    }


def as_json(verdict: Verdict, kernel: type[Kernel]) -> dict[str, Any]:
    """The verdict as data."""
    return {
        "version": JSON_VERSION,
        "patch": verdict.patch,
        "base": verdict.base,
        "verdict": word(verdict, verdict.word),
        "seconds": round(verdict.seconds, 2),
        "interrupted": verdict.interrupted,
        "fixes": [outcome.name for outcome in verdict.outcomes if outcome.fixes is not None],
        "targets": [
            {
                "machine": outcome.machine,
                "arch": outcome.arch,
                "verdict": word(verdict, outcome.word),
                "known": list(_behind(verdict, outcome)),
                "size": scope_as_json(outcome.scope),
                "complete": [{"bounds": str(bounds), "states": states} for bounds, states in outcome.complete],
                "cut off": outcome.open and {"bounds": str(outcome.open[0]), "steps": outcome.open[1]},
                "loss": outcome.finding and _finding_as_json(outcome.finding, kernel, outcome.arch),
                "bug": outcome.bug and _finding_as_json(outcome.bug, kernel, outcome.arch),
                "base fails": calls(outcome.base_fails),
                "fixes": calls(outcome.fixes),
                "walked": {"runs": outcome.runs, "steps": outcome.steps},
                "searched": {"states": outcome.states},
                "marks": dict(sorted(outcome.marks.items())),
                "required marks not reached": unreached(outcome),
                "died": outcome.died or None,
            }
            for outcome in verdict.outcomes
        ],
        "functions": [
            {
                "name": function.name,
                "file": function.file,
                "lines": list(function.lines),
                "ran in": where,
                "never ran": missing,
            }
            for function in verdict.functions
            for where, missing in [_ran(verdict, function)]
        ],
    }


def status(verdict: Verdict) -> int:
    """The exit status: 0 something proven and nothing added, 1 a loss or bug added, 3 undecided, 130 interrupted."""
    if verdict.interrupted:
        return 130
    if verdict.word in (ADDS, BUG):
        return 1
    return 0 if any(outcome.word == PROVEN for outcome in verdict.outcomes) else 3


def unexpected(verdict: Verdict, kernel: type[Kernel]) -> list[str]:
    """What is not as the patch says of itself (`loses_in`, `expected`)."""
    table = vars(kernel).get("loses_in", {})
    expected = vars(kernel).get("expected", "unknown")
    adds = [one for one in verdict.outcomes if one.finding is not None]
    lines = []
    more = [one.name for one in adds if not declares(kernel, one.machine, one.arch)]
    bugs = [one for one in verdict.outcomes if one.bug is not None]
    if (more or bugs) and not table and expected == "safe":
        lines.append(f"declared safe, but {word(verdict, verdict.word)}")
    if adds and table and expected != "loses" and all(one.name in more for one in adds):
        lines.append(f"not declared to lose in {'; '.join(more)}")
    less = [one.name for one in verdict.outcomes if one.finding is None and declares(kernel, one.machine, one.arch)]
    if less and not verdict.interrupted:
        lines.append(f"declared to lose in {'; '.join(less)}, where no loss was found")
    if not adds and not table and expected == "loses" and not verdict.interrupted:
        lines.append("declared to lose, and no loss was found")
    return lines
