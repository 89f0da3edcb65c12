"""Blame: the statement that a reviewer would mark as the cause of a loss.

A losing run is done again with every line of kernel code traced (`Log`): each change of a page, a slot, a page table,
a TLB or a file is kept with the statement that made it and the functions that were under way. Most rules below ask
the log one question: since when, without a break until the loss, does a condition hold? The statement that made it
true is the answer. Where no function of the patch was under way at that statement, the same steps are done on the
patch's base, and the function of the patch at the first difference is named. May import the rest of `mm_sim`, patches
excepted.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from types import CodeType, FrameType, FunctionType, GeneratorType, TracebackType
from typing import Any, NamedTuple, TypeAlias

from mm_sim.address_space import AddressSpace
from mm_sim.ghost import Value
from mm_sim.kernel import Kernel, base_of
from mm_sim.mm import Mm
from mm_sim.names import FILES, PAGES, TASKS
from mm_sim.page import DIRTY, GARBAGE, WRITE, ZERO, Migration, Page, Pte, PteVal, SwapSlot
from mm_sim.sched import Deadlock, Endless, KernelBug
from mm_sim.system import PAST_END, FreedFrame, Loss, Rule, Scope, System, owner

#: Where kernel code is called from.
_SYSTEM = System.step.__code__.co_filename
KERNEL_FOLDER = str(Path(__file__).parent / "kernel")

#: What they do is decided by their callers.
HELPERS = frozenset(
    (
        *("set_pte_at", "flush_tlb_page", "flush_tlb_mm", "mark", "mk_pte", "maybe_mkwrite"),
        *(
            "set_page_dirty",
            "set_page_dirty_and_tag",
            "tag_page_dirty",
            "mark_buffer_dirty",
            "set_page_dirty_lock",
            "cancel_dirty_page",
            "set_page_writeback",
        ),
        *("set_page_uptodate", "set_new_page_uptodate", "alloc_page", "put_page", "free_hot_cold_page"),
        *("add_to_swap_cache", "delete_from_swap_cache", "delete_from_swap_cache_locked"),
        *("add_to_page_cache", "remove_from_page_cache", "remove_from_page_cache_locked"),
        *("get_swap_page", "swap_free", "swap_entry_free", "swap_duplicate", "vma_link_locked", "vma_adjust"),
        *("page_add_anon_rmap", "page_add_new_anon_rmap", "page_set_anon_rmap", "page_add_file_rmap"),
        *("page_dup_rmap", "free_page_and_swap_cache", "free_swap_cache", "follow_page"),
    )
)


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


#: A function that is under way, and the line where it stands.
Place: TypeAlias = "tuple[CodeType, int]"
#: Those under way, outermost first; empty where no kernel code runs: a user's access, the end of an I/O.
Stack: TypeAlias = "tuple[Place, ...]"


def statement(place: Place) -> Statement:
    """A place, as it is printed."""
    code, line = place
    file = Path(code.co_filename)
    return Statement(code.co_name, f"{file.parent.name}/{file.name}", line)


#: A step with more lines, and ends of calls, of kernel code is taken for endless: others have some hundreds.
LINES = 5_000


# whose code it is


def files_of(kernel: type[Kernel]) -> tuple[str, ...]:
    """The files of a patch, its own first, then those of the patches that it is made upon; none of the kernel's."""
    files: dict[str, None] = {}
    for cls in kernel.__mro__:
        for function in vars(cls).values():
            if isinstance(function, FunctionType) and function.__module__ == cls.__module__:
                files[function.__code__.co_filename] = None
    return tuple(file for file in files if not file.startswith(KERNEL_FOLDER))


def code_of(kernel: type[Kernel]) -> Callable[[str], bool]:
    """Whether a file has code of the kernel or of the patch."""
    files = files_of(kernel)
    return lambda name: name.startswith(KERNEL_FOLDER) or name in files


# the log


@contextmanager
def traced(call: Callable[[FrameType, str, object], Any]) -> Iterator[None]:
    """Trace what is executed, and collect no garbage: to close a generator that is under way counts as a call."""
    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()


class PageState(NamedTuple):
    """What is followed of a page; `lock` is the task that holds its lock."""

    content: int
    io: int
    PG_dirty: bool
    tag_dirty: bool
    buffers: bool | None
    PG_writeback: bool
    PG_uptodate: bool
    PG_anon: bool
    key_c: bool
    mapcount: int
    refs: int
    at: int
    lock: object
    private: SwapSlot | None
    mapping: object

    @property
    def written_when_dirty(self) -> bool:
        """Whether write-back writes the page if it has PG_dirty: with clean buffers XFS does, and no other."""
        return self.buffers is not False or (type(self.mapping) is AddressSpace and self.mapping.page_mkwrite)


class MmState(NamedTuple):
    """What is followed of an mm; of a vma start, end, offset, file, and whether it has an anon_vma."""

    pte: tuple[PteVal, ...]
    ptl: object
    vmas: tuple[tuple[int, int, int, AddressSpace | None, bool], ...]


class FileState(NamedTuple):
    """What is followed of a file."""

    pages: tuple[Page | None, ...]
    swap: tuple[SwapSlot | None, ...]
    blocks: tuple[int, ...]
    i_size: int
    AS_EIO: bool


#: Fields that have other names in struct page, as a tuple has some of its own.
_NAMED = {"lock": "lock.owner", "refs": "count", "at": "index"}
_PAGE = attrgetter(*(_NAMED.get(name, name) for name in PageState._fields))
_SLOT = attrgetter("content", "map", "page")
_VMA = attrgetter("vm_start", "vm_end", "vm_pgoff", "vm_file", "anon_vma")

#: Where an access ends: a frame by its number, a slot, or neither: zeroes, a block, the end of a file.
Ref: TypeAlias = "int | SwapSlot | None"


class State(NamedTuple):
    """A state between two statements; `expected` is what must be read where the loss is."""

    pages: tuple[PageState, ...]
    slots: tuple[tuple[int, int, Page | None], ...]
    mms: dict[Mm, MmState]
    tlbs: tuple[dict[int, Pte] | None, ...]
    task_mms: tuple[Mm | None, ...]
    files: dict[AddressSpace, FileState]
    expected: Value

    def peek(self, mm: Mm, at: int) -> tuple[Ref, int]:
        """Where a load would end and what it would return, as in System.peek()."""
        pte = self.mms[mm].pte[at]
        if type(pte) is Pte or (type(pte) is Migration and self.pages[pte.page.pfn].PG_anon):
            return pte.page.pfn, self.pages[pte.page.pfn].content
        if type(pte) is SwapSlot:
            return self.peek_slot(pte)
        for start, end, pgoff, file, _ in self.mms[mm].vmas:
            if start <= at < end and file is not None:
                return self.peek_file(file, at - start + pgoff)
        return None, ZERO

    def peek_slot(self, slot: SwapSlot) -> tuple[Ref, int]:
        content, _, page = self.slots[slot.number]
        pfn = None if page is None else page.pfn
        if pfn is not None and not self.pages[pfn].PG_uptodate:
            pfn = next((n for n, old in enumerate(self.pages) if old.private is slot and old.PG_uptodate), None)
        return (slot, content) if pfn is None else (pfn, self.pages[pfn].content)

    def peek_file(self, file: AddressSpace, at: int) -> tuple[Ref, int]:
        state = self.files[file]
        if at >= state.i_size:
            return None, PAST_END
        page, slot = state.pages[at], state.swap[at]
        pfn = None if page is None else page.pfn
        if pfn is not None and not self.pages[pfn].PG_uptodate and not self.pages[pfn].PG_dirty:
            olds = enumerate(self.pages)
            pfn = next((n for n, p in olds if p.mapping is file and p.at == at and p.PG_uptodate), None)
        if pfn is not None:
            return pfn, self.pages[pfn].content
        return self.peek_slot(slot) if slot is not None else (None, state.blocks[at])

    def references(self, slot: SwapSlot) -> int:
        """How often a slot is referred to, which is what its count should be."""
        found = sum(entry is slot for mm in self.mms.values() for entry in mm.pte)
        found += sum(entry is slot for file in self.files.values() for entry in file.swap)
        return found + (self.slots[slot.number][2] is not None)


class Entry(NamedTuple):
    """A change: the step and the statement that made it, and the state after it.

    `tick` counts the calls and returns of kernel functions before it, by which a timeline finds it.
    """

    step: int
    stack: Stack
    tick: int
    state: State


class Ran(NamedTuple):
    """A function that has returned, or was interrupted: the entries so far, and the pte that it was to look at."""

    before: int
    step: int
    tick: int
    place: Place
    pte: tuple[Mm, int] | None


class Stand(NamedTuple):
    """Where an operation stands after a step: the functions under way, the last label, what it waits for."""

    stack: Stack
    point: str | None
    waits: object


