"""Graphs to prune, and what can be thinned out of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import numpy_helper

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup
from burnish.analysis.axis_graph_sizes import cannot_delete
from burnish.ir import Array, Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.testing import graph


@dataclass(frozen=True, eq=False)
class Part:
    """A structure."""

    name: str
    group: ChannelGroup
    units: tuple[Array, ...]


def build(text: str, **weights: tuple[int, ...]) -> Graph:
    """A graph in which the inputs named in ``weights`` are constants of these shapes."""
    model = graph(text, opset=23).to_onnx()
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    rng = np.random.default_rng(0)
    for name, shape in weights.items():
        array = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    result = Graph.from_onnx(model)
    run_pass(result, get_pass("fold-constants"), PassContext())
    run_pass(result, get_pass("infer-shapes"), PassContext())
    return result


def channels(axes: AxisGraph) -> list[Part]:
    """All groups whose channels can be deleted one by one."""
    free = [group for group in axes.groups if cannot_delete(group) is None]
    return [
        Part(f"s{number}", group, tuple(np.arange(group.size)[:, None]))
        for number, group in enumerate(free)
    ]
