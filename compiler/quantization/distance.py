"""How far a quantized model is from its original, without labels.

Where an output is a distribution over classes, or logits of one, that is the Kullback-Leibler
divergence from the original's; elsewhere the power of the error over that of the signal. In a
sequence of distributions one class may be nearly all there is, as the blank of a text recognizer
is: its rows and the others count as two groups, of which the one that is farther off decides.
Rows are taken for logits only if they say something: an embedding, whose softmax is nearly uniform,
is judged by its error. What is NaN or infinite in one of the two only is an error without bounds.
Integers count only where no output is float, by the share of them that differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from burnish.ir import Array

Answers = Sequence[Mapping[str, Any]]
"""Outputs by name for each of several inputs."""

DIVERGENCE = 0.005
"""Nats by which a distribution may diverge on average.

Rounding the weights of two Fashion-MNIST networks to 3.5 to 8 bits and their values to 8 loses, of
the accuracy on 10 000 pictures, 0.01 to 0.22 points up to 0.0043 nats, 0.7 to 1.1 points from 0.009
to 0.022 nats, and 1.7 to 7 points from 0.07 to 0.26 nats: 0.3 points lie at about 0.005.
"""
SEQUENCE = 0.05
"""The same of a sequence of distributions, of its class that is farther off.

A text recognizer (PP-OCRv4) loses 2 points of exact matches at 0.17 nats, 5 at 0.31 and 16 at 0.51.
With biases corrected it loses none, or up to 0.8, from 0.02 to 0.06 nats (1 000 strings, within 1
point); without, 2.5 at 0.037: divergence orders such selections badly, and 0.05 is where most keep
to 0.7 points. Letters that move by a step count, and change no text.
"""
NOISE = 0.01
"""Power of the error over that of the signal that is allowed: 20 dB."""
EMBEDDING = 10**-1.5
"""The same of embeddings, [items, features]: 15 dB.

A sentence encoder (MiniLM), its weights rounded to 4 to 6 bits or everything to 8, finds the right
one of 1 000 sentences less often by -0.3 points at 19.4 dB, 0.6 at 18.5, 0.3 at 16.8, 1.1 at 13.4
and 1.2 at 10.3 (within 1 to 1.5): 0.7 points lie at about 15 dB.
"""
DIFFERING = 0.02
"""Share of integers, as classes or tokens, that may differ where no output is float.

