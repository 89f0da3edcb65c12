"""What a series saves and what it costs: the same work done on each, counted, not timed.

A workload is data: steps of the table in a short notation, done so many times on a machine of its own. Counted are
the storage key instructions, in all and inside exit(), and the writes that end, with those that were spurious: the
place they went to held the same content already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mm_sim import series as all_series
from mm_sim.address_space import AddressSpace
from mm_sim.kernel import Kernel
from mm_sim.names import BY_NAME, EXT2, PAGES, TMPFS
from mm_sim.page import Page
from mm_sim.system import Loss, Rule, Scope, System
from strategies.comparison import Base, failure
from strategies.reproducer import steps_on, stored_runs
from strategies.rules import table

BASE = "linux_2_6_26"
KEYS = ("iske", "sske", "rrbe")


class CannotRun(Exception):
    """A workload that a series brings to a stop: one line that names the step."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Work in the notation of `expand`, done `times` times in one machine."""

    name: str
    what: str
    scope: Scope
    times: int
    steps: str


WORKLOADS = (
    Workload(
        "exec loop",
        "a shell that starts an empty script: fork, exec, a few pages touched, exit",
        Scope(processes=2, pages=16, frames=48, slots=8),
        times=20,
        steps="""
            store P1 A..H       # the shell's own pages
            fork P1 P2
            store P2 A..B       # the child, before exec: its stack
            store P1 A..B       # the shell goes on
            munmap P2 A..P      # exec: the old address space goes
            mmap P2 A..P        # and a new one comes
            store P2 A..J       # data, bss, stack, heap
            load P2 K..L
            exit P2
        """,
    ),
    Workload(
        "build",
        "make, cc and cc1: each forks the next, shares its pages with it, and the last works on many pages",
        Scope(processes=4, pages=16, frames=96, slots=8),
        times=10,
        steps="""
            store P1 A..P
            fork P1 P2
            store P2 A..D
            fork P2 P3
            store P3 A..D
            fork P3 P4
            munmap P4 A..P
            mmap P4 A..P
            store P4 A..P
            store P4 A..P
            exit P4
            store P3 E..F
            exit P3
            store P2 E..H
            exit P2
        """,
    ),
    Workload(
        "memory pressure",
        "two processes on more memory than there is: pages are written to swap, read back, shared and dropped",
        Scope(processes=2, pages=8, frames=12, slots=12),
        times=10,
        steps="""
            store P1 A..H
            reclaim kswapd P1 A..H 4
            pageout_done P1 A..H
            load P1 A..D            # clean, in the swap cache
            store P1 E..F           # newer than their slots
            fork P1 P2
            store P2 A..B
            load P2 G..H
            reclaim direct P1 A..H 0
            reclaim kswapd P1 A..H 4
            pageout_done P1 A..H
            reclaim kswapd P1 A..H 4
            load P1 A..H
            exit P2
            reclaim kswapd P1 A..D 4
            pageout_done P1 A..D
        """,
    ),
    Workload(
        "shared file",
        "stores to a shared mapping, and msync; pages written with write(), cleaned, then mapped and unmapped",
        Scope(processes=2, pages=4, frames=12, slots=0, files=(EXT2,)),
        times=10,
        steps="""
            store P1 A
            msync P1 A
            pageout_done ext2 A
            resume P1
            write P1 ext2 B..D
            writeback pdflush ext2      # clean, but the key of a page that nobody maps is not looked at
            pageout_done ext2 B..D
            munmap P1 B..D
            mmap_file P1 B ext2 B SHARED
            mmap_file P1 C ext2 C SHARED
            mmap_file P1 D ext2 D PRIVATE
            load P1 B..D
            munmap P1 B..D              # now it is: dirty again
            mmap P1 B..D
            writeback pdflush ext2
            pageout_done ext2 B..D
        """,
    ),
    Workload(
        "tmpfs",
        "tmpfs under memory pressure: pages are written, mapped, copied, moved to swap and read back",
        Scope(processes=2, pages=6, frames=12, slots=12, files=(TMPFS,)),
        times=10,
        steps="""
            store P1 A
            write P1 tmpfs B..F
            munmap P1 B..C
            mmap_file P1 B tmpfs B SHARED
            mmap_file P1 C tmpfs C PRIVATE
            load P1 B..C
            store P1 B..C
            fork P1 P2
            store P2 A
            reclaim kswapd tmpfs A..F 4
            reclaim kswapd tmpfs A..F 4
            pageout_done tmpfs A..F
            reclaim kswapd tmpfs A..F 4
            load P2 A..B
            read P1 tmpfs C..F
            exit P2
            munmap P1 B..C
            mmap P1 B..C
        """,
    ),
)


