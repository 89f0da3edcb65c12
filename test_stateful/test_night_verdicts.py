"""What came of a night, on every series: run by `pytest --budget`, and then alone."""

from collections.abc import Callable

import pytest

from mm_sim.arch import ARCHES
from strategies.night import Night, Tally, scopes_of, verdict_of


@pytest.mark.night
@pytest.mark.parametrize("arch", ARCHES)
def test_night_is_as_expected(
    series: str, arch: str, tonight: tuple[Night, Tally], record_property: Callable[[str, object], None]
) -> None:
    verdicts = [verdict_of(*tonight, series, arch, scope) for scope in scopes_of(tonight[0])]
    surprises = [f"{verdict}. But {verdict.surprise()}." for verdict in verdicts if verdict.surprise()]
    assert not surprises, "\n".join(surprises)
