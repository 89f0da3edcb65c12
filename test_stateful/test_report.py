"""The pages for a browser, read by one: what they show, and that they can be used with keys alone."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from inspect import getsourcefile
from pathlib import Path
from typing import Any

import pytest

from mm_sim.kernel import Kernel
from mm_sim.series import load
from mm_sim.system import SMALL
from strategies.coverage import Function
from strategies.explain import same_steps, tables
from strategies.explore import Bounds
from strategies.minimise import Certificate
from strategies.report import Picture, page, picture, write_all
from strategies.reproducer import FOLDER, Replay, read
from strategies.timeline import Run, trace
from strategies.verdict import Finding, Outcome, Verdict
from strategies.verdict_text import REQUIRED, as_json

RAISES = """
from mm_sim.kernel import Kernel
from mm_sim.page import Page
from mm_sim.sched import Steps


class Raises(Kernel):
    __slots__ = ()

    title = "raises"
    posted = "nowhere"
    applies_to = "2.6.26"

    def add_to_swap(self, page: Page) -> Steps[bool]:
        yield "add_to_swap: before"
        return {}["x"]
"""

ROOT = Path(__file__).parent.parent
stored, steps = read(FOLDER / "test_zap_only_1321f6851a.py")


@pytest.fixture(scope="module")
def run() -> Run:
    return stored.replay(load("zap_only"), steps)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return page(run, "zap_only", stored.proof, same_steps(run, load("linux_2_6_26")), "linux_2_6_26")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: pip install 'mm_sim[dev]'"
    )
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield made
    made.quit()


@pytest.fixture
def opened(browser: Any, html: str, tmp_path: Path) -> Any:
    file = tmp_path / "loss.html"
    file.write_text(html, encoding="utf-8")
    browser.get(file.as_uri())
    return browser


def at(browser: Any) -> tuple[str, list[str]]:
    """What the page says it shows, and the titles of the states that can be seen."""
    said = browser.execute_script("return document.querySelector('output').textContent")
    seen = browser.execute_script(
        "return [...document.querySelectorAll('.state')].filter(s => s.offsetParent).map(s => s.dataset.title)"
    )
    return said, seen


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        ActionChains(browser).send_keys(getattr(Keys, key)).perform()


def test_page_needs_nothing_from_elsewhere(html: str) -> None:
    assert not re.search(r"""(src|href)=["'](?!#)""", html)
    assert "http" not in html
    assert "@import" not in html


def test_keys_move_through_the_run(opened: Any, run: Run) -> None:
    assert at(opened) == ("Step 1, store(A) by P1", ["Step 1, store(A) by P1"])
    press(opened, "ARROW_RIGHT", "ARROW_RIGHT")
    assert at(opened) == ("Step 3, store(A) by P1", ["Step 3, store(A) by P1"])
    press(opened, "END")
    assert at(opened)[0].startswith("Step 8, resume() by kswapd")
    press(opened, "ARROW_RIGHT")
    assert at(opened)[0].startswith("Step 8, resume() by kswapd")
    press(opened, "HOME", "ARROW_LEFT")
    assert at(opened)[0] == "Step 1, store(A) by P1"
    opened.find_element("id", "at").send_keys("\ue014")  # an arrow key on the slider itself: one line, not two
    assert at(opened)[0].startswith("Step 2")


