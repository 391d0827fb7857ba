"""Tables of times, with a timer that knows what takes how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from burnish.analysis.axis_graph import axis_graph
from burnish.analysis.cost import node_flops
from burnish.bench.stats import Estimate
from burnish.ir import Graph, OperatorNode
from burnish.pruning.latency import MOVED, Latency, alignment, latency, missed
from burnish.pruning.shapes import choices_of
from burnish.target import resolve
from tests.pruning.graphs import build, channels

MLP = """g (float[7, 64] x, float[64, 64] w, float[64, 64] u, float[64, 3] v) => (float y) {
    h = MatMul(x, w)  i = Relu(h)  j = MatMul(i, u)  k = Relu(j)  y = MatMul(k, v) }"""
MADE = build(MLP, w=(64, 64), u=(64, 64), v=(64, 3))

Call = tuple[tuple[str, ...], float]


def work(node: OperatorNode) -> float:
    """Operations and elements, as seconds are estimated by."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    moved = sum(int(np.prod([int(size or 0) for size in value.shape or ()])) for value in values)
    return (node_flops(node) or 0) + MOVED * moved


@dataclass
class Watch:
    """A timer of imagined kernels."""

    times: Callable[[list[OperatorNode]], list[Call]]
    seen: list[Graph] = field(default_factory=list)

    def calls(self, graphs: Sequence[Graph]) -> list[list[Call]]:
        self.seen = list(graphs)
        return [self.times(list(graph)) for graph in graphs]


def measured(times: Callable[[list[OperatorNode]], list[Call]]) -> tuple[Latency, Watch]:
    watch = Watch(times)
    axes = axis_graph(MADE)
    parts = channels(axes)
    choices = {part.name: choices_of(len(part.units), 16) for part in parts}
    return latency(MADE, axes, parts, choices, watch), watch


def alone(nodes: list[OperatorNode]) -> list[Call]:
    """Each node is a kernel."""
    return [(node.provenance, 1e-9 * (50 + work(node))) for node in nodes]


def fused(nodes: list[OperatorNode]) -> list[Call]:
    """A product and what follows it are one; the first call is a conversion."""
    names = [node.provenance for node in nodes]
    seconds = [1e-9 * work(node) for node in nodes]
    return [
        ((), 1e-7),
        (names[0] + names[1], seconds[0] + seconds[1]),
        ((), 3e-7),
        (names[2] + names[3], seconds[2] + seconds[3]),
        (names[4], seconds[4]),
    ]


def test_time_that_goes_by_work_is_known_everywhere() -> None:
    found, watch = measured(alone)
    assert found.error == pytest.approx(0, abs=1e-9)
    assert found.cost.full == pytest.approx(sum(seconds for _, seconds in alone(list(MADE))))
    for widths in ({"s0": 16}, {"s0": 48, "s1": 16}):
        assert found.cost(widths) < found.cost.full
    assert len(watch.seen) == 5
    assert watch.seen[2].first.constant_input(1).shape == (64, 32)  # type: ignore[union-attr]


def test_kernels_count_for_their_nodes_and_conversions_for_what_ran_before() -> None:
    found, _ = measured(fused)
    whole = sum(seconds for _, seconds in fused(list(MADE)))
    assert found.cost.full == pytest.approx(whole - 1e-7)
    assert abs(found.error) < 0.05


def test_less_work_never_takes_longer() -> None:
    def odd(nodes: list[OperatorNode]) -> list[Call]:
        return [(node.provenance, 1e-6 / work(node)) for node in nodes]

    found, _ = measured(odd)
    assert found.cost.full == pytest.approx(sum(seconds for _, seconds in odd(list(MADE))))
    assert found.cost.least == pytest.approx(found.cost.full)


def test_nodes_are_told_apart_though_they_came_from_the_same() -> None:
    made = MADE
    before = [node.provenance for node in made]
    _, watch = measured(alone)
    assert [node.provenance for node in watch.seen[0]] == [(str(n),) for n in range(5)]
    assert [node.provenance for node in made] == before


@pytest.mark.parametrize(
    ("name", "channels_"), [("x86-64-v3", 16), ("x86-64-v4", 32), ("arm64:cortex-a76", 8)]
)
def test_channels_fill_two_vectors(name: str, channels_: int) -> None:
    assert alignment(resolve(name)) == channels_


@pytest.mark.parametrize(("high", "is_told"), [(1.1, True), (1.42, True), (1.43, False)])
def test_a_speedup_that_noise_does_not_explain_is_told(high: float, is_told: bool) -> None:
    told = missed(0.7, Estimate(1.07, 1.05, high))
    assert bool(told) == is_told
    assert all("1.43x as fast was asked for" in each and "1.07x [" in each for each in told)
