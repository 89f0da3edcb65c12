"""The reference memory, held against what the manual pages say: direct calls, no kernel.

Here belongs what a system call promises, and where it leaves open what is to be read.
"""

import pytest

from mm_sim.ghost import Ghost, Space, Value, either
from mm_sim.names import P2

PARENT, CHILD, FILE = "parent", "child", "file"


def one_file(pages: int = 1, shared: bool = True) -> Ghost:
    """A process with one page of anonymous memory, page 0, and one of a file, page 1."""
    ghost = Ghost()
    ghost.exec(PARENT, 2)
    ghost.creat(FILE, pages, pages)
    ghost.munmap(PARENT, 1)
    ghost.mmap(PARENT, 1, (FILE, 0), shared)
    return ghost


def fork(ghost: Ghost) -> None:
    ghost.fork_begins(PARENT, P2)
    ghost.fork_ends(PARENT, P2, CHILD)


def values(ghost: Ghost, space: str = PARENT) -> list[Value]:
    return ghost.spaces[space].values


def of_file(ghost: Ghost) -> list[Value]:
    return ghost.files[FILE].values


def test_either_of_two_values_is_a_set_and_with_nothing_promised_nothing() -> None:
    assert either(1, 1) == 1
    assert either(2, 1) == (1, 2)
    assert either((1, 2), 3) == (1, 2, 3)
    assert either((1, 2), None) is None


# mmap(2), munmap(2), mremap(2), madvise(2)


def test_new_memory_and_the_holes_of_a_new_file_read_as_zeroes() -> None:
    ghost = one_file()
    assert values(ghost) == [0, 0]
    assert of_file(ghost) == [0]


def test_nothing_is_to_be_read_past_the_end_of_a_file() -> None:
    ghost = Ghost()
    ghost.creat(FILE, 2, 1)
    assert of_file(ghost) == [0, None]


def test_nothing_is_to_be_read_where_nothing_is_mapped() -> None:
    ghost = one_file()
    ghost.store(PARENT, 0, 1)
    ghost.munmap(PARENT, 0)
    assert values(ghost)[0] is None


def test_mremap_moves_a_page_over_another() -> None:
    ghost = one_file()
    ghost.store(PARENT, 0, 1)
    ghost.mremap(PARENT, 0, 1)
    assert values(ghost) == [None, 1]
    ghost.write(FILE, 0, 2)
    assert values(ghost) == [None, 1]


def test_mremap_takes_the_file_along() -> None:
    ghost = one_file()
    ghost.mremap(PARENT, 1, 0)
    ghost.write(FILE, 0, 1)
    assert values(ghost) == [1, None]


def test_store_to_where_a_page_is_being_moved_goes_to_that_page_or_to_what_it_replaces() -> None:
    ghost = one_file()
    ghost.store(PARENT, 0, 1)
    ghost.mremap_begins(PARENT, 0, 1)
    ghost.store(PARENT, 1, 2)
    ghost.mremap(PARENT, 0, 1)
    ghost.mremap_ends(PARENT, 0, 1)
    assert values(ghost) == [None, (1, 2)]
    assert of_file(ghost) == [(0, 2)]
    ghost.store(PARENT, 1, 3)
    assert values(ghost) == [None, 3]


def dontneed(ghost: Ghost, page: int, meanwhile: int | None = None) -> Value:
    before = values(ghost)[page]
    ghost.taking(PARENT, page)
    if meanwhile is not None:
        ghost.store(PARENT, page, meanwhile)
    ghost.dontneed(PARENT, page, before)
    ghost.taken(PARENT, page)
    return values(ghost)[page]


def test_dontneed_of_anonymous_memory_reads_as_zeroes_or_what_was_stored_meanwhile() -> None:
    ghost = one_file()
    ghost.store(PARENT, 0, 1)
    assert dontneed(ghost, 0) == 0
    assert dontneed(ghost, 0, meanwhile=2) == (0, 2)


def test_dontneed_of_a_private_mapping_shows_the_file_again() -> None:
    ghost = one_file(shared=False)
    ghost.write(FILE, 0, 1)
    ghost.store(PARENT, 1, 2)
    assert dontneed(ghost, 1) == 1
    assert dontneed(ghost, 1, meanwhile=3) is None


