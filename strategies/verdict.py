"""The verdict on a series: the state machine is driven by the walk, and what it reached is counted."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.kernel import Kernel
from mm_sim.system import SMALL, Loss, Scope
from strategies.backend import NAME, walking
from strategies.machine import machine

#: Situations without which a verdict of "no loss" means nothing.
REQUIRED = (
    "COW of a page in the swap cache",
    "SWAP_FAIL at a locked vma after another pte was unmapped",
    "clean drop from the swap cache",
    "exit between two vmas of try_to_unmap",
    "page locked by someone else in do_wp_page",
    "reclaim between mlock's flag and its fault-in",
    "store while in the swap cache with PG_dirty clear",
    "swap-in racing with reclaim",
)

_COMMON = settings(
    deadline=None,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
    # Phase.explain traces every line of the model, for less than mm_sim.loss says.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    print_blob=False,
    # One loss is enough for a verdict; each further one would be minimised, too.
    report_multiple_bugs=False,
)


def register_profiles() -> None:
    """The profiles: `dev` and `ci` do the same run each time, `nightly` a longer one and another each night.

    `nightly` also overrides what Hypothesis' own profile for CI sets. `plain` leaves the walk out.
    """
    same = settings(_COMMON, backend=NAME, derandomize=True, database=None)
    settings.register_profile("dev", same, max_examples=80)
    settings.register_profile("ci", same, max_examples=80)
    settings.register_profile("nightly", _COMMON, backend=NAME, derandomize=False, max_examples=20_000)
    settings.register_profile("plain", _COMMON, derandomize=False, max_examples=10_000)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`loss` is what was lost, None if nothing was found; `marks` counts the situations reached."""

    series: str
    arch: str
    loss: Loss | None
    marks: dict[str, int]

    def unreached(self) -> list[str]:
        return [situation for situation in REQUIRED if not self.marks.get(situation)]

    def __str__(self) -> str:
        if self.loss is not None:
            return f"{self.series} on {self.arch}: loses. {self.loss}"
        reached = sum(situation in self.marks for situation in REQUIRED)
        return f"{self.series} on {self.arch}: no loss found; {reached} of {len(REQUIRED)} situations reached"


def seed_of(series: str, arch: str, seed: int) -> int:
    """A seed of its own for each series and architecture."""
    return zlib.crc32(f"{series} {arch} {seed}".encode())


def judge(
    kernel: type[Kernel], series: str, arch: str, seed: int = 0, scope: Scope = SMALL, folder: Path | None = None
) -> Verdict:
    """Run the state machine under the current profile of Hypothesis. A loss has the failing program as its notes.

    Raises KernelBug if the series breaks the kernel's bookkeeping.
    """
    tested = machine(kernel, series, arch, scope, folder)
    loss = None
    with walking(tested, seed_of(series, arch, seed)):
        try:
            run_state_machine_as_test(tested, settings=settings())
        except Loss as error:
            loss = error
    return Verdict(series, arch, loss, tested.marks)
