"""What lasts from one night to the next, as JSON in a Hypothesis database: runs, losses, proofs and tallies.

A database is a directory, a Redis server, or the artifacts of a CI (read-only), and several of them at once: workers
that are given the same one share what they find. Entries are data: they are parsed and checked, never evaluated.
May use `mm_sim`, and of `strategies` the rules, the walk, and how a step is written and left out.
"""

from __future__ import annotations

import ast
import json
import os
import re
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from hypothesis.database import (
    DirectoryBasedExampleDatabase,
    ExampleDatabase,
    GitHubArtifactDatabase,
    MultiplexedDatabase,
    ReadOnlyDatabase,
)
from hypothesis.errors import HypothesisWarning

from mm_sim.kernel import Kernel
from mm_sim.loss import Step
from mm_sim.snapshot import is_quiet
from mm_sim.system import Loss, Rule, Scope, System
from strategies.minimise import delete_chunks
from strategies.reproducer import call
from strategies.rules import domains, stops, table
from strategies.walk import danger, outline

try:
    from redis.exceptions import RedisError
except ImportError:

    class RedisError(Exception):  # type: ignore[no-redef]
        """Stands for what is never raised where there is no redis."""


#: Where a night keeps its things unless told otherwise.
DEFAULT = ".mm_sim"
#: How many runs of one series, architecture and scope are kept.
BOUND = 100
#: How many abstract states of them are counted.
STATES = 200_000
#: Seconds before a database that failed is tried again.
_PATIENCE = 2.0


class DatabaseError(Exception):
    """A database that cannot be used: one line that names it and what to do."""


