"""What rules ask of constants: one number, one number per channel, numbers of a given type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from burnish.ir import Array, DType, VariableNode

Vector = NDArray[np.float64]
"""One number per channel."""


def number(value: VariableNode | None) -> float | None:
    """The number that ``value`` always is, if it is a constant with one element."""
    if value is None or value.constant is None or value.constant.size != 1:
        return None
    if value.dtype.bits == 0:
        return None
    return float(np.asarray(value.constant.numpy(), dtype=np.float64).reshape(()))


def is_number(value: VariableNode) -> bool:
    """Whether ``value`` is a constant with one element."""
    return number(value) is not None


def integers(value: VariableNode | None) -> tuple[int, ...] | None:
    """The elements of a constant list of integers (an axes or shape input)."""
    if value is None or value.constant is None or not value.dtype.is_integer:
        return None
    return tuple(int(i) for i in value.constant.numpy().reshape(-1))


def per_channel(value: VariableNode, axis: int, rank: int, channels: int) -> Vector | None:
    """``value`` [channels] if it broadcasts to ``rank`` axes differing along ``axis`` at most.

    One number stands for all channels. None if ``value`` is no such constant.
    """
    constant = value.constant
    if constant is None or not constant.dtype.is_floating or len(constant.shape) > rank:
        return None
    shape = (1,) * (rank - len(constant.shape)) + constant.shape
    axis %= rank
    if shape[axis] not in (1, channels):
        return None
    if any(size != 1 for i, size in enumerate(shape) if i != axis):
        return None
    flat = constant.numpy().astype(np.float64).reshape(-1)
    return np.broadcast_to(flat, (channels,))


def along(vector: Vector, axis: int, rank: int) -> Vector:
    """``vector`` shaped to broadcast along ``axis`` of ``rank`` axes."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def rounded(array: Array, dtype: DType) -> Array | None:
    """``array`` in ``dtype``, None if that makes a finite number infinite."""
    with np.errstate(over="ignore"):
        result: Array = array.astype(dtype.numpy)
    if np.isfinite(array).all() and not np.isfinite(result.astype(np.float64)).all():
        return None
    return result


def normalized(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """``axes`` counted from the front, sorted."""
    return tuple(sorted(axis % rank for axis in axes))
