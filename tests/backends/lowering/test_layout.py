"""Layouts against numpy: the bytes must be where a layout says."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from burnish.backends.lowering.layout import (
    channels_last,
    extend,
    factor,
    identity,
    physical,
    reshaped,
    same_storage,
    transposed,
)

shapes = st.lists(st.integers(1, 4), min_size=0, max_size=4).map(tuple)


@st.composite
def arranged(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = draw(shapes)
    return shape, tuple(draw(st.permutations(range(len(shape)))))


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    shape, layout = draw(arranged())
    factors = [p for size in shape for p in ((2, 2) if size == 4 else (size,)) if p > 1]
    cuts = draw(st.lists(st.integers(0, len(factors)), max_size=3).map(sorted))
    edges = [0, *cuts, len(factors)]
    new = tuple(math.prod(factors[a:b]) for a, b in itertools.pairwise(edges))
    return shape, new, layout


def stored(array: np.ndarray, layout: tuple[int, ...]) -> np.ndarray:
    """The elements of ``array`` as they lie in memory."""
    return np.ascontiguousarray(array.transpose(layout)).reshape(-1)


@given(arranged(), st.data())
def test_transpose_renames_axes(case: tuple[tuple[int, ...], ...], data: st.DataObject) -> None:
    shape, layout = case
    permutation = data.draw(st.permutations(range(len(shape))))
    array = np.arange(math.prod(shape)).reshape(shape)
    result = array.transpose(permutation)
    np.testing.assert_array_equal(
        stored(array, layout), stored(result, transposed(layout, permutation))
    )


@given(reshapes())
def test_reshape_keeps_bytes_in_place(case: tuple[tuple[int, ...], ...]) -> None:
    old, new, layout = case
    array = np.arange(math.prod(old)).reshape(old)
    found = reshaped(old, new, layout)
    if found is not None:
        np.testing.assert_array_equal(stored(array, layout), stored(array.reshape(new), found))
    else:
        assert not same_storage(old, layout, identity(len(old)))


@given(reshapes())
def test_blocks_cover_all_axes_and_match(case: tuple[tuple[int, ...], ...]) -> None:
    old, new, _ = case
    blocks = factor(old, new)
    assert blocks is not None
    assert [axis for block, _ in blocks for axis in block] == list(range(len(old)))
    assert [axis for _, block in blocks for axis in block] == list(range(len(new)))
    for before, after in blocks:
        assert math.prod(old[a] for a in before) == math.prod(new[a] for a in after)


@given(arranged(), st.data())
def test_same_storage_is_what_numpy_says(
    case: tuple[tuple[int, ...], ...], data: st.DataObject
) -> None:
    shape, layout = case
    other = tuple(data.draw(st.permutations(range(len(shape)))))
    array = np.arange(math.prod(shape)).reshape(shape)
    expected = bool((stored(array, layout) == stored(array, other)).all())
    assert same_storage(shape, layout, other) == expected


def test_channels_last_and_broadcasting() -> None:
    assert channels_last(4) == (0, 2, 3, 1)
    assert channels_last(2) == (0, 1)
    assert physical((1, 2, 3, 4), channels_last(4)) == (1, 3, 4, 2)
    assert extend((1, 0), 4) == (0, 1, 3, 2)


def test_merging_axes_that_lie_apart_moves_bytes() -> None:
    # Channels last: H and W are adjacent, C and H are not.
    assert reshaped((2, 3, 4, 5), (2, 3, 20), (0, 2, 3, 1)) == (0, 2, 1)
    assert reshaped((2, 3, 4, 5), (2, 12, 5), (0, 2, 3, 1)) is None


def test_empty_tensors_have_no_blocks() -> None:
    assert factor((0, 3), (3, 0)) is None
