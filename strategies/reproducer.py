"""A run that loses data as text: printed, stored as a test, and replayed from there.

A stored test says on which patches its run loses and which of them cure it, not what every patch makes of it: on all
others it is replayed, and must add no loss. It is parsed, never imported, by all but pytest. May use `mm_sim`, and of
`strategies` what searches and judges a run; not verdicts, campaigns and the faces.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from mm_sim import series as all_series
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel, base_of
from mm_sim.loss import NotPossible, Report, Step, explain
from mm_sim.names import BY_NAME
from mm_sim.sched import KernelBug
from mm_sim.system import SMALL, Loss, Scope, System
from strategies import timeline
from strategies.comparison import Base, declares
from strategies.minimise import Certificate
from strategies.rules import stops, table
from strategies.targets import MACHINES
from strategies.timeline import Run, trace

#: Where the stored tests of the project are.
FOLDER = Path(__file__).parent.parent / "test_regressions"
#: Where the runs of patches that are given as a file are stored: never in the project.
OUTSIDE = Path("mm_regressions")
#: The kernel that is no patch.
UNPATCHED = "linux_2_6_26"
#: What the replay of a stored run can come to.
RAN, SKIPPED, ADDS, BUG, STALE = "ran to the end", "skipped", "adds a loss", "adds a bug", "not as stored"
#: The longest line of a stored test, but for its proof.
_WIDTH = 118


def call(step: Step) -> str:
    """The step as Hypothesis prints it, arguments by name: `store(page=A, process=P1, stop=None)`."""
    arguments = dict(zip(step.rule.arguments, map(repr, step.arguments), strict=True))
    if step.rule.action is None:
        arguments["stop"] = repr(step.stop)
    return f"{step.rule.name}({', '.join(f'{name}={value}' for name, value in sorted(arguments.items()))})"


def kind(name: str, arch: str, steps: Sequence[Step], report: Report) -> str:
    """What tells losses apart: patch, architecture, the function that forgot, and the rules used."""
    rules = sorted({step.rule.name for step in steps})
    return _digest("|".join((name, arch, report.forgotten_by.function, *rules)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def told(kernel: type[Kernel], found: Certificate, arch: str) -> str:
    """A loss in words, its timeline, and what stands behind the length of the run."""
    run = trace(kernel, arch, found.bounds.scope, found.steps)
    return f"{timeline.text(run)}\n\n{timeline.wrapped(str(found))}"


def play(kernel: type[Kernel], arch: str, scope: Scope, steps: Sequence[Step]) -> tuple[int, Loss | KernelBug] | None:
    """How a run ends: the index of the step that fails, and how; None if none does. Raises NotPossible."""
    system = System(kernel, arch, scope)
    for i, step in enumerate(steps):
        try:
            if not system.step(*step):
                raise NotPossible(i, step)
        except (Loss, KernelBug) as failure:
            return i, failure
    return None


def on(kernel: type[Kernel], run: Sequence[Step]) -> list[Step]:
    """The steps of a run as those of another kernel. Raises StaleReproducer if it lacks a rule or a label."""
    replay = Replay(kernel)
    for step in run:
        arguments = dict(zip(step.rule.arguments, step.arguments, strict=True))
        getattr(replay, step.rule.name)(stop=step.stop, **arguments)
    return replay.steps


def what_happens(failure: Loss | KernelBug, steps: Sequence[Step]) -> str:
    """A run in two sentences: how it ends, and where its operations are preempted."""
    preempted = [
        f"{timeline.short(step)} of {timeline.column(step)} is preempted at {step.stop}"
        for step in steps
        if step.stop is not None
    ]
    end = f"After step {len(steps)} {failure}." if isinstance(failure, Loss) else f"In step {len(steps)}: {failure}."
    where = f"{_listed(preempted) or 'No operation is preempted'}."
    return "\n\n".join(textwrap.fill(sentence, _WIDTH - 3) for sentence in (end, where))


def _listed(parts: Sequence[str]) -> str:
    *most, last = parts or [""]
    return f"{', '.join(most)}, and {last}" if len(most) > 1 else " and ".join((*most, last))


def text(stored: Reproducer, steps: Sequence[Step], what: str) -> str:
    """The source of the stored test; `what` is what happens in it."""
    used = {repr(a) for step in steps for a in step.arguments if repr(a) in BY_NAME} | set(
        map(repr, stored.scope.files)
    )
    given = {
        "loses": _tuple("loses", stored.loses),
        "cures": _tuple("cures", stored.cures) if stored.cures else None,
        "arch": json.dumps(stored.arch),
        "scope": _scope(stored.scope),
        "proof": json.dumps(stored.proof),
        "ends": json.dumps(stored.ends) if stored.ends else None,
    }
    keywords = "\n".join(f"    {name}={value}," for name, value in given.items() if value is not None)
    body = "\n".join(f"    state.{_line(step)}" for step in steps)
    words = what.replace("\\", "\\\\") + "\n" * ("\n" in what)
    return (
        f'"""{words}"""\n\n'
        f"from mm_sim.names import {', '.join(sorted(used, key=_import_order))}\n"
        f"from mm_sim.system import Scope\n"
        f"from strategies.reproducer import Check, Replay, Reproducer\n\n"
        f"REPRODUCER = Reproducer(\n{keywords}\n)\n\n\n"
        f"def steps(state: Replay) -> None:\n{body}\n\n\n"
        f"def test_stored_run(check: Check) -> None:\n    check(REPRODUCER, steps)\n"
    )


def _tuple(name: str, values: Sequence[str]) -> str:
    """As ruff formats it."""
    quoted = [json.dumps(value, ensure_ascii=False) for value in values]
    line = f"({', '.join(quoted)}{',' if len(quoted) == 1 else ''})"
    if len(f"    {name}={line},") <= _WIDTH:
        return line
    return "(\n" + "".join(f"        {value},\n" for value in quoted) + "    )"


def _line(step: Step) -> str:
    """The step as a stored test calls it: without a stop where it has none."""
    arguments = dict(zip(step.rule.arguments, map(repr, step.arguments), strict=True))
    if step.stop is not None:
        arguments["stop"] = json.dumps(step.stop, ensure_ascii=False)
    return f"{step.rule.name}({', '.join(f'{name}={value}' for name, value in sorted(arguments.items()))})"


def _scope(scope: Scope) -> str:
    """The scope as it is written, without what it does not have."""
    given = {f.name: getattr(scope, f.name) for f in fields(scope)}
    written = (f"{name}={value!r}" for name, value in given.items() if value != () and (name, value) != ("areas", 1))
    return f"Scope({', '.join(written)})".replace("'", '"')


def _import_order(name: str) -> tuple[int, str]:
    """As isort sorts: constants, classes (to it, any single capital is one), then the rest."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name.isupper() else 2), name


