"""What the model does with files, tmpfs and shared anonymous memory is what 2.6.26 does: one fact in each test.

Here belongs what a kernel reviewer would check by hand of the page cache, write-back, truncation and shmem. P1 begins
with page A of the file, shared, at its page A.
"""

from typing import Any, TypeVar

import pytest

from mm_sim.address_space import AddressSpace
from mm_sim.arch import ARCHES
from mm_sim.mm import Mm
from mm_sim.names import (
    P1,
    P2,
    PRIVATE,
    RW,
    SHARED,
    A,
    B,
    C,
    Name,
    R,
    ext2,
    kswapd,
    pdflush,
    shm,
    swapoff,
    tmpfs,
    xfs,
)
from mm_sim.page import DIRTY, WRITE, Page, Pte
from mm_sim.sched import KernelBug, Steps
from mm_sim.series import load
from mm_sim.system import PAST_END, Loss, Scope
from strategies.reproducer import Live
from strategies.walk import Walk
from test_stateful.faults import NoBuffers

T = TypeVar("T")

both_arches = pytest.mark.parametrize("arch", ARCHES)
both_disks = pytest.mark.parametrize("disk", [ext2, xfs], ids=repr)


def linux(*files: Name, arch: str = "s390", pages: int = 1, also: tuple[str, ...] = ()) -> Live:
    return Live(load("linux_2_6_26"), arch, Scope(pages=pages, frames=4, files=files, also=also))


def file_of(state: Live) -> AddressSpace:
    return state.system.kernel.files[0]


def cached(state: Live, at: int = A) -> Page:
    """The page in the page cache."""
    page = file_of(state).pages[at]
    assert page is not None
    return page


def mm_of(state: Live, process: int) -> Mm:
    mm = state.system.kernel.tasks[process].mm
    assert mm is not None
    return mm


def bits(state: Live, process: int = P1, page: int = A) -> int:
    """The bits of a present pte."""
    value = mm_of(state, process).pte[page]
    assert isinstance(value, Pte)
    return value.bits


def answer(state: Live, steps: Steps[T]) -> T:
    """What a kernel function answers that need not wait."""
    state.system.kernel.current = state.system.kernel.tasks[P1]
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def mapped_privately(state: Live, page: int) -> None:
    state.munmap(process=P1, page=page)
    state.mmap_file(process=P1, page=page, file=file_of(state).name, at=A, kind=PRIVATE)


# faults


@both_arches
@pytest.mark.parametrize(("file", "writable"), [(tmpfs, WRITE), (shm, WRITE), (ext2, 0), (xfs, 0)])
def test_pte_of_a_read_fault_is_writable_without_dirty_accounting_only(arch: str, file: Name, writable: int) -> None:
    state = linux(file, arch=arch)
    state.load(process=P1, page=A)
    assert bits(state) & WRITE == writable


def test_read_fault_on_a_tmpfs_hole_gives_a_zeroed_page_that_nothing_calls_dirty() -> None:
    state = linux(tmpfs)
    state.load(process=P1, page=A)
    page = cached(state)
    assert page.content == 0
    assert not page.PG_dirty
    assert not page.key_c


@both_arches
def test_store_to_tmpfs_is_known_to_the_hardware_only(arch: str) -> None:
    state = linux(tmpfs, arch=arch)
    state.load(process=P1, page=A)
    state.store(process=P1, page=A)
    page = cached(state)
    assert not page.PG_dirty
    assert page.key_c if arch == "s390" else bits(state) & DIRTY


def test_write_fault_on_ext2_marks_the_page_dirty_after_the_pte_is_writable() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A, stop="do_linear_fault: page unlocked")
    assert bits(state) & WRITE
    assert not cached(state).PG_dirty
    state.resume(task=P1)
    assert cached(state).PG_dirty
    assert cached(state).tag_dirty


def test_who_finds_pg_dirty_set_does_not_wait_for_the_tag() -> None:
    state = linux(ext2)
    state.fork(process=P1, child=P2)
    state.store(process=P1, page=A, stop="set_page_dirty: PG_dirty set")
    state.store(process=P2, page=A)
    assert cached(state).PG_dirty
    assert not cached(state).tag_dirty
    state.resume(task=P1)
    assert cached(state).tag_dirty


