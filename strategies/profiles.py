"""The profiles under which Hypothesis drives the state machine, and a loss saved as if Hypothesis had found it."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import ExampleDatabase
from hypothesis.stateful import run_state_machine_as_test

from mm_sim.system import Loss
from strategies.backend import NAME, playing
from strategies.corpus import DEFAULT, Folder
from strategies.machine import Machine
from strategies.minimise import Certificate

_COMMON = settings(
    deadline=None,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
    # Phase.explain traces every line of the model, for less than mm_sim.loss says.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    print_blob=False,
    # One loss is enough for a verdict; each further one would be minimised, too.
    report_multiple_bugs=False,
)


def register_profiles() -> None:
    """The profiles: `dev` and `ci` do the same run each time, `nightly` a longer one and another each night.

    `nightly` also overrides what Hypothesis' own profile for CI sets: no randomness and no database. `plain` leaves
    the walk out.
    """
    same = settings(_COMMON, backend=NAME, derandomize=True, database=None)
    settings.register_profile("dev", same, max_examples=36)
    settings.register_profile("ci", same, max_examples=36)
    kept = Folder(DEFAULT)
    settings.register_profile("nightly", _COMMON, backend=NAME, derandomize=False, max_examples=20_000, database=kept)
    settings.register_profile("plain", _COMMON, derandomize=False, max_examples=10_000)


def save_example(tested: type[Machine], found: Certificate, database: ExampleDatabase) -> None:
    """Have Hypothesis save a loss as if it had found it: the next run of this machine begins with it."""
    tested.certificate = found
    once = settings(_COMMON, backend=NAME, database=database, max_examples=10, phases=[Phase.generate])
    with playing(tested, found.steps), suppress(Loss):
        run_state_machine_as_test(tested, settings=once)
