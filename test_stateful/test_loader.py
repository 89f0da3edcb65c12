"""A patch file is read with care: each thing that is wrong gets one line, and what is legal is not refused."""

import ast
import inspect
import sys
import types
from pathlib import Path
from textwrap import dedent, indent

import pytest

import mm_sim
from mm_sim.blame import code_of
from mm_sim.labels import labels
from mm_sim.names import P1, P2, A
from mm_sim.patch_check import dropped_steps, is_interruptible
from mm_sim.series import SeriesError, load, names
from strategies.reproducer import Live
from strategies.rules import RULES, table

HEAD = """\
from mm_sim.kernel import Kernel
from mm_sim.mm import Mm, Vma
from mm_sim.page import Page, Pte
from mm_sim.sched import Steps
from mm_sim.system import Rule
"""
CLASS = """
class Mine(Kernel):
    __slots__ = ()
    title, posted, applies_to, expected = "mine", "here", "2.6.26", "unknown"
"""


def patch(folder: Path, body: str, before: str = "", name: str = "mine.py") -> str:
    """A patch file with methods, and what comes before its class."""
    file = folder / name
    file.write_text(HEAD + dedent(before) + CLASS + indent(dedent(body), "    "))
    return str(file)


def refusal(file: str) -> str:
    with pytest.raises(SeriesError) as error:
        table(load(file))
    text = str(error.value)
    assert "\n" not in text
    return text


