"""Who lost the page: a run is replayed, and its loss explained by the statement that is to blame (`blame`).

May import the rest of `mm_sim`.
"""

from __future__ import annotations

from mm_sim.blame import NotPossible, Report, Statement, Step, report
from mm_sim.kernel import Kernel
from mm_sim.system import Loss, Scope, System

__all__ = ["NotPossible", "Report", "Statement", "Step", "explain", "replay"]


def replay(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> tuple[Loss, int] | None:
    """Do the steps from the start: the loss and the index of its step, or None. Raises NotPossible."""
    system = System(kernel, arch, scope)
    for i, step in enumerate(steps):
        try:
            if not system.step(*step):
                raise NotPossible(i, step)
        except Loss as loss:
            return loss, i
    return None


def explain(kernel: type[Kernel], arch: str, scope: Scope, steps: list[Step]) -> Report | None:
    """Replay the steps and name the statements that lost the page; None if nothing is lost."""
    found = replay(kernel, arch, scope, steps)
    if found is None:
        return None
    loss, at = found
    return report(kernel, arch, scope, steps[: at + 1], loss, at)
