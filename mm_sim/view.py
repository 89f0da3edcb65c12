"""A state as a person reads it: tables of text, made from the model's objects by their slots.

Every object that can be reached from the kernel has a row in the table of its class, and every slot a column: a new
class or field of the model is shown without a line here. The tables below say what is written otherwise, what
is left out, and what is not worth a word in a timeline. May import the rest of `mm_sim`, series excepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from types import GeneratorType
from typing import Any, NamedTuple, TypeAlias

from mm_sim.address_space import AddressSpace
from mm_sim.arch import Arch
from mm_sim.ghost import Value
from mm_sim.kernel.state import State
from mm_sim.mm import VM_LOCKED, VM_READ, VM_SHARED, VM_WRITE, Mm
from mm_sim.names import PAGES, TASKS
from mm_sim.page import DIRTY, GARBAGE, WRITE, YOUNG, Migration, Page, Pte, SwapSlot
from mm_sim.sched import Lock, RwSem, Task
from mm_sim.system import System

#: By class, then object, then field: what is written there.
View: TypeAlias = dict[str, dict[str, dict[str, str]]]

#: The table of what each process must read.
MUST_READ = "must read"

#: The table of what the CPU of each task has cached.
TLB = "Tlb"

#: Slots that are bookkeeping of the model, or say again what another one says.
_LEFT_OUT: dict[type, tuple[str, ...]] = {
    Page: ("migration", "pfn", "ptes"),
    AddressSpace: ("accounts_dirty", "name", "page_mkwrite", "shmem"),
    SwapSlot: ("number",),
    Mm: ("fields", "name", "tlbs"),
    Task: ("held", "name", "steps", "tlb"),
    State: (
        "arch",
        "current",
        "files",
        "frames",
        "free",
        "marks",
        "mmlist",
        "mms",
        "nr_swap_pages",
        "pages",
        "slots",
        "swap_info",
        "tasks",
    ),
}
#: Classes whose subclasses share a table, and its name.
_BASES: dict[type, str] = {State: "Kernel", Arch: "Arch"}
#: Flags are written in one column: the prefix of the slots, and the name of the column.
_PREFIXES = {"PG_": "flags", "key_": "key"}
FLAGS = tuple(_PREFIXES.values())
#: Lists with an entry for each virtual page: a column each.
_BY_PAGE = ("blocks", "pages", "pte", "swap")


def _value(value: int) -> str:
    return "garbage" if value == GARBAGE else str(value)


def _vm_flags(flags: int) -> str:
    named = (("r", VM_READ), ("w", VM_WRITE), ("shared", VM_SHARED), ("locked", VM_LOCKED))
    return " ".join(n for n, bit in named if flags & bit)


def _page_name(index: int) -> str:
    return PAGES[index].name


#: Fields that are numbers, but not to a reader.
_FORMATS: dict[str, Callable[[int], str]] = {
    "content": _value,
    "io": _value,
    "vm_flags": _vm_flags,
    "vm_pgoff": _page_name,
    "vm_start": _page_name,
}

#: Fields that mean something only while another one is set.
_ONLY_WITH = {"io": "PG_writeback", "op": "steps"}

#: Objects with a name of their own; others are counted as they are met.
_NAMES: dict[type, Callable[[Any], str]] = {
    Page: repr,
    SwapSlot: repr,
    AddressSpace: repr,
    Migration: repr,
    Task: lambda task: TASKS[task.name].name,
    Mm: lambda mm: TASKS[mm.name].name,
    Arch: lambda arch: arch.name,
}


class Change(NamedTuple):
    """One cell that is written differently in two states; empty text where there is none."""

    table: str
    name: str
    field: str
    old: str
    new: str

    def __str__(self) -> str:
        if self.field in FLAGS:
            prefix = "PG_" if self.field == "flags" else "key "
            was, now = set(self.old.split()), set(self.new.split())
            words = [f"{prefix}{flag} set" for flag in sorted(now - was)]
            words += [f"{prefix}{flag} cleared" for flag in sorted(was - now)]
            return f"{self.name}: {', '.join(words)}"
        return f"{self.name} {self.field}: {self.old or 'none'} -> {self.new or 'none'}"


def changes(before: View, after: View) -> list[Change]:
    """The cells that differ, in the order of the tables."""
    found = []
    for table in dict.fromkeys((*before, *after)):
        one, other = before.get(table, {}), after.get(table, {})
        for name in dict.fromkeys((*one, *other)):
            old, new = one.get(name, {}), other.get(name, {})
            for field in dict.fromkeys((*old, *new)):
                if old.get(field, "") != new.get(field, ""):
                    found.append(Change(table, name, field, old.get(field, ""), new.get(field, "")))
    return found


#: What says nothing of where a page's content lives and who knows that it is new: tables, fields, flags.
ASIDE = {
    *("Task", "Vma", "AnonVma", "Kernel", "Arch", MUST_READ),
    *("count", "lock", "mapping", "index", "io", "map", "page", "private", "ptl", "mmap_sem", "mm_users", "mmap"),
    *("anon", "lru", "referenced", "uptodate", "R"),
    *("i_mmap", "i_mmap_lock", "i_mutex", "i_nlink", "i_size", "tree_lock", "SHMEM_PAGEIN"),
}


def telling(change: Change) -> Change | None:
    """What of a change is worth a line in a timeline."""
    if change.table in ASIDE or change.field in ASIDE:
        return None
    if change.field in FLAGS:
        old, new = (" ".join(f for f in text.split() if f not in ASIDE) for text in (change.old, change.new))
        return None if old == new else change._replace(old=old, new=new)
    return change


class Viewer:
    """Makes views of the states of one run, in which an object keeps its name."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.names: dict[object, str] = {}
        self.taken: set[tuple[type, str]] = set()
        self.found: list[object] = []
        self.slots: dict[type, tuple[str, ...]] = {}

    def __call__(self) -> View:
        kernel = self.system.kernel
        self.found = [*kernel.frames, *kernel.slots, *kernel.files, *kernel.mms, *kernel.tasks, kernel.arch, kernel]
        seen: set[object] = set()
        view: View = {}
        for thing in self.found:  # grows while objects are met
            if thing not in seen:
                seen.add(thing)
                table = view.setdefault(_table(thing), {})
                table[self.name(thing)] = self.fields(thing)
        view[TLB] = {
            self.name(task): {f"tlb {PAGES[i].name}": self.text(task.tlb[i]) for i in sorted(task.tlb)}
            for task in kernel.tasks
            if task.tlb is not None
        }
        must_read = view[MUST_READ] = {}
        for mm, space in self.system.ghost.spaces.items():
            must_read[self.name(mm)] = _promised(space.values)
        for file, ghost in self.system.ghost.files.items():
            must_read[self.name(file)] = _promised(ghost.values)
            if any(ghost.promised):
                must_read[f"{self.name(file)}'s disk, or newer"] = _promised(ghost.promised)
        return view

    def name(self, thing: Any) -> str:
        known = self.names.get(thing)
        if known is not None:
            return known
        name = next((of(thing) for cls, of in _NAMES.items() if isinstance(thing, cls)), _table(thing).lower())
        new, n = name, 1
        while (type(thing), new) in self.taken:
            n += 1
            new = f"{name}#{n}"
        self.taken.add((type(thing), new))
        self.names[thing] = new
        return new

    def fields(self, thing: Any) -> dict[str, str]:
        written: dict[str, str] = {}
        if type(thing) not in self.slots:
            self.slots[type(thing)] = _slots(type(thing))
        for slot in (*self.slots[type(thing)], *getattr(thing, "own", ())):
            value = getattr(thing, slot)
            if slot in _ONLY_WITH and not getattr(thing, _ONLY_WITH[slot]):
                written[slot] = ""
                continue
            prefix = next((p for p in _PREFIXES if slot.startswith(p)), None)
            if prefix is not None:
                column = _PREFIXES[prefix]
                flag = slot.removeprefix(prefix)
                words = written.setdefault(column, "")
                if value:
                    written[column] = f"{words} {flag if column == 'flags' else flag.upper()}".strip()
            elif slot == "blocks" and thing.shmem:
                continue  # no disk
            elif slot in _BY_PAGE:
                for i, entry in enumerate(value):
                    written[f"{slot} {PAGES[i].name}"] = self.text(entry)
            elif slot in _FORMATS:
                written[slot] = _FORMATS[slot](value)
            else:
                written[slot] = self.text(value)
        return written

    def text(self, value: object) -> str:
        """A value in words; objects are named, and shown in a table of their own."""
        match value:
            case None | GeneratorType():
                return ""
            case bool():
                return "yes" if value else "no"
            case int() | str():
                return str(value)
            case Enum():
                return str(value.value)
            case Pte():
                bits = value.bits
                dirty, young = " dirty" if bits & DIRTY else "", " young" if bits & YOUNG else ""
                return f"{self.text(value.page)} {'rw' if bits & WRITE else 'ro'}{dirty}{young}"
            case Lock():
                return self.text(value.owner)
            case RwSem():
                return self.text(value.writer) or self.text(value.readers)
            case list() | tuple():
                return ", ".join(map(self.text, value))
            case dict():
                return ", ".join(f"{self.text(key)}: {self.text(one)}" for key, one in value.items())
        if type(value).__name__.startswith("_"):  # what a task waits for
            return type(value).__name__.strip("_").lower()
        self.found.append(value)
        return self.name(value)


def _promised(values: Sequence[Value]) -> dict[str, str]:
    return {PAGES[i].name: "" if value is None else str(value) for i, value in enumerate(values)}


def _table(thing: object) -> str:
    """The class by which a thing is filed; a series, and an architecture, under that of which it is one."""
    return next((name for base, name in _BASES.items() if isinstance(thing, base)), type(thing).__name__)


def _slots(cls: type) -> tuple[str, ...]:
    """The slots of a class that are shown."""
    left_out = {name for base, names in _LEFT_OUT.items() if issubclass(cls, base) for name in names}
    slots = [slot for base in cls.__mro__ for slot in vars(base).get("__slots__", ())]
    return tuple(slot for slot in slots if slot not in left_out and slot != "own")  # a patch's are shown by name
