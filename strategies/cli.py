"""The `mm-sim` command: a thin face on the functions that pytest uses.

Exit status: 0 no loss is added and something is known, 1 a loss or a bug is added, 2 bad input, 3 undecided, 130
interrupted. Of several patches the worst counts: 130, 2, 1, 3, 0.
"""

from __future__ import annotations

import difflib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mm_sim import series as all_series
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel, base_of, name_of
from mm_sim.names import DIRECT, FILES, KSWAPD, Name
from mm_sim.sched import KernelBug
from mm_sim.series import SeriesError
from strategies import bench as benchmarks
from strategies import cost, explain, night, plan, report, reproducer, tally, timeline, verdict_text
from strategies.comparison import Base
from strategies.corpus import DEFAULT, Corpus, DatabaseError, Store
from strategies.explore import SCOPES, Bounds, CheckpointError, Result, Search, WorkerDied
from strategies.reproducer import BadReproducer, StaleReproducer, stored_runs
from strategies.rules import check_rules, stops, table
from strategies.targets import MACHINES, Machine, custom
from strategies.verdict import ADDS, ALONE, BUG, FOUND, NOT_REACHED, PROVEN, Verdict
from strategies.verdict import judge as judge_

_COLOURS = {ADDS: "red", BUG: "red", FOUND: "yellow", NOT_REACHED: "yellow", PROVEN: "green"}


class BadInput(click.ClickException):
    """One line that says what is wrong and what to do; exit status 2."""

    exit_code = 2


@contextmanager
def _one_line() -> Iterator[None]:
    """Errors that the caller can correct, as one line."""
    try:
        yield
    except (
        SeriesError,
        CheckpointError,
        WorkerDied,
        DatabaseError,
        BadReproducer,
        StaleReproducer,
        cost.CannotRun,
    ) as error:
        raise BadInput(str(error)) from error
    except KernelBug as error:
        raise BadInput(f"the patch has a bug, which is not a loss: {error}") from error
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


def _load(name: str) -> type[Kernel]:
    with _one_line():
        kernel = all_series.load(name)
        check_rules(kernel)
        return kernel


class _Progress:
    """One line of progress on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self.status = console.status("")
        self.shown = console.is_terminal
        self.next = 0.0

    def __enter__(self) -> _Progress:
        if self.shown:
            self.status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.status.stop()

    def __call__(self, text: str) -> None:
        if self.shown and time.monotonic() > self.next:
            self.next = time.monotonic() + 0.1
            self.status.update(text)


def _console() -> Console:
    """The terminal; or plain text as wide as a timeline, unless COLUMNS says otherwise."""
    out = Console()
    return out if out.is_terminal or "COLUMNS" in os.environ else Console(width=timeline.WIDTH)


class _Commands(click.Group):
    """Ends with 130 on Ctrl-C, where click would end with 1, which is the status of a loss."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(130) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mm_sim")
def main() -> None:
    """Does a patch to Linux memory management lose a modified page?"""


class _Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return plan.seconds(str(value))
        except ValueError:
            self.fail(f"{value!r} is no length of time; write 8h, 90m or 30s", param, ctx)


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[Name, ...] | None:
    """The files of a machine, by name."""
    if value is None:
        return None
    known = {file.name: file for file in FILES}
    for name in filter(None, value.split(",")):
        if name not in known:
            raise BadInput(f"--files: no file is called {name!r}; there are: {', '.join(known)}")
    return tuple(dict.fromkeys(known[name] for name in value.split(",") if name))