class Log:
    """A run with every change of its state. The last step may lose a page, or raise what it likes."""

    def __init__(self, kernel: type[Kernel], arch: str, scope: Scope, victim: tuple[bool, int, int] | None) -> None:
        self.system = System(kernel, arch, scope)
        self.is_kernel = code_of(kernel)
        #: Whether a file's page is lost, whose, and which.
        self.victim = victim
        self.entries: list[Entry] = []
        self.ran: list[Ran] = []
        #: What the last step raised, if not a loss.
        self.error: Exception | None = None
        self.loss: Loss | None = None
        self.step = self.tick = 0
        #: Where the operation of each step that was done stands after it.
        self.stands: list[Stand] = []
        #: The statement under way: its frame, and the line that the frame leaves with the next event.
        self.cause: tuple[FrameType | None, int] = (None, 0)
        self.raw: tuple[object, ...] = ()
        #: Who made a generator that somebody else runs: `return self.page_remove_rmap(page)`.
        self.made: dict[FrameType, Place] = {}
        self.look()

    def run(self, steps: list[Step]) -> int:
        """Do the steps up to the first that cannot happen, or raises: how many were done."""
        lines = 0

        def local(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal lines
            self.look()
            lines += 1
            if event == "line":
                if lines > LINES:
                    raise Endless
                self.cause = (frame, frame.f_lineno)
            elif event == "return":
                self.returned(frame, argument)
                self.tick += 1
                back = frame.f_back
                self.cause = (back, back.f_lineno if back is not None else 0)
            return local

        def call(frame: FrameType, event: str, argument: object) -> Any:
            if not self.is_kernel(frame.f_code.co_filename):
                return None
            self.look()
            self.tick += 1
            return local

        for self.step, step in enumerate(steps):
            self.cause = (None, 0)
            lines = 0
            try:
                with traced(call):
                    happened = self.system.step(*step)
            except Loss as loss:
                self.loss, happened = loss, True
            except Exception as error:  # of the patch's code
                self.error, happened = error, True
            self.cause = (None, 0)
            self.look()
            self.stands.append(self.stand(step))
            if not happened:
                return self.step
            if self.loss is not None or self.error is not None:
                return self.step + 1
        return len(steps)

    def stack(self, frame: FrameType | None, line: int) -> Stack:
        """The functions under way, the innermost at `line`."""
        found: list[Place] = []
        while frame is not None and frame.f_code.co_filename != _SYSTEM:
            if self.is_kernel(frame.f_code.co_filename) and not frame.f_code.co_name.startswith("<"):
                found.append((frame.f_code, line))
                if frame in self.made:
                    found.append(self.made[frame])
            frame = frame.f_back
            line = frame.f_lineno if frame is not None else 0
        return tuple(reversed(found))

    def stand(self, step: Step) -> Stand:
        """Where the operation of a step stands."""
        task = self.system.kernel.tasks[step.arguments[0]] if step.rule.action is None else None
        steps: Any = None if task is None else task.steps
        found: list[Place] = []
        while isinstance(steps, GeneratorType):
            if steps.gi_frame is not None and self.is_kernel(steps.gi_code.co_filename):
                found.append((steps.gi_code, steps.gi_frame.f_lineno))
            steps = steps.gi_yieldfrom
        blocked = task is not None and task.steps is not None
        return Stand(tuple(found), task.point if task and blocked else None, task.waits if task and blocked else None)

    def returned(self, frame: FrameType, value: object) -> None:
        code = frame.f_code
        if isinstance(value, GeneratorType) and value.gi_code is not code and value.gi_frame is not None:
            self.made[value.gi_frame] = code, frame.f_lineno
        pte = None
        if "address" in code.co_varnames[: code.co_argcount]:
            local = frame.f_locals
            mm = local["vma"].vm_mm if "vma" in local else local.get("mm")
            pte = (mm, local["address"]) if isinstance(mm, Mm) else None
        self.ran.append(Ran(len(self.entries), self.step, self.tick, (code, frame.f_lineno), pte))

    def look(self) -> None:
        """What the statement under way has changed."""
        kernel = self.system.kernel
        mms = {**dict.fromkeys(kernel.mms), **dict.fromkeys(task.mm for task in kernel.tasks if task.mm is not None)}
        raw = (
            [_PAGE(page) for page in kernel.frames],
            [_SLOT(slot) for slot in kernel.slots],
            [(mm, mm.pte.copy(), mm.ptl.owner, [_VMA(vma) for vma in mm.mmap]) for mm in mms],
            [None if task.tlb is None else task.tlb.copy() for task in kernel.tasks],
            [task.mm for task in kernel.tasks],
            [(f.pages.copy(), f.swap.copy(), f.blocks.copy(), f.i_size, f.AS_EIO) for f in kernel.files],
            self.expected(),
        )
        if raw != self.raw:
            self.raw = raw
            self.entries.append(Entry(self.step, self.stack(*self.cause), self.tick, self.state(*raw)))

    def state(self, pages: Any, slots: Any, mms: Any, tlbs: Any, tasks: Any, files: Any, expected: Value) -> State:
        return State(
            tuple(map(PageState._make, pages)),
            tuple(slots),
            {
                mm: MmState(tuple(pte), ptl, tuple((*vma[:4], vma[4] is not None) for vma in vmas))
                for mm, pte, ptl, vmas in mms
            },
            tuple(tlbs),
            tuple(tasks),
            {
                file: FileState(tuple(pages), tuple(swap), tuple(blocks), *rest)
                for file, (pages, swap, blocks, *rest) in zip(self.system.kernel.files, files, strict=True)
            },
            expected,
        )

    def expected(self) -> Value:
        ghost = self.system.ghost
        if self.victim is None:
            return None
        is_file, who, at = self.victim
        if is_file:
            return ghost.files[self.file(who)].values[at]
        mm = self.mm(who)
        space = None if mm is None else ghost.spaces.get(mm)
        return None if space is None else space.values[at]

    def file(self, name: int) -> AddressSpace:
        return next(file for file in self.system.kernel.files if file.name == name)

    def mm(self, process: int) -> Mm | None:
        kernel = self.system.kernel
        return kernel.tasks[process].mm or next((mm for mm in kernel.mms if mm.name == process), None)

    def since(self, holds: Callable[[State], bool], upto: int) -> int | None:
        """The entry that made a condition true, which holds until `upto`; None if it does not hold there."""
        i = upto
        if not holds(self.entries[i].state):
            return None
        while i and holds(self.entries[i - 1].state):
            i -= 1
        return i


class Way(NamedTuple):
    """How a store got to a page without a fault: by a pte of `mm`, or by what the CPU of `task` has cached of it.

    `owner` is by whose name the mm goes.
    """

    task: int
    mm: Mm
    at: int
    pfn: int
    tlb: bool
    owner: int

    def is_open(self, state: State) -> bool:
        entry: PteVal
        if self.tlb:
            entry = (state.tlbs[self.task] or {}).get(self.at)
        else:
            entry = state.mms[self.mm].pte[self.at] if self.mm in state.mms else None
        return type(entry) is Pte and entry.page.pfn == self.pfn and bool(entry.bits & WRITE)

    def is_stale(self, state: State) -> bool:
        """Whether it is a TLB entry that the page table does not back any more."""
        return self.tlb and self.is_open(state) and not self._replace(tlb=False).is_open(state)

    def __str__(self) -> str:
        at = repr(PAGES[self.at])
        if self.tlb:
            return f"the TLB entry of {TASKS[self.task]!r}'s CPU for page {at}"
        return f"{TASKS[self.owner]!r}'s pte of page {at}"


def way_of(log: Log, i: int, step: Step) -> Way | None:
    """How the user's store that entry `i` is got to its page; None if it is none."""
    if i == 0 or log.entries[i].stack or step.rule.action is not None:
        return None
    task, before, after = step.arguments[0], log.entries[i - 1].state, log.entries[i].state
    mm = after.task_mms[task]
    for pfn, (old, new) in enumerate(zip(before.pages, after.pages, strict=True)):
        if old.content != new.content and mm is not None:
            for at in range(len(after.mms[mm].pte)):
                way = Way(task, mm, at, pfn, tlb=True, owner=owner(mm, after.task_mms))
                if way.is_open(before) and before.tlbs[task][at].bits & DIRTY and way.is_stale(before):
                    return way
                if way._replace(tlb=False).is_open(after):
                    return way._replace(tlb=False)
    return None


# the report


@dataclass(frozen=True, slots=True)
class Report:
    """A loss with its causes. `at` is the index of the step after which the page is lost.

    `forgotten_by` is to blame: it dropped the last record, or let a store in, in the step `forgotten_at`.
    `destroyed_by` took or overwrote the last good copy; it is the same where nothing lies between. `knew` names the
    records that were dropped, `story` has what happened in sentences, each with its step. `ticks` are those of both
    statements (see Entry). `beyond` is said where the base cannot be asked, and may be the one that loses.
    """

    loss: Loss
    at: int
    forgotten_by: Statement
    destroyed_by: Statement
    forgotten_at: int
    knew: tuple[str, ...]
    destroyed_at: int = 0
    story: tuple[tuple[int | None, str], ...] = ()
    ticks: tuple[int, int] = (0, 0)
    beyond: str = ""


class Spot(NamedTuple):
    """Where something happened: an entry of the log, or the return of a function."""

    step: int
    stack: Stack
    tick: int


def content(value: int) -> str:
    """A content, as it is printed."""
    return "garbage" if value == GARBAGE else str(value)


class Finding(NamedTuple):
    """What a rule has found: the cause, and its words, in which {cause} and {end} stand for statements."""

    cause: Spot
    story: tuple[tuple[int | None, str], ...]
    pfn: int | None = None
    end: Spot | None = None
    knew: tuple[str, ...] = ()
    helpers: bool = False
    #: The cause is only what ran last, and the first sentence says no more.
    weak: bool = False


def report(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], loss: Loss, at: int) -> Report:
    """Blame for a loss that the last of the steps comes to."""
    log = Log(kernel, arch, scope, (loss.process >= FILES[0], loss.process, loss.page))
    log.run(steps)
    finding = _rules(loss)(log, steps, loss).find()
    judge = _Judge(kernel, arch, scope, steps, log)
    found = judge.differs(finding) or Part(finding.cause, judge.place(finding), "")
    spot, place, differs = found
    end = place if finding.end is None else judge.innermost(finding.end.stack) or place
    names = {"cause": str(statement(judge.place(finding))), "end": str(statement(end))}
    known = finding.story[finding.weak and bool(differs) :]
    story = [(finding.cause.step if i == -1 else i, said.format(**names)) for i, said in known]
    if differs:
        story.append((spot.step, f"{statement(place)} {differs}"))
    beyond = judge.beyond(place)
    if beyond:
        story.append((None, beyond))
    ended = finding.end or spot
    return Report(
        loss,
        at,
        statement(place),
        statement(end),
        spot.step,
        finding.knew,
        ended.step,
        tuple(story),
        (spot.tick, ended.tick),
        beyond,
    )


