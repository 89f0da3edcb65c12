"""Runs and verdicts as pages for a browser: each is one file, with nothing to load from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mm_sim import series as all_series
from mm_sim.system import Scope
from mm_sim.view import ASIDE, View
from strategies.explain import Shown, first_difference, tables
from strategies.reproducer import recorded
from strategies.timeline import Run, named, trace, words

_PAGES = Environment(
    loader=PackageLoader("strategies"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(slots=True)
class Node:
    """A box of the drawing. `content` is "" for a page table entry; `good` says that it is what must be read."""

    name: str
    x: int
    y: int
    content: str
    badges: list[str]
    good: bool
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the content of pages lives: page table entries on the left, frames, then swap and disk."""

    nodes: list[Node]
    links: list[tuple[Node, Node]]
    height: int

    def __str__(self) -> str:
        """The drawing for those who do not see it."""
        said = [f"{one.name} to {other.name}" for one, other in self.links]
        held = [
            f"{node.name} holds {node.content} {' '.join(node.badges)}".strip() for node in self.nodes if node.content
        ]
        return "; ".join((*said, *held))


#: Columns of the drawing, the height of a row, and of a box.
_X, _ROW, BOX_WIDTH, BOX_HEIGHT = (0, 180, 360), 74, 120, 54


def picture(view: View, good: str) -> Picture:
    """Draw a state. What has `content` is a box: frames in the middle, everything else on the right."""
    columns: list[list[Node]] = [[], [], []]
    refers: list[tuple[Node, str]] = []

    def add(column: int, name: str, content: str, badges: list[str]) -> Node:
        at = columns[column]
        at.append(Node(name, _X[column], len(at) * _ROW, content, badges, bool(content) and content == good))
        return at[-1]

    for name, fields in view["Mm"].items():
        for field, text in fields.items():
            if field.startswith("pte ") and text:
                refers.append((add(0, f"{name} {field}", "", [text]), text.partition(" ")[0]))
    for table, rows in view.items():
        for name, fields in rows.items():
            if table in ASIDE or "content" not in fields or "0" in (fields.get("count"), fields.get("map")):
                continue
            badges = [flag for flag in fields.get("flags", "").split() if flag in ("dirty", "writeback")]
            badges += [f"key {bit}" for bit in fields.get("key", "").split() if bit == "C"]
            node = add(1 if table == "Page" else 2, name, fields["content"], badges)
            if fields.get("private"):
                refers.append((node, fields["private"]))
    by_name = {node.name: node for column in columns for node in column}
    links = [(node, by_name[target]) for node, target in refers if target in by_name]
    return Picture(
        [node for column in columns for node in column], links, max(1, *map(len, columns)) * _ROW - _ROW + BOX_HEIGHT
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """What the page shows at one row of the timeline; `other` on the second series."""

    title: str
    picture: Picture
    tables: list[Shown]
    other: Frame | None


def _frames(run: Run, other: Run | None) -> list[Frame]:
    good = str(run.report.loss.expected) if run.report else ""
    before, frames = run.start, []
    for row in run.rows:
        beside = None
        if other is not None and row.step < len(other.done):
            after = other.view_after(row.step)
            shown = tables(after, run.view_after(row.step), other.start)
            beside = Frame("", picture(after, good), shown, None)
        title = f"Step {row.step + 1}, {named(run, row.step)}" + (f": {row.text}" if row.depth else "")
        frames.append(Frame(title, picture(row.view, good), tables(row.view, before, run.start), beside))
        before = row.view
    return frames


def page(run: Run, name: str, proof: str, other: Run | None = None, other_name: str = "") -> str:
    """One self-contained page: the timeline, and the state at each of its rows."""
    return _PAGES.get_template("run.html").render(
        run=run,
        name=name,
        proof=proof,
        words=words(run),
        frames=_frames(run, other),
        other_name=other_name,
        other_words=words(other) if other else "",
        difference=first_difference(run, other) if other else None,
        box=(BOX_WIDTH, BOX_HEIGHT),
    )


def write_all(folder: Path, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """A page for each loss of some verdicts (`Verdict.as_json()`), and an index of all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for verdict in sorted(verdicts, key=lambda v: (v["series"], v["arch"])):
        pages = []
        for loss in verdict["losses"]:
            file = f"{Path(verdict['series']).stem}_{verdict['arch']}_{loss['kind']}.html"
            kernel = all_series.load(verdict["series"])
            run = trace(kernel, verdict["arch"], Scope(**loss["scope"]), recorded(kernel, loss["steps"]))
            (folder / file).write_text(page(run, verdict["series"], loss["proof"]), encoding="utf-8")
            pages.append((file, loss))
        shown.append((verdict, pages))
    situations = sorted({name for verdict, _ in shown for name in verdict["situations"]})
    index = _PAGES.get_template("index.html").render(verdicts=shown, situations=situations)
    (folder / "index.html").write_text(index, encoding="utf-8")
