"""How an array that broadcasts against a value follows that value through a reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from burnish.analysis.sizes import Amount, equal, from_dim, times
from burnish.ir import Array, Dim

MAX_ELEMENTS = 1 << 22

Groups: TypeAlias = list[tuple[range, range]]
"""Neighbouring axes of the source and of the target that hold the same elements."""


def regroup(array: Array, source: Sequence[Dim], target: Sequence[Dim]) -> Array | None:
    """``array`` for a value of shape ``source`` once that is reshaped to ``target``.

    None if ``array`` differs along axes of which it is not known where they go.
    """
    if array.size == 1:
        return array.reshape((1,) * len(target))
    full, result = list(array.shape), [1] * len(target)
    for old, new in aligned(source, target):
        if all(array.shape[axis] == 1 for axis in old):
            continue
        known = [size for axes, of in ((old, source), (new, target)) for size in _sizes(axes, of)]
        if len(known) != len(old) + len(new):
            return None
        full[old.start : old.stop] = known[: len(old)]
        result[new.start : new.stop] = known[len(old) :]
    if math.prod(full) != math.prod(result) or math.prod(full) > MAX_ELEMENTS:
        return None
    return np.broadcast_to(array, full).reshape(result)


def _sizes(axes: range, shape: Sequence[Dim]) -> list[int]:
    return [size for size in shape[axes.start : axes.stop] if isinstance(size, int)]


def aligned(source: Sequence[Dim], target: Sequence[Dim]) -> Groups:
    """The finest groups of axes, from the front and from the back; the rest is one group."""
    front = _leading(source, target)
    i, j = (front[-1][0].stop, front[-1][1].stop) if front else (0, 0)
    back = [
        (_mirrored(old, len(source)), _mirrored(new, len(target)))
        for old, new in reversed(_leading(source[i:][::-1], target[j:][::-1]))
    ]
    end = (back[0][0].start, back[0][1].start) if back else (len(source), len(target))
    middle = [(range(i, end[0]), range(j, end[1]))]
    return [*front, *(g for g in middle if g[0] or g[1]), *back]


def _mirrored(axes: range, rank: int) -> range:
    return range(rank - axes.stop, rank - axes.start)


def _leading(source: Sequence[Dim], target: Sequence[Dim]) -> Groups:
    """Groups from the front as far as sizes are known to agree."""
    groups: Groups = []
    i = j = 0
    while i < len(source) and j < len(target):
        start, left, right = (i, j), from_dim(source[i]), from_dim(target[j])
        i, j = i + 1, j + 1
        while not equal(left, right):
            take = _shorter(left, right)
            if take == "left" and i < len(source):
                left, i = times(left, from_dim(source[i])), i + 1
            elif take == "right" and j < len(target):
                right, j = times(right, from_dim(target[j])), j + 1
            else:
                return groups
        groups.append((range(start[0], i), range(start[1], j)))
    return groups


def _shorter(left: Amount, right: Amount) -> str:
    """Which of two products needs another size, empty if that cannot be told."""
    if left is None or right is None or left == 0 or right == 0:
        return ""
    if isinstance(left, int) and isinstance(right, int):
        return "left" if left < right else "right"
    if isinstance(left, int):
        return "left"
    return "right" if isinstance(right, int) else ""