def _rules(loss: Loss) -> type[_Disk | _Read]:
    """The rules for a loss."""
    if loss.frame is not None:
        return _Freed if isinstance(loss, FreedFrame) else _Store
    return _Disk if loss.disk else _Read


class Part(NamedTuple):
    """The patch's part in a loss that a function of the base completes: where, and how the base differs."""

    spot: Spot
    place: Place
    differs: str


class _Judge:
    """Whose statement it was: of the functions under way the patch's, or what the base would have done there."""

    def __init__(self, kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step], log: Log) -> None:
        self.kernel, self.arch, self.scope, self.steps, self.log = kernel, arch, scope, steps, log
        self.files = files_of(kernel)

    def of_patch(self, stack: Stack) -> Place | None:
        """The innermost function of the patch that decides; or of the patches that it is made upon."""
        for file in self.files:
            own = [place for place in reversed(stack) if place[0].co_filename == file]
            if own:
                return next((place for place in own if place[0].co_name not in HELPERS), own[0])
        return None

    def innermost(self, stack: Stack, helpers: bool = False) -> Place | None:
        """The patch's function, or the innermost one that decides."""
        found = self.of_patch(stack)
        if found is None and stack:
            deciding = [place for place in stack if helpers or place[0].co_name not in HELPERS]
            found = (deciding or stack)[-1]
        return found

    def place(self, finding: Finding) -> Place:
        """Whose statement it was."""
        place = self.innermost(finding.cause.stack, finding.helpers)
        if place is not None:
            return place
        before = [ran for ran in self.log.ran if ran.tick <= finding.cause.tick] or self.log.ran
        return before[-1].place

    def differs(self, finding: Finding) -> Part | None:
        """The patch's function where a run of the base first differs: in a wait, a change, or what the kernel knows.

        None where the patch's own code was under way at the cause, and where the base fails, too. If nothing differs
        that is followed, it is the function of the patch that ran last.
        """
        base, log = base_of(self.kernel), self.log
        if base is None or any(place[0].co_filename in self.files[:1] for place in finding.cause.stack):
            return None
        if own_rules(self.kernel, self.steps):
            return None
        other = Log(base, self.arch, self.scope, log.victim)
        done = other.run(self.steps)
        if other.loss is not None or type(other.error) is type(log.error) is not type(None):
            return None
        on = "2.6.26" if base is Kernel else base.__name__
        for i in range(done):
            one, two = _known(_after(log, i), finding.pfn), _known(_after(other, i), finding.pfn)
            cells = sorted((_rank(cell, one, two), cell) for cell in {*one, *two} if one.get(cell) != two.get(cell))
            broke = i == log.step and log.error is not None and bool(_raised(log))
            alike = self.steps[i].stop in (None, other.stands[i].point) and not broke
            of = {cell for _, cell in cells} if alike else None
            found = self.waits(i, other, on) or self.writes(i, other, on, of, finding.pfn, broke)
            if found is not None:
                return found
            for _, cell in cells if alike else ():
                ran, is_sure = self.writer(i, cell, finding.pfn, other)
                if ran is not None:
                    was, now = two.get(cell, "none"), one.get(cell, "none")
                    did = "caused" if is_sure else "was the last function of the patch before"
                    shows = f", which shows in step {i + 1}" if i != ran.step else ""
                    said = f"{did} the first difference to {on}{shows}: {cell} is {now}, not {was}"
                    return Part(Spot(ran.step, (ran.place,), ran.tick), ran.place, said)
        ran = next(reversed(self.ran(log.step)), None)
        if ran is None:
            return None
        return Part(Spot(ran.step, (ran.place,), ran.tick), ran.place, "was the last function of the patch that ran")

    def beyond(self, place: Place) -> str:
        """What is said of a run with a rule of the patch that is blamed on a function of its base."""
        own = own_rules(self.kernel, self.steps)
        if not own or place[0].co_filename in self.files[:1]:
            return ""
        rules = f"{' and '.join(f'{rule}()' for rule in own)}, {'rules' if own[1:] else 'a rule'} of the patch"
        may = "the promise of the rule may be more than the base keeps"
        return f"The run needs {rules}, and the blamed function is the base's: {may}"

    def ran(self, upto: int) -> list[Ran]:
        """The patch's functions that have run."""
        return [ran for ran in self.log.ran if ran.place[0].co_filename == self.files[0] and ran.step <= upto]

    def within(self, i: int, name: str) -> list[Ran]:
        """Those of a name that have run in the operation of step `i`."""
        begun, who = begin(self.steps, i), self.steps[i].arguments[:1]
        own = {k for k in range(begun, i + 1) if self.steps[k].arguments[:1] == who}
        return [ran for ran in self.ran(i) if ran.step in own and ran.place[0].co_name == name]

    def waits(self, i: int, other: Log, on: str) -> Part | None:
        """The patch's form of a function in which the base waits after step `i`."""
        stand, within = other.stands[i], [code.co_name for code, _ in self.log.stands[i].stack]
        if stand.waits is None:
            return None
        for code, _ in reversed(stand.stack):
            same = self.within(i, code.co_name)
            if same and code.co_name not in within:
                ran = same[-1]
                what = f"the write of {stand.waits!r}" if isinstance(stand.waits, Page) else "a lock"
                said = f"did not wait for {what}, as it does in {on}"
                return Part(Spot(ran.step, (ran.place,), ran.tick), ran.place, said)
        return None

    def writes(
        self, i: int, other: Log, on: str, cells: set[str] | None, pfn: int | None, broke: bool
    ) -> Part | None:
        """The first change of `cells` in step `i`, by the patch's functions, that only one of the runs makes.

        Of all cells for None, where the runs were preempted at different points, or the patch's broke on the way.
        """
        codes = {ran.place[0] for ran in self.ran(i)} | {code for code, _ in self.log.stands[i].stack}
        own = {
            code
            for code in codes
            if code.co_filename == self.files[0] and hasattr(base_of(self.kernel), code.co_name)
        }
        names = {code.co_name for code in own}
        mine = list(_writes(self.log, i, lambda code: code in own, cells, pfn))
        theirs = list(_writes(other, i, lambda code: code.co_name in names, cells, pfn))
        k = next((k for k, (one, two) in enumerate(zip(mine, theirs)) if one.change != two.change), None)  # noqa: B905
        k = min(len(mine), len(theirs)) if k is None else k
        if k < len(mine):
            did, spot, place = mine[k].change, mine[k].spot, mine[k].place
            said = f"{did.past}, which it does not in {on}"
            if k < len(theirs) and did in [write.change for write in theirs[k:]]:
                said = f"did not {theirs[k].change.verb} before it {did.past}, as it does in {on}"
            elif k < len(theirs) and did.cell == theirs[k].change.cell:
                said = f"{did.past}; in {on} it is {theirs[k].change.new}"
            return Part(spot, place, said)
        if k == len(theirs) or broke or (cells is None and i != self.log.step):
            return None
        name = theirs[k].place[0].co_name
        same = self.within(i, name)
        stands = [place for place in self.log.stands[i].stack if place[0].co_name == name]
        did = theirs[k].change
        said = f"had not {did.past} yet" if cells is None else f"did not {did.verb}, as it does in {on}"
        if stands:
            return Part(Spot(i, (stands[-1],), mine[-1].spot.tick if mine else self.log.tick), stands[-1], said)
        return Part(Spot(same[-1].step, (same[-1].place,), same[-1].tick), same[-1].place, said) if same else None

    def writer(self, i: int, cell: str, pfn: int | None, other: Log) -> tuple[Ran | None, bool]:
        """The patch's function that wrote it; its form of one that writes it in the base; or the last that ran.

        And whether it can be no other.
        """
        file = self.files[0]
        mine = _writers(self.log, i, cell, pfn)
        for entry in mine:
            for place in reversed(entry.stack):
                if place[0].co_filename == file:
                    return Ran(0, entry.step, entry.tick, place, None), True
        for entry in _writers(other, i, cell, pfn):
            for code, _ in reversed(entry.stack):
                same = self.within(i, code.co_name)
                if same:
                    return same[-1], True
        ran = [one for one in self.ran(i) if not mine or one.tick <= mine[-1].tick]
        return (*ran[-1:], None)[0], len({one.place[0] for one in ran}) == 1


