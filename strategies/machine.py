"""The table of rules as a Hypothesis `RuleBasedStateMachine`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mm_sim.kernel import Kernel, base_of
from mm_sim.loss import Step
from mm_sim.sched import KernelBug
from mm_sim.system import SMALL, Loss, Rule, Scope, System
from strategies import reproducer
from strategies.comparison import Base, renewed
from strategies.explore import Bounds
from strategies.minimise import Certificate, certify
from strategies.rules import domains, stops, table

#: States of the search for the shortest run.
_CERTIFY = 30_000


class Machine(RuleBasedStateMachine):
    """A machine under test. `machine()` makes the subclass for a kernel, an architecture and a scope.

    A run in which the base fails, too, is no failure: it is over, and further steps do nothing.
    """

    kernel: ClassVar[type[Kernel]]
    series: ClassVar[str]
    arch: ClassVar[str]
    scope: ClassVar[Scope]
    #: What the kernel is compared with; None if it is no patch.
    base: ClassVar[Base | None]
    #: Situations reached by all test cases, by name.
    marks: ClassVar[dict[str, int]]
    #: Where a loss is stored; None to store nothing.
    folder: ClassVar[Path | None]
    #: The last loss that was minimised.
    certificate: ClassVar[Certificate | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.system = System(self.kernel, self.arch, self.scope, self.marks)
        self.trace: list[Step] = []
        self.lost = self.over = False

    def do(self, rule: Rule, arguments: dict[str, Any]) -> None:
        """One step; it is remembered if it happens."""
        if self.over:
            return
        stop = arguments.pop("stop", None)
        step = Step(rule, tuple(arguments[name] for name in rule.arguments), stop)
        try:
            if self.system.step(*step):
                self.trace.append(step)
        except (Loss, KernelBug) as error:
            self.trace.append(step)
            if self.adds(self.trace):
                self.lost = isinstance(error, Loss)
                raise
            self.over = True

    @classmethod
    def adds(cls, steps: list[Step]) -> bool:
        """Whether a run that fails is one in which the base does not."""
        if cls.base is None:
            return True
        cls.base = renewed(cls.base)
        return not cls.base.fails(steps)

    @classmethod
    def certify(cls, steps: list[Step]) -> Certificate:
        """The shortest run that loses, as `steps` do."""
        counts = lambda run, error: cls.adds(run)  # noqa: E731
        base = None if cls.base is None else Base(cls.base.kernel, cls.arch, cls.scope)
        cls.certificate = certify(cls.kernel, cls.arch, Bounds(cls.scope), steps, counts, base, _CERTIFY)
        return cls.certificate

    def teardown(self) -> None:
        """Store the failing run: Hypothesis has one final run for each failure."""
        if self.lost and current_build_context().is_final:
            found = self.certificate
            if found is None or len(self.trace) > len(found.steps):
                found = self.certify(self.trace)
            if self.folder is not None:
                reproducer.store(self.series, self.arch, self.scope, found, self.folder)


def _method(kernel: type[Kernel], of: Rule, values: dict[str, tuple[Any, ...]]) -> Callable[..., None]:
    def do(self: Machine, **arguments: Any) -> None:
        self.do(of, arguments)

    def possible(self: Machine) -> bool:
        """Whether any arguments will do: rules that cannot happen are not drawn."""
        if self.over:
            return True
        system = self.system
        tasks = system.kernel.tasks
        if of.steps is not None:
            first = next(iter(of.arguments.values()))
            return any(tasks[name].steps is None for name in values[first])
        if of.action is None:
            return any(task.steps is not None for task in tasks)
        return bool(of.arguments) or of.when(system)

    do.__name__ = do.__qualname__ = of.name
    drawn = {name: st.sampled_from(values[domain]) for name, domain in of.arguments.items()}
    points = stops(kernel, of)
    if points:
        drawn["stop"] = st.sampled_from(points)
    decorate: Any = rule(**drawn)  # type: ignore[call-overload]
    method: Callable[..., None] = precondition(possible)(decorate(do))
    return method


def machine(
    kernel: type[Kernel], series: str, arch: str, scope: Scope = SMALL, folder: Path | None = None
) -> type[Machine]:
    """The state machine of a series on an architecture.

    Each has a digest of its own, so that a passing series does not delete a failing one's examples from
    Hypothesis' database: classes made in one place share their source, which is what Hypothesis digests.
    """
    values = domains(scope)
    possible = [of for of in table(kernel) if all(values[domain] for domain in of.arguments.values())]
    methods = {of.name: _method(kernel, of, values) for of in possible}
    name = f"{kernel.__name__}{arch.title()}"
    of = base_of(kernel)
    base = None if of is None else Base(of, arch, scope)
    own = {"kernel": kernel, "series": series, "arch": arch, "scope": scope, "base": base}
    made: type[Machine] = type(
        name,
        (Machine,),
        {**own, "marks": {}, "folder": folder, **methods, "__doc__": f"{kernel.title}, on {arch}."},
    )
    return made