def expand(line: str, rules: dict[str, Rule]) -> Iterator[tuple[Rule, tuple[Any, ...]]]:
    """`store P2 A..J`: a rule and its arguments in order; a range of pages stands for a step on each."""
    name, *arguments = line.partition("#")[0].split()
    values: list[Sequence[Any]] = []
    for text in arguments:
        first, _, last = text.partition("..")
        if last:
            values.append(PAGES[BY_NAME[first] : BY_NAME[last] + 1])
        else:
            values.append((BY_NAME[text] if text in BY_NAME else int(text),))
    return ((rules[name], chosen) for chosen in product(*values))


@dataclass(slots=True)
class Cost:
    """What a workload comes to on a series: key instructions, of them those in exit(), writes, and spurious ones."""

    series: str
    workload: str
    exits: int = 0
    keys: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    in_exit: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    writes: int = 0
    spurious: int = 0

    @property
    def instructions(self) -> int:
        return sum(self.keys.values())

    @property
    def per_exit(self) -> float:
        return sum(self.in_exit.values()) / max(self.exits, 1)

    def as_json(self, base: Cost) -> dict[str, Any]:
        """With the figures that are relative to 2.6.26."""
        return {
            **asdict(self),
            "instructions": self.instructions,
            "per_exit": self.per_exit,
            "saved": saved(self, base),
            "extra_writes": self.writes - base.writes,
        }


def saved(cost: Cost, base: Cost) -> float:
    """The share of the instructions of 2.6.26 that a series does without."""
    return 1 - cost.instructions / base.instructions if base.instructions else 0.0


def counted(kernel: type[Kernel], cost: Cost) -> type[Kernel]:
    """The kernel with its writes counted as they end. A new kind of write needs a method here."""
    on_swap: dict[int, int] = {}  # what a slot still holds when it is handed out anew

    class Counted(kernel):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def end_swap_bio_write(self, page: Page, uptodate: bool) -> None:
            cost.writes += 1
            slot = page.swap_slot().number
            cost.spurious += page.io == on_swap.get(slot)
            on_swap[slot] = page.io
            super().end_swap_bio_write(page, uptodate)

        def end_buffer_async_write(self, page: Page, uptodate: bool) -> None:
            assert type(page.mapping) is AddressSpace
            cost.writes += 1
            cost.spurious += page.io == page.mapping.blocks[page.index]
            super().end_buffer_async_write(page, uptodate)

    return Counted


def measure(series: str, workload: Workload, arch: str = "s390") -> Cost:
    """Do a workload on a series. A step that cannot happen, such as reclaim of a page that is gone, is left out.

    Raises CannotRun if memory runs out: the series would be compared by other work.
    """
    cost = Cost(series, workload.name)
    kernel = all_series.load(series)
    marks: dict[str, int] = {}
    system = System(counted(kernel, cost), arch, workload.scope, marks)
    rules = {rule.name: rule for rule in table(kernel)}
    lines = [line for line in workload.steps.splitlines() if line.strip()]
    steps = [(rule.name == "exit", rule, arguments) for line in lines for rule, arguments in expand(line, rules)]
    at = system.kernel.arch
    for _ in range(workload.times):
        for is_exit, rule, arguments in steps:
            before = [getattr(at, key) for key in KEYS]
            happened = system.step(rule, arguments)
            spent = [getattr(at, key) - was for key, was in zip(KEYS, before, strict=True)]
            for key, n in zip(KEYS, spent, strict=True):
                cost.keys[key] += n
                cost.in_exit[key] += n * is_exit
            cost.exits += is_exit and happened
    for mark in ("out of memory", "swap full"):
        if mark in marks:
            raise CannotRun(f"{series}: {mark} in the workload {workload.name!r}")
    return cost