class Change(NamedTuple):
    """A change of a cell."""

    cell: str
    old: str
    new: str

    @property
    def verb(self) -> str:
        return self._said("set")

    @property
    def past(self) -> str:
        return self._said("set", "ed")

    def _said(self, put: str, ed: str = "") -> str:
        if self.cell.startswith("frame"):
            verb = {"locked": "lock", "free": "free"}.get(self.new, "unlock" if self.old == "locked" else "allocat")
            e = "e" if verb == "allocat" and not ed else ""
            return f"{verb}{e}{ed[verb == 'free' :]} {self.cell}"
        if self.new in ("none", "False"):
            return f"clear{ed} {self.cell}"
        return f"{put} {self.cell}" + (f" to {self.new}" if self.new != "True" else "")


class Write(NamedTuple):
    """A change by a function."""

    change: Change
    spot: Spot
    place: Place


def _writes(
    log: Log, step: int, is_own: Callable[[CodeType], bool], cells: set[str] | None, pfn: int | None
) -> Iterator[Write]:
    """The changes in a step of `cells`, or of all, with some function under way."""
    for before, entry in pairwise(log.entries):
        place = next((place for place in reversed(entry.stack) if is_own(place[0])), None)
        if entry.step == step and place is not None:
            one, two = _known(before.state, pfn), _known(entry.state, pfn)
            for cell in {**one, **two}:
                change = Change(cell, one.get(cell, "none"), two.get(cell, "none"))
                if change.old != change.new and (cells is None or cell in cells):
                    yield Write(change, Spot(entry.step, entry.stack, entry.tick), place)


def own_rules(kernel: type[Kernel], steps: list[Step]) -> list[str]:
    """The rules of a patch that a run needs."""
    base = base_of(kernel)
    own = () if base is None else [rule for rule in kernel.rules if rule not in base.rules]
    return list(dict.fromkeys(step.rule.name for step in steps if step.rule in own))


def _after(log: Log, step: int) -> State:
    return next((entry.state for entry in reversed(log.entries) if entry.step <= step), log.entries[0].state)


def _rank(cell: str, one: dict[str, str], two: dict[str, str]) -> tuple[bool, ...]:
    """Of cells that differ the least is printed: ptes, TLBs and vmas first, then what both runs have."""
    both = cell in one and cell in two
    return "pte" not in cell, "TLB" not in cell, "vma" not in cell, not both, "PG_dirty" not in cell


def _known(state: State, pfn: int | None) -> dict[str, str]:
    """What the kernel knows of a page, comparable between two runs; of all pages and slots for None."""
    found: dict[str, str] = {}
    slots = set(range(len(state.slots))) if pfn is None else set()
    for n, page in enumerate(state.pages):
        if pfn is None or n == pfn:
            found[f"frame{n}"] = "locked" if page.lock is not None else "in use" if page.refs else "free"
            if not page.refs:
                continue
            if page.private is not None:
                slots.add(page.private.number)
                found[f"page_private of frame{n}"] = repr(page.private)
            for name in ("PG_dirty", "tag_dirty", "buffers", "PG_writeback", "PG_uptodate"):
                found[f"{name} of frame{n}"] = str(getattr(page, name))
            found[f"change bit of the mapped frame{n}"] = str(page.key_c and page.mapcount > 0)
    for mm, kept in state.mms.items():
        who = TASKS[owner(mm, state.task_mms)]
        found |= {f"{who!r}'s pte {PAGES[at]!r}": entry_text(pte) for at, pte in enumerate(kept.pte) if pte}
        for start, end, pgoff, file, linked in kept.vmas:
            for at in range(start, end):
                found[f"{who!r}'s vma at {PAGES[at]!r}"] = vma_text(file, at - start + pgoff)
                if linked:
                    found[f"the anon_vma of {who!r}'s vma at {PAGES[at]!r}"] = "True"
    for file, of in state.files.items():
        for kind, values in (("page", of.pages), ("swap entry", of.swap), ("block", of.blocks)):
            found |= {f"{kind} {PAGES[at]!r} of {file!r}": repr(value) for at, value in enumerate(values) if value}
    for task, tlb in enumerate(state.tlbs):
        found |= {f"{TASKS[task]!r}'s TLB entry {PAGES[at]!r}": entry_text(pte) for at, pte in (tlb or {}).items()}
    found |= {f"count of slot{number}": str(state.slots[number][1]) for number in sorted(slots)}
    return found


def entry_text(pte: PteVal) -> str:
    """An entry of a page table or a TLB, as it is printed."""
    if type(pte) is not Pte:
        return repr(pte)
    return f"{pte.page!r} {'rw' if pte.bits & WRITE else 'ro'}{' dirty' * bool(pte.bits & DIRTY)}"


def vma_text(file: AddressSpace | None, pgoff: int) -> str:
    """What a vma has at a page, as it is printed."""
    at = repr(PAGES[pgoff]) if 0 <= pgoff < len(PAGES) else str(pgoff)
    return f"offset {at}" if file is None else f"page {at} of {file!r}"


def _vma(state: State, mm: Mm | None, at: int) -> str | None:
    """What the vma of a page has there."""
    vmas = state.mms[mm].vmas if mm is not None and mm in state.mms else ()
    return next((vma_text(file, at - start + off) for start, end, off, file, _ in vmas if start <= at < end), None)


def _writers(log: Log, step: int, cell: str, pfn: int | None) -> list[Entry]:
    """The entries of a step that change a cell."""
    found = []
    for before, entry in pairwise(log.entries):
        if entry.step == step:
            if _known(before.state, pfn).get(cell) != _known(entry.state, pfn).get(cell):
                found.append(entry)
    return found


class _Rules:
    """What the rules of both kinds of loss share."""

    def __init__(self, log: Log, steps: list[Step], loss: Loss) -> None:
        self.log, self.steps, self.loss = log, steps, loss
        self.frame = -1 if loss.frame is None else loss.frame
        self.entries = log.entries
        self.last = len(log.entries) - 1
        self.end = len(steps) - 1
        self.arch = log.system.kernel.arch

    def spot(self, i: int) -> Spot:
        entry = self.entries[i]
        return Spot(entry.step, entry.stack, entry.tick)

    def step_of(self, i: int) -> int:
        return self.entries[i].step

    def holds(self, content: int) -> bool:
        expected = self.loss.expected
        if isinstance(expected, int):
            return content >= expected if self.loss.disk else content == expected
        return expected is not None and content in expected

    def changed(self, pfn: int, name: str, upto: int) -> int | None:
        """The last entry up to `upto` that changed a field of a page."""
        for i in range(upto, 0, -1):
            if getattr(self.entries[i].state.pages[pfn], name) != getattr(self.entries[i - 1].state.pages[pfn], name):
                return i
        return None

    def records(self, state: State, pfn: int) -> list[str]:
        """What says that a page is newer than its slot or block; fsync() does not look at ptes and keys."""
        page = state.pages[pfn]
        if self.arch.pte_dirty:
            hardware = any(
                type(pte) is Pte and pte.page.pfn == pfn and pte.bits & DIRTY
                for mm in state.mms.values()
                for pte in mm.pte
            )
        else:
            hardware = page.key_c and page.mapcount > 0
        said = {
            "PG_dirty": page.PG_dirty and page.written_when_dirty,
            "the write in progress": page.PG_writeback and self.holds(page.io),
            self.arch.record: not self.loss.disk and hardware,
        }
        return [record for record, holds in said.items() if holds]

    def stale(self, way: Way, upto: int, pfn: int) -> Finding | None:
        """A TLB entry that outlived its pte."""
        i = self.log.since(way.is_stale, upto)
        if i is None:
            return None
        return Finding(self.spot(i), ((-1, f"{{cause}} changed the pte and left {way} writable"),), pfn)


