"""Sizes of values, and of what they are parts of: how far apart their elements lie.

A part has ``shape``, and lies ``within`` sizes, one for each axis: the product of those that follow
an axis is the distance of its elements. Where these are its own sizes, it is contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def is_contiguous(shape: Sequence[int], within: Sequence[int]) -> bool:
    """Whether elements of ``shape``, in rows as long as those of ``within``, follow each other."""
    own = pitch = 1
    for size, extent in zip(reversed(shape), reversed(within), strict=True):
        if size != 1 and own != pitch:
            return False
        own, pitch = own * size, pitch * extent
    return True


def reshaped_within(
    shape: Sequence[int], within: Sequence[int], new: Sequence[int]
) -> tuple[int, ...] | None:
    """What the same elements in the ``new`` shape lie within; None if that cannot be said."""
    if math.prod(shape) == 0:
        return None
    distances = _distances(_runs(shape, within), new)
    if distances is None:
        return None
    found, inner = [], 1
    for size, outer in zip(reversed(new), reversed([None, *distances[:-1]]), strict=True):
        # Nothing lies beyond an axis that has no longer one before it.
        extent, rest = (size, 0) if outer is None else divmod(outer, inner)
        if rest or extent < size:
            return None
        found.append(extent)
        inner *= extent
    return tuple(reversed(found))


def row_length(shape: Sequence[int], within: Sequence[int]) -> int:
    """Elements that follow each other before the first gap."""
    return next((size for size, _ in reversed(_runs(shape, within))), 1)


def _runs(shape: Sequence[int], within: Sequence[int]) -> list[tuple[int, int]]:
    """Elements that lie equally far apart, as their number and distance; the innermost last."""
    runs: list[tuple[int, int]] = []
    pitch = 1
    for size, extent in zip(reversed(shape), reversed(within), strict=True):
        if runs and runs[0][0] * runs[0][1] == pitch:
            runs[0] = (runs[0][0] * size, runs[0][1])
        elif size != 1:
            runs.insert(0, (size, pitch))
        pitch *= extent
    return runs


def _distances(runs: Sequence[tuple[int, int]], new: Sequence[int]) -> list[int | None] | None:
    """How far apart the elements of each axis lie; axes of one take after the one before them.

    None for axes of one without any longer one before them. None for all if some axis would need
    two distances.
    """
    pending = list(runs)
    left, distance = pending.pop() if pending else (1, 1)
    if distance != 1:
        return None
    found: list[int | None] = []
    for size in reversed(new):
        if size == 1:
            found.append(None)
            continue
        if left == 1:
            left, distance = pending.pop()
        if left % size:
            return None
        found.append(distance)
        left, distance = left // size, distance * size
    found.reverse()
    for axis in range(1, len(found)):
        found[axis] = found[axis - 1] if found[axis] is None else found[axis]
    return found
