"""What the model does is what 2.6.26 does: one fact of the kernel in each test.

Here belongs whatever a kernel reviewer would check by hand, as a short run whose end state is looked at.
"""

import pytest

from mm_sim.arch import ARCHES
from mm_sim.mm import Mm
from mm_sim.names import NOBODY, P1, P2, P3, PAGES, PRIVATE, RW, A, B, R, direct, kswapd, swapoff, tmpfs
from mm_sim.page import DIRTY, WRITE, Page, Pte, PteVal, SwapSlot
from mm_sim.series import load
from mm_sim.system import Scope
from strategies.reproducer import Live, StaleReproducer


def linux(arch: str = "s390", **scope: int) -> Live:
    return Live(load("linux_2_6_26"), arch, Scope(**scope))  # type: ignore[arg-type]


def mm_of(state: Live, process: int) -> Mm:
    mm = state.system.kernel.tasks[process].mm
    assert mm is not None
    return mm


def pte(state: Live, process: int, page: int = A) -> PteVal:
    return mm_of(state, process).pte[page]


def page_of(state: Live, process: int, page: int = A) -> Page:
    """The page mapped or in the swap cache."""
    value = pte(state, process, page)
    assert value is not None
    assert value.page is not None
    return value.page


def swapped_out(state: Live, process: int = P1) -> None:
    state.store(process=process, page=A)
    state.reclaim(reclaimer=kswapd, holder=process, page=A, order=4)
    state.pageout_done(holder=process, page=A)


def test_read_fault_allocates_a_zeroed_writable_page_that_is_clean() -> None:
    state = linux()
    state.load(process=P1, page=A)
    assert page_of(state, P1).content == 0
    assert not page_of(state, P1).key_c
    value = pte(state, P1)
    assert isinstance(value, Pte)
    assert value.bits == WRITE


def test_store_is_recorded_in_the_storage_key_on_s390() -> None:
    state = linux("s390")
    state.store(process=P1, page=A)
    assert page_of(state, P1).key_c
    value = pte(state, P1)
    assert isinstance(value, Pte)
    assert not value.bits & DIRTY


def test_store_is_recorded_in_the_pte_on_x86() -> None:
    state = linux("x86")
    state.store(process=P1, page=A)
    assert not page_of(state, P1).key_c
    value = pte(state, P1)
    assert isinstance(value, Pte)
    assert value.bits & DIRTY


def test_fork_write_protects_both_and_x86_keeps_the_dirty_bit_in_both() -> None:
    state = linux("x86")
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    for process in (P1, P2):
        value = pte(state, process)
        assert isinstance(value, Pte)
        assert value.bits & (WRITE | DIRTY) == DIRTY
    assert page_of(state, P1).mapcount == 2


def test_fork_drops_both_ptls_after_four_ptes() -> None:
    state = linux(pages=5, frames=6)
    for page in PAGES[:5]:
        state.store(process=P1, page=page)
    state.fork(process=P1, child=P2, stop="copy_pte_range: ptl")
    state.resume(task=P1, stop="copy_pte_range: ptl")
    parent, child = state.system.kernel.mms
    assert parent.ptl.owner is child.ptl.owner is None
    assert [pte is not None for pte in child.pte] == [True] * 4 + [False]


def test_two_forks_under_way_do_not_have_one_child() -> None:
    state = linux(processes=3)
    state.fork(process=P1, child=P2)
    state.fork(process=P1, child=P3, stop="dup_mmap: mmap_sem")
    with pytest.raises(StaleReproducer, match="step 3, fork, cannot happen here"):
        state.fork(process=P2, child=P3)


def test_store_after_fork_copies_and_the_other_process_reuses() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    old = page_of(state, P1)
    state.store(process=P2, page=A)
    assert page_of(state, P2) is not old
    state.store(process=P1, page=A)
    assert page_of(state, P1) is old


def test_mlock_of_a_writable_vma_breaks_cow() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.mlock(process=P2, page=A)
    assert page_of(state, P2) is not page_of(state, P1)


