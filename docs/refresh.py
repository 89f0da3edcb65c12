"""Write anew what the tool prints in the documentation, and the stored tests: `python docs/refresh.py`.

The blocks between cog markers in README.md and docs/*.md, docs/cost.svg, and the form of test_regressions/. What a
stored test says of a patch stays: where that does not hold any more the changes are printed, nothing is written, and
the exit status is 1. With `--accept-verdicts` they are printed and written. `test_docs.py` fails where a page is
stale. The walk through the thread is the data below: a mail with its commands is an entry.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner
from cogapp import Cog

from mm_sim import series as all_series
from mm_sim.kernel import base_of, name_of
from strategies import cost, reproducer
from strategies.cli import main

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/thread.md")
PICTURE = ROOT / "docs" / "cost.svg"
THREAD_SERIES = ("page_zap_rmap", "easy", "easy_mprotect", "easy_mprotect_fork", "no_clear_uptodate", "a4b526b3ba63")


@dataclass(frozen=True, slots=True)
class Mail:
    """A step of the thread, or what was found beyond it: what was said, and the commands that show it."""

    title: str
    said: str
    commands: tuple[str, ...] = ()


_STORED = "explain test_regressions/test_"

THREAD = (
    Mail(
        "The patch",
        """Martin Schwidefsky, 29 May 2008. On s390 page_remove_rmap() tests the storage key at the last unmap. For
        anonymous pages that cease to exist this is wasted work, so page_zap_rmap() leaves it out: in
        zap_pte_range() for anonymous pages, in do_wp_page() for the old page. Measured: 2 % for a gcc test,
        about 4 % for a loop that starts an empty shell script. What it saves in the model:""",
        ("cost page_zap_rmap",),
    ),
    Mail(
        "The sketch",
        """Nick Piggin, 3 June: the last mapper's exit does not mean that the page ceases to exist, it may have a
        swap count. His sketch has p2 lock the page, so that reclaim unmaps p1 and fails at p2; then p2 exits.
        mlock() of a writable vma breaks COW, so p2 makes it read-only first. Taken literally the sketch loses
        nothing: add_to_swap() marks the page dirty, and it is written when p2 is gone.""",
        ("explain docs/sketch.py --timeline",),
    ),
    Mail(
        "The sketch, with one write before",
        """It does lose a page that has been written to swap and modified again, for then nothing marks it dirty
        any more.""",
        (_STORED + "page_zap_rmap_d91537a20a.py --compare linux_2_6_26",),
    ),
    Mail(
        "The race",
        """Schwidefsky: agreed, and the lock is not even needed, try_to_unmap() racing with the exit is enough.""",
        (_STORED + "zap_only_1321f6851a.py --compare linux_2_6_26",),
    ),
    Mail(
        "The easy way",
        """Piggin: mark the page dirty in the zap path if the pte is writable, without a look at the key. With COW
        as in the patch or, here, as in 2.6.26, it loses a page that a fork has made read-only.""",
        (_STORED + "easy_cow_0b478370d5.py --compare linux_2_6_26",),
    ),
    Mail(
        "The mprotect hole",
        """Schwidefsky: mprotect() can make the pte read-only first. Piggin: one could mark the page dirty in
        mprotect(). The first difference is just there.""",
        (_STORED + "easy_c8467b46bc.py --compare easy_mprotect",),
    ),
    Mail(
        "The fork hole nobody saw",
        """With mprotect() mended the easy way still loses: the write protection by fork does what that of
        mprotect() did. Nobody on the thread said so. A series that marks the page dirty in fork, too, loses no
        anonymous page.""",
        (_STORED + "page_zap_rmap_d91537a20a.py --on easy_mprotect --compare easy_mprotect_fork",),
    ),
    Mail(
        "The tmpfs hole",
        """In do_wp_page() the old page may belong to a file: a store through a shared mapping of tmpfs is known to
        the key alone, and the last private mapping goes without a look at it.""",
        (_STORED + "page_zap_rmap_fde934ef5c.py --timeline --compare a4b526b3ba63",),
    ),
    Mail(
        "The final patch, and its proof",
        """Schwidefsky, two hours later, and committed as a4b526b3ba63: the key is tested only if the page is no
        anonymous page or is in the swap cache, for every path that replaces a pte by a swap pte puts the page
        there first; and __SetPageUptodate() does not clear the key any more. An anonymous page that never meets
        swap costs no storage key operation at all; the loop got about 5 % faster.""",
        ("search a4b526b3ba63 --jobs 1", "cost a4b526b3ba63"),
    ),
)

#: What the tool found that nobody on the thread spoke of.
BEYOND = (
    Mail(
        "The easy way and tmpfs",
        """Marking the page dirty wherever write access goes is enough for anonymous memory, but not for tmpfs: the
        pte of the private mapping was never writable, so the easy way has nothing to mark, and COW is that of
        page_zap_rmap(). The state after the step that forgets:""",
        (
            "search easy_mprotect_fork --jobs 1",
            _STORED + "easy_mprotect_fork_785bc97316.py --step 8 --compare linux_2_6_26",
        ),
    ),
    Mail(
        "Two processes: 2.6.26 breaks a promise of fsync()",
        """set_page_dirty() first sets PG_dirty, then the dirty tag, by which write-back finds the page. One process
        stands between the two after its fault; another maps the same page, faults, finds PG_dirty set, goes on,
        stores, and calls fsync(), which finds no tag and says that all is written. The window is a few
        instructions wide, longer if an interrupt comes in. Later kernels hold the page lock over both:
        b827e496c893 (2009) where there is a page_mkwrite(), which every filesystem has had since 2012. The series
        fault_page_locked marks the page dirty, under its lock, before it can be written to.""",
        (
            _STORED + "linux_2_6_26_e027f028d6.py --timeline --compare fault_page_locked",
            "search fault_page_locked --arch s390 --scope file --jobs 1",
        ),
    ),
    Mail(
        "Two threads: a store before the page is marked dirty",
        """do_wp_page() and __do_fault() install a writable pte, drop the locks, and mark the page dirty then. The
        other thread stores in between, without a fault, and fsync() finds nothing to write. fault_page_locked mends
        this, too.""",
        (_STORED + "linux_2_6_26_4620c02013.py --timeline --compare fault_page_locked",),
    ),
    Mail(
        "One process: 2.6.26 breaks a promise of fsync() on x86",
        """page_mkclean() looks at a pte before it takes the ptl, and gives up if it is empty; mprotect() empties it
        for a moment. The page is then written with its pte left dirty, later stores fault no more, and fsync()
        does not find the page. Mended two months after the thread by 479db0bf408e, the series
        dirty_tracking_race.""",
        (_STORED + "linux_2_6_26_f4d33ea8f3.py --timeline --compare dirty_tracking_race",),
    ),
    Mail(
        "Two threads: stores between the unmap and the flush of the TLBs",
        """munmap() marks a page dirty, unmaps it, and flushes the TLBs later: until then another thread can store
        to it, and write-back may have cleaned it in between. In 2014 1cf35d47712d moved the flush to before the
        ptl is dropped, the series mmu_gather_flush. That does not suffice: write-back looks for no pte of a page
        that is not mapped any more, so it takes no ptl and waits for nobody.""",
        (_STORED + "mmu_gather_flush_bc855a9c81.py --timeline",),
    ),
    Mail(
        "Two threads: the page stays mapped until the flush",
        """5df397dec7c4, of 2022, puts page_remove_rmap() off until the TLBs are flushed, the series delay_rmap. As
        long as a TLB may have the page, write-back sees that it is mapped, and waits for the ptl; after that the
        other thread's store faults.""",
        (
            _STORED + "mmu_gather_flush_bc855a9c81.py --step 4 --compare delay_rmap",
            "search delay_rmap --arch x86 --scope threads --jobs 1",
        ),
    ),
)