def all_costs(names: Iterable[str], arch: str = "s390") -> dict[str, list[Cost]]:
    """By workload, the cost of 2.6.26 and then of each series. Raises CannotRun."""
    chosen = [BASE, *(name for name in dict.fromkeys(names) if name != BASE)]
    return {workload.name: [measure(name, workload, arch) for name in chosen] for workload in WORKLOADS}


def known_losses(names: Iterable[str]) -> dict[str, int]:
    """How many stored runs lose a page on each series, not counting those in which 2.6.26 fails, too."""
    kernels = {name: all_series.load(name) for name in names}
    found = dict.fromkeys(kernels, 0)
    for arch, scope, calls in stored_runs():
        base = Base(all_series.load(BASE), arch, scope)
        for name, kernel in kernels.items():
            steps = steps_on(kernel, calls)
            if steps is not None:
                found[name] += isinstance(failure(kernel, arch, scope, steps), Loss) and not base.fails(steps)
    return found


def as_json(costs: dict[str, list[Cost]], losses: dict[str, int]) -> list[dict[str, Any]]:
    """All figures, one object for each workload."""
    what = {workload.name: workload.what for workload in WORKLOADS}
    return [
        {
            "workload": name,
            "what": what[name],
            "series": [{**cost.as_json(of[0]), "known_losses": losses[cost.series]} for cost in of],
        }
        for name, of in costs.items()
    ]


def plot(costs: dict[str, list[Cost]], losses: dict[str, int], file: Path) -> None:
    """Saving against risk, as PNG or SVG; an SVG carries its figures. Raises ImportError without matplotlib."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 2.2 * len(costs)), layout="constrained")
    axes = figure.subplots(len(costs), 1, squeeze=False)[:, 0]
    for axis, (name, of) in zip(axes, costs.items(), strict=True):
        at: dict[tuple[float, int, bool], list[str]] = {}
        for cost in of:
            place = round(100 * saved(cost, of[0]), 1), cost.writes - of[0].writes, losses[cost.series] > 0
            at.setdefault(place, []).append(cost.series)
        for number, ((x, y, loses), names) in enumerate(sorted(at.items()), 1):
            colour = "#b3261e" if loses else "#1a7f4b"
            axis.plot(x, y, ".", color="black")
            axis.annotate(  # what loses stands above its point, what does not below
                str(number), (x, y), (0, 14 if loses else -14), textcoords="offset points", ha="center", va="center",
                color="white", bbox={"boxstyle": "square" if loses else "circle", "facecolor": colour, "lw": 0},
            )  # fmt: skip
            axis.plot([], [], "s" if loses else "o", color=colour, label=f"{number}  {', '.join(names)}")
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
        saves, writes = [x for x, _, _ in at], [y for _, y, _ in at]
        margin = max(max(saves) - min(saves), 10) / 10
        axis.set(title=name, ylabel="writes more", ylim=(min(writes) - 1, max(writes) + 1))
        axis.set_xlim(min(saves) - margin, max(saves) + margin)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("storage key instructions saved, % of those of 2.6.26")
    figure.suptitle("Saving against risk: a red square loses data in a stored run, a green circle in none")
    figures = json.dumps(as_json(costs, losses))
    svg = file.suffix == ".svg"
    with mpl.rc_context({"svg.hashsalt": "mm_sim", "svg.fonttype": "none"}):
        figure.savefig(file, dpi=120, metadata={"Date": None, "Description": figures} if svg else None)