def test_dontneed_of_shared_memory_keeps_it() -> None:
    ghost = one_file()
    ghost.store(PARENT, 1, 1)
    assert dontneed(ghost, 1) == 1


# a store changes a part of a page


def test_a_store_finds_what_was_stored_last() -> None:
    ghost = one_file()
    assert ghost.rest(PARENT, 0) == 0
    ghost.store(PARENT, 0, 1)
    assert ghost.rest(PARENT, 0) == 1


def test_a_store_to_a_page_that_is_taken_away_may_find_anything() -> None:
    ghost = one_file()
    ghost.taking(PARENT, 0)
    assert ghost.rest(PARENT, 0) is None
    ghost.taken(PARENT, 0)
    assert ghost.rest(PARENT, 0) == 0


def test_a_store_to_a_page_that_is_being_filled_finds_what_was_stored_last() -> None:
    ghost = one_file()
    ghost.filling(PARENT, 0)
    ghost.store(PARENT, 0, 1)
    assert ghost.rest(PARENT, 0) == ghost.rest_in(ghost.spaces[PARENT], 0) == 1


@pytest.mark.parametrize("meanwhile", ["fork", "munmap", "taking"])
def test_what_fills_a_page_that_was_taken_away_meanwhile_may_find_anything(meanwhile: str) -> None:
    ghost = one_file()
    ghost.filling(PARENT, 0)
    if meanwhile == "fork":
        fork(ghost)
    else:
        getattr(ghost, meanwhile)(PARENT, 0)
    assert ghost.rest_in(ghost.spaces[PARENT], 0) is None


def test_what_fills_a_page_of_a_process_that_has_gone_may_find_anything() -> None:
    ghost = one_file()
    space = ghost.spaces[PARENT]
    ghost.filling(PARENT, 1)
    ghost.exit(PARENT)
    assert ghost.rest_in(space, 1) is None


# fork(2)


def test_child_has_its_own_copy_of_private_memory_and_shares_the_rest() -> None:
    ghost = one_file()
    ghost.store(PARENT, 0, 1)
    fork(ghost)
    ghost.store(PARENT, 0, 2)
    ghost.store(PARENT, 1, 3)
    assert values(ghost, CHILD) == [1, 3]


def test_child_has_either_of_what_is_stored_during_fork() -> None:
    ghost = one_file()
    ghost.store(PARENT, 0, 1)
    ghost.fork_begins(PARENT, P2)
    ghost.store(PARENT, 0, 2)
    ghost.fork_ends(PARENT, P2, CHILD)
    ghost.store(PARENT, 0, 3)
    assert values(ghost, CHILD)[0] == (1, 2)


def test_child_is_promised_nothing_of_what_is_taken_away_during_fork() -> None:
    ghost = one_file()
    ghost.taking(PARENT, 0)
    ghost.fork_begins(PARENT, P2)
    child = ghost.spaces[PARENT].forks[P2]
    assert not child.mapped[0]
    ghost.munmap(PARENT, 1)
    assert not child.mapped[1]


# files


def test_shared_mapping_and_file_are_one() -> None:
    ghost = one_file()
    ghost.store(PARENT, 1, 1)
    assert of_file(ghost) == [1]
    ghost.write(FILE, 0, 2)
    assert values(ghost)[1] == 2


def test_private_mapping_shows_the_old_or_the_new_until_its_first_store() -> None:
    ghost = one_file(shared=False)
    ghost.write(FILE, 0, 1)
    assert values(ghost)[1] == (0, 1)
    ghost.store(PARENT, 1, 2)
    ghost.write(FILE, 0, 3)
    assert values(ghost)[1] == 2
    assert of_file(ghost) == [3]


def test_write_past_the_end_leaves_zeroes_in_between() -> None:
    ghost = Ghost()
    ghost.creat(FILE, 3, 0)
    ghost.write(FILE, 2, 1)
    assert of_file(ghost) == [0, 0, 1]


def test_read_may_find_what_is_written_meanwhile() -> None:
    ghost = one_file()
    found = ghost.read_begins(FILE)
    ghost.write(FILE, 0, 1)
    assert found == [(0, 1)]


