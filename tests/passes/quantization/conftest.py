"""Models that are quantized, and data for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from burnish.calibration import Calibration
from burnish.ir import Array, Graph, OperatorNode
from burnish.ir.clone import clone
from burnish.ir.verify import verify
from burnish.oracle import Oracle, random_inputs
from burnish.passes import get_pass
from burnish.passes.quantization.quantize_int8 import QuantizeInt8
from burnish.pipeline import PassContext, PassReport, run_pass
from burnish.target import resolve
from tests.passes.conftest import build


def correlated(samples: int, *shape: int, seed: int = 5) -> list[dict[str, Array]]:
    """Data whose numbers have much in common, and a mean: [1, channels, ...] or [1, channels].

    Whole numbers from 0 to 255, which bytes hold exactly: what is wrong comes from weights.
    """
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((shape[0], shape[0] // 4 + 1))
    found = []
    for _ in range(samples):
        common = random.standard_normal((1, mixing.shape[1], *shape[1:]))
        values = 8 * np.einsum("oc,nc...->no...", mixing, common) + 100
        values += 2 * random.standard_normal(values.shape)
        found.append({"x": np.clip(np.rint(values), 0, 255).astype(np.float32)})
    return found


class Judged:
    """A model and its quantized form, compared on data that neither was made with."""

    def __init__(self, text: str, data: list[dict[str, Array]], **weights: np.ndarray) -> None:
        """Quantize ``text``; data have one input, ``x``."""
        self.original = build(text, 21, weights)
        run_pass(self.original, get_pass("infer-shapes"), PassContext())
        self.context = PassContext(calibration=Calibration(data), explain=True)
        self.graph, _ = clone(self.original)
        assert self.run("quantize-int8", ranges={"x": (0.0, 255.0)}).fired
        self.fresh = correlated(40, *data[0]["x"].shape[1:], seed=77)

    def run(self, name: str, **options: Any) -> PassReport:
        """Run a pass on the quantized form."""
        report = run_pass(self.graph, get_pass(name, **options), self.context)
        verify(self.graph)
        return report

    def errors(self) -> Array:
        """What the output is too large by, [samples, ...]."""
        wanted, found = Oracle(self.original), Oracle(self.graph)
        return np.concatenate([found.run(x)["y"] - wanted.run(x)["y"] for x in self.fresh])

    @property
    def noise(self) -> float:
        """Mean square of that."""
        return float(np.square(self.errors()).mean())


def integers(graph: Graph) -> list[Array]:
    """Weights of the layers, in order."""
    return [
        value.constant.numpy()
        for node in graph
        if node.op_type == "DequantizeLinear"
        and (value := node.input(0)) is not None
        and value.constant is not None
        and value.constant.numpy().dtype == np.int8
    ]


def randoms(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def data_for(graph: Graph, count: int = 8) -> Calibration:
    return Calibration([random_inputs(graph, seed) for seed in range(count)])


def quantize(
    text: str, *, opset: int = 21, data: Calibration | None = None, target: str | None = None,
    options: dict[str, Any] | None = None, **weights: np.ndarray,
) -> tuple[Graph, PassReport]:  # fmt: skip
    graph = build(text, opset, weights)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    context = PassContext(
        target=None if target is None else resolve(target),
        explain=True,
        calibration=data or data_for(graph),
    )
    report = run_pass(graph, QuantizeInt8(**(options or {})), context)
    verify(graph)
    onnx.checker.check_model(graph.to_onnx(), full_check=True)
    return graph, report


def kinds(graph: Graph) -> str:
    return " ".join(
        {"QuantizeLinear": "Q", "DequantizeLinear": "DQ"}.get(n.op_type, n.op_type) for n in graph
    )


def scale_of(node: OperatorNode) -> tuple[float, int]:
    scale, zero = node.constant_input(1), node.constant_input(2)
    assert scale is not None
    assert zero is not None
    return float(scale.numpy()), int(zero.numpy())


def rounded_values(graph: Graph) -> list[OperatorNode]:
    return [node for node in graph if node.op_type == "QuantizeLinear"]