def test_slider_buttons_and_rows_do_the_same(opened: Any, run: Run) -> None:
    opened.find_element("id", "on").click()
    assert at(opened)[0].startswith("Step 2")
    opened.find_element("id", "back").click()
    assert at(opened)[0].startswith("Step 1")
    lost = next(i for i, row in enumerate(run.rows) if row.mark == "lost")
    opened.find_element("css selector", f"#row-{lost} a").click()
    assert at(opened)[1] == ["Step 8, resume() by kswapd: remove_mapping()"]
    current = opened.execute_script("return document.querySelector('[aria-current]').id")
    assert current == f"row-{lost}"
    assert opened.execute_script("return document.querySelector('#at').value") == str(lost)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_on_a_phone_light_and_dark(opened: Any, scheme: str) -> None:
    phone = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 380
    style = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    colours = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in opened.execute_script(style)]
    assert (colours[0] < colours[1]) == (scheme == "light")
    assert abs(colours[0] - colours[1]) > 400
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_page_has_no_error_in_its_script(opened: Any) -> None:
    press(opened, "ARROW_RIGHT", "END", "HOME")
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_comparison_shows_where_the_safe_kernel_remembered(html: str) -> None:
    text = " ".join(html.split())
    assert "Where linux_2_6_26 differs" in text
    assert "First after step 7" in text
    assert "set_page_dirty" in text


def test_drawing_shows_the_good_content_and_who_knows_of_it(run: Run) -> None:
    drawn = {node.name: node for node in picture(run.view_after(3), "2").nodes}
    assert drawn["frame0"].good
    assert drawn["frame0"].badges == ["key C", "writeback of 1"]
    assert not drawn["slot0"].good
    assert "P1 pte A to frame0" in str(picture(run.view_after(3), "2"))


def drawn_at_end(test: str) -> Picture:
    """The drawing of a stored run before its last step."""
    what, its_steps = read(FOLDER / f"test_{test}.py")
    run = what.replay(load(what.series), its_steps)
    assert run.report is not None
    return picture(run.view_after(len(run.steps) - 2), str(run.report.loss.expected))


def test_drawing_shows_the_page_cache_and_the_block_on_disk() -> None:
    drawing = drawn_at_end("linux_2_6_26_f4d33ea8f3")
    drawn = {node.name: node for node in drawing.nodes}
    assert (drawn["frame0"].text, drawn["frame0"].good, drawn["frame0"].badges) == ("2", True, [])
    assert (drawn["ext2 disk A"].text, drawn["ext2 disk A"].good) == ("1", False)
    assert drawn["P1 pte A"].badges == ["dirty"]
    assert "ext2 page cache A to frame0; frame0 to ext2 disk A" in str(drawing)


def test_drawing_shows_the_change_bit_of_a_tmpfs_page_that_nobody_maps() -> None:
    drawing = drawn_at_end("page_zap_rmap_fde934ef5c")
    drawn = {node.name: node for node in drawing.nodes}
    assert (drawn["frame0"].good, drawn["frame0"].badges) == (True, ["key C"])
    assert "pte A to frame0" not in str(drawing)
    assert not any("disk" in name for name in drawn)


def test_drawing_shows_what_the_cpu_of_a_thread_has_cached() -> None:
    drawing = drawn_at_end("linux_2_6_26_4620c02013")
    assert "P2 TLB A to frame0" in str(drawing)


def test_states_of_files_leave_out_what_says_nothing() -> None:
    what, its_steps = read(FOLDER / "test_page_zap_rmap_fde934ef5c.py")
    run = what.replay(load(what.series), its_steps)
    shown = {one.title: one for one in tables(run.view_after(5), run.view_after(4), run.start)}
    assert shown["files"].columns == ["count", "pages A"]
    assert "tag_dirty" not in shown["frames"].columns


def verdict(patch: str, base: str | None, *outcomes: Outcome) -> dict[str, Any]:
    functions = (Function("zap", "mine.py", (5, 6)), Function("never_called", "mine.py", (9,)))
    made: dict[str, Any] = as_json(Verdict(patch, base, list(outcomes), functions), Kernel)
    return made


def lost(run: Run) -> Finding:
    return Finding(run.scope, Certificate(list(run.steps), True, 99, Bounds(run.scope, steps=7, stops=1)))


def cells(html: str, table: str) -> list[list[str]]:
    """The text of a table of the index, by row."""
    (body,) = re.findall(rf'<table id="{table}">(.*?)</table>', html, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)[1:]
    return [
        [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)] for row in rows
    ]