class _Read(_Rules):
    """A process, or read(2), would find something else than was stored last."""

    def find(self) -> Finding:
        since = self.log.since(lambda state: state.expected == self.loss.expected, self.last) or 0
        good = [self.good(entry.state) for entry in self.entries[since : self.last + 1]]
        if good[-1]:
            return self.found_elsewhere()
        if True in good:
            return self.taken(self.last - good[::-1].index(True) + 1)
        return self.never(since)

    def peek(self, state: State) -> tuple[Ref, int] | None:
        """Where the lost page is looked for; None where nothing can be said: under its ptl, or without an mm."""
        at = self.loss.page
        if self.loss.process >= FILES[0]:
            return state.peek_file(self.log.file(self.loss.process), at)
        mm = self.log.mm(self.loss.process)
        if mm is None or mm not in state.mms or (state.mms[mm].pte[at] is None and state.mms[mm].ptl is not None):
            return None
        return state.peek(mm, at)

    def ref(self, state: State) -> Ref:
        found = self.peek(state)
        return None if found is None else found[0]

    def good(self, state: State) -> bool | None:
        found = self.peek(state)
        return None if found is None else self.holds(found[1])

    def pte(self, state: State) -> PteVal:
        mm = self.log.mm(self.loss.process) if self.loss.process < FILES[0] else None
        return None if mm is None or mm not in state.mms else state.mms[mm].pte[self.loss.page]

    def slot(self, state: State) -> SwapSlot | None:
        """The slot in which it is looked for."""
        if self.loss.process >= FILES[0]:
            return state.files[self.log.file(self.loss.process)].swap[self.loss.page]
        pte = self.pte(state)
        return pte if type(pte) is SwapSlot else None

    # the content was there, and entry `t` took it

    def taken(self, t: int) -> Finding:
        before = self.entries[t - 1].state
        end = next((i for i in range(t, self.last + 1) if self.peek(self.entries[i].state) is not None), t)
        after = self.entries[end].state
        old, new = self.ref(before), self.ref(after)
        slot = self.slot(before)
        for found in (
            self.freed(old, t),
            self.slot_freed(slot, t),
            self.overwritten(old, t) if old == new else None,
            self.pinned(old, t) if old == new else None,
            self.copied_early(old, new, t, end),
            self.unfilled(new, end) if type(new) is int and new != old else None,
            self.unrecorded(old, t, end) if type(old) is int and type(new) is not int else None,
        ):
            if found is not None:
                return found
        return self.replaced(t, old, new, end)

    def replaced(self, t: int, old: Ref, new: Ref, end: int) -> Finding:
        who, after = repr(self.loss.process), self.entries[end].state
        mm = self.log.mm(self.loss.process) if self.loss.process < FILES[0] else None
        begun = _after(self.log, self.step_of(t) - 1)
        was, now = (_vma(state, mm, self.loss.page) for state in (begun, after))
        if was != now and self.pte(begun) == self.pte(after):
            said = f"{{cause}} changed {who}'s vma at {PAGES[self.loss.page]!r} from {was} to {now}"
        elif type(new) is int and old == new:
            has = self.entries[t].state.pages[new].content
            said = f"{{cause}} wrote {content(has)} to frame{new}, where {who} must find {self.loss.expected}"
        elif type(new) is int:
            has = self.entries[end].state.pages[new].content
            where = "the disk" if old is None else repr(old) if type(old) is SwapSlot else f"frame{old}"
            must = self.loss.expected
            wrong = f"frame{new} for {who}, which has {content(has)}"
            said = f"{{cause}} mapped {wrong}, in place of {where}, which has {must}"
        elif new is None:
            said = f"{{cause}} cleared the pte by which {who} had the content"
        else:
            said = f"{{cause}} left {who} only {new!r}, which does not have the content"
        i = t if self.entries[t].stack else end
        return Finding(self.spot(i), ((-1, said),), old if type(old) is int else None)

    def freed(self, old: Ref, t: int) -> Finding | None:
        """The frame was given back while it was still looked for there."""
        if type(old) is not int:
            return None
        for i in range(t, 0, -1):
            state = self.entries[i - 1].state
            if self.ref(state) != old:
                return None
            if state.pages[old].refs == 0:
                first = self.log.since(lambda s: s.pages[old].refs == 0, i - 1)
                assert first is not None
                who = repr(self.loss.process)
                said = f"{{cause}} freed frame{old}, which {who} still referred to"
                return Finding(self.spot(first), ((-1, said), *self.ended(t)), old, self.end_spot(t))
        return None

    def slot_freed(self, slot: SwapSlot | None, t: int) -> Finding | None:
        """The slot had fewer counts than references."""
        if slot is None:
            return None

        def short(state: State) -> bool:
            return state.slots[slot.number][1] < state.references(slot)

        for i in range(t, 0, -1):
            state = self.entries[i - 1].state
            if self.slot(state) is not slot:
                return None
            if state.slots[slot.number][1] == 0:
                first = self.log.since(short, i - 1)
                assert first is not None
                who = repr(self.loss.process)
                what = f"with fewer counts than references: it was freed while {who} referred to it"
                said = f"{{cause}} left {slot!r} {what}"
                return Finding(self.spot(first), ((-1, said), *self.ended(t)), None, self.end_spot(t))
        return None

    def ended(self, t: int) -> tuple[tuple[int | None, str], ...]:
        if self.entries[t].stack:
            return ((self.step_of(t), "{end} put something else in its place"),)
        return ((self.step_of(t), " overwrote the content"),)

    def end_spot(self, t: int) -> Spot | None:
        return self.spot(t) if self.entries[t].stack else None

    def pinned(self, pfn: Ref, t: int) -> Finding | None:
        """The kernel wrote to the page by a reference that get_user_pages() had given it."""
        stack = self.entries[t].stack
        if type(pfn) is not int or not stack:
            return None
        for i in range(t - 1, 0, -1):
            one, other = self.entries[i - 1], self.entries[i]
            got = other.state.pages[pfn].refs > one.state.pages[pfn].refs and other.stack[:1] and other.stack
            if got and got[0][0] is stack[0][0] and any(code.co_name == "get_user_page" for code, _ in got):
                must = f"where {self.loss.process!r} must find {self.loss.expected}"
                said = f"{{cause}} gave the transfer frame{pfn}, {must}"
                went = (self.step_of(t), f"the transfer went to frame{pfn}")
                return Finding(self.spot(i), ((-1, said), went), pfn)
        return None

    def overwritten(self, pfn: Ref, t: int) -> Finding | None:
        """A store got to the page, by a pte or a TLB entry that should not let it."""
        if type(pfn) is not int or not 0 < t <= self.last:
            return None
        way = way_of(self.log, t, self.steps[self.step_of(t)])
        if way is None:
            return None
        stored = (
            self.step_of(t),
            f" went by {way} to frame{pfn}, where {self.loss.process!r} must find {self.loss.expected}",
        )
        found = self.stale(way, t - 1, pfn)
        if found is not None:
            return found._replace(story=(*found.story, stored))
        i = self.log.since(lambda s: way.is_open(s) and self.ref(s) == pfn, t - 1)
        if i is None:
            return None
        opened = self.log.since(way.is_open, t - 1)
        miscounted = self.miscounted(pfn, i)
        if miscounted is not None and self.entries[i].stack:
            took = f"{{end}} took frame{pfn} for unshared and made {way} writable"
            return miscounted._replace(story=(*miscounted.story, (self.step_of(i), took), stored), end=self.spot(i))
        said = f"{{cause}} made {way} writable while {self.loss.process!r} had the same frame{pfn}"
        if opened is not None and opened < i:
            said = f"{{cause}} gave {self.loss.process!r} the same frame{pfn} and left {way} writable"
        return Finding(self.spot(i), ((-1, said), stored), pfn)

    def miscounted(self, pfn: int, i: int) -> Finding | None:
        """Before entry `i` mapcount or swap_map of a page was too low, by which can_share_swap_page() decides."""

        def few_ptes(state: State) -> bool:
            ptes = sum(type(pte) is Pte and pte.page.pfn == pfn for mm in state.mms.values() for pte in mm.pte)
            return state.pages[pfn].mapcount < ptes

        def few_references(state: State) -> bool:
            slot = state.pages[pfn].private
            return slot is not None and state.slots[slot.number][1] < state.references(slot)

        for few, what in (
            (few_ptes, f"mapcount of frame{pfn} lower than the number of its ptes"),
            (few_references, f"swap_map of the slot of frame{pfn} lower than the number of references to it"),
        ):
            first = self.log.since(few, i - 1) if i else None
            if first is not None:
                return Finding(self.spot(first), ((-1, f"{{cause}} left the {what}"),), pfn)
        return None

    def copied_early(self, old: Ref, new: Ref, t: int, end: int) -> Finding | None:
        """A copy was made, then the old page was stored to, then the copy took its place."""
        if type(old) is not int or type(new) is not int or old == new:
            return None
        copied, stored = self.changed(new, "content", end), self.changed(old, "content", t - 1)
        if copied is None or stored is None or stored < copied or not self.entries[copied].stack:
            return None
        pages = self.entries[copied].state.pages
        if pages[old].content != pages[new].content:
            return None
        way = way_of(self.log, stored, self.steps[self.step_of(stored)])
        if way is None:
            return None
        later = (
            (self.step_of(stored), f" went by {way} to frame{old}, which was already copied"),
            (self.step_of(end), "{end} put the older copy in its place"),
        )
        found = self.stale(way, stored - 1, old)
        if found is None:
            opened = self.log.since(way.is_open, stored - 1)
            i = copied if opened is None else max(opened, copied)
            said = f"{{cause}} copied frame{old} and left {way} writable"
            if i != copied:
                said = f"{{cause}} made {way} writable after frame{old} was copied"
            found = Finding(self.spot(i), ((-1, said),), old)
        return found._replace(story=(*found.story, *later), end=self.spot(t))

    def unfilled(self, pfn: Ref, end: int) -> Finding | None:
        """A page could be taken before it had its content: it was unlocked, or called up to date."""
        assert type(pfn) is int

        def is_early(state: State) -> bool:
            page = state.pages[pfn]
            cached = page.private is not None or type(page.mapping) is AddressSpace
            return cached and not self.holds(page.content) and (page.lock is None or page.PG_uptodate)

        start = end  # since it was allocated; if it was written to since, it has been filled
        while start and self.entries[start - 1].state.pages[pfn].refs:
            start -= 1
        written = self.changed(pfn, "content", end)
        early = [i for i in range(start, end + 1) if is_early(self.entries[i].state)]
        filled = self.entries[end].state.pages[pfn].content != GARBAGE
        if not early or (filled and written is not None and written > start):
            return None
        first = early[0]
        unlocked = self.entries[first].state.pages[pfn].lock is None
        what = f"unlocked frame{pfn}" if unlocked else f"marked frame{pfn} up to date"
        story: tuple[tuple[int | None, str], ...] = ((-1, f"{{cause}} {what} before its content was read in"),)
        if first == end:
            return Finding(self.spot(first), story, pfn)
        return Finding(self.spot(first), (*story, (self.step_of(end), "{end} used it")), pfn, self.spot(end))

    def unrecorded(self, pfn: Ref, t: int, end_at: int) -> Finding | None:
        """The page went, and an older copy is left, as no record said that it was newer."""
        assert type(pfn) is int
        before, after = self.entries[t - 1].state, self.entries[end_at].state
        found = self.unlocked_early(pfn, t, end_at)
        if found is not None:
            return found
        discarded = before.pages[pfn].PG_anon and self.slot(after) is None
        end = self.spot(t)
        known = self.records(before, pfn)
        if known and discarded:
            return None
        if known:
            by = " and ".join(known)
            said = f"{{cause}} removed frame{pfn} while {by} recorded that it was modified; {self.left(t)}"
            return Finding(end, ((-1, said),), pfn, None, tuple(known))

        def needed(state: State) -> bool:
            page = state.pages[pfn]
            stored = discarded or page.private is not None or type(page.mapping) is AddressSpace
            return stored and self.holds(page.content) and not self.records(state, pfn)

        i = self.log.since(needed, t - 1)
        gone = (self.step_of(t), f"{{end}} removed frame{pfn}, {self.copy(t, pfn)}; {self.left(t)}")
        if i is None:
            return None
        if not self.entries[i].stack:
            way = way_of(self.log, i, self.steps[self.step_of(i)])
            if way is not None:
                found = self.stale(way, i - 1, pfn)
                if found is None:
                    opened = self.log.since(lambda s: way.is_open(s) and not self.records(s, pfn), i - 1)
                    said = f"{{cause}} left {way} writable, and no record of stores by it"
                    found = Finding(self.spot(i if opened is None else opened), ((-1, said),), pfn)
                return found._replace(story=(*found.story, gone), end=end)
        knew = self.records(self.entries[i - 1].state, pfn) if i else []
        if knew:
            said = f"{{cause}} {self.dropped(i, pfn, knew)}"
            first: tuple[int | None, str] = (None, f"Its only dirty record was {' and '.join(knew)}")
            return Finding(self.spot(i), (first, (-1, said), gone), pfn, end, tuple(knew))
        if discarded:
            return None
        slot = self.entries[i].state.pages[pfn].private
        older = repr(slot) if slot is not None else "the disk" if self.loss.process < FILES[0] else "what is left"
        said = f"{{cause}} left frame{pfn} without a record that it was newer than {older}"
        return Finding(self.spot(i), ((-1, said), gone), pfn, end)

    def unlocked_early(self, pfn: int, t: int, end_at: int) -> Finding | None:
        """The page is still in the swap cache, and is not up to date: what was stored to it does not count."""
        after = self.entries[end_at].state
        slot = self.slot(after)
        cached = None if slot is None else after.slots[slot.number][2]
        if cached is None or cached.pfn != pfn or after.pages[pfn].PG_uptodate:
            return None
        first = t
        for i in range(t, 0, -1):
            page = self.entries[i].state.pages[pfn]
            if page.PG_uptodate or page.private is None:
                break
            if page.lock is None:
                first = i
        story = (
            (-1, f"{{cause}} unlocked frame{pfn} before its content was read in"),
            (self.step_of(t), f"{{end}} left only {slot!r}, to which frame{pfn} is not up to date"),
        )
        return Finding(self.spot(first), story, pfn, self.spot(t))

    def copy(self, t: int, pfn: int) -> str:
        """What the page is that goes."""
        state = self.entries[t].state
        others = [page for n, page in enumerate(state.pages) if n != pfn and page.refs and self.holds(page.content)]
        slots = [slot for slot in state.slots if slot[1] and self.holds(slot[0])]
        return f"{'a' if others or slots else 'the last'} copy of {self.loss.expected}"

    def left(self, t: int) -> str:
        """What a load finds then."""
        found = next(peek for entry in self.entries[t:] if (peek := self.peek(entry.state)) is not None)
        if type(found[0]) is SwapSlot:
            return f"{found[0]!r} has {content(found[1])}"
        return f"the disk has {content(found[1])}" if found[1] else "only zeroes are left"

    def dropped(self, i: int, pfn: int, knew: list[str]) -> str:
        """How a record went."""
        old, new = self.entries[i - 1].state.pages[pfn], self.entries[i].state.pages[pfn]
        if old.mapcount and not new.mapcount:
            return "dropped the last mapping without handing the change bit to PG_dirty"
        if new.PG_dirty and not new.written_when_dirty:
            return "left PG_dirty with clean buffers, of which write-back writes none"
        if "PG_dirty" in knew and not new.PG_dirty:
            return "cleared PG_dirty, and the content was not written"
        if old.key_c and not new.key_c:
            return "cleared the change bit without setting PG_dirty"
        if old.PG_writeback and not new.PG_writeback:
            return "ended the write, which had not written the content"
        return "changed the pte without handing its dirty bit to PG_dirty"

    # other ways

    def found_elsewhere(self) -> Finding:
        """The page is where it must be, and the access got something else: by what a CPU has cached."""
        state = self.entries[self.last].state
        for task, tlb in enumerate(state.tlbs):
            entry = (tlb or {}).get(self.loss.page)
            if entry is not None and state.task_mms[task] is self.log.mm(self.loss.process):
                if not self.holds(state.pages[entry.page.pfn].content):
                    found = self.outlived(task, entry.page.pfn)
                    if found is not None:
                        return found
        stack = _raised(self.log)
        said = "{cause} returned something else than the page has"
        return Finding(Spot(self.end, stack, self.log.tick), ((-1, said),))

    def outlived(self, task: int, pfn: int) -> Finding | None:
        """A TLB entry has a page that the page table does not have there any more."""
        at = self.loss.page
        mm = self.entries[self.last].state.task_mms[task]

        def holds(state: State) -> bool:
            cached = (state.tlbs[task] or {}).get(at)
            pte = state.mms[mm].pte[at] if mm in state.mms else None
            mapped = type(pte) is Pte and pte.page.pfn == pfn
            return cached is not None and cached.page.pfn == pfn and not mapped

        i = self.log.since(holds, self.last)
        if i is None:
            return None
        who = f"the TLB entry of {TASKS[task]!r}'s CPU for page {PAGES[at]!r}"
        return Finding(self.spot(i), ((-1, f"{{cause}} changed the pte and left {who} as it was"),), pfn)

    def never(self, j: int) -> Finding:
        """The content was at no time where it is looked for."""
        step = self.steps[self.step_of(j)]
        way = way_of(self.log, j, step)
        before = self.entries[max(j - 1, 0)].state
        if way is not None:
            stored = (
                self.step_of(j),
                f" went by {way} to frame{way.pfn}, where {self.loss.process!r} does not look",
            )
            found = self.stale(way, j - 1, way.pfn)
            if found is not None:
                return found._replace(story=(*found.story, stored))
        pins = [
            n
            for n, (old, new) in enumerate(zip(before.pages, self.entries[j].state.pages, strict=True))
            if old.content != new.content and self.holds(new.content)
        ]
        if pins:
            found = self.given(pins[0], j, self.step_of(j))
            if found is not None:
                return found
        mm = self.log.mm(self.loss.process) if self.loss.process < FILES[0] else None
        if (
            mm is None
            or mm in self.entries[0].state.mms
            or mm in _after(self.log, begin(self.steps, self.step_of(j)) - 1).mms
        ):
            return self.not_taken(j)
        return self.not_copied(j)

    def given(self, pfn: int, j: int, step: int) -> Finding | None:
        """The page that was pinned for the transfer in `step` is not the process's any more at entry `j`."""
        i = self.log.since(lambda s: self.ref(s) != pfn, j)
        if not i:
            return None
        said = f"{{cause}} gave {self.loss.process!r} another page than frame{pfn}, which was in use for a transfer"
        return Finding(self.spot(i), ((-1, said), (step, f"the transfer went to frame{pfn}")), pfn)

    def not_taken(self, j: int) -> Finding:
        """A system call that should take a page away, or put one there, has left what there was."""
        begun = begin(self.steps, self.step_of(j))
        ran = [one for one in self.log.ran if begun <= one.step <= self.step_of(j)]
        found = self.peek(self.entries[j].state)
        said = f"{{cause}} left {self.loss.process!r} with {'nothing' if found is None else content(found[1])}"
        spot = Spot(ran[-1].step, (ran[-1].place,), ran[-1].tick) if ran else self.spot(j)
        return Finding(spot, ((-1, said),), weak=True)

    def not_copied(self, j: int) -> Finding:
        """A child that did not get its parent's page."""
        begun = begin(self.steps, self.step_of(j))
        parent = _after(self.log, begun).task_mms[self.steps[begun].arguments[0]]
        at = self.loss.page

        def unlinked(state: State) -> bool:
            vmas = state.mms[parent].vmas if parent in state.mms else ()
            return any(start <= at < end and not linked and file is None for start, end, _, file, linked in vmas)

        i = self.log.since(unlinked, j) if parent is not None else None
        if i:
            said = (
                f"{{cause}} extended a vma that has no anon_vma over page {PAGES[at]!r}",
                f" copied no pte of that vma, so {self.loss.process!r} did not get the page",
            )
            return Finding(self.spot(i), ((-1, said[0]), (self.step_of(j), said[1])))
        ran = [
            one for one in self.log.ran if one.step == self.step_of(j) and one.place[0].co_name.startswith("copy_")
        ]
        spot = Spot(ran[-1].step, (ran[-1].place,), ran[-1].tick) if ran else self.spot(j)
        return Finding(spot, ((-1, f"{{cause}} did not give {self.loss.process!r} the page"),))


