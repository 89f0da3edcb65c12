"""Real bugs of Linux, each as a patch, and their fixes: a run that the bug loses and its fix does not.

The fix is also searched, in the same machine and with the same rules: it loses in no run as long as the bug's. Where
2.6.26 has the bug itself, or the fix, it stands in the table by its name.
"""

from dataclasses import dataclass

import pytest

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.loss import NotPossible, replay
from mm_sim.names import EXT2, KSWAPD, PRIVATE, TMPFS
from mm_sim.series import load
from mm_sim.system import Scope
from strategies.explore import Bounds, Search
from strategies.reproducer import recorded

TODAY = "linux_2_6_26"


@dataclass(frozen=True)
class Bug:
    """The patch with the bug and the one with the fix, beside which `fixed` has what else 2.6.26 loses by.

    `run` is what the bug loses by on `arches`; in `rules`, `steps` and `stops` the fix is searched.
    `only_there` is in the call whose preemption point the fix does not have, `waits` the index of the call for which
    its process is not ready with the fix, as it still waits in an earlier one.
    """

    bug: str
    fix: str
    scope: Scope
    run: tuple[str, ...]
    rules: tuple[str, ...]
    steps: int
    stops: int
    arches: tuple[str, ...] = tuple(ARCHES)
    fixed: str | None = None
    only_there: str | None = None
    waits: int | None = None

    def kernel(self, name: str) -> type[Kernel]:
        if self.fixed is None:
            return load(name)
        return type("Fixed", (load(name), load(self.fixed)), {"__slots__": ()})


BUGS = (
    Bug(
        bug=TODAY,
        fix="foll_cow",
        scope=Scope(processes=2, pages=1, frames=3, slots=0, files=(TMPFS,), also=("threads", "pins")),
        run=(
            "munmap(process=P1, page=A)",
            "mmap_file(process=P1, page=A, file=tmpfs, at=A, kind=PRIVATE)",
            "load(process=P1, page=A)",
            "read_direct(process=P1, page=A, stop='handle_pte_fault: pte read')",
            "resume(task=P1, stop='follow_page: ptl')",
            "madvise_dontneed(process=P2, page=A)",
            "resume(task=P1)",
        ),
        rules=("load", "madvise_dontneed", "mmap_file", "munmap", "read_direct", "resume"),
        steps=7,
        stops=2,
    ),
    Bug(
        bug=TODAY,
        fix="wp_lock_page",
        scope=Scope(processes=2, pages=1, frames=2, slots=1, also=("threads", "pins")),
        run=(
            "read_direct(process=P1, page=A, stop='dio_bio_submit: page pinned')",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "load(process=P2, page=A)",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4, stop='page_check_address: ptl')",
            "store(process=P2, page=A)",
            "resume(task=kswapd)",
            "resume(task=P1)",
        ),
        rules=("load", "read_direct", "reclaim", "resume", "store"),
        steps=7,
        stops=2,
    ),
    Bug(
        bug=TODAY,
        fix="swapin_race",
        scope=Scope(processes=2, pages=1, frames=3, slots=1, also=("threads",)),
        run=(
            "store(process=P1, page=A)",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "load(process=P1, page=A, stop='do_swap_page: page lock')",
            "pageout_done(holder=P1, page=A)",
            "madvise_dontneed(process=P2, page=A)",
            "store(process=P2, page=A)",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "resume(task=P1)",
        ),
        rules=("load", "madvise_dontneed", "pageout_done", "reclaim", "resume", "store"),
        steps=8,
        stops=1,
    ),
    Bug(
        bug="cow_rmap_first",
        fix=TODAY,
        scope=Scope(processes=2, pages=1, frames=2, slots=0),
        run=(
            "store(process=P1, page=A)",
            "fork(process=P1, child=P2)",
            "store(process=P1, page=A, stop='do_wp_page: old page not counted any more')",
            "store(process=P2, page=A)",
        ),
        rules=("fork", "load", "resume", "store"),
        steps=7,
        stops=2,
        only_there="old page not counted any more",
    ),
    Bug(
        bug="write_fault_no_wait",
        fix=TODAY,
        scope=Scope(processes=1, pages=1, frames=1, slots=0, files=(EXT2,)),
        run=(
            "store(process=P1, page=A)",
            "writeback(flusher=pdflush, file=ext2, stop='clear_page_dirty_for_io: ptes cleaned')",
            "store(process=P1, page=A)",
            "resume(task=pdflush)",
            "store(process=P1, page=A)",
            "pageout_done(holder=ext2, page=A)",
            "fsync(process=P1, file=ext2)",
        ),
        rules=("fsync", "pageout_done", "resume", "store", "writeback"),
        steps=8,
        stops=2,
        waits=4,
    ),
    Bug(
        bug="invalidate_unlocked",
        fix="invalidate_count",
        scope=Scope(processes=2, pages=1, frames=2, slots=0, files=(EXT2,)),
        run=(
            "fork(process=P1, child=P2)",
            "store(process=P1, page=A, stop='do_no_page: page found')",
            "drop_caches(process=P2, file=ext2)",
            "resume(task=P1)",
        ),
        rules=("drop_caches", "fork", "resume", "store"),
        steps=6,
        stops=2,
    ),
    *(
        Bug(
            bug="mremap_late_flush",
            fix=fix,
            scope=Scope(processes=2, pages=2, frames=2, slots=0, files=(EXT2,), also=("threads",)),
            run=(
                "store(process=P1, page=A)",
                "mremap(process=P2, page=A, to=B, stop='move_page_tables: TLBs not yet flushed')",
                "writeback(flusher=pdflush, file=ext2)",
                "store(process=P1, page=A)",
                "pageout_done(holder=ext2, page=A)",
                "fsync(process=P1, file=ext2)",
            ),
            rules=("fsync", "mremap", "pageout_done", "resume", "store", "writeback"),
            steps=6,
            stops=1,
            arches=("x86",),
            fixed="delay_rmap",
            waits=5,
        )
        for fix in ("mremap_force_flush", "mremap_flush")
    ),
    Bug(  # CVE-2018-18281
        bug="mremap_force_flush",
        fix="mremap_flush",
        scope=Scope(processes=2, pages=2, frames=3, slots=1, also=("threads",)),
        run=(
            "store(process=P1, page=A)",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "load(process=P1, page=A)",
            "pageout_done(holder=P1, page=A)",
            "mremap(process=P1, page=A, to=B, stop='move_page_tables: TLBs not yet flushed')",
            "reclaim(reclaimer=kswapd, holder=P1, page=B, order=4)",
        ),
        rules=("load", "mremap", "pageout_done", "reclaim", "resume", "store"),
        steps=6,
        stops=1,
        arches=("x86",),
    ),
    Bug(
        bug="swapin_synchronous",
        fix="swapin_pin_slot",
        scope=Scope(processes=2, pages=1, frames=2, slots=1, also=("threads",)),
        run=(
            "store(process=P1, page=A)",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "pageout_done(holder=P1, page=A)",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "load(process=P1, page=A, stop='do_swap_page: read past the swap cache')",
            "store(process=P2, page=A)",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "resume(task=P1)",
        ),
        rules=("load", "pageout_done", "reclaim", "resume", "store"),
        steps=9,
        stops=1,
    ),
    Bug(
        bug="madv_free",
        fix="madv_free_pinned",
        scope=Scope(processes=1, pages=1, frames=2, slots=1, also=("pins",)),
        run=(
            "store(process=P1, page=A)",
            "madvise_free(process=P1, page=A)",
            "read_direct(process=P1, page=A, stop='dio_bio_submit: page pinned')",
            "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
            "resume(task=P1)",
        ),
        rules=("load", "madvise_free", "pageout_done", "read_direct", "reclaim", "resume", "store"),
        steps=7,
        stops=2,
        arches=("x86",),
    ),
)
each = pytest.mark.parametrize(
    ("bug", "arch"),
    [pytest.param(bug, arch, id=f"{bug.bug}-{bug.fix}-{arch}") for bug in BUGS for arch in bug.arches],
)


