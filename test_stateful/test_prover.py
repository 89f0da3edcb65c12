"""The prover against a naive search; and without each of its clauses a check fails (docs/prover.md)."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mm_sim
from strategies.prover_mutants import EQUIVALENT, PAGE, all_prover_mutants, killers_on, reason
from test_stateful import prover_checks
from test_stateful.prover_checks import DERIVED, MORE, changes, checks, fields_of_states, killed_by

KILLERS = killers_on(PAGE.read_text(encoding="utf-8"))
#: What every commit tries: one of 25 of those that need none of the larger machines.
SAMPLE = [name for name, by in KILLERS.items() if by and not any(f"[{place}]" in by for place in MORE)][::25]


@pytest.mark.parametrize("name", [name for name, _ in checks()])
def test_prover_passes(name: str) -> None:
    assert not killed_by(lambda: None, only=name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name, _ in checks(more=True) if name not in dict(checks())])
def test_prover_passes_on_more_machines(name: str) -> None:
    assert not killed_by(lambda: None, more=True, only=name)


def test_each_field_is_in_the_key_or_derived() -> None:
    """Of what has a state, everything but what follows from the rest."""
    noticed = {(type(change.owner).__name__, change.field) for change in changes()}
    assert fields_of_states() - noticed <= DERIVED.keys() <= fields_of_states()


def _operands(path: Path) -> Iterator[str]:
    """Where a function of the model yields while an expression has something in hand that is in no local."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Yield, ast.YieldFrom)):
            continue
        below: ast.AST = node
        while not isinstance(above := parent[below], ast.stmt):
            before = list(ast.iter_child_nodes(above))
            before = before[: before.index(below)]
            if not isinstance(above, (ast.BoolOp, ast.IfExp, ast.comprehension)) and any(
                isinstance(one, ast.expr) and not isinstance(one, (ast.Name, ast.Constant)) for one in before
            ):
                yield f"{path.name}:{node.lineno}"
            below = above
        if isinstance(above, ast.AugAssign) and not isinstance(above.target, ast.Name):
            yield f"{path.name}:{node.lineno}"


def test_the_model_has_nothing_in_hand_across_a_preemption_point_but_locals() -> None:
    """The key has a function's locals and loops, and not what an expression is in the midst of."""
    root = Path(mm_sim.__file__).parent
    files = [*root.rglob("*.py"), root.parent / "strategies" / "rules.py"]
    assert [place for path in files for place in _operands(path)] == []


@pytest.mark.nightly
def test_an_unchanged_prover_is_not_killed() -> None:
    """By all checks one after the other, as a mutant meets them."""
    assert not killed_by(lambda: None)


def test_the_table_has_all_mutants_of_the_prover() -> None:
    """Else it is stale: `pytest -m mutants` writes it anew."""
    assert [*KILLERS] == sorted(all_prover_mutants())


def test_what_is_said_to_be_equivalent_exists() -> None:
    said = [name for names in EQUIVALENT.values() for name in names]
    assert len(said) == len({*said})
    assert {*said} <= all_prover_mutants().keys()


@pytest.mark.parametrize("name", SAMPLE)
def test_mutant_of_the_prover_is_killed(name: str) -> None:
    """By the check that the table names."""
    mutant = all_prover_mutants()[name]
    assert killed_by(mutant.apply, mutant.module.__name__, only=KILLERS[name], seconds=10.0)


@pytest.mark.mutants
@pytest.mark.parametrize("name", all_prover_mutants())
def test_mutant_of_the_prover_is_killed_or_equivalent(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    prover_checks.prepare(more=True)
    mutant = all_prover_mutants()[name]
    by = killed_by(mutant.apply, mutant.module.__name__, more=True)
    record_property("killer", [name, by.rpartition(" ")[0]])
    if not by and not reason(name) and not KILLERS.get(name):
        pytest.xfail("survives without a reason: add a check, or the reason in EQUIVALENT")
    assert by or reason(name), "was killed before"
    assert not (by and reason(name)), f"is killed ({by}), and said to be equivalent"