def _machine_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a machine, the same in every command."""
    options = (
        click.option(
            "--machine",
            "machines",
            multiple=True,
            type=click.Choice(list(MACHINES)),
            metavar="MACHINE",
            help="A machine by name; may be given more than once. The options below change it, or `anon`. "
            f"Machines: {'; '.join(MACHINES)}.",
        ),
        click.option("--processes", type=click.IntRange(1, 8), help="Processes and threads."),
        click.option("--pages", type=click.IntRange(1, 32), help="Virtual pages of each process."),
        click.option("--frames", type=click.IntRange(min=1), help="Page frames."),
        click.option("--slots", type=click.IntRange(min=0), help="Swap slots; 0 is no swap."),
        click.option("--areas", type=click.IntRange(min=1), help="Swap areas, among which the slots are split."),
        click.option(
            "--files", callback=_names, metavar="FILE,...", help=f"Files: {', '.join(file.name for file in FILES)}."
        ),
        click.option("--threads/--no-threads", default=None, help="Whether processes can have threads."),
        click.option("--pins/--no-pins", default=None, help="Whether pages are pinned: O_DIRECT, ptrace."),
        click.option("--migration/--no-migration", default=None, help="Whether pages migrate (x86)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _machines(machines: tuple[str, ...], **size: Any) -> dict[str, Machine]:
    """The machines that the options name; all if they name none."""
    if all(value is None for value in size.values()):
        return {name: MACHINES[name] for name in machines or MACHINES}
    if len(machines) > 1:
        raise BadInput("--machine: name one machine, or none, with options that change it")
    name = machines[0] if machines else "anon"
    return _custom(name, MACHINES[name], size)


def _custom(name: str, of: Machine, size: dict[str, Any]) -> dict[str, Machine]:
    """A machine with what the options change."""
    name, machine = custom(name, of, **size)
    if machine.scope.processes == 1 and "threads" in machine.scope.also:
        raise BadInput("--processes 1: a machine with threads needs two, P1 and its thread P2")
    return {name: machine}


def _arches(arch: str, machines: dict[str, Machine]) -> list[str]:
    """The architectures that are meant. One that none of the machines can have is bad input."""
    if arch == "all":
        return list(ARCHES)
    if all(arch not in machine.arches for machine in machines.values()):
        (can,) = {name for machine in machines.values() for name in machine.arches}
        raise BadInput(f"--arch {arch}: pages migrate on {can} only; say --arch {can}, or --no-migration")
    return [arch]


def _base(kernel: type[Kernel], named: str | None) -> tuple[type[Kernel] | None, str | None]:
    """The base of a patch, and its name."""
    return _own_base(kernel) if named is None else _named_base(named)


def _named_base(named: str) -> tuple[type[Kernel] | None, str | None]:
    return (None, None) if named == "none" else (_load(named), named)


def _own_base(kernel: type[Kernel]) -> tuple[type[Kernel] | None, str | None]:
    base = base_of(kernel)
    return base, name_of(base)


_base_option = click.option(
    "--base",
    metavar="PATCH|FILE|none",
    help="What the patch is compared with, instead of the class it derives from; `none` for nothing.",
)
_jobs = click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, help="Worker processes.")
_arch = click.option(
    "--arch", type=click.Choice([*ARCHES, "all"]), default="all", show_default=True, help="The architecture."
)


@main.command()
@click.argument("series", nargs=-1, metavar="[PATCH|FILE]...")
@_arch
@_machine_options
@_base_option
@click.option("--budget", type=_Duration(), default="60s", show_default=True, metavar="TIME", help="For each patch.")
@_jobs
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("mm_regressions"),
    show_default=True,
    help="Where a run that loses a page is stored.",
)
@click.option(
    "--report",
    "report_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write an index of the verdicts, and a page for each loss and each bug, for a browser.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list with one object for each patch.")
def judge(
    series: tuple[str, ...],
    arch: str,
    machines: tuple[str, ...],
    base: str | None,
    budget: float,
    jobs: int,
    folder: Path,
    report_folder: Path | None,
    as_json: bool,
    **size: Any,
) -> None:
    """The verdict on each PATCH or patch FILE, compared with its base; on all patches if none is named.

    Exit status: 0 no loss added and something proven, 1 a loss or a bug added, 2 bad input, 3 undecided, 130
    interrupted. Of several patches the worst counts, in the order 130, 2, 1, 3, 0. A patch that cannot be loaded
    gets one line, and the others are judged.
    """
    chosen = _machines(machines, **size)
    of = _arches(arch, chosen)
    given = None if base is None else _named_base(base)
    if report_folder is not None:
        with _one_line():  # before the budget is spent
            report.write_all(report_folder, [])
    runs = stored_runs()
    out = Console()
    done: list[dict[str, Any]] = []
    each: list[int] = []
    patches = {}
    for patch in dict.fromkeys(series or all_series.names()):
        try:
            patches[patch] = _load(patch)
        except BadInput as error:
            error.show()
            done.append({"version": verdict_text.JSON_VERSION, "patch": patch, "error": error.message})
            each.append(error.exit_code)
    for patch, kernel in patches.items():
        against, called = given or _own_base(kernel)
        with _Progress(Console(stderr=True)) as progress, _one_line():
            verdict = judge_(kernel, patch, against, called, chosen, of, budget, jobs, runs, progress)
        done.append(verdict_text.as_json(verdict, kernel))
        each.append(verdict_text.status(verdict))
        stored = _store(kernel, verdict, folder)
        if not as_json:
            _show(out, kernel, verdict)
            if stored is not None:
                explained = f"mm-sim explain {shlex.quote(str(stored))}"
                said = f"\nStored: {stored}\nState after each step: {explained}"
                out.print(said, highlight=False, markup=False, soft_wrap=True)
            out.print()
        if verdict.interrupted:
            break
    if as_json:
        click.echo(json.dumps(done, indent=2))
    if report_folder is not None:
        with _one_line():
            report.write_all(report_folder, [verdict for verdict in done if "error" not in verdict])
        click.echo(f"Report: {report_folder / 'index.html'}", err=as_json)
    raise SystemExit(worst(each))


def worst(each: list[int]) -> int:
    """The exit status of several patches: an interrupt, bad input, a loss or a bug, undecided."""
    return next((status for status in (130, 2, 1, 3) if status in each), 0)


def _store(kernel: type[Kernel], verdict: Verdict, folder: Path) -> Path | None:
    """Store the run of a verdict, a loss or a bug, where `explain` finds it."""
    found = verdict.found
    if found is None:
        return None
    finding = found.finding or found.bug
    assert finding is not None
    with _one_line():
        folder.mkdir(parents=True, exist_ok=True)
        return reproducer.keep(kernel, verdict.patch, found.arch, finding.certificate, folder)


def _show(out: Console, kernel: type[Kernel], verdict: Verdict) -> None:
    colour = _COLOURS[verdict.word]
    first, *rest = verdict_text.text(verdict, kernel).splitlines()
    out.print(f"[bold {colour}]{escape(first)}[/]", highlight=False, soft_wrap=True)
    out.print("\n".join(rest), highlight=False, markup=False, soft_wrap=True)
    for line in verdict_text.unexpected(verdict, kernel):
        out.print(f"[bold]UNEXPECTED: {escape(line)}[/]", highlight=False, soft_wrap=True)


_databases = click.option(
    "--database",
    "databases",
    multiple=True,
    default=(DEFAULT,),
    show_default=True,
    metavar="DIR|redis://HOST|github:OWNER/REPOSITORY/SERIES",
    help="Where runs, losses and proofs are kept; may be given more than once.",
)


def _declared(kernel: type[Kernel]) -> str:
    """Where a patch adds a loss by its own account."""
    table = vars(kernel).get("loses_in", {})
    lines = [f"{machine} ({', '.join(arches)})" for machine, arches in table.items()]
    return f"loses in {', '.join(lines)}" if lines else kernel.expected


@main.command("list")
@_databases
def list_(databases: tuple[str, ...]) -> None:
    """The patches, what each declares of itself, and what nights have proven of this version of it."""
    shown = Table("patch", "declared", "applies to", "posted", "what it changes", "proven at night")
    with _one_line():
        store = Store.open(databases)
        for name in all_series.names():
            kernel = all_series.load(name)
            proven = []
            for arch in ARCHES:
                records = tally.proofs(store, tally.source_of(kernel, arch), plan.Job(name, arch, plan.SEARCH))
                done = [f"{r['name']} ({r['states']} states)" for r in records.values() if r["ended"] == "complete"]
                proven += [f"{arch}: {', '.join(done)}"] if done else []
            of = (name, _declared(kernel), kernel.applies_to, kernel.posted, kernel.title)
            shown.add_row(*of, "; ".join(proven))
    Console().print(shown)


@main.command()
@click.argument("series", nargs=-1, metavar="[SERIES|FILE]...")
@click.option("--budget", type=_Duration(), default="10m", show_default=True, metavar="TIME", help="8h, 90m, 30s.")
@_arch
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(plan.ALL),
    help="A machine of the nightly plan to walk, or `search`; all if nothing is named here or below.",
)
@_machine_options
@click.option("--seed", type=int, help="The seed of a night to be repeated.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, help="Worker processes.")
@_databases
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=reproducer.FOLDER,
    help="Where losses become tests.",
)
def fuzz(
    series: tuple[str, ...],
    budget: float,
    arch: str,
    scopes: tuple[str, ...],
    machines: tuple[str, ...],
    seed: int | None,
    jobs: int,
    databases: tuple[str, ...],
    folder: Path,
    **size: Any,
) -> None:
    """Walk and search for a given time, with what earlier nights have kept; losses become tests.

    A machine that is named by option is walked.
    """
    arches = list(ARCHES) if arch == "all" else [arch]
    if machines or any(value is not None for value in size.values()):
        named = _machines(machines, **size)
        arches = _arches(arch, named)
        scopes = (*scopes, *named)
    with _one_line():
        chosen = [plan.called(name) for name in series or all_series.names()]
        tonight = plan.plan(chosen, budget, seed, jobs, databases, arches, scopes or plan.ALL, folder)
        lines, good = night.run(tonight, lambda line: click.echo(line, err=True), sys.stderr.isatty())
    for line in lines:
        click.echo(line)
    raise SystemExit(not good)


@main.command()
@_databases
@click.option("--merge", "others", multiple=True, metavar="DATABASE", help="Take over what another database has.")
@click.option("--prune", type=click.IntRange(min=1), metavar="N", help="Keep N runs for each kind of machine.")
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--show", metavar="SERIES", help="Print the runs kept for a series.")
@click.option("--json", "as_json", is_flag=True)
def corpus(
    databases: tuple[str, ...],
    others: tuple[str, ...],
    prune: int | None,
    picture: Path | None,
    show: str | None,
    as_json: bool,
) -> None:
    """What the nights have kept and reached; merge and prune it."""
    out = Console()
    with _one_line():
        store = Store.open(databases)
        for name in others:
            if ":" not in name and not Path(name).is_dir():
                raise BadInput(f"{name}: there is no such database")
            other = Store.open([name])
            new = tally.merge(store, other, ((n, all_series.load(n)) for n in all_series.names()))
            click.echo(f"{name}: {new} entries taken over")
            for line in other.troubles():
                click.echo(line, err=True)
        kept: dict[str, dict[str, int]] = {}
        machines = tally.walks(store)
        old = 0
        for name in [show] if show is not None else all_series.names():
            series, kernel = Path(name).stem if name.endswith(".py") else name, _load(name)
            if prune is not None:
                old += tally.forget_proofs(store, series, [tally.source_of(kernel, arch) for arch in ARCHES])
            for arch in ARCHES:
                for scope, size in machines.items():
                    runs = Corpus(store, kernel, series, arch, scope, size)
                    entries = store.all(runs.key)
                    if prune is not None:
                        entries = runs.pruned(entries, prune)
                    if entries:
                        kept.setdefault(series, {})[f"{arch} {scope}"] = len(entries)
                    if show is not None:
                        for entry in entries:
                            click.echo(f"{arch} {scope}: {entry.data.get('reached')}")
                            click.echo("".join(f"    {step}\n" for step in entry.data.get("steps") or ()), nl=False)
        reached = tally.coverage(store)
        if prune is not None:
            click.echo(f"{old} proofs of other versions of the model deleted")
            click.echo(f"{store.tidy()} damaged entries deleted")
        if picture is not None:
            try:
                tally.plot(store, picture)
            except ImportError as error:
                raise BadInput("--plot needs matplotlib: pip install 'mm_sim[plot]'") from error
        store.close()
    if as_json:
        click.echo(json.dumps({"kept": kept, "reached": reached}, indent=2))
    elif show is None:
        shown = Table("series", "runs kept", "nights", "steps", "abstract states", "new last night", "situations")
        for name in sorted({*kept, *reached}):
            nights = reached.get(name, {})
            last = nights[max(nights)] if nights else None
            steps = sum(at["steps"] for at in nights.values())
            counts = (last["states"], last["new"] or "nothing", len(last["situations"])) if last else ("", "", "")
            shown.add_row(name, *map(str, (sum(kept.get(name, {}).values()), len(nights), steps, *counts)))
        out.print(shown)
    for line in store.troubles():
        click.echo(line, err=True)
    raise SystemExit(2 if store.unsaved() else 0)


@main.command("explain")
@click.argument("what", metavar="PATCH|FILE")
@click.option("--step", type=click.IntRange(min=1), help="The state after this step only.")
@click.option("--to", "label", metavar="LABEL", help="The state where this preemption point is first passed.")
@click.option("--on", metavar="PATCH|FILE", help="Show a stored run on this patch, instead of the first it names.")
@click.option("--compare", metavar="PATCH|FILE", help="Where the same steps first make a difference on this patch.")
@click.option("--timeline", "only", is_flag=True, help="The timeline alone, without the states.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write one page to read in a browser.")
@_arch
@_machine_options
@_base_option
@click.option("--budget", type=_Duration(), default="60s", show_default=True, metavar="TIME")
def explain_(
    what: str,
    step: int | None,
    label: str | None,
    on: str | None,
    compare: str | None,
    only: bool,
    html: Path | None,
    arch: str,
    machines: tuple[str, ...],
    base: str | None,
    budget: float,
    **size: Any,
) -> None:
    """A run with a loss or a bug, step by step: that of a stored test (FILE), or of a PATCH or patch FILE.

    A patch without a stored run, or with options that name a machine or a base, is judged first, within --budget.
    """
    out = _console()
    with _one_line():
        chosen = _machines(machines, **size)
        name, run, proof = _run_of(what, on, budget, chosen, _arches(arch, chosen), base)
        if run is None:
            out.print(f"{name}: no run with a loss or a bug of it is known, and none was found.", highlight=False)
            return
        other_name = compare or ""
        other = explain.same_steps(run, _load(compare)) if compare else None
        if step is not None and step > len(run.done):
            raise BadInput(f"--step {step}: the run has {len(run.done)} steps")
        if label is not None:
            _show_point(out, run, label)
            return
        if html is not None:
            page = report.page(run, name, proof, other, other_name)
            html.write_text(page, encoding="utf-8")
            click.echo(f"{html}: written; open it in a browser")
            return
    if step is None:
        out.print(f"{name} on {run.arch}\n\n{timeline.text(run)}\n", highlight=False, markup=False, soft_wrap=True)
        out.print(f"{timeline.wrapped(proof)}\n", highlight=False, markup=False, soft_wrap=True)
    if step is not None or not (only or other):
        explain.show_steps(out, run, None if step is None else step - 1)
    if other is not None:
        explain.show_difference(out, run, other, name, other_name)


def _run_of(
    what: str, on: str | None, budget: float, machines: dict[str, Machine], arches: list[str], base: str | None
) -> tuple[str, timeline.Run | None, str]:
    """The run that is meant: a stored one by its file, or if no machine is named by its patch; else one found now."""
    path = Path(what)
    if path.suffix == ".py" and "REPRODUCER" in path.read_text(encoding="utf-8", errors="replace"):
        stored, steps = reproducer.read(path)
        name = on or stored.series
        ends = f"The run ends in a bug: {stored.ends}; " if stored.ends and name in stored.loses else ""
        return name, stored.replay(_load(name), steps), ends + stored.proof
    if on is not None:
        raise BadInput(f"--on: {what} is no stored run")
    kernel = _load(what)
    name = what if path.suffix == ".py" else kernel.__module__.rpartition(".")[2]
    if path.suffix != ".py" and len(machines) == len(MACHINES) and base is None:
        for stored, run in explain.stored(name):
            if stored.arch in arches:
                return name, run, stored.proof
    against, called = _base(kernel, base)
    with _Progress(Console(stderr=True)) as progress:
        verdict = judge_(
            kernel, what, against, called, machines, arches, budget, os.cpu_count() or 1, stored_runs(), progress
        )
    found = verdict.found
    if found is None:
        return name, None, ""
    finding = found.finding or found.bug
    assert finding is not None
    run = timeline.trace(kernel, found.arch, finding.scope, finding.steps)
    return name, run, str(finding.certificate)


def _show_point(out: Console, run: timeline.Run, label: str) -> None:
    """The state where a label is first passed."""
    known = stops(run.kernel, next(rule for rule in table(run.kernel) if rule.name == "resume"))
    if label not in known:
        near = difflib.get_close_matches(label, [point for point in known if point], n=1)
        raise BadInput(f"no preemption point is called {label!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    cut = timeline.trace(run.kernel, run.arch, run.scope, run.steps, until=label)
    if cut.passed is None:
        raise BadInput(f"the run never passes {label!r}")
    i = len(cut.done) - 1
    out.print(f"Step {i + 1}, {timeline.named(cut, i)}, at {label}\n", highlight=False, markup=False)
    explain.show_state(out, explain.tables(cut.view_after(i), cut.view_after(i - 1), cut.start))


@main.command("cost")
@click.argument("series", nargs=-1, metavar="[SERIES|FILE]...")
@click.option("--json", "as_json", is_flag=True)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw saving against risk (PNG or SVG)."
)
def cost_(series: tuple[str, ...], as_json: bool, plot: Path | None) -> None:
    """What each SERIES saves and costs on the same work, counted on s390; all series if none is named."""
    chosen = [name for name in series or all_series.names() if _load(name)]
    with _one_line():
        costs = cost.all_costs(chosen)
        losses = cost.known_losses([cost.BASE, *chosen])
        if plot is not None:
            _plot(costs, losses, plot)
    if as_json:
        click.echo(json.dumps(cost.as_json(costs, losses), indent=2))
        return
    out = _console()
    for workload in cost.WORKLOADS:
        shown = Table(**explain.PLAIN)
        for head in ("series", "", "ISKE", "SSKE", "RRBE", "saved", "per exit", "writes", "extra", "spurious"):
            name = head in ("series", "")
            shown.add_column(head, justify="left" if name else "right", no_wrap=name, overflow="fold")
        base = costs[workload.name][0]
        same = []
        for of in costs[workload.name]:
            if of is not base and replace(of, series=base.series) == base:
                same.append(Path(of.series).stem + (" (loses)" if losses[of.series] else ""))
                continue
            keys = [f"{of.keys[key]:,}" for key in cost.KEYS]
            more = [f"{of.per_exit:.1f}", f"{of.writes:,}", f"{of.writes - base.writes:+d}", f"{of.spurious:,}"]
            loses = "[red]loses[/]" if losses[of.series] else ""
            shown.add_row(Path(of.series).stem, loses, *keys, f"{cost.saved(of, base):.0%}", *more)
        out.print(f"[bold]{workload.name}[/], {workload.times} times: {workload.what}\n", highlight=False)
        out.print(shown)
        out.print()
        if same:
            out.print(f"The same: {', '.join(same)}.\n", highlight=False)
    out.print(
        "saved: key instructions, of those of 2.6.26; per exit: those inside exit(); extra: writes more than\n"
        "2.6.26; spurious: writes of what is there already; loses: a stored run loses data, and not on 2.6.26.",
        highlight=False,
        soft_wrap=True,
    )


def _plot(costs: dict[str, list[cost.Cost]], losses: dict[str, int], file: Path) -> None:
    try:
        cost.plot(costs, losses, file)
    except ImportError as error:
        raise BadInput("--plot needs matplotlib: pip install 'mm_sim[plot]'") from error
    except ValueError as error:
        raise BadInput(f"{file}: {error}") from error


@main.command()
@click.argument("series", metavar="PATCH|FILE")
@click.option("--arch", type=click.Choice(list(ARCHES)), default="s390", show_default=True)
@click.option(
    "--scope",
    type=click.Choice(list(SCOPES)),
    default="anon",
    show_default=True,
    help="A machine with rules and bounds by name; the other options change it.",
)
@_machine_options
@_base_option
@click.option("--reclaimers", type=click.IntRange(0, 2), help="How many may be under way at once.")
@click.option("--rules", metavar="RULE,...", help="The rules allowed, or `all`.")
@click.option("--steps", type=click.IntRange(min=1, max=255), help="The longest run.")
@click.option("--preemptions", type=click.IntRange(min=0), help="Most steps that end at a preemption point.")
@click.option("--budget", type=_Duration(), metavar="TIME", help="No limit if not given.")
@click.option(
    "--states",
    type=click.IntRange(min=1),
    default=10_000_000,
    show_default=True,
    help="Most states to be kept in memory, about 250 bytes each.",
)
@_jobs
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write what was cut off, and to go on from.",
)
@click.option("--json", "as_json", is_flag=True)
def search(
    series: str,
    arch: str,
    scope: str,
    machines: tuple[str, ...],
    base: str | None,
    budget: float | None,
    states: int,
    jobs: int,
    checkpoint: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search every run of one machine within bounds; Ctrl-C ends it, and --checkpoint continues it another time.

    The exit status is that of `judge`.
    """
    kernel = _load(series)
    size = {option: options[option] for option in (*_SIZES, "files", "threads", "pins", "migration")}
    bounds = SCOPES[scope]
    if machines or any(value is not None for value in size.values()):
        chosen = _machines(machines, **size) if machines else _custom(scope, Machine(bounds.scope, ()), size)
        if len(chosen) > 1:
            raise BadInput("--machine: a search is of one machine")
        _arches(arch, chosen)
        bounds = replace(bounds, scope=next(iter(chosen.values())).scope)
    bounds = _bounds(kernel, bounds, options)
    against, called = _base(kernel, base)

    def show(result: Result) -> None:
        rate = result.transitions / max(result.seconds, 1e-9)
        progress(f"{result.states} states, {result.depth} steps deep, {rate:.0f} transitions/s")

    with _one_line(), _Progress(Console(stderr=True)) as progress:
        beside = None if against is None else Base(against, arch, bounds.scope)
        endless = bounds.steps is None and bounds.stops is None
        searching = Search(kernel, arch, bounds, reduce=endless, base=beside)
        if checkpoint is not None and checkpoint.exists():
            searching.load(checkpoint)
        result = searching.run(
            None if budget is None else time.monotonic() + budget, states, jobs, checkpoint, progress=show
        )
    word = ADDS if result.loss else BUG if result.bug else PROVEN if result.ended == "complete" else FOUND
    if as_json:
        click.echo(json.dumps(_search_as_json(series, called, arch, bounds, result, word), indent=2))
    else:
        out = Console()
        said = word if called else ALONE[word]
        against_ = f", compared with {called}" if called else ""
        out.print(
            f"[bold {_COLOURS[word]}]{said}[/]: {escape(series)} on {arch}{against_}; {bounds}",
            highlight=False,
            soft_wrap=True,
        )
        out.print(
            f"{result.ended}; {result.states} states, {result.transitions} transitions, {result.depth} steps deep, "
            f"{result.seconds:.1f} s, {result.states / max(result.seconds, 1e-9):.0f} states/s",
            highlight=False,
            soft_wrap=True,
        )
        if result.base_fails is not None:
            out.print(f"{called} fails there, too; its failures do not count.", highlight=False)
        steps = result.loss or result.bug
        if steps is not None:
            told = timeline.text(timeline.trace(kernel, arch, bounds.scope, steps))
            out.print(f"\n{told}", highlight=False, markup=False, soft_wrap=True)
    raise SystemExit(130 if result.ended == "interrupted" else {ADDS: 1, BUG: 1, PROVEN: 0}.get(word, 3))