def test_truncation_promises_nothing_of_what_is_past_the_new_end_nor_of_its_private_copies() -> None:
    ghost = one_file(shared=False)
    ghost.store(PARENT, 1, 1)
    ghost.truncate(FILE, 0)
    assert of_file(ghost) == [None]
    assert values(ghost)[1] is None


def test_file_that_was_cut_and_made_longer_reads_as_zeroes() -> None:
    ghost = one_file()
    ghost.write(FILE, 0, 1)
    ghost.truncate(FILE, 0)
    ghost.truncate(FILE, 1)
    assert of_file(ghost) == [0]
    assert values(ghost)[1] == 0


def test_what_fills_a_page_that_was_cut_off_meanwhile_may_go_nowhere() -> None:
    ghost = one_file()
    space = ghost.spaces[PARENT]
    pinned = ghost.filling(PARENT, 1)
    ghost.truncate(FILE, 0)
    ghost.truncate(FILE, 1)
    assert ghost.store_in(space, 1, 1, pinned) is None
    ghost.filled_in(space, 1)
    assert of_file(ghost) == [(0, 1)]
    ghost.store(PARENT, 1, 2)
    assert of_file(ghost) == [2]


def test_what_fills_a_page_that_was_unmapped_meanwhile_may_be_what_is_mapped_there_later() -> None:
    ghost = one_file()
    space = ghost.spaces[PARENT]
    pinned = ghost.filling(PARENT, 0)
    ghost.munmap(PARENT, 0)
    ghost.mmap(PARENT, 0)
    assert ghost.store_in(space, 0, 1, pinned) is None
    ghost.filled_in(space, 0)
    assert space.values[0] == (0, 1)


def test_what_fills_a_page_that_is_just_being_discarded_may_be_discarded_with_it() -> None:
    ghost = one_file()
    space = ghost.spaces[PARENT]
    pinned = ghost.filling(PARENT, 0)
    ghost.taking(PARENT, 0)
    ghost.store(PARENT, 0, 1)
    ghost.store_in(space, 0, 2, pinned)
    assert space.values[0] == (0, 1, 2)


def test_what_fills_a_page_of_a_file_may_go_there_though_it_is_mapped_no_more() -> None:
    ghost = one_file()
    space = ghost.spaces[PARENT]
    pinned = ghost.filling(PARENT, 1)
    ghost.munmap(PARENT, 1)
    ghost.store_in(space, 1, 1, pinned)
    ghost.filled_in(space, 1)
    assert of_file(ghost) == [(0, 1)]
    assert space.values[1] is None


@pytest.mark.parametrize("first", ["fork", "fill"])
def test_what_fills_a_private_page_while_the_process_forks_may_be_seen_by_nobody(first: str) -> None:
    """The next store gives the parent another page; open(2): O_DIRECT and fork(2) do not go together."""
    ghost = one_file()
    space = ghost.spaces[PARENT]
    if first == "fork":
        ghost.fork_begins(PARENT, 1)
    ghost.filling(PARENT, 0)
    if first == "fill":
        ghost.fork_begins(PARENT, 1)
    ghost.fork_ends(PARENT, 1, CHILD)
    ghost.store_in(space, 0, 1)
    ghost.filled_in(space, 0)
    assert space.values[0] == (0, 1)
    assert values(ghost, CHILD)[0] is None


def test_what_fills_a_page_of_which_nothing_is_needed_may_go_nowhere() -> None:
    ghost = one_file()
    space = ghost.spaces[PARENT]
    pinned = ghost.filling(PARENT, 0)
    ghost.dontneed(PARENT, 0, 0)
    ghost.store_in(space, 0, 1, pinned)
    ghost.filled_in(space, 0)
    ghost.store(PARENT, 0, 2)
    assert space.values[0] == 2


# fsync(2), msync(2)


def write(ghost: Ghost, value: int) -> None:
    ghost.written(ghost.write(FILE, 0, value), value)


def sync(ghost: Ghost, ok: bool = True) -> list[int]:
    ghost.sync_ends(FILE, ghost.sync_begins(FILE), ok)
    return ghost.files[FILE].promised


def test_fsync_promises_what_was_in_the_file_when_it_began() -> None:
    ghost = one_file()
    write(ghost, 1)
    promise = ghost.sync_begins(FILE)
    write(ghost, 2)
    ghost.sync_ends(FILE, promise, promise=True)
    assert ghost.files[FILE].promised == [1]


