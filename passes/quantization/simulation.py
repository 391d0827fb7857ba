"""What rounding data and weights to 8 bits does to a product, on some rows of its data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.calibration import S8_SYMMETRIC, U8, Interval, Rows, geometry_of
from burnish.ir import Array, OperatorNode, VariableNode
from burnish.passes.quantization.streams import End, is_depthwise

HELD_BYTES = 4 << 20
"""Of rows that are kept for one product."""
FEWEST, MOST = 64, 512
"""Rows that are kept."""
RATIOS = (1.0, 0.85, 0.7, 0.55, 0.4)
"""Parts of the range of values that are tried: it may pay to cut the largest off."""


def data_of(end: End) -> tuple[VariableNode, int]:
    """What is multiplied by the weights of ``end``, and which of its axes has the channels."""
    node = end.node
    if not node.is_op("MatMul"):
        value, axis = node.input(0), 1
    else:
        value, axis = node.input(1 - end.index), -1 if end.index == 1 else -2
    assert value is not None
    return value, axis


def rows_of(end: End) -> Rows:
    """What keeps some rows of the data that is multiplied by the weights of ``end``."""
    rows = rows_for(end.node, data_of(end)[0], weights_of(end))
    assert rows is not None
    return rows


def rows_for(node: OperatorNode, data: VariableNode, weights: Array) -> Rows | None:
    """What keeps some rows of ``data``, as ``weights`` [channels, taps, results] multiply it.

    None if it is not known how ``node`` does that.
    """
    channels, taps, _ = weights.shape
    limit = min(max(HELD_BYTES // (4 * channels * taps), FEWEST), MOST)
    geometry = geometry_of(node, data)
    return None if geometry is None else Rows(geometry, limit=limit)


def weights_of(end: End, array: Array | None = None) -> Array:
    """The weights of ``end``, float32 [channels, taps, results], as they multiply data.

    A result is the sum over channels and taps (places of a kernel) of data times weights; for a
    depthwise convolution, which has a channel for each result, over taps alone.

    Args:
        end: what reads a stream.
        array: weights that it is to have; those that it has by default.
    """
    if array is None:
        constant = end.member.value.constant
        assert constant is not None
        array = constant.numpy()
    return as_multiplied(end.node, end.index, array)


def as_multiplied(node: OperatorNode, index: int, array: Array) -> Array:
    """The weights ``array``, input ``index`` of ``node``, as `weights_of` gives them."""
    array = array.astype(np.float32, copy=False)
    if node.is_op("MatMul"):
        matrix = array.reshape(array.shape[-2:])
        return (matrix if index == 1 else matrix.T)[:, None]
    if node.is_op("Gemm"):
        return (array.T if node.attribute("transB", 0) else array)[:, None]
    if node.is_op("ConvTranspose"):
        return array.reshape(len(array), 1, -1)
    taps = array.reshape(*array.shape[:2], -1)
    return taps.transpose(0, 2, 1) if is_depthwise(node) else taps.transpose(1, 2, 0)


@dataclass(frozen=True, eq=False)
class Simulation:
    """A product whose operands are rounded."""

    data: Array
    """Float32 [rows, channels, taps]."""
    weights: Array
    """Float32 [channels, taps, results]."""
    by_channel: bool
    """A depthwise convolution: results are of one channel each."""

    @classmethod
    def of(cls, end: End, rows: Rows, array: Array | None) -> Simulation:
        """The product of ``end`` with weights ``array`` on the data that ``rows`` has kept."""
        return cls.over(end.node, rows, weights_of(end, array))

    @classmethod
    def over(cls, node: OperatorNode, rows: Rows, weights: Array) -> Simulation:
        """The product ``node`` with ``weights`` [channels, taps, results] on ``rows`` of data."""
        groups = rows.values
        if not is_depthwise(node):
            return cls(groups[0].reshape(groups.shape[1], len(weights), -1), weights, False)
        copies = len(weights) // len(groups)
        return cls(np.repeat(groups.transpose(1, 0, 2), copies, axis=1), weights, True)

    def error(self, low: Array, high: Array, scale: Array, shift: Array) -> float:
        """Squared error of the results, relative to their squares.

        Args:
            low: least value of each channel on all data.
            high: greatest value of each channel.
            scale: what each channel is divided by, and its weights multiplied by.
            shift: what is taken away from each channel before that.
        """
        data = (self.data - shift[:, None]).astype(np.float32) / scale[:, None].astype(np.float32)
        weights = self.weights * scale[:, None, None].astype(np.float32)
        whole = Interval.over(
            float(((low - shift) / scale).min()), float(((high - shift) / scale).max())
        )
        noise = self._product(rounded_data(data, whole), self._rounded(weights))
        noise -= self._product(data, weights)
        power = float(np.square(self._product(self.data, self.weights), dtype=np.float64).sum())
        return float(np.square(noise, dtype=np.float64).sum()) / max(power, 1e-30)

    def _product(self, data: Array, weights: Array) -> Array:
        if self.by_channel:
            return np.asarray(np.einsum("rct,ctm->rcm", data, weights))
        wide = weights.shape[0] * weights.shape[1]
        return np.asarray(data.reshape(len(data), wide) @ weights.reshape(wide, -1))

    def _rounded(self, weights: Array) -> Array:
        """Weights with a scale for each result."""
        largest = np.abs(weights).max(axis=1 if self.by_channel else (0, 1), keepdims=True)
        scale = np.where(largest > 0, largest, 1).astype(np.float32)
        scale /= np.float32(S8_SYMMETRIC.high)
        return np.asarray(np.rint(weights / scale) * scale, np.float32)


def rounded_data(data: Array, whole: Interval) -> Array:
    """``data`` in 256 steps over the part of its range that has the least error."""
    best, least = data, np.inf
    for ratio in RATIOS:
        found = U8.rounded(data, whole.clipped(ratio))
        error = float(np.square(found - data).sum())
        if error < least:
            best, least = found, error
    return best
