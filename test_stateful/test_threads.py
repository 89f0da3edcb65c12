"""Threads, cached translations, pins and migration do what they do in 2.6.26: one fact in each test.

With threads P2 is one of P1's; page A is mapped, private and anonymous unless the scope has a file.
"""

import pytest

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from mm_sim.mm import Mm
from mm_sim.names import P1, P2, P3, A, B, Name, R, direct, ext2, kswapd, pdflush, tmpfs
from mm_sim.page import DIRTY, WRITE, Migration, Page, Pte
from mm_sim.sched import Task
from mm_sim.series import load
from mm_sim.snapshot import canonical
from mm_sim.system import Loss, Scope
from strategies.reproducer import Live, StaleReproducer
from test_stateful.faults import AioDoesNotLookAgain, DirectWriteLeavesTheCache

both_arches = pytest.mark.parametrize("arch", ARCHES)
any_memory = pytest.mark.parametrize("files", [(), (tmpfs,), (ext2,)], ids=str)


def linux(arch: str, *also: str, files: tuple[Name, ...] = (), processes: int = 2) -> Live:
    return Live(load("linux_2_6_26"), arch, Scope(processes, frames=4, files=files, also=also))


def task(state: Live, name: int) -> Task:
    return state.system.kernel.tasks[name]


def mm_of(state: Live, process: int) -> Mm:
    mm = task(state, process).mm
    assert mm is not None
    return mm


def pte(state: Live, process: int = P1) -> Pte:
    value = mm_of(state, process).pte[A]
    assert isinstance(value, Pte)
    return value


def page_of(state: Live, process: int = P1) -> Page:
    return pte(state, process).page


# threads


@both_arches
def test_a_thread_sees_what_the_other_has_stored(arch: str) -> None:
    state = linux(arch, "threads")
    state.store(process=P1, page=A)
    state.store(process=P2, page=A)
    state.load(process=P1, page=A)
    assert task(state, P1).mm is task(state, P2).mm
    assert page_of(state).content == 2


@both_arches
def test_exit_of_one_thread_leaves_the_address_space_to_the_other(arch: str) -> None:
    state = linux(arch, "threads")
    state.store(process=P2, page=A)
    state.exit(process=P2)
    assert mm_of(state, P1).mm_users == 1
    state.load(process=P1, page=A)


@both_arches
def test_clone_brings_one_more_thread_of_the_same_address_space(arch: str) -> None:
    state = linux(arch, "threads", processes=3)
    state.clone(process=P2, child=P3)
    state.store(process=P3, page=A)
    assert mm_of(state, P1).mm_users == 3
    assert bool(mm_of(state, P1).tlbs) == (arch == "x86")


def test_munmap_of_one_thread_makes_the_fault_of_the_other_wait() -> None:
    state = linux("s390", "threads")
    state.store(process=P1, page=A)
    page = page_of(state)
    state.munmap(process=P1, page=A, stop="page_remove_rmap: last mapping gone")
    state.store(process=P2, page=A)
    assert task(state, P2).waits is mm_of(state, P1).mmap_sem
    state.resume(task=P1)
    state.resume(task=P2)
    assert mm_of(state, P1).pte[A] is None
    assert page.count == 0


@both_arches
def test_child_has_what_another_thread_stores_during_fork_or_what_was_there_before(arch: str) -> None:
    for stop, found in (("copy_pte_range: ptl", 2), (None, 1)):
        state = linux(arch, "threads", processes=3)
        state.store(process=P1, page=A)
        state.fork(process=P1, child=P3, stop=stop)
        state.store(process=P2, page=A)
        if stop is not None:
            state.resume(task=P1)
        state.load(process=P3, page=A)
        assert page_of(state, P3).content == found


