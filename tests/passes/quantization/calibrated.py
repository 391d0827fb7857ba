"""How passes are tested that look at data."""

from __future__ import annotations

from typing import Any

import numpy as np

from burnish.calibration import Calibration
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.oracle import random_inputs
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, run_pass
from tests.passes.conftest import build


def on(graph: Graph, samples: int = 8) -> PassContext:
    """A context with random inputs of ``graph`` for data."""
    return PassContext(
        explain=True, calibration=Calibration([random_inputs(graph, n) for n in range(samples)])
    )


def applied(
    name: str, text: str, weights: dict[str, Any], *, opset: int = 21, **options: Any
) -> tuple[Graph, Graph, PassReport]:
    """A model before and after a pass, and what the pass reports; a second run changes nothing."""
    before, after = build(text, opset, weights), build(text, opset, weights)
    context = on(before)
    for graph in (before, after):
        run_pass(graph, get_pass("infer-shapes"), context)
    report = run_pass(after, get_pass(name, **options), context)
    verify(after)
    assert all(node.provenance for node in after.walk())
    again = run_pass(after, get_pass(name, **options), context)
    assert not again.changed, f"changes more the second time: {again.fired}"
    return before, after, report


def uneven(seed: int, *shape: int, axis: int, decades: float = 1) -> np.ndarray:
    """Weights whose channels along ``axis`` differ by up to twice as many ``decades``."""
    rng = np.random.default_rng(seed)
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    return np.float32(rng.normal(size=shape) * 10 ** rng.uniform(-decades, decades, sizes))
