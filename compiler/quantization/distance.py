"""How far a quantized model is from its original, without labels.

Where an output is a distribution over classes, or logits of one, that is the Kullback-Leibler
divergence from the original's; elsewhere the power of the error over that of the signal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.ir import Array

Answers = Sequence[Mapping[str, Any]]
"""Outputs by name for each of several inputs."""

DIVERGENCE = 0.02
"""Nats by which a distribution may diverge on average."""
NOISE = 0.01
"""Power of the error over that of the signal that is allowed: 20 dB."""
_LEAST = 1e-9
"""Of a probability, in a logarithm."""


@dataclass(frozen=True)
class Distance:
    """How far an output is from the original's."""

    output: str
    divergence: float | None
    """Mean, in nats; None where the output is no distribution."""
    agreement: float | None
    """Share of distributions with the same most likely class."""
    noise: float
    """Power of the error over that of the signal."""

    @property
    def share(self) -> float:
        """What it takes of what is allowed: above 1 it is too far."""
        if self.divergence is None:
            return self.noise / NOISE
        return self.divergence / DIVERGENCE

    @property
    def sqnr(self) -> float:
        """Signal over noise in decibels, infinite if there is none."""
        return float("inf") if self.noise == 0 else -10 * float(np.log10(self.noise))

    def __str__(self) -> str:
        """Return it in a few words for people."""
        if self.divergence is None:
            return f"{self.sqnr:.1f} dB"
        return f"KL {self.divergence:.2g}, top-1 {100 * (self.agreement or 0):.1f} %"


def distances(expected: Answers, actual: Answers) -> list[Distance]:
    """Compare float outputs over all inputs.

    Args:
        expected: what the original answers.
        actual: what the other answers: equal names and shapes.
    """
    found = []
    for name in expected[0]:
        pairs = [(want[name], have[name]) for want, have in zip(expected, actual, strict=True)]
        if all(_is_float(want) and want.size for want, _ in pairs):
            found.append(_distance(name, pairs))
    return found


def farthest(expected: Answers, actual: Answers) -> Distance | None:
    """The output that takes the most of what it is allowed; None if none is float."""
    return max(distances(expected, actual), key=lambda one: one.share, default=None)


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _distance(name: str, pairs: Sequence[tuple[Array, Array]]) -> Distance:
    signal = noise = 0.0
    divergences: list[Array] = []
    same: list[Array] = []
    for want, have in pairs:
        wide, other = np.asarray(want, np.float64), np.asarray(have, np.float64)
        other = np.where(np.isfinite(other), other, 0.0)
        wide = np.where(np.isfinite(wide), wide, 0.0)
        signal += float(np.square(wide).sum())
        noise += float(np.square(wide - other).sum())
        if is_distribution(want):
            rows = wide.reshape(-1, wide.shape[-1]), other.reshape(-1, wide.shape[-1])
            divergences.append(_divergence(*rows))
            same.append(rows[0].argmax(axis=1) == rows[1].argmax(axis=1))
    is_all = len(divergences) == len(pairs)
    return Distance(
        name,
        float(np.concatenate(divergences).mean()) if is_all else None,
        float(np.concatenate(same).mean()) if is_all else None,
        noise / signal if signal else (1.0 if noise else 0.0),
    )


def is_distribution(array: Array) -> bool:
    """Whether rows along the last axis are probabilities, or logits: one row for each input."""
    if array.ndim < 2 or array.shape[-1] < 2:
        return False
    return array.ndim == 2 or _sums_to_one(np.asarray(array, np.float64))


def _sums_to_one(rows: Array) -> bool:
    return bool(rows.min() >= 0 and np.allclose(rows.sum(axis=-1), 1.0, atol=1e-3))


def _divergence(want: Array, have: Array) -> Array:
    """Of each row ``have`` from ``want``, in nats: float64 [rows]."""
    first, second = _logs(want, _sums_to_one(want)), _logs(have, _sums_to_one(want))
    found: Array = np.maximum(0.0, (np.exp(first) * (first - second)).sum(axis=1))
    return found


def _logs(rows: Array, are_probabilities: bool) -> Array:
    if are_probabilities:
        kept = np.maximum(rows, _LEAST)
        logs: Array = np.log(kept / kept.sum(axis=1, keepdims=True))
        return logs
    shifted = rows - rows.max(axis=1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
