"""How near outputs are to the original's: error, divergence, agreement, noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from burnish.bench.document import Fidelity
from burnish.oracle import Numerics, compare

Answers = Sequence[Mapping[str, Any]]
"""Outputs by name for each of several inputs."""


def fidelity(expected: Answers, actual: Answers) -> list[Fidelity]:
    """Compare each output over all inputs.

    Args:
        expected: what the original answers.
        actual: what another answers, in the same forms.
    """
    errors: dict[str, float] = {}
    for want, have in zip(expected, actual, strict=True):
        for each in compare(want, have, Numerics.LOSSY).outputs:
            errors[each.name] = max(each.error, errors.get(each.name, 0.0))
    return [
        Fidelity(output=name, error=error, **dict(_figures(name, expected, actual)))
        for name, error in errors.items()
    ]


def _figures(name: str, expected: Answers, actual: Answers) -> Iterator[tuple[str, Any]]:
    arrays = []
    for want, have in zip(expected, actual, strict=True):
        one, other = want.get(name), have.get(name)
        if not (_is_float(one) and _is_float(other)) or one.shape != other.shape:
            return
        arrays.append((np.asarray(one, np.float64), np.asarray(other, np.float64)))
    yield "sqnr", _sqnr(arrays)
    rows = [
        (want.reshape(-1, want.shape[-1]), have.reshape(-1, want.shape[-1]))
        for want, have in arrays
        if want.ndim and want.shape[-1] > 1 and want.size
    ]
    rows = [
        (want[finite], have[finite])
        for want, have in rows
        if (finite := np.isfinite(want).all(axis=1) & np.isfinite(have).all(axis=1)).any()
    ]
    if rows:
        yield "kl", float(np.mean(np.concatenate([_divergence(*row) for row in rows])))
        same = [want.argmax(axis=1) == have.argmax(axis=1) for want, have in rows]
        yield "top1", float(np.mean(np.concatenate(same)))


def _is_float(array: Any) -> TypeGuard[np.ndarray]:
    return isinstance(array, np.ndarray) and array.dtype.kind not in "OUSbiuc"


def _sqnr(arrays: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Power of the signal over that of the difference, in decibels; None where they are equal."""
    signal = noise = 0.0
    for want, have in arrays:
        finite = np.isfinite(want) & np.isfinite(have)
        signal += float(np.square(want[finite]).sum())
        noise += float(np.square(want[finite] - have[finite]).sum())
    return 10 * float(np.log10(signal / noise)) if signal and noise else None


def _divergence(want: np.ndarray, have: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of softmax along rows, in nats: float64 [rows]."""
    first, second = _log_softmax(want), _log_softmax(have)
    # Rounding may leave it a little below zero, where it cannot be.
    found: np.ndarray = np.maximum(0.0, (np.exp(first) * (first - second)).sum(axis=1))
    return found


def _log_softmax(rows: np.ndarray) -> np.ndarray:
    shifted = rows - rows.max(axis=1, keepdims=True)
    totals: np.ndarray = np.exp(shifted).sum(axis=1, keepdims=True)
    logs: np.ndarray = shifted - np.log(totals)
    return logs