def mm_sim(command: str) -> str:
    """A command and what it prints, as a block; times and rates, which no two runs share, are left out."""
    result = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"}).invoke(main, shlex.split(command))
    if result.exit_code == 2:
        raise SystemExit(f"mm-sim {command}: {result.output}")
    lines = [re.sub(r", [0-9.]+ s, [0-9]+ states/s", "", line.rstrip()) for line in result.output.splitlines()]
    return (
        "\n".join(("```", f"$ mm-sim {command}", *lines, "```")).replace("\n\n\n", "\n\n").replace("\n\n```", "\n```")
    )


def walk(mails: Sequence[Mail]) -> str:
    """The walk through the thread, or on."""
    parts = []
    for n, mail in enumerate(mails, (*THREAD, *BEYOND).index(mails[0]) + 1):
        said = "\n".join(textwrap.wrap(" ".join(mail.said.split()), 100))
        parts += [f"## {n}. {mail.title}", said, *map(mm_sim, mail.commands)]
    return "\n\n".join(parts)


def adds_table() -> str:
    """Which patch adds a loss where, as the patches say."""
    lines = ["| patch | what changes | compared with | adds a loss in |", "|---|---|---|---|"]
    for name in all_series.names():
        kernel = all_series.load(name)
        base = name_of(base_of(kernel))
        if base is not None:
            where = [
                f"`{machine}` {' '.join(arches)}" for machine, arches in vars(kernel).get("loses_in", {}).items()
            ]
            lines.append(f"| `{name}` | {kernel.title} | `{base}` | {', '.join(where)} |")
    return "\n".join(lines)


