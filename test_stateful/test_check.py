"""The loss check and the bookkeeping, held against their slow and plain counterparts during walks."""

import pytest

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.page import Pte, SwapSlot
from mm_sim.snapshot import is_quiet
from mm_sim.system import Loss, Scope, System
from strategies.walk import Walk


def count_everything(system: System) -> None:
    """Recompute every count of a quiet state from the page tables and the swap cache."""
    kernel = system.kernel
    ptes = [pte for mm in kernel.mms for pte in mm.pte]
    for page in kernel.frames:
        mapped = sum(type(pte) is Pte and pte.page is page for pte in ptes)
        assert page.mapcount == mapped
        assert page.count == mapped + page.PG_swapcache
        assert (page in kernel.free) == (page.count == 0)
        assert page.lock.owner is None
    for slot in kernel.slots:
        swapped = sum(isinstance(pte, SwapSlot) and pte is slot for pte in ptes)
        assert slot.map == swapped + (slot.page is not None)
        assert slot.page is None or slot.page.private is slot
    assert kernel.nr_swap_pages == sum(not slot.map for slot in kernel.slots)


@pytest.mark.parametrize("arch", ARCHES)
def test_quick_check_finds_what_the_full_check_finds(
    kernel: type[Kernel], arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = System.after

    def both(system: System) -> None:
        found: Loss | None = None
        try:
            quick(system)
        except Loss as loss:
            found = loss
        try:
            system.check()
        except Loss:
            assert found is not None, "the quick check missed a loss"
            raise
        assert found is None, "the quick check found what is none"
        if is_quiet(system):
            count_everything(system)

    monkeypatch.setattr(System, "after", both)
    walk = Walk(kernel, arch, Scope(processes=3, pages=3, frames=6, slots=4), seed=1, length=60)
    for _ in range(400):
        walk.run()
    assert walk.marks["clean drop from the swap cache"]
