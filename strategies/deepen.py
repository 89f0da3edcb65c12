"""The searches of a night: each goes on from its checkpoint, then with the next larger scope.

What was searched to its end is recorded with the version of the model, and is not searched again while that lasts.
May use all of `strategies` but the command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from strategies.comparison import declares
from strategies.corpus import Store
from strategies.explore import CheckpointError, Search
from strategies.finds import Finds
from strategies.plan import SEARCHED, Job, Night, judged_as, kernel_of, walked
from strategies.tally import PROOFS, Tally, proofs, source_of, tonight

#: States that a search may keep: 1 GB where most of them wait to be expanded, and some seconds for a checkpoint.
STATES = 500_000
#: What `deepen` says of a job: there is more to do, somebody else on this machine is at it, nothing is left tonight.
OPEN, TAKEN, CLOSED = "open", "taken", "closed"


def deepen(job: Job, night: Night, store: Store, tally: Tally, finds: Finds, end: float) -> str:
    """Go on until `end` (of time.monotonic()) with the first scope that was not searched to its end."""
    kernel = kernel_of(job.series)
    of = judged_as(job.scope)
    folder = Path(night.checkpoints)
    with _only_one(folder / f"{job.name}-{job.arch}-{of}.lock") as mine:
        if not mine:
            return TAKEN
        source = source_of(kernel, job.arch)
        past = proofs(store, source, job)
        name = next((name for name in SEARCHED[of] if name not in past), None)
        if name is None or _has_lost(job, of, night, tonight(night, store)):
            return CLOSED
        bounds = SEARCHED[of][name]
        checkpoint = folder / f"{job.name}-{job.arch}-{name.replace(',', '').replace(' ', '-')}.jsonl"
        searching = Search(kernel, job.arch, bounds, base=finds.base(kernel, job.arch, bounds.scope))
        try:
            if checkpoint.exists():
                searching.load(checkpoint)
        except CheckpointError:
            tally.say(f"{job}: a checkpoint that does not fit was dropped")
            searching = Search(kernel, job.arch, bounds, base=finds.base(kernel, job.arch, bounds.scope))
        try:
            result = searching.run(end, STATES, checkpoint=checkpoint)
        except CheckpointError as error:
            tally.say(str(error))
            return OPEN
        if result.bug is not None and not tally.of(job)["bugs"]:  # a checkpoint has it, too
            finds.failed(job, bounds.scope, result.bug)
        if result.loss is not None:
            finds.failed(job, bounds.scope, result.loss)
            return CLOSED
        if result.ended in ("complete", "out of memory"):
            if result.bug is not None:  # which the next night is to meet again
                return CLOSED
            record = {"series": job.name, "arch": job.arch, "name": name, "scope": str(bounds), "source": source}
            done = {"ended": result.ended, "states": result.states, "depth": result.depth}
            store.put(PROOFS, {**record, **done})
            tally.say(f"{job}: {name}: {result.ended}, {result.states} states")
            with suppress(OSError):
                checkpoint.unlink(missing_ok=True)
        return OPEN


def _has_lost(job: Job, of: str, night: Night, stand: Tally) -> bool:
    """Whether a loss was met tonight that larger scopes have too; by a walk, if it is expected."""
    walks = [scope for scope in night.scopes if walked(scope) and judged_as(scope) == of]
    expected = declares(kernel_of(job.series), of, job.arch)
    return bool(stand.losses(job.series, job.arch, [job.scope, *(walks if expected else ())]))


@contextmanager
def _only_one(path: Path) -> Iterator[bool]:
    """Whether nobody else on this machine has this lock; it goes with the process that holds it."""
    import fcntl  # not everywhere, and only nights need it

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError:  # nothing can be written here, so nobody is in the way
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