def test_page_that_was_truncated_meanwhile_gets_no_tag() -> None:
    state = linux(ext2)
    state.fork(process=P1, child=P2)
    state.store(process=P1, page=A, stop="set_page_dirty: PG_dirty set")
    page = cached(state)
    state.truncate(process=P2, file=ext2, size=0)
    state.resume(task=P1)
    assert not page.tag_dirty


def test_page_mkwrite_of_xfs_marks_the_page_dirty_before_there_is_a_pte() -> None:
    state = linux(xfs)
    state.store(process=P1, page=A, stop="do_linear_fault: page_mkwrite")
    assert cached(state).PG_dirty
    assert mm_of(state, P1).pte[A] is None


def test_page_mkwrite_of_xfs_marks_the_page_dirty_before_the_pte_becomes_writable() -> None:
    state = linux(xfs)
    state.load(process=P1, page=A)
    state.store(process=P1, page=A, stop="do_wp_page: page_mkwrite")
    assert cached(state).PG_dirty
    assert not bits(state) & WRITE


def test_page_mkwrite_lets_a_page_pass_that_begins_where_the_file_ends() -> None:
    state = linux(xfs)
    state.fork(process=P1, child=P2)
    state.store(process=P1, page=A, stop="block_page_mkwrite: page lock")
    state.truncate(process=P2, file=xfs, size=0, stop="vmtruncate: unmapped")
    state.resume(task=P1, stop="do_linear_fault: page_mkwrite")
    assert not cached(state).PG_dirty
    state.resume(task=P1)
    state.resume(task=P2)
    assert mm_of(state, P1).pte[A] is None


@both_arches
def test_store_to_a_private_mapping_goes_to_a_copy(arch: str) -> None:
    state = linux(ext2, arch=arch, pages=2)
    state.store(process=P1, page=A)
    mapped_privately(state, B)
    state.store(process=P1, page=B)
    copy = mm_of(state, P1).pte[B]
    assert isinstance(copy, Pte)
    assert copy.page.PG_anon
    assert (cached(state).content, copy.page.content) == (1, 2)


def test_private_mapping_sees_the_file_until_its_first_store() -> None:
    state = linux(ext2, pages=2)
    mapped_privately(state, B)
    state.load(process=P1, page=B)
    state.store(process=P1, page=A)
    value = mm_of(state, P1).pte[B]
    assert isinstance(value, Pte)
    assert value.page is cached(state)
    state.load(process=P1, page=B)


# fork, mprotect, munmap


def test_fork_copies_no_pte_of_a_shared_file_mapping() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    assert mm_of(state, P2).pte[A] is None
    assert bits(state) & WRITE
    state.load(process=P2, page=A)
    assert cached(state).mapcount == 2


def test_fork_copies_the_ptes_of_a_private_mapping_that_has_a_copy() -> None:
    state = linux(ext2)
    mapped_privately(state, A)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    assert not bits(state, P2) & WRITE
    assert not bits(state, P1) & WRITE


@both_arches
def test_processes_share_anonymous_memory_that_was_mapped_shared(arch: str) -> None:
    state = linux(shm, arch=arch)
    state.fork(process=P1, child=P2)
    state.store(process=P2, page=A)
    state.load(process=P1, page=A)
    assert mm_of(state, P1).pte[A].page is mm_of(state, P2).pte[A].page is cached(state)  # type: ignore[union-attr]


@both_arches
@pytest.mark.parametrize("file", [tmpfs, ext2], ids=repr)
def test_mprotect_gives_write_access_back_on_tmpfs_and_else_to_dirty_ptes(arch: str, file: Name) -> None:
    state = linux(file, arch=arch)
    state.store(process=P1, page=A)
    state.mprotect(process=P1, page=A, prot=R)
    assert not bits(state) & WRITE
    state.mprotect(process=P1, page=A, prot=RW)
    assert bool(bits(state) & WRITE) == (file is tmpfs or arch == "x86")