@both_arches
@pytest.mark.parametrize("files", [(), (ext2,)], ids=str)
def test_store_to_where_another_thread_moves_a_page_is_no_loss(arch: str, files: tuple[Name, ...]) -> None:
    for stop in ("sys_mremap: mmap_sem", "zap_pte_range: ptl"):
        state = Live(load("linux_2_6_26"), arch, Scope(pages=2, frames=4, files=files, also=("threads",)))
        state.store(process=P1, page=A)
        state.store(process=P1, page=B)
        state.mremap(process=P1, page=B, to=A, stop=stop)
        state.store(process=P2, page=A)
        state.resume(task=P1, stop="zap_pte_range: ptl")
        state.store(process=P2, page=A)
        state.resume(task=P1)
        state.system.check()


# cached translations


def test_a_translation_is_cached_where_there_is_another_thread_on_x86_only() -> None:
    cached = {}
    for arch in ARCHES:
        for also in ((), ("threads",)):
            state = linux(arch, *also)
            state.store(process=P1, page=A)
            cached[arch, also] = bool(task(state, P1).tlb)
    assert [key for key, yes in cached.items() if yes] == [("x86", ("threads",))]


def test_stale_translation_takes_stores_until_the_flush_and_not_after() -> None:
    state = linux("x86", "threads")
    state.store(process=P2, page=A)
    page = page_of(state)
    state.munmap(process=P1, page=A, stop="tlb_flush: TLBs not yet flushed")
    assert mm_of(state, P1).pte[A] is None
    state.store(process=P2, page=A)
    assert page.content == 2
    assert state.system.kernel.marks["store through a translation that only the TLB still has"]
    state.resume(task=P1, stop="tlb_finish_mmu: TLBs flushed")
    state.store(process=P2, page=A)
    assert page.content == 2
    assert task(state, P2).waits is mm_of(state, P1).mmap_sem


def test_store_through_a_clean_translation_sets_the_dirty_bit_of_the_pte() -> None:
    state = linux("x86", "threads", files=(tmpfs,))
    state.load(process=P2, page=A)
    state.store(process=P2, page=A)
    assert pte(state).bits & DIRTY


def test_fault_drops_the_translation() -> None:
    state = linux("x86", "threads", files=(ext2,))
    state.load(process=P2, page=A)
    assert task(state, P2).tlb
    state.store(process=P2, page=A, stop="do_page_fault: mmap_sem")
    assert not task(state, P2).tlb


@pytest.mark.parametrize(("name", "references"), [("linux_2_6_26", 2), ("mmu_gather_flush", 1)])
def test_forced_flush_gives_a_dirty_file_page_back_before_the_page_tables_go(name: str, references: int) -> None:
    state = Live(load(name), "x86", Scope(files=(ext2,), also=("threads",)))
    state.store(process=P1, page=A)
    page = page_of(state)
    state.munmap(process=P1, page=A, stop="free_pgtables: anon_vma lock")
    assert page.count == references


def test_mprotect_is_seen_by_the_other_thread_once_the_tlbs_are_flushed() -> None:
    state = linux("x86", "threads")
    state.store(process=P2, page=A)
    state.mprotect(process=P1, page=A, prot=R, stop="change_protection: TLBs not yet flushed")
    state.store(process=P2, page=A)
    assert page_of(state).content == 2
    state.resume(task=P1)
    with pytest.raises(StaleReproducer, match="cannot happen"):
        state.store(process=P2, page=A)
    assert not task(state, P2).tlb


@pytest.mark.parametrize("who", ["reclaim", "write-back"])
def test_reclaim_and_write_back_flush_with_the_pte(who: str) -> None:
    state = linux("x86", "threads", files=(ext2,))
    state.store(process=P2, page=A)
    if who == "reclaim":
        state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4, stop="try_to_unmap_one: pte cleared")
    else:
        state.writeback(flusher=pdflush, file=ext2, stop="page_mkclean_file: next vma")
    assert not task(state, P2).tlb


def test_dirty_bit_set_before_the_pte_is_zapped_reaches_the_file_page() -> None:
    state = linux("x86", "threads", files=(tmpfs,))
    state.load(process=P1, page=A)
    state.store(process=P2, page=A)
    page = page_of(state)
    state.munmap(process=P1, page=A)
    assert page.PG_dirty


def test_thread_that_exits_leaves_no_translations() -> None:
    state = linux("x86", "threads")
    state.store(process=P2, page=A)
    state.exit(process=P2)
    assert task(state, P2).tlb is None
    assert mm_of(state, P1).tlbs == [task(state, P1).tlb]