_SIZES = ("processes", "pages", "frames", "slots", "areas")


def _search_as_json(
    name: str, base: str | None, arch: str, bounds: Bounds, result: Result, word: str
) -> dict[str, Any]:
    return {
        "version": verdict_text.JSON_VERSION,
        "patch": name,
        "base": base,
        "arch": arch,
        "verdict": word if base else ALONE[word],
        "bounds": str(bounds),
        "ended": result.ended,
        "complete": result.ended == "complete",
        "states": result.states,
        "transitions": result.transitions,
        "depth": result.depth,
        "seconds": result.seconds,
        "loss": verdict_text.calls(result.loss),
        "bug": verdict_text.calls(result.bug),
    }


def _bounds(kernel: type[Kernel], named: Bounds, options: dict[str, Any]) -> Bounds:
    """Named bounds with what the options change."""
    rules = named.rules
    if options["rules"] is not None:
        known = [rule.name for rule in table(kernel)]
        rules = None if options["rules"] == "all" else tuple(options["rules"].split(","))
        for rule in rules or ():
            if rule not in known:
                _unknown_rule(rule, known)
    only = dict(named.only)
    if options["reclaimers"] is not None:
        only["reclaimer"] = (KSWAPD, DIRECT)[: options["reclaimers"]]
    return Bounds(
        named.scope,
        rules if rules is None else (*rules, *(rule.name for rule in kernel.rules if options["rules"] is None)),
        tuple(only.items()),
        named.steps if options["steps"] is None else options["steps"],
        named.stops if options["preemptions"] is None else options["preemptions"],
    )