@both_arches
def test_mprotect_gives_no_write_access_to_a_clean_pte_of_ext2(arch: str) -> None:
    state = linux(ext2, arch=arch)
    state.load(process=P1, page=A)
    state.mprotect(process=P1, page=A, prot=R)
    state.mprotect(process=P1, page=A, prot=RW)
    assert not bits(state) & WRITE


@both_arches
def test_last_munmap_moves_what_the_hardware_knows_to_pg_dirty(arch: str) -> None:
    state = linux(tmpfs, arch=arch)
    state.load(process=P1, page=A)
    state.store(process=P1, page=A)
    state.munmap(process=P1, page=A)
    assert cached(state).PG_dirty
    assert not cached(state).key_c


# read() and write()


def test_write_sets_the_change_bit_and_marks_the_page_dirty() -> None:
    """A page that the first write() fills is new: SetPageUptodate() clears the change bit once more."""
    state = linux(ext2)
    for known in (False, True):
        state.write(process=P1, file=ext2, at=A)
        page = cached(state)
        assert page.key_c == known
        assert page.PG_dirty
        assert page.tag_dirty


def test_write_makes_a_new_page_uptodate_once_it_is_dirty_and_does_not_say_that_it_was_used() -> None:
    state = linux(ext2)
    state.fork(process=P1, child=P2)
    state.write(process=P1, file=ext2, at=A, stop="set_page_dirty: PG_dirty set")
    assert not cached(state).PG_uptodate
    state.read(process=P2, file=ext2, at=A)
    assert state.system.kernel.tasks[P2].waits is cached(state).lock
    state.resume(task=P1)
    assert cached(state).PG_uptodate
    assert not cached(state).PG_referenced


def test_write_to_tmpfs_unlocks_the_page_and_then_marks_it_dirty() -> None:
    state = linux(tmpfs)
    state.write(process=P1, file=tmpfs, at=A, stop="shmem_write_end: page unlocked")
    page = cached(state)
    assert page.lock.owner is None
    assert not page.PG_dirty
    state.resume(task=P1)
    assert page.PG_dirty
    assert not page.tag_dirty


def test_read_of_a_tmpfs_hole_makes_no_page() -> None:
    state = linux(tmpfs)
    state.read(process=P1, file=tmpfs, at=A)
    assert file_of(state).pages == [None]


def test_write_past_the_end_makes_the_file_longer_with_a_hole() -> None:
    state = linux(ext2, pages=2)
    state.truncate(process=P1, file=ext2, size=0)
    state.write(process=P1, file=ext2, at=B)
    assert file_of(state).i_size == 2
    assert state.system.peek_file(file_of(state), A) == 0


# buffers


def with_clean_buffers(state: Live) -> Page:
    """The page has been written by write() and by write-back."""
    state.write(process=P1, file=ext2, at=A)
    state.writeback(flusher=pdflush, file=ext2)
    state.pageout_done(holder=ext2, page=A)
    page = cached(state)
    assert (page.PG_dirty, page.buffers) == (False, False)
    return page


@pytest.mark.parametrize(("disk", "buffers"), [(ext2, None), (xfs, True)])
def test_page_mkwrite_attaches_dirty_buffers_and_a_plain_write_fault_none(disk: Name, buffers: bool | None) -> None:
    state = linux(disk)
    state.store(process=P1, page=A)
    assert cached(state).buffers is buffers


def test_mpage_writes_a_page_without_buffers_and_gives_it_none() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A)
    state.writeback(flusher=pdflush, file=ext2)
    assert cached(state).PG_writeback
    assert cached(state).buffers is None


def test_reclaim_writes_a_page_without_buffers_by_new_ones() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=ext2, page=A, order=4)
    assert cached(state).PG_writeback
    assert cached(state).buffers is False


def test_write_fault_dirties_the_buffers() -> None:
    state = linux(ext2)
    page = with_clean_buffers(state)
    state.store(process=P1, page=A)
    assert page.buffers