def test_mlock_of_a_read_only_vma_keeps_the_page_shared() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.mprotect(process=P2, page=A, prot=R)
    state.mlock(process=P2, page=A)
    assert page_of(state, P2) is page_of(state, P1)


def test_first_swap_out_is_remembered_by_add_to_swap() -> None:
    """The sketch of the thread, taken literally, loses nothing even with the patch."""
    state = Live(load("page_zap_rmap"))
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4, stop="try_to_unmap: next vma")
    state.exit(process=P2)
    state.resume(task=kswapd)
    assert page_of(state, P1).PG_writeback
    state.load(process=P1, page=A)


def test_after_a_write_fault_only_the_key_knows_that_the_slot_is_stale() -> None:
    state = linux()
    swapped_out(state)
    state.store(process=P1, page=A)
    page = page_of(state, P1)
    assert page.PG_swapcache
    assert not page.PG_dirty
    assert page.key_c
    assert page.swap_slot().content != page.content


def test_clean_page_is_dropped_and_read_back_from_its_slot() -> None:
    state = linux()
    swapped_out(state)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    value = pte(state, P1)
    assert isinstance(value, SwapSlot)
    assert value.page is None
    state.load(process=P1, page=A)
    assert page_of(state, P1).content == 1


def test_failed_swap_write_leaves_the_page_dirty() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_failed(holder=P1, page=A)
    assert page_of(state, P1).PG_dirty
    state.load(process=P1, page=A)


def test_fast_device_lets_reclaim_free_the_page_at_once() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4, stop="swap_writepage: submitted")
    state.pageout_done(holder=P1, page=A)
    state.resume(task=kswapd)
    value = pte(state, P1)
    assert isinstance(value, SwapSlot)
    assert value.page is None


def test_page_stays_when_no_swap_slot_is_free() -> None:
    state = linux(slots=0)
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    assert isinstance(pte(state, P1), Pte)
    assert state.system.kernel.marks["swap full"]


def test_referenced_page_is_kept_once_and_only_for_small_orders() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=0)
    assert isinstance(pte(state, P1), Pte)
    assert state.system.kernel.arch.rrbe == 1
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=0)
    assert isinstance(pte(state, P1), SwapSlot)


def test_lumpy_direct_reclaim_waits_for_the_io_in_its_second_pass() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=direct, holder=P1, page=A, order=4)
    task = state.system.kernel.tasks[direct]
    assert task.waits is page_of(state, P1)
    state.pageout_done(holder=P1, page=A)
    state.resume(task=direct)
    assert task.steps is None
    value = pte(state, P1)
    assert isinstance(value, SwapSlot)
    assert value.page is None


def test_exit_looks_at_the_key_once_and_the_patch_does_not() -> None:
    for series, iske in (("linux_2_6_26", 1), ("page_zap_rmap", 0), ("a4b526b3ba63", 0)):
        state = Live(load(series))
        state.fork(process=P1, child=P2)
        state.store(process=P2, page=A)
        state.exit(process=P2)
        assert state.system.kernel.arch.iske == iske, series


def test_new_page_costs_one_sske_unless_uptodate_does_not_clear() -> None:
    for series, sske in (("linux_2_6_26", 1), ("no_clear_uptodate", 0)):
        state = Live(load(series))
        state.load(process=P1, page=A)
        assert state.system.kernel.arch.sske == sske, series


def test_x86_gives_pages_back_only_after_the_flush() -> None:
    state = linux("x86")
    state.store(process=P1, page=A)
    page = page_of(state, P1)
    state.munmap(process=P1, page=A, stop="tlb_finish_mmu: TLBs flushed")
    assert page.mapcount == 0
    assert page.count == 1
    state.resume(task=P1)
    assert page.count == 0


def test_munmap_and_mmap_read_zeroes() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.munmap(process=P1, page=A)
    state.mmap(process=P1, page=A)
    state.load(process=P1, page=A)
    assert page_of(state, P1).content == 0


