"""Single operators: legal models, checked before they are timed. No test asserts a time."""

from functools import cache

import pytest

import burnish
from benchmarks.operator_cases import OperatorCase, operator_cases
from benchmarks.operators import OperatorRow, as_table, measure_operators
from benchmarks.plan import Plan

QUICK = Plan(blocks=1, seconds=0.0, warm=1, tune="off")


@cache
def cases() -> tuple[OperatorCase, ...]:
    """All of them, which takes a second."""
    return tuple(operator_cases())


def named(name: str) -> OperatorCase:
    (case,) = [case for case in cases() if case.name == name]
    return case


def test_models_are_legal_and_told_apart() -> None:
    assert len({case.name for case in cases()}) == len(cases())
    for case in cases():
        assert {value.name for value in burnish.load(case.model()).inputs} == case.feeds.keys()


def test_measures_what_agrees_and_reports_what_does_not() -> None:
    good = named("Softmax 64x1000 axis -1")
    wrong = OperatorCase(good.name, good.nodes, {"x": good.feeds["x"].astype("float64")})
    right, failed = measure_operators([good, wrong], (1,), QUICK)
    assert right.figures is not None and right.error is not None and right.error < 1e-5
    assert failed.figures is None and failed.failure


@pytest.mark.parametrize("failure", [None, "no kernel"])
def test_a_row_without_figures_comes_first(failure: str | None) -> None:
    row = OperatorRow("Erf 4", 1, failure=failure)
    assert row.ratio == float("inf")
    assert as_table([row]).row_count == 1
