"""Fields of a patch: declared, part of the state and of its key; and what the key says of a patch's locals."""

from pathlib import Path
from textwrap import dedent, indent

import pytest

from mm_sim.kernel import Kernel
from mm_sim.names import P1, P2, A, kswapd
from mm_sim.sched import KernelBug
from mm_sim.series import SeriesError, load
from mm_sim.snapshot import restore, save, state_key
from mm_sim.view import Viewer
from strategies.reproducer import Live

HEAD = """\
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum
from mm_sim.kernel import Kernel
from mm_sim.mm import Mm, Vma
from mm_sim.page import Page
from mm_sim.sched import Steps

@dataclass(frozen=True)
class Pair:
    one: int
    other: object

class Mine(Kernel):
    __slots__ = ()
    title, posted, applies_to, expected = "mine", "here", "2.6.26", "unknown"
"""
ALL = """
    fields = {
        "kernel": {"scanned": 0, "queue": []},
        "page": {"PG_lazyfree": False},
        "vma": {"unmapped": False},
        "mm": {"generation": 0},
        "file": {"written": 0},
        "task": {"in_reclaim": False},
    }
"""


def patch(folder: Path, body: str, name: str = "mine.py") -> type[Kernel]:
    (folder / name).write_text(HEAD + indent(dedent(body), "    "))
    return load(str(folder / name))


def refusal(folder: Path, body: str) -> str:
    with pytest.raises(SeriesError) as error:
        patch(folder, body)
    return str(error.value)


@pytest.fixture
def state(tmp_path: Path) -> Live:
    state = Live(patch(tmp_path, ALL))
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    return state


#: What has fields, and one of them.
OWNERS = {
    "scanned": lambda kernel: kernel,
    "PG_lazyfree": lambda kernel: kernel.frames[0],
    "unmapped": lambda kernel: kernel.mms[0].mmap[0],
    "generation": lambda kernel: kernel.mms[1],
    "in_reclaim": lambda kernel: kernel.tasks[kswapd],
}


@pytest.mark.parametrize("name", OWNERS)
def test_a_field_is_brought_back_with_the_state_and_part_of_its_key(state: Live, name: str) -> None:
    owner = OWNERS[name](state.system.kernel)
    before, kept, key = getattr(owner, name), save(state.system), state_key(state.system)
    setattr(owner, name, 7)
    assert state_key(state.system) != key
    restore(state.system, kept)
    assert getattr(owner, name) == before
    assert state_key(state.system) == key


def test_a_list_in_a_field_stays_the_same_list(state: Live) -> None:
    queue = state.system.kernel.queue  # type: ignore[attr-defined]
    kept = save(state.system)
    queue.append(state.system.kernel.frames[0])
    restore(state.system, kept)
    assert state.system.kernel.queue is queue  # type: ignore[attr-defined]
    assert queue == []


def test_names_of_frames_in_a_field_do_not_matter(tmp_path: Path) -> None:
    keys = set()
    for reverse in (False, True):
        state = Live(patch(tmp_path, ALL))
        kernel = state.system.kernel
        if reverse:
            kernel.free.reverse()
        state.store(process=P1, page=A)
        kernel.queue.append(next(page for page in kernel.frames if page.count))  # type: ignore[attr-defined]
        keys.add(state_key(state.system))
    assert len(keys) == 1


def test_a_new_page_a_new_vma_and_a_new_mm_have_first_values(state: Live) -> None:
    kernel = state.system.kernel
    page, (first, child) = kernel.frames[0], kernel.mms
    page.PG_lazyfree = first.mmap[0].unmapped = first.generation = True  # type: ignore[attr-defined]
    state.exit(process=P2)
    state.fork(process=P1, child=P2)
    child = kernel.mms[1]
    assert not child.mmap[0].unmapped  # type: ignore[attr-defined]
    assert child.generation == 0  # type: ignore[attr-defined]
    page.count = page.mapcount = 0
    kernel.free.append(page)
    assert kernel.alloc_page() is page
    assert not page.PG_lazyfree  # type: ignore[attr-defined]


def test_two_patches_may_declare_one_name_with_other_values(tmp_path: Path) -> None:
    one = Live(patch(tmp_path, 'fields = {"page": {"age": 1}}\n', "one.py")).system.kernel
    two = Live(patch(tmp_path, 'fields = {"page": {"age": 2}}\n', "two.py")).system.kernel
    base = Live(load("linux_2_6_26")).system.kernel
    assert (one.frames[0].age, two.frames[0].age) == (1, 2)  # type: ignore[attr-defined]
    assert not hasattr(base.frames[0], "age")


def test_fields_are_inherited(tmp_path: Path) -> None:
    base = patch(tmp_path, ALL)
    derived = type("Derived", (base,), {"__slots__": (), "fields": {"page": {"age": 1}}})
    page = Live(derived).system.kernel.frames[0]
    assert page.own == {"PG_lazyfree": False, "age": 1}


