from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import onnx.parser
import pytest

from burnish.bench.stats import Estimate
from burnish.ir import Graph
from burnish.quantization.quantize import timed
from burnish.quantization.result import Times
from burnish.quantization.work import name_values

NAMES = ("a", "b", "c")


@dataclass
class Watch:
    """A timer that knows what it measures: gains of layers, speedups by what is in float."""

    low_high: Mapping[str, tuple[float, float]]
    ratios: Mapping[frozenset[str], float]
    asked: list[frozenset[str]] = field(default_factory=list)

    def gains(self, before: Graph, after: Graph, layers: Sequence[str]) -> dict[str, Estimate]:
        ends = self.low_high
        return {n: Estimate(sum(ends[n]) / 2, *ends[n]) for n in layers}

    def seconds(self, graph: Graph) -> float | None:
        return 1.0

    def speedups(self, base: Graph, others: Sequence[Graph]) -> list[Estimate]:
        self.asked = [cast(frozenset[str], each) for each in others]
        return [Estimate(r, r, r) for r in (self.ratios[each] for each in self.asked)]


def measured(
    gains: Mapping[str, tuple[float, float]], ratios: Mapping[frozenset[str], float]
) -> tuple[Times, Watch]:
    watch = Watch(gains, ratios)

    def without(floats: Sequence[str]) -> Graph:
        return cast(Graph, frozenset(floats))

    none = without(())
    return timed(none, none, NAMES, watch, without), watch


def test_a_loss_within_noise_is_none() -> None:
    gains = {"a": (1.0, 2.0), "b": (-1.0, 0.1), "c": (1.0, 2.0)}
    found, watch = measured(gains, {frozenset(): 1.5})
    assert found.slow == {}
    assert watch.asked == [frozenset()]
    assert found.speedup is not None
    assert found.speedup.median == 1.5


@pytest.mark.parametrize(("without", "stays"), [(1.6, ["b"]), (1.505, []), (1.4, [])])
def test_a_layer_that_loses_stays_in_float_if_the_whole_model_is_faster_so(
    without: float, stays: list[str]
) -> None:
    gains = {"a": (1.0, 2.0), "b": (-2.0, -1.0), "c": (1.0, 2.0)}
    found, _ = measured(gains, {frozenset(): 1.5, frozenset("b"): without})
    assert list(found.slow) == stays


def test_nothing_is_quantized_where_all_of_it_is_slower() -> None:
    gains = dict.fromkeys(NAMES, (-2.0, -1.0))
    found, _ = measured(gains, {frozenset(): 0.5})
    assert list(found.slow) == list(NAMES)
    assert "2.00 times as long as float" in found.slow["a"]


def test_a_model_that_is_about_as_fast_is_left_to_the_comparison_of_artifacts() -> None:
    gains = dict.fromkeys(NAMES, (-0.1, 0.1))
    found, _ = measured(gains, {frozenset(): 0.95})
    assert found.slow == {}


def test_ranges_go_by_names_so_each_value_has_one() -> None:
    graph = Graph.from_onnx(
        onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21]>
        agraph (float[4] x) => (float[4] y) { a = Relu (x)  b = Abs (a)  c = Neg (b)  y = Exp (c) }
    """)
    )
    for node in list(graph)[:3]:
        node.output.name = "" if node.is_op("Relu", "Abs") else "x"
    name_values(graph)
    names = [node.output.name for node in graph]
    assert all(names)
    assert len({"x", *names}) == 5
    assert names[-1] == "y"
