"""Attention that multiplies bfloat16 numbers: written out, with what it rounds on the way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from burnish.ir import Attribute, Constant, DType, OperatorNode, VariableNode
from burnish.rewrite import Rewriter
from burnish.target import BFLOAT16, Target

FEWEST_CHANNELS, FEWEST_KEYS, FEWEST_PRODUCTS = 8, 16, 768
"""Channels of a head, keys, and the product of both, below which pairing operands and rounding
weights costs what multiplying gains. Measured: 16 by 32 gains nothing, 16 by 48 and 32 by 16 5 %,
24 by 32 and 8 by 96 a third."""

KNOWN = frozenset({
    "is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap",
    "softmax_precision",
})  # fmt: skip
"""Attributes that the definition written here obeys, or that do not concern it."""


def is_attention(node: OperatorNode) -> bool:
    """Whether ``node`` is one whose operands are computed in float32, each with four axes."""
    operands = node.inputs[:3]
    return (
        node.is_op("Attention")
        and len(node.outputs) == 1
        and all(value is None for value in node.inputs[4:])
        and not any(value for name, value in node.attributes.items() if name not in KNOWN)
        and all(
            value is not None
            and not value.is_constant
            and value.dtype is DType.FLOAT
            and len(value.static_shape or ()) == 4
            for value in operands
        )
    )


def declines(node: OperatorNode, target: Target | None) -> str:
    """Why an attention, of which `is_attention` holds, gains nothing; empty if it does."""
    if target is None or BFLOAT16 not in target.features:
        return "the target has no kernel for attention in pairs"
    (*_, channels), (*_, keys, width) = _shape(node, 0), _shape(node, 2)
    if channels % 2:
        return f"{channels} channels of a head are no pairs"
    depth = (channels + width) // 2
    few = depth < FEWEST_CHANNELS or keys < FEWEST_KEYS
    if few or depth * keys < FEWEST_PRODUCTS:
        return f"{keys} keys of {channels} channels gain nothing"
    return ""


def _shape(node: OperatorNode, index: int) -> tuple[int, ...]:
    value = node.inputs[index]
    assert value is not None
    assert value.static_shape is not None
    return value.static_shape


def round_weights(rewriter: Rewriter, node: OperatorNode) -> OperatorNode:
    """Make of ``node`` a region that rounds the weights before it multiplies values by them.

    What it divides by afterwards is the sum of the rounded ones. Returns the region, whose inputs
    and attributes are those of ``node``.
    """
    assert node.graph is not None
    rewriter.anchor, rewriter.provenance = node, node.provenance
    inputs, attributes = [value for value in node.inputs if value is not None], node.attributes
    before = node.previous
    result = _Definition(rewriter, node).result()
    rewriter.replace(node.output, result)
    inside = []
    current = node.graph.first if before is None else before.next
    while current is not None and current is not node:
        inside.append(current)
        current = current.next
    rewriter.erase(node)
    return rewriter.outline(inside, "Attention", inputs, [result], attributes)


class _Definition:
    """Inserts the operators that define an Attention."""

    def __init__(self, rewriter: Rewriter, node: OperatorNode) -> None:
        self._rewriter, self._node = rewriter, node
        self._outer, self._width = _shape(node, 0)[:3], _shape(node, 2)[3]
        self._keys = _shape(node, 1)[2]

    def result(self) -> VariableNode:
        """What it gives."""
        q, k, v = (self._repeated(index) for index in range(3))
        scores = self._masked(self._scaled(self._op("MatMul", self._keys, q, self._turned(k))))
        # A row that sees no key has weights of zero, as in the kernel.
        single = np.finfo(np.float32)
        lowest, least = _number(float(single.min)), _number(float(single.tiny))
        largest = self._op("Max", 1, self._op("ReduceMax", 1, scores, _ints(-1)), lowest)
        powers = self._op("Exp", self._keys, self._op("Sub", self._keys, scores, largest))
        narrow = self._op("Cast", self._keys, powers, to=int(DType.BFLOAT16))
        narrow.dtype = DType.BFLOAT16
        weights = self._op("Cast", self._keys, narrow, to=int(DType.FLOAT))
        total = self._op("Max", 1, self._op("ReduceSum", 1, weights, _ints(-1)), least)
        return self._op("Div", self._width, self._op("MatMul", self._width, weights, v), total)

    def _op(
        self, op_type: str, width: int, *inputs: VariableNode, **attributes: Attribute
    ) -> VariableNode:
        """Insert an operator with ``width`` results for each query of each head."""
        like = VariableNode("", DType.FLOAT, (*self._outer, width))
        return self._rewriter.op(op_type, inputs, attributes, like=like)

    def _repeated(self, index: int) -> VariableNode:
        """Queries, keys or values for each head."""
        value, (_, heads, *_) = self._node.inputs[index], _shape(self._node, index)
        assert value is not None
        wanted = self._outer[1]
        if heads == wanted:
            return value
        result = self._op("Gather", 0, value, _ints(*np.arange(wanted) * heads // wanted), axis=1)
        result.shape = (*self._outer[:2], *_shape(self._node, index)[2:])
        return result

    def _turned(self, keys: VariableNode) -> VariableNode:
        result = self._op("Transpose", self._keys, keys, perm=(0, 1, 3, 2))
        result.shape = (*self._outer[:2], _shape(self._node, 0)[3], self._keys)
        return result

    def _scaled(self, products: VariableNode) -> VariableNode:
        """Scores before masks."""
        scale, cap = (self._node.attribute(name) for name in ("scale", "softcap"))
        if scale is None:
            scale = 1 / math.sqrt(_shape(self._node, 0)[3])
        scores = self._op("Mul", self._keys, products, _number(scale))
        if not cap:
            return scores
        bounded = self._op("Tanh", self._keys, self._op("Div", self._keys, scores, _number(cap)))
        return self._op("Mul", self._keys, bounded, _number(cap))

    def _masked(self, scores: VariableNode) -> VariableNode:
        mask, hidden = self._node.input(3), _number(-np.inf)
        if mask is not None and mask.dtype is DType.BOOL:
            scores = self._op("Where", self._keys, mask, scores, hidden)
        elif mask is not None:
            scores = self._op("Add", self._keys, scores, mask)
        if not self._node.attribute("is_causal", 0):
            return scores
        rows, columns = np.arange(self._outer[2])[:, None], np.arange(self._keys)
        seen = self._op("LessOrEqual", self._keys, _ints(columns), _ints(rows))
        seen.dtype, seen.shape = DType.BOOL, (self._outer[2], self._keys)
        return self._op("Where", self._keys, seen, scores, hidden)


def _number(value: float) -> VariableNode:
    return VariableNode.of(Constant.of(np.array(value, np.float32)))


def _ints(*values: Any) -> VariableNode:
    array = values[0] if isinstance(values[0], np.ndarray) else np.array(values)
    return VariableNode.of(Constant.of(array.astype(np.int64)))