# pins


@both_arches
@any_memory
def test_direct_read_arrives_and_marks_the_page_dirty(arch: str, files: tuple[Name, ...]) -> None:
    state = linux(arch, "pins", files=files)
    state.load(process=P1, page=A)
    state.read_direct(process=P1, page=A)
    assert page_of(state).content == 1
    assert page_of(state).PG_dirty
    state.load(process=P1, page=A)


@both_arches
@any_memory
def test_pinned_page_is_not_freed_by_reclaim(arch: str, files: tuple[Name, ...]) -> None:
    state = linux(arch, "pins", files=files)
    state.store(process=P1, page=A)
    page = page_of(state)
    state.read_direct(process=P1, page=A, stop="dio_bio_submit: page pinned")
    state.reclaim(reclaimer=direct, holder=P1, page=A, order=4)
    assert not isinstance(mm_of(state, P1).pte[A], Pte)
    assert not page.PG_writeback
    assert page.count > 1
    state.resume(task=P1)
    state.load(process=P1, page=A)
    assert page_of(state) is page
    assert page.content == 2


@both_arches
def test_direct_read_into_a_page_that_is_truncated_meanwhile_goes_nowhere(arch: str) -> None:
    state = linux(arch, "pins", files=(ext2,))
    state.fork(process=P1, child=P2)
    state.read_direct(process=P1, page=A, stop="dio_bio_submit: page pinned")
    for size in (0, 1):
        state.truncate(process=P2, file=ext2, size=size)
    state.resume(task=P1)
    assert state.system.peek_file(state.system.kernel.files[0], A) == 0


@both_arches
def test_direct_read_goes_to_the_page_that_was_pinned_and_not_to_what_is_mapped_there_now(arch: str) -> None:
    state = linux(arch, "pins", "threads")
    state.read_direct(process=P1, page=A, stop="dio_bio_submit: page pinned")
    state.munmap(process=P2, page=A)
    state.mmap(process=P2, page=A)
    state.resume(task=P1)
    state.load(process=P2, page=A)
    assert page_of(state).content == 0


@both_arches
def test_munmap_waits_while_a_page_is_being_pinned(arch: str) -> None:
    state = linux(arch, "pins", "threads")
    state.read_direct(process=P1, page=A, stop="do_anonymous_page: ptl")
    state.munmap(process=P2, page=A)
    waits = task(state, P2).waits
    assert waits is not None
    assert list(waits.owners()) == [task(state, P1)]


def aio_read_of_a_page_that_is_cleaned_meanwhile(kernel: type[Kernel]) -> Live:
    state = Live(kernel, "s390", Scope(frames=4, files=(ext2,), also=("pins",)))
    state.aio_read(process=P1, page=A, stop="dio_bio_submit: page marked dirty")
    state.writeback(flusher=pdflush, file=ext2)
    state.pageout_done(holder=ext2, page=A)
    state.resume(task=P1)
    return state


def test_aio_marks_a_page_dirty_again_that_was_cleaned_meanwhile() -> None:
    assert page_of(aio_read_of_a_page_that_is_cleaned_meanwhile(load("linux_2_6_26"))).PG_dirty
    state = aio_read_of_a_page_that_is_cleaned_meanwhile(AioDoesNotLookAgain)
    with pytest.raises(Loss):
        state.msync(process=P1, page=A)


def test_aio_leaves_a_page_alone_that_is_still_dirty() -> None:
    state = linux("s390", "pins", files=(ext2,))
    state.aio_read(process=P1, page=A, stop="bio_check_pages_dirty: page filled")
    state.resume(task=P1, stop="bio_dirty_fn: page is clean")
    assert task(state, P1).steps is None


def a_file_in_the_page_cache(kernel: type[Kernel]) -> Live:
    state = Live(kernel, "x86", Scope(frames=4, files=(ext2,), also=("pins",)))
    state.munmap(process=P1, page=A)
    state.write(process=P1, file=ext2, at=A)
    state.writeback(flusher=pdflush, file=ext2)
    state.pageout_done(holder=ext2, page=A)
    return state


