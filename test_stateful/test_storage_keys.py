"""The storage key of the model's s390 is that of another implementation: QEMU's.

Here belongs what holds mm_sim/arch.py against QEMU's s390x. An image of our own (storage_keys.s) does random
sequences of loads, stores, ISKE, SSKE and RRBE with DAT on; after each step both must have the same key. How it
works: docs/conformance.md.
"""

import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from mm_sim.arch import S390
from mm_sim.mm import Mm
from mm_sim.names import PAGES, A, B, C
from mm_sim.page import WRITE, ZERO, Page
from mm_sim.sched import Task

SOURCE = Path(__file__).with_name("storage_keys.s")
AS, LD, QEMU, SETPRIV = "s390x-linux-gnu-as", "s390x-linux-gnu-ld", "qemu-system-s390x", "setpriv"
MACHINE = ("-machine", "s390-ccw-virtio", "-accel", "tcg", "-m", "16M", "-nodefaults", "-display", "none")
CONSOLE = ("-chardev", "stdio,id=console,signal=off", "-device", "sclpconsole,chardev=console")

#: In the order of the image: a character of its input is 'A' + 4 * operation + page.
OPERATIONS = ("load", "store", "iske", "sske", "rrbe")
RUNS = settings(max_examples=200, backend="hypothesis")
#: Each part of a night has its own, and others than the night before.
NIGHTLY = settings(RUNS, max_examples=5_000, derandomize=False)

#: An operation and a page. A and B are mappings of one frame, C and D of another.
Step = tuple[str, int]
SEQUENCES = st.lists(
    st.lists(st.sampled_from([(op, page) for op in OPERATIONS for page in PAGES[:4]]), max_size=10), max_size=10
).map(lambda lists: [step for part in lists for step in part])

#: What a step gives: the condition code of RRBE or 0; R and C of the frame's key afterwards; what is loaded or 0.
Answer = tuple[int, bool, bool, int]


class Qemu:
    """The image under QEMU. It runs sequences until it is killed."""

    def __init__(self, folder: Path) -> None:
        image = folder / "storage_keys"
        subprocess.run([AS, "-m64", "-march=z10", "-o", f"{image}.o", SOURCE], check=True)
        subprocess.run([LD, "-Ttext=0x20000", "-Tdata=0x30000", "-o", f"{image}.elf", f"{image}.o"], check=True)
        # A test run that is killed takes QEMU with it.
        command = [SETPRIV, "--pdeathsig", "KILL", QEMU, *MACHINE, *CONSOLE, "-kernel", f"{image}.elf"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, steps: list[Step]) -> list[Answer]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(bytes(ord("A") + 4 * OPERATIONS.index(name) + page for name, page in steps) + b"\n")
        stdin.flush()
        text = self._line(stdout)
        pairs = zip(text[::2], text[1::2], strict=True)
        return [(key >> 2 & 3, bool(key & 2), bool(key & 1), value & 15) for key, value in pairs]

    def _line(self, stdout: IO[bytes]) -> bytes:
        if not select.select([stdout], [], [], 60)[0]:
            raise TimeoutError("QEMU has not answered within 60 s")
        line = stdout.readline()
        assert line, "the image has stopped: a program check, or QEMU could not start"
        return line.rstrip(b"\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qemu]:
    missing = [name for name in (QEMU, AS, LD, SETPRIV) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install qemu-system-s390x binutils-s390x-linux-gnu util-linux")
    running = Qemu(tmp_path_factory.mktemp("qemu"))
    yield running
    running.kill()


def run_model(arch: S390, steps: list[Step]) -> list[Answer]:
    frames = [Page(0), Page(1)]
    task = Task(0)
    task.mm = mm = Mm(0, 4)
    for frame in frames:
        frame.content = ZERO
    mm.pte = [frames[page // 2].ptes[WRITE] for page in PAGES[:4]]
    answers = []
    for number, (name, page) in enumerate(steps, 1):
        frame = frames[page // 2]
        cc = loaded = 0
        if name == "load":
            value = arch.load(task, page)
            assert value is not None
            loaded = value & 15
        elif name == "store":
            stored = arch.store(task, page, number)
            assert stored is not None
            assert stored[0] is frame
        elif name == "iske":
            assert arch.page_test_dirty(frame) == frame.key_c
        elif name == "sske":
            arch.page_clear_dirty(frame)
        else:
            cc = 2 * arch.page_test_and_clear_young(frame) + frame.key_c
        answers.append((cc, frame.key_r, frame.key_c, loaded))
    return answers


@pytest.mark.parametrize(
    "runs", [RUNS, *(pytest.param(NIGHTLY, marks=pytest.mark.nightly, id=f"part {part}") for part in range(4))]
)
def test_keys_are_those_of_qemu(qemu: Qemu, runs: settings) -> None:
    @runs
    @given(SEQUENCES)
    def each(steps: list[Step]) -> None:
        assert run_model(S390(), steps) == qemu.run(steps)

    each()


class SskeKeepsC(S390):
    __slots__ = ()

    def page_clear_dirty(self, page: Page) -> None:
        page.key_r = False


class SskeKeepsR(S390):
    __slots__ = ()

    def page_clear_dirty(self, page: Page) -> None:
        page.key_c = False


class RrbeClearsC(S390):
    __slots__ = ()

    def page_test_and_clear_young(self, page: Page) -> bool:
        page.key_c = False
        return super().page_test_and_clear_young(page)


class StoreThroughOnePageOnly(S390):
    __slots__ = ()

    def store(self, task: Task, addr: int, value: int) -> tuple[Page, int] | None:
        stored = super().store(task, addr, value)
        assert stored is not None
        stored[0].key_c = addr in (A, C)
        return stored


@pytest.mark.parametrize(
    ("wrong", "steps"),
    [
        (SskeKeepsC, [("store", A), ("sske", A)]),
        (SskeKeepsR, [("load", A), ("sske", A)]),
        (RrbeClearsC, [("store", A), ("rrbe", A)]),
        (StoreThroughOnePageOnly, [("store", B)]),
    ],
)
def test_wrong_key_is_found_by_a_short_sequence(qemu: Qemu, wrong: type[S390], steps: list[Step]) -> None:
    found = find(SEQUENCES, lambda steps: run_model(wrong(), steps) != qemu.run(steps), settings=RUNS)
    assert found == steps
