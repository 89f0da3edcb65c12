"""A run that loses data as text: printed, written to `test_regressions/` as a test, and replayed from there."""

from __future__ import annotations

import ast
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mm_sim import series as all_series
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Report, Step, explain
from mm_sim.names import BY_NAME
from mm_sim.system import SMALL, Loss, Scope, System
from strategies import timeline
from strategies.minimise import Certificate
from strategies.rules import RULES, stops, table
from strategies.timeline import Run, trace

FOLDER = Path(__file__).parent.parent / "test_regressions"


def call(step: Step) -> str:
    """The step as Hypothesis prints it, arguments by name: `store(page=A, process=P1, stop=None)`."""
    arguments = dict(zip(step.rule.arguments, map(repr, step.arguments), strict=True))
    if step.rule.action is None:
        arguments["stop"] = repr(step.stop)
    return f"{step.rule.name}({', '.join(f'{name}={value}' for name, value in sorted(arguments.items()))})"


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


def told(kernel: type[Kernel], found: Certificate, arch: str) -> str:
    """A loss in words, its timeline, and what stands behind the length of the run."""
    run = trace(kernel, arch, found.bounds.scope, found.steps)
    return f"{timeline.text(run)}\n\n{timeline.wrapped(str(found))}"


def docstring(run: Run, name: str, proof: str) -> str:
    """What a stored test says of its run."""
    assert run.report is not None
    loss = run.report.loss
    return (
        f"{name} loses {loss.process!r}'s page {loss.page!r} on {run.arch}.\n\n{timeline.text(run)}\n\n"
        + timeline.wrapped(f"The {proof}.")
        + "\n\nWritten by the tool; the verdicts are those of every series.\n"
    )


def text(name: str, arch: str, scope: Scope, steps: Sequence[Step], proof: str) -> str:
    """The source of the stored test."""
    run = trace(all_series.load(name), arch, scope, steps)
    verdicts = {n: verdict(all_series.load(n), arch, scope, steps) for n in (*all_series.names(), name)}
    used = {repr(a) for step in steps for a in step.arguments if repr(a) in BY_NAME} | set(map(repr, scope.files))
    body = "\n".join(f"    state.{call(step)}".replace("'", '"') for step in steps)
    table_ = "\n".join(f'        "{n}": "{v}",' for n, v in verdicts.items())
    return (
        f'"""{docstring(run, name, proof)}"""\n\n'
        f"from mm_sim.names import {', '.join(sorted(used, key=_import_order))}\n"
        f"from mm_sim.system import Scope\n"
        f"from strategies.reproducer import Replay, Reproducer\n\n"
        f"REPRODUCER = Reproducer(\n"
        f'    series="{name}",\n'
        f'    arch="{arch}",\n'
        f"    scope={_scope(scope)},\n"
        f'    proof="{proof}",\n'
        f"    verdicts={{\n{table_}\n    }},\n)\n\n\n"
        f"def steps(state: Replay) -> None:\n{body}\n\n\n"
        f"def test_verdicts(series: str) -> None:\n    REPRODUCER.check(series, steps)\n"
    )


def _scope(scope: Scope) -> str:
    """The scope as it is written, without what it does not have."""
    given = {f.name: getattr(scope, f.name) for f in fields(scope)}
    return f"Scope({', '.join(f'{name}={value!r}' for name, value in given.items() if value != ())})".replace(
        "'", '"'
    )


def _import_order(name: str) -> tuple[int, str]:
    """As isort sorts: constants, classes (to it, any single capital is one), then the rest."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name.isupper() else 2), name


def store(name: str, arch: str, scope: Scope, found: Certificate, folder: Path = FOLDER) -> Path | None:
    """Write the stored test; None if one of this kind is there already, also when another worker was faster.

    It is there whole or not at all: it is written beside its place and linked there.
    """
    new = path(name, arch, found, folder)
    if new.exists():
        return None
    source = text(name, arch, scope, found.steps, str(found))
    handle, draft = tempfile.mkstemp(prefix=".part-", dir=folder)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(source)
            file.flush()
            os.fsync(handle)
        os.chmod(draft, 0o644)
        os.link(draft, new)
    except FileExistsError:
        return None
    finally:
        os.unlink(draft)
    return new


def path(name: str, arch: str, found: Certificate, folder: Path = FOLDER) -> Path:
    """The file for a loss of this kind."""
    report = explain(all_series.load(name), arch, found.bounds.scope, found.steps)
    assert report is not None
    return folder / f"test_{Path(name).stem}_{kind(name, arch, found.steps, report)}.py"


def keep(kernel: type[Kernel], patch: str, arch: str, found: Certificate, folder: Path) -> Path:
    """Write the run of a verdict into a folder, over what an earlier verdict on this patch has left there."""
    new = path(patch, arch, found, folder)
    new.write_text(text(patch, arch, found.bounds.scope, found.steps, str(found)), encoding="utf-8")
    return new


def stored_runs(folder: Path = FOLDER) -> list[tuple[str, Scope, list[tuple[str, tuple[Any, ...], str | None]]]]:
    """The stored runs as data: architecture, machine, steps by the names of their rules; without damaged ones."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        with suppress(BadReproducer, OSError):
            stored, calls = _read(file)
            found.append((stored.arch, stored.scope, [_by_name(name, dict(given)) for name, given in calls]))
    return found


