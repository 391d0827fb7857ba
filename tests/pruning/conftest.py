"""A small model to prune, and what stands for pruning: half of all channels, by one pass."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.parser
import pytest

from burnish.analysis.axis_graph import axis_graph
from burnish.calibration.store import Calibration
from burnish.errors import GateFailed
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.passes.pruning.structures import structures
from burnish.pipeline import PassContext, copy_of, run_pass
from burnish.pruning.request import Pruning
from burnish.pruning.result import Change, Pruned, Thinned, Trial
from burnish.quantization.distance import Distance
from burnish.quantization.guard import Guard, Loss

Samples: TypeAlias = list[dict[str, np.ndarray]]
TEXT = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[n, 16] x) => (float[n, 8] y) {
  a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, v)
}
"""


def made(text: str = TEXT, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for name, shape in (shapes or {"w": (16, 32), "v": (32, 8)}).items():
        weights = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return model


def samples(count: int = 64) -> Samples:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(1, 16)).astype(np.float32)} for _ in range(count)]


def found(result: Graph, structures: list[Thinned], **more: Any) -> Pruned:
    return Pruned(
        result, [], structures, Change(1000, 500), Change(800, 400), bound="0.5 of operations",
        **more,
    )  # fmt: skip


class Half:
    """Stands for ``prune_model``."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, graph: Graph, calibration: Calibration, **asked: Any) -> Pruned:
        self.asked.append({"graph": graph, "calibration": calibration, **asked})
        groups = structures(axis_graph(graph))
        result = copy_of(graph)
        step = get_pass("prune-channels", criterion="l2")
        run_pass(result, step, PassContext(calibration=calibration))
        request: Pruning = asked["asked"]
        guard: Guard | None = asked["guard"]
        loss = Loss(0.5, "10 dB") if guard is None else guard.loss(result)
        if not loss.holds:
            raise GateFailed(f"--prune {request}: the best loses {loss.text}")
        thin = [
            Thinned(one.name, one.kind, len(one.units), len(one.units) // (1 if one.reason else 2),
                    reason=one.reason)
            for one in groups
        ]  # fmt: skip
        if not any(one.is_thinner for one in thin):
            return found(result, thin)
        trial = Trial({}, 0.5, 0.5, loss, Distance("y", 0.01, 0.9, 0.1), text="uniform")
        return found(result, thin, trials=[trial], chosen=trial, distance=trial.distance)


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> Half:
    """Let pruning be `Half`, which tells what it was asked."""
    half = Half()
    monkeypatch.setattr("burnish.building.pruning.prune_model", half)
    return half
