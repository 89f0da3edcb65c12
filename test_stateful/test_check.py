"""The loss check and the bookkeeping: each check of them, firing."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from mm_sim.bookkeeping import Inconsistent, recount, recount_fixed
from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.mm import VM_READ
from mm_sim.names import P1, P2, A, ext2, kswapd, pdflush
from mm_sim.page import GARBAGE, WRITE, Page, Pte
from mm_sim.sched import KernelBug, Steps
from mm_sim.series import load
from mm_sim.system import FreedFrame, Loss, Scope, System, WrongStore
from strategies.reproducer import Live
from strategies.rules import RULES


def test_a_page_that_changes_behind_the_back_of_the_kernel_is_a_loss() -> None:
    system, page = anonymous()
    page.content = 0
    with pytest.raises(Loss, match="P1 would read 0 at page A, where 1 was stored"):
        system.after()


def test_a_loss_in_another_process_than_the_one_that_runs_is_seen() -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope())
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.system.kernel.mms[1].pte[A] = None
    with pytest.raises(Loss, match="P2 would read 0 at page A"):
        state.load(process=P1, page=A)


def test_an_empty_pte_under_its_ptl_is_not_looked_at() -> None:
    system, _ = anonymous()
    mm, task = system.kernel.mms[0], system.kernel.current
    mm.pte[A] = None
    mm.ptl.acquire(task)
    system.check()
    mm.ptl.release(task)
    with pytest.raises(Loss, match="P1 would read 0"):
        system.check()


def test_a_page_of_a_file_that_changes_is_a_loss() -> None:
    system, page = of_file()
    system.kernel.mms[0].pte[A] = None
    page.content = 0
    with pytest.raises(Loss, match="ext2 would read 0 at page A, where 1 was stored"):
        system.check()


def test_a_promise_that_the_disk_does_not_keep_is_a_loss() -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope(files=(ext2,)))
    state.system.ghost.files[state.system.kernel.files[0]].promised[A] = 1
    with pytest.raises(Loss, match="ext2 has 0 on disk at page A, where 1 was said to be written"):
        state.system.check()


def test_a_mapcount_that_is_wrong_hides_no_loss() -> None:
    """Two processes map the page, whose mapcount says one; a store of the child reaches the parent's page, too."""
    state = Live(load("linux_2_6_26"), "s390", Scope())
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    child = state.system.kernel.mms[1]
    pte = child.pte[A]
    assert isinstance(pte, Pte)
    pte.page.mapcount = 1
    child.pte[A] = pte.set(WRITE)
    with pytest.raises(Loss, match="P1 would read 2 at page A, where 1 was stored"):
        state.store(process=P2, page=A)


@pytest.mark.parametrize("disk", [False, True])
def test_a_loss_crosses_processes(disk: bool) -> None:
    loss = Loss(P1, A, (1, 2), 0, disk)
    other = pickle.loads(pickle.dumps(loss))
    assert (str(other), other.disk, other.expected) == (str(loss), disk, (1, 2))
    assert other.process is P1


def test_a_store_to_a_page_without_what_was_stored_before_is_a_loss() -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope())
    state.store(process=P1, page=A)
    pte = state.system.kernel.mms[0].pte[A]
    assert isinstance(pte, Pte)
    pte.page.content = 0
    with pytest.raises(WrongStore, match="a store to page A of P1 reached a page that had 0, where 1 was stored"):
        state.store(process=P1, page=A)


def test_a_write_to_a_page_without_what_was_written_before_is_a_loss() -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope(files=(ext2,), slots=0))
    state.write(process=P1, file=ext2, at=A)
    page = state.system.kernel.files[0].pages[A]
    assert page is not None
    page.content = 0
    with pytest.raises(WrongStore, match="a store to page A of ext2 reached a page that had 0, where 1 was stored"):
        state.write(process=P1, file=ext2, at=A)


def test_a_write_of_a_page_that_was_never_read_in_is_a_write_of_the_whole_page() -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope(files=(ext2,), slots=0))
    state.write(process=P1, file=ext2, at=A, stop="generic_file_write: page locked")
    page = state.system.kernel.files[0].pages[A]
    assert page is not None
    assert (page.PG_uptodate, page.content) == (False, GARBAGE)
    state.resume(task=P1)


