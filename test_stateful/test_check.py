"""The loss check and the bookkeeping, held against their slow and plain counterparts during walks."""

import pytest

from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.names import Name, ext2, shm, tmpfs, xfs
from mm_sim.page import WRITE, Pte, SwapSlot
from mm_sim.series import load
from mm_sim.snapshot import is_quiet
from mm_sim.system import Loss, Scope, System
from strategies.walk import Walk

ALSO = ("threads", "pins", "migration")


def count_everything(system: System) -> None:
    """Recompute every count of a quiet state from the page tables, the swap cache and the files."""
    kernel = system.kernel
    ptes = [pte for mm in kernel.mms for pte in mm.pte]
    of_files = [page for file in kernel.files for page in file.pages]
    on_swap = [slot for file in kernel.files for slot in file.swap]
    for page in kernel.frames:
        mapped = sum(type(pte) is Pte and pte.page is page for pte in ptes)
        in_file = sum(other is page for other in of_files)
        assert page.mapcount == mapped
        assert page.count == mapped + page.PG_swapcache + in_file
        assert in_file == (type(page.mapping) is AddressSpace and not page.PG_swapcache and page.count > 0)
        assert (page in kernel.free) == (page.count == 0)
        assert page.lock.owner is None
    for slot in kernel.slots:
        swapped = sum(isinstance(pte, SwapSlot) and pte is slot for pte in ptes)
        assert slot.map == swapped + (slot.page is not None) + sum(other is slot for other in on_swap)
        assert slot.page is None or slot.page.private is slot
    assert kernel.nr_swap_pages == sum(not slot.map for slot in kernel.slots)
    for file in kernel.files:
        vmas = [vma for mm in kernel.mms for vma in mm.mmap if vma.vm_file is file]
        assert file.count == len(vmas)
        assert sorted(map(id, file.i_mmap)) == sorted(map(id, vmas))
        for at, cached in enumerate(file.pages):
            if cached is not None:
                assert (cached.mapping, cached.index) == (file, at)
                assert cached.tag_dirty >= (cached.PG_dirty and file.accounts_dirty)
                assert file.swap[at] is None
    for mm in kernel.mms:
        users = [task for task in kernel.tasks if task.mm is mm]
        # Two forks at once may give their children one name: then nobody has the first one's mm.
        assert mm.mm_users == len(users) or not users
        for tlb in mm.tlbs:
            for addr, pte in tlb.items():
                now = mm.pte[addr]
                assert type(now) is Pte, "a translation outlived its pte"
                assert now.page is pte.page
                assert now.bits & pte.bits & WRITE == pte.bits & WRITE


@pytest.fixture
def both_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each step the quick check and the full check, which must find the same."""
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


@pytest.mark.usefixtures("both_checks")
@pytest.mark.parametrize("arch", ARCHES)
def test_quick_check_finds_what_the_full_check_finds(kernel: type[Kernel], arch: str) -> None:
    walk = Walk(kernel, arch, Scope(processes=3, pages=3, frames=6, slots=4), seed=1, length=60)
    for _ in range(400):
        walk.run()
    assert walk.marks["clean drop from the swap cache"]


@pytest.mark.usefixtures("both_checks")
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("files", [(ext2,), (tmpfs, shm), (xfs, tmpfs)], ids=str)
def test_quick_check_finds_what_the_full_check_finds_in_files(files: tuple[Name, ...], arch: str) -> None:
    walk = Walk(load("linux_2_6_26"), arch, Scope(pages=2, frames=5, files=files, also=ALSO), seed=1, length=60)
    for _ in range(100):
        walk.run()
    assert walk.marks.keys() & {"clean drop from the page cache", "tmpfs page moved to swap"}
