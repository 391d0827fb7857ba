"""Write conversions between integers and floats as plain arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.quantization.conversions import stays
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

Ranges: TypeAlias = dict[DType, tuple[int, int]]

RANGES: Ranges = {
    DType.INT8: (-(2**7), 2**7 - 1),
    DType.UINT8: (0, 2**8 - 1),
    DType.INT16: (-(2**15), 2**15 - 1),
    DType.UINT16: (0, 2**16 - 1),
    DType.INT32: (-(2**31), 2**31 - 1),
}
"""The quantized types that buffers can hold, with their least and greatest numbers."""

SINGLE = DType.FLOAT


@dataclass(frozen=True)
class LowerQuantized(RulePass):
    """Write conversions that kernels do not know by elementwise operators, or by their result.

    Kernels read and write integers of 8 and 16 bits by one scale, or by one for each position of an
    axis. What is left are constants, blocks with a scale each, and other types.

    Before:
        y = QuantizeLinear<block_size = 2>(x, [0.5, 0.1], [128, 3])
        w = DequantizeLinear([4, 2], 0.5)

    After:
        y = Cast(Clip(Round(x / [0.5, 0.5, 0.1, 0.1]) + [128, 128, 3, 3], 0, 255))
        w = [2.0, 1.0]
    """

    name: ClassVar[str] = "lower-quantized"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule for each direction."""
        return RULES


def _op(rw: Rewriter, op_type: str, *inputs: VariableNode, dtype: DType | None = None,
        shape: Sequence[Any] | None = None, **attributes: Any) -> VariableNode:  # fmt: skip
    first = inputs[0]
    like = VariableNode(
        "", first.dtype if dtype is None else dtype, first.shape if shape is None else tuple(shape)
    )
    return rw.op(op_type, inputs, attributes, like=like)


def _cast(rw: Rewriter, value: VariableNode, to: DType) -> VariableNode:
    if value.dtype is to:
        return value
    if value.constant is not None:
        return rw.constant(value.constant.numpy().astype(to.numpy))
    return _op(rw, "Cast", value, dtype=to, to=int(to))


def _shaped(rw: Rewriter, value: VariableNode, shape: Sequence[int]) -> VariableNode:
    if value.static_shape == tuple(shape):
        return value
    if value.constant is not None:
        return rw.constant(value.constant.numpy().reshape(shape))
    return _op(rw, "Reshape", value, rw.constant(np.array(shape, np.int64)), shape=shape)


def _arithmetic(rw: Rewriter, op_type: str, a: VariableNode, b: VariableNode) -> VariableNode:
    """``a`` combined with ``b``, which broadcasts to it or it to ``b``."""
    wide = np.broadcast_shapes(a.static_shape or (), b.static_shape or ())
    return _op(rw, op_type, a, b, shape=wide)


