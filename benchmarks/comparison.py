"""Whether outputs agree: the same shape, dtype and specials, and floats within a tolerance."""

from collections.abc import Mapping

import numpy as np

from benchmarks.inputs import Array

TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-2}
"""Largest error allowed, relative to the largest output, by dtype."""
LOSSY = dict.fromkeys(TOLERANCE, 0.2)
"""The same for arithmetic in bf16 that was asked for: what is beyond is a bug, not rounding."""


INT8 = dict.fromkeys(TOLERANCE, 0.5)
"""The same for integers of 8 bits, whose cost is measured on tasks."""


class Disagreement(Exception):
    """Two sets of outputs differ; the message says where and by how much."""


def worst_error(
    found: Mapping[str, Array],
    expected: Mapping[str, Array],
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
    if found.keys() != expected.keys():
        raise Disagreement(f"outputs are {sorted(found)}, expected {sorted(expected)}")
    errors = (_compare(name, found[name], expected[name], tolerance) for name in expected)
    return max(errors, default=0.0)


def _compare(name: str, found: Array, expected: Array, allowed: Mapping[str, float]) -> float:
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise Disagreement(
            f"{name} is {found.dtype}{list(found.shape)}, "
            f"expected {expected.dtype}{list(expected.shape)}"
        )
    tolerance = allowed.get(expected.dtype.name)
    if tolerance is None:
        if not np.array_equal(found, expected):
            raise Disagreement(f"{name}: {np.count_nonzero(found != expected)} values differ")
        return 0.0
    error = _relative_error(name, found.astype(np.float64), expected.astype(np.float64))
    if error > tolerance:
        raise Disagreement(f"{name} is off by {error:.1e} of its largest value")
    return error


def _relative_error(name: str, found: Array, expected: Array) -> float:
    """Return the largest error of the finite values over the largest of them."""
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        raise Disagreement(f"{name} has other infinities or NaNs")
    if not np.isfinite(found[finite]).all():
        raise Disagreement(f"{name} has infinities or NaNs where there should be none")
    if not finite.any():
        return 0.0
    error = float(np.abs(found[finite] - expected[finite]).max())
    largest = float(np.abs(expected[finite]).max())
    return error / largest if largest else error
