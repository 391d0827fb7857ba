"""What became of the numbers of a layer: the record that passes of lossy kind leave of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ValueFormat:
    """How the numbers of one value are stored."""

    dtype: str
    """``uint8``, ``int8``, ``int32``."""
    low: float
    """Least number that is represented; the least of all channels."""
    high: float
    channels: int = 1
    """Scales, 1 for one that all numbers share."""
    method: str = ""
    """How the range was found."""
    sqnr: float | None = None
    """Signal to quantization noise in dB, as far as it is known."""


@dataclass(frozen=True)
class LayerFormat:
    """How a product, a convolution or another node is computed, and why if it was left alone."""

    layer: str
    """What the model calls it."""
    op_type: str
    data: ValueFormat | None = None
    weights: ValueFormat | None = None
    reason: str = ""
    """Why it stays as it was; empty if it does not."""
