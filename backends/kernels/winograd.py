"""Winograd's minimal filtering for kernels of three taps: the matrices of its transforms.

``m`` adjacent outputs of a kernel of 3 taps need ``m + 2`` products instead of ``3 m``
(Winograd 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015):

    y = A^T ((G g) * (B^T d)),   in two dimensions   Y = A^T ((G g G^T) * (B^T d B)) A

The matrices follow from polynomials that are interpolated at ``m + 1`` points and at infinity
(Toom and Cook). Rounding errors depend on the points. Pairs ``+-c, +-1/c`` balance the magnitudes
of all three matrices (Alam et al., Winograd Convolution for Deep Neural Networks: Efficient Point
Selection, 2022); ``c**2 = 2`` keeps nearly all factors exact. Against the points 0, +-1, +-2 that
are common this divides the error of four outputs by 4 to 6, to 2 or 3 times a direct sum's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from burnish.backends.kernels.geometry import Axis

KERNEL = 3
"""Taps of the kernels."""

_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, sqrt(0.5), -sqrt(0.5), sqrt(2.0), -sqrt(2.0))}
"""Finite interpolation points by the number of outputs."""

OUTPUTS = tuple(_POINTS)
"""Numbers of outputs along an axis that there are transforms for."""

Matrix = NDArray[np.float64]


def is_filter(axes: Sequence[Axis]) -> bool:
    """Whether `axes` are those of 3x3 taps, neither strided nor dilated."""
    taps = {(axis.kernel, axis.stride, axis.dilation, axis.transposed) for axis in axes}
    return len(axes) == 2 and taps == {(KERNEL, 1, 1, False)}


@dataclass(frozen=True)
class Transforms:
    """The matrices for ``m`` outputs along an axis, with ``n = m + 2``."""

    data: Matrix
    """``B^T [n, n]``, for inputs."""
    kernel: Matrix
    """``G [n, 3]``, for weights."""
    result: Matrix
    """``A^T [m, n]``, for sums of products."""


def transforms(outputs: int) -> Transforms:
    """The transforms for ``outputs`` adjacent outputs, one of `OUTPUTS`."""
    points = _POINTS[outputs]
    size = outputs + KERNEL - 1
    data, kernel, result = (
        np.zeros((size, size)),
        np.zeros((size, KERNEL)),
        np.zeros((outputs, size)),
    )
    for row, point in enumerate(points):
        others = [other for other in points if other is not point]
        data[row, : size - 1] = np.poly(others)[::-1]
        kernel[row] = point ** np.arange(KERNEL) / prod(point - other for other in others)
        result[:, row] = point ** np.arange(outputs)
    data[-1] = np.poly(points)[::-1]
    kernel[-1, -1] = result[-1, -1] = 1
    return Transforms(_exact(data), _exact(kernel), _exact(result))


def _exact(matrix: Matrix) -> Matrix:
    """Without the last bits that make zeros and equal magnitudes of a matrix look different."""
    return np.round(matrix, 14) + 0.0
