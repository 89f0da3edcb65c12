"""Walk 2.6.26 on s390 for a billion rule calls, on all machines of a night: `python docs/billion.py`.

Then walk it with a fix for all that it loses. Writes docs/billion.md, with all that the walks lost or broke.
The seed of a walk is its number, so the same version of the model walks the same way again. A loss of a kind that has
no test gets one in test_regressions/.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mm_sim.sched import KernelBug
from mm_sim.series.delay_rmap import DelayRmap
from mm_sim.series.mremap_anon_vma import MremapAnonVma
from mm_sim.series.swapin_race import SwapinRace
from mm_sim.series.swapoff_retry import SwapoffRetry
from strategies.corpus import Store
from strategies.finds import Finds
from strategies.plan import UNPATCHED, WALKED, Job, kernel_of, plan
from strategies.tally import Tally, total
from strategies.walk import Walk

PAGE = Path(__file__).with_suffix(".md")
ARCH = "s390"
#: Rule calls of one walk, and the length of its runs: without novelty, and with it, where a call takes ten times as
#: long.
KINDS = {"no novelty": (10_000_000, 400), "novelty": (1_000_000, 40)}
#: Where a call takes least, most are made: walks on these machines, and on each other one.
QUICK = ("small", "three processes", "vmas")
SEEDS = {"no novelty": (27, 2), "novelty": (1, 1)}
#: Seeds of the mended kernel on each machine, and rule calls of each walk.
MENDED = (4, 12_000_000)
#: Longer than it takes.
DAY = 86_400.0

TOLD = """\
# A billion rule calls of 2.6.26 on s390

`python docs/billion.py`, which writes this page. On each machine of `strategies/plan.py` go walks that keep nothing
and make runs of 400 calls, most of them where a call takes least, and one with novelty, that makes runs of 40; the
seed of each is its number. What they lose (of one function the first, second, fourth, ... in each walk) is minimised
and compared with the stored tests; what is like none gets a test. *Happened* are the calls of a rule that could
happen.

"""
MENDED_TOLD = """
## With a fix for each

2.6.26 does lose what is met above, but for eleven runs with swapoff, which are not stored any more: held against the
sources they cannot happen, as swapoff waits for write-back before it locks the page, walks mmlist live, and finds a
child behind its parent. Of five nothing is left (`0a4393d9fe`, `16dcc5702f`, `414eeedd0a`, `e8c6f7979f`,
`ecb89eda4a`). What the others claim is real: swapoff leaves a swap pte behind while it waits for an mm, and loses the
page if the write that saves it fails.

Here are the same machines, and 2.6.26 with the series `delay_rmap`, `mremap_anon_vma`, `swapin_race` and
`swapoff_retry`: what it loses is another bug of 2.6.26, or a false alarm. Two of those were found like this and
fixed before: fsync() was asked for a store by O_DIRECT or ptrace whose page had been cut off the file before the
store had ended, and on x86 a page past the end was missed while it was moved. The walks above are older; those of the
machines with pins were made again since, and lost just the same.

"""


class Mended(DelayRmap, MremapAnonVma, SwapinRace, SwapoffRetry):
    """2.6.26 with a fix for all that it is known to lose."""

    __slots__ = ()


def walks() -> Iterator[tuple[str, str, int]]:
    """Machine, kind and seed of each walk."""
    for machine in WALKED:
        for kind, (quick, other) in SEEDS.items():
            for seed in range(quick if machine in QUICK else other):
                yield machine, kind, seed


def walk(which: tuple[str, str, int]) -> Tally:
    """Do one walk, and say what it lost or broke."""
    machine, kind, seed = which
    size, length = KINDS[kind]
    job, scope = Job(UNPATCHED, ARCH, machine), WALKED[machine]
    with tempfile.TemporaryDirectory() as folder:
        night = plan([UNPATCHED], DAY, seed, 1, [folder], [ARCH], [machine])
        store = Store(night.databases)
        tally = Tally(night.name, str(which), night.end)
        finds = Finds(night, store, tally, time.monotonic() + DAY)
        walk = Walk(kernel_of(UNPATCHED), ARCH, scope, seed, length, novelty=kind == "novelty")
        while walk.calls < size:
            try:
                failed = walk.run() is not None
            except KernelBug:
                failed = True
            if failed:
                finds.failed(job, scope, walk.trace)
        store.close()
    done = tally.of(job)
    done["runs"], done["calls"], done["steps"] = walk.runs, walk.calls, walk.steps
    return tally


def mended(which: tuple[str, int]) -> tuple[list[int], list[str]]:
    """Walk the mended kernel on a machine, with a seed: runs, calls and steps, and what it lost or broke."""
    machine, seed = which
    walk = Walk(Mended, ARCH, WALKED[machine], seed, KINDS["no novelty"][1], novelty=False)
    alarms = []
    while walk.calls < MENDED[1]:
        try:
            lost = walk.run()
        except KernelBug as bug:
            alarms.append(str(bug))
        else:
            if lost is not None:
                alarms.append(str(lost))
    return [walk.runs, walk.calls, walk.steps], alarms


def main() -> None:
    every = list(walks())
    with ProcessPoolExecutor() as pool:
        first = as_it_is(dict(zip(every, pool.map(walk, every), strict=True)))
        again = [(machine, seed) for machine in WALKED for seed in range(MENDED[0])]
        second = with_mends(dict(zip(again, pool.map(mended, again), strict=True)))
    PAGE.write_text(TOLD + first + MENDED_TOLD + second, encoding="utf-8")


def as_text(head: list[str], rows: list[list[str]], *after: str) -> str:
    """A table, and lines after it."""
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join((*lines, "", *after, ""))


def with_mends(done_in: dict[tuple[str, int], tuple[list[int], list[str]]]) -> str:
    """The second half of the page."""
    rows = []
    for machine in WALKED:
        of = [done for (where, _), done in done_in.items() if where == machine]
        sums = map(sum, zip(*(done for done, _ in of), strict=True))
        alarms = [alarm for _, found in of for alarm in found]
        rows.append([machine, f"0 to {len(of) - 1}", *map("{:,}".format, sums), "; ".join(alarms) or "nothing"])
    calls = sum(calls for (_, calls, _), _ in done_in.values())
    return as_text(["machine", "seeds", "runs", "calls", "happened", "lost, or broken"], rows, f"{calls:,} calls.")


def as_it_is(done_in: dict[tuple[str, str, int], Tally]) -> str:
    """The first half of the page."""
    tallies: dict[tuple[str, str], list[Tally]] = {}
    for (machine, kind, _), tally in done_in.items():
        tallies.setdefault((machine, kind), []).append(tally)
    rows = []
    for (machine, kind), of in tallies.items():
        done = total(of).of(Job(UNPATCHED, ARCH, machine))
        lost = ", ".join(f"{where}() {times:,}" for what in ("losses", "bugs") for where, times in done[what].items())
        sums = [f"{done[name]:,}" for name in ("runs", "calls", "steps")]
        rows.append([machine, kind, f"0 to {len(of) - 1}", *sums, lost or "nothing"])
    everything = total(tally for of in tallies.values() for tally in of)
    head = ["machine", "walk", "seeds", "runs", "calls", "happened", "lost, or broken"]
    calls = sum(done["calls"] for done in everything.jobs.values())
    bad = {line for done in everything.jobs.values() for line in done["bad"]}
    met = [f"* {line}" for line in sorted({*everything.said, *bad}) or ["nothing"]]
    return as_text(head, rows, f"{calls:,} calls. What was met:", "", *met)


if __name__ == "__main__":
    main()
