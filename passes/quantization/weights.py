"""Integers for weights: a scale for each output channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.calibration.formats import LEAST_SCALE, Format
from burnish.ir import Array
from burnish.passes.quantization.ranges import decibels

CLIPS = np.linspace(0.98, 0.7, 15)
"""Parts of the largest weight that are tried as the largest integer."""


@dataclass(frozen=True)
class QuantizedWeights:
    """Weights as integers."""

    integers: Array
    """Int8, shaped as the weights."""
    scales: Array
    """Float32, one per output channel."""
    axis: int
    method: str
    sqnr: float | None
    """Signal to noise in dB, inputs weighted by their power where that is known."""

    @property
    def values(self) -> Array:
        """What the integers stand for, float32."""
        return self.integers * spread(self.scales, self.axis, self.integers.ndim)


def spread(vector: Array, axis: int, rank: int) -> Array:
    """``vector`` shaped to broadcast along ``axis`` of ``rank`` axes."""
    return vector.reshape([-1 if place == axis else 1 for place in range(rank)])


def quantize_weights(
    weights: Array,
    axis: int,
    format: Format,
    *,
    power: Array | None = None,
    least: Array | None = None,
    clip: bool = True,
) -> QuantizedWeights:
    """Round ``weights`` to the integers of ``format``, each output channel by a scale of its own.

    Args:
        weights: float32.
        axis: of output channels.
        format: symmetric.
        power: mean square of what each weight is multiplied by, broadcast to ``weights``; None
            for all alike.
        least: lower bounds of the scales, one per channel.
        clip: try to cut the largest weights of a channel off where that has less error.
    """
    others = tuple(place for place in range(weights.ndim) if place != axis)
    bound = np.abs(weights).max(axis=others, initial=0.0)
    # In units of the largest weight of the channel, squares neither overflow nor vanish.
    units = np.where(bound > 0, bound, np.float32(1.0))
    shares = weights / spread(units, axis, weights.ndim)
    factor = np.float32(1.0) if power is None else power
    floor = LEAST_SCALE / units if least is None else np.maximum(least, LEAST_SCALE) / units

    def error(steps: Array) -> Array:
        rounded = _round(shares, steps, axis, format) * spread(steps, axis, weights.ndim)
        squares = np.broadcast_to(factor * (rounded - shares) ** 2, weights.shape)
        return np.asarray(squares.sum(axis=others))

    method = "min-max"
    best = np.maximum(1 / format.high, floor).astype(np.float32)
    noise = error(best)
    for ratio in CLIPS if clip else ():
        steps = np.maximum(ratio / format.high, floor).astype(np.float32)
        tried = error(steps)
        better = tried < noise
        if better.any():
            method = "mse"
            best, noise = np.where(better, steps, best), np.where(better, tried, noise)
    integers = _round(shares, best, axis, format).astype(np.int8)
    signal = np.broadcast_to(factor * shares**2, weights.shape).sum(axis=others)
    squares = units.astype(np.float64) ** 2
    sqnr = decibels(float(signal @ squares), float(noise @ squares))
    return QuantizedWeights(integers, best * units, axis, method, sqnr)


def _round(shares: Array, steps: Array, axis: int, format: Format) -> Array:
    integers = np.rint(shares / spread(steps, axis, shares.ndim))
    return np.clip(integers, format.low, format.high)
