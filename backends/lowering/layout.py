"""Physical layouts: in which order the axes of each value lie in memory.

A layout is a permutation: physical axis ``i`` holds logical axis ``layout[i]``. Convolutions want
channels last, elementwise operators take what they are given, and a Transpose costs nothing: it
only renames axes. What needs another order than a value has gets a copy, made once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

Layout: TypeAlias = tuple[int, ...]


def identity(rank: int) -> Layout:
    """Row-major order of the logical axes."""
    return tuple(range(rank))


def channels_last(rank: int) -> Layout:
    """N, spatial axes, C for a logical N, C, spatial axes."""
    return (0, *range(2, rank), 1)


def spatial_last(before: Sequence[int], after: Sequence[int]) -> Layout:
    """Channels last, for an operator from N, C, spatial sizes ``before`` to sizes ``after``.

    Kernels tile the last spatial axis, so those that have one position only come first.
    """
    axes = range(2, len(before))
    single = [axis for axis in axes if before[axis] == after[axis] == 1]
    return (0, *single, *(axis for axis in axes if axis not in single), 1)


def spatial_order(layout: Layout) -> tuple[int, ...]:
    """The order of the spatial axes in a layout that `spatial_last` made, counted from 0."""
    return tuple(axis - 2 for axis in layout[1:-1])


def physical(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Sizes in memory order."""
    return tuple(shape[axis] for axis in layout)


def same_storage(shape: Sequence[int], a: Layout, b: Layout) -> bool:
    """Whether both orders store a tensor of ``shape`` alike; axes of size 1 move freely."""
    if a == b:
        return True
    return [x for x in a if shape[x] != 1] == [x for x in b if shape[x] != 1]


def transposed(layout: Layout, permutation: Sequence[int]) -> Layout:
    """Layout of Transpose's result over the same bytes."""
    inverse = {axis: j for j, axis in enumerate(permutation)}
    return tuple(inverse[axis] for axis in layout)


def without(layout: Layout, axis: int) -> Layout:
    """Layout of what is left where ``axis`` is dropped."""
    return tuple(other - (other > axis) for other in layout if other != axis)


def reshaped(old: Sequence[int], new: Sequence[int], layout: Layout) -> Layout | None:
    """Layout of a Reshape's result over the same bytes, None if the bytes have to move."""
    if same_storage(old, layout, identity(len(old))):
        return identity(len(new))
    blocks = factor(old, new)
    if blocks is None:
        return None
    result: list[int] = []
    position = [axis for axis in layout if old[axis] != 1]
    done: set[int] = set()
    for axis in position:
        if axis in done:
            continue
        block = next(block for block in blocks if axis in block[0])
        run = [a for a in block[0] if old[a] != 1]
        start = position.index(axis)
        # Axes that a block merges or splits must lie next to each other, in order.
        if position[start : start + len(run)] != run:
            return None
        done.update(run)
        result += [b for b in block[1] if new[b] != 1]
    rest = [b for b in range(len(new)) if b not in result]
    return tuple(rest + result)


def factor(
    old: Sequence[int], new: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """Split a reshape into smallest independent blocks of old axes and new axes.

    Axes of size 1 belong to the block at hand. None if a size is 0.
    """
    if math.prod(old) == 0:
        return None
    blocks: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        left = right = 1
        if i < len(old):
            left, i = old[i], i + 1
        if j < len(new):
            right, j = new[j], j + 1
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        blocks.append((tuple(range(start_i, i)), tuple(range(start_j, j))))
    return blocks


def extend(layout: Layout, rank: int) -> Layout:
    """Layout after prepending axes of size 1 up to ``rank``, as broadcasting does."""
    added = rank - len(layout)
    return (*range(added), *(axis + added for axis in layout))