@each
def test_bug_loses_by_its_run(bug: Bug, arch: str) -> None:
    """Within the bounds in which the fix is searched."""
    kernel = bug.kernel(bug.bug)
    steps = recorded(kernel, bug.run)
    found = replay(kernel, arch, bug.scope, steps)
    assert found is not None
    assert found[1] == len(steps) - 1
    assert {step.rule.name for step in steps} <= {*bug.rules}
    assert len(steps) <= bug.steps
    assert sum(step.stop is not None for step in steps) <= bug.stops


@each
def test_fix_does_not_lose_by_the_run_of_its_bug(bug: Bug, arch: str) -> None:
    kernel = bug.kernel(bug.fix)
    steps = recorded(kernel, [call for call in bug.run if bug.only_there is None or bug.only_there not in call])
    if bug.waits is None:
        assert replay(kernel, arch, bug.scope, steps) is None
    else:
        with pytest.raises(NotPossible, match=f"step {bug.waits + 1}, "):
            replay(kernel, arch, bug.scope, steps)


@each
def test_fix_loses_in_no_run_as_long_as_that_of_its_bug(bug: Bug, arch: str) -> None:
    only = (("reclaimer", (KSWAPD,)), ("order", (4,)), ("kind", (PRIVATE,)))
    bounds = Bounds(bug.scope, bug.rules, only, bug.steps, bug.stops)
    assert Search(bug.kernel(bug.fix), arch, bounds, reduce=False).run().ended == "complete"


def test_madvise_free_during_a_transfer_may_take_what_is_transferred() -> None:
    """A swap pte is freed while the device fills the page: the caller gave up the buffer itself."""
    kernel = load("madv_free")
    scope = Scope(processes=3, pages=1, frames=4, slots=1, also=("threads", "pins"))
    run = (
        "read_direct(process=P1, page=A, stop='dio_bio_submit: page pinned')",
        "reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)",
        "madvise_free(process=P2, page=A)",
        "resume(task=P1)",
    )
    assert all(replay(kernel, arch, scope, recorded(kernel, run)) is None for arch in ARCHES)