def figures() -> str:
    """What docs/cost.svg shows, as it stands in the file."""
    names = [cost.BASE, *THREAD_SERIES]
    return json.dumps(cost.as_json(cost.all_costs(names), cost.known_losses(names)))


def draw() -> None:
    """docs/cost.svg, if it shows other figures: another matplotlib draws the same in other strokes."""
    if not PICTURE.exists() or figures_of(PICTURE) != figures():
        names = [cost.BASE, *THREAD_SERIES]
        cost.plot(cost.all_costs(names), cost.known_losses(names), PICTURE)


def figures_of(picture: Path) -> str | None:
    found = re.search(r"<dc:description>(.*?)</dc:description>", picture.read_text(encoding="utf-8"), re.DOTALL)
    return found and found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def pages(*options: str) -> int:
    """Run cog over the pages: its exit status."""
    status: int = Cog().main(["cog", *options, "-p", "from docs.refresh import *", "-I", str(ROOT), *PAGES])
    return status


def stored_tests(accept: bool, folder: Path = reproducer.FOLDER) -> bool:
    """Write the stored tests anew. False, and none is written, if a stored verdict would change and may not."""
    found = [(path, *reproducer.renewed(path)) for path in sorted(folder.glob("test_*.py"))]
    changes = [change for _, changes, _ in found for change in changes]
    if (accept and changes) or any(change.breaks for change in changes):
        print(table(changes))
        for path, _, new in found:
            if not new:
                print(f"{path.name}: no patch loses by this run any more: {'deleted' if accept else 'to be deleted'}")
        if not accept:
            print("Nothing is written. To change what is stored: python docs/refresh.py --accept-verdicts")
            return False
    for path, _, new in found:
        source = new if accept else reproducer.rewritten(path)
        if not source:
            path.unlink()
        elif source != path.read_text(encoding="utf-8"):
            path.write_text(source, encoding="utf-8")
    return True


def table(changes: Sequence[reproducer.Change]) -> str:
    """The changes of stored verdicts, as lines."""
    rows = [("test", "patch", "before", "after"), *((c.test, c.patch, c.before, c.after) for c in changes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def refresh(arguments: Sequence[str]) -> int:
    """The exit status: 1 if a stored verdict does not hold any more and is not to be changed."""
    parser = argparse.ArgumentParser(description="Write the documentation and the stored tests anew.")
    parser.add_argument("--accept-verdicts", action="store_true", help="change what stored tests say of a patch")
    if not stored_tests(parser.parse_args(arguments).accept_verdicts):
        return 1
    draw()
    return pages("-r")


if __name__ == "__main__":
    sys.exit(refresh(sys.argv[1:]))
