"""Normalizations: of rows, of channel groups, of single channels.

Variances take a second pass over centred values, which costs little in the first-level cache
and keeps the accuracy that E[x^2] - E[x]^2 loses. All are float32.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

from tvm import ir, te, tirx

from burnish.backends.kernels.reduction import combined

Expr: TypeAlias = ir.Expr


def layer_norm(
    x: te.Tensor,
    scale: te.Tensor | None,
    bias: te.Tensor | None,
    *,
    axes: int,
    eps: float,
) -> te.Tensor:
    """Normalize over the last `axes` axes to mean zero and variance one, then scale and shift.

    Args:
        x: Any shape.
        scale: Of the shape of the last `axes` axes, or None.
        bias: Likewise.
        axes: Number of trailing axes to normalize over.
        eps: Added to the variance.

    Returns:
        The normalized tensor, of the shape of `x`.
    """
    rank = len(x.shape)
    reduced = list(range(rank - axes, rank))
    mean, inverse = _statistics(x, reduced, eps)

    def body(*index: Expr) -> Expr:
        row = _row(index, reduced)
        value = (x(*index) - mean(*row)) * inverse(*row)
        return _affine(value, scale, bias, index[rank - axes :])

    return te.compute(x.shape, body, name="layer_norm")


def rms_norm(x: te.Tensor, scale: te.Tensor | None, *, axes: int, eps: float) -> te.Tensor:
    """Divide by the root of the mean square over the last `axes` axes, then scale."""
    rank = len(x.shape)
    reduced = list(range(rank - axes, rank))
    square = combined(x, te.sum, reduced, True, lambda value: value * value)
    inverse = _inverse_root(square, _count(x, reduced), eps)

    def body(*index: Expr) -> Expr:
        value = x(*index) * inverse(*_row(index, reduced))
        return _affine(value, scale, None, index[rank - axes :])

    return te.compute(x.shape, body, name="rms_norm")


def l2_norm(x: te.Tensor, axis: int = -1) -> te.Tensor:
    """Divide by the Euclidean norm along `axis`; rows of zeros stay zero."""
    axis %= len(x.shape)
    square = combined(x, te.sum, [axis], True, lambda value: value * value)

    def inverse(*index: Expr) -> Expr:
        one, zero = tirx.const(1.0, "float32"), tirx.const(0.0, "float32")
        norm = tirx.sqrt(square(*index))
        return tirx.Select(norm > zero, one / norm, zero)

    factor = te.compute(square.shape, inverse, name="inverse_norm")
    return te.compute(x.shape, lambda *i: x(*i) * factor(*_row(i, [axis])), name="l2_norm")


def group_norm(
    x: te.Tensor,
    scale: te.Tensor | None,
    bias: te.Tensor | None,
    *,
    groups: int,
    eps: float,
    channel_axis: int = 1,
) -> te.Tensor:
    """Normalize over the positions and the channels of each group.

    Args:
        x: Batch first, channels at `channel_axis`: 1 for NCHW, the last for NHWC.
        scale: [C] or None.
        bias: [C] or None.
        groups: Number of groups; a divisor of C.
        eps: Added to the variance.
        channel_axis: Axis of the channels.

    Returns:
        The normalized tensor, of the shape of `x`.
    """
    channel_axis %= len(x.shape)
    members = int(x.shape[channel_axis]) // groups
    split = te.compute(
        _split_shape(x, channel_axis, groups, members),
        lambda *i: x(*_merge(i, channel_axis, members)),
        name="split_channels",
    )
    reduced = [a for a in range(1, len(split.shape)) if a != channel_axis]
    mean, inverse = _statistics(split, reduced, eps)

    def body(*index: Expr) -> Expr:
        channel = index[channel_axis]
        row = [0] * len(split.shape)
        row[0], row[channel_axis] = index[0], channel // members
        value = (x(*index) - mean(*row)) * inverse(*row)
        return _affine(value, scale, bias, (channel,))

    return te.compute(x.shape, body, name="group_norm")


def instance_norm(
    x: te.Tensor,
    scale: te.Tensor | None,
    bias: te.Tensor | None,
    *,
    eps: float,
    channel_axis: int = 1,
) -> te.Tensor:
    """Normalize every channel over its positions; arguments as for `group_norm`."""
    channel_axis %= len(x.shape)
    reduced = [a for a in range(1, len(x.shape)) if a != channel_axis]
    mean, inverse = _statistics(x, reduced, eps)

    def body(*index: Expr) -> Expr:
        row = _row(index, reduced)
        value = (x(*index) - mean(*row)) * inverse(*row)
        return _affine(value, scale, bias, (index[channel_axis],))

    return te.compute(x.shape, body, name="instance_norm")


def _statistics(x: te.Tensor, reduced: Sequence[int], eps: float) -> tuple[te.Tensor, te.Tensor]:
    """Mean and 1 / sqrt(variance + eps) over `reduced`, which keep extent one."""
    count = _count(x, reduced)
    total = combined(x, te.sum, reduced, True, None)
    mean = te.compute(total.shape, lambda *i: total(*i) / tirx.const(count, "float32"), name="mean")
    squares = te.compute(
        x.shape, lambda *i: _square(x(*i) - mean(*_row(i, reduced))), name="squares"
    )
    square = combined(squares, te.sum, reduced, True, None)
    return mean, _inverse_root(square, count, eps)


def _square(value: Expr) -> Expr:
    return value * value


def _inverse_root(square: te.Tensor, count: int, eps: float) -> te.Tensor:
    def body(*index: Expr) -> Expr:
        mean = square(*index) / tirx.const(count, "float32")
        root = tirx.sqrt(mean + tirx.const(eps, "float32"))
        return tirx.const(1.0, "float32") / root

    return te.compute(square.shape, body, name="inverse_root")


def _affine(
    value: Expr, scale: te.Tensor | None, bias: te.Tensor | None, index: Sequence[Expr]
) -> Expr:
    if scale is not None:
        value = value * scale(*index)
    return value if bias is None else value + bias(*index)


def _count(x: te.Tensor, axes: Sequence[int]) -> int:
    return math.prod(int(x.shape[axis]) for axis in axes)


def _row(index: Sequence[Expr], reduced: Sequence[int]) -> list[Expr]:
    return [0 if axis in reduced else i for axis, i in enumerate(index)]


def _split_shape(x: te.Tensor, axis: int, groups: int, members: int) -> list[int]:
    shape = [int(extent) for extent in x.shape]
    return [*shape[:axis], groups, members, *shape[axis + 1 :]]


def _merge(index: Sequence[Expr], axis: int, members: int) -> list[Expr]:
    merged = index[axis] * members + index[axis + 1]
    return [*index[:axis], merged, *index[axis + 2 :]]