def _by_name(name: str, given: dict[str, Any]) -> tuple[str, tuple[Any, ...], str | None]:
    stop = given.pop("stop", None)
    arguments = next((rule.arguments for rule in RULES if rule.name == name), given)
    return name, tuple(given[argument] for argument in arguments), stop


class Told(AssertionError):
    """A failure whose text says everything: pytest shows it as it is."""


class BadReproducer(ValueError):
    """A file that is no stored run: one line that names the file, the line and what is wrong."""


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
    proof: str = "shortest run found"

    def replay(self, kernel: type[Kernel], steps: Callable[[Replay], None]) -> Run:
        """The stored run on a kernel, line by line."""
        replay = Replay(kernel)
        steps(replay)
        return trace(kernel, self.arch, self.scope, replay.steps)

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
            if own and kernel.expected == "safe":
                run = trace(kernel, self.arch, self.scope, replay.steps)
                raise Told(f"{series} is expected to be safe and loses a page.\n\n{timeline.text(run)}")
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


def read(path: Path) -> tuple[Reproducer, Callable[[Replay], None]]:
    """A stored test and its steps, parsed and not imported. Raises BadReproducer, OSError."""
    stored, calls = _read(path)

    def steps(state: Replay) -> None:
        for name, arguments in calls:
            getattr(state, name)(**arguments)

    return stored, steps


def _read(path: Path) -> tuple[Reproducer, list[tuple[str, dict[str, Any]]]]:
    line = 0
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        made = next(
            n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "REPRODUCER"
        )
        body = next(n.body for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "steps")
        calls: list[tuple[str, dict[str, Any]]] = []
        for statement in body:
            line = statement.lineno
            assert isinstance(statement, ast.Expr)
            calls.append(_call(statement.value))
        line = made.lineno
        reproducer = Reproducer(**_keywords(made))
        if reproducer.arch not in ARCHES:
            raise ValueError(f"there is no architecture {reproducer.arch!r}")
    except SyntaxError as error:
        raise BadReproducer(f"{path}:{error.lineno}: {error.msg}") from error
    except StopIteration:
        raise BadReproducer(f"{path}: not a stored run: it has no REPRODUCER and no steps()") from None
    except (AssertionError, TypeError, ValueError, KeyError) as error:
        raise BadReproducer(f"{path}:{line}: not as the tool writes it: {error}") from error
    return reproducer, calls


def _call(node: ast.expr) -> tuple[str, dict[str, Any]]:
    assert isinstance(node, ast.Call)
    return ast.unparse(node.func).removeprefix("state."), _keywords(node)


def recorded(kernel: type[Kernel], calls: Sequence[str]) -> list[Step]:
    """Steps from their text, as call() writes it."""
    replay = Replay(kernel)
    for text in calls:
        name, arguments = _call(ast.parse(text, mode="eval").body)
        getattr(replay, name)(**arguments)
    return replay.steps


def _keywords(node: ast.expr) -> dict[str, Any]:
    """The arguments of a call: names of mm_sim.names, literals, and a Scope."""
    assert isinstance(node, ast.Call)
    assert not node.args
    values: dict[str, Any] = {}
    for keyword in node.keywords:
        assert keyword.arg is not None
        value = keyword.value
        if isinstance(value, ast.Name):
            values[keyword.arg] = BY_NAME[value.id]
        elif isinstance(value, ast.Tuple):
            values[keyword.arg] = tuple(
                BY_NAME[item.id] if isinstance(item, ast.Name) else ast.literal_eval(item) for item in value.elts
            )
        elif isinstance(value, ast.Call) and ast.unparse(value.func) == "Scope":
            values[keyword.arg] = Scope(**_keywords(value))
        else:
            values[keyword.arg] = ast.literal_eval(value)
    return values


def rewrite(path: Path) -> bool:
    """Write the words, the timeline and the verdicts of a stored test anew; its proof is kept. Whether it changed."""
    reproducer, steps = read(path)
    replay = Replay(all_series.load(reproducer.series))
    steps(replay)
    new = text(reproducer.series, reproducer.arch, reproducer.scope, replay.steps, reproducer.proof)
    changed = new != path.read_text(encoding="utf-8")
    if changed:
        path.write_text(new, encoding="utf-8")
    return changed