def loses_and_cures(
    first: str, arch: str, scope: Scope, run: Sequence[Step], kind: type[Loss | KernelBug] = Loss
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The patches on which a run adds a loss, 2.6.26 among them; and, if it is, those that cure it.

    `first` comes first, and counts also if its base loses, too. A patch cures a run if it fails in no run of the same
    operations, wherever its own preemption points are.
    """
    loses, cures = [], []
    for name in dict.fromkeys((first, *all_series.names())):
        kernel = all_series.load(name)
        if _fails(kernel, arch, scope, run, kind) and (name == first or not _base_fails(kernel, arch, scope, run)):
            loses.append(name)
        elif not Base(kernel, arch, scope).fails(run):
            cures.append(name)
    return tuple(loses), tuple(cures) if UNPATCHED in loses else ()


def _fails(kernel: type[Kernel], arch: str, scope: Scope, run: Sequence[Step], kind: type[Loss | KernelBug]) -> bool:
    """Whether every step of a run happens on a kernel, and the last one fails in this way."""
    try:
        found = play(kernel, arch, scope, on(kernel, run))
    except (StaleReproducer, NotPossible):
        return False
    return found is not None and found[0] == len(run) - 1 and isinstance(found[1], kind)


def _base_fails(kernel: type[Kernel], arch: str, scope: Scope, run: Sequence[Step]) -> bool:
    base = base_of(kernel)
    return base is not None and Base(base, arch, scope).fails(run)


def store(name: str, arch: str, scope: Scope, found: Certificate, folder: Path = FOLDER) -> Path | None:
    """Write the stored test; None if one of this kind or run is there already, also when another worker was faster.

    It is there whole or not at all: it is written beside its place and linked there. The run of a patch that is no
    patch of the project is never written among the tests of the project.
    """
    if folder.resolve() == FOLDER.resolve() and name not in all_series.names():
        folder = OUTSIDE
        folder.mkdir(exist_ok=True)
    new = path(name, arch, found, folder)
    kernel = all_series.load(name)
    there = ((one, size, steps_on(kernel, calls)) for one, size, calls in stored_runs(folder))
    if new.exists() or (arch, scope, found.steps) in there:
        return None
    source = _source(name, arch, scope, found)
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


def _source(name: str, arch: str, scope: Scope, found: Certificate) -> str:
    """A stored test of what was found: for a patch of the project with all others that lose by the run."""
    ended = play(all_series.load(name), arch, scope, found.steps)
    assert ended is not None
    _, failure = ended
    ends = "" if isinstance(failure, Loss) else str(failure)
    loses: tuple[str, ...] = (name,)
    cures: tuple[str, ...] = ()
    if name in all_series.names():
        loses, cures = loses_and_cures(name, arch, scope, found.steps, KernelBug if ends else Loss)
    stored = Reproducer(loses, arch, scope, cures, str(found), ends)
    return text(stored, found.steps, what_happens(failure, found.steps))


def path(name: str, arch: str, found: Certificate, folder: Path = FOLDER) -> Path:
    """The file for a loss of this kind."""
    report = explain(all_series.load(name), arch, found.bounds.scope, found.steps)
    assert report is not None
    return folder / f"test_{Path(name).stem}_{kind(name, arch, found.steps, report)}.py"


def keep(kernel: type[Kernel], patch: str, arch: str, found: Certificate, folder: Path) -> Path:
    """Write the run of a verdict into a folder, over what an earlier verdict on this patch has left there.

    Two patches of one name in two folders have a file each.
    """
    where = str(Path(patch).resolve()) if patch.endswith(".py") else patch
    new = folder / f"test_{Path(patch).stem}_{_digest(where)}.py"
    new.write_text(_source(patch, arch, found.bounds.scope, found), encoding="utf-8")
    return new


#: A stored run: architecture, machine, and the calls of its steps, arguments and `stop` by name.
Stored: TypeAlias = "tuple[str, Scope, list[tuple[str, dict[str, Any]]]]"


def stored_runs(folder: Path = FOLDER) -> list[Stored]:
    """The stored runs as data; without damaged ones."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        with suppress(BadReproducer, OSError):
            stored, calls = _read(file)
            found.append((stored.arch, stored.scope, calls))
    return found


def steps_on(kernel: type[Kernel], calls: Iterable[tuple[str, dict[str, Any]]]) -> list[Step] | None:
    """The steps of a stored run on a kernel; None if it lacks a rule."""
    rules = {rule.name: rule for rule in table(kernel)}
    steps = []
    for name, given in calls:
        rule = rules.get(name)
        if rule is None or given.keys() - {"stop"} != rule.arguments.keys():
            return None
        steps.append(Step(rule, tuple(given[argument] for argument in rule.arguments), given.get("stop")))
    return steps


class Told(AssertionError):
    """A failure whose text says everything: pytest shows it as it is."""


class Adds(Told):
    """A patch adds a loss, or a bug, in a stored run, and does not say so: `word` is ADDS or BUG."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word = word


class CannotReplay(Exception):
    """A stored run that is none of this kernel: it lacks a rule or a label, or a step cannot happen there."""


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


#: The steps of a stored test: a function of what they are called on.
Calls: TypeAlias = Callable[[Replay], None]


@dataclass(frozen=True, slots=True)
class Reproducer:
    """A stored run, and the patches on which every step of it happens and the last one loses a page.

    `loses` has those that add the loss to their base, and 2.6.26 if it loses; `cures` those that fix it there.
    `ends` is the bug in which a run ends that loses nothing. `on` is the patch that it is shown on, the first of
    `loses` if not given.
    """

    loses: tuple[str, ...]
    arch: str
    scope: Scope
    cures: tuple[str, ...] = ()
    proof: str = "shortest run found"
    ends: str = ""
    on: str = ""

    @property
    def series(self) -> str:
        """The patch that the run is shown on."""
        return self.on or self.loses[0]

    @property
    def machine(self) -> str:
        """The machine of a verdict that is most like that of the run."""
        alike = [
            name
            for name, machine in MACHINES.items()
            if (machine.scope.files, machine.scope.also) == (self.scope.files, self.scope.also)
        ]
        same = [name for name in alike if MACHINES[name].scope == self.scope]
        return next(iter((*same, *alike)), "")

    @property
    def kind(self) -> type[Loss | KernelBug]:
        """How the run fails."""
        return KernelBug if self.ends else Loss

    def steps(self, kernel: type[Kernel], steps: Calls) -> list[Step]:
        """The steps on a kernel. Raises StaleReproducer if it lacks a rule or a label."""
        replay = Replay(kernel)
        steps(replay)
        return replay.steps

    def replay(self, kernel: type[Kernel], steps: Calls) -> Run:
        """The stored run on a kernel, line by line."""
        return trace(kernel, self.arch, self.scope, self.steps(kernel, steps))

    def check(self, series: str, steps: Calls) -> str:
        """Replay on a patch: RAN or ADDS, if that is as it must be.

        Raises CannotReplay if there is no such run on a patch of which nothing is stored, Adds if that adds a loss
        that it does not declare, StaleReproducer if what is stored does not hold.
        """
        kernel = all_series.load(series)
        if series in self.loses:
            return self._check_loses(series, kernel, steps)
        if series in self.cures:
            if Base(kernel, self.arch, self.scope).fails(self.steps(all_series.load(self.series), steps)):
                raise StaleReproducer(f"{series} cures this run no more")
            return RAN
        try:
            run = self.steps(kernel, steps)
            found = play(kernel, self.arch, self.scope, run)
        except (StaleReproducer, NotPossible) as error:
            raise CannotReplay(str(error)) from error
        if found is None or _base_fails(kernel, self.arch, self.scope, run):
            return RAN
        if isinstance(found[1], Loss) and self._is_declared(kernel):
            return ADDS
        word, what = (ADDS, ".") if isinstance(found[1], Loss) else (BUG, f": {found[1]}")
        raise Adds(word, f"{series} {word}{what}\n\n{timeline.text(self.replay(kernel, steps))}")

    def _check_loses(self, series: str, kernel: type[Kernel], steps: Calls) -> str:
        """Every step must happen, and the last one must fail; the line of one that cannot is where pytest points."""
        run = self.steps(kernel, steps)
        try:
            found = play(kernel, self.arch, self.scope, run)
        except NotPossible:
            steps(Live(kernel, self.arch, self.scope))
            raise
        if found is None or found[0] != len(run) - 1 or not isinstance(found[1], self.kind):
            now = f"ends in step {found[0] + 1}: {found[1]}" if found else "loses nothing"
            raise StaleReproducer(f"{series}: the run must fail in step {len(run)}, and now {now}")
        return ADDS

    def _is_declared(self, kernel: type[Kernel]) -> bool:
        """Whether a patch says that it loses in such a machine; or somewhere, if it has no table."""
        anywhere = kernel.expected == "loses" and not vars(kernel).get("loses_in")
        return anywhere or declares(kernel, self.machine, self.arch)


#: What a stored test calls: a fixture.
Check: TypeAlias = Callable[[Reproducer, Calls], None]


def read(path: Path) -> tuple[Reproducer, Calls]:
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
    """Calls from their text, as call() writes it."""
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


@dataclass(frozen=True, slots=True)
class Change:
    """What a patch made of a stored run, by what is stored, and what it makes of it now; UNSAID if neither."""

    test: str
    patch: str
    before: str
    after: str

    @property
    def breaks(self) -> bool:
        """Whether what is stored does not hold."""
        return self.before != UNSAID


#: Of a patch that a stored test does not name.
UNSAID = "-"


def renewed(path: Path) -> tuple[list[Change], str]:
    """What has changed of the verdicts of a stored test, and its text with those of today; "" if no patch loses.

    What happens in it is a person's words, and stays.
    """
    stored, steps = read(path)
    loses: tuple[str, ...] = ()
    cures: tuple[str, ...] = ()
    run: list[Step] = []
    with suppress(StaleReproducer):
        run = stored.steps(all_series.load(stored.series), steps)
        loses, cures = loses_and_cures(stored.series, stored.arch, stored.scope, run, stored.kind)
    before = dict.fromkeys(stored.cures, "cures") | dict.fromkeys(stored.loses, "loses")
    after = dict.fromkeys(cures, "cures") | dict.fromkeys(loses, "loses")
    changes = [
        Change(path.name, patch, before.get(patch, UNSAID), after.get(patch, UNSAID))
        for patch in dict.fromkeys((*before, *after))
        if before.get(patch) != after.get(patch)
    ]
    return changes, text(replace(stored, loses=loses, cures=cures), run, _words(path)) if loses else ""


def rewritten(path: Path) -> str:
    """A stored test as the tool writes it today, with the verdicts that it has."""
    stored, steps = read(path)
    return text(stored, stored.steps(all_series.load(stored.series), steps), _words(path))


def _words(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
