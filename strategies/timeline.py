"""A run line by line: its timeline, the state at each line, and in words what was lost.

The run is done again with the calls and returns of kernel functions traced. A line is a step, or, within a step that
is interrupted, comes in between, or loses the page, a kernel function and what it changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from mm_sim.blame import LINES, Bug, begin, bug_of, code_of, traced
from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, Report, Step, explain
from mm_sim.names import FILES, KERNEL_TASKS
from mm_sim.page import GARBAGE, ZERO
from mm_sim.sched import Endless, points
from mm_sim.snapshot import save
from mm_sim.system import IDLE, PAST_END, FreedFrame, Loss, Scope, System, WrongStore
from mm_sim.view import ASIDE, MUST_READ, TLB, Change, View, Viewer, changes, telling

#: The widest line of a timeline; of text in words.
WIDTH, PROSE = 100, 80
BLAMED_MARK, LOST_MARK, BUG_MARK = "blamed", "lost", "bug"


#: Functions that are left to their callers.
_BRIEF = ("set_pte_at", "delete_from_swap_cache_locked")


@dataclass(slots=True)
class Row:
    """A line: a step (depth 0), a kernel function or what it changed. `view` is the state after it."""

    step: int
    column: str
    depth: int
    text: str
    view: View
    mark: str = ""


@dataclass(slots=True)
class _Event:
    """What changed between two calls, and the kernel functions that were under way, outermost first."""

    stack: tuple[FrameType, ...]
    changed: list[Change]
    view: View
    tick: int
    mark: str = ""


@dataclass(slots=True)
class Run:
    """A run on a kernel, with its lines.

    It ends where a step cannot happen (`cannot`), and where the kernel has a bug that is not a loss (`bug`):
    inconsistent counts, locks, a deadlock, an exception, an endless loop.
    """

    kernel: type[Kernel]
    arch: str
    scope: Scope
    steps: list[Step]
    report: Report | None
    cannot: NotPossible | None = None
    rows: list[Row] = field(default_factory=list)
    #: The label at which the run was cut off, if it was.
    passed: str | None = None
    #: The state before the first step, and what each step did: function and change.
    start: View = field(default_factory=dict)
    done: list[list[tuple[str, Change]]] = field(default_factory=list)
    bug: Bug | None = None

    @property
    def columns(self) -> list[str]:
        """The tasks of the run: processes, then the kernel's own, then what interrupts do."""
        kernel_tasks = [repr(task) for task in KERNEL_TASKS]
        found = {row.column for row in self.rows}
        return sorted(found, key=lambda name: (name == INTERRUPT, name in kernel_tasks, name))

    def view_after(self, step: int) -> View:
        """The state after a step; before the first one for -1."""
        rows = [row for row in self.rows if row.step <= step]
        return rows[-1].view if rows else self.start


INTERRUPT = "I/O"


def column(step: Step) -> str:
    """The task that does a step, which its first argument names; an interrupt does what is done at once."""
    return repr(step.arguments[0]) if step.rule.action is None else INTERRUPT


def short(step: Step) -> str:
    """The step as it stands in the column of its task."""
    arguments = step.arguments if column(step) == INTERRUPT else step.arguments[1:]
    return f"{step.rule.name}({', '.join(map(repr, arguments))})"


def trace(kernel: type[Kernel], arch: str, scope: Scope, steps: Sequence[Step], until: str | None = None) -> Run:
    """Do the steps, as far as they can happen, up to a loss or to the first time that `until`, a label, is passed."""
    cannot = None
    report = None
    bug = bug_of(kernel, arch, scope, list(steps))
    if bug is not None:
        steps = steps[: bug.at + 1]
    else:
        try:
            report = explain(kernel, arch, scope, list(steps))
        except NotPossible as error:
            cannot = error
            steps = steps[: error.index]
    run = Run(kernel, arch, scope, list(steps), report, cannot, bug=bug)
    _Recorder(run).record(until)
    return run


def _shown(system: System) -> tuple[object, ...]:
    """All that a view shows: equal for states between which nothing has changed."""
    arch, ghost = system.kernel.arch, system.ghost
    must_read = [space.values.copy() for space in ghost.spaces.values()]
    return *save(system)[:-1], must_read, arch.iske, arch.sske, arch.rrbe


