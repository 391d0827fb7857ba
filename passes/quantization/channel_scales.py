"""By what channels are best divided before they are rounded with one scale for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from burnish.calibration import Channels
from burnish.passes.fusion.constants import Vector
from burnish.passes.quantization.simulation import Simulation

LARGEST = 4096
"""How much less than the largest channel the smallest is taken for: what is less is nothing."""
SHARES = np.linspace(0.0, 1.0, 65)
"""Parts of the range of integers that are tried for numbers below zero."""
STRENGTHS = tuple(step / 10 for step in range(11))
"""How much of the differences goes from values to weights, as tried where products sum up."""


def even_scales(seen: Channels, least_gain: float) -> Vector | None:
    """Scales with which every channel has all steps of 8 bits, for readers of single channels.

    All have one zero point: it is where they lose the fewest bits on average.

    Args:
        seen: the values.
        least_gain: part of the noise that has to go, for the average of bits.

    Returns:
        float64 [channels], the largest one; None if no scales are worth it.
    """
    if not _is_known(seen):
        return None
    low, high = np.minimum(seen.low, 0), np.maximum(seen.high, 0)
    ranges = high - low
    floor = ranges.max() / LARGEST
    used = ranges > floor
    if not used.any():
        return None

    def lost(scales: Vector) -> float:
        return float(np.log2(scales[used] / ranges[used]).mean())

    with np.errstate(divide="ignore", invalid="ignore"):
        tried = [
            np.maximum(floor, np.fmax(np.where(low < 0, -low / share, 0),
                                      np.where(high > 0, high / (1 - share), 0)))
            for share in SHARES
        ]  # fmt: skip
    best = min((each for each in tried if np.isfinite(each).all()), key=lost)
    gain = lost(np.full(len(ranges), high.max() - low.min())) - lost(best)
    # Each bit is a fourth of the noise.
    if 4.0**-gain > 1 - least_gain:
        return None
    # What is nothing on these data may be more on others: it stays as it is.
    found: Vector = np.where(used, best, best.max()) / best.max()
    return found


def balanced_scales(
    seen: Channels, products: Sequence[Simulation], least_gain: float
) -> Vector | None:
    """Scales with which products have the least error, values and weights rounded.

    Args:
        seen: the values.
        products: all that read them.
        least_gain: part of the error that has to go.

    Returns:
        float64 [channels], their geometric mean one; None if no scales are worth it.
    """
    if not _is_known(seen) or not products:
        return None
    heaviest = np.max([np.abs(each.weights).max(axis=(1, 2)) for each in products], axis=0)
    tried = [smoothing_scales(seen.absmax, heaviest, strength) for strength in STRENGTHS]
    still, plain = np.zeros(len(heaviest)), np.ones(len(heaviest))

    def error(scales: Vector) -> float:
        return sum(each.error(seen.low, seen.high, scales, still) for each in products)

    errors = [error(each) for each in tried]
    best = int(np.argmin(errors))
    return tried[best] if errors[best] < (1 - least_gain) * error(plain) else None


def smoothing_scales(largest: Vector, heaviest: Vector, strength: float) -> Vector:
    """What to divide each channel by: ``largest**a / heaviest**(1 - a)``, one on average.

    Channels that are always zero, of values or of weights, have one (SmoothQuant, Xiao et al.,
    2022, arXiv:2211.10438).
    """
    usable = (largest > 0) & (heaviest > 0)
    values, weights = np.where(usable, largest, 1), np.where(usable, heaviest, 1)
    exponent = strength * np.log(values) - (1 - strength) * np.log(weights)
    exponent = exponent - exponent[usable].mean() if usable.any() else exponent
    found: Vector = np.where(usable, np.exp(exponent), 1.0)
    return found


def _is_known(seen: Channels) -> bool:
    return not seen.wrong and seen.low.size > 0 and bool(np.isfinite(seen.low).all())
