"""What is told of a pruned model: figures, words, plain data, and what the model itself says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.bench.stats import Estimate
from burnish.pruning import record
from burnish.pruning.result import Change, Pruned, Thinned, Trial
from burnish.quantization.distance import Distance
from burnish.quantization.guard import Loss
from burnish.testing import graph
from tests.pruning.conftest import found

TEXT = 'g (float["n", 3] x) => (float["n", 3] y) { y = Relu(x) }'
THIN = Thinned("/conv", "channels", 64, 48, 0.002, "obs", 0.012, 0.1)
WHOLE = Thinned("/last", "channels", 10, 10, reason="the graph returns it")
DISTANCE = Distance("y", 0.02, 0.96, 0.1)


def pruned(**more: Any) -> Pruned:
    trial = Trial({"/conv": 48}, 0.5, 0.6, Loss(4.0, str(DISTANCE)), DISTANCE, text="allocated")
    more = {"trials": [trial], "chosen": trial, "distance": DISTANCE, **more}
    return found(graph(TEXT), [THIN, WHOLE], **more)


def test_quality_is_half_agreement_and_half_what_is_gone() -> None:
    assert pruned().quality == pytest.approx(0.5 * 0.96 + 0.5 * 0.5)
    same = Distance("y", 0.0, 1.0, 0.0)
    original = replace(pruned(distance=same), weights=Change(800, 800))
    assert original.quality == pytest.approx(0.5)


@pytest.mark.parametrize("distance", [None, Distance("y", None, None, 0.1)])
def test_there_is_no_quality_without_classes_to_agree_on(distance: Distance | None) -> None:
    assert pruned(distance=distance).quality is None


def test_what_there_was_nothing_of_is_all_left() -> None:
    assert Change(0, 0).share == 1.0


def test_a_model_that_lost_nothing_says_nothing_of_loss() -> None:
    nothing = found(graph(TEXT), [WHOLE])
    assert (nothing.count, nothing.loss, nothing.told_speedup) == (0, "", "")


def test_plain_data_name_every_structure_and_every_trial() -> None:
    told = json.loads(json.dumps(pruned(speedup=Estimate(1.5, 1.4, 1.6)).as_json()))
    assert told["flops"] == {"before": 1000, "after": 500}
    assert (told["divergence"], told["agreement"], told["qom"]) == (0.02, 0.96, 0.73)
    assert [one["kept"] for one in told["structures"]] == [48, 10]
    assert told["structures"][1]["reason"] == "the graph returns it"
    (tried,) = told["tried"]
    assert (tried["widths"], tried["text"], tried["chosen"]) == ({"/conv": 48}, "allocated", True)
    assert told["untuned_speedup"] == [1.5, 1.4, 1.6]


def test_a_model_says_what_was_removed_of_it() -> None:
    made = pruned()
    record.leave(made)
    (read,) = record.read(made.graph)
    assert read.summary == made.summary()
    assert read.thinned == [Thinned("/conv", "channels", 64, 48)]


def test_a_model_that_is_pruned_again_says_both() -> None:
    first, again = pruned(), Thinned("/conv", "channels", 48, 8)
    record.leave(first)
    record.leave(found(first.graph, [again]))
    kept = [[one.kept for one in each.thinned] for each in record.read(first.graph)]
    assert kept == [[48], [8]]


@settings(max_examples=30)
@given(st.text(max_size=9) | st.lists(st.none() | st.integers(), max_size=3).map(json.dumps))
def test_what_others_wrote_there_is_not_believed(text: str) -> None:
    other = graph(TEXT)
    other.metadata[record.KEY] = text
    assert record.read(other) == []


def spoiled(key: str, value: Any) -> list[record.Record]:
    made = pruned()
    record.leave(made)
    (stated,) = json.loads(made.graph.metadata[record.KEY])
    made.graph.metadata[record.KEY] = json.dumps([{**stated, key: value}])
    return record.read(made.graph)


@pytest.mark.parametrize("key", ["structures", "flops", "loss", "thinned"])
@pytest.mark.parametrize("value", [None, [], {}, [1], [{}]])
def test_what_is_spoiled_is_not_believed(key: str, value: Any) -> None:
    for one in spoiled(key, value):
        assert isinstance(one.summary[key] if key != "thinned" else [], list | str)


THICKER = {"name": "/conv", "kind": "channels", "units": 4, "kept": 5}


@pytest.mark.parametrize(
    ("key", "value"),
    [("structures", float("inf")), ("of", -1), ("structures", 3), ("flops", float("nan")),
     ("weights", float("inf")), ("weights", -0.5), ("flops", 10**400), ("thinned", [THICKER]),
     ("thinned", [{**THICKER, "kept": -1}]), ("thinned", [{**THICKER, "units": float("inf")}])],
)  # fmt: skip
def test_what_cannot_be_is_not_believed(key: str, value: Any) -> None:
    assert spoiled(key, value) == []
