"""Whether outputs agree: the same shape, dtype and specials, and floats within a tolerance."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import numpy as np

from benchmarks.inputs import Array

TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-2}
"""Largest error allowed, relative to the largest output, by dtype."""
LOSSY = dict.fromkeys(TOLERANCE, 0.2)
"""The same for arithmetic in bf16 that was asked for: what is beyond is a bug, not rounding."""

INT8 = 0.5
"""Root mean square of the error of int8, over that of the output, from which on timing it says
nothing: single numbers, as at the edge of a mask, may be far off. Its cost is measured on tasks."""
Outputs: TypeAlias = Mapping[str, Array]
Compare: TypeAlias = Callable[[Outputs, Outputs], float]
"""Takes what is found and what is right, by name; returns the largest error of an output, and
raises `Disagreement` if that is too large."""


class Disagreement(Exception):
    """Two sets of outputs differ; the message says where and by how much."""


def worst_error(
    found: Outputs,
    expected: Outputs,
    tolerance: Mapping[str, float] = TOLERANCE,
) -> float:
    """Compare outputs by name.

    Args:
        found: the outputs in question.
        expected: what they should be.
        tolerance: largest error allowed, by dtype.

    Returns:
        The largest error of any float output, relative to that output's largest finite value.

    Raises:
        Disagreement: if names, shapes, dtypes, integers or special values differ, or an error is
            above the tolerance of its dtype.
    """
    _require_names(found, expected)
    errors = (_compare(name, found[name], expected[name], tolerance) for name in expected)
    return max(errors, default=0.0)


def _require_names(found: Outputs, expected: Outputs) -> None:
    if found.keys() != expected.keys():
        raise Disagreement(f"outputs are {sorted(found)}, expected {sorted(expected)}")


def _require_type(name: str, found: Array, expected: Array) -> None:
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise Disagreement(
            f"{name} is {found.dtype}{list(found.shape)}, "
            f"expected {expected.dtype}{list(expected.shape)}"
        )


def _compare(name: str, found: Array, expected: Array, allowed: Mapping[str, float]) -> float:
    _require_type(name, found, expected)
    tolerance = allowed.get(expected.dtype.name)
    if tolerance is None:
        if not np.array_equal(found, expected):
            raise Disagreement(f"{name}: {np.count_nonzero(found != expected)} values differ")
        return 0.0
    right, errors = _errors(name, found, expected)
    error = _relative(float(np.abs(errors).max(initial=0)), float(np.abs(right).max(initial=0)))
    if error > tolerance:
        raise Disagreement(f"{name} is off by {error:.1e} of its largest value")
    return error


def _errors(name: str, found: Array, expected: Array) -> tuple[Array, Array]:
    """The finite values that are right, float64, and how far what was found is from them."""
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        raise Disagreement(f"{name} has other infinities or NaNs")
    if not np.isfinite(found[finite]).all():
        raise Disagreement(f"{name} has infinities or NaNs where there should be none")
    right = expected[finite].astype(np.float64)
    return right, found[finite].astype(np.float64) - right


def _relative(error: float, size: float) -> float:
    return float(error / size if size else error)


def power_error(found: Outputs, expected: Outputs) -> float:
    """Compare outputs of int8 by name; integers, as those of classes, may differ.

    Returns:
        The root mean square of the error of any float output, over that of what is right.

    Raises:
        Disagreement: names, shapes, dtypes or special values differ, or it is above `INT8`.
    """
    _require_names(found, expected)
    worst = 0.0
    for name, right in expected.items():
        _require_type(name, found[name], right)
        if right.dtype.name not in TOLERANCE:
            continue
        values, errors = _errors(name, found[name], right)
        error = _relative(float(np.linalg.norm(errors)), float(np.linalg.norm(values)))
        if error > INT8:
            raise Disagreement(f"the error of {name} is {error:.2g} of it, by root mean square")
        worst = max(worst, error)
    return worst


def comparison(precision: str) -> Compare:
    """How results of arithmetic in ``precision`` are compared, "" and others as those of float."""
    found: dict[str, Compare] = {"bf16": partial(worst_error, tolerance=LOSSY), "int8": power_error}
    return found.get(precision, worst_error)
