"""The recipe: what prepares a model is kept where it lowers the loss, and only there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import burnish
from burnish import pipeline
from burnish.bench.stats import Estimate
from burnish.calibration.store import Calibration
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.pipeline import Pass, PassContext, PassReport
from burnish.quantization import work
from burnish.quantization.guard import DistanceGuard, Guard, Loss
from burnish.quantization.quantize import Timer, quantize_model
from burnish.quantization.result import Quantized
from burnish.target import Target, resolve
from tests.passes.conftest import build

CHANNELS = 16


def network(decades: float, function: str = "HardSwish") -> Graph:
    """Channels that differ by so many decades, in front of a depthwise convolution."""
    random = np.random.default_rng(3)
    sizes = 10 ** np.linspace(-decades, 0, CHANNELS)
    text = f"""g (float[1, 4, 8, 8] x, float[{CHANNELS}, 4, 1, 1] w, float[{CHANNELS}, 1, 3, 3] d,
        float[4, {CHANNELS}, 1, 1] v) => (float[1, 4, 6, 6] y) {{
        c = Conv(x, w)  h = {function}(c)  e = Conv<group = {CHANNELS}>(h, d)  y = Conv(e, v) }}"""
    return build(text, 21, {
        "w": np.float32(random.normal(size=(CHANNELS, 4, 1, 1)) * sizes[:, None, None, None]),
        "d": np.float32(random.normal(size=(CHANNELS, 1, 3, 3)) / sizes[:, None, None, None]),
        "v": np.float32(random.normal(size=(4, CHANNELS, 1, 1))),
    })  # fmt: skip


def quantized(
    graph: Graph, target: Target | None = None, guard: Guard | None = None,
    timer: Timer | None = None,
) -> Quantized:  # fmt: skip
    random = np.random.default_rng(0)
    feeds = [{"x": random.normal(size=(1, 4, 8, 8)).astype(np.float32)} for _ in range(8)]
    return quantize_model(
        graph,
        Calibration(feeds),
        target=target,
        guard=guard,
        timer=timer,
        seconds=100,
        progress=lambda *_: None,
    )


@pytest.mark.parametrize("function", ["HardSwish", "Gelu", "Mish", "Relu"])
def test_uneven_channels_take_int8_once_they_are_scaled(function):
    found = quantized(network(3, function))
    assert "scale-channels" in [one.name for one in found.reports]
    assert [layer.format.reason for layer in found.layers] == [""] * 3


@pytest.mark.parametrize("function", ["HardSwish", "Relu", "Identity"])
def test_even_channels_are_left_alone(function):
    found = quantized(network(0, function))
    assert "scale-channels" not in [one.name for one in found.reports]


class Stopped:
    """A timer that keeps the graphs in float, and says that the first layer loses time."""

    def __init__(self) -> None:
        self.floats: list[Graph] = []

    def gains(self, before: Graph, after: Graph, layers: Sequence[str]) -> dict[str, Estimate]:
        self.floats.append(before)
        signs = [-1.0, *[1.0] * (len(layers) - 1)]
        return {name: Estimate(s, s, s) for name, s in zip(layers, signs, strict=True)}

    def seconds(self, graph: Graph) -> float:
        self.floats.append(graph)
        return 1.0

    def speedups(self, base: Graph, others: Sequence[Graph]) -> list[Estimate]:
        self.floats.append(base)
        return [Estimate(1.5, 1.5, 1.5) for _ in others]


def test_int8_is_timed_against_float_as_it_is_without_int8():
    timer, before = Stopped(), network(3)
    found = quantized(before, resolve("cpu"), timer=timer)
    assert "scale-channels" in [one.name for one in found.reports]
    assert len(timer.floats) > 2
    for graph in timer.floats:
        assert [node.op_type for node in graph] == [node.op_type for node in before]


@pytest.mark.parametrize(("share", "is_kept"), [(0.9, True), (1.79, False)])
def test_what_prepares_is_judged_with_corrected_biases(monkeypatch, share, is_kept):
    """Means of errors, which are corrected later, may hide what scales of channels take away."""
    corrected: list[Graph] = []
    losses = {(False, False): 2.0, (True, False): 2.1, (False, True): 1.8, (True, True): share}

    def run_pass(graph: Graph, step: Pass, context: PassContext) -> PassReport:
        if step.name == "correct-bias":
            corrected.append(graph)
        return pipeline.run_pass(graph, step, context)

    def loss(_: DistanceGuard, graph: Graph) -> Loss:
        is_scaled = any(node.is_op("Mul") for node in graph)
        return Loss(losses[is_scaled, any(graph is one for one in corrected)], "much")

    monkeypatch.setattr(work, "run_pass", run_pass)
    monkeypatch.setattr(DistanceGuard, "loss", loss)
    found = quantized(network(3), resolve("cpu"), Always())
    assert ("scale-channels" in [one.name for one in found.reports]) == is_kept


def test_what_prepares_is_judged_by_few_samples(monkeypatch):
    asked: list[int | None] = []

    def run_pass(graph: Graph, step: Pass, context: PassContext) -> PassReport:
        if step.name == "correct-bias" and context.calibration is not None:
            asked.append(context.calibration.samples)
        return pipeline.run_pass(graph, step, context)

    monkeypatch.setattr(work, "run_pass", run_pass)
    monkeypatch.setattr(work, "PROBED", 3)
    monkeypatch.setattr(work, "_SMALL_LOSS", 0.0)
    quantized(network(3), resolve("cpu"))
    assert asked[0] == 3
    assert asked[-1] == 8


def test_values_that_are_scaled_have_names():
    """Ranges of them are found once, and go by name."""
    found = quantized(network(3))
    names = [value.name for node in found.graph for value in node.outputs]
    scaled = next(node for node in found.graph if node.is_op("Mul"))
    assert scaled.output.name
    assert names.count(scaled.output.name) == 1


def test_results_that_onnx_runtime_rounds_are_left_in_float_where_that_costs_too_much():
    found = quantized(network(3))
    assert any("ONNX Runtime computes those in floats" in notice for notice in found.notices)
    convolutions = [node for node in found.graph if node.is_op("Conv")]
    assert not any(node.output.consumers[0].is_op("QuantizeLinear") for node in convolutions[:1])


@pytest.mark.parametrize("target", [None, resolve("cpu")])
def test_results_are_rounded_for_onnx_runtime_alone(target):
    found = quantized(network(0), target)
    first = next(node for node in found.graph if node.is_op("Conv"))
    assert first.output.consumers[0].is_op("QuantizeLinear") == (target is None)
    assert not any("ONNX Runtime computes" in notice for notice in found.notices)


class Always:
    """All models hold."""

    bound, is_asked = "anything", False

    def loss(self, graph: Graph) -> Loss:
        return Loss(0.5, "little")


class Never:
    """No model holds."""

    bound, is_asked = "nothing", False

    def loss(self, graph: Graph) -> Loss:
        return Loss(2.0, "too much")


def test_what_holds_to_no_bound_comes_back_as_it_came():
    before = network(3)
    found = quantized(before, guard=Never())
    assert [node.op_type for node in found.graph] == [node.op_type for node in before]
    assert found.reports == []
    assert not any("not rounded" in notice for notice in found.notices)
    assert all(layer.format.reason for layer in found.layers)


def test_a_value_that_is_kept_is_not_scaled():
    before = network(3, "Relu")
    random = np.random.default_rng(0)
    feeds = [{"x": random.normal(size=(1, 4, 8, 8)).astype(np.float32)} for _ in range(8)]
    found = [
        burnish.optimize(before, quantize=kind, calibration=data, keep=["c"])[0]
        for kind, data in ((None, None), ("int8", feeds))
    ]
    for graph in found:
        value = next(value for node in graph for value in node.outputs if value.name == "c")
        graph.outputs, graph.output_names = (value,), ("c",)
    want, have = (Oracle(graph).run(feeds[0])["c"] for graph in found)
    assert np.abs(want - have).max() < 0.05 * np.abs(want).max()
