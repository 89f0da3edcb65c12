"""The verdict on every series: what the state machine finds must be what the series expects.

Tests that judge a series belong here; tests of the model, the rules and the drivers have files of their own.
"""

from collections.abc import Callable

import pytest

from mm_sim.arch import ARCHES
from mm_sim.kernel import Kernel
from strategies.reproducer import FOLDER
from strategies.verdict import REQUIRED, Verdict, judge


@pytest.mark.verdict
@pytest.mark.parametrize("arch", ARCHES)
def test_verdict_is_as_expected(
    kernel: type[Kernel], series: str, arch: str, seed: int, record_property: Callable[[str, object], None]
) -> None:
    verdict = judge(kernel, series, arch, seed, folder=FOLDER)
    record_property("verdict", str(verdict))
    expected = kernel.expected if arch == "s390" else "safe"
    if expected == "loses":
        assert verdict.loss is not None, f"{verdict}, but it is expected to lose"
    elif expected == "safe":
        if verdict.loss is not None:
            raise verdict.loss
        assert not verdict.unreached(), f"{verdict}; never reached: {', '.join(verdict.unreached())}"


def test_a_verdict_that_reached_nothing_proves_nothing() -> None:
    nothing = Verdict("any", "s390", None, {})
    assert nothing.unreached() == list(REQUIRED)
    assert "0 of 8 situations reached" in str(nothing)
