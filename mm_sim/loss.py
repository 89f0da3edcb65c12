"""Who lost the page: the statement that destroyed the last good copy, and the one that forgot about it.

A run that loses data is done again with every line of kernel code traced, so a run that does not lose pays nothing.
May import the rest of `mm_sim`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from mm_sim.kernel import Kernel
from mm_sim.mm import Mm
from mm_sim.page import Page, Pte
from mm_sim.system import Loss, Rule, Scope, System

_KERNEL = str(Path(__file__).parent / "kernel")


class Step(NamedTuple):
    """One step of a run: `stop` is where its operation was stopped, None for the end (or a lock)."""

    rule: Rule
    arguments: tuple[Any, ...]
    stop: str | None


class NotPossible(Exception):
    """A step of a stored run that cannot happen in the state it comes to."""

    def __init__(self, index: int, step: Step) -> None:
        super().__init__(f"step {index + 1}, {step.rule.name}, cannot happen here")
        self.index = index


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of the kernel: function, file and line."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function}() ({self.file}:{self.line})"


@dataclass(frozen=True, slots=True)
class Report:
    """A loss with its causes. `at` is the index of the step after which the page is lost.

    `destroyed_by` took away the last good copy; `forgotten_by` removed the last record that the copy
    was newer than its swap slot, in the step `forgotten_at`, and is the same where no record was needed. `knew`
    names those records.
    """

    loss: Loss
    at: int
    forgotten_by: Statement
    destroyed_by: Statement
    forgotten_at: int
    knew: tuple[str, ...]


def replay(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> tuple[Loss, int] | None:
    """Do the steps from the start: the loss and the index of its step, or None. Raises NotPossible."""
    system = System(kernel, arch, scope)
    for i, step in enumerate(steps):
        try:
            if not system.step(*step):
                raise NotPossible(i, step)
        except Loss as loss:
            return loss, i
    return None


def explain(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> Report | None:
    """Replay the steps and name the statements that lost the page; None if nothing is lost."""
    found = replay(kernel, arch, scope, steps)
    if found is None:
        return None
    loss, at = found
    watch = Watch(System(kernel, arch, scope), loss)
    watch.run(steps[: at + 1], code_of(kernel))
    assert watch.destroyed is not None
    forgotten = watch.forgotten or watch.destroyed
    return Report(loss, at, forgotten, watch.destroyed, watch.forgotten_at, tuple(watch.knew))


def code_of(kernel: type[Kernel]) -> Callable[[str], bool]:
    """Says of a file name whether it has code of the kernel or of the series."""
    files = {getattr(sys.modules.get(cls.__module__), "__file__", None) for cls in kernel.__mro__}
    return lambda name: name.startswith(_KERNEL) or name in files


#: What they do is said of their callers.
HELPERS = ("set_pte_at", "delete_from_swap_cache_locked")
SAFE, FORGOTTEN, GONE = range(3)


class Watch:
    """Follows the good copies of one page through a run, line by line."""

    def __init__(self, system: System, loss: Loss) -> None:
        self.system = system
        self.task = system.kernel.tasks[loss.process]
        self.page, self.value = loss.page, loss.expected
        self.status = SAFE
        #: What says that the page is newer than its slot, and what said so before it was forgotten.
        self.known: list[str] = []
        self.knew: list[str] = []
        self.line: Statement | None = None
        self.forgotten: Statement | None = None
        self.step = self.forgotten_at = 0
        self.destroyed: Statement | None = None

    def run(self, steps: list[Step], is_kernel: Callable[[str], bool]) -> None:
        def line(frame: FrameType, event: str, argument: object) -> Any:
            self.look()
            while frame.f_code.co_name in HELPERS and frame.f_back is not None:
                frame = frame.f_back
            code = frame.f_code
            file = Path(code.co_filename)
            self.line = Statement(code.co_name, f"{file.parent.name}/{file.name}", frame.f_lineno)
            return line

        def call(frame: FrameType, event: str, argument: object) -> Any:
            return line if is_kernel(frame.f_code.co_filename) else None

        before = sys.gettrace()
        for self.step, step in enumerate(steps):
            sys.settrace(call)
            try:
                self.system.step(*step)
            except Loss:
                pass
            finally:
                sys.settrace(before)
            self.look()

    def look(self) -> None:
        """What the line before this one did to the good copies."""
        mm = self.task.mm
        if mm is None or mm not in self.system.ghost.spaces:
            return
        if self.system.ghost.spaces[mm].values[self.page] != self.value:
            return
        known = self.known
        status = self.judge(mm)
        if status is None or status == self.status:
            return
        if status == SAFE:
            self.forgotten = self.destroyed = None
            self.knew = []
        elif status == FORGOTTEN:
            self.forgotten = self.line
            self.forgotten_at, self.knew = self.step, known
        else:
            self.destroyed = self.line
        self.status = status

    def judge(self, mm: Mm) -> int | None:
        pte = mm.pte[self.page]
        if pte is None:
            return None if mm.ptl.owner is not None else GONE
        if type(pte) is Pte:
            page: Page | None = pte.page
            slot = pte.page.private
        else:
            page, slot = pte.page, pte
        if slot is not None and slot.content == self.value:
            self.known = [repr(slot)]
            return SAFE
        if page is None or page.content != self.value:
            return GONE
        self.known = self.records(page)
        return SAFE if not page.PG_swapcache or self.known else FORGOTTEN

    def records(self, page: Page) -> list[str]:
        """What says that a page in the swap cache is newer than its slot."""
        arch = self.system.kernel.arch
        said = {
            "PG_dirty": page.PG_dirty,
            "the write under way": page.PG_writeback and page.io == self.value,
            arch.record: arch.remembers(page, self.system.kernel.mms),
        }
        return [record for record, holds in said.items() if holds]