@pytest.mark.parametrize(
    ("filled", "pinned"),
    [("read_direct", "dio_bio_submit: page pinned"), ("ptrace", "access_process_vm: page pinned")],
)
def test_what_fills_another_page_than_the_one_that_is_mapped_is_a_loss(filled: str, pinned: str) -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope(also=("pins",)))
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    tracee = {"tracee": P1} if filled == "ptrace" else {}
    getattr(state, filled)(process=P2 if tracee else P1, **tracee, page=A, stop=pinned)
    kernel = state.system.kernel
    copy = kernel.alloc_page()
    mapped = kernel.mms[0].pte[A]
    assert copy is not None
    assert isinstance(mapped, Pte)
    mapped.page.content, copy.content = 0, 1
    kernel.mms[0].pte[A] = copy.ptes[mapped.bits]
    with pytest.raises(WrongStore, match="a store to page A of P1 reached a page that had 0, where 1 was stored"):
        state.resume(task=P2 if tracee else P1)


def test_a_frame_that_a_cpu_reaches_after_it_was_freed_is_a_loss() -> None:
    system, page = of_file("threads")
    system.kernel.mms[0].pte[A] = None
    page.count = 0
    with pytest.raises(FreedFrame, match="P1 reaches frame0 at page A, which was freed"):
        system.check()


def test_a_page_that_is_being_taken_away_may_outlive_its_pte_in_a_tlb_until_it_is_freed() -> None:
    state = Live(load("linux_2_6_26"), "x86", Scope(also=("threads",)))
    state.store(process=P1, page=A)
    page = page_of(state)
    state.munmap(process=P2, page=A, stop="tlb_flush: TLBs not yet flushed")
    assert page.count == 1
    page.content = 0
    state.system.check()
    page.count = 0
    with pytest.raises(FreedFrame, match="P1 reaches frame0 at page A"):
        state.system.check()


def test_a_cpu_that_would_load_something_else_than_the_page_table_has_is_a_loss() -> None:
    state = Live(load("linux_2_6_26"), "x86", Scope(also=("threads",)))
    state.store(process=P1, page=A)
    copy = state.system.kernel.alloc_page()
    assert copy is not None
    copy.content = 1
    state.system.kernel.mms[0].pte[A] = copy.ptes[WRITE]
    cached = state.system.kernel.tasks[P1].tlb
    assert cached is not None
    state.system.check()
    cached[A].page.content = 0
    with pytest.raises(Loss, match="P1 would read 0 at page A, where 1 was stored"):
        state.system.check()


@pytest.mark.parametrize("filled", [True, False])
def test_what_fills_or_stores_to_a_frame_that_was_freed_is_a_loss(filled: bool) -> None:
    state = Live(load("linux_2_6_26"), "s390", Scope(also=("pins",)))
    state.store(process=P1, page=A)
    if filled:
        state.read_direct(process=P1, page=A, stop="dio_bio_submit: page pinned")
    page_of(state).count = 0
    with pytest.raises(FreedFrame, match="P1 reaches frame0 at page A, which was freed"):
        state.resume(task=P1) if filled else state.store(process=P1, page=A)


@pytest.mark.parametrize("kind", [WrongStore, FreedFrame])
def test_a_loss_that_names_a_frame_crosses_processes(kind: type[Loss]) -> None:
    loss = kind(P1, A, (1, 2), 0, frame=3)
    other = pickle.loads(pickle.dumps(loss))
    assert (type(other), str(other), other.frame, other.expected) == (kind, str(loss), 3, (1, 2))


# what each check of the bookkeeping says when it fires


def anonymous() -> tuple[System, Page]:
    """A machine with one anonymous page, and that page."""
    state = Live(load("linux_2_6_26"), "s390", Scope())
    state.store(process=P1, page=A)
    pte = state.system.kernel.mms[0].pte[A]
    assert isinstance(pte, Pte)
    return state.system, pte.page


def page_of(state: Live) -> Page:
    """What P1 has at page A."""
    pte = state.system.kernel.mms[0].pte[A]
    assert isinstance(pte, Pte)
    return pte.page


def in_swap_cache() -> tuple[System, Page]:
    """A machine with one page in the swap cache, written and still mapped by a swap pte, and that page."""
    state = Live(load("linux_2_6_26"), "s390", Scope())
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    page = state.system.kernel.slots[0].page
    assert page is not None
    return state.system, page


def of_file(*also: str) -> tuple[System, Page]:
    """A machine with one page of a file, mapped and modified, and that page."""
    state = Live(load("linux_2_6_26"), "x86", Scope(files=(ext2,), also=also))
    state.store(process=P1, page=A)
    page = state.system.kernel.files[0].pages[A]
    assert page is not None
    return state.system, page


def test_freeing_a_page_that_is_mapped_is_a_bug() -> None:
    system, page = anonymous()
    with pytest.raises(KernelBug, match="Bad page state"):
        system.kernel.put_page(page)


