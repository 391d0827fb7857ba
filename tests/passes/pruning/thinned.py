"""Models to prune, and data for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from burnish.calibration import Calibration
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, run_pass
from tests.passes.conftest import build

RESIDUAL = """g (float[2, 3, 8, 8] x, float[16, 3, 3, 3] w, float[16] b, float[8, 16, 3, 3] v,
    float[8] c, float[8, 8, 1, 1] u, float[8] d, float[8, 4] p, float[4] q) => (float[2, 4] y) {
  h = Conv<pads = [1, 1, 1, 1]>(x, w, b)
  r = Relu(h)
  s = Conv<pads = [1, 1, 1, 1]>(r, v, c)
  t = Relu(s)
  k = Conv(t, u, d)
  a = Add(t, k)
  m = GlobalAveragePool(a)
  f = Flatten(m)
  y = Gemm(f, p, q)
}"""
SHAPES = {
    "w": (16, 3, 3, 3), "b": (16,), "v": (8, 16, 3, 3), "c": (8,), "u": (8, 8, 1, 1), "d": (8,),
    "p": (8, 4), "q": (4,),
}  # fmt: skip


def weights(seed: int = 1, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        name: (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
        for name, shape in shapes.items()
    }


def residual(**changed: np.ndarray) -> Graph:
    """Two convolutions, a residual connection and a product."""
    graph = build(RESIDUAL, 21, {**weights(**SHAPES), **changed})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    return graph


def data(graph: Graph, count: int = 8, seed: int = 0) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    shapes = {value.name: [int(size) for size in value.shape or ()] for value in graph.inputs}
    return [
        {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]


def prune(graph: Graph, samples: Any = None, **options: Any) -> PassReport:
    """Run the pass; the result is a model that ONNX takes."""
    feeds = data(graph) if samples is None else samples
    context = PassContext(calibration=Calibration(feeds), explain=True)
    report = run_pass(graph, get_pass("prune-channels", **options), context)
    verify(graph)
    onnx.checker.check_model(graph.to_onnx(), full_check=True)
    return report


def answers(graph: Graph, samples: list[dict[str, np.ndarray]]) -> np.ndarray:
    oracle = Oracle(graph)
    return np.concatenate([next(iter(oracle.run(feeds).values())) for feeds in samples])


def noise(before: Graph, after: Graph, samples: list[dict[str, np.ndarray]]) -> float:
    """Power of the error over that of what varies."""
    wanted, found = answers(before, samples), answers(after, samples)
    return float(np.square(found - wanted).mean() / wanted.var(0).mean())
