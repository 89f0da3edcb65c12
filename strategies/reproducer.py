"""A run that loses data as text: printed, written to `test_regressions/` as a test, and replayed from there."""

from __future__ import annotations

import ast
import hashlib
import os
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_sim import series as all_series
from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Report, Step, explain
from mm_sim.names import BY_NAME, KERNEL_TASKS, PROCESSES
from mm_sim.system import SMALL, Loss, Scope, System
from strategies.minimise import Certificate
from strategies.rules import stops, table

FOLDER = Path(__file__).parent.parent / "test_regressions"
_WIDTH = 24


def call(step: Step) -> str:
    """The step as Hypothesis prints it, arguments by name: `store(page=A, process=P1, stop=None)`."""
    arguments = dict(zip(step.rule.arguments, map(repr, step.arguments), strict=True))
    if step.rule.action is None:
        arguments["stop"] = repr(step.stop)
    return f"{step.rule.name}({', '.join(f'{name}={value}' for name, value in sorted(arguments.items()))})"


def timeline(steps: Sequence[Step], report: Report) -> str:
    """One column for each process, one for the kernel's own tasks and one for I/O; the fatal step is marked."""
    columns = sorted({_column(step) for step in steps})
    rows = ["  ".join(name.ljust(_WIDTH) for _, name in columns).rstrip()]
    for i, step in enumerate(steps):
        text = _short(step)
        row = ["".ljust(_WIDTH)] * len(columns)
        row[columns.index(_column(step))] = text.ljust(_WIDTH)
        rows.append("  ".join(row).rstrip() + ("   <-- lost" if i == report.at else ""))
        if step.stop is not None:
            row[columns.index(_column(step))] = f"  stops at {step.stop.partition(': ')[0]}:".ljust(_WIDTH)
            rows.append("  ".join(row).rstrip())
            row[columns.index(_column(step))] = f"    {step.stop.partition(': ')[2]}".ljust(_WIDTH)
            rows.append("  ".join(row).rstrip())
    return "\n".join(rows)


def _column(step: Step) -> tuple[int, str]:
    first = step.arguments[0] if step.arguments else None
    if step.rule.action is not None:
        return 99, "I/O"
    if first in PROCESSES:
        return int(first), repr(first)
    return 50 + int(first or 0), repr(KERNEL_TASKS[int(first or 0)])


def _short(step: Step) -> str:
    first = 0 if step.rule.action is not None else 1
    return f"{step.rule.name}({', '.join(repr(a) for a in step.arguments[first:])})"


def describe(report: Report) -> str:
    """In words: what is lost, who forgot it and who dropped it."""
    loss = report.loss
    lines = [f"{loss.process!r} must read {loss.expected} at page {loss.page!r} and would read {loss.found}."]
    if report.forgotten_by != report.destroyed_by:
        lines.append(f"Forgotten by {report.forgotten_by}: no record was left that the page was newer than its slot.")
    lines.append(f"Destroyed by {report.destroyed_by}: the last good copy went, or was never handed on.")
    return "\n".join(line for text in lines for line in textwrap.wrap(text, 100))


def kind(name: str, arch: str, steps: Sequence[Step], report: Report) -> str:
    """What tells losses apart: series, architecture, the function that forgot, and the rules used."""
    rules = sorted({step.rule.name for step in steps})
    text = "|".join((name, arch, report.forgotten_by.function, *rules))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def verdict(kernel: type[Kernel], arch: str, scope: Scope, steps: Sequence[Step]) -> str:
    """What a series makes of a stored run, as it is stored in the test."""
    try:
        report = explain(kernel, arch, scope, list(steps))
    except NotPossible as error:
        return f"no loss; {error}"
    if report is None:
        return "no loss"
    loss = report.loss
    return f"step {report.at + 1} loses {loss.process!r}'s page {loss.page!r}: {report.forgotten_by.function}"


def text(name: str, arch: str, scope: Scope, found: Certificate) -> str:
    """The source of the stored test."""
    steps, report = found.steps, found.report
    proof = "\n".join(textwrap.wrap(f"The {found}.", 100))
    verdicts = {n: verdict(all_series.load(n), arch, scope, steps) for n in (*all_series.names(), name)}
    used = {repr(a) for step in steps for a in step.arguments if repr(a) in BY_NAME}
    body = "\n".join(f"    state.{call(step)}".replace("'", '"') for step in steps)
    table_ = "\n".join(f'        "{n}": "{v}",' for n, v in verdicts.items())
    return (
        f'"""{name} loses {report.loss.process!r}\'s page {report.loss.page!r} on {arch}.\n\n'
        f"{describe(report)}\n\n{timeline(steps, report)}\n\n"
        f"{proof}\n\n"
        f"Written by the tool; the verdicts are those of every series.\n"
        f'"""\n\n'
        f"from mm_sim.names import {', '.join(sorted(used, key=_import_order))}\n"
        f"from mm_sim.system import Scope\n"
        f"from strategies.reproducer import Replay, Reproducer\n\n"
        f"REPRODUCER = Reproducer(\n"
        f'    series="{name}",\n'
        f'    arch="{arch}",\n'
        f"    scope={scope!r},\n"
        f"    verdicts={{\n{table_}\n    }},\n)\n\n\n"
        f"def steps(state: Replay) -> None:\n{body}\n\n\n"
        f"def test_verdicts(series: str) -> None:\n    REPRODUCER.check(series, steps)\n"
    )


