"""Pruning of random networks: every consumer stays consistent, and what is dead goes exactly."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.analysis.axis_graph import axis_graph
from burnish.ir import Constant, Graph, VariableNode
from burnish.ir.verify import verify
from burnish.passes import get_pass
from burnish.passes.pruning.structures import structures
from burnish.pipeline import PassContext, run_pass
from tests.depth import part
from tests.passes.conftest import build
from tests.passes.pruning.thinned import answers, data, prune


class Network:
    """Text of a random convolutional network, and weights for it."""

    def __init__(self, seed: int, layers: list[str]) -> None:
        self.random = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}
        self.lines: list[str] = []
        self.value, self.channels = "x", 3
        for layer in layers:
            getattr(self, layer)()
        self.lines.append(f"p = GlobalAveragePool({self.value})  f = Flatten(p)")
        size = self.channels
        self.lines.append(f"y = Gemm(f, {self._weight(size, 5)}, {self._weight(5)})")

    def _weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        scale = np.sqrt(np.prod(shape[1:]) or 1)
        self.weights[name] = (self.random.standard_normal(shape) / scale).astype(np.float32)
        return name

    def _put(self, line: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {line}")
        return name

    def _conv(self, value: str, before: int, after: int, size: int, group: int = 1) -> str:
        bias = f", {self._weight(after)}" if self.random.random() < 0.6 else ""
        pads = f"pads = [{', '.join([str(size // 2)] * 4)}], group = {group}"
        weight = self._weight(after, before // group, size, size)
        return self._put(f"Conv<{pads}>({value}, {weight}{bias})")

    def conv(self) -> None:
        after = int(self.random.integers(2, 9)) * 2
        size = int(self.random.choice([1, 3]))
        self.value = self._put(f"Relu({self._conv(self.value, self.channels, after, size)})")
        self.channels = after

    def depthwise(self) -> None:
        self.value = self._conv(self.value, self.channels, self.channels, 3, self.channels)

    def residual(self) -> None:
        inner = int(self.random.integers(2, 7))
        hidden = self._put(f"Relu({self._conv(self.value, self.channels, inner, 3)})")
        out = self._conv(hidden, inner, self.channels, 1)
        self.value = self._put(f"Add({self.value}, {out})")

    def concat(self) -> None:
        other = self._put(f"Relu({self._conv(self.value, self.channels, 4, 1)})")
        self.value = self._put(f"Concat<axis = 1>({self.value}, {other})")
        self.channels += 4

    def gate(self) -> None:
        pooled = self._put(f"GlobalAveragePool({self.value})")
        inner = self._put(f"Relu({self._conv(pooled, self.channels, 4, 1)})")
        gate = self._put(f"Sigmoid({self._conv(inner, 4, self.channels, 1)})")
        self.value = self._put(f"Mul({self.value}, {gate})")

    def graph(self) -> Graph:
        given = "".join(f", float{list(a.shape)} {name}" for name, a in self.weights.items())
        text = f"g (float[2, 3, 6, 6] x{given}) => (float[2, 5] y) {{ {'  '.join(self.lines)} }}"
        made = build(text, 17, self.weights)
        run_pass(made, get_pass("infer-shapes"), PassContext())
        return made


LAYERS = st.lists(
    st.sampled_from(["conv", "depthwise", "residual", "concat", "gate"]), min_size=1, max_size=5
)
SEEDS = st.integers(0, 1000)


def thinned(network: Network, seed: int) -> tuple[Graph, Graph, dict[str, tuple[int, ...]]]:
    """The network, a copy, and units to keep of each of its structures."""
    random = np.random.default_rng(seed)
    graph = network.graph()
    kept = {}
    for one in structures(axis_graph(graph)):
        if not one.reason:
            count = int(random.integers(1, len(one.units) + 1))
            units = random.choice(len(one.units), count, replace=False)
            kept[one.name] = tuple(sorted(units.tolist()))
    return network.graph(), graph, kept


@settings(max_examples=part(40))
@given(SEEDS, LAYERS)
def test_what_is_left_is_a_model_of_the_same_interface(seed: int, layers: list[str]) -> None:
    before, after, kept = thinned(Network(seed, ["conv", *layers]), seed)
    prune(after, data(after, 2), kept=kept)
    verify(after)
    assert [(v.name, v.shape) for v in after.outputs] == [(v.name, v.shape) for v in before.outputs]
    found = answers(after, data(before, 2, seed=4))
    assert found.shape == (4, 5)
    assert np.isfinite(found).all()
    onnx.checker.check_model(after.to_onnx(), full_check=True)


@settings(max_examples=part(40))
@given(SEEDS, LAYERS)
def test_channels_that_readers_ignore_go_exactly(seed: int, layers: list[str]) -> None:
    network = Network(seed, ["conv", *layers])
    before, after, kept = thinned(network, seed)
    for graph in (before, after):
        for one in structures(axis_graph(graph)):
            if one.name not in kept:
                continue
            gone = np.setdiff1d(np.arange(len(one.units)), kept[one.name])
            for reader in one.readers:
                constant = reader.value.constant
                assert constant is not None
                rows = np.moveaxis(constant.numpy().copy(), reader.axes[0], 0)
                rows[np.isin(one.unit_of[one.group.channels_of(reader).reshape(-1)], gone)] = 0
                array = np.ascontiguousarray(np.moveaxis(rows, 0, reader.axes[0]))
                value = VariableNode.of(Constant.of(array))
                reader.node.replace_input(reader.index, value)
    prune(after, data(after, 2), kept=kept, fit="none")
    samples = data(before, 2, seed=4)
    np.testing.assert_allclose(answers(after, samples), answers(before, samples), atol=1e-4)


@settings(max_examples=part(40))
@given(SEEDS, LAYERS)
def test_keeping_all_units_is_the_identity(seed: int, layers: list[str]) -> None:
    before, after, kept = thinned(Network(seed, ["conv", *layers]), seed)
    whole = {
        one.name: tuple(range(len(one.units)))
        for one in structures(axis_graph(after)) if one.name in kept
    }  # fmt: skip
    assert not prune(after, data(after, 2), kept=whole or {"none": (0,)}).changed
    samples = data(before, 2)
    assert np.array_equal(answers(before, samples), answers(after, samples))
