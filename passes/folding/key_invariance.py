"""Scores of attention that do not change when every key is shifted alike.

What is added to all keys adds the same number to all scores of a query, and Softmax over the keys
takes it away again.
"""

from __future__ import annotations

import numpy as np

from burnish.analysis.axis_graph import AxisGraph
from burnish.analysis.axis_graph_flow import MOVES, softmax_axis, uniform_factor
from burnish.ir import Constant, OperatorNode, VariableNode
from burnish.rewrite import Miss

HIDDEN = -1e4
"""A score that is this low has no weight, whatever is added to the others."""


def only_shifts_keys(axes: AxisGraph, value: VariableNode) -> Miss | None:
    """Why a shift of the channels of ``value`` is seen, None if it only moves scores alike."""
    pending = [value]
    met = False
    while pending:
        at = pending.pop()
        for use in at.uses:
            node = use.user
            if not isinstance(node, OperatorNode):
                return Miss("keys are returned by the graph", at.producer)
            if node.graph is not axes.graph_of(at) or node.domain:
                return Miss(f"keys are also read by {node.op_type}", node)
            if node.op_type in ("Shape", "Size"):
                continue
            miss = _endpoint(axes, node, use.index, at)
            if miss is None:
                met = True
            elif _moves(node, use.index):
                pending += node.outputs
            else:
                return miss
    return None if met else Miss("no scores are made of it", value.producer)


def _moves(node: OperatorNode, index: int) -> bool:
    if node.op_type in ("Mul", "Div"):
        return uniform_factor(node, index) is not None
    return node.op_type in MOVES and index == 0 and node.op_type not in ("ReduceMean", "Expand")


def _endpoint(axes: AxisGraph, node: OperatorNode, index: int, value: VariableNode) -> Miss | None:
    """Why ``node`` does not make scores of keys at its input ``index`` that Softmax follows."""
    if node.op_type == "Attention":
        return _of_attention(node, index)
    rank = value.rank
    if node.op_type != "MatMul" or index != 1 or not rank:
        return Miss(f"{node.op_type} is between the bias and the scores", node)
    sites = axes.sites_of(value)
    if len(sites) != 1 or rank - 2 not in sites[0].axes or rank - 1 in sites[0].axes:
        return Miss("the product is not one of queries and keys", node)
    return _softmax_follows(node.output)


def _of_attention(node: OperatorNode, index: int) -> Miss | None:
    if index != 1:
        return Miss("the same addition makes queries or values too", node)
    if node.attribute("softcap", 0.0):
        return Miss("Attention caps its scores", node)
    if any(node.input(i) is not None for i in (4, 5)) or any(o.uses for o in node.outputs[1:]):
        return Miss("Attention takes or returns keys or scores", node)
    return None


def _softmax_follows(scores: VariableNode) -> Miss | None:
    """Why something else than Softmax over the last axis sees the scores."""
    while True:
        uses = list(scores.uses)
        if len(uses) != 1 or not isinstance(uses[0].user, OperatorNode):
            return Miss("the scores are read by others than Softmax", scores.producer)
        node, index = uses[0].user, uses[0].index
        if node.op_type == "Softmax":
            rank = node.output.rank
            last = rank is not None and softmax_axis(node, rank) == rank - 1
            return None if last else Miss("Softmax does not go over the keys", node)
        if not _keeps_differences(node, index, scores):
            return Miss(f"{node.op_type} is between the scores and Softmax", node)
        scores = node.output


def _keeps_differences(node: OperatorNode, index: int, scores: VariableNode) -> bool:
    """Whether ``node`` leaves the differences of scores in a row as they are, up to a factor."""
    if node.op_type in ("Identity", "Cast"):
        return bool(node.output.dtype.is_floating)
    if node.op_type in ("Mul", "Div"):
        return uniform_factor(node, index) is not None
    if node.op_type == "Add":
        return True
    if node.op_type == "Reshape":
        before, after = scores.shape, node.output.shape
        known = bool(before and after and isinstance(before[-1], int) and before[-1] == after[-1])
        return index == 0 and known
    if node.op_type == "Where" and index in (1, 2):
        return _hides(node.constant_input(3 - index))
    return False


def _hides(constant: Constant | None) -> bool:
    if constant is None or not constant.dtype.is_floating or constant.size != 1:
        return False
    return float(np.asarray(constant.numpy(), np.float64).reshape(())) <= HIDDEN
