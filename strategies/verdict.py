"""The verdict on a series: the state machine is driven by the walk, and what it reached is counted."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import ExampleDatabase
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.kernel import Kernel
from mm_sim.system import SMALL, Loss, Scope
from strategies import reproducer
from strategies.backend import NAME, playing, walking
from strategies.corpus import DEFAULT, Folder
from strategies.explore import SCOPES, Bounds, Result, Search
from strategies.machine import Machine, machine
from strategies.minimise import Certificate, certify
from strategies.unpatched import UNPATCHED, unchanged
from strategies.unpatched import search as search_unpatched
from strategies.walk import Walk

#: What every test run proves of a series in which it finds no loss.
ANON = SCOPES["anon"]

#: How many runs are walked in a scope with files or threads, after it was searched.
RUNS = 200
#: After how many runs a profile that does the same ones each time walks no further if every situation is reached and
#: no loss expected. Of the series that lose all have lost by then but zap_only, which the search finds.
ENOUGH = 2_000

#: Situations without which a verdict of "no loss" means nothing.
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

_COMMON = settings(
    deadline=None,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
    # Phase.explain traces every line of the model, for less than mm_sim.loss says.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    print_blob=False,
    # One loss is enough for a verdict; each further one would be minimised, too.
    report_multiple_bugs=False,
)


def register_profiles() -> None:
    """The profiles: `dev` and `ci` do the same run each time, `nightly` a longer one and another each night.

    `nightly` also overrides what Hypothesis' own profile for CI sets: no randomness and no database. `plain` leaves
    the walk out.
    """
    same = settings(_COMMON, backend=NAME, derandomize=True, database=None)
    settings.register_profile("dev", same, max_examples=36)
    settings.register_profile("ci", same, max_examples=36)
    kept = Folder(DEFAULT)
    settings.register_profile("nightly", _COMMON, backend=NAME, derandomize=False, max_examples=20_000, database=kept)
    settings.register_profile("plain", _COMMON, derandomize=False, max_examples=10_000)


@dataclass(slots=True)
class Verdict:
    """What the tool says of a series on an architecture in a scope (see SCOPES), and what it rests on.

    `losses` has the loss that was found, with shorter ones of other kinds; `walked` is runs, steps and seconds;
    `searched` is None unless a scope was searched; `unchanged` says that it was a search of 2.6.26, in which nothing
    that the series changes is called; `marks` counts the situations reached, `keys` the storage key instructions of
    the walk.
    """

    series: str
    arch: str
    expected: str
    losses: list[Certificate]
    walked: tuple[int, int, float]
    marks: dict[str, int]
    keys: dict[str, int]
    searched: Result | None = None
    scope: str = "anon"
    unchanged: bool = False

    @property
    def word(self) -> str:
        """`loses`, `proven` or `no loss found`."""
        if self.losses:
            return "loses"
        return "proven" if self.searched is not None and self.searched.ended == "complete" else "no loss found"

    def unreached(self) -> list[str]:
        return [situation for situation in REQUIRED[self.scope] if not self.marks.get(situation)]

    def surprise(self) -> str | None:
        """Why the verdict is not as expected; None if it is. A run that reached nothing proves nothing."""
        if self.expected == "loses" and not self.losses:
            return "it is expected to lose"
        if self.expected == "safe" and self.losses:
            return "it is expected to be safe"
        if self.expected == "safe" and self.unreached():
            return f"never reached: {', '.join(self.unreached())}"
        return None

    def __str__(self) -> str:
        runs, steps, _ = self.walked
        text = f"{self.series} on {self.arch}{', ' + self.scope if self.scope != 'anon' else ''}: {self.word}. "
        for found in self.losses[:1]:
            loss = found.report.loss
            proof = str(found).partition(":")[0]
            what = " on disk" if loss.disk else ""
            text += f"{loss.process!r}'s page {loss.page!r}{what}, in {len(found.steps)} steps; {proof}. "
        if not self.losses:
            required = len(REQUIRED[self.scope])
            reached = required - len(self.unreached())
            text += f"{runs} runs, {steps} steps, {reached} of {required} situations"
            if self.searched is not None:
                text += f"; {self.searched.states} states searched: {self.searched.ended}"
                if self.unchanged and self.series != UNPATCHED:
                    text += ", nothing that it changes is called in them"
        return text.strip()

    def as_json(self) -> dict[str, Any]:
        searched = self.searched
        return {
            "series": self.series,
            "arch": self.arch,
            "scope": self.scope,
            "verdict": self.word,
            "expected": self.expected,
            "losses": [
                {
                    "kind": reproducer.kind(self.series, self.arch, found.steps, found.report),
                    "process": repr(found.report.loss.process),
                    "page": repr(found.report.loss.page),
                    "forgotten_by": str(found.report.forgotten_by),
                    "steps": [reproducer.call(step) for step in found.steps],
                    "shortest": "proven" if found.proven else "found",
                    "proof": str(found),
                    "scope": scope_as_json(found.bounds.scope),
                }
                for found in self.losses
            ],
            "walked": dict(zip(("runs", "steps", "seconds"), self.walked, strict=True)),
            "searched": searched
            and {
                "scope": str(SCOPES[self.scope]),
                "states": searched.states,
                "seconds": searched.seconds,
                "complete": searched.ended == "complete",
                "unchanged": self.unchanged,
            },
            "situations": dict(sorted(self.marks.items())),
            "key_instructions": self.keys,
        }


def scope_as_json(scope: Scope) -> dict[str, Any]:
    return {**asdict(replace(scope, files=())), "files": [repr(file) for file in scope.files]}


def seed_of(series: str, arch: str, seed: int) -> int:
    """A seed of its own for each series and architecture."""
    return zlib.crc32(f"{series} {arch} {seed}".encode())


def expected_of(kernel: type[Kernel], arch: str, scope: str = "anon") -> str:
    """What is expected of a series. Off s390 page_test_dirty() is always 0: what it loses, it loses on s390.

    Of files and threads nothing is expected but what the tool has said before (`Kernel.loses_in`).
    """
    if scope != "anon":
        return "loses" if arch in kernel.loses_in.get(scope, ()) else "safe"
    return "safe" if arch != "s390" and kernel.expected == "loses" else kernel.expected


def losses_of(found: Certificate) -> list[Certificate]:
    """A loss and the shorter ones of other kinds that were met beside it."""
    beside = [Certificate(steps, report, False, found.states, found.bounds, []) for steps, report in found.others]
    return [found, *beside]


def judge(
    kernel: type[Kernel], series: str, arch: str, seed: int = 0, scope: Scope = SMALL, folder: Path | None = None
) -> Verdict:
    """Run the state machine under the current profile of Hypothesis; search the scope ANON if nothing is lost.

    With a profile that does the same run each time Hypothesis does not shrink: that takes longer than all else, and
    what the walk has found is certified as shortest. Raises KernelBug if the series breaks the kernel's bookkeeping.
    """
    tested = machine(kernel, series, arch, scope, folder)
    verdict = Verdict(series, arch, expected_of(kernel, arch), [], (0, 0, 0.0), tested.marks, {})
    profile = settings()
    same = profile.backend == NAME and profile.derandomize
    if same:
        profile = settings(profile, phases=[phase for phase in profile.phases if phase is not Phase.shrink])

    def enough(walk: Walk) -> bool:
        return same and verdict.expected == "safe" and walk.runs >= ENOUGH and not verdict.unreached()

    start = time.monotonic()
    with walking(tested, seed_of(series, arch, seed), enough=enough) as walk, suppress(Loss):
        run_state_machine_as_test(tested, settings=profile)
    found = tested.certificate
    verdict.walked, verdict.keys = (walk.runs, walk.steps, time.monotonic() - start), walk.keys
    if found is not None:
        verdict.losses = losses_of(found)
    else:
        _search_anon(verdict, kernel)
        if folder is not None and verdict.losses:
            reproducer.store(series, arch, SMALL, verdict.losses[0], folder)
    return verdict


def save_example(tested: type[Machine], found: Certificate, database: ExampleDatabase) -> None:
    """Have Hypothesis save a loss as if it had found it: the next run of this machine begins with it."""
    tested.certificate = found
    once = settings(_COMMON, backend=NAME, database=database, max_examples=10, phases=[Phase.generate])
    with playing(tested, found.steps), suppress(Loss):
        run_state_machine_as_test(tested, settings=once)


def judge_scope(
    kernel: type[Kernel],
    series: str,
    arch: str,
    scope: str,
    seed: int = 0,
    deadline: float | None = None,
    jobs: int = 1,
    folder: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Verdict:
    """The verdict in one of the scopes with files or threads: it is searched, and walked for what lies beyond.

    What the search finds is the shortest loss within the scope. A loss is stored unless it is stored for 2.6.26.
    """
    bounds = SCOPES[scope]
    walk = Walk(kernel, arch, bounds.scope, seed_of(series, arch, seed))
    expected = expected_of(kernel, arch, scope)
    verdict = Verdict(series, arch, expected, [], (0, 0, 0.0), walk.marks, walk.keys, scope=scope)
    result = _search_bounds(
        verdict,
        kernel,
        bounds,
        deadline,
        jobs,
        progress=lambda result: progress(f"{series} on {arch}, {scope}: searching, {result.states} states"),
    )
    if result.ended == "loss":
        steps, report = result.losses[-1]
        within = replace(bounds, steps=len(steps) - 1)
        found = Certificate(steps, report, True, result.states, within, [])
        verdict.losses = losses_of(found)
        if folder is not None and not reproducer.path(UNPATCHED, arch, found, folder).exists():
            reproducer.store(series, arch, bounds.scope, found, folder)
        return verdict
    walked = time.monotonic()
    while walk.runs < RUNS and (deadline is None or time.monotonic() < deadline):
        if not walk.runs % 100:
            progress(f"{series} on {arch}, {scope}: walking, {walk.runs} runs")
        if walk.run() is not None:
            verdict.losses = losses_of(certify(kernel, arch, bounds.scope, walk.trace, deadline=deadline))
            break
    verdict.walked = (walk.runs, walk.steps, time.monotonic() - walked)
    return verdict


def _search_bounds(
    verdict: Verdict,
    kernel: type[Kernel],
    bounds: Bounds,
    deadline: float | None,
    jobs: int,
    progress: Callable[[Result], None],
) -> Result:
    """Search for a verdict, unless the search of 2.6.26 says all. Raises KernelBug."""
    if bounds.steps is not None:  # a second or two
        unpatched = search_unpatched(verdict.arch, bounds, deadline, progress)
        if unpatched.result.ended == "complete" and unchanged(kernel, unpatched):
            for situation, times in unpatched.marks.items():
                verdict.marks[situation] = verdict.marks.get(situation, 0) + times
            verdict.unchanged = True
            verdict.searched = unpatched.result
            return verdict.searched
    search = Search(kernel, verdict.arch, bounds, marks=verdict.marks)
    verdict.searched = search.run(deadline, jobs=jobs, progress=progress)
    return verdict.searched


def _search_anon(
    verdict: Verdict,
    kernel: type[Kernel],
    deadline: float | None = None,
    jobs: int = 1,
    progress: Callable[[Result], None] = lambda result: None,
) -> None:
    """Search the scope ANON of a series in which the walk found no loss."""
    result = _search_bounds(verdict, kernel, ANON, deadline, jobs, progress)
    if result.ended == "loss":
        verdict.losses = losses_of(certify(kernel, verdict.arch, SMALL, result.losses[-1][0], deadline=deadline))


def judge_within(
    kernel: type[Kernel],
    series: str,
    arch: str,
    budget: float,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[str], None] = lambda text: None,
    scope: str = "anon",
) -> Verdict:
    """Walk, minimise, certify, and search the scope ANON if nothing is lost, within `budget` seconds.

    At most half of it is walked; less if every situation is reached. Raises KernelBug.
    """
    start = time.monotonic()
    if scope != "anon":
        return judge_scope(kernel, series, arch, scope, seed, start + budget, jobs, progress=progress)
    walk = Walk(kernel, arch, SMALL, seed_of(series, arch, seed))
    verdict = Verdict(series, arch, expected_of(kernel, arch), [], (0, 0, 0.0), walk.marks, walk.keys)
    lost = False
    while not lost and (spent := time.monotonic() - start) < budget / 2:
        if spent > budget / 4 and not verdict.unreached():
            break
        if not walk.runs % 100:
            progress(f"{series} on {arch}: walking, {walk.runs} runs")
        lost = walk.run() is not None
    verdict.walked = (walk.runs, walk.steps, time.monotonic() - start)
    if lost:
        progress(f"{series} on {arch}: loses; looking for the shortest run")
        verdict.losses = losses_of(certify(kernel, arch, SMALL, walk.trace, deadline=start + budget))
        return verdict

    def searching(result: Result) -> None:
        progress(f"{series} on {arch}: searching, {result.states} states, {result.depth} steps deep")

    _search_anon(verdict, kernel, start + budget, jobs, searching)
    return verdict
