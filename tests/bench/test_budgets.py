from __future__ import annotations

from typing import Any

import pytest

from burnish.bench.budgets import judged
from burnish.bench.document import BASELINE, Document, Interval, Metric
from burnish.errors import GateFailed, UsageError
from burnish.gates import Budgets, require
from tests.bench.documents import synthetic


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.01, high=value + 0.01)


def document(*, better: bool = True, **figures: Any) -> Document:
    """A document whose whole pipeline loses half a point and is 1.5 times as fast."""
    made = synthetic(operators=20, passes=5)
    metric = Metric(
        name="accuracy", higher_is_better=better, value=interval(0.9),
        difference=interval(-0.005 if better else 0.005), items=100,
    )  # fmt: skip
    own = {"artifact_bytes": 1000, "arena_bytes": 100, "metrics": [metric], "failure": None}
    variants = [
        one.model_copy(update={**own, **figures} if one.id == made.whole else {})
        for one in made.variants
    ]
    columns = [
        one.model_copy(update={"name": BASELINE, "ratio": interval(1.5), "failure": None})
        for one in made.columns[:1]
    ]
    return made.model_copy(update={"variants": variants, "columns": columns})


@pytest.mark.parametrize("better", [True, False])
def test_budgets_that_hold(better: bool) -> None:
    asked = Budgets(size=1000, arena=100, max_drop=0.6, min_speedup=1.4)
    gates = judged(document(better=better), asked)
    require(gates)
    assert [gate.text for gate in gates][2:] == [
        "0.50 points lost [-0.50, 1.50], at most 0.60 points lost",
        "1.50x [1.49x, 1.51x], at least 1.40x",
    ]


@pytest.mark.parametrize(
    ("name", "budgets"),
    [
        ("size", Budgets(size=999, arena=100)),
        ("arena", Budgets(size=1000, arena=99)),
        ("max-drop", Budgets(size=1000, max_drop=0.4)),
        ("min-speedup", Budgets(size=1000, min_speedup=1.6)),
    ],
)
def test_budgets_that_fail(name: str, budgets: Budgets) -> None:
    gates = judged(document(), budgets)
    assert [gate.name for gate in gates if not gate.passed] == [name]
    with pytest.raises(GateFailed, match="1 of 2 budgets failed, as measured above"):
        require(gates, "as measured above")


def test_equal_scores_are_no_drop() -> None:
    metric = Metric(name="m", higher_is_better=True, value=interval(0.9), items=9)
    (gate,) = judged(document(metrics=[metric]), Budgets(max_drop=0))
    assert gate.passed


def test_a_budget_about_a_task_needs_one() -> None:
    with pytest.raises(UsageError, match="max-drop is about something that was not measured"):
        judged(document(metrics=[]), Budgets(max_drop=1))


def test_a_pipeline_that_fails_keeps_no_budget() -> None:
    with pytest.raises(GateFailed, match=r"the whole pipeline fails.*: broken"):
        judged(document(failure="broken"), Budgets(size=10**9))


def test_a_speedup_needs_a_baseline() -> None:
    made = document()
    column = made.columns[0].model_copy(update={"ratio": None, "failure": "no kernel"})
    with pytest.raises(
        GateFailed, match="ratio to ONNX Runtime on the original is known: no kernel"
    ):
        judged(made.model_copy(update={"columns": [column]}), Budgets(min_speedup=1.0))