def _import_order(name: str) -> tuple[int, str]:
    """As isort sorts: constants, classes (to it, any single capital is one), then the rest."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name.isupper() else 2), name


def store(name: str, arch: str, scope: Scope, found: Certificate, folder: Path = FOLDER) -> Path | None:
    """Write the stored test; None if one of this kind is there already, also when another worker was faster.

    It is there whole or not at all: it is written beside its place and linked there.
    """
    path = folder / f"test_{Path(name).stem}_{kind(name, arch, found.steps, found.report)}.py"
    if path.exists():
        return None
    source = text(name, arch, scope, found)
    handle, draft = tempfile.mkstemp(prefix=".part-", dir=folder)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(source)
            file.flush()
            os.fsync(handle)
        os.chmod(draft, 0o644)
        os.link(draft, path)
    except FileExistsError:
        return None
    finally:
        os.unlink(draft)
    return path


class StaleReproducer(AssertionError):
    """A stored run that no longer fits the model: delete it, or find it anew."""


class Replay:
    """What a stored test calls its steps on: collects them, and knows a step that no longer exists."""

    def __init__(self, kernel: type[Kernel]) -> None:
        self.kernel = kernel
        self.rules = {rule.name: rule for rule in table(kernel)}
        self.steps: list[Step] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        rule = self.rules.get(name)
        if rule is None:
            raise StaleReproducer(f"there is no rule {name}; there are: {', '.join(sorted(self.rules))}")

        def record(*, stop: str | None = None, **arguments: Any) -> None:
            assert rule is not None
            if arguments.keys() != rule.arguments.keys():
                raise StaleReproducer(f"{name} takes ({', '.join(rule.arguments)}), not ({', '.join(arguments)})")
            if stop is not None and not any(stop in stops(self.kernel, r) for r in self.rules.values()):
                raise StaleReproducer(f"{name}: the kernel has no preemption point {stop!r}")
            self.steps.append(Step(rule, tuple(arguments[a] for a in rule.arguments), stop))

        return record


class Live(Replay):
    """A machine on which steps are done as they are called; one that cannot happen raises StaleReproducer."""

    def __init__(self, kernel: type[Kernel], arch: str = "s390", scope: Scope = SMALL) -> None:
        super().__init__(kernel)
        self.system = System(kernel, arch, scope)

    def __getattr__(self, name: str) -> Callable[..., None]:
        record = super().__getattr__(name)

        def do(**arguments: Any) -> None:
            record(**arguments)
            if not self.system.step(*self.steps[-1]):
                raise StaleReproducer(f"step {len(self.steps)}, {name}, cannot happen here")

        return do


@dataclass(frozen=True, slots=True)
class Reproducer:
    """A stored run: the series it was found on, and the verdict of each series on it."""

    series: str
    arch: str
    scope: Scope
    verdicts: dict[str, str]

    def check(self, series: str, steps: Callable[[Replay], None]) -> None:
        """Replay on `series` and compare with the stored verdict. A series unknown to it must only do as it expects.

        A reproducer never passes by doing nothing: on its own series every step must happen.
        """
        kernel = all_series.load(series)
        replay = Replay(kernel)
        steps(replay)
        found = verdict(kernel, self.arch, self.scope, replay.steps)
        expected = self.verdicts.get(series)
        if expected is None:  # a loss that 2.6.26 has itself is no fault of a patch to it
            own = "loses" in found and "loses" not in self.verdicts.get("linux_2_6_26", "")
            assert kernel.expected != "safe" or not own, f"{series}: {found}"
            return
        if found == expected:
            return
        self._point_at(replay.steps, steps, kernel)
        raise StaleReproducer(f"{series}: stored verdict {expected!r}, now {found!r}")

    def _point_at(self, recorded: list[Step], steps: Callable[[Replay], None], kernel: type[Kernel]) -> None:
        """Raise in the line of the step that cannot happen any more, if that is what has changed."""
        try:
            steps(Live(kernel, self.arch, self.scope))
        except Loss:
            return


def parse(path: Path) -> list[str]:
    """The steps of a stored test as text, without importing it. Raises SyntaxError."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    bodies = [n.body for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "steps"]
    return [ast.unparse(statement).removeprefix("state.") for body in bodies for statement in body]


def read(path: Path) -> tuple[str, str, Scope, list[str]]:
    """Series, architecture, scope and steps of a stored test, without importing it.

    Raises SyntaxError, and ValueError if it is none.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reproducer":
            given = {word.arg: word.value for word in node.keywords}
            size = given.get("scope")
            if isinstance(size, ast.Call) and "series" in given and "arch" in given:
                try:
                    scope = Scope(**{str(word.arg): ast.literal_eval(word.value) for word in size.keywords})
                except TypeError as error:
                    raise ValueError(f"{path}: {error}") from error
                return (
                    str(ast.literal_eval(given["series"])),
                    str(ast.literal_eval(given["arch"])),
                    scope,
                    parse(path),
                )
    raise ValueError(f"{path}: is no stored reproducer")