def written(folder: Path, *verdicts: dict[str, Any]) -> str:
    write_all(folder, verdicts)
    return (folder / "index.html").read_text(encoding="utf-8")


def test_report_has_a_row_for_each_target_with_what_is_known(run: Run, tmp_path: Path) -> None:
    ran = {("mine.py", 5)}
    bounds = Bounds(SMALL, ("store", "resume"), steps=7, stops=1)
    index = written(
        tmp_path,
        verdict(
            "zap_only",
            "linux_2_6_26",
            Outcome("anon", "s390", run.scope, finding=lost(run), reached=ran),
            Outcome("file", "x86", SMALL, [(bounds, 1234)], fixes=list(run.steps[:1]), reached=ran, proof=bounds),
        ),
    )
    (first, second) = cells(index, "verdicts")
    assert first[:5] == ["zap_only", "linux_2_6_26", "anon", "s390", "adds a loss"]
    assert first[-1] == "8 steps"
    assert second[4] == "adds no loss: proven"
    assert second[5] == "every run of 1 rules up to 7 steps, at most 1 preemption: 1234 states"
    assert second[6:] == ["a loss of linux_2_6_26", ""]


@pytest.mark.parametrize(
    ("change", "said", "shown"),
    [
        ({"reached": set()}, "not reached", "unreached"),
        ({}, "adds no loss found", "found"),
        ({"complete": [(Bounds(SMALL, (), steps=7, stops=1), 9)]}, "adds no loss: proven", "good"),
    ],
)
def test_report_is_green_only_where_something_is_proven(
    change: dict[str, Any], said: str, shown: str, tmp_path: Path
) -> None:
    least = Bounds(SMALL, (), steps=7, stops=1)
    of = Outcome("anon", "s390", SMALL, **{"reached": {("mine.py", 5)}, "proof": least, **change})
    assert f'<td class="{shown}">{said}</td>' in written(tmp_path, verdict("zap_only", "linux_2_6_26", of))
    of_itself = said.replace("adds no", "no")
    assert f'<td class="{shown}">{of_itself}</td>' in written(tmp_path, verdict("linux_2_6_26", None, of))


def test_report_has_a_page_for_each_loss(run: Run, tmp_path: Path) -> None:
    of = Outcome("file, two pages", "s390", run.scope, finding=lost(run), reached={("mine.py", 5)})
    index = written(tmp_path, verdict("zap_only", "linux_2_6_26", of))
    assert re.findall(r'href="([^"]+)"', index) == ["zap_only_file_two_pages_s390_loss.html"]
    html = (tmp_path / "zap_only_file_two_pages_s390_loss.html").read_text()
    assert "loses a modified page" in html
    assert "&lt;-- lost" in html


def test_report_has_a_page_for_each_bug(run: Run, tmp_path: Path) -> None:
    patch = tmp_path / "raises.py"
    patch.write_text(RAISES)
    broken = Certificate(list(run.steps[:2]), False, 0, Bounds(run.scope))
    of = Outcome("anon", "s390", run.scope, bug=Finding(run.scope, broken, "KeyError"), reached={("mine.py", 5)})
    index = written(tmp_path / "report", verdict(str(patch), "linux_2_6_26", of))
    assert '<td class="lost">adds a bug</td>' in index
    html = (tmp_path / "report" / "raises_anon_s390_bug.html").read_text()
    assert "has a bug" in html
    assert "&lt;-- bug" in html


