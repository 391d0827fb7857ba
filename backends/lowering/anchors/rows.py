"""Operators that reduce along axes: Reduce*, global pooling, softmax, normalizations, ArgMax."""

from __future__ import annotations

from collections.abc import Sequence

import tvm.tirx as tx
from tvm import te

from burnish.backends.kernels import normalization, reduction
from burnish.backends.kernels import softmax as softmax_kernels
from burnish.backends.kernels.decoded import Decoded
from burnish.backends.kernels.quantization import dequantized
from burnish.backends.lowering.elementwise import Expr
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.encoding import Quantized, parameter
from burnish.backends.lowering.layout import Layout, identity
from burnish.backends.lowering.plan import shape_of
from burnish.ir import DType, OperatorNode, VariableNode

REDUCTIONS = {
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
    "ReduceMax": "max",
    "ReduceMean": "mean",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceSum": "sum",
    "ReduceSumSquare": "sum_square",
    "GlobalAveragePool": "mean",
    "GlobalMaxPool": "max",
}
"""Operator type to the kind of reduction."""


def declines(node: OperatorNode) -> str | None:
    """Why the kernels do not fit ``node``, None if they do."""
    if node.output.dtype is not DType.FLOAT:
        return f"{node.op_type} is compiled for float32"
    if any(value.uses for value in node.outputs[1:]):
        return f"{node.op_type} with further outputs is not compiled"
    return None


def _axes(node: OperatorNode, rank: int) -> tuple[int, ...]:
    """Reduced axes of a Reduce operator, given as input or attribute; all of them by default."""
    constant = node.constant_input(1)
    given = constant.numpy().reshape(-1) if constant is not None else node.attribute("axes")
    if given is None or len(given) == 0:
        return () if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in given))


