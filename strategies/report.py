"""Runs and verdicts as pages for a browser: each is one file, with nothing to load from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mm_sim import series as all_series
from mm_sim.names import BY_NAME
from mm_sim.system import Scope
from mm_sim.view import ASIDE, TLB, View
from strategies.explain import Shown, first_difference, tables
from strategies.reproducer import recorded
from strategies.timeline import Run, named, trace, words
from strategies.verdict import ADDS, ALONE, BUG, FOUND, NOT_REACHED, PROVEN

_PAGES = Environment(
    loader=PackageLoader("strategies"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(slots=True)
class Node:
    """A box of the drawing: content, or (`refers`) a pte, a TLB entry, a page cache or swap entry that leads there.

    `badges` are the records that it is modified, and what is on its way to a device; `good` says that it is the
    content that must be read.
    """

    name: str
    x: int
    y: int
    text: str
    badges: list[str]
    good: bool = False
    refers: bool = False

    @property
    def lines(self) -> list[str]:
        """The badges as they fit."""
        return wrap(", ".join(self.badges), 24)


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the content of pages lives: what leads to it on the left, frames, then swap and disk."""

    nodes: list[Node]
    links: list[tuple[Node, Node]]
    height: int

    def __str__(self) -> str:
        """The drawing for those who do not see it."""
        said = [f"{one.name} to {other.name}" for one, other in self.links]
        held = [
            f"{node.name} {'is' if node.refers else 'holds'} {node.text} {' '.join(node.badges)}".strip()
            for node in self.nodes
        ]
        return "; ".join((*said, *held))


#: Columns of the drawing, the height of a row, and of a box.
_X, _ROW, BOX_WIDTH, BOX_HEIGHT = (0, 205, 410), 84, 160, 64
#: Fields that lead to the content of a page, and what they are called.
_REFERS = {"pages": "page cache", "pte": "pte", "swap": "swap", "tlb": "TLB"}


def picture(view: View, good: str) -> Picture:
    """Draw a state. What has `content` is a box: frames in the middle, everything else, blocks too, on the right."""
    columns: list[list[Node]] = [[], [], []]
    refers: list[tuple[Node, str]] = []
    on_disk: dict[str, str] = {}

    def add(column: int, name: str, text: str, badges: list[str], refer: bool = False) -> Node:
        at = columns[column]
        at.append(Node(name, _X[column], len(at) * _ROW, text, badges, not refer and text == good, refer))
        return at[-1]

    for rows in (view["Mm"], view[TLB], view.get("AddressSpace", {})):
        for name, fields in rows.items():
            for field, text in fields.items():
                kind, _, of = field.partition(" ")
                if kind in _REFERS and text:
                    words = [word for word in text.split() if word not in ("dirty", "young")]
                    badges = ["dirty"] if "dirty" in text.split() else []
                    target = next((word for word in words if word in view["Page"]), words[0])
                    refers.append(
                        (add(0, f"{name} {_REFERS[kind]} {of}", " ".join(words), badges, refer=True), target)
                    )
                elif kind == "blocks":
                    on_disk[fields[f"pages {of}"]] = add(2, f"{name} disk {of}", text, []).name
    for table, rows in view.items():
        for name, fields in rows.items():
            if table in ASIDE or "content" not in fields or "0" in (fields.get("count"), fields.get("map")):
                continue
            node = add(1 if table == "Page" else 2, name, fields["content"], _badges(fields))
            refers += [(node, place) for place in (fields.get("private"), on_disk.get(name)) if place]
    by_name = {node.name: node for column in columns for node in column}
    links = [(node, by_name[target]) for node, target in refers if target in by_name]
    return Picture(
        [node for column in columns for node in column], links, max(1, *map(len, columns)) * _ROW - _ROW + BOX_HEIGHT
    )


def _badges(fields: Mapping[str, str]) -> list[str]:
    """What a frame's fields say of its being modified, and what is being written of it."""
    flags = fields.get("flags", "").split()
    return [
        *(["dirty"] if "dirty" in flags else []),
        *(["dirty tag"] if fields.get("tag_dirty") == "yes" else []),
        *(["key C"] if "C" in fields.get("key", "").split() else []),
        *([f"writeback of {fields['io']}"] if "writeback" in flags else []),
    ]


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
        width=_X[-1] + BOX_WIDTH,
    )


#: How a word is shown, by what is compared with a base and by what is judged by itself.
_CLASSES = {ADDS: "lost", BUG: "lost", FOUND: "found", PROVEN: "good", NOT_REACHED: "unreached"}
_CLASSES |= {ALONE[word]: shown for word, shown in _CLASSES.items()}


def write_all(folder: Path, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """A page for each loss and each bug of some verdicts (`verdict_text.as_json()`), and an index of all.

    Raises OSError; SeriesError or StaleReproducer if a patch is not any more what was judged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = sorted(verdicts, key=lambda verdict: str(verdict["patch"]))
    files: set[str] = set()
    rows = []
    for verdict in verdicts:
        for target in verdict["targets"]:
            found = target["loss"] or target["bug"]
            file = None
            if found is not None:
                file = _file_name(verdict, target, files)
                (folder / file).write_text(_page_of(verdict["patch"], target["arch"], found), encoding="utf-8")
            rows.append((verdict, target, file))
    index = _PAGES.get_template("index.html").render(
        rows=rows,
        verdicts=verdicts,
        classes=_CLASSES,
        base_fails=_base_fails(verdicts),
        marks=_marks(verdicts),
    )
    (folder / "index.html").write_text(index, encoding="utf-8")


def _file_name(verdict: Mapping[str, Any], target: Mapping[str, Any], taken: set[str]) -> str:
    """The name of the page of a target; patches of one name are numbered."""
    kind = "loss" if target["loss"] else "bug"
    parts = (Path(verdict["patch"]).stem, target["machine"], target["arch"], kind)
    name = re.sub(r"[^0-9A-Za-z_]+", "_", "_".join(parts))
    number = 1
    while (file := f"{name}.html" if number == 1 else f"{name}_{number}.html") in taken:
        number += 1
    taken.add(file)
    return file


def _page_of(patch: str, arch: str, found: Mapping[str, Any]) -> str:
    kernel = all_series.load(patch)
    size = found["machine"]
    files = tuple(BY_NAME[name] for name in size["files"])
    scope = Scope(**{**size, "files": files, "also": tuple(size["also"])})
    run = trace(kernel, arch, scope, recorded(kernel, found["steps"]))
    return page(run, patch, found["proof"])


def _marks(verdicts: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[int]]]:
    """Each coverage mark that was reached, and how often by each patch."""
    by_patch = [[target["marks"] for target in verdict["targets"]] for verdict in verdicts]
    names = sorted({mark for marks in by_patch for reached in marks for mark in reached})
    return [(mark, [sum(reached.get(mark, 0) for reached in marks) for marks in by_patch]) for mark in names]


def _base_fails(verdicts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, list[str]]]:
    """Where a base loses by itself, once: base, machine, architecture, and the shortest run that is known."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for verdict in verdicts:
        for target in verdict["targets"] if verdict["base"] is not None else ():
            for run in (target["base fails"], target["fixes"]):
                where = verdict["base"], target["machine"], target["arch"]
                if run is not None and (where not in found or len(run) < len(found[where])):
                    found[where] = run
    return [(*where, run) for where, run in sorted(found.items())]
