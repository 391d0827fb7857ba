from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.int8.agreement import AGREEMENT, WithAgreement
from burnish.bench.task import Feeds, Run, Scores

ANSWERS = np.float32([[9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 9, 0]])


class Wrong:
    """Three items in batches of two, none of which any model gets right."""

    name = "wrong"
    input_shapes: Sequence[Mapping[str, tuple[int, ...]]] = ({"x": (2, 3)},)

    def calibration(self) -> Iterable[Feeds]:
        return [{"x": ANSWERS[:2]}]

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        for start in (0, 2):
            run({"x": ANSWERS[start : start + 2]})
        return {"accuracy": Scores.of([0.0, 0.0, 0.0])}


def same(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
    return {"y": np.asarray(feeds["x"])}


def moved(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
    """Of three items the last has another class, and so has what fills up the last batch."""
    classes = np.asarray(feeds["x"])
    return {"y": classes if classes[0, 0] == 9 else np.roll(classes, 1, axis=1)}


def test_agreement_is_with_the_first_model_whatever_is_right() -> None:
    task = WithAgreement(Wrong())
    assert task.evaluate(same)[AGREEMENT].values.tolist() == [1, 1, 1]
    assert task.evaluate(moved)[AGREEMENT].values.tolist() == [1, 1, 0]
    assert task.evaluate(same)["accuracy"].metric == 0
    assert (task.name, task.input_shapes) == ("wrong", Wrong.input_shapes)
    assert len(list(task.calibration())) == 1


def test_rounded_probabilities_agree_too() -> None:
    """They sum to one no longer, which is no reason to leave them out."""

    def probabilities(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"y": np.float32(feeds["x"]) / 9}

    def rounded(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"y": np.float32(feeds["x"]) / 9 * np.float32(0.9)}

    task = WithAgreement(Wrong())
    task.evaluate(probabilities)
    assert task.evaluate(rounded)[AGREEMENT].values.tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(2, 2, 3), (6,)])
def test_sequences_and_numbers_have_no_agreement(shape: tuple[int, ...]) -> None:
    def other(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"y": np.full(shape, 1 / 3, np.float32)}

    assert AGREEMENT not in WithAgreement(Wrong()).evaluate(other)


def test_embeddings_have_no_agreement() -> None:
    random = np.random.default_rng(0)

    def embedding(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        return {"y": np.float32(random.normal(size=(2, 64)) / 8)}

    assert AGREEMENT not in WithAgreement(Wrong()).evaluate(embedding)