class _Recorder:
    """Does the steps of a run and writes its rows."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.system = System(run.kernel, run.arch, run.scope)
        self.viewer = Viewer(self.system)
        self.view = run.start = self.viewer()
        self.shown = _shown(self.system)
        self.is_kernel = code_of(run.kernel)
        self.events: list[_Event] = []
        #: Calls and returns of kernel functions, as they are counted in mm_sim.blame.
        self.tick = 0
        #: The function that the text names, for each mark.
        self.named: dict[str, str] = {}
        self.marks: dict[tuple[int, int], str] = {}
        if run.bug is not None:
            self.marks[run.bug.at, run.bug.tick] = BUG_MARK
        if run.report is not None:
            blamed, lost = run.report.ticks
            self.marks[run.report.destroyed_at, lost] = LOST_MARK
            self.marks[run.report.forgotten_at, blamed] = BLAMED_MARK
            self.named = {
                LOST_MARK: run.report.destroyed_by.function,
                BLAMED_MARK: run.report.forgotten_by.function,
            }

    def record(self, until: str | None) -> None:
        run = self.run
        last = run.report.at if run.report else len(run.steps) - 1
        by_step: list[list[_Event]] = []
        ends: list[tuple[tuple[FrameType, ...], str | None]] = []
        for i, step in enumerate(run.steps[: last + 1]):
            self.events = []
            stop = self.do(i, step, until)
            by_step.append(self.events)
            ends.append((self.under_way(step), stop))
            run.done.append([(_function(event), change) for event in self.events for change in event.changed])
            if until is not None and stop == until:
                run.passed = until
                break
        marked = {i for i, events in enumerate(by_step) if any(event.mark for event in events)}
        related = self.related(by_step)
        interrupted: dict[str, str] = {}
        for i, (events, (stack, stop)) in enumerate(zip(by_step, ends, strict=True)):
            who = column(run.steps[i])
            opened = bool(stack or interrupted or i in marked)
            self.write(i, events, stack, stop, interrupted.pop(who, ""), related if opened else None)
            if stack:
                interrupted[who] = stop or ""

    def do(self, i: int, step: Step, until: str | None) -> str | None:
        """One step with its events; where it stopped."""
        run = self.run
        lines = 0

        def look(stack: tuple[FrameType, ...]) -> None:
            changed = []
            shown = _shown(self.system)
            if shown != self.shown:  # a view takes twenty times as long
                self.shown = shown
                view = self.viewer()
                changed = changes(self.view, view)
                self.view = view
            mark = self.marks.pop((i, self.tick), "")
            if changed or mark:
                self.events.append(_Event(stack, changed, self.view, self.tick, mark))

        def local(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal lines
            if event == "return":
                look(self.stack(frame))
                self.tick += 1
            lines += 1
            if event == "line" and lines > LINES:
                raise Endless
            return local

        def call(frame: FrameType, event: str, argument: object) -> Any:
            if not self.is_kernel(frame.f_code.co_filename):
                return None
            frame.f_trace_lines = run.bug is not None and run.bug.endless
            look(self.stack(frame.f_back))
            self.tick += 1
            return local

        stop = step.stop
        try:
            with traced(call):
                stop = self.advance(step, until)
        except Exception as error:
            if not isinstance(error, Loss) and run.bug is None:
                raise
        if (
            run.bug is not None and i == run.bug.at and self.marks
        ):  # the interpreter's stack was full somewhat earlier
            self.marks = {(i, self.tick): BUG_MARK}
        look(())
        return stop

    def advance(self, step: Step, until: str | None) -> str | None:
        """Like System.step(), but stop at `until`, too. Returns where it stopped."""
        task = self.system.start(step.rule, step.arguments)
        assert task is not None
        if task is not IDLE:
            for point in points(task):
                if point in (step.stop, until):
                    self.system.after()
                    return point
        self.system.after()
        return None

    def stack(self, frame: FrameType | None) -> tuple[FrameType, ...]:
        """The kernel functions under way in `frame`, outermost first; helpers are left to their callers."""
        found = []
        while frame is not None:
            code = frame.f_code
            if self.is_kernel(code.co_filename) and code.co_name not in _BRIEF and not code.co_name.startswith("<"):
                found.append(frame)
            frame = frame.f_back
        return tuple(reversed(found))

    def marked(self, event: _Event) -> tuple[FrameType, ...]:
        """The functions of a marked event down to the one that the text names."""
        name = self.named.get(event.mark)
        ends = [n for n, frame in enumerate(event.stack, 1) if frame.f_code.co_name == name]
        return event.stack[: ends[-1]] if ends else event.stack

    def under_way(self, step: Step) -> tuple[FrameType, ...]:
        """The functions in which the task of a step stands, if it has not ended."""
        if column(step) == INTERRUPT:
            return ()
        generator: Any = self.system.kernel.tasks[step.arguments[0]].steps
        found = []
        while getattr(generator, "gi_frame", None) is not None:
            found.append(generator.gi_frame)
            generator = generator.gi_yieldfrom
        return tuple(frame for frame in found if self.is_kernel(frame.f_code.co_filename))

    def related(self, by_step: list[list[_Event]]) -> set[str]:
        """The frames and slots in which the lost page has been, with what these refer to; all if none is lost."""
        views = [event.view for events in by_step for event in events]
        tables = [{n: f for t, rows in view.items() if t not in ASIDE for n, f in rows.items()} for view in views]
        if self.run.report is None:
            return {name for table in tables for name in table}
        loss = self.run.report.loss
        found = {repr(loss.process)} if loss.process >= FILES[0] else set()
        for table in tables:
            of = table.get(repr(loss.process), {})
            for kept_in in ("pte", "pages", "swap"):
                where = of.get(f"{kept_in} {loss.page!r}", "").partition(" ")[0]
                if where:
                    found |= {where, *(text for text in table.get(where, {}).values() if text in table)}
        return found

    def write(
        self,
        i: int,
        events: list[_Event],
        stack: tuple[FrameType, ...],
        stop: str | None,
        resumed_at: str,
        related: set[str] | None,
    ) -> None:
        """The rows of a step: its heading, and if `related` is given, the functions that changed what it names.

        `stack` is where it stands at its end, at the label `stop`; `resumed_at` the label at which it went on.
        """
        rows = self.run.rows
        who = column(self.run.steps[i])
        heading = Row(i, who, 0, short(self.run.steps[i]), self.run.view_after(i - 1))
        rows.append(heading)
        shown: set[FrameType | None] = set()
        at: dict[FrameType, Row] = {}

        def place(frames: tuple[FrameType, ...]) -> Row:
            """The row of the innermost function that is shown."""
            row = heading
            for frame in frames:
                if frame in at:
                    row = at[frame]
                elif frame in shown:
                    row = at[frame] = Row(i, who, row.depth + 1, f"{frame.f_code.co_name}()", rows[-1].view)
                    rows.append(row)
            return row

        if related is not None:
            shown = {event.stack[-1] for event in events if event.stack and _told(event, related)}
            shown |= {self.marked(event)[-1] for event in events if event.mark and event.stack}
            shown |= {_frame_of(stack, stop or ""), _frame_of(events[0].stack if events else (), resumed_at)}
        for event in events:
            if event.mark:
                marked = place(self.marked(event))
                marked.mark = marked.mark or event.mark
            row = place(event.stack)
            if row is heading:
                cached = [str(change) for change in event.changed if change.table == TLB]
                rows += [Row(i, who, 1, text, event.view) for text in cached]
            else:
                rows += [Row(i, who, row.depth + 1, text, event.view) for text in _told(event, related or set())]
            rows[-1].view = event.view
        if stack:
            waits = stop.partition(": ")[2] if stop else f"waits for {rows[-1].view['Task'][who]['waits']}"
            rows.append(Row(i, who, place(stack).depth + 1, f"... {waits}", rows[-1].view))


def _function(event: _Event) -> str:
    return event.stack[-1].f_code.co_name if event.stack else ""


def _told(event: _Event, related: set[str]) -> list[str]:
    """What of an event is worth a line."""
    changed = [change for change in map(telling, event.changed) if change is not None]
    return [
        str(change)
        for change in changed
        if related & {change.name, change.old.partition(" ")[0], change.new.partition(" ")[0]}
    ]


def _frame_of(stack: tuple[FrameType, ...], label: str) -> FrameType | None:
    """The function of a stack that a label names; the innermost if none has that name."""
    name = label.partition(":")[0]
    named = [frame for frame in stack if frame.f_code.co_name == name]
    return (*named, *stack[-1:], None)[0] if label else None


# in words


def text(run: Run) -> str:
    """What happened in words, and the timeline under it."""
    return f"{words(run)}\n\n{timeline(run)}"


def words(run: Run) -> str:
    """What is lost, and what led to it, or what the kernel would print."""
    if run.bug is not None:
        return bug_words(run, run.bug)
    report = run.report
    if report is None:
        return "Nothing is lost." + (f" The run ends before {run.cannot}." if run.cannot else "")
    loss = report.loss
    who, page, value = repr(loss.process), repr(loss.page), loss.expected
    found = _FOUND.get(loss.found, str(loss.found))
    must = " or ".join(map(str, value)) if isinstance(value, tuple) else _FOUND.get(value, value)
    said = [f"{who} must read {must} at page {page} and would read {found}."]
    if loss.process >= FILES[0]:
        said = [f"A read() of {who} must find {must} at page {page} and would find {found}."]
    if loss.disk:
        said = [f"{who} must have {value} or newer on its disk at page {page}, and has {found}."]
    if isinstance(loss, WrongStore):
        said = [
            f"A store to page {page} of {who} changes a part of frame{loss.frame}, which has {found}, not {must}."
        ]
    if isinstance(loss, FreedFrame):
        said = [f"{who} still reaches frame{loss.frame} at page {page}, and it was freed."]
    for content in (value, loss.found) if not isinstance(loss, FreedFrame) else ():
        stored = next((i for i, view in enumerate(_ends(run)) if _is_read(view, str(content))), None)
        if stored is not None and content not in _FOUND:
            said.append(f"{content} was stored in step {stored + 1}, {doing(run, stored)}.")
    said += [_sentence(run, i, sentence) for i, sentence in report.story]
    return wrapped(" ".join(said), PROSE)


#: Contents that no process stores.
_FOUND: dict[object, str] = {ZERO: "0", GARBAGE: "garbage", PAST_END: "past the end of the file"}


def bug_words(run: Run, bug: Bug) -> str:
    """A bug that is no loss: where it shows, and what the kernel would print."""
    return wrapped(f"In step {bug.at + 1}, {doing(run, bug.at)}, {bug.said}.", PROSE)


def wrapped(said: str, width: int = WIDTH) -> str:
    """Words in lines."""
    return "\n".join(textwrap.wrap(said, width))


def _ends(run: Run) -> list[View]:
    return [run.view_after(i) for i in range(len(run.steps))]


def _is_read(view: View, value: str) -> bool:
    return any(value in content.split(", ") for space in view[MUST_READ].values() for content in space.values())


def named(run: Run, i: int) -> str:
    """A step and who does it."""
    step = run.steps[i]
    who = column(step)
    return short(step) if who == INTERRUPT else f"{short(step)} by {who}"


def _sentence(run: Run, i: int | None, said: str) -> str:
    """A sentence of a report; one that begins with a space has the step as its subject."""
    if i is None:
        return f"{said}."
    step = f"In step {i + 1}, {doing(run, i)}"
    comma = "," if not said.startswith(" ") or begin(run.steps, i) != i else ""
    return f"{step}{comma} {said.lstrip()}."


def doing(run: Run, i: int) -> str:
    """Like named(); of what goes on, also where it began."""
    begun = begin(run.steps, i)
    return named(run, i) if begun == i else f"{named(run, begun)}, begun in step {begun + 1}"


def timeline(run: Run) -> str:
    """The rows of a run with a column for each task, which runs on a CPU of its own, at most WIDTH wide."""
    columns = run.columns
    heads = [INTERRUPT if name == INTERRUPT else f"CPU{i}: {name}" for i, name in enumerate(columns)]
    number = len(str(len(run.steps)))
    widths = [
        max(len(head), *(2 * row.depth + len(row.text) for row in run.rows if row.column == name))
        for name, head in zip(columns, heads, strict=True)
    ]
    while sum(widths) > WIDTH - number - 2 * len(columns):
        widths[widths.index(max(widths))] -= 1
    lines = [_line("".rjust(number), [h[:w] for h, w in zip(heads, widths, strict=True)], widths)]
    for row in run.rows:
        at = columns.index(row.column)
        indent = min(2 * row.depth, widths[at] // 2)
        parts = textwrap.wrap(row.text, widths[at] - indent, subsequent_indent="  ")
        for i, part in enumerate(parts):
            cells = ["" if k != at else " " * indent + part for k in range(len(columns))]
            line = _line((str(row.step + 1) if not row.depth and not i else "").rjust(number), cells, widths)
            lines.append(line)
        if row.mark:
            mark = f"  <-- {row.mark}"
            lines[-1:] = [lines[-1] + mark] if len(lines[-1] + mark) <= WIDTH else [lines[-1], mark.rjust(WIDTH)]
    return "\n".join(lines)


def _line(head: str, cells: list[str], widths: list[int]) -> str:
    return "  ".join([head, *(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))]).rstrip()
