"""Transposed convolutions of integers, which no standard operator is: regions."""

from __future__ import annotations

import math

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.quantization.parameters import Dequantized
from burnish.rewrite import Miss, Rewriter

REGION = "ConvTransposeInteger"
"""Operator of the region; its inputs and attributes are as of ConvInteger and ConvTranspose."""
MOST_POSITIONS = 64
"""Positions in a stride beyond which no kernel is made, as each has code of its own."""


def declined(node: OperatorNode, data: Dequantized, weights: Dequantized) -> Miss | None:
    """Why ConvTranspose ``node`` stays one of floats, None if it need not."""
    if not weights.integers.is_constant:
        return Miss("the weights are computed", node)
    zeros = (data.parameters.zero, weights.parameters.zero)
    if any(zero is not None and not zero.is_constant for zero in zeros):
        return Miss("a zero point is computed", node)
    if math.prod(node.attribute("strides") or (1,)) > MOST_POSITIONS:
        return Miss(f"more than {MOST_POSITIONS} positions in a stride", node)
    if node.output.static_shape is None:
        return Miss("the sizes of the result are not known: give --input-shape", node)
    return None


def transposed(
    rw: Rewriter, node: OperatorNode, data: Dequantized, weights: Dequantized
) -> VariableNode:
    """The sums of the ConvTranspose ``node`` as int32: a region written in standard operators.

    It multiplies numbers that are small and whole as floats, where sums are exact up to ``2**24``;
    a kernel sums integers.
    """
    first = node.previous
    assert node.graph is not None
    inputs, wide = [], []
    for operand in (data, weights):
        array = operand.parameters.zeros().reshape(-1)[:1].reshape(())
        zero = rw.constant(array.astype(operand.integers.dtype.numpy))
        inputs += [operand.integers, zero]
        wide.append(_difference(rw, operand.integers, zero))
    floats = rw.op("ConvTranspose", wide, node.attributes, like=node.output)
    like = VariableNode("", DType.INT32, node.output.shape)
    total = rw.op("Cast", [floats], {"to": int(DType.INT32)}, like=like)
    inside = []
    current = node.graph.first if first is None else first.next
    while current is not None and current is not node:
        inside.append(current)
        current = current.next
    x, x_zero, w, w_zero = inputs
    region = rw.outline(inside, REGION, [x, w, x_zero, w_zero], [total], node.attributes)
    return region.output


def _difference(rw: Rewriter, integers: VariableNode, zero: VariableNode) -> VariableNode:
    like = VariableNode("", DType.FLOAT, integers.shape)
    number = rw.op("Cast", [integers], {"to": int(DType.FLOAT)}, like=like)
    lower = rw.op("Cast", [zero], {"to": int(DType.FLOAT)},
                  like=VariableNode("", DType.FLOAT, ()))  # fmt: skip
    return rw.op("Sub", [number, lower], like=like)