def test_unmapping_a_page_that_is_not_mapped_is_a_bug() -> None:
    system, page = anonymous()
    page.mapcount = 0
    with pytest.raises(KernelBug, match="went negative"):
        next(system.kernel.page_remove_rmap(page))


def test_mapping_an_anonymous_page_where_rmap_cannot_find_it_is_a_bug() -> None:
    system, page = anonymous()
    page.index += 1
    with pytest.raises(KernelBug, match="rmap cannot find it"):
        system.kernel.page_dup_rmap(page, system.kernel.mms[0].mmap[0], A)


def test_the_slot_of_a_page_outside_the_swap_cache_is_a_bug() -> None:
    _, page = anonymous()
    with pytest.raises(KernelBug, match="is not in the swap cache"):
        page.swap_slot()


def test_leaving_the_swap_cache_unlocked_is_a_bug() -> None:
    system, page = in_swap_cache()
    with pytest.raises(KernelBug, match="unlocked or under writeback"):
        system.kernel.delete_from_swap_cache_locked(page)


def test_leaving_the_swap_cache_under_writeback_is_a_bug() -> None:
    system, page = in_swap_cache()
    page.lock.trylock(system.kernel.current)
    page.PG_writeback = True
    with pytest.raises(KernelBug, match="unlocked or under writeback"):
        system.kernel.delete_from_swap_cache_locked(page)


def test_freeing_a_free_slot_is_a_bug() -> None:
    system, _ = anonymous()
    with pytest.raises(KernelBug, match="swap_free: unused"):
        system.kernel.swap_free(system.kernel.slots[0])


def test_freeing_the_slot_of_a_page_in_the_swap_cache_is_a_bug() -> None:
    system, page = in_swap_cache()
    slot = page.swap_slot()
    system.kernel.swap_free(slot)
    with pytest.raises(KernelBug, match="is in the swap cache"):
        system.kernel.swap_free(slot)


def test_writing_a_page_back_that_is_written_back_is_a_bug() -> None:
    system, page = of_file()
    page.PG_writeback = True
    with pytest.raises(KernelBug, match="written back twice"):
        next(system.kernel.block_write_full_page(page))


def _set(name: str, value: object) -> Callable[[System, Page], None]:
    return lambda system, page: setattr(page, name, value)


MISCOUNTS: dict[str, tuple[Callable[[], tuple[System, Page]], Callable[[System, Page], object]]] = {
    "frame0: page_mapcount 2, but 1 pte: pte of P1 at A": (anonymous, _set("mapcount", 2)),
    "frame0: page_count 2, but 1 reference: pte of P1 at A": (anonymous, _set("count", 2)),
    "frame0: free, but page_count 1": (anonymous, lambda system, page: system.kernel.free.append(page)),
    "frame2: on the free list 2 times": (
        anonymous,
        lambda system, page: system.kernel.free.append(system.kernel.free[0]),
    ),
    "frame1: page_count 0, but not on the free list": (anonymous, lambda system, page: system.kernel.free.pop()),
    "frame1: page_count 1, but no reference": (anonymous, lambda system, page: system.kernel.alloc_page()),
    "and holds page lock": (anonymous, lambda system, page: page.lock.trylock(system.kernel.current)),
    "slot0: swap_map 3, but 2 references: swap pte of P1 at A, swap cache": (
        in_swap_cache,
        lambda system, page: system.kernel.swap_duplicate(page.swap_slot()),
    ),
    "page_private is not so": (in_swap_cache, _set("private", None)),
    "but 1 slots are free, 2 are off": (
        in_swap_cache,
        lambda system, page: setattr(system.kernel, "total_swap_pages", 0),
    ),
    "nr_swap_pages 2, but 1 slots are free": (
        in_swap_cache,
        lambda system, page: setattr(system.kernel, "nr_swap_pages", 2),
    ),
    "ext2: 2 users": (of_file, lambda system, page: setattr(page.mapping, "count", 2)),
    "i_mmap": (of_file, lambda system, page: system.kernel.files[0].i_mmap.clear()),
    "its mapping or index is another": (of_file, _set("mapping", None)),
    "which does not have it": (of_file, lambda system, page: system.kernel.files[0].pages.__setitem__(A, None)),
    "without PAGECACHE_TAG_DIRTY": (of_file, _set("tag_dirty", False)),
    "swap vector": (of_file, lambda system, page: system.kernel.files[0].swap.__setitem__(A, system.kernel.slots[0])),
    "mm of P1: mm_users 2, but 1 threads": (
        anonymous,
        lambda system, page: setattr(system.kernel.mms[0], "mm_users", 2),
    ),
    "stale TLB entry of P1 at A: frame0 wdy, but the pte is None": (
        lambda: of_file("threads"),
        lambda system, page: system.kernel.mms[0].pte.__setitem__(A, None),
    ),
    "stale TLB entry of P1 at A: frame0 wdy, but the pte is frame0 ---": (
        lambda: of_file("threads"),
        lambda system, page: system.kernel.mms[0].pte.__setitem__(A, page.ptes[0]),
    ),
    "but 1 pages were given to it": (of_file, lambda system, page: setattr(page.mapping, "i_size", 0)),
    "is past the end of ext2": (of_file, lambda system, page: setattr(page.mapping, "i_size", 0)),
    "the list of an anon_vma": (anonymous, lambda system, page: setattr(page.mapping, "head", [])),
}


