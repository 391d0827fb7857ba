"""Rounds weights one input after the other, each making up for the errors of those before.

Frantar et al., "GPTQ", arXiv 2210.17323: for rows ``x`` and second moments ``H = E[x x^T]`` the
change of ``|W x - Q x|^2`` by rounding one column is undone as far as the columns left can do it.
Columns with the largest moments go first; scales are fixed beforehand. With a target of its own
for what the product should give (Li et al., "GPTAQ", arXiv 2504.02692, here by least squares
first), errors of the data are made up for too.
"""

from __future__ import annotations

import numpy as np

from burnish.ir import Array

BLOCK = 128
"""Columns whose errors are passed on to those behind together."""


def gptq(weights: Array, steps: Array, moments: Array, bound: int, damping: float = 0.01) -> Array:
    """The integers that ``weights`` are rounded to.

    Args:
        weights: float ``[groups, outputs, inputs]``.
        steps: scales, float ``[groups, outputs]``.
        moments: ``E[x x^T]``, float ``[groups, inputs, inputs]``.
        bound: largest magnitude of the integers.
        damping: part of the mean of the diagonal that is added to it.

    Raises:
        LinAlgError: the moments are no such matrix, for all the damping.
    """
    groups, _, inputs = weights.shape
    diagonal = np.diagonal(moments, axis1=1, axis2=2)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    hessian = damped(moments, damping)
    hessian = np.stack([h[np.ix_(o, o)] for h, o in zip(hessian, order, strict=True)])
    factors = _inverse_factors(hessian)
    left = np.take_along_axis(weights.astype(np.float64), order[:, None, :], 2)
    result = np.empty(left.shape)
    scale = steps.astype(np.float64)
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        errors = np.empty((groups, left.shape[1], end - start))
        for column in range(start, end):
            rounded = np.clip(np.rint(left[:, :, column] / scale), -bound, bound)
            result[:, :, column] = rounded
            row = factors[:, column, column:end]
            error = (left[:, :, column] - rounded * scale) / row[:, :1]
            left[:, :, column:end] -= error[:, :, None] * row[:, None, :]
            errors[:, :, column - start] = error
        left[:, :, end:] -= errors @ factors[:, start:end, end:]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(result, back[:, None, :], 2)


def refitted(weights: Array, moments: Array, crossed: Array, damping: float = 0.01) -> Array:
    """The weights that make of rounded data most nearly what ``weights`` make of the original.

    Args:
        weights: float ``[groups, outputs, inputs]``.
        moments: ``E[y y^T]`` of the rounded rows, ``[groups, inputs, inputs]``.
        crossed: ``E[x y^T]`` of original and rounded rows.
        damping: keeps weights where the data say little, as in `gptq`.

    Raises:
        LinAlgError: the moments are no such matrix, for all the damping.
    """
    change = weights.astype(np.float64) @ (crossed.astype(np.float64) - moments)
    solved = np.linalg.solve(damped(moments, damping), change.transpose(0, 2, 1))
    return np.asarray(weights + solved.transpose(0, 2, 1))


def damped(moments: Array, damping: float) -> Array:
    """``moments`` with a part of the mean of the diagonal added to it, float64."""
    result = moments.astype(np.float64)
    diagonal = np.einsum("gii->gi", result)
    diagonal += damping * diagonal.mean(1, keepdims=True)
    # Inputs that are always zero: whatever their weights are.
    diagonal[diagonal == 0] = 1.0
    return result


def output_error(
    weights: Array, rounded: Array, original: Array, crossed: Array, moments: Array
) -> float:
    """``E|W x - Q y|^2`` over all outputs, from moments of the rows ``x`` and ``y``.

    Args:
        weights: ``W [groups, outputs, inputs]``.
        rounded: ``Q``, as floats.
        original: ``E[x x^T]``.
        crossed: ``E[x y^T]``.
        moments: ``E[y y^T]``.
    """
    w, q = weights.astype(np.float64), rounded.astype(np.float64)
    wanted = np.vdot(w @ original, w)
    return float(wanted - 2 * np.vdot(w @ crossed, q) + np.vdot(q @ moments, q))


def _inverse_factors(hessian: Array) -> Array:
    """Upper triangular ``U`` with ``U^T U`` the inverse of each matrix."""
    turned = np.linalg.cholesky(hessian[:, ::-1, ::-1])[:, ::-1, ::-1]
    return np.linalg.inv(turned)
