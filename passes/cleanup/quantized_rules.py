"""Quantized operators in terms of plain arithmetic.

What remains is elementwise and fuses: an integer convolution or product accumulates exactly, then
one expression scales, rounds half to even, saturates and narrows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
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

QUANTIZATION = frozenset({"DequantizeLinear", "QuantizeLinear"})
"""Operators that kernels read and write quantized numbers by, where `stays` says so."""


def stays(node: OperatorNode) -> bool:
    """Whether code generation takes a DequantizeLinear or QuantizeLinear as it is.

    It does between float32 and integers of 8 or 16 bits (from 32 bits too) that are computed, with
    one scale or one for each position of an axis.
    """
    x, scale, zero = node.input(0), node.input(1), node.input(2)
    if x is None or scale is None or not node.is_op(*QUANTIZATION) or x.is_constant:
        return False
    takes = (*_NARROW, DType.INT32) if node.op_type == "DequantizeLinear" else (SINGLE, DType.INT32)
    makes = (SINGLE,) if node.op_type == "DequantizeLinear" else _NARROW
    if x.dtype not in takes or node.output.dtype not in makes or scale.dtype is not SINGLE:
        return False
    if node.attribute("block_size", 0) or node.attribute("precision", 0) not in (0, 1):
        return False
    parameters = [value.static_shape for value in (scale, zero) if value is not None]
    if x.static_shape is None or any(shape is None or len(shape) > 1 for shape in parameters):
        return False
    return len({int(np.prod(shape)) for shape in parameters if shape is not None}) == 1


_NARROW = (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16)


def parameter_axis(node: OperatorNode, value: VariableNode) -> int | None:
    """The axis that ``value`` lies along as a scale or zero point of ``node``; None if it is none.

    None also where it is a single number.
    """
    if not node.is_op(*QUANTIZATION) or value not in node.inputs[1:]:
        return None
    if value.static_shape in ((), (1,)):
        return None
    return int(node.attribute("axis", 1)) % (node.output.rank or 1)


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
    return _op(rw, "Cast", value, dtype=to, to=to)


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
    divisor = _spread(rw, node, _cast(rw, scale, wide), shape)
    quotient = _arithmetic(rw, "Div", _cast(rw, x, wide), divisor)
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
    rw.replace(old, rw.op("Cast", [value], {"to": old.dtype}, like=old))


def _requantized(
    rw: Rewriter,
    total: VariableNode,
    scales: tuple[VariableNode, VariableNode, VariableNode],
    zero: VariableNode,
    old: VariableNode,
) -> None:
    """Sums of products of integers as quantized numbers of another scale."""
    a, b, y = scales
    factor = _arithmetic(rw, "Div", _arithmetic(rw, "Mul", a, b), y)
    if all(value.constant is not None for value in scales):
        left, right, result = (v.constant.numpy() for v in scales if v.constant is not None)
        factor = rw.constant(np.asarray(left * right / result, np.float32))
    value = _arithmetic(rw, "Mul", _cast(rw, total, SINGLE), factor)
    _narrow(rw, value, zero, old)


def _qlinear_conv(rw: Rewriter, match: Match, shape: tuple[int, ...]) -> None:
    node, old = match.root, match.root.output
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = _given(node, 8)
    result = old.shape or ()
    channels = [1, w.static_shape[0] if w.static_shape else 1, *(1,) * (len(shape) - 2)]

    def by_channel(value: VariableNode) -> VariableNode:
        size = int(np.prod(value.static_shape or ()))
        return _shaped(rw, value, () if size == 1 else channels)

    total = _op(rw, "ConvInteger", x, w, _shaped(rw, x_zero, ()), w_zero, dtype=DType.INT32,
                shape=result, **node.attributes)  # fmt: skip
    bias = node.input(8)
    if bias is not None:
        total = _op(rw, "Add", total, _shaped(rw, bias, channels))
    scales = (_shaped(rw, x_scale, ()), by_channel(w_scale), _shaped(rw, y_scale, ()))
    _requantized(rw, total, scales, _shaped(rw, y_zero, ()), old)


def _qlinear_matmul(rw: Rewriter, match: Match, shape: tuple[int, ...]) -> None:
    node, old = match.root, match.root.output
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = _given(node, 8)
    total = _op(rw, "MatMulInteger", a, b, a_zero, b_zero, dtype=DType.INT32, shape=old.shape)

    def by_row(value: VariableNode) -> VariableNode:
        own = value.static_shape or ()
        return _shaped(rw, value, (*own, 1)) if len(own) == 1 and own[0] > 1 else _single(value)

    def _single(value: VariableNode) -> VariableNode:
        return _shaped(rw, value, ()) if int(np.prod(value.static_shape or ())) == 1 else value

    scales = (by_row(a_scale), _single(b_scale), by_row(y_scale))
    _requantized(rw, total, scales, by_row(y_zero), old)


def _given(node: OperatorNode, count: int) -> list[VariableNode]:
    values = [value for value in node.inputs[:count] if value is not None]
    assert len(values) == count, "the checker makes sure of them"
    return values


Lowering: TypeAlias = tuple[
    Callable[[Rewriter, Match, tuple[int, ...]], None],
    Callable[[Match], tuple[int, ...] | Miss],
    int,
]

LOWERINGS: dict[str, Lowering] = {
    "DequantizeLinear": (_dequantize, _can_dequantize, 13),
    "QLinearConv": (_qlinear_conv, _known, 13),
    "QLinearMatMul": (_qlinear_matmul, _known, 13),
    "QuantizeLinear": (_quantize, _known, 13),
}
"""By operator: how to write it, when that is possible, and from which opset on."""

QUANTIZED_RULES = tuple(
    Rule(f"lower-{op_type.lower()}", Op(op_type), rewrite, guard, since=since)
    for op_type, (rewrite, guard, since) in LOWERINGS.items()
)