def test_write_back_of_a_page_with_clean_buffers_cleans_it_without_io() -> None:
    state = linux(ext2)
    page = with_clean_buffers(state)
    answer(state, state.system.kernel.set_page_dirty_and_tag(page))
    state.writeback(flusher=pdflush, file=ext2)
    assert (page.PG_dirty, page.tag_dirty, page.PG_writeback) == (False, False, False)


def test_xfs_writes_a_page_with_clean_buffers() -> None:
    state = linux(xfs)
    state.store(process=P1, page=A)
    state.writeback(flusher=pdflush, file=xfs)
    state.pageout_done(holder=xfs, page=A)
    answer(state, state.system.kernel.set_page_dirty_and_tag(cached(state)))
    state.writeback(flusher=pdflush, file=xfs)
    assert cached(state).PG_writeback


def test_reclaim_takes_pg_dirty_away_from_a_page_with_clean_buffers() -> None:
    """The flag is set after shrink_page_list() has looked at it."""
    state = linux(ext2)
    page = with_clean_buffers(state)
    state.reclaim(reclaimer=kswapd, holder=ext2, page=A, order=4, stop="shrink_page_list: try_to_release_page")
    state.system.kernel.SetPageDirty(page)
    state.resume(task=kswapd)
    assert file_of(state).pages == [None]


def test_reclaim_keeps_a_page_whose_buffers_are_dirty_again() -> None:
    state = linux(ext2)
    state.fork(process=P1, child=P2)
    page = with_clean_buffers(state)
    state.reclaim(reclaimer=kswapd, holder=ext2, page=A, order=4, stop="shrink_page_list: try_to_release_page")
    answer(state, state.system.kernel.set_page_dirty(page))
    state.resume(task=kswapd)
    assert cached(state) is page
    assert page.buffers


def test_truncation_drops_the_buffers_of_a_page_that_is_still_referenced() -> None:
    state = linux(ext2)
    state.write(process=P1, file=ext2, at=A)
    page = cached(state)
    page.count += 1
    answer(state, state.system.kernel.truncate_inode_pages(file_of(state), 0))
    assert page.buffers is None
    page.count -= 1


def test_migration_hands_the_buffers_over() -> None:
    state = linux(ext2, arch="x86", also=("migration",))
    state.write(process=P1, file=ext2, at=A)
    state.load(process=P1, page=A)
    old = cached(state)
    state.move_pages(process=P1, page=A)
    assert cached(state) is not old
    assert (old.buffers, cached(state).buffers) == (None, True)


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        ("msync", {"process": P1, "page": A}),
        ("reclaim", {"reclaimer": kswapd, "holder": ext2, "page": A, "order": 4}),
    ],
)
def test_a_kernel_that_does_not_dirty_the_buffers_loses(rule: str, arguments: dict[str, Any]) -> None:
    state = Live(NoBuffers, "s390", Scope(frames=4, files=(ext2,)))
    with_clean_buffers(state)
    state.store(process=P1, page=A)
    with pytest.raises(Loss):
        getattr(state, rule)(**arguments)


# write-back


def test_write_back_finds_pages_by_the_dirty_tag_only() -> None:
    """Neither PG_dirty nor the pte nor the storage key is looked for."""
    for arch in ARCHES:
        state = linux(ext2, arch=arch)
        state.store(process=P1, page=A)
        cached(state).tag_dirty = False
        answer(state, state.system.kernel.write_cache_pages(file_of(state), sync=False))
        assert not cached(state).PG_writeback
        cached(state).tag_dirty = True
        answer(state, state.system.kernel.write_cache_pages(file_of(state), sync=False))
        assert cached(state).PG_writeback


@both_arches
@both_disks
def test_write_back_makes_shared_ptes_clean_and_read_only(arch: str, disk: Name) -> None:
    state = linux(disk, arch=arch)
    state.store(process=P1, page=A)
    state.writeback(flusher=pdflush, file=disk)
    assert not bits(state) & (WRITE | DIRTY)
    assert not cached(state).PG_dirty
    assert not cached(state).tag_dirty
    assert not cached(state).key_c


