"""What came of a night, on every series: run by `pytest --budget`, and then alone."""

import pytest

from mm_sim.arch import ARCHES
from strategies.night import verdicts_of
from strategies.plan import Night
from strategies.tally import Tally


@pytest.mark.night
@pytest.mark.parametrize("arch", ARCHES)
def test_night_is_as_expected(series: str, arch: str, tonight: tuple[Night, Tally]) -> None:
    verdicts = verdicts_of(*tonight, series, arch)
    surprises = [f"{verdict}. But {verdict.surprise()}." for verdict in verdicts if verdict.surprise()]
    assert not surprises, "\n".join(surprises)
