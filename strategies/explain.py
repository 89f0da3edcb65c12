"""What `mm-sim explain` shows: the state after each step, what changed, and where two series part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mm_sim import series as all_series
from mm_sim.kernel import Kernel
from mm_sim.view import FLAGS, Change, View, changes, telling
from strategies.reproducer import FOLDER, Reproducer, read
from strategies.timeline import Run, named, trace, words

#: How tables look: plain text that survives a mail client.
PLAIN: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "show_edge": False, "padding": (0, 1, 0, 0)}

#: What a table is called; others go by the name of their class.
_TITLES = {
    "AddressSpace": "files",
    "Page": "frames",
    "SwapSlot": "swap slots",
    "Mm": "page tables",
    "Task": "under way",
    "Tlb": "TLBs",
    "Arch": "key instructions",
    "Vma": "vmas",
    "Kernel": "kernel",
}
#: Tables and fields that are shown only where they change.
_QUIET = {
    *("Arch", "Vma", "AnonVma", "Kernel", "index", "mapping", "mm", "mm_users", "mmap"),
    *("SHMEM_PAGEIN", "i_mmap", "i_nlink", "i_size"),
}
#: Written in a cell, but not worth a column if nothing else is.
_NOTHING = ("", "no")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a state; `old` is what stood there before, None if the same."""

    text: str
    old: str | None = None
    #: Whether it is a list of flags.
    flags: bool = False

    def __str__(self) -> str:
        if self.old is None:
            return self.text
        if self.flags:
            was, now = self.old.split(), self.text.split()
            kept = [flag if flag in was else f"+{flag}" for flag in now]
            return " ".join((*kept, *(f"-{flag}" for flag in was if flag not in now)))
        return f"{self.old or 'none'} -> {self.text or 'none'}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A table of a state as it is shown."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


def tables(view: View, before: View, start: View) -> list[Shown]:
    """The state in tables, without objects that nothing has happened to and columns in which nothing stands."""
    changed = {(c.table, c.name, c.field): c.old for c in changes(before, view)}
    shown = []
    for title in dict.fromkeys((*view, *before)):
        rows: dict[str, dict[str, Cell]] = {}
        for name in dict.fromkeys((*view.get(title, {}), *before.get(title, {}))):
            fields = view.get(title, {}).get(name, {})
            every = dict.fromkeys((*fields, *before.get(title, {}).get(name, {})))
            cells = {f: Cell(fields.get(f, ""), changed.get((title, name, f)), f in FLAGS) for f in every}
            changes_here = any(cell.old is not None for cell in cells.values())
            if changes_here or (title not in _QUIET and fields != start.get(title, {}).get(name)):
                rows[name] = cells
        columns = [
            field
            for field in dict.fromkeys(f for cells in rows.values() for f in cells)
            if any(
                cells[field].old is not None or (cells[field].text not in _NOTHING and field not in _QUIET)
                for cells in rows.values()
                if field in cells
            )
        ]
        if columns:
            written = [(name, [cells.get(f, Cell("")) for f in columns]) for name, cells in rows.items()]
            told = [(name, cells) for name, cells in written if any(c.text or c.old is not None for c in cells)]
            shown.append(Shown(_TITLES.get(title, title), columns, told))
    return shown


def show_state(out: Console, shown: list[Shown]) -> None:
    """The tables on a terminal, or as plain text; what changed is written `old -> new`, flags `+set -cleared`."""
    for one in shown:
        table = Table(one.title, *one.columns, **PLAIN)
        for name, cells in one.rows:
            table.add_row(
                escape(name),
                *(escape(str(c)) if c.old is None else f"[bold yellow]{escape(str(c))}[/]" for c in cells),
            )
        out.print(table)
        out.print()


def show_steps(out: Console, run: Run, only: int | None) -> None:
    """The state after each step of a run, or after one."""
    for i in range(len(run.done)):
        if only is None or i == only:
            out.print(f"[bold]Step {i + 1}: {escape(named(run, i))}[/]\n", highlight=False)
            show_state(out, tables(run.view_after(i), run.view_after(i - 1), run.start))


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two runs of the same steps part: `step`, and what stands where, on either side and by whom.

    `before` says what of the bookkeeping, such as a vma's anon_vma, differed after an earlier step.
    """

    step: int
    cells: list[tuple[Change, str, str]]
    before: str


def first_difference(one: Run, other: Run) -> Difference | None:
    """The first step after which what the kernels know of the page is not the same."""
    before = ""
    for i in range(min(len(one.done), len(other.done))):
        differ = changes(one.view_after(i), other.view_after(i))
        told = [change for change in map(telling, differ) if change]
        if told:
            return Difference(i, [(change, _by(one, i, change), _by(other, i, change)) for change in told], before)
        kept = [str(change) for change in differ if change.table in ("Page", "Vma", "AnonVma")]
        if kept and not before:
            before = f"Already after step {i + 1}, {named(one, i)}: {'; '.join(kept)}."
    return None


def _by(run: Run, step: int, of: Change) -> str:
    """The function that last wrote what a change is about."""
    for i in range(step, -1, -1):
        for function, changed in reversed(run.done[i]):
            change = telling(changed)
            if change is not None and change[:3] == of[:3]:
                return f"step {i + 1}, {function}()" if function else f"step {i + 1}"
    return "the start"


def show_difference(out: Console, one: Run, other: Run, name: str, other_name: str) -> None:
    """Where the runs part, and how the second one ends."""
    found = first_difference(one, other)
    if found is None:
        out.print(f"[bold]{name} and {other_name} do not differ in this run.[/]\n", highlight=False)
    else:
        out.print(
            f"[bold]The first difference is after step {found.step + 1}, {escape(named(one, found.step))}:[/]\n",
            highlight=False,
        )
        table = Table("", name, other_name, **PLAIN)
        for change, by, other_by in found.cells:
            table.add_row(
                f"{change.name} {change.field}",
                f"{escape(change.old or 'none')} ({by})",
                f"[bold green]{escape(change.new or 'none')}[/] ({other_by})",
            )
        out.print(table)
        out.print()
        if found.before:
            out.print(f"{found.before}\n", highlight=False, markup=False)
    out.print(f"On {other_name}: {words(other)}", highlight=False, markup=False)


def stored(series: str) -> Iterator[tuple[Reproducer, Run]]:
    """The stored runs that lose a page of a patch of the project: those that are shown on it, the shortest first."""
    kernel = all_series.load(series)
    found = []
    for path in sorted(FOLDER.glob("test_*.py")):
        what, steps = read(path)
        if series in what.loses:
            order = len(what.steps(kernel, steps)), series != what.series, path.name
            found.append((order, what, steps))
    for _, what, steps in sorted(found, key=lambda entry: entry[0]):
        yield what, what.replay(kernel, steps)


def same_steps(run: Run, kernel: type[Kernel]) -> Run:
    """The steps of a run on another kernel, as far as they can happen there."""
    return trace(kernel, run.arch, run.scope, run.steps)