def test_madvise_dontneed_reads_zeroes() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.madvise_dontneed(process=P1, page=A)
    state.load(process=P1, page=A)
    assert page_of(state, P1).content == 0


@pytest.mark.parametrize("arch", ARCHES)
def test_mremap_moves_a_swapped_page(arch: str) -> None:
    state = linux(arch, pages=2)
    swapped_out(state)
    state.mremap(process=P1, page=A, to=B)
    state.load(process=P1, page=B)
    assert page_of(state, P1, B).content == 1
    assert pte(state, P1, A) is None


def test_mprotect_splits_a_vma_and_merges_it_again() -> None:
    state = linux(pages=3)
    state.store(process=P1, page=A)
    state.mprotect(process=P1, page=B, prot=R)
    assert [(v.vm_start, v.vm_end) for v in mm_of(state, P1).mmap] == [(0, 1), (1, 2), (2, 3)]
    state.mprotect(process=P1, page=B, prot=RW)
    assert [(v.vm_start, v.vm_end) for v in mm_of(state, P1).mmap] == [(0, 3)]


def test_swapoff_brings_every_page_back() -> None:
    state = linux()
    swapped_out(state)
    state.fork(process=P1, child=P2)
    state.swapoff(task=swapoff)
    assert page_of(state, P1) is page_of(state, P2)
    assert not any(slot.map for slot in state.system.kernel.slots)
    state.load(process=P2, page=A)


def test_child_of_a_swapped_out_parent_comes_behind_it_on_mmlist() -> None:
    state = linux(processes=3)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    assert state.system.kernel.mmlist == [mm_of(state, P2), mm_of(state, P1)]  # each went to the head
    state.fork(process=P2, child=P3)
    assert state.system.kernel.mmlist == [mm_of(state, P2), mm_of(state, P3), mm_of(state, P1)]


def test_mm_leaves_mmlist_when_its_last_user_does() -> None:
    state = linux()
    swapped_out(state)
    state.fork(process=P1, child=P2)
    state.exit(process=P1)
    assert state.system.kernel.mmlist == [mm_of(state, P2)]
    state.swapoff(task=swapoff)
    assert not state.system.kernel.mmlist  # drain_mmlist()


def test_child_of_a_parent_that_is_not_on_mmlist_is_not_either() -> None:
    """A patch may forget to put the parent there; fork goes on."""
    state = linux()
    swapped_out(state)
    state.system.kernel.mmlist.clear()
    state.fork(process=P1, child=P2)
    assert isinstance(pte(state, P2), SwapSlot)
    assert not state.system.kernel.mmlist


def test_swapoff_searches_a_child_forked_while_it_waits_for_the_parent() -> None:
    state = linux()
    swapped_out(state)
    state.mprotect(process=P1, page=A, prot=R, stop="change_pte_range: ptl")
    state.swapoff(task=swapoff)
    assert state.system.kernel.tasks[swapoff].waits is mm_of(state, P1).mmap_sem
    state.resume(task=P1)
    state.fork(process=P1, child=P2)
    state.resume(task=swapoff)
    assert page_of(state, P1) is page_of(state, P2)
    assert "swapoff leaves a reference behind" not in state.system.kernel.marks


def test_swapoff_waits_for_writeback_before_it_locks_the_page() -> None:
    """A fault does not have to wait, and comes first."""
    state = linux()
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    page = page_of(state, P1)
    state.swapoff(task=swapoff)
    assert state.system.kernel.tasks[swapoff].waits is page
    assert page.lock.owner is None
    state.store(process=P1, page=A)
    assert isinstance(pte(state, P1), Pte)