Each that differs is at most one more mistake, and as often one fewer where both are unsure.
"""
BOUND = (
    f"{DIVERGENCE:g} nats of divergence for distributions, {SEQUENCE:g} in sequences, "
    f"{-10 * np.log10(EMBEDDING):.0f} dB of signal to noise for embeddings, "
    f"{-10 * np.log10(NOISE):.0f} dB elsewhere"
)
BOUND_OF_INTEGERS = f"{100 * DIFFERING:g} % of integers that differ, as no output is float"
"""What is allowed, in words: the latter of models whose outputs are integers only."""
_FEATURES = 64
"""Numbers of an embedding, at least: fewer may be coordinates, each of which counts."""
_COARSE = 0.1
"""The same of logits, whose divergence says nothing where one class is certain."""
_VAGUE = 0.8
"""Mean entropy, as a share of the greatest, from which on rows are no logits of a classifier."""
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
    is_sequence: bool = False
    """Whether an input has many distributions, one after the other."""
    is_embedding: bool = False
    """Whether an input has one row of numbers that is no distribution."""
    differing: float | None = None
    """Share of elements that are not equal, of an output that is not float; None where it is."""

    @property
    def share(self) -> float:
        """What it takes of what is allowed: above 1 it is too far."""
        if self.differing is not None:
            return self.differing / DIFFERING
        if self.divergence is None:
            return self.noise / (EMBEDDING if self.is_embedding else NOISE)
        allowed = SEQUENCE if self.is_sequence else DIVERGENCE
        return max(self.divergence / allowed, self.noise / _COARSE)

    @property
    def sqnr(self) -> float:
        """Signal over noise in decibels, infinite if there is none."""
        return float("inf") if self.noise == 0 else -10 * float(np.log10(self.noise))

    def __str__(self) -> str:
        """Return it in a few words for people."""
        if self.differing is not None:
            return f"{100 * self.differing:.1f} % of integers differ"
        if np.isinf(self.noise):
            return "other numbers are NaN or infinite"
        if self.noise == 0:
            return "nothing"
        if self.divergence is None:
            return f"{self.sqnr:.1f} dB"
        return (
            f"KL {self.divergence:.2g} nats, the same top-1 in {100 * (self.agreement or 0):.1f} %"
        )


def distances(expected: Answers, actual: Answers) -> list[Distance]:
    """Compare float outputs over all inputs.

    Args:
        expected: what the original answers.
        actual: what the other answers: equal names. Where shapes depend on the data and differ, all
            of the original's is an error.
    """
    found = []
    for name in expected[0]:
        pairs = [(want[name], have[name]) for want, have in zip(expected, actual, strict=True)]
        pairs = [(want, have) for want, have in pairs if is_float(want) and want.size]
        if pairs:
            found.append(_distance(name, pairs))
    return found


def farthest(expected: Answers, actual: Answers) -> Distance | None:
    """The output that takes the most of what it is allowed.

    Integers, booleans and strings count where no output is float; None if all outputs are empty.
    """
    found = distances(expected, actual) or _differences(expected, actual)
    return max(found, key=lambda one: one.share, default=None)


def is_float(value: Any) -> bool:
    """Whether ``value`` is an array of floats, bfloat16 among them."""
    return isinstance(value, np.ndarray) and (
        value.dtype.kind == "f" or value.dtype == ml_dtypes.bfloat16
    )


def _differences(expected: Answers, actual: Answers) -> list[Distance]:
    """Compare outputs element by element, over all inputs; of other shapes all differ."""
    found = []
    for name in expected[0]:
        pairs = [(want[name], have[name]) for want, have in zip(expected, actual, strict=True)]
        arrays = [(np.asarray(want, None), np.asarray(have, None)) for want, have in pairs]
        total = sum(max(want.size, have.size) for want, have in arrays)
        wrong = sum(
            int((want != have).sum()) if want.shape == have.shape else max(want.size, have.size)
            for want, have in arrays
        )
        if total:
            found.append(Distance(name, None, None, 0.0, differing=wrong / total))
    return found


def _distance(name: str, pairs: Sequence[tuple[Array, Array]]) -> Distance:
    signal = noise = 0.0
    rows = _Rows()
    pairs = [(want.astype(np.float64), have.astype(np.float64)) for want, have in pairs]
    are_alike = all(want.shape == have.shape for want, have in pairs)
    pairs = [
        (want, have if want.shape == have.shape else np.zeros_like(want)) for want, have in pairs
    ]
    are_finite_alike = all(_are_finite_alike(want, have) for want, have in pairs)
    has_classes = are_alike and are_finite_alike and are_distributions([want for want, _ in pairs])
    for want, have in pairs:
        wide, other = (np.where(np.isfinite(each), each, 0.0) for each in (want, have))
        signal += float(np.square(wide).sum())
        noise += float(np.square(wide - other).sum())
        if has_classes:
            rows.add(want, have)
    share = noise / signal if signal else (1.0 if noise else 0.0)
    return Distance(
        name,
        rows.divergence if has_classes else None,
        rows.agreement if has_classes else None,
        share if are_finite_alike else float("inf"),
        has_classes and rows.is_sequence,
        not has_classes and all(want.ndim == 2 and want.shape[1] >= _FEATURES for want, _ in pairs),
    )


def _are_finite_alike(want: Array, have: Array) -> bool:
    """Whether the same numbers are NaN, and the same are infinite with the same sign."""
    odd = ~(np.isfinite(want) & np.isfinite(have))
    return bool(np.array_equal(want[odd], have[odd], equal_nan=True))


class _Rows:
    """Divergences of distributions, and which class is the most likely of each."""

    def __init__(self) -> None:
        self._divergences: list[Array] = []
        self._classes: list[Array] = []
        self._same: list[Array] = []
        self.is_sequence = False

    def add(self, want: Array, have: Array) -> None:
        self.is_sequence = self.is_sequence or want.ndim > 2
        first, second = (each.reshape(-1, want.shape[-1]) for each in (want, have))
        told = np.isfinite(first.max(axis=1))
        if not told.any():
            return
        first, second = first[told], second[told]
        self._divergences.append(_divergence(first, second))
        self._classes.append(first.argmax(axis=1))
        self._same.append(first.argmax(axis=1) == second.argmax(axis=1))

    @property
    def divergence(self) -> float:
        """Mean; of a sequence that of the usual class or that of the others, what is larger.

        Rows without a greatest number that is finite say nothing.
        """
        if not self._divergences:
            return 0.0
        found, classes = np.concatenate(self._divergences), np.concatenate(self._classes)
        if not self.is_sequence:
            return float(found.mean())
        usual = classes == np.bincount(classes).argmax()
        groups = [found[chosen] for chosen in (usual, ~usual) if chosen.any()]
        return max(float(group.mean()) for group in groups)

    @property
    def agreement(self) -> float:
        return float(np.concatenate(self._same).mean()) if self._same else 1.0


def are_distributions(arrays: Sequence[Array]) -> bool:
    """Whether rows along the last axis of all are probabilities, or logits of a classifier.

    Args:
        arrays: float, one of each input. Logits are taken for such in two axes only: one row for
            each input.
    """
    if any(array.ndim < 2 or array.shape[-1] < 2 for array in arrays):
        return False
    if all(_sums_to_one(array) for array in arrays):
        return True
    are_rows = all(array.ndim == 2 for array in arrays)
    return are_rows and len({array.shape[1] for array in arrays}) == 1 and _entropy(arrays) < _VAGUE


def _entropy(arrays: Sequence[Array]) -> float:
    """Mean over rows of logits, as a share of that of a uniform distribution."""
    rows = np.concatenate([np.asarray(array, np.float64) for array in arrays])
    rows = rows[np.isfinite(rows.max(axis=1))]
    if not rows.size:
        return 1.0
    logs = _logs(rows, are_probabilities=False)
    return float(-_expected(logs, logs).sum(axis=1).mean() / np.log(rows.shape[1]))


def _sums_to_one(rows: Array) -> bool:
    return bool(rows.min() >= 0 and np.allclose(rows.sum(axis=-1), 1.0, atol=1e-3))


def _divergence(want: Array, have: Array) -> Array:
    """Of each row ``have`` from ``want``, in nats: float64 [rows]."""
    first, second = _logs(want, _sums_to_one(want)), _logs(have, _sums_to_one(want))
    differences = np.where(np.isfinite(first), first, 0.0) - np.where(
        np.isfinite(second), second, 0.0
    )
    found: Array = np.maximum(0.0, _expected(first, differences).sum(axis=1))
    return found


def _expected(logs: Array, numbers: Array) -> Array:
    """Numbers times their probabilities: nothing of a class that is masked."""
    is_there = np.isfinite(logs)
    found: Array = np.where(is_there, np.exp(logs) * np.where(is_there, numbers, 0.0), 0.0)
    return found


def _logs(rows: Array, are_probabilities: bool) -> Array:
    if are_probabilities:
        kept = np.maximum(rows, _LEAST)
        logs: Array = np.log(kept / kept.sum(axis=1, keepdims=True))
        return logs
    shifted = rows - rows.max(axis=1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