class Folder(DirectoryBasedExampleDatabase):
    """Hypothesis' directory database, but an entry is there whole or not at all, and failing is not silent.

    Hypothesis writes the draft where temporary files are; on another file system it then copies, and the copy can
    be cut off. Entries are named by a hash of what they say, so one that is damaged is known, and passed over.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.damaged: set[Path] = set()

    def save(self, key: bytes, value: bytes) -> None:
        path = self._value_path(key, value)
        with suppress(OSError):
            if path.read_bytes() == value:
                return
        path.parent.mkdir(exist_ok=True, parents=True)
        handle, draft = tempfile.mkstemp(prefix=".part-", dir=self.path)
        try:
            with open(handle, "wb") as file:
                file.write(value)
                file.flush()
                os.fsync(handle)
            while True:
                try:
                    os.replace(draft, path)
                    return
                except FileNotFoundError:  # its last entry was deleted just now, and the folder with it
                    path.parent.mkdir()
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise

    def fetch(self, key: bytes) -> Iterator[bytes]:
        try:
            paths = sorted(self._key_path(key).iterdir())
        except FileNotFoundError:
            return
        for path in paths:
            try:
                value = path.read_bytes()
            except (
                FileNotFoundError,
                IsADirectoryError,
            ):  # somebody has just deleted it, or put something else there
                continue
            if path == self._value_path(key, value):
                self.damaged.discard(path)
                yield value
            else:
                self.damaged.add(path)

    def tidy(self) -> int:
        """Delete what is damaged; how many entries that were."""
        damaged = len(self.damaged)
        while self.damaged:
            self.damaged.pop().unlink(missing_ok=True)
        return damaged

    def drafts(self) -> None:
        """Delete the drafts that a kill has left behind."""
        for draft in self.path.glob(".part-*"):
            with suppress(OSError):
                if time.time() - draft.stat().st_mtime > 3600:
                    draft.unlink()


class Patient(ExampleDatabase):
    """A database that may fail for a while: what it does not take is kept, and handed on when it takes it again."""

    def __init__(self, database: ExampleDatabase, name: str) -> None:
        super().__init__()
        self.database, self.name = database, name
        self.waiting: dict[tuple[bytes, bytes], str] = {}
        self.trouble = ""
        self.failures = 0
        self.again = 0.0

    def save(self, key: bytes, value: bytes) -> None:
        self.waiting[key, value] = "save"
        self.flush()

    def delete(self, key: bytes, value: bytes) -> None:
        if self.waiting.pop((key, value), None) != "save":
            self.waiting[key, value] = "delete"
        self.flush()

    def fetch(self, key: bytes) -> Iterator[bytes]:
        self.flush()
        found: dict[bytes, None] = {}
        try:
            found = dict.fromkeys(self.database.fetch(key))
        except (OSError, RedisError, HypothesisWarning) as error:
            self.failed(error)
        for (of, value), what in self.waiting.items():
            if of == key:
                if what == "save":
                    found[value] = None
                else:
                    found.pop(value, None)
        yield from found

    def flush(self, now: bool = False) -> None:
        if not now and time.monotonic() < self.again:
            return
        while self.waiting:
            (key, value), what = next(iter(self.waiting.items()))
            try:
                (self.database.save if what == "save" else self.database.delete)(key, value)
            except (OSError, RedisError) as error:
                self.failed(error)
                return
            del self.waiting[key, value]

    def failed(self, error: Exception) -> None:
        self.failures += 1
        self.trouble = getattr(error, "strerror", None) or str(error)
        self.again = time.monotonic() + _PATIENCE

    def __str__(self) -> str:
        """What went wrong, in one line; empty if nothing."""
        damaged = len(getattr(self.database, "damaged", ()))
        said = []
        if self.failures:
            kept = sum(what == "save" for what in self.waiting.values())
            end = f"{kept} entries could not be saved" if kept else "nothing was lost"
            said.append(f"failed {self.failures} times ({self.trouble}), {end}")
        if damaged:
            said.append(f"{damaged} damaged entries were passed over; `mm-sim corpus --prune` deletes them")
        return f"{self.name}: {'; '.join(said)}" if said else ""


#: What the address of a Redis server begins with.
_REDIS = ("redis://", "rediss://", "unix://")


def _database(spec: str) -> ExampleDatabase:
    if spec.startswith(_REDIS):
        try:
            from hypothesis.extra.redis import RedisExampleDatabase
            from redis import Redis
        except ImportError as error:
            raise DatabaseError(f"{spec}: needs the redis client: pip install 'mm_sim[redis]'") from error
        try:
            server = Redis.from_url(spec, socket_timeout=10, socket_connect_timeout=5)
        except ValueError as error:
            raise DatabaseError(f"{spec}: is no address of a Redis server ({error})") from error
        return RedisExampleDatabase(server, expire_after=timedelta(days=365))
    if spec.startswith("github:"):
        words = spec.removeprefix("github:").split("/")
        if len(words) != 3 or not all(words):
            raise DatabaseError(f"{spec}: must read github:OWNER/REPOSITORY/SERIES")
        owner, repository, series = words
        artifacts = Path(DEFAULT, "artifacts", *words)  # a folder for each: Hypothesis caches by date alone
        return ReadOnlyDatabase(GitHubArtifactDatabase(owner, repository, f"mm_sim-{series}", path=artifacts))
    path = Path(spec)
    if path.exists() and not path.is_dir():
        raise DatabaseError(
            f"{spec}: is a file; a database is a directory, redis://HOST or github:OWNER/REPOSITORY/SERIES"
        )
    return Folder(path)


class Entry(NamedTuple):
    """What is stored, as bytes and as read."""

    value: bytes
    data: dict[str, Any]

    @property
    def reached(self) -> str:
        """What a kept run comes to."""
        return str(self.data.get("reached"))


class Store:
    """The databases a night is given, as one; what cannot be stored now waits in memory and is stored later."""

    def __init__(self, specs: Sequence[str]) -> None:
        self.specs = list(specs)
        self.parts = [Patient(_database(spec), spec) for spec in specs]
        self.database = MultiplexedDatabase(*self.parts)
        #: What could not be read: keys and values.
        self.garbage: set[tuple[bytes, bytes]] = set()

    @classmethod
    def open(cls, specs: Sequence[str]) -> Store:
        """For what a person starts. Raises DatabaseError if a server does not answer; later it may be away."""
        store = cls(specs)
        for part in store.parts:
            if part.name.startswith(_REDIS) and not list(part.fetch(key("answers"))) and part.failures:
                raise DatabaseError(
                    f"{part.name}: no Redis server answers there ({part.trouble}); start it or name another"
                )
        return store

    def put(self, key: bytes, data: dict[str, Any]) -> bytes:
        value = json.dumps(data, sort_keys=True).encode()
        self.database.save(key, value)
        return value

    def delete(self, key: bytes, value: bytes) -> None:
        self.database.delete(key, value)

    def all(self, key: bytes) -> list[Entry]:
        """The entries in an order that depends on nothing but themselves; garbage is counted."""
        found = []
        for value in sorted(self.database.fetch(key)):
            try:
                data = json.loads(value)
            except ValueError:
                data = None
            if isinstance(data, dict):
                found.append(Entry(value, data))
            else:
                self.garbage.add((key, value))
        return found

    def close(self) -> None:
        for part in self.parts:
            part.flush(now=True)

    def troubles(self) -> list[str]:
        said = [str(part) for part in self.parts if str(part)]
        if self.garbage:
            said.append(
                f"{', '.join(self.specs)}: {len(self.garbage)} entries could not be read, and were passed over"
            )
        return said

    def tidy(self) -> int:
        """Delete what is damaged and what could not be read; how many entries that were."""
        for key, value in self.garbage:
            self.delete(key, value)
        damaged = sum(part.database.tidy() for part in self.parts if isinstance(part.database, Folder))
        deleted = damaged + len(self.garbage)
        self.garbage.clear()
        return deleted

    def unsaved(self) -> int:
        """How many entries no database has taken."""
        saves = [{entry for entry, what in part.waiting.items() if what == "save"} for part in self.parts]
        return len(set.intersection(*saves)) if saves else 0


def key(*words: str) -> bytes:
    return " ".join(("mm_sim", *words)).encode()


# runs as text


class Stale(Exception):
    """A stored run that the model no longer knows."""


@cache
def _table(kernel: Any) -> dict[str, tuple[Rule, frozenset[str | None]]]:
    return {rule.name: (rule, frozenset((None, *stops(kernel, rule)))) for rule in table(kernel)}


def read_step(kernel: type[Kernel], scope: Scope, text: str) -> Step:
    """A step from the text that `reproducer.call` writes: names and strings only. Raises Stale."""
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Stale(f"{text!r} is no step") from error
    rule, points = _table(cast(Any, kernel)).get(node.func.id, (None, frozenset()))
    if rule is None:
        raise Stale(f"there is no rule {node.func.id}")
    stop_text = given.pop("stop", "None")
    stop = next((point for point in points if repr(point) == stop_text), "")
    if stop == "" or given.keys() != rule.arguments.keys():
        raise Stale(f"{rule.name} takes no such arguments: {text}")
    values = domains(scope)
    arguments = []
    for name, domain in rule.arguments.items():
        fitting = [value for value in values[domain] if repr(value) == given[name]]
        if not fitting:
            raise Stale(f"{name} of {rule.name} cannot be {given[name]}")
        arguments.append(fitting[0])
    return Step(rule, tuple(arguments), stop)


def read_steps(kernel: type[Kernel], scope: Scope, data: dict[str, Any]) -> list[Step]:
    """The steps of an entry. Raises Stale."""
    lines = data.get("steps")
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise Stale("has no steps")
    return [read_step(kernel, scope, line) for line in lines]


# what a run reaches


def state_name(abstract: tuple[int, ...]) -> str:
    return "state " + ".".join(map(str, abstract))


def rank(reached: str) -> tuple[bool, int, int]:
    """What is kept first: situations, then the states with most at stake.

    Among equals a hash decides, so that long runs have their share, and two nights keep the same.
    """
    numbers = reached.removeprefix("state ").split(".")
    is_state = reached.startswith("state ") and all(re.fullmatch("[0-9]{1,9}", number) for number in numbers)
    stake = danger(tuple(map(int, numbers))) if is_state and len(numbers) > 1 else 0
    return is_state, -stake, zlib.crc32(reached.encode())


def shorten(
    kernel: type[Kernel], arch: str, scope: Scope, steps: Sequence[Step], reached: Callable[[System], bool]
) -> list[Step] | None:
    """Fewer of the steps that still come to a state of which `reached` is true; None if they never do."""

    def attempt(candidate: Sequence[Step]) -> list[Step] | None:
        system = System(kernel, arch, scope)
        done = []
        try:
            for step in candidate:
                if system.step(*step):
                    done.append(step)
                    if reached(system):
                        return done
        except (Loss, AssertionError):
            done.append(step)
            return done if reached(system) else None
        return None

    best = attempt(steps)
    if best is None:
        return None
    return delete_chunks(best, attempt)


def reaches_state(abstract: tuple[int, ...]) -> Callable[[System], bool]:
    return lambda system: is_quiet(system) and outline(system) == abstract


def reaches_situation(name: str) -> Callable[[System], bool]:
    return lambda system: name in system.kernel.marks


class Corpus:
    """The runs kept of one series, architecture and scope."""

    def __init__(self, store: Store, kernel: type[Kernel], series: str, arch: str, name: str, scope: Scope) -> None:
        self.store, self.kernel, self.arch, self.scope = store, kernel, arch, scope
        self.key = key("corpus", Path(series).stem, arch, name)
        self.states_key = key("states", Path(series).stem, arch, name)

    def load(self) -> tuple[list[tuple[Entry, list[Step]]], int]:
        """The runs, and how many were dropped because the model no longer knows them."""
        runs, dropped = [], 0
        for entry in self.pruned(self.store.all(self.key)):
            try:
                runs.append((entry, read_steps(self.kernel, self.scope, entry.data)))
            except Stale:
                self.drop(entry)
                dropped += 1
        return runs, dropped

    def drop(self, entry: Entry) -> None:
        self.store.delete(self.key, entry.value)

    def pruned(self, entries: Iterable[Entry], bound: int = BOUND) -> list[Entry]:
        """The shortest run for each thing reached, in the order of `rank`."""

        def order(entry: Entry) -> tuple[bool, int, int, int, bytes]:
            steps = entry.data.get("steps")
            return *rank(entry.reached), len(steps) if isinstance(steps, list) else 0, entry.value

        kept: dict[str, Entry] = {}
        for entry in sorted(entries, key=order):
            if entry.reached in kept or len(kept) >= bound:
                self.drop(entry)
            else:
                kept[entry.reached] = entry
        return list(kept.values())

    def keep(self, steps: Sequence[Step], reached: str, test: Callable[[System], bool]) -> bool:
        """Store a run, without the steps it does not need; False if it does not reach what it should."""
        found = shorten(self.kernel, self.arch, self.scope, steps, test)
        if found is not None:
            self.store.put(self.key, {"reached": reached, "steps": [call(step) for step in found]})
        return found is not None

    def add_states(self, seen: Iterable[tuple[int, ...]]) -> tuple[int, int]:
        """Count abstract states as seen: how many no night had seen before, and how many there are now.

        All are saved before the entries that hold a part of them are deleted: a kill between loses none. Of more
        than STATES only those whose hash comes first are counted: a sample.
        """
        entries = self.store.all(self.states_key)
        lists = [entry.data.get("states") for entry in entries]
        known = {str(name) for names in lists if isinstance(names, list) for name in names}
        names = {f"{zlib.crc32(state_name(abstract).encode()):08x}" for abstract in seen}
        every = sorted(known | names)[:STATES]
        new = len(names.intersection(every) - known)
        if new or len(entries) > 1:
            value = self.store.put(self.states_key, {"states": every})
            for entry in entries:
                if entry.value != value:
                    self.store.delete(self.states_key, entry.value)
        return new, len(every)