def test_page_mkclean_does_not_touch_private_ptes() -> None:
    """No pte of a private mapping can write to the page cache, so only a made-up one shows it."""
    state = linux(ext2, arch="x86", pages=2)
    mapped_privately(state, B)
    state.load(process=P1, page=B)
    state.store(process=P1, page=A)
    private = cached(state).ptes[bits(state, page=B) | DIRTY]
    mm_of(state, P1).pte[B] = private
    state.writeback(flusher=pdflush, file=ext2)
    assert not bits(state, page=A) & (WRITE | DIRTY)
    assert mm_of(state, P1).pte[B] is private


def test_write_back_leaves_the_ptes_of_tmpfs_alone() -> None:
    state = linux(tmpfs, arch="x86")
    state.store(process=P1, page=A)
    before = bits(state)
    page = cached(state)
    answer(state, state.system.kernel.clear_page_dirty_for_io(page))
    assert not page.PG_dirty
    assert bits(state) == before


def test_store_between_page_mkclean_and_the_clearing_ends_dirty() -> None:
    """Its set_page_dirty() waits for the page lock."""
    state = linux(ext2)
    state.store(process=P1, page=A)
    page = cached(state)
    state.writeback(flusher=pdflush, file=ext2, stop="clear_page_dirty_for_io: ptes cleaned")
    state.store(process=P1, page=A)
    assert bits(state) & WRITE
    assert state.system.kernel.tasks[P1].waits is page.lock
    state.resume(task=pdflush)
    assert not page.PG_dirty
    state.resume(task=P1)
    assert page.PG_dirty
    assert page.tag_dirty


def test_page_mkclean_gives_up_where_mprotect_has_cleared_the_pte_for_a_moment() -> None:
    state = linux(ext2, arch="x86")
    state.store(process=P1, page=A)
    state.mprotect(process=P1, page=A, prot=R, stop="change_pte_range: pte cleared")
    state.writeback(flusher=pdflush, file=ext2)
    assert cached(state).PG_writeback
    state.resume(task=P1)
    assert bits(state) & DIRTY


def test_write_back_leaves_a_page_under_writeback_alone_and_fsync_waits_for_it() -> None:
    state = linux(ext2)
    file, task = file_of(state), state.system.kernel.tasks[P1]
    state.store(process=P1, page=A)
    state.writeback(flusher=pdflush, file=ext2)
    state.store(process=P1, page=A)
    state.writeback(flusher=pdflush, file=ext2)
    assert (cached(state).io, cached(state).tag_dirty) == (1, True)
    state.fsync(process=P1, file=ext2)
    assert task.waits is cached(state)
    state.pageout_done(holder=ext2, page=A)
    assert file.blocks == [1]
    state.resume(task=P1)
    assert task.waits is cached(state)
    state.pageout_done(holder=ext2, page=A)
    assert file.blocks == [2]
    state.resume(task=P1)
    assert task.steps is None


@both_arches
@pytest.mark.parametrize("how", ["fsync", "msync"])
def test_fsync_and_msync_write_and_wait(arch: str, how: str) -> None:
    state = linux(ext2, arch=arch)
    state.store(process=P1, page=A)
    if how == "fsync":
        state.fsync(process=P1, file=ext2)
    else:
        state.msync(process=P1, page=A)
    state.pageout_done(holder=ext2, page=A)
    state.resume(task=P1)
    assert state.system.ghost.files[file_of(state)].promised == file_of(state).blocks == [1]


def test_msync_async_writes_nothing() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A)
    state.msync_async(process=P1, page=A)
    assert not cached(state).PG_writeback
    assert cached(state).PG_dirty


def test_fsync_of_tmpfs_writes_nothing() -> None:
    state = linux(tmpfs)
    state.write(process=P1, file=tmpfs, at=A)
    state.fsync(process=P1, file=tmpfs)
    assert cached(state).PG_dirty