def test_a_view_shows_fields_by_name(state: Live) -> None:
    state.system.kernel.frames[0].PG_lazyfree = True  # type: ignore[attr-defined]
    view = Viewer(state.system)()
    assert "lazyfree" in view["Page"]["frame0"]["flags"]
    assert view["Mm"]["P1"]["generation"] == "0"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ('{"pages": {"new": 0}}', "no object is called 'pages'; fields can be those of kernel, page, vma"),
        ('{"page": {"PG_dirty": False}}', "Page has a PG_dirty already"),
        ('{"kernel": {"put_page": 0}}', "has a put_page already"),
        ('{"page": {"seen": set()}}', "its order is not the same in every run: take a list"),
        ('{"page": {"seen": object()}}', "the first value of seen has a object"),
        ('{"page": {"a b": 0}}', "'a b' is no name for a field"),
        ('{"page": ["seen"]}', "are no dict"),
        ('["page"]', "fields is no dict"),
    ],
)
def test_fields_that_cannot_be_are_refused(tmp_path: Path, fields: str, text: str) -> None:
    said = refusal(tmp_path, f"fields = {fields}\n")
    assert f"mine.py:{HEAD.count(chr(10)) + 1}: " in said
    assert text in said


# locals


def held(folder: Path, before: str, local: str) -> bytes:
    """The key of a state in which a function of a patch holds something."""
    body = f"""
    def page_remove_rmap(self, page: Page) -> Steps[None]:
        {before}
        held = {local}
        yield "page_remove_rmap: held"
        yield from super().page_remove_rmap(page)
        self.mark(str(held))
    """
    state = Live(patch(folder, body))
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.exit(process=P1, stop="page_remove_rmap: held")
    return state_key(state.system)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "2"),
        ("[1, page]", "[2, page]"),
        ("{1: [1]}", "{1: [2]}"),
        ("{1, 2}", "{1, 3}"),
        ("page.lock", "self.frames[1].lock"),
        ("self.current.mm.ptl", "self.mms[1].ptl"),
        ("self.frames[1]", "self.frames[0]"),
        ("iter([5, 5, 5])", "next(zip(it := iter([5, 5, 5]), it)) and it"),
        ("lambda n=1: n", "lambda n=2: n"),
        ("(lambda n: lambda: n)(1)", "(lambda n: lambda: n)(2)"),
        ("[(lambda n: lambda: n)(1)]", "[(lambda n: lambda: n)(2)]"),
        ("namedtuple('T', 'a')(1)", "namedtuple('T', 'a')(2)"),
        ("Pair(1, [page])", "Pair(2, [page])"),
        ("Enum('E', 'a b')['a']", "Enum('E', 'a b')['b']"),
        ("self.put_page", "self.alloc_page"),
        ("ValueError(1)", "ValueError(2)"),
        ("(n for n in (1, 2))", "next(zip(g := (n for n in (1, 2)))) and g"),
    ],
)
def test_what_a_local_holds_is_part_of_the_key(tmp_path: Path, one: str, other: str) -> None:
    keys = [held(tmp_path, "it = g = None", local) for local in (one, one, other)]
    assert keys[0] == keys[1] != keys[2]


def test_a_local_that_is_not_bound_is_told_from_none(tmp_path: Path) -> None:
    keys = {held(tmp_path, before, "0") for before in ("value = None", "value = None; del value")}
    assert len(keys) == 2


def test_a_number_called_value_is_no_content_in_a_patch(tmp_path: Path) -> None:
    assert held(tmp_path, "value = 5", "0") != held(tmp_path, "value = 6", "0")


def test_how_far_a_loop_and_an_expression_have_come_is_part_of_the_key(tmp_path: Path) -> None:
    def key(turns: int, added: int) -> bytes:
        body = f"""
        def page_remove_rmap(self, page: Page) -> Steps[None]:
            for one in (page, page, page):
                yield "page_remove_rmap: turn"
                n = len(str({added})) + (yield from self.nothing(page))
            yield from super().page_remove_rmap(page)

        def nothing(self, page: Page) -> Steps[int]:
            yield "nothing: here"
            return 0
        """
        state = Live(patch(tmp_path, body))
        state.store(process=P1, page=A)
        state.fork(process=P1, child=P2)
        label = "nothing: here"
        state.exit(process=P1, stop=label)
        for _ in range(turns):
            state.resume(task=P1, stop=label)
        return state_key(state.system)

    assert len({key(0, 1), key(1, 1), key(0, 10)}) == 3


def test_what_no_key_can_have_is_a_bug_and_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(KernelBug, match="a object is held across a preemption point"):
        held(tmp_path, "", "object()")


def test_what_a_task_waits_for_is_part_of_the_key() -> None:
    keys = set()
    for n in (0, 1):
        state = Live(load("linux_2_6_26"))
        state.store(process=P1, page=A)
        state.reclaim(reclaimer=kswapd, holder=P1, page=A, order=4, stop="try_to_unmap_one: pte cleared")
        task = state.system.kernel.tasks[kswapd]
        task.waits = state.system.kernel.frames[n].lock
        keys.add(state_key(state.system))
    assert len(keys) == 2
