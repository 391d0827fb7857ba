"""Weights as kernels read them: blocks of one vector of output columns, zero padded.

Packing runs once, at compile time, on numpy arrays.
"""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.generic]


def lane_count(columns: int, lanes: int) -> int:
    """Columns of one packed block: ``lanes``, or less where vectors would be padding in good part.

    Half of a 512-bit vector costs half its time or little more, so a quarter of padding is enough
    to prefer it; narrower ones only pay where nothing else is left.
    """
    if lanes == 16 and _padded(columns, 16) * 3 >= _padded(columns, 8) * 4:
        lanes = 8
    while lanes > 4 and columns <= lanes // 2:
        lanes //= 2
    return lanes


def _padded(columns: int, lanes: int) -> int:
    return -(-columns // lanes) * lanes


def pack_product(weights: Weights, lanes: int) -> Weights:
    """``[K, N]`` to ``[ceil(N / lanes), K, lanes]``."""
    depth, columns = weights.shape
    padded = np.zeros((depth, _padded(columns, lanes)), weights.dtype)
    padded[:, :columns] = weights
    return np.ascontiguousarray(padded.reshape(depth, -1, lanes).transpose(1, 0, 2))


def pack_convolution(weights: Weights, lanes: int, groups: int = 1) -> Weights:
    """``[O, I / groups, *kernel]`` to ``[groups * blocks, *kernel, I / groups, lanes]``."""
    outputs, depth, *kernel = weights.shape
    columns = outputs // groups
    padded = np.zeros((groups, _padded(columns, lanes), depth, *kernel), weights.dtype)
    padded[:, :columns] = weights.reshape(groups, columns, depth, *kernel)
    blocked = padded.reshape(-1, lanes, depth, *kernel)
    return np.ascontiguousarray(np.moveaxis(blocked, (2, 1), (-2, -1)))


def pack_transposed_convolution(weights: Weights, lanes: int, groups: int = 1) -> Weights:
    """``[I, O / groups, *kernel]`` to the layout of `pack_convolution`."""
    return pack_convolution(forward(weights, groups), lanes, groups)


def forward(weights: Weights, groups: int = 1) -> Weights:
    """``[I, O / groups, *kernel]`` of a transposed convolution as ``[O, I / groups, *kernel]``."""
    inputs, columns, *kernel = weights.shape
    grouped = weights.reshape(groups, inputs // groups, columns, *kernel)
    return grouped.swapaxes(1, 2).reshape(groups * columns, inputs // groups, *kernel)


def mirrored(weights: Weights) -> Weights:
    """``[O, I, *kernel]`` with kernel positions in opposite order along each axis."""
    return np.flip(weights, tuple(range(2, weights.ndim)))


def pack_depthwise(weights: Weights) -> Weights:
    """``[C, 1, *kernel]`` to ``[*kernel, C]``."""
    return np.ascontiguousarray(np.moveaxis(weights[:, 0], 0, -1))


def pairs(packed: Weights) -> Weights:
    """``[..., K, lanes]`` to ``[..., ceil(K / 2), lanes, 2]``, both of a pair side by side."""
    *lead, depth, lanes = packed.shape
    padded = np.zeros((*lead, depth + depth % 2, lanes), packed.dtype)
    padded[..., :depth, :] = packed
    paired = padded.reshape(*lead, -1, 2, lanes)
    return np.ascontiguousarray(np.swapaxes(paired, -1, -2))


def quads(packed: Weights) -> Weights:
    """``[..., K, lanes]`` to ``[..., ceil(K / 4), lanes, 4]``, all of a quad side by side.

    Where 4 does not divide ``K``, the last quad takes the last four, those in it that another one
    has as zeros: so nobody reads beyond them. Zeros come last where there are fewer than four.
    """
    *lead, depth, lanes = packed.shape
    count = -(-depth // 4)
    padded = np.zeros((*lead, count * 4, lanes), packed.dtype)
    whole = depth // 4 * 4
    padded[..., :whole, :] = packed[..., :whole, :]
    rest = depth - whole
    if rest:
        start = count * 4 - rest if depth > 4 else whole
        padded[..., start : start + rest, :] = packed[..., whole:, :]
    return np.ascontiguousarray(np.swapaxes(padded.reshape(*lead, count, 4, lanes), -1, -2))