def test_swap_is_full_and_gives_no_slot_while_its_only_area_is_switched_off() -> None:
    state = linux(slots=3, pages=2)
    swapped_out(state)
    kernel = state.system.kernel
    assert not kernel.vm_swap_full()
    state.swapoff(task=swapoff, stop="try_to_unuse: page lock")
    assert kernel.vm_swap_full()
    assert kernel.get_swap_page() is None
    state.resume(task=swapoff)
    assert not kernel.vm_swap_full()
    state.swapon()
    assert (kernel.nr_swap_pages, kernel.total_swap_pages) == (3, 3)


def test_swapoff_that_finds_no_frame_leaves_the_area_on() -> None:
    state = linux(frames=1, pages=2)
    swapped_out(state)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.store(process=P1, page=B)
    state.swapoff(task=swapoff)
    kernel = state.system.kernel
    assert isinstance(pte(state, P1), SwapSlot)
    assert (kernel.nr_swap_pages, kernel.total_swap_pages) == (1, 2)
    assert kernel.swap_info[0].SWP_WRITEOK


def test_page_goes_to_the_second_area_when_the_first_is_switched_off() -> None:
    state = linux(areas=2)
    swapped_out(state)
    first, second = state.system.kernel.slots
    assert pte(state, P1) is first
    state.swapoff(task=swapoff)
    swapped_out(state)
    assert pte(state, P1) is second
    state.swapoff(task=swapoff)
    assert isinstance(pte(state, P1), Pte)
    state.swapon()
    swapped_out(state)
    assert pte(state, P1) is first


def test_neighbours_with_the_same_file_only_share_an_anon_vma() -> None:
    """A private mapping of a file at the matching offset is no neighbour to merge with."""
    state = Live(load("linux_2_6_26"), "s390", Scope(pages=2, frames=6, files=(tmpfs,)))
    state.munmap(process=P1, page=A)
    state.mmap_file(process=P1, page=A, file=tmpfs, at=A, kind=PRIVATE)
    state.store(process=P1, page=A)
    state.store(process=P1, page=B)
    first, second = mm_of(state, P1).mmap
    assert first.vm_pgoff - first.vm_start == second.vm_pgoff - second.vm_start
    assert first.anon_vma is not second.anon_vma


def test_out_of_frames_gives_the_access_up() -> None:
    state = linux(frames=1, pages=2)
    state.store(process=P1, page=A)
    state.store(process=P1, page=B)
    assert pte(state, P1, B) is None
    assert state.system.kernel.marks["out of memory"]


def test_page_nobody_maps_can_be_reclaimed() -> None:
    """Exit finds the page locked by reclaim, so it stays in the swap cache until reclaim comes again."""
    state = linux()
    state.fork(process=P1, child=P2)
    swapped_out(state, P2)
    state.load(process=P2, page=A)
    page = page_of(state, P2)
    state.reclaim(reclaimer=kswapd, holder=P2, page=A, order=0, stop="page_check_address: ptl")
    state.exit(process=P2)
    state.resume(task=kswapd)
    assert page.PG_swapcache
    assert page.mapcount == 0
    state.reclaim(reclaimer=kswapd, holder=NOBODY, page=A, order=4)
    if page.PG_writeback:
        state.pageout_done(holder=NOBODY, page=A)
        state.reclaim(reclaimer=kswapd, holder=NOBODY, page=A, order=4)
    assert page.count == 0


def test_a_fault_during_writeback_does_not_wait_for_it() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    assert page_of(state, P1).PG_writeback
    state.store(process=P1, page=A)
    assert state.system.kernel.tasks[P1].steps is None
    assert page_of(state, P1).content == 2


def test_exit_waits_for_reclaim_only_at_the_anon_vma() -> None:
    state = linux()
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4, stop="try_to_unmap: next vma")
    state.exit(process=P2)
    task = state.system.kernel.tasks[P2]
    assert task.waits is mm_of(state, P1).mmap[0].anon_vma.lock  # type: ignore[union-attr]
    state.resume(task=kswapd)
    state.resume(task=P2)
    assert task.mm is None


def test_a_kernel_has_slots_only() -> None:
    assert not hasattr(linux().system.kernel, "__dict__")
