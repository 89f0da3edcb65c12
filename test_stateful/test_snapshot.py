"""Going back to a state, and keys of states: what they must tell apart, and what not."""

from typing import Any

import pytest

from mm_sim import snapshot
from mm_sim.address_space import AddressSpace
from mm_sim.ghost import Space
from mm_sim.kernel.state import State
from mm_sim.mm import Mm, Vma
from mm_sim.names import P1, P2, A, kswapd, swapoff
from mm_sim.page import Page, SwapSlot
from mm_sim.sched import Task
from mm_sim.series import load
from mm_sim.snapshot import canonical, is_quiet, restore, save, state_key
from mm_sim.system import Scope, System
from strategies.reproducer import Live
from strategies.walk import Walk


def shared_page() -> Live:
    state = Live(load("linux_2_6_26"))
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    return state


def test_a_state_is_come_back_to_from_the_middle_of_an_operation() -> None:
    state = shared_page()
    before, kept = state_key(state.system), save(state.system)
    state.exit(process=P1)
    state.reclaim(reclaimer=kswapd, holder=P2, page=A, order=4, stop="try_to_unmap_one: pte cleared")
    assert state_key(state.system) != before
    restore(state.system, kept)
    assert state_key(state.system) == before
    assert is_quiet(state.system)


#: By class: what is saved of it, lists that are saved beside that, and what is always the same.
FIELDS: list[tuple[type, Any, set[str], set[str]]] = [
    (Page, snapshot._FRAME, {"own"}, {"migration", "pfn", "ptes"}),
    (SwapSlot, snapshot._SLOT, set(), {"number"}),
    (Mm, snapshot._MM, {"mmap", "own", "pte", "tlbs"}, {"fields", "name"}),
    (Vma, snapshot._VMA, {"own"}, {"vm_mm"}),
    (Task, snapshot._TASK, {"own"}, {"name"}),
    (
        AddressSpace,
        snapshot._FILE,
        {"blocks", "i_mmap", "own", "pages", "swap"},
        {"accounts_dirty", "name", "page_mkwrite", "shmem"},
    ),
    (
        State,
        snapshot._KERNEL,
        {"files", "frames", "free", "mmlist", "mms", "own", "slots", "swap_info", "tasks"},
        {"arch", "marks", "pages"},
    ),
]


@pytest.mark.parametrize(("cls", "saved", "lists", "same"), FIELDS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_is_saved_or_always_the_same(cls: type, saved: Any, lists: set[str], same: set[str]) -> None:
    fields = {name.partition(".")[0] for name in saved.__reduce__()[1]}
    assert {*fields, *lists, *same} == set(cls.__slots__)  # type: ignore[attr-defined]
    assert len(fields) + len(lists) + len(same) == len(cls.__slots__)  # type: ignore[attr-defined]


def test_a_copy_of_what_is_promised_has_all_of_it() -> None:
    space = Space(2)
    for n, field in enumerate(Space.__slots__):
        kept = getattr(space, field)
        kept.update({n: n} if isinstance(kept, dict) else [n]) if hasattr(kept, "update") else kept.append(n)
    copy = space.copy()
    for field in Space.__slots__:
        assert getattr(copy, field) == getattr(space, field)
        assert getattr(copy, field) is not getattr(space, field)


def test_a_swapoff_is_taken_back() -> None:
    state = Live(load("linux_2_6_26"), scope=Scope(areas=2))
    state.store(process=P1, page=A)
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    state.pageout_done(holder=P1, page=A)
    before, kept = state_key(state.system), save(state.system)
    state.swapoff(task=swapoff, stop="try_to_unuse: page lock")
    assert state_key(state.system) != before
    restore(state.system, kept)
    assert state_key(state.system) == before
    assert [si.SWP_WRITEOK for si in state.system.kernel.swap_info] == [True, True]
    state.swapoff(task=swapoff)
    assert not state.system.kernel.mmlist
    restore(state.system, kept)
    assert state.system.kernel.mmlist == state.system.kernel.mms


def test_order_of_mmlist_matters_only_where_something_goes_along_it() -> None:
    state = shared_page()
    state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    assert len(state.system.kernel.mmlist) == 2
    keys = [[canonical(state.system, mmlist=mmlist)[0] for mmlist in (True, False)]]
    state.system.kernel.mmlist.reverse()
    keys.append([canonical(state.system, mmlist=mmlist)[0] for mmlist in (True, False)])
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] == keys[1][1]


def test_which_area_is_on_matters() -> None:
    keys = set()
    for off in (0, 1):
        system = System(load("linux_2_6_26"), "s390", Scope(areas=2))
        system.kernel.swap_info[off].SWP_WRITEOK = False
        keys.add(state_key(system))
    assert len(keys) == 2


def test_values_do_not_matter() -> None:
    once, twice = Live(load("linux_2_6_26")), Live(load("linux_2_6_26"))
    once.store(process=P1, page=A)
    twice.store(process=P1, page=A)
    twice.store(process=P1, page=A)
    assert state_key(once.system) == state_key(twice.system)


def test_which_copy_is_the_good_one_matters() -> None:
    """The page equals its slot, or is newer: the values are other ones, and so are the keys."""
    same = Live(load("linux_2_6_26"))
    same.store(process=P1, page=A)
    same.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4)
    same.pageout_done(holder=P1, page=A)
    page = same.system.kernel.slots[0].page
    assert page is not None
    before = state_key(same.system)
    same.system.kernel.slots[0].content -= 1
    assert state_key(same.system) != before


def test_names_of_processes_do_not_matter() -> None:
    keys = set()
    for gone in (P1, P2):
        state = Live(load("linux_2_6_26"))
        state.store(process=P1, page=A)
        state.fork(process=P1, child=P2)
        state.exit(process=gone)
        state.store(process=P2 if gone is P1 else P1, page=A)
        keys.add(state_key(state.system))
    assert len(keys) == 1


def test_names_of_frames_do_not_matter() -> None:
    one = Live(load("linux_2_6_26"))
    one.store(process=P1, page=A)
    other = Live(load("linux_2_6_26"))
    other.system.kernel.free.reverse()
    other.store(process=P1, page=A)
    assert state_key(one.system) == state_key(other.system)


def test_where_an_operation_stands_matters() -> None:
    keys = set()
    for stop in ("shrink_inactive_list: page isolated", "try_to_unmap: next vma"):
        state = shared_page()
        state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4, stop=stop)
        assert not is_quiet(state.system)
        keys.add(state_key(state.system))
    assert len(keys) == 2


def test_the_storage_key_matters() -> None:
    state = shared_page()
    before = state_key(state.system)
    state.system.kernel.frames[0].key_c ^= True
    assert state_key(state.system) != before


def test_every_state_that_a_walk_keeps_is_where_its_steps_lead() -> None:
    walk = Walk(load("linux_2_6_26"), "x86", Scope(3, 2, 5, 3), seed=3)
    for _ in range(200):
        walk.run()
    for kept, steps in walk.corpus[:200]:
        system = System(load("linux_2_6_26"), "x86", Scope(3, 2, 5, 3))
        assert all(system.step(*step) for step in steps)
        restore(walk.system, kept)
        assert state_key(walk.system) == state_key(system)


def test_same_seed_same_walk() -> None:
    walks = [Walk(load("linux_2_6_26"), "s390", Scope(), seed=5) for _ in range(2)]
    for walk in walks:
        for _ in range(100):
            walk.run()
    assert walks[0].trace == walks[1].trace
    assert walks[0].marks == walks[1].marks
    assert walks[0].calls == walks[1].calls