def test_fsync_of_tmpfs_waits_for_a_write() -> None:
    state = linux(tmpfs)
    state.fork(process=P1, child=P2)
    state.write(process=P1, file=tmpfs, at=A, stop="generic_file_write: page locked")
    state.fsync(process=P2, file=tmpfs)
    assert state.system.kernel.tasks[P2].waits is file_of(state).i_mutex


def test_write_back_of_a_page_that_is_not_mapped_leaves_the_change_bit_and_so_a_spurious_write() -> None:
    state = linux(ext2)
    state.read(process=P1, file=ext2, at=A)
    state.write(process=P1, file=ext2, at=A)
    state.writeback(flusher=pdflush, file=ext2)
    state.pageout_done(holder=ext2, page=A)
    page = cached(state)
    assert page.key_c
    assert not page.PG_dirty
    state.load(process=P1, page=A)
    state.munmap(process=P1, page=A)
    assert page.PG_dirty
    assert page.content == file_of(state).blocks[A]


def test_failed_write_is_reported_once_and_the_page_is_not_dirtied_again() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A)
    state.writeback(flusher=pdflush, file=ext2)
    state.pageout_failed(holder=ext2, page=A)
    assert not cached(state).PG_dirty
    fsync = state.system.kernel.do_fsync
    assert [answer(state, fsync(file_of(state))) for _ in range(2)] == [False, True]


@both_arches
@pytest.mark.parametrize("patch", ["linux_2_6_26", "fsync_integrity"])
def test_fsync_ends_early_when_others_write_as_much_as_the_page_cache_had_twice(arch: str, patch: str) -> None:
    state = Live(load(patch), arch, Scope(pages=3, frames=4, files=(ext2,)))
    state.fork(process=P1, child=P2)
    state.write(process=P1, file=ext2, at=C)
    state.fsync(process=P1, file=ext2, stop="write_cache_pages: nr_to_write set")
    state.write(process=P2, file=ext2, at=A)
    state.write(process=P2, file=ext2, at=B)
    state.resume(task=P1)
    assert cached(state, C).PG_dirty == (patch == "linux_2_6_26")


def test_fsync_writes_what_was_dirty_before_it_however_much_is_written_twice() -> None:
    """With two pages in the file `nr_to_write` is enough."""
    state = linux(ext2, pages=2)
    state.fork(process=P1, child=P2)
    state.write(process=P1, file=ext2, at=B)
    state.fsync(process=P1, file=ext2, stop="write_cache_pages: page lock")
    state.write(process=P2, file=ext2, at=A)
    state.resume(task=P1)
    assert cached(state, B).PG_writeback


def test_fsync_of_an_empty_file_does_not_look_for_an_error() -> None:
    state = linux(ext2)
    file_of(state).i_size = 0
    file_of(state).AS_EIO = True
    assert answer(state, state.system.kernel.do_fsync(file_of(state)))
    assert file_of(state).AS_EIO


def test_fsync_misses_a_store_through_a_pte_whose_page_is_not_yet_marked_dirty() -> None:
    """Two threads: 2.6.26 says that it has written what the other thread has stored, and has not."""
    state = linux(ext2, pages=2, also=("threads",))
    state.store(process=P1, page=A, stop="do_linear_fault: page unlocked")
    state.store(process=P2, page=A)
    with pytest.raises(Loss) as caught:
        state.fsync(process=P2, file=ext2)
    assert caught.value.disk


def test_fsync_misses_a_store_to_a_page_that_another_process_has_not_yet_tagged() -> None:
    """2.6.26 again, without threads."""
    state = linux(ext2)
    state.fork(process=P1, child=P2)
    state.store(process=P1, page=A, stop="set_page_dirty: PG_dirty set")
    state.store(process=P2, page=A)
    with pytest.raises(Loss) as caught:
        state.fsync(process=P2, file=ext2)
    assert caught.value.disk


# reclaim


@both_arches
def test_reclaim_writes_a_dirty_page_of_ext2_to_the_file(arch: str) -> None:
    state = linux(ext2, arch=arch)
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    assert mm_of(state, P1).pte[A] is None
    assert cached(state).PG_writeback
    state.pageout_done(holder=ext2, page=A)
    assert file_of(state).blocks == [1]