class _Store(_Read):
    """A store changed a part of a page that did not have the rest: the log is looked at up to that store."""

    def __init__(self, log: Log, steps: list[Step], loss: Loss) -> None:
        super().__init__(log, steps, loss)
        if not self.entries[-1].stack and self.changed(self.frame, "content", self.last) == self.last:
            self.last -= 1  # a user's; what fills a page has not done so yet

    def found_elsewhere(self) -> Finding:
        state = self.entries[self.last].state
        given = self.given(self.frame, self.last, self.end) if self.ref(state) != self.frame else None
        return given or super().found_elsewhere()


class _Freed(_Read):
    """A frame was freed, and a CPU or a transfer can still reach it."""

    def find(self) -> Finding:
        pfn = self.frame
        free = self.log.since(lambda state: state.pages[pfn].refs <= 0, self.last)
        assert free is not None
        found = self.outlived(int(self.loss.process), pfn)
        if found is None:
            return Finding(self.spot(free), ((-1, f"{{cause}} freed frame{pfn}, which was still in use"),), pfn)
        freed = (self.step_of(free), f"{{end}} freed frame{pfn}")
        return found._replace(story=(*found.story, freed), end=self.spot(free))


class _Disk(_Rules):
    """What fsync(2) or msync(2) has promised to be on the disk is not there."""

    def find(self) -> Finding:
        file, at = self.log.file(self.loss.process), self.loss.page
        states = [entry.state for entry in self.entries]
        good = [self.holds(state.files[file].blocks[at]) for state in states]
        if True in good:
            i = self.last - good[::-1].index(True) + 1
            return Finding(self.spot(i), ((-1, "{cause} put an older content on the disk"),))
        found = self.failed(file, at)
        if found is not None:
            return found
        begun = begin(self.steps, self.end)
        start = max((i for i, entry in enumerate(self.entries) if entry.step < begun), default=0)
        page = states[start].files[file].pages[at]
        if page is None or not self.holds(states[start].pages[page.pfn].content):
            return self.dropped_before(file, at, start)
        found = self.not_found(page.pfn, start)
        said = (self.end, f" reported success without {self.loss.expected} on the disk")
        return found._replace(story=(*found.story, said))

    def findable(self, state: State, pfn: int) -> bool:
        page = state.pages[pfn]
        dirty = page.PG_dirty and page.tag_dirty and page.written_when_dirty
        return dirty or (page.PG_writeback and self.holds(page.io))

    def newer(self, state: State, pfn: int) -> bool:
        return self.holds(state.pages[pfn].content) and not self.findable(state, pfn)

    def failed(self, file: AddressSpace, at: int) -> Finding | None:
        """The write failed, and the error was not recorded, or was taken away without a report."""
        ended = None
        for i in range(self.last, 0, -1):
            state, page = self.entries[i].state, self.entries[i - 1].state.files[file].pages[at]
            if page is not None:
                old, new = self.entries[i - 1].state.pages[page.pfn], state.pages[page.pfn]
                if old.PG_writeback and not new.PG_writeback and self.holds(old.io):
                    ended = i
                    break
        if ended is None:
            return None
        said = (self.end, f" reported success without {self.loss.expected} on the disk")
        cleared = self.log.since(lambda state: not state.files[file].AS_EIO, self.last)
        if cleared is None:
            ran = max(
                (one for one in self.log.ran if one.step == self.end),
                key=lambda one: ("AS_EIO" in one.place[0].co_names, -one.tick),
            )
            spot = Spot(ran.step, (ran.place,), ran.tick)
            return Finding(spot, ((-1, "{cause} did not see AS_EIO, by which the failed write is known"), said))
        if cleared <= ended:
            return Finding(self.spot(ended), ((-1, "{cause} ended the failed write without AS_EIO"), said))
        return Finding(self.spot(cleared), ((-1, "{cause} cleared AS_EIO, and no caller was told"), said))

    def dropped_before(self, file: AddressSpace, at: int, start: int) -> Finding:
        """The page had left the page cache before."""
        for i in range(start, 0, -1):
            page = self.entries[i - 1].state.files[file].pages[at]
            if page is not None and self.holds(self.entries[i - 1].state.pages[page.pfn].content):
                return Finding(
                    self.spot(i),
                    ((-1, f"{{cause}} took frame{page.pfn}, the last copy, before it was written"),),
                    page.pfn,
                )
        return Finding(self.spot(self.last), ((-1, "{cause} did not write the content"),))

    def not_found(self, pfn: int, start: int) -> Finding:
        """Why write-back did not find the page when fsync() began."""
        state = self.entries[start].state
        page = state.pages[pfn]
        if self.findable(state, pfn):
            return self.not_written(pfn, start)
        if page.PG_dirty and page.tag_dirty:
            i = self.log.since(lambda s: s.pages[pfn].PG_dirty and not s.pages[pfn].written_when_dirty, start)
            assert i is not None
            said = "{cause} left PG_dirty with clean buffers, of which write-back writes none"
            return Finding(self.spot(i), ((-1, said),), pfn, helpers=True)
        if page.PG_dirty:
            i = self.log.since(lambda s: s.pages[pfn].PG_dirty and not s.pages[pfn].tag_dirty, start)
            assert i is not None
            cleared = i > 0 and self.entries[i - 1].state.pages[pfn].tag_dirty
            said = "cleared the dirty tag" if cleared else "set PG_dirty without the dirty tag"
            story = (
                (-1, f"{{cause}} {said}, by which write-back finds a page"),
                (None, "set_page_dirty() of a page with PG_dirty does nothing, so no later call sets the tag"),
            )
            return Finding(self.spot(i), story, pfn, helpers=True)
        i = self.log.since(lambda s: self.newer(s, pfn), start)
        assert i is not None
        way = way_of(self.log, i, self.steps[self.step_of(i)])
        if way is not None:
            stored = (self.step_of(i), f" went by {way} and set neither PG_dirty nor the dirty tag")
            found = self.unmarked(way, i - 1, pfn)
            return found._replace(story=(*found.story, stored))
        if self.entries[i - 1].state.pages[pfn].PG_dirty:
            said = "{cause} cleared PG_dirty, and the content was not written"
        else:
            said = f"{{cause}} wrote to frame{pfn} and left it without PG_dirty"
        return Finding(self.spot(i), ((-1, said),), pfn)

    def unmarked(self, way: Way, upto: int, pfn: int) -> Finding:
        """A store did not fault, and the page had no record that fsync() looks at."""
        found = self.stale(way, upto, pfn)
        if found is not None:
            return found
        i = self.log.since(lambda s: way.is_open(s) and not self.findable(s, pfn), upto)
        opened = self.log.since(way.is_open, upto)
        assert opened is not None
        if i is not None and i > opened:
            locker = self.entries[i - 1].state.pages[pfn].lock
            if locker and all(self.entries[k].state.pages[pfn].lock is locker for k in range(opened - 1, i)):
                when = "while write-back had the page locked, after it had cleaned the ptes"
                said = f"{{cause}} made {way} writable {when}"
                return Finding(self.spot(opened), ((-1, said),), pfn)
        cleaned = next((c for c in range(upto, 0, -1) if self.cleans(c, pfn)), None)
        if cleaned is not None and self.survives(way, cleaned, upto):
            return self.missed(way, cleaned, pfn)
        if i is None or i == opened:
            said = f"{{cause}} made {way} writable before the page had PG_dirty and its tag"
            return Finding(self.spot(opened), ((-1, said),), pfn)
        return Finding(self.spot(i), ((-1, f"{{cause}} cleared PG_dirty and left {way} writable"),), pfn)

    def cleans(self, i: int, pfn: int) -> bool:
        old, new = self.entries[i - 1].state.pages[pfn], self.entries[i].state.pages[pfn]
        return old.PG_dirty and not new.PG_dirty

    def survives(self, way: Way, cleaned: int, upto: int) -> bool:
        """Whether a pte was dirty when PG_dirty went, and has stayed so, though it may have been empty meanwhile."""
        mms = [entry.state.mms.get(way.mm) for entry in self.entries[: upto + 1]]
        ptes = [None if mm is None else mm.pte[way.at] for mm in mms]
        before = next((pte for pte in reversed(ptes[:cleaned]) if pte is not None), None)
        return all(
            pte is None or (type(pte) is Pte and pte.page.pfn == way.pfn and bool(pte.bits & DIRTY))
            for pte in (before, *ptes[cleaned:])
        ) and (before is not None)

    def missed(self, way: Way, cleaned: int, pfn: int) -> Finding:
        """Who was to clean the pte before PG_dirty went."""
        clear = self.entries[cleaned]
        looked = [
            ran
            for ran in self.log.ran
            if ran.pte == (way.mm, way.at) and ran.before <= cleaned and ran.step == clear.step
        ]
        after = (
            clear.step,
            f"PG_dirty was cleared, and {way} stayed dirty, so it was made writable again without a fault",
        )
        if looked:
            spot = Spot(looked[-1].step, (looked[-1].place,), looked[-1].tick)
            return Finding(spot, ((-1, f"{{cause}} did not find {way}, which was empty for a moment"), after), pfn)
        return Finding(self.spot(cleaned), ((-1, f"{{cause}} cleared PG_dirty and left {way} dirty"),), pfn)

    def not_written(self, pfn: int, start: int) -> Finding:
        """The page could be found, and was not written."""
        i = self.log.since(lambda s: self.newer(s, pfn), self.last)
        if i is not None and self.entries[i].stack:
            return Finding(self.spot(i), ((-1, "{cause} cleared the record, and the content was not written"),), pfn)
        begun = begin(self.steps, self.end)
        looked = [one for one in self.log.ran if one.step >= begun and "pagevec_lookup_tag" in one.place[0].co_names]
        if looked and self.entries[self.last].state.pages[pfn].PG_dirty:
            spot = Spot(looked[-1].step, (looked[-1].place,), looked[-1].tick)
            return Finding(spot, ((-1, "{cause} ended before it had written the page"),), pfn)
        ran = [one for one in self.log.ran if one.step == self.end]
        spot = Spot(ran[-1].step, (ran[-1].place,), ran[-1].tick)
        said = "{cause} did not write the page, or did not wait for the write"
        return Finding(spot, ((-1, said),), pfn, weak=True)


