"""Workers that share a Redis server, which is killed in the middle. Skipped where there is no redis-server."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.series import load
from mm_sim.system import SMALL, Loss
from strategies.corpus import Corpus, DatabaseError, Store
from strategies.machine import machine
from strategies.night import report
from strategies.tally import LOSSES, tonight
from test_stateful.nights import bad, forgetful, small_night, until, work, work_away

pytest.importorskip("redis", reason="the redis client is not installed")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server"),
]


class Server:
    """A Redis server of the test's own, on a socket in its directory, that writes every change to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix://{path}/redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = "--port 0 --unixsocket redis.sock --appendonly yes --appendfsync always --save"
        self.process = subprocess.Popen(
            ["redis-server", *options.split(), ""],
            cwd=self.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self.answers)

    def answers(self) -> bool:
        try:
            Store.open([self.url])
        except DatabaseError:
            return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path)
    one.start()
    yield one
    one.kill()


def test_workers_share_a_server_that_is_killed_and_comes_back(tmp_path: Path, server: Server) -> None:
    night = small_night(tmp_path, budget=8, databases=[server.url])
    processes = [get_context("fork").Process(target=work_away, args=(night, f"w{n}")) for n in range(2)]
    for process in processes:
        process.start()
    until(lambda: len(tonight(night, Store([server.url])).jobs) > 0)
    Store([server.url]).put(b"key", {"n": 1})
    server.kill()
    time.sleep(1)
    server.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    store = Store([server.url])
    assert [entry.data for entry in store.all(b"key")] == [{"n": 1}]
    assert not bad(night)


def test_night_whose_server_is_away_at_its_end_still_says_what_it_did(tmp_path: Path, server: Server) -> None:
    night = small_night(tmp_path, databases=[server.url])
    outcome, _ = work(night)
    server.kill()
    lines, _ = report(night, Store(night.databases), [outcome])
    server.start()
    assert lines[0].startswith("linux_2_6_26 on s390: losses: none")
    assert any(line.startswith(f"{server.url}: failed") for line in lines)


def test_database_and_server_share_a_night(tmp_path: Path, server: Server) -> None:
    """A new kind of loss is in the server as an entry, and as Hypothesis keeps it; so are the runs."""
    series = forgetful(tmp_path)
    night = small_night(tmp_path, series, databases=[str(tmp_path / "kept"), server.url])
    work(night)
    elsewhere = Store([server.url])
    assert elsewhere.all(LOSSES)
    assert Corpus(elsewhere, load(series), series, "s390", "small", SMALL).load()[0]
    again = machine(load(series), series, "s390")
    reuse = settings(settings.get_profile("plain"), phases=[Phase.reuse], database=elsewhere.database)
    with pytest.raises(Loss):
        run_state_machine_as_test(again, settings=reuse)  # type: ignore[no-untyped-call,unused-ignore]