def test_direct_write_takes_the_page_out_of_the_page_cache() -> None:
    state = a_file_in_the_page_cache(load("linux_2_6_26"))
    state.write_direct(process=P1, file=ext2, at=A)
    file = state.system.kernel.files[0]
    assert (file.pages, file.blocks) == ([None], [2])
    with pytest.raises(Loss):
        a_file_in_the_page_cache(DirectWriteLeavesTheCache).write_direct(process=P1, file=ext2, at=A)


def test_direct_write_first_writes_what_is_dirty_and_reports_its_error() -> None:
    state = linux("s390", "pins", files=(ext2,))
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.write_direct(process=P2, file=ext2, at=A)
    state.pageout_failed(holder=ext2, page=A)
    state.resume(task=P2)
    file = state.system.kernel.files[0]
    assert (file.blocks, file.AS_EIO) == ([0], False)
    assert state.system.ghost.files[file].errors == [0]


def test_direct_write_leaves_a_page_that_is_dirtied_meanwhile_in_the_page_cache() -> None:
    """Whether its content or what was written is read then is open."""
    state = linux("s390", "pins", files=(ext2,))
    state.fork(process=P1, child=P2)
    state.write_direct(process=P2, file=ext2, at=A, stop="generic_file_direct_IO: direct_IO")
    state.mlock(process=P1, page=A)
    state.resume(task=P2)
    file = state.system.kernel.files[0]
    assert (file.blocks, state.system.peek_file(file, A)) == ([1], 0)
    assert state.system.ghost.files[file].values == [(0, 1)]


def test_direct_write_fails_where_it_finds_a_dirty_page() -> None:
    state = linux("s390", "pins", files=(ext2,))
    state.fork(process=P1, child=P2)
    state.write_direct(process=P2, file=ext2, at=A, stop="filemap_fdatawait: waited")
    state.store(process=P1, page=A)
    state.resume(task=P2)
    file = state.system.kernel.files[0]
    assert (file.blocks, state.system.peek_file(file, A)) == ([0], 1)


@both_arches
def test_ptrace_writes_to_the_tracee_alone(arch: str) -> None:
    state = linux(arch, "pins")
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.ptrace(process=P1, tracee=P2, page=A)
    assert (page_of(state, P1).content, page_of(state, P2).content) == (1, 2)
    assert page_of(state, P2).PG_dirty


@both_arches
def test_ptrace_of_a_file_mapping_arrives_in_the_file(arch: str) -> None:
    state = linux(arch, "pins", files=(ext2,))
    state.fork(process=P1, child=P2)
    state.ptrace(process=P1, tracee=P2, page=A)
    state.load(process=P1, page=A)
    page = state.system.kernel.files[0].pages[A]
    assert page is not None
    assert (page.content, page.tag_dirty) == (1, True)


@both_arches
def test_tracee_stands_still_while_it_is_traced_and_its_other_threads_run(arch: str) -> None:
    state = linux(arch, "threads", "pins", processes=3)
    state.fork(process=P1, child=P3)
    state.ptrace(process=P3, tracee=P1, page=A, stop="access_process_vm: page pinned")
    for call in (state.store, state.load, state.munmap):
        with pytest.raises(StaleReproducer):
            call(process=P1, page=A)
    with pytest.raises(StaleReproducer):
        state.resume(task=P1)
    state.store(process=P2, page=A)
    state.resume(task=P3)
    state.store(process=P1, page=A)


@both_arches
def test_tracee_that_goes_on_is_not_the_state_in_which_it_is_traced(arch: str) -> None:
    keys = []
    for tracer in (P2, P3):
        state = linux(arch, "pins", processes=3)
        state.fork(process=P1, child=P2)
        state.fork(process=P1, child=P3)
        state.ptrace(process=tracer, tracee=P1, page=A, stop="access_process_vm: mmap_sem")
        keys.append(canonical(state.system, symmetric=False)[0])
        going = task(state, P1)
        going.steps = going.waits = None
        keys.append(canonical(state.system, symmetric=False)[0])
    assert len({*keys}) == 4


