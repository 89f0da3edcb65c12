"""Who lost the page: the statement that destroyed the last good copy, and the one that forgot about it.

A run that loses data is done again with every line of kernel code traced, so a run that does not lose pays nothing.
May import the rest of `mm_sim`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from mm_sim.address_space import AddressSpace
from mm_sim.kernel import Kernel
from mm_sim.names import FILES
from mm_sim.page import ZERO, Page, SwapSlot
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

    `destroyed_by` took away the last good copy; `forgotten_by` removed the last record that the copy was newer than
    its swap slot or block, in the step `forgotten_at`; `knew` names those records. They are the same where no record
    was needed, and where a promise was broken while the copy is still there.
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
    destroyed = watch.destroyed or watch.forgotten or watch.line
    assert destroyed is not None
    forgotten = watch.forgotten or destroyed
    return Report(loss, at, _statement(*forgotten), _statement(*destroyed), watch.forgotten_at, tuple(watch.knew))


def _statement(code: CodeType, line: int) -> Statement:
    file = Path(code.co_filename)
    return Statement(code.co_name, f"{file.parent.name}/{file.name}", line)


def code_of(kernel: type[Kernel]) -> Callable[[str], bool]:
    """Says of a file name whether it has code of the kernel or of the series."""
    files = {getattr(sys.modules.get(cls.__module__), "__file__", None) for cls in kernel.__mro__}
    return lambda name: name.startswith(_KERNEL) or name in files


#: What they do is said of their callers.
HELPERS = ("set_pte_at", "delete_from_swap_cache_locked")
SAFE, FORGOTTEN, GONE = range(3)
#: In place of a record: the copy itself.
STORED = "its slot or block"


class Watch:
    """Follows the good copies of one page through a run, line by line."""

    def __init__(self, system: System, loss: Loss) -> None:
        self.system = system
        self.loss = loss
        self.status = SAFE
        #: What says that the page is newer than its slot, and what said so before it was forgotten.
        self.known: list[str] = []
        self.knew: list[str] = []
        self.line: tuple[CodeType, int] | None = None
        self.forgotten: tuple[CodeType, int] | None = None
        self.step = self.forgotten_at = self.cleaned_at = 0
        self.destroyed: tuple[CodeType, int] | None = None
        #: Whether the lost value was there at the last look, and the line that last cleared PG_dirty of its page.
        self.there = self.dirty = False
        self.cleaned: tuple[CodeType, int] | None = None

    def run(self, steps: list[Step], is_kernel: Callable[[str], bool]) -> None:
        def line(frame: FrameType, event: str, argument: object) -> Any:
            self.look()
            while frame.f_code.co_name in HELPERS and frame.f_back is not None:
                frame = frame.f_back
            self.line = frame.f_code, frame.f_lineno
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
        found = self.find_file() if self.loss.process >= FILES[0] else self.find_pte()
        if found is None:
            self.there = False
            return
        there, page, stored = found
        if page is not None:
            if self.dirty and not page.PG_dirty:
                self.cleaned, self.cleaned_at = self.line, self.step
            self.dirty = page.PG_dirty
        new, self.there = not self.there, there
        if not there:
            return
        known = self.known
        status = self.judge(page, stored)
        if status == self.status:
            return
        if status == SAFE:
            self.forgotten = self.destroyed = None
            self.knew = []
        elif status == FORGOTTEN:
            late = new and self.cleaned is not None
            self.forgotten = self.cleaned if late else self.line
            self.forgotten_at = self.cleaned_at if late else self.step
            self.knew = ["PG_dirty"] if late else known
        else:
            self.destroyed = self.line
        self.status = status

    def holds(self, content: int) -> bool:
        expected = self.loss.expected
        if isinstance(expected, int):
            return content >= expected if self.loss.disk else content == expected
        return expected is not None and content in expected

    def find_file(self) -> tuple[bool, Page | None, int] | None:
        """Whether it is time to look, the page of the file, and what is in its slot or block."""
        file = next(file for file in self.system.kernel.files if file.name == self.loss.process)
        at = self.loss.page
        expected = self.system.ghost.files[file].values[at]
        newer = self.loss.disk and isinstance(expected, int) and self.holds(expected)
        return expected == self.loss.expected or newer, *self.stored(file, at)

    def stored(self, file: AddressSpace, at: int) -> tuple[Page | None, int]:
        slot, page = file.swap[at], file.pages[at]
        if slot is not None:
            return slot.page, slot.content
        return (page if page is not None and page.PG_uptodate else None), file.blocks[at]

    def find_pte(self) -> tuple[bool, Page | None, int | None] | None:
        """Like find_file() for a page of a process. There is nothing to store for what only memory can hold."""
        kernel = self.system.kernel
        at = self.loss.page
        mm = kernel.tasks[self.loss.process].mm
        mm = mm or next((mm for mm in kernel.mms if mm.name == self.loss.process), None)
        space = None if mm is None else self.system.ghost.spaces.get(mm)
        if mm is None or space is None:
            return None
        there = space.values[at] == self.loss.expected
        pte = mm.pte[at]
        if pte is None:
            vma = mm.find_vma(at)
            if mm.ptl.owner is not None:
                return None
            if vma is None or vma.vm_file is None:
                return there, None, ZERO
            return there, *self.stored(vma.vm_file, at - vma.vm_start + vma.vm_pgoff)
        if type(pte) is SwapSlot:
            return there, pte.page, pte.content
        page = pte.page
        assert page is not None
        if page.private is not None:
            return there, page, page.private.content
        return there, page, page.mapping.blocks[page.index] if type(page.mapping) is AddressSpace else None

    def judge(self, page: Page | None, stored: int | None) -> int:
        if stored is not None and self.holds(stored):
            self.known = [STORED]
            return SAFE
        if page is None or not self.holds(page.content):
            return GONE
        self.known = self.records(page)
        return SAFE if stored is None or self.known else FORGOTTEN

    def records(self, page: Page) -> list[str]:
        """What says that a page is newer than its slot or block; fsync() does not look at ptes and keys."""
        arch = self.system.kernel.arch
        said = {
            "PG_dirty": page.PG_dirty,
            "the write under way": page.PG_writeback and self.holds(page.io),
            arch.record: not self.loss.disk and arch.remembers(page, self.system.kernel.mms),
        }
        return [record for record, holds in said.items() if holds]
