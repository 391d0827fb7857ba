"""Folds scale and shift of normalizations into the weights that read their result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, axis_graph
from burnish.analysis.axis_graph_elementwise import is_plain
from burnish.analysis.axis_graph_flow import Reader, arriving, readers
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.folding.weights import NewWeights, fold_shift, shared_elsewhere, vector
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

RULE = "scale-and-shift"


@dataclass(frozen=True)
class FoldLayerNorm(Pass):
    """Fold scale and shift of LayerNormalization and RMSNormalization into all that reads them.

    Before:
        n = LayerNormalization(x, gamma, beta)
        y = MatMul(n, w) + b;  z = MatMul(n, v) + c

    After:
        n = LayerNormalization(x, ones)
        y = MatMul(n, gamma * w) + (b + beta w);  z = MatMul(n, gamma * v) + (c + beta v)

    All readers have to be products with constant weights (MatMul, Gemm, Conv), also behind
    operators that only move data, and those of a shift need a bias that it can be added to: no
    operator is added. What remains can become an RMSNormalization.
    """

    name: ClassVar[str] = "fold-layer-norm"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Fold every normalization that can be."""
        result = RewriteResult()
        norms = [n for n in graph.walk() if n.is_op("LayerNormalization", "RMSNormalization")]
        norms = [n for n in norms if n.constant_input(1) is not None and not is_plain(n)]
        if not norms:
            return result
        axes = axis_graph(graph)
        rw = Rewriter(graph)
        for node in norms:
            miss = _fold(rw, axes, node)
            if miss is None:
                result.fired.append(Firing(RULE, node.provenance))
            elif context.explain:
                result.missed.append(NearMiss.of(RULE, miss, node))
        result.edits = rw.edits
        return result


def _fold(rw: Rewriter, axes: AxisGraph, node: OperatorNode) -> Miss | None:
    """Fold ``node``, or say why not."""
    sites = axes.sites_of(node.output)
    scale, shift = vector(node.constant_input(1)), vector(node.constant_input(2))
    if len(sites) != 1 or sites[0].axis is None or scale is None:
        return Miss(f"{node.op_type} does not go over the channels alone", node)
    if (node.input(2) is not None and shift is None) or sites[0].numbers.shape != scale.shape:
        return Miss(f"{node.op_type} has a shift that is computed", node)
    shifted = shift is not None and bool(shift.any())
    found = readers(axes, node.output, shift=shifted)
    if isinstance(found, Miss):
        return Miss(f"the result is not read by products alone: {found.reason}", found.at)
    if not found:
        return Miss("nothing reads the result", node)
    problem = shared_elsewhere(reader.member for reader in found)
    if problem is not None:
        return problem
    weights = NewWeights()
    if shifted:
        assert shift is not None
        problem = fold_shift(weights, axes, sites[0], shift, found)
    problem = problem or _fold_scale(weights, axes, node, scale, found) or weights.write(rw)
    if problem is not None:
        return problem
    kind = node.output.dtype.numpy
    inputs = [node.inputs[0], rw.constant(np.ones(scale.shape, kind))]
    rw.set_inputs(node, inputs)
    for reader in found:
        rw.adopt(reader.node, [node])
    return None


def _fold_scale(
    weights: NewWeights, axes: AxisGraph, node: OperatorNode, scale: np.ndarray,
    found: list[Reader],
) -> Miss | None:  # fmt: skip
    """Multiply what every reader reads; a weight that two of them share, once."""
    if (scale == 1).all():
        return None
    site = axes.sites_of(node.output)[0]
    done: dict[object, Reader] = {}
    for reader in found:
        factors = arriving(axes, site, scale, reader.member)
        if factors is None:
            return Miss("its channels cannot be told apart", reader.node)
        first = done.setdefault(reader.member.value, reader)
        if first is reader:
            weights.scale(reader.member, factors)
        elif first.member.axes != reader.member.axes:
            return Miss("the same weights are read in two ways", reader.node)
        else:
            at = reader.member.node, reader.member.index
            weights.inputs[at] = weights.inputs[first.member.node, first.member.index]
    return None
