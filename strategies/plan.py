"""What a night is to do: the machines it walks, the scopes it searches, its jobs, its time and its seeds.

All of it is plain data, the same for all workers of a night. May use `mm_sim`, and of `strategies` the scopes and
what is expected in them.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from socket import gethostname
from typing import Any, NamedTuple

from mm_sim import series as all_series
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel, base_of
from mm_sim.names import DIRECT, EXT2, KSWAPD, TMPFS
from mm_sim.series import SeriesError
from mm_sim.system import SMALL, Scope
from strategies import reproducer
from strategies.comparison import declares
from strategies.corpus import DEFAULT
from strategies.explore import SCOPES, Bounds
from strategies.targets import MACHINES, named
from strategies.verdict_text import REQUIRED

#: The kernel that is no patch.
UNPATCHED = "linux_2_6_26"

#: The machines that are walked, smallest first. Both reclaimers may always be under way.
WALKED = {
    "small": SMALL,
    "three processes": Scope(processes=3, pages=1, frames=4, slots=3),
    "vmas": Scope(processes=2, pages=2, frames=6, slots=4),
    "large": Scope(processes=3, pages=3, frames=9, slots=6),
    "tmpfs": SCOPES["tmpfs"].scope,
    "tmpfs vmas": Scope(pages=2, frames=6, slots=3, files=(TMPFS,)),
    "file": SCOPES["file"].scope,
    "file and swap": Scope(frames=4, files=(EXT2,)),
    "threads": SCOPES["threads"].scope,
    "threads and swap": Scope(frames=4, files=(EXT2,), also=("threads",)),
    "anon threads": MACHINES["anon threads"].scope,
    "private pins": MACHINES["private pins"].scope,
    "pins and migration": SCOPES["pins"].scope,
    "pins and swap": Scope(frames=5, files=(EXT2,), also=("pins", "migration")),
}

_TWO = (("reclaimer", (KSWAPD, DIRECT)), ("order", (4,)))


def _with(name: str, *rules: str, **size: Any) -> Bounds:
    """A scope with more rules, and a machine of another size."""
    bounds = SCOPES[name]
    return replace(
        bounds, scope=replace(bounds.scope, **size), rules=tuple(dict.fromkeys((*(bounds.rules or ()), *rules)))
    )


#: What is searched, for each scope in which a series is judged: first what every test run proves, then larger ones,
#: up to what takes nights.
SEARCHED: dict[str, dict[str, Bounds]] = {
    "anon": {
        "anon": SCOPES["anon"],
        "two reclaimers": replace(SCOPES["anon"], only=_TWO),
        "three processes": replace(SCOPES["anon"], scope=WALKED["three processes"]),
        "two vmas": replace(SCOPES["lock"], scope=WALKED["vmas"], steps=7, stops=1),
        "two stops": replace(SCOPES["anon"], stops=2),
        "lock": SCOPES["lock"],
        "race": SCOPES["race"],
        "yardstick": SCOPES["yardstick"],
    },
    "tmpfs": {
        "tmpfs": SCOPES["tmpfs"],
        "tmpfs, two slots": replace(_with("tmpfs", slots=2), steps=10),
        "tmpfs, two reclaimers": replace(SCOPES["tmpfs"], only=(*_TWO, *SCOPES["tmpfs"].only[2:])),
        "tmpfs, three processes": _with("tmpfs", processes=3, frames=4),
        "tmpfs, two pages": _with("tmpfs", pages=2, frames=5),
        "tmpfs, one stop": replace(SCOPES["tmpfs"], stops=1),
    },
    "file": {
        "file": SCOPES["file"],
        "file, two reclaimers": replace(_with("file", "reclaim"), only=_TWO),
        "file, two pages": _with("file", pages=2, frames=5),
        "file, three processes": _with("file", "exit", processes=3, frames=4),
        "file, three stops": replace(SCOPES["file"], steps=None, stops=3),
    },
    "threads": {
        "threads": SCOPES["threads"],
        "threads, two stops": replace(SCOPES["threads"], stops=2),
        "threads, two pages": _with("threads", pages=2, frames=5),
        "threads, two reclaimers": replace(_with("threads", "reclaim"), only=_TWO),
        "threads, three processes": _with("threads", "exit", "fork", processes=3, frames=4),
        "threads, three stops": replace(SCOPES["threads"], steps=None, stops=3),
    },
    "pins": {
        "pins": SCOPES["pins"],
        "pins, two stops": replace(SCOPES["pins"], stops=2),
        "pins, two reclaimers": replace(_with("pins", "reclaim"), only=_TWO),
        "pins, two pages": _with("pins", pages=2, frames=5),
        "pins, three processes": _with("pins", "exit", processes=3, frames=4),
    },
}
#: The name of all searches, and of each.
SEARCH = "search"
SEARCHES = tuple(f"{SEARCH} {scope}" for scope in REQUIRED)
#: What a night does unless told otherwise.
ALL = (*WALKED, SEARCH)

#: Seconds of the longest slice.
_SLICE = 60.0


@cache
def walked(name: str) -> Scope | None:
    """The machine that a job walks, of WALKED or of the names of `targets`; None if it searches."""
    return None if name in SEARCHES else WALKED[name] if name in WALKED else named(name).scope


def judged(scope: Scope) -> str:
    """By which scope of REQUIRED a machine is judged: the last whose files and threads it has."""
    return [
        name
        for name in REQUIRED
        if {*SCOPES[name].scope.files, *SCOPES[name].scope.also} <= {*scope.files, *scope.also}
    ][-1]


def judged_as(scope: str) -> str:
    """By which scope of REQUIRED a job is judged."""
    size = walked(scope)
    return scope.removeprefix(f"{SEARCH} ") if size is None else judged(size)


class Job(NamedTuple):
    """What a slice of time goes to. `scope` is a machine to walk, or a name of SEARCHES."""

    series: str
    arch: str
    scope: str

    @property
    def name(self) -> str:
        return Path(self.series).stem

    def __str__(self) -> str:
        return f"{self.name.replace(' ', '_')} {self.arch} {self.scope}"


@dataclass(frozen=True)
class Night:
    """What all workers of a night have in common, as plain data. `begin` and `end` are in seconds since 1970."""

    name: str
    seed: int
    begin: float
    end: float
    series: tuple[str, ...]
    arches: tuple[str, ...]
    scopes: tuple[str, ...]
    databases: tuple[str, ...]
    folder: str
    checkpoints: str
    workers: int

    def jobs(self) -> list[Job]:
        return [Job(*job) for job in product(self.series, self.arches, self.scopes)]

    @property
    def slice(self) -> float:
        """Short enough that every job has its turn."""
        return min(_SLICE, max(0.5, (self.end - self.begin) * self.workers / (2 * len(self.jobs()))))

    @property
    def judged(self) -> list[str]:
        """The scopes of REQUIRED by which the night is judged: those of what it does."""
        return [scope for scope in REQUIRED if scope in map(judged_as, self.scopes)]


@cache
def kernel_of(series: str) -> type[Kernel]:
    """The kernel of a series as it was when this process first asked: a night outlasts an edit of the file."""
    return all_series.load(series)


def expected(kernel: type[Kernel], machines: Collection[str], arch: str) -> str:
    """What is expected of a kernel in one of some machines: "loses", "safe", "loses somewhere" or "unknown".

    A word in the place of a table does not say where. 2.6.26, which is no patch, is to lose in no new way.
    """
    if base_of(kernel) is None:
        return "safe"
    if vars(kernel).get("loses_in"):
        return "loses" if any(declares(kernel, machine, arch) for machine in machines) else "safe"
    word: str = vars(kernel).get("expected", "unknown")
    return "loses somewhere" if word == "loses" else word


def called(series: str) -> str:
    """A series as its stored tests call it: a name may be typed as in the thread, `linux-2.6.26`."""
    return series if series.endswith(".py") else kernel_of(series).__module__.rpartition(".")[2]


def seed_of_tonight() -> int:
    """Date, time and machine: no night repeats another, here or elsewhere."""
    return int(f"{datetime.now(UTC):%Y%m%d%H%M%S}") * 10_000 + zlib.crc32(gethostname().encode()) % 10_000


def seed_of(seed: int, job: Job, shard: str) -> int:
    return zlib.crc32(f"{seed} {job} {shard}".encode())


def seconds(text: str) -> float:
    """A length of time such as 8h, 90m, 30s or 45. Raises ValueError."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    length = float(number) * unit
    if not 0 < length < 1e7:
        raise ValueError(text)
    return length


def plan(
    series: Sequence[str],
    budget: float,
    seed: int | None,
    workers: int,
    databases: Sequence[str] = (),
    arches: Sequence[str] = tuple(ARCHES),
    scopes: Sequence[str] = ALL,
    folder: Path = reproducer.FOLDER,
) -> Night:
    """A night that begins now. The first database that is a directory also has the checkpoints of the searches.

    Raises SeriesError if two series have one name: by it their runs are kept.
    """
    names = [Path(one).stem for one in series]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SeriesError(f"more than one series is called {', '.join(sorted(twice))}; rename the file")
    now = time.time()
    databases = tuple(databases) or (DEFAULT,)
    here = next((one for one in databases if ":" not in one), DEFAULT)
    return Night(
        name=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f} {gethostname()}",
        seed=seed_of_tonight() if seed is None else seed,
        begin=now,
        end=now + budget,
        series=tuple(series),
        arches=tuple(arches),
        scopes=tuple(one for scope in scopes for one in (SEARCHES if scope == SEARCH else (scope,))),
        databases=databases,
        folder=str(folder),
        checkpoints=str(Path(here) / "checkpoints"),
        workers=workers,
    )