@both_arches
@pytest.mark.parametrize("file", [ext2, tmpfs], ids=repr)
def test_reclaim_drops_a_clean_page(arch: str, file: Name) -> None:
    state = linux(file, arch=arch)
    state.load(process=P1, page=A)
    page = cached(state)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    assert file_of(state).pages == [None]
    assert page.count == 0
    state.load(process=P1, page=A)


@both_arches
def test_reclaim_moves_a_dirty_page_of_tmpfs_to_the_swap_cache_and_a_fault_moves_it_back(arch: str) -> None:
    state = linux(tmpfs, arch=arch)
    file = file_of(state)
    state.store(process=P1, page=A)
    page = cached(state)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    slot = file.swap[A]
    assert slot is not None
    assert slot.page is page
    assert file.pages == [None]
    assert page.PG_dirty
    state.load(process=P1, page=A)
    assert cached(state) is page
    assert page.PG_dirty
    assert not page.PG_swapcache
    assert slot.map == 0


def swapped_out() -> Live:
    state = linux(tmpfs)
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.reclaim(reclaimer=kswapd, holder=tmpfs, page=A, order=4)
    state.pageout_done(holder=tmpfs, page=A)
    state.reclaim(reclaimer=kswapd, holder=tmpfs, page=A, order=4)
    return state


def test_page_of_tmpfs_is_read_back_from_swap_and_its_slot_is_free_at_once() -> None:
    state = swapped_out()
    slot = file_of(state).swap[A]
    assert slot is not None
    assert slot.page is None
    state.load(process=P1, page=A)
    assert cached(state).content == 1
    assert cached(state).PG_dirty
    assert slot.map == 0


def test_swapoff_brings_a_page_of_tmpfs_back() -> None:
    state = swapped_out()
    state.swapoff(task=swapoff)
    assert file_of(state).swap == [None]
    assert cached(state).PG_dirty
    state.load(process=P1, page=A)


def test_page_of_tmpfs_stays_dirty_when_no_swap_slot_is_free() -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope(slots=0, files=(tmpfs,)))
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    assert cached(state).PG_dirty


# truncation, unlink


@both_arches
@pytest.mark.parametrize("file", [ext2, xfs, tmpfs], ids=repr)
def test_truncation_takes_the_ptes_the_private_copies_and_the_page_cache(arch: str, file: Name) -> None:
    state = linux(file, arch=arch, pages=2)
    state.store(process=P1, page=A)
    mapped_privately(state, B)
    state.store(process=P1, page=B)
    state.truncate(process=P1, file=file, size=0)
    assert mm_of(state, P1).pte == [None, None]
    assert file_of(state).pages == [None, None]
    assert len(state.system.kernel.free) == 4
    assert state.system.peek_file(file_of(state), A) == PAST_END


def test_truncation_forgets_what_was_read_back_from_swap_before_it() -> None:
    state = linux(tmpfs, pages=2)
    state.store(process=P1, page=A)
    assert file_of(state).SHMEM_PAGEIN
    state.truncate(process=P1, file=tmpfs, size=1)
    assert not file_of(state).SHMEM_PAGEIN


def test_load_past_the_end_is_given_up() -> None:
    state = linux(ext2)
    state.truncate(process=P1, file=ext2, size=0)
    state.load(process=P1, page=A)
    assert mm_of(state, P1).pte == [None]
    assert file_of(state).pages == [None]


def test_file_that_was_cut_and_made_longer_reads_as_zeroes() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A)
    state.fsync(process=P1, file=ext2)
    state.pageout_done(holder=ext2, page=A)
    state.resume(task=P1)
    state.truncate(process=P1, file=ext2, size=0)
    state.truncate(process=P1, file=ext2, size=1)
    state.load(process=P1, page=A)
    assert cached(state).content == 0