def test_fsync_promises_nothing_of_a_write_that_has_not_returned() -> None:
    ghost = one_file()
    write(ghost, 1)
    under_way = ghost.write(FILE, 0, 2)
    promise = ghost.sync_begins(FILE)
    ghost.written(under_way, 2)
    ghost.sync_ends(FILE, promise, promise=True)
    assert ghost.files[FILE].promised == [1]
    assert sync(ghost) == [2]


def test_fsync_that_fails_promises_nothing() -> None:
    ghost = one_file()
    write(ghost, 1)
    assert sync(ghost, ok=False) == [0]


def test_what_was_promised_stays_promised() -> None:
    ghost = one_file()
    early = ghost.sync_begins(FILE)
    write(ghost, 1)
    assert sync(ghost) == [1]
    ghost.sync_ends(FILE, early, promise=True)
    assert ghost.files[FILE].promised == [1]


def test_after_a_failed_write_nothing_is_to_be_read_unless_something_newer_was_stored() -> None:
    for newer, found in ((None, None), (2, 2)):
        ghost = one_file()
        write(ghost, 1)
        if newer is not None:
            write(ghost, newer)
        ghost.failed(FILE, 0, 1)
        assert of_file(ghost) == [found]


@pytest.mark.parametrize("begun", [False, True], ids=["before", "during"])
def test_fsync_that_reports_success_though_a_write_failed_breaks_its_promise(begun: bool) -> None:
    """1 is not on the disk."""
    ghost = one_file()
    write(ghost, 1)
    promise = ghost.sync_begins(FILE) if begun else []
    ghost.failed(FILE, 0, 1)
    ghost.sync_ends(FILE, promise or ghost.sync_begins(FILE), promise=True)
    assert ghost.files[FILE].promised == [1]


def test_failed_write_is_reported_once() -> None:
    ghost = one_file()
    write(ghost, 1)
    ghost.failed(FILE, 0, 1)
    ghost.sync_ends(FILE, ghost.sync_begins(FILE), promise=False, error=True)
    assert sync(ghost) == [0]


def test_error_that_one_fsync_reports_need_not_be_reported_by_another_at_the_same_time() -> None:
    for first in (True, False):
        ghost = one_file()
        write(ghost, 1)
        one, other = ghost.sync_begins(FILE), ghost.sync_begins(FILE)
        ghost.failed(FILE, 0, 1)
        ghost.sync_ends(FILE, one, promise=first, error=not first)
        ghost.sync_ends(FILE, other, promise=not first, error=first)
        assert ghost.files[FILE].promised == [0]


def test_store_after_a_reported_error_is_promised_again() -> None:
    ghost = one_file()
    write(ghost, 1)
    ghost.failed(FILE, 0, 1)
    write(ghost, 2)
    ghost.sync_ends(FILE, ghost.sync_begins(FILE), promise=False, error=True)
    assert sync(ghost) == [2]


def test_failed_write_of_what_was_cut_off_need_not_be_reported() -> None:
    ghost = one_file()
    write(ghost, 1)
    ghost.failed(FILE, 0, 1)
    ghost.truncate(FILE, 0)
    ghost.truncate(FILE, 1)
    assert sync(ghost) == [0]


def test_truncation_takes_the_promise_back() -> None:
    ghost = one_file()
    write(ghost, 1)
    assert sync(ghost) == [1]
    ghost.truncating(FILE, 0)
    assert ghost.files[FILE].promised == [0]


def test_store_of_who_has_pinned_the_page_of_a_process_that_has_exited() -> None:
    ghost = one_file()
    space: Space = ghost.spaces[PARENT]
    ghost.exit(PARENT)
    ghost.store_in(space, 1, 1)
    assert of_file(ghost) == [1]


def test_fsync_promises_nothing_of_a_store_that_was_cut_off_before_it_had_ended() -> None:
    ghost = one_file()
    space = ghost.spaces[PARENT]
    pinned = ghost.filling(PARENT, 1)
    went = ghost.store_in(space, 1, 1, pinned)
    ghost.truncate(FILE, 0)
    ghost.truncate(FILE, 1)
    ghost.filled_in(space, 1)
    ghost.written(went, 1)
    assert ghost.sync_begins(FILE) == [0]