def _unknown_rule(rule: str, known: list[str]) -> NoReturn:
    raise BadInput(f"no rule is called {rule!r}; there are: {', '.join(known)}")


@main.command()
@click.option("--json", "as_json", is_flag=True)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Walks for each losing series; docs/benchmarks.md has 30.",
)
@click.option("--steering", is_flag=True, help="What steers the walk, instead; 10 seeds take half an hour.")
def bench(as_json: bool, seeds: int, steering: bool) -> None:
    """Speed, as ratios of one run on one machine."""
    if steering:
        shown = Table("loss", "walk", "1000 calls: median", "worst", "CPU seconds: median", "worst", "none")
        rows = []
        for target, way, found in benchmarks.steering(seeds, longest=10.0):
            click.echo(f"{target}: {way}", err=True)
            rows.append((target, way, found))
            half = found[len(found) // 2]
            none = sum(calls == float("inf") for calls, _ in found)
            figures_of = (f"{it:,.1f}" for pair in zip(half, found[-1], strict=True) for it in pair)
            shown.add_row(target, way, *figures_of, str(none))
        click.echo(json.dumps(rows, indent=2)) if as_json else Console().print(shown)
        return
    figures = benchmarks.measure(seeds)
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    shown = Table("figure", "value")
    for name, value in figures.items():
        shown.add_row(name, f"{value:,.2f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}")
    Console().print(shown)