def begin(steps: list[Step], i: int) -> int:
    """The step in which the operation of a step began."""
    step = steps[i]
    if step.rule.steps is not None or step.rule.action is not None:
        return i
    begun = (
        k
        for k in range(i - 1, -1, -1)
        if steps[k].rule.steps is not None and steps[k].arguments[0] == step.arguments[0]
    )
    return next(begun, i)


def _raised(log: Log) -> Stack:
    """Where in the kernel an exception was raised."""
    error = log.loss or log.error
    return stack_of(error.__traceback__ if error is not None else None, log.is_kernel)


def stack_of(trace: TracebackType | None, is_kernel: Callable[[str], bool]) -> Stack:
    """The kernel functions of a traceback, outermost first."""
    found: list[Place] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == _SYSTEM:
            found = []  # the patch's file may have called the machine, as a test does
        if is_kernel(code.co_filename):
            found.append((code, trace.tb_lineno))
        trace = trace.tb_next
    return tuple(found)


# bugs that are no loss


@dataclass(frozen=True, slots=True)
class Bug:
    """A step after which the run cannot go on; `said` is what the kernel would print, and where.

    `statement` is whose bug it is: the patch's, if it was under way or made the first difference to its base.
    """

    at: int
    statement: Statement
    said: str
    error: Exception
    tick: int

    @property
    def endless(self) -> bool:
        return isinstance(self.error, Endless)


