"""Products of small constant matrices and vectors that are held in registers."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Stmt

from burnish.backends.cpu.schedule.build import bind

Matrix = NDArray[np.float64]


def in_two_dimensions(
    matrix: Matrix, load: Callable[[int, int], Expr], statements: list[Stmt]
) -> list[Expr]:
    """``matrix @ x @ matrix.T`` of vectors ``x[r][c] = load(r, c)``, row by row.

    The computation goes to `statements`.
    """
    size = matrix.shape[1]
    columns = [
        transform(matrix, [bind(load(r, c), statements, "x") for r in range(size)], statements)
        for c in range(size)
    ]
    rows = [
        transform(matrix, [column[r] for column in columns], statements) for r in range(len(matrix))
    ]
    return [value for row in rows for value in row]


def transform(matrix: Matrix, vectors: Sequence[Expr], statements: list[Stmt]) -> list[Expr]:
    """``matrix @ vectors``, with sums that differ only in signs computed once.

    Columns of equal magnitudes act on the sum and the difference of their vectors; what rows of
    equal magnitudes add and subtract is shared.
    """
    matrix, vectors = _merge_columns(matrix, vectors, statements)
    found: dict[int, Expr] = {}
    for row in range(len(matrix)):
        if row in found:
            continue
        other = _partner(matrix, row)
        if other is None:
            found[row] = _bound(_sum(matrix[row], vectors), statements)
            continue
        same = np.where(matrix[row] == matrix[other], matrix[row], 0)
        opposite = matrix[row] - same
        factor = opposite[np.flatnonzero(opposite)[-1]]
        even = _bound(_sum(same, vectors), statements)
        odd = _bound(_sum(opposite / factor, vectors), statements)
        found[row] = _bound(_plus(even, float(factor), odd), statements)
        found[other] = _bound(_plus(even, -float(factor), odd), statements)
    return [found[row] for row in range(len(matrix))]


def _partner(matrix: Matrix, row: int) -> int | None:
    """A later row with the same magnitudes, equal in some places and opposite in others."""
    for other in range(row + 1, len(matrix)):
        if np.array_equal(abs(matrix[row]), abs(matrix[other])):
            same = matrix[row] == matrix[other]
            used = matrix[row] != 0
            if (same & used).any() and (~same & used).any():
                return other
    return None


def _merge_columns(
    matrix: Matrix, vectors: Sequence[Expr], statements: list[Stmt]
) -> tuple[Matrix, list[Expr]]:
    """Replace pairs of columns of equal magnitudes by those of a sum and a difference."""
    columns: list[NDArray[np.float64]] = []
    merged: list[Expr] = []
    left = list(range(matrix.shape[1]))
    if len(matrix) == matrix.shape[1]:
        return matrix, list(vectors)
    while left:
        first = left.pop(0)
        column = matrix[:, first]
        pairs = [c for c in left if np.array_equal(abs(matrix[:, c]), abs(column))]
        if not pairs:
            columns.append(column)
            merged.append(vectors[first])
            continue
        second = pairs[0]
        left.remove(second)
        same = np.where(matrix[:, second] == column, column, 0)
        columns += [same, column - same]
        merged.append(_bound(vectors[first] + vectors[second], statements))
        merged.append(_bound(vectors[first] - vectors[second], statements))
    return np.stack(columns, 1), merged


def _sum(factors: NDArray[np.float64], vectors: Sequence[Expr]) -> Expr:
    # Factors of one first: what they start needs no multiplication.
    used = [int(k) for k in np.flatnonzero(factors)]
    order = sorted(used, key=lambda k: bool(abs(factors[k]) != 1))
    total: Expr | None = None
    for k in order:
        total = _plus(total, float(factors[k]), vectors[k])
    assert total is not None
    return total


def _plus(total: Expr | None, factor: float, vector: Expr) -> Expr:
    if total is None and factor == 1:
        return vector
    if total is not None and abs(factor) == 1:
        return total + vector if factor > 0 else total - vector
    scaled = vector * tirx.const(factor, vector.ty)
    return scaled if total is None else total + scaled


def _bound(value: Expr, statements: list[Stmt]) -> Expr:
    bound = bind(value, statements, "t")
    assert isinstance(bound, Expr)
    return bound