def reduce(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Reduce* and global pooling in the layout of the input."""
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    pools = node.op_type.startswith("Global")
    axes = tuple(range(2, rank)) if pools else _axes(node, rank)
    keep = pools or bool(node.attribute("keepdims", 1))
    layout = _input_layout(builder, x, node.output, keep, axes)
    places = sorted(layout.index(axis) for axis in axes)
    kind = REDUCTIONS[node.op_type]
    source = builder.read(x, layout)
    result = reduction.reduce(source, kind, places, keep)
    if kind in ("max", "min") and str(source.dtype).startswith("float"):
        result = _infinite(source, result, places, keep, kind == "max")
    return [result]


def _infinite(
    source: te.Tensor, result: te.Tensor, places: Sequence[int], keep: bool, is_max: bool
) -> te.Tensor:
    """Make up for the reducer's start, a finite number: what is all infinite lies beyond it.

    Where the start is what was found, any element of those reduced over is the answer.
    """
    dtype = str(source.dtype)

    def value(*index: Expr) -> Expr:
        found, kept = result(*index), iter(index)
        first = []
        for axis in range(len(source.shape)):
            own = next(kept) if keep or axis not in places else None
            first.append(tx.const(0, "int32") if axis in places else own)
        is_start = found <= tx.min_value(dtype) if is_max else found >= tx.max_value(dtype)
        return tx.Select(is_start, source(*first), found)

    return te.compute(result.shape, value, name="extreme")


def _input_layout(
    builder: KernelBuilder, x: VariableNode, output: VariableNode, keep: bool, axes: Sequence[int]
) -> Layout:
    """The layout to read ``x`` in so that the result comes out as the plan wants it."""
    if keep:
        return builder.layout(output)
    kept = [axis for axis in range(len(shape_of(x))) if axis not in axes]
    wanted = [kept[axis] for axis in builder.layout(output)]
    current = builder.layout(x)
    if [axis for axis in current if axis in kept] == wanted:
        return current
    return identity(len(shape_of(x)))


def arg_reduce(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """ArgMax and ArgMin: the first (or last) position of the largest (or smallest) element."""
    x = node.inputs[0]
    assert x is not None
    axis = int(node.attribute("axis", 0)) % len(shape_of(x))
    keep = bool(node.attribute("keepdims", 1))
    layout = _input_layout(builder, x, node.output, keep, (axis,))
    return [
        reduction.arg_extreme(
            builder.read(x, layout), layout.index(axis), largest=node.op_type == "ArgMax",
            keepdims=keep, last=bool(node.attribute("select_last_index", 0)),
        )
    ]  # fmt: skip


def softmax(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Softmax and LogSoftmax along one axis (opset 13 and later)."""
    x = node.inputs[0]
    layout = builder.layout(node.output)
    axis = layout.index(int(node.attribute("axis", -1)) % len(layout))
    if node.op_type == "LogSoftmax":
        return [softmax_kernels.log_softmax(builder.read(x, layout), axis)]
    scale = _scale_of_bytes(builder, x)
    if x is not None and scale is not None:
        # The zero point is the same for all of a row.
        return [softmax_kernels.softmax(builder.stored(x, layout), axis, scale)]
    return [softmax_kernels.softmax(builder.read(x, layout), axis)]


def _scale_of_bytes(builder: KernelBuilder, x: VariableNode | None) -> float | None:
    """The one positive scale of a value that is kept as bytes; None of any other."""
    encoding = None if x is None else builder.emitter.plan.encoded.get(x)
    if x is None or not isinstance(encoding, Quantized) or encoding.axis is not None:
        return None
    if encoding.scale is None:
        return None
    if encoding.scale.constant is None or builder.emitter.home[x].dtype not in ("int8", "uint8"):
        return None
    scale = float(encoding.scale.constant.numpy().reshape(()))
    return scale if _LEAST_SCALE < scale < 1 / _LEAST_SCALE else None


_LEAST_SCALE = 1e-12
"""Squares of larger ones, and of their inverses, are normal numbers."""


def layer_norm(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """LayerNormalization and RMSNormalization over the last axes."""
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    axes = rank - int(node.attribute("axis", -1)) % rank
    centres = node.op_type == "LayerNormalization"
    source, unit = _unscaled(builder, x, builder.layout(node.output), centres)
    scale, bias = (_trailing(builder, node.input(i), axes) for i in (1, 2))
    eps = float(node.attribute("epsilon", 1e-5)) / unit**2
    if node.op_type == "RMSNormalization":
        return [normalization.rms_norm(source, scale, axes=axes, eps=eps)]
    return [normalization.layer_norm(source, scale, bias, axes=axes, eps=eps)]


def _unscaled(
    builder: KernelBuilder, x: VariableNode, layout: Layout, centres: bool
) -> tuple[te.Tensor, float]:
    """Numbers of which ``x`` is so many times: what norms divide by grows alike.

    If the norm ``centres`` them, they may all be larger by the same.
    """
    scale = _scale_of_bytes(builder, x)
    encoding = builder.emitter.plan.encoded.get(x)
    if scale is None or not isinstance(encoding, Quantized):
        return builder.read(x, layout), 1.0
    shift = None if centres else encoding.zero
    zero = None if shift is None else parameter(builder, shift, None)
    one = tx.const(1.0, "float32")

    def decode(element: Expr, index: Sequence[Expr]) -> Expr:
        return dequantized(element, one, None if zero is None else zero(index))

    return Decoded(builder.stored(x, layout), decode), scale


def _trailing(builder: KernelBuilder, value: VariableNode | None, axes: int) -> te.Tensor | None:
    """A scale or bias with exactly ``axes`` axes."""
    if value is None:
        return None
    shape = shape_of(value)
    wide = (*(1,) * (axes - len(shape)), *shape)[-axes:]
    held = builder.emitter.located(value, identity(len(shape)))
    return builder.argument(builder.emitter.view(held, wide))


def fits_trailing(node: OperatorNode) -> str | None:
    """Why the kernel of a layer normalization does not fit, None if it does."""
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    normal = shape_of(x)[int(node.attribute("axis", -1)) % rank :]
    for value in node.inputs[1:]:
        if value is not None and tuple(d for d in shape_of(value) if d != 1) != tuple(
            d for d in normal if d != 1
        ):
            return f"{node.op_type} is compiled for a scale of the normalized shape"
    return declines(node)


def channel_norm(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """InstanceNormalization and GroupNormalization (opset 21)."""
    x = node.inputs[0]
    layout = builder.layout(node.output)
    assert x is not None
    source, unit = _unscaled(builder, x, layout, centres=True)
    scale, bias = map(builder.read, node.inputs[1:3])
    eps = float(node.attribute("epsilon", 1e-5)) / unit**2
    channel = layout.index(1)
    if node.op_type == "GroupNormalization":
        groups = int(node.attribute("num_groups"))
        return [
            normalization.group_norm(
                source, scale, bias, groups=groups, eps=eps, channel_axis=channel
            )
        ]
    return [normalization.instance_norm(source, scale, bias, eps=eps, channel_axis=channel)]
