"""The formula that merging has to agree with: adapters as branches beside the weights."""

from __future__ import annotations

import numpy as np

from burnish.adapters.merge import Plan, Planned, merged_weight
from burnish.adapters.sites import Site
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.rewrite import Rewriter


def unmerged(graph: Graph, planned: Plan) -> Graph:
    """A copy of ``graph`` in which every adapter is computed beside the weights it adapts."""
    copy, twins = clone(graph)
    writer = _Writer(copy)
    for value, array in planned.values.items():
        writer.rewriter.replace(twins.values[value], writer.constant(array, value))
    weights: dict[Site, Array] = {}
    results: dict[Site, VariableNode] = {}
    for one in planned.merges:
        before = weights.get(one.site)
        weight = one.site.read() if before is None else before
        merged = merged_weight(one.adapter, weight, one.site)
        for site in one.found.sites:
            node = twins.nodes[site.node]
            weights[site] = merged
            results[site] = writer.branch(one, site, node, results.get(site, node.output), weight)
    return copy


class _Writer:
    """Writes branches into a graph."""

    def __init__(self, graph: Graph) -> None:
        self.rewriter = Rewriter(graph)

    def constant(self, array: Array, like: VariableNode) -> VariableNode:
        """A constant of the type of ``like``."""
        return self.rewriter.constant(np.ascontiguousarray(array).astype(like.dtype.numpy))

    def branch(
        self, one: Planned, site: Site, node: OperatorNode, result: VariableNode, before: Array
    ) -> VariableNode:
        """Add one adapter to ``result``, which comes from ``node``; return the new result.

        ``before`` [outputs, inputs, *kernel] are the weights as the adapters before left them.
        """
        adapter, weight = one.adapter, site.weight
        assert result.producer is not None
        self.rewriter.anchor = result.producer.next
        if adapter.whole is not None:
            merged = merged_weight(adapter, before, site)
            self.rewriter.set_input(node, site.index, self.constant(site.as_read(merged), weight))
            return result
        assert adapter.down is not None and adapter.up is not None
        narrow = self._down(site, node, adapter.down)
        wide = self._up(site, narrow, adapter.up)
        scaled = self.rewriter.op("Mul", [wide, self.constant(np.array(adapter.scale), weight)])
        total = self._then("Add", result, scaled)
        if adapter.magnitude is not None:
            delta = np.einsum("or,ri...->oi...", _matrix(adapter.up), adapter.down)
            weight_now = before + adapter.scale * delta.reshape(before.shape)
            total = self._stretch(site, node, total, weight_now, adapter.magnitude)
        if adapter.bias is not None:
            bias = self.constant(_along(site, adapter.scale * adapter.bias), weight)
            total = self._then("Add", total, bias)
        return total

    def _down(self, site: Site, node: OperatorNode, weight: Array) -> VariableNode:
        if node.op_type == "Gather":
            table = self.constant(weight.T, site.weight)
            return self.rewriter.op("Gather", [table, node.inputs[1]])
        if node.op_type == "Conv":
            kernel = weight.reshape(*weight.shape[:2], *site.shape[2:])
            inputs = [node.inputs[0], self.constant(kernel, site.weight)]
            return self.rewriter.op("Conv", inputs, node.attributes)
        matrix = self.constant(_matrix(weight).T, site.weight)
        return self.rewriter.op("MatMul", [node.inputs[0], matrix])

    def _up(self, site: Site, narrow: VariableNode, weight: Array) -> VariableNode:
        matrix = _matrix(weight)
        if site.node.op_type == "Conv":
            kernel = matrix.reshape(*matrix.shape, *(1 for _ in site.shape[2:]))
            return self.rewriter.op("Conv", [narrow, self.constant(kernel, site.weight)])
        return self.rewriter.op("MatMul", [narrow, self.constant(matrix.T, site.weight)])

    def _stretch(
        self, site: Site, node: OperatorNode, total: VariableNode, before: Array, lengths: Array
    ) -> VariableNode:
        """Give each output the length that was trained, its bias apart.

        ``before`` [outputs, inputs, *kernel] are the weights that ``total`` is computed with.
        """
        gain = lengths / np.linalg.norm(before.reshape(len(before), -1), axis=1)
        bias = node.input(2) if node.op_type in ("Conv", "Gemm") else None
        if bias is not None and bias.constant is not None:
            beta = node.attribute("beta", 1.0)
            vector = bias.constant.numpy().astype(np.float64).reshape(-1) * beta
            shift = self.constant(_along(site, vector), site.weight)
            total = self._then("Sub", total, shift)
            total = self._then("Mul", total, self.constant(_along(site, gain), site.weight))
            return self._then("Add", total, shift)
        return self._then("Mul", total, self.constant(_along(site, gain), site.weight))

    def _then(self, op_type: str, value: VariableNode, operand: VariableNode) -> VariableNode:
        """Let everything that reads ``value`` read what an operator makes of it."""
        made = self.rewriter.op(op_type, [value, operand], like=value)
        self.rewriter.replace(value, made)
        return made


def _along(site: Site, vector: Array) -> Array:
    """``vector`` [outputs] shaped to be added to the result of an operator."""
    if site.node.op_type != "Conv":
        return vector
    return vector.reshape(-1, *(1 for _ in site.shape[2:]))


def _matrix(weight: Array) -> Array:
    """A weight with ones for a kernel as [outputs, inputs]."""
    return weight.reshape(weight.shape[:2])