#: A function that is under way more often calls itself for ever.
_RECURSIVE = 50


def bug_of(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> Bug | None:
    """The bug that the steps run into, if they do: anything that is raised and is no loss."""
    log = Log(kernel, arch, scope, None)
    done = log.run(steps)
    if log.error is None:
        return None
    error, at = log.error, done - 1
    stack = stack_of(error.__traceback__, log.is_kernel) or log.stands[at].stack
    judge = _Judge(kernel, arch, scope, steps[: at + 1], log)
    place = judge.of_patch(stack)
    part = judge.differs(Finding(Spot(at, stack, log.tick), ())) if place is None else None
    if part is not None:
        place = part.place
    if place is None:
        place = stack[-1] if stack else log.ran[-1].place
    if isinstance(error, Endless):
        calls = sum(code is place[0] for code, _ in stack)
        said = "it calls itself for ever" if calls > _RECURSIVE else "the loop does not end"
    elif isinstance(error, Deadlock):
        said = f"deadlock: {error}"
    elif isinstance(error, KernelBug):
        said = f"BUG: {error}"
    else:
        said = f"{type(error).__name__}: {error}"
    shown = place if isinstance(error, Endless) and place in stack else stack[-1] if stack else None
    told = said if shown is None else f"{statement(shown)}: {said}"
    if part is not None:
        told += f"; in step {part.spot.step + 1} {statement(place)} {part.differs}"
    elif shown is not None and shown != place:
        told += f", called from {statement(place)}"
    return Bug(at, statement(place), told, error, log.tick)