# migration


@any_memory
def test_migration_keeps_content_dirtiness_and_write_permission(files: tuple[Name, ...]) -> None:
    state = linux("x86", "migration", files=files)
    state.store(process=P1, page=A)
    old = page_of(state)
    state.move_pages(process=P1, page=A)
    new = page_of(state)
    assert new is not old
    assert old.count == 0
    assert new.content == 1
    assert new.PG_dirty
    assert new.tag_dirty == (files == (ext2,))
    assert pte(state).bits & (WRITE | DIRTY) == WRITE


def test_migration_keeps_a_clean_page_clean_and_a_read_only_pte_read_only() -> None:
    state = linux("x86", "migration", files=(ext2,))
    state.load(process=P1, page=A)
    state.move_pages(process=P1, page=A)
    assert not page_of(state).PG_dirty
    assert not pte(state).bits & WRITE


def test_store_through_one_pte_reaches_who_still_has_the_migration_entry() -> None:
    state = linux("x86", "migration", files=(tmpfs,))
    state.fork(process=P1, child=P2)
    for process in (P1, P2):
        state.store(process=process, page=A)
    state.move_pages(process=P2, page=A, stop="remove_migration_ptes: next vma")
    assert isinstance(mm_of(state, P2).pte[A], Migration)
    state.store(process=P1, page=A)
    state.resume(task=P2)
    state.load(process=P2, page=A)
    assert page_of(state, P2).content == 3


def test_page_in_the_swap_cache_migrates_by_way_of_swap_ptes() -> None:
    state = linux("x86", "migration")
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    state.load(process=P1, page=A)
    old = page_of(state)
    state.move_pages(process=P1, page=A, stop="unmap_and_move: unmapped")
    slot = mm_of(state, P1).pte[A]
    assert slot is old.private
    state.resume(task=P1)
    assert slot is not None
    assert slot.page is not old
    state.load(process=P1, page=A)
    assert page_of(state).content == 1


def test_fault_at_a_migration_entry_waits_for_the_page_lock_and_its_reference_keeps_the_page_where_it_is() -> None:
    state = linux("x86", "threads", "migration")
    state.store(process=P1, page=A)
    old = page_of(state)
    state.move_pages(process=P1, page=A, stop="unmap_and_move: unmapped")
    assert isinstance(mm_of(state, P1).pte[A], Migration)
    state.store(process=P2, page=A)
    assert task(state, P2).waits is old.lock
    state.resume(task=P1)
    state.resume(task=P2)
    assert page_of(state) is old
    assert old.content == 2


def test_pinned_page_does_not_migrate() -> None:
    state = linux("x86", "pins", "migration", files=(ext2,))
    state.store(process=P1, page=A)
    old = page_of(state)
    state.fork(process=P1, child=P2)
    state.load(process=P2, page=A)
    state.read_direct(process=P1, page=A, stop="dio_bio_submit: page pinned")
    state.move_pages(process=P2, page=A)
    assert page_of(state) is old
    state.resume(task=P1)
    state.load(process=P1, page=A)


def test_s390_does_not_migrate() -> None:
    state = linux("s390", "migration")
    state.store(process=P1, page=A)
    with pytest.raises(StaleReproducer, match="cannot happen"):
        state.move_pages(process=P1, page=A)


def test_a_page_past_the_end_of_its_file_is_not_lost_while_it_is_moved() -> None:
    """ftruncate(2) has set the size and waits for rmap; until then a store goes through the old pte."""
    state = linux("x86", "migration", files=(ext2,))
    state.load(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.load(process=P2, page=A)
    state.move_pages(process=P1, page=A, stop="page_check_address: ptl")
    state.truncate(process=P2, file=ext2, size=0)
    state.resume(task=P1)
    state.store(process=P1, page=A)
    state.move_pages(process=P1, page=A, stop="try_to_unmap_file: next vma")
    assert isinstance(mm_of(state, P1).pte[A], Migration)
    state.resume(task=P1)
    state.resume(task=P2)
    assert state.system.kernel.files[0].pages[A] is None
