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

from strategies.corpus import DatabaseError, Store
from strategies.night import report
from strategies.tally import tonight
from test_stateful.nights import small_night, until, work_away

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
            Store([self.url])
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
    lines, good = report(night, store, [])
    assert good, lines