def test_report_keeps_the_pages_of_two_files_of_one_name_apart(run: Run, tmp_path: Path) -> None:
    verdicts = []
    for folder in ("v1", "v2"):
        (tmp_path / folder).mkdir()
        patch = tmp_path / folder / "zap_only.py"
        patch.write_text(Path(getsourcefile(load("zap_only")) or "").read_text())
        of = Outcome("anon", "s390", run.scope, finding=lost(run), reached={("mine.py", 5)})
        verdicts.append(verdict(str(patch), "linux_2_6_26", of))
    linked = re.findall(r'href="([^"]+)"', written(tmp_path / "report", *verdicts))
    assert [
        f"{folder}/zap_only.py" in (tmp_path / "report" / linked[n]).read_text()
        for n, folder in enumerate(("v1", "v2"))
    ] == [True, True]


def test_report_says_once_what_the_base_loses(run: Run, tmp_path: Path) -> None:
    ran = {("mine.py", 5)}
    long, short = list(run.steps), list(run.steps[:2])
    one = Outcome("anon", "s390", SMALL, base_fails=long, reached=ran)
    other = Outcome("anon", "s390", SMALL, base_fails=short, reached=ran)
    index = written(tmp_path, verdict("easy", "linux_2_6_26", one), verdict("zap_only", "linux_2_6_26", other))
    ((base, machine, arch, steps),) = cells(index, "base")
    assert (base, machine, arch) == ("linux_2_6_26", "anon", "s390")
    assert steps.count("stop=") == 2


def test_report_has_the_coverage_of_the_patch(tmp_path: Path) -> None:
    of = Outcome("anon", "s390", SMALL, reached={("mine.py", 5)})
    index = written(tmp_path, verdict("zap_only", "linux_2_6_26", of))
    assert cells(index, "functions") == [
        ["zap_only", "zap()", "anon s390", "6"],
        ["zap_only", "never_called()", "nowhere", "9"],
    ]
    assert '<td class="unreached">nowhere</td>' in index


def test_report_has_the_coverage_marks_and_the_required_ones_that_were_not_reached(tmp_path: Path) -> None:
    ran = {("mine.py", 5)}
    first, *others = REQUIRED["anon"]
    of = (
        Outcome("anon", "s390", SMALL, marks={first: 2, "swap full": 1}, reached=ran),
        Outcome("anon", "x86", SMALL, marks=dict.fromkeys(REQUIRED["anon"], 1), reached=ran),
        Outcome("file", "x86", SMALL),
    )
    index = written(tmp_path, verdict("zap_only", "linux_2_6_26", *of))
    ((*where, missing),) = cells(index, "required")
    assert where == ["zap_only", "anon", "s390"]
    assert missing.replace("&#39;", "'") == "; ".join(others)
    assert [first, "3"] in cells(index, "marks")


#: What a test that judges does, without judging.
RECORDS = """
from mm_sim.kernel import Kernel
from mm_sim.series import load
from mm_sim.system import SMALL
from strategies.coverage import Function
from strategies.verdict import Outcome, Verdict


def test_verdict(record_verdict):
    reached = Outcome("anon", "s390", SMALL, reached={("easy.py", 5)})
    not_reached = Outcome("pins", "s390", SMALL)
    functions = (Function("zap", "easy.py", (5,)),)
    record_verdict(Verdict("easy", "linux_2_6_26", [reached, not_reached], functions), load("easy"))
"""


def test_pytest_prints_the_verdicts_and_writes_the_report(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(RECORDS)
    options = ["-p", "conftest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "--mm-report", "report", "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "easy anon s390: adds no loss found\n" in ran.stdout
    assert "easy UNEXPECTED: declared to lose in anon s390, where no loss was found\n" in ran.stdout
    assert "pins" not in ran.stdout
    assert "report: report/index.html" in ran.stdout
    assert "adds no loss found" in (tmp_path / "report" / "index.html").read_text()


def test_text_of_a_series_cannot_break_the_page() -> None:
    class Odd(load("zap_only")):  # type: ignore[misc]
        __slots__ = ()
        title = "<script>alert(1)</script>"

    replay = Replay(Odd)
    steps(replay)
    assert "<script>alert" not in page(trace(Odd, "s390", stored.scope, replay.steps), "odd", "")