def _spread(
    rw: Rewriter, node: OperatorNode, parameter: VariableNode, shape: tuple[int, ...]
) -> VariableNode:
    """A scale or zero point so that it broadcasts against values of ``shape``."""
    own = parameter.static_shape
    assert own is not None
    if int(np.prod(own)) == 1:
        return _shaped(rw, parameter, ())
    axis = int(node.attribute("axis", 1)) % len(shape)
    block = int(node.attribute("block_size", 0))
    if not block:
        return _shaped(rw, parameter, [shape[axis] if i == axis else 1 for i in range(len(shape))])
    if parameter.constant is not None:
        repeated = parameter.constant.numpy().repeat(block, axis)
        cut = tuple(slice(shape[axis]) if i == axis else slice(None) for i in range(len(shape)))
        return rw.constant(np.ascontiguousarray(repeated[cut]))
    indices = rw.constant(np.arange(shape[axis], dtype=np.int64) // block)
    return _op(rw, "Gather", parameter, indices, shape=shape, axis=axis)


def _known(match: Match) -> tuple[int, ...] | Miss:
    """The shape of the values; types and shapes of all inputs must be known and plain."""
    node = match.root
    for value in node.inputs:
        if value is not None and value.static_shape is None:
            return Miss("a shape is not known: give --input-shape", node)
    if node.output.dtype not in (*RANGES, DType.FLOAT, DType.DOUBLE, DType.INT32):
        return Miss(f"{node.output.dtype} has no arithmetic here", node)
    if any(v is not None and v.dtype in (DType.FLOAT16, DType.BFLOAT16) for v in node.inputs):
        return Miss("half precision has no arithmetic here", node)
    first = node.inputs[0]
    assert first is not None and first.static_shape is not None
    if stays(node):
        return Miss("kernels take it as it is", node)
    return first.static_shape


def _can_dequantize(match: Match) -> tuple[int, ...] | Miss:
    node = match.root
    first = node.inputs[0]
    assert first is not None
    is_constant = all(value is None or value.is_constant for value in node.inputs)
    if first.dtype not in RANGES and not (is_constant and np.dtype(first.dtype.numpy).kind != "f"):
        return Miss(f"{first.dtype} has no arithmetic here", node)
    return _known(match)


def _dequantize(rw: Rewriter, match: Match, shape: tuple[int, ...]) -> None:
    """``(x - zero_point) * scale``, the difference in integers."""
    node, old = match.root, match.root.output
    x, scale = node.inputs[:2]
    assert x is not None and scale is not None
    value = _cast(rw, x, DType.INT32)
    zero = node.input(2)
    if zero is not None and not _is_zero(zero):
        value = _arithmetic(
            rw, "Sub", value, _spread(rw, node, _cast(rw, zero, DType.INT32), shape)
        )
    factor = _spread(rw, node, _cast(rw, scale, old.dtype), shape)
    value = _cast(rw, value, old.dtype)
    if value.constant is not None and factor.constant is not None:
        rw.replace(old, rw.constant(_folded(value.constant.numpy() * factor.constant.numpy(), old)))
    else:
        rw.replace(old, rw.op("Mul", [value, factor], like=old))


def _folded(array: Array, like: VariableNode) -> Array:
    return np.ascontiguousarray(array.astype(like.dtype.numpy))


def _is_zero(value: VariableNode) -> bool:
    return value.constant is not None and not bool(np.any(value.constant.numpy().astype(np.int64)))


def _quantize(rw: Rewriter, match: Match, shape: tuple[int, ...]) -> None:
    """``saturate(round_half_even(x / scale) + zero_point)``."""
    node = match.root
    x, scale = node.inputs[:2]
    assert x is not None and scale is not None
    wide = SINGLE if x.dtype is DType.INT32 else x.dtype
    quotient = _cast(rw, x, wide)
    if scale.constant is None or not bool(np.all(scale.constant.numpy() == 1)):
        divisor = _spread(rw, node, _cast(rw, scale, wide), shape)
        quotient = _arithmetic(rw, "Div", quotient, divisor)
    zero = node.input(2)
    spread = None if zero is None else _spread(rw, node, zero, shape)
    _narrow(rw, quotient, spread, node.output)


def _narrow(
    rw: Rewriter, value: VariableNode, zero: VariableNode | None, old: VariableNode
) -> None:
    """Replace ``old`` by ``value`` rounded, moved by ``zero`` and saturated."""
    value = _op(rw, "Round", value)
    if zero is not None and not _is_zero(zero):
        value = _arithmetic(rw, "Add", value, _cast(rw, zero, value.dtype))
    low, high = (rw.constant(np.array(v, value.dtype.numpy)) for v in RANGES[old.dtype])
    value = _op(rw, "Clip", value, low, high)
    rw.replace(old, rw.op("Cast", [value], {"to": int(old.dtype)}, like=old))


RULES = (
    Rule("lower-dequantizelinear", Op("DequantizeLinear"), _dequantize, _can_dequantize, since=13),
    Rule("lower-quantizelinear", Op("QuantizeLinear"), _quantize, _known, since=13),
)