@pytest.mark.parametrize("what", MISCOUNTS)
def test_a_wrong_count_is_a_bug(what: str) -> None:
    start, spoil = MISCOUNTS[what]
    system, page = start()
    recount(system.kernel, system.ghost)
    spoil(system, page)
    with pytest.raises(Inconsistent) as said:
        recount(system.kernel, system.ghost)
    assert what in str(said.value)


class Leaky(Kernel):
    """Keeps its reference to what it unmaps."""

    __slots__ = ()

    def free_page_and_swap_cache(self, page: Page) -> Steps[None]:
        return self.free_swap_cache(page)


def test_a_reference_that_is_never_dropped_is_said_after_the_step() -> None:
    state = Live(Leaky, "s390", Scope())
    state.store(process=P1, page=A)
    with pytest.raises(Inconsistent, match=r"^frame0: page_count 1, but no reference$"):
        state.munmap(process=P1, page=A)


class Keeping(Kernel):
    """Has a list of pages with a reference to each, as a pagevec."""

    __slots__ = ("own",)


def test_what_a_field_of_a_patch_holds_is_a_reference() -> None:
    state = Live(Keeping, "s390", Scope())
    kernel: Any = state.system.kernel
    kernel.own = {"pagevec": []}
    state.store(process=P1, page=A)
    page = kernel.mms[0].pte[A].page
    page.count += 1
    kernel.own["pagevec"].append(page)
    state.system.after()
    kernel.own["pagevec"].clear()
    with pytest.raises(Inconsistent, match="page_count 2, but 1 reference"):
        state.system.after()


#: What need not hold in 2.6.26 without fixes.
MISSED: dict[str, tuple[Callable[[], tuple[System, Page]], Callable[[System, Page], object]]] = {
    "not once in the list": (anonymous, lambda system, page: setattr(page.mapping, "head", [])),
    "and in no vma": (anonymous, lambda system, page: system.kernel.mms[0].mmap.clear()),
    "frame0 w-- is in no vma": (anonymous, lambda system, page: system.kernel.mms[0].mmap.clear()),
    "is left": (
        anonymous,
        lambda system, page: system.kernel.mms[0].pte.__setitem__(A, page.make_migration_entry(write=True)),
    ),
    "something else": (anonymous, _set("mapping", None)),
    "rmap does not look": (anonymous, _set("index", 1)),
    "may write, and vma": (
        anonymous,
        lambda system, page: setattr(system.kernel.mms[0].mmap[0], "vm_flags", VM_READ),
    ),
    "do not fault": (of_file, _set("PG_dirty", False)),
    "is not on mmlist": (in_swap_cache, lambda system, page: system.kernel.mmlist.clear()),
}


@pytest.mark.parametrize("what", MISSED)
def test_a_pte_that_rmap_would_miss_is_a_bug(what: str) -> None:
    start, spoil = MISSED[what]
    system, page = start()
    recount_fixed(system.kernel, system.ghost, ())
    spoil(system, page)
    with pytest.raises(KernelBug) as said:
        recount_fixed(system.kernel, system.ghost, ())
    assert what in str(said.value)


def test_a_write_error_that_nobody_will_hear_of_is_a_bug() -> None:
    state = Live(load("linux_2_6_26"), "x86", Scope(files=(ext2,), slots=0))
    state.store(process=P1, page=A)
    state.writeback(flusher=pdflush, file=ext2)
    state.pageout_failed(holder=ext2, page=A)
    failed = [Step(next(rule for rule in RULES if rule.name == "pageout_failed"), (ext2, A), None)]
    recount_fixed(state.system.kernel, state.system.ghost, failed)
    state.system.kernel.files[0].AS_EIO = False
    recount_fixed(state.system.kernel, state.system.ghost, ())
    with pytest.raises(KernelBug, match="nobody will hear of it"):
        recount_fixed(state.system.kernel, state.system.ghost, failed)
