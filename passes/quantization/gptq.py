"""Rounds weights one input after the other, each making up for the errors of those before.

Frantar et al., "GPTQ", arXiv 2210.17323: for rows ``x`` and second moments ``H = E[x x^T]`` the
change of ``|W x - Q x|^2`` by rounding one column is undone as far as the columns left can do it.
Columns with the largest moments go first; scales are fixed beforehand. With a target of its own
for what the product should give (Li et al., "GPTAQ", arXiv 2504.02692, here by least squares
first), errors of the data are made up for too.

With ``H = V V^T`` and ``V`` upper triangular the error is ``|(W - Q) V|^2``: each column decides
one term, given those before. That comes to the same numbers as factors of the inverse of ``H``,
which take far longer to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.ir import Array

BLOCK = 64
"""Columns for which the errors of all before are added up together."""


@dataclass(frozen=True)
class Factors:
    """Second moments of rows, damped and factored."""

    order: Array
    """Inputs, those with the largest moments first: ``[groups, inputs]``."""
    upper: Array
    """``V`` with ``V V^T`` the moments in that order: float64 ``[groups, inputs, inputs]``."""

    @classmethod
    def of(cls, moments: Array, damping: float = 0.01) -> Factors:
        """Factor ``E[x x^T]``, float ``[groups, inputs, inputs]``.

        Args:
            moments: of the rows.
            damping: part of the mean of the diagonal that is added to it.

        Raises:
            LinAlgError: the moments are no such matrix, for all the damping.
        """
        order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
        turned = np.stack([
            one[np.ix_(at, at)] for one, at in zip(damped(moments, damping), order[:, ::-1],
                                                   strict=True)
        ])  # fmt: skip
        return cls(order, np.ascontiguousarray(np.linalg.cholesky(turned)[:, ::-1, ::-1]))

    def sorted(self, matrices: Array) -> Array:
        """``matrices [groups, outputs, inputs]`` with inputs in that order, float64."""
        return np.take_along_axis(matrices.astype(np.float64), self.order[:, None, :], 2)

    def restored(self, matrices: Array) -> Array:
        """``matrices`` with inputs as they were before `sorted`."""
        return np.take_along_axis(matrices, np.argsort(self.order, axis=1)[:, None, :], 2)

    def solved(self, right: Array) -> Array:
        """``X`` with ``X M = right`` for the damped moments, ``[groups, outputs, inputs]``."""
        upper, result = self.upper, self.sorted(right)
        blocks = [slice(start, start + BLOCK) for start in range(0, upper.shape[1], BLOCK)]
        corners = [np.linalg.inv(upper[:, block, block]) for block in blocks]
        # First Y with Y V^T = right, of which the last columns depend on no others, ...
        for block, corner in zip(reversed(blocks), reversed(corners), strict=True):
            behind = slice(block.stop, None)
            known = result[:, :, behind] @ upper[:, block, behind].mT
            result[:, :, block] = (result[:, :, block] - known) @ corner.mT
        # ... and then X with X V = Y.
        for block, corner in zip(blocks, corners, strict=True):
            before = slice(0, block.start)
            known = result[:, :, before] @ upper[:, before, block]
            result[:, :, block] = (result[:, :, block] - known) @ corner
        return self.restored(result)


def gptq(weights: Array, steps: Array, factors: Factors, bound: int) -> Array:
    """The integers that ``weights`` are rounded to.

    Args:
        weights: float ``[groups, outputs, inputs]``.
        steps: scales, float ``[groups, outputs]``.
        factors: of the moments of the rows that they are multiplied with.
        bound: largest magnitude of the integers.
    """
    wanted, upper, scale = factors.sorted(weights), factors.upper, steps.astype(np.float64)
    result, errors = np.empty(wanted.shape), np.empty(wanted.shape)
    for start in range(0, wanted.shape[2], BLOCK):
        end = min(start + BLOCK, wanted.shape[2])
        passed = errors[:, :, :start] @ upper[:, :start, start:end]
        for column in range(start, end):
            factor = upper[:, start : column + 1, column, None]
            more = (errors[:, :, start:column] @ factor[:, :-1])[:, :, 0]
            target = wanted[:, :, column] + (passed[:, :, column - start] + more) / factor[:, -1]
            rounded = np.clip(np.rint(target / scale), -bound, bound)
            result[:, :, column] = rounded
            errors[:, :, column] = wanted[:, :, column] - rounded * scale
    return factors.restored(result)


def refitted(weights: Array, moments: Array, crossed: Array, factors: Factors) -> Array:
    """The weights that make of rounded data most nearly what ``weights`` make of the original.

    Args:
        weights: float ``[groups, outputs, inputs]``.
        moments: ``E[y y^T]`` of the rounded rows, ``[groups, inputs, inputs]``.
        crossed: ``E[x y^T]`` of original and rounded rows.
        factors: of the moments; damping keeps weights where the data say little.
    """
    change = weights.astype(np.float64) @ (crossed.astype(np.float64) - moments)
    return np.asarray(weights + factors.solved(change))


def damped(moments: Array, damping: float) -> Array:
    """``moments`` with a part of the mean of the diagonal added to it, float64."""
    result = moments.astype(np.float64)
    diagonal = np.einsum("gii->gi", result)
    diagonal += damping * diagonal.mean(1, keepdims=True)
    # Inputs that are always zero: whatever their weights are.
    diagonal[diagonal == 0] = 1.0
    return result


def output_errors(
    weights: Array, rounded: Sequence[Array], crossed: Array, moments: Array
) -> list[float]:
    """``E|W x - Q y|^2 - E|W x|^2`` over all outputs, from moments of the rows ``x`` and ``y``.

    Args:
        weights: ``W [groups, outputs, inputs]``.
        rounded: several ``Q``, as floats.
        crossed: ``E[x y^T]``.
        moments: ``E[y y^T]``.
    """
    wanted = weights.astype(np.float64) @ crossed
    return [
        float(np.vdot(q @ moments, q) - 2 * np.vdot(wanted, q))
        for q in (each.astype(np.float64) for each in rounded)
    ]
