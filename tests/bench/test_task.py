"""Scores that can be used, and those that cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from burnish.bench.task import Run, Scores, Task, TaskFailed, checked, evaluate
from burnish.errors import InvalidInput


class Parity:
    """Says whether a model tells even from odd numbers."""

    name = "parity"
    input_shapes = ({"x": (1,)},)

    def calibration(self) -> list[dict[str, np.ndarray]]:
        return [{"x": np.array([7])}]

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        odd = [int(run({"x": np.array([i])})["y"][0]) == i % 2 for i in range(4)]
        return {"accuracy": Scores.of(odd)}


def test_a_task_scores_a_model() -> None:
    scores = evaluate(Parity(), lambda feeds: {"y": feeds["x"] % 2 * (feeds["x"] < 3)})
    assert isinstance(Parity(), Task)
    np.testing.assert_array_equal(scores["accuracy"].values, [1, 1, 1, 0])
    assert scores["accuracy"].metric == 0.75


def test_items_may_weigh_differently() -> None:
    scores = checked("ocr", {"errors": Scores(np.array([1, 0]), np.array([3, 5]), False)})
    assert scores["errors"].metric == 1 / 8
    assert not scores["errors"].higher_is_better
    assert scores["errors"].values.dtype == np.float64


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (None, "evaluate returned nothing; return a dict of"),
        ({}, "an empty dict"),
        (0.93, "evaluate returned a float"),
        ({"accuracy": 0.93}, "accuracy is a float"),
        ({"accuracy": Scores.of([])}, "accuracy is about no items: the evaluation split is empty"),
        ({"accuracy": Scores.of([1, np.nan, 0, np.nan])},
         "the value of item 1 is nan, and 2 of 4 are not finite"),
        ({"accuracy": Scores.of([np.inf])}, "the value of item 0 is inf"),
        ({"accuracy": Scores(np.ones(3), np.ones(2))}, r"values of shape \(3,\) and weights of"),
        ({"accuracy": Scores(np.ones((2, 2)), np.ones((2, 2)))}, "one number per item"),
        ({"accuracy": Scores(np.ones(2), np.array([1, -1]))}, "must not be negative"),
        ({"accuracy": Scores(np.ones(2), np.zeros(2))}, "nor all of them zero"),
        ({"accuracy": Scores(np.array(["good"]), np.ones(1))}, "have to be numbers"),
    ],
)  # fmt: skip
def test_scores_that_say_nothing_are_refused(scores: Any, reason: str) -> None:
    with pytest.raises(TaskFailed, match=reason) as caught:
        checked("digits", scores)
    assert re.match("task digits: ", str(caught.value))
    assert isinstance(caught.value, InvalidInput)