def test_tmpfs_page_that_is_made_while_the_file_is_cut_does_not_stay() -> None:
    """It would be mapped past the end, and be there again when the file grows."""
    state = linux(tmpfs)
    state.fork(process=P1, child=P2)
    state.store(process=P1, page=A, stop="add_to_page_cache: page allocated")
    state.truncate(process=P2, file=tmpfs, size=0)
    state.resume(task=P1)
    assert file_of(state).pages == [None]
    assert mm_of(state, P1).pte[A] is None


def test_page_that_truncation_came_before_is_read_as_zeroes() -> None:
    state = linux(ext2)
    state.fork(process=P1, child=P2)
    state.write(process=P1, file=ext2, at=A)
    state.fsync(process=P1, file=ext2)
    state.pageout_done(holder=ext2, page=A)
    state.resume(task=P1)
    state.reclaim(reclaimer=kswapd, holder=ext2, page=A, order=4)
    state.load(process=P1, page=A, stop="add_to_page_cache: page allocated")
    state.truncate(process=P2, file=ext2, size=0, stop="vmtruncate: page cache cut")
    state.resume(task=P1)
    state.resume(task=P2)
    state.truncate(process=P2, file=ext2, size=1)
    assert state.system.peek_file(file_of(state), A) == 0


def test_truncation_frees_the_swap_slot_of_tmpfs() -> None:
    state = swapped_out()
    state.truncate(process=P1, file=tmpfs, size=0)
    assert file_of(state).swap == [None]
    assert not any(slot.map for slot in state.system.kernel.slots)


@both_arches
@pytest.mark.parametrize("file", [ext2, tmpfs], ids=repr)
def test_unlinked_file_lives_until_its_last_mapping_is_gone(arch: str, file: Name) -> None:
    state = linux(file, arch=arch)
    state.store(process=P1, page=A)
    state.unlink(process=P1, file=file)
    state.load(process=P1, page=A)
    assert cached(state).content == 1
    state.munmap(process=P1, page=A)
    assert file_of(state).pages == [None]
    assert len(state.system.kernel.free) == 4


def test_swapoff_may_be_the_last_user_of_a_file_while_it_has_a_page_locked() -> None:
    """mmput() of the last user of the address space ends in truncate_inode_pages()."""
    state = linux(ext2)
    mapped_privately(state, A)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.write(process=P2, file=ext2, at=A)
    state.unlink(process=P1, file=ext2)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    state.munmap(process=P2, page=A)
    state.swapoff(task=swapoff, stop="unuse_pte: ptl")
    state.exit(process=P1)
    state.resume(task=swapoff)
    assert file_of(state).pages == [None]


def test_new_file_has_nothing_of_the_unlinked_one() -> None:
    state = linux(ext2)
    state.store(process=P1, page=A)
    state.unlink(process=P1, file=ext2)
    state.munmap(process=P1, page=A)
    state.creat(file=ext2)
    state.mmap_file(process=P1, page=A, file=ext2, at=A, kind=SHARED)
    state.load(process=P1, page=A)
    assert cached(state).content == 0


# bookkeeping


def test_page_that_leaves_the_page_cache_while_mapped_is_a_bug() -> None:
    state = linux(ext2)
    state.load(process=P1, page=A)
    with pytest.raises(KernelBug, match="leaves the page cache, but is mapped"):
        state.system.kernel.remove_from_page_cache_locked(cached(state))


def test_anonymous_page_that_is_unmapped_without_a_swap_slot_is_a_bug() -> None:
    state = linux()
    state.store(process=P1, page=A)
    vma = mm_of(state, P1).mmap[0]
    value = mm_of(state, P1).pte[A]
    assert isinstance(value, Pte)
    with pytest.raises(KernelBug, match="nowhere to find it again"):
        answer(state, state.system.kernel.try_to_unmap_one(value.page, vma))


def test_walk_reaches_the_situations_of_files() -> None:
    walk = Walk(load("linux_2_6_26"), "s390", Scope(frames=5, files=(ext2, tmpfs)), seed=0)
    for _ in range(300):
        walk.run()
    assert walk.marks.keys() >= {
        "clean drop from the page cache",
        "file write failed",
        "swapoff brings a tmpfs page back",
        "tmpfs page moved to swap",
        "write() to a page that is not mapped",
    }