#: By what is said, a method that is wrong; the line it is said of has a `#`.
WRONG = {
    "the steps of self.page_remove_rmap() are dropped: write `yield from self.page_remove_rmap(...)`": """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            self.page_remove_rmap(old_page)  #
            yield "do_wp_page: done"
    """,
    "the steps of super().page_remove_rmap() are dropped": """
        def page_remove_rmap(self, page: Page) -> Steps[None]:
            yield "page_remove_rmap: mine"
            super().page_remove_rmap(page)  #
    """,
    "the steps of self.page_mkclean() are taken for an answer": """
        def clear_page_dirty_for_io(self, page: Page) -> Steps[bool]:
            yield "clear_page_dirty_for_io: mine"
            if self.page_mkclean(page):  #
                return True
            return False
    """,
    "the steps of self.page_mkclean() are never run": """
        def clear_page_dirty_for_io(self, page: Page) -> Steps[bool]:
            cleaned = self.page_mkclean(page)  #
            yield "clear_page_dirty_for_io: mine"
            return not cleaned
    """,
    "the steps of self.page_mkclean() are returned, not run": """
        def clear_page_dirty_for_io(self, page: Page) -> Steps[bool]:
            yield "clear_page_dirty_for_io: mine"
            return self.page_mkclean(page)  #
    """,
    "the steps of self.set_page_dirty() are taken for an answer: call SetPageDirty()": """
        def free_swap_cache(self, page: Page) -> Steps[None]:
            yield "free_swap_cache: mine"
            if self.set_page_dirty(page):  #
                return
    """,
    'wp_remove_rmap() yields nothing: write `yield "wp_remove_rmap: where"`': """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            yield  #
    """,
    "42 is neither a label nor what can be waited for": """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            yield 42  #
    """,
    "'somewhere' is no label of a preemption point": """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            yield "somewhere"  #
    """,
    "no search can stop at a label that is not written out": """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            yield f"wp_remove_rmap: {old_page.count}"  #
    """,
    "copy_one_pte() is called with (dst_mm, src_mm, vma, addr): write src_mm in place of vma": """
        def copy_one_pte(self, dst_mm: Mm, vma: Vma, addr: int) -> None:  #
            pass
    """,
    "put_page() is called with (page): hard needs a default": """
        def put_page(self, page: Page, hard: bool) -> None:  #
            pass
    """,
    "can_share_swap_page() does not return a value on every path: return bool": """
        def can_share_swap_page(self, page: Page) -> bool:  #
            if page.mapcount:
                return True
    """,
    "add_to_swap() returns nothing here: return bool": """
        def add_to_swap(self, page: Page) -> Steps[bool]:
            yield "add_to_swap: mine"
            if page.mapcount:
                return  #
            return True
    """,
    "page_remove_rmap() can be interrupted: return steps here, or yield": """
        def page_remove_rmap(self, page: Page) -> Steps[None]:
            if page.mapcount:
                return  #
            return self.set_page_dirty(page)
    """,
    "add_to_swap() uses SwapSlot, which is not defined: `from mm_sim.page import SwapSlot`": """
        def add_to_swap(self, page: Page) -> Steps[bool]:
            yield "add_to_swap: mine"
            return type(page) is SwapSlot  #
    """,
    "page.PG_drity: nothing in the model has an attribute PG_drity, did you mean PG_dirty?": """
        def lru_cache_add_active(self, page: Page) -> None:
            page.PG_drity = True  #
    """,
    "page.mapcuont: nothing in the model has an attribute mapcuont, did you mean mapcount?": """
        def can_share_swap_page(self, page: Page) -> bool:
            return page.mapcuont <= 1  #
    """,
    "self.scanned: nothing in the model has an attribute scanned: declare it in `fields`": """
        def lru_cache_add_active(self, page: Page) -> None:
            self.scanned = 1  #
    """,
    "self.page_remove_rmpa: nothing in the model has an attribute page_remove_rmpa, did you mean page_": """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            yield from self.page_remove_rmpa(old_page)  #
    """,
    "CACHE is state of the module; a search does not see it: declare it in `fields`": """
        def lru_cache_add_active(self, page: Page) -> None:
            CACHE.append(page)  #
    """,
    "COUNT is state of the module": """
        def lru_cache_add_active(self, page: Page) -> None:
            global COUNT  #
            COUNT += 1
    """,
    "self.seen is state of the class": """
        seen: dict[int, int] = {}
        def lru_cache_add_active(self, page: Page) -> None:
            self.seen[page.count] = 1  #
    """,
    "the default of helper() can change from call to call": """
        def helper(self, page: Page, pages: list[Page] = []) -> None:  #
            pages.append(page)
        def lru_cache_add_active(self, page: Page) -> None:
            self.helper(page)
    """,
    "lru_cache_add_active() is a coroutine": """
        async def lru_cache_add_active(self, page: Page) -> None:  #
            pass
    """,
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = patch(tmp_path, WRONG[text], "CACHE: list[Page] = []\nCOUNT = 0\n")
    line = next(n for n, line in enumerate(Path(file).read_text().splitlines(), 1) if line.endswith("#"))
    assert refusal(file).startswith(f"{file}:{line}: {text}")


#: Each is legal, though not usual.
LEGAL = {
    "a plain set_page_dirty() sets the flag": """
        def lru_cache_add_active(self, page: Page) -> None:
            self.set_page_dirty(page)
    """,
    "steps are handed on by a plain method": """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            return self.page_remove_rmap(old_page) if old_page.PG_anon else super().wp_remove_rmap(old_page)
    """,
    "a generator in place of a plain method that returns steps": """
        def set_page_dirty(self, page: Page) -> Steps[None]:
            page.PG_dirty = True
            yield "set_page_dirty: mine"
    """,
    "a plain method in place of a generator, that says so in a union": """
        def page_remove_rmap(self, page: Page) -> Steps[None] | tuple[()]:
            page.mapcount -= 1
            return ()
    """,
    "steps are kept and run later": """
        def wp_remove_rmap(self, old_page: Page) -> Steps[None]:
            steps = None
            if old_page.PG_anon:
                steps = self.page_remove_rmap(old_page)
            yield "do_wp_page: later"
            if steps is not None:
                yield from steps
    """,
    "a generator that never yields": """
        def page_mkclean(self, page: Page) -> Steps[bool]:
            return False
            yield
    """,
    "a loop without an end": """
        def can_share_swap_page(self, page: Page) -> bool:
            while True:
                if page.count:
                    return False
    """,
    "every path of try, with and match": """
        def can_share_swap_page(self, page: Page) -> bool:
            try:
                match page.mapcount:
                    case 0 | 1:
                        return True
                    case more if (rest := more - 1):
                        return rest == 0
                    case _:
                        raise ValueError
            except ValueError:
                return False
            finally:
                self.mark("looked at")
    """,
    "a static method, a property, a constant, a helper": """
        LIMIT = 2
        @staticmethod
        def above(count: int, limit: int) -> bool:
            return count > limit
        @property
        def limit(self) -> int:
            return self.LIMIT
        def can_share_swap_page(self, page: Page) -> bool:
            return not self.above(page.mapcount, self.limit) and plain(page)
    """,
    "a generator of what is no label": """
        def mapped_at(self, page: Page) -> Iterator[int]:
            yield page.index
            yield from (vma.vm_start for mm in self.mms for vma in mm.mmap)
        @contextmanager
        def marked(self, page: Page) -> Iterator[None]:
            self.mark("begins")
            yield
        def can_share_swap_page(self, page: Page) -> bool:
            with self.marked(page):
                return any(at for at in self.mapped_at(page))
    """,
    "a dataclass, an enum and what it has": """
        def can_share_swap_page(self, page: Page) -> bool:
            seen = Seen(page)
            seen.times += 1
            seen.pages.append(page)
            return seen.how is How.ONCE and seen.often()
    """,
    "extra parameters with defaults, and all of them": """
        def put_page(self, page: Page, hard: bool = False, *more: int, **named: int) -> None:
            super().put_page(page)
        def lru_cache_add_active(self, *args: Page, **kwargs: Page) -> None:
            super().lru_cache_add_active(*args, **kwargs)
    """,
    "a nested function, a comprehension, a library": """
        def can_share_swap_page(self, page: Page) -> bool:
            def one(vma: Vma) -> int:
                nonlocal found
                found += 1
                return vma.vm_start
            found = 0
            queue = deque([one(vma) for mm in self.mms for vma in mm.mmap])
            queue.popleft()
            names = {**{str(n): n for n in queue}}
            names.update(a=1)
            return bool(found and math.gcd(*names.values()) and itertools.chain(queue))
    """,
    "an override that says nothing of types": """
        def page_remove_rmap(self, page):
            yield "page_remove_rmap: mine"
            yield from super().page_remove_rmap(page)
        def put_page(self, page):
            super().put_page(page)
    """,
    "an object of a library": """
        def lru_cache_add_active(self, page: Page) -> None:
            space = types.SimpleNamespace()
            space.of_its_own = page
    """,
    "steps of a function of the module": """
        def page_remove_rmap(self, page: Page) -> Steps[None]:
            yield from stepping(self, page)
    """,
    "waiting": """
        def page_remove_rmap(self, page: Page) -> Steps[None]:
            mm = self.mms[0]
            while (lock := mm.ptl).busy() or mm.mmap_sem.busy():
                yield lock if lock.busy() else mm.mmap_sem.exclusive()
    """,
}
BEFORE = """
import enum, itertools, math, types
from contextlib import contextmanager
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

class How(enum.Enum):
    ONCE = 1

@dataclass
class Seen:
    page: Page
    times: int = 0
    how: How = How.ONCE
    pages: list[Page] = field(default_factory=list)

    def often(self) -> bool:
        self.times += 1
        return self.times > 2

def plain(page: Page) -> bool:
    return page.mapcount == 1

def stepping(kernel: Kernel, page: Page) -> Steps[None]:
    page.mapcount -= 1
    yield "stepping: here"
"""


@pytest.mark.parametrize("what", LEGAL)
def test_what_is_legal_is_not_refused(tmp_path: Path, what: str) -> None:
    assert load(patch(tmp_path, LEGAL[what], BEFORE)).title == "mine"


def test_a_plain_set_page_dirty_of_a_generator_does_nothing_and_is_refused(tmp_path: Path) -> None:
    body = """
        def set_page_dirty(self, page: Page) -> Steps[None]:
            page.PG_dirty = True
            yield "set_page_dirty: mine"
        def lru_cache_add_active(self, page: Page) -> None:
            self.set_page_dirty(page)
    """
    assert "the steps of self.set_page_dirty() are dropped: call SetPageDirty()" in refusal(patch(tmp_path, body))


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ('Rule("store", {"process": "process"}, lambda s, p: True, action=lambda s, p: None)', "one of that name"),
        ('Rule("poke", {"process": "proc"}, lambda s, p: True, action=lambda s, p: None)', "no domain 'proc'"),
        ('Rule("poke", {"process": "process"}, lambda s: True, action=lambda s, p: None)', "its when is called with"),
        (
            'Rule("poke", {"process": "process"}, lambda s, p: True, action=lambda s: None)',
            "its action is called with",
        ),
        ('Rule("poke", {"page": "page"}, lambda s, p: True, lambda s, p: iter(()))', "must name the task"),
        ('Rule("poke", {"process": "process"}, lambda s, p: True, plain)', "its steps must be a generator"),
        ('Rule("a b", {"process": "process"}, lambda s, p: True)', "must be an identifier"),
        ('Rule("a", {}, lambda s: 1, action=print), Rule("a", {}, lambda s: 1, action=print)', "one of that name"),
    ],
)
def test_a_rule_that_cannot_be_called_is_refused(tmp_path: Path, rules: str, text: str) -> None:
    file = patch(tmp_path, f"rules = ({rules},)", "def plain(s, p): ...\n")
    line = len(Path(file).read_text().splitlines())
    assert refusal(file).startswith(f"{file}:{line}: rule ")
    assert text in refusal(file)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("mine.patch", "--- a/mm/rmap.c\n+++ b/mm/rmap.c\n", "a patch is written in Python, as a subclass"),
        ("mine.c", "int x;\n", "a patch is written in Python, as a subclass"),
        ("mine.py", "--- a/mm/rmap.c\n+++ b/mm/rmap.c\n", "a patch is written in Python, as a subclass"),
        ("mine.py", "raise SystemExit(3)\n", "mine.py:1: does not import: SystemExit"),
        ("mine.py", "x = '\0'\n", "a patch is written in Python"),
        ("mine.py", HEAD + CLASS.replace("    __slots__ = ()\n", ""), "has no __slots__"),
        ("mine.py", HEAD + CLASS.replace("()", '("n",)'), "own state is declared in `fields`"),
        ("mine.py", HEAD + CLASS + CLASS.replace("Mine", "Other"), "more than one series: Mine, Other"),
    ],
)
def test_what_is_no_patch_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    assert says in refusal(str(tmp_path / name))


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"x = 1\n# Br\xfcder\n")
    assert "mine.py:2: is not UTF-8" in refusal(str(tmp_path / "mine.py"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").mkdir()
    assert "is a folder" in refusal(str(tmp_path / "mine.py"))
    assert "is a folder" in refusal(str(tmp_path))


def test_two_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    method = "def can_share_swap_page(self, page: Page) -> bool:\n    return False\n"
    kernels = [load(patch(folder, f"WHERE = {folder.name!r}\n\n{method}")) for folder in folders]
    assert [vars(kernel)["WHERE"] for kernel in kernels] == ["one", "two"]
    assert [Path(inspect.getsourcefile(kernel) or "").parent for kernel in kernels] == folders
    assert [code_of(kernel)(str(folders[0] / "mine.py")) for kernel in kernels] == [True, False]


@pytest.mark.parametrize("name", ["random", "types", "mm_sim"])
def test_a_patch_may_be_called_like_a_module(tmp_path: Path, name: str) -> None:
    before = dict(sys.modules)
    load(patch(tmp_path, "import random, types\n", name=f"{name}.py"))
    assert (sys.modules["types"], sys.modules["mm_sim"]) == (types, mm_sim)
    assert {module for module in sys.modules if module not in before and "@" not in module} == set()


def test_a_file_that_has_changed_is_loaded_anew(tmp_path: Path) -> None:
    first = load(patch(tmp_path, "LIMIT = 1\n"))
    assert load(patch(tmp_path, "LIMIT = 1\n")) is first
    assert vars(load(patch(tmp_path, "LIMIT = 2\n")))["LIMIT"] == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.py"]


def test_a_patch_imports_a_patch_beside_it(tmp_path: Path) -> None:
    patch(tmp_path, "LIMIT = 1\n", name="base_patch.py")
    text = HEAD + "from base_patch import Mine as Base\n" + CLASS.replace("(Kernel)", "(Base)")
    (tmp_path / "mine.py").write_text(text)
    assert load(str(tmp_path / "mine.py")).LIMIT == 1  # type: ignore[attr-defined]
    assert "base_patch" not in sys.modules
    patch(tmp_path, "LIMIT = 2\n", name="base_patch.py")
    assert load(str(tmp_path / "mine.py")).LIMIT == 2  # type: ignore[attr-defined]


def test_what_a_patch_imports_from_beside_it_is_checked(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("SEEN = []\ndef see(page):\n    SEEN.append(page)\n")
    file = patch(tmp_path, "", "from helper import see\n")
    Path(file).write_text(Path(file).read_text() + "    LIMIT = 1\n")
    assert "helper.py:3: SEEN is state of the module" in refusal(file)


def test_labels_of_helpers_are_preemption_points(tmp_path: Path) -> None:
    kernel = load(patch(tmp_path, LEGAL["steps of a function of the module"], BEFORE))
    exit_rule = next(rule for rule in RULES if rule.name == "exit")
    assert exit_rule.steps is not None
    assert "stepping: here" in labels(kernel, exit_rule.steps)
    state = Live(kernel)
    state.store(process=P1, page=A)
    state.fork(process=P1, child=P2)
    state.exit(process=P1, stop="stepping: here")
    assert state.system.kernel.tasks[P1].point == "stepping: here"


def test_no_step_of_the_kernel_is_dropped() -> None:
    classes = {cls for name in names() for cls in load(name).__mro__}

    def interruptible(name: str) -> bool:
        return any(is_interruptible(vars(cls).get(name)) for cls in classes)

    root = Path(mm_sim.__file__).parent
    for path in (*root.glob("kernel/*.py"), *root.glob("series/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert list(dropped_steps(tree, interruptible)) == [], path.name
    tree = ast.parse("def f(self):\n    self.set_page_dirty(page)\n")
    assert [one.line for one in dropped_steps(tree, interruptible)] == [2]
