"""Permuting, transforming and deleting the channels of a group, in all its weights at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup, Part
from burnish.analysis.axis_graph_heads import removal
from burnish.analysis.axis_graph_restate import restate
from burnish.analysis.axis_graph_sites import Member, Variance
from burnish.analysis.axis_graph_sizes import cannot_delete, left_of
from burnish.analysis.symmetry import Transform
from burnish.ir import Array
from burnish.rewrite import Rewriter


def permute(rw: Rewriter, group: ChannelGroup, order: Sequence[int]) -> None:
    """Let channel ``i`` be what channel ``order[i]`` was, everywhere.

    Raises:
        ValueError: some channel must stay where it is, or would change heads.
    """
    where = np.asarray(order)
    if group.fixed is not None:
        raise ValueError(f"the channels cannot be moved: {group.fixed.reason}")
    if any(tie.group is group for tie in group.ties):
        raise ValueError("the channels cannot be moved: they are heads with channels of their own")
    if not np.array_equal(np.sort(where), np.arange(group.size)):
        raise ValueError("not a permutation of the channels")
    if not np.array_equal(group.labels[where], group.labels):
        raise ValueError("channels would change heads")
    if not np.array_equal(group.kinds[where], group.kinds):
        raise ValueError("channels would change from one of several joined values to another")
    if any(part.symmetry is Transform.ROTARY for part in group.parts):
        raise ValueError("the channels cannot be moved: they turn in pairs")
    if any(part.symmetry is Transform.IDENTITY for part in group.parts):
        raise ValueError("the channels cannot be moved: heads are normalized by themselves")
    edit(rw, group.members, lambda member, rows: rows[_moved(group.channels_of(member), where)])


def transform(rw: Rewriter, group: ChannelGroup, part: Part, matrix: Array) -> None:
    """Multiply the channels of ``part`` by ``matrix`` [channels, channels]; undo it in readers.

    Raises:
        ValueError: the symmetry of ``part`` does not allow this matrix.
    """
    if not allows(part.symmetry, matrix, group.labels):
        raise ValueError(f"the channels allow {part.symmetry.value}")
    inverse = np.linalg.inv(matrix).T
    diagonal = np.count_nonzero(matrix) == group.size
    inside = [member for member in group.members if member.site in part.signs]
    if not diagonal:
        # Ones for the scale of a normalization, say: they stay what they are.
        inside = [member for member in inside if member.variance is not Variance.INVARIANT]

    def change(member: Member, rows: Array) -> Array:
        if member.variance is Variance.INVARIANT:
            pattern = (matrix != 0).astype(np.float64)
            return _mixed(group.channels_of(member), rows, pattern)
        covariant = member.variance is Variance.COVARIANT
        forward = covariant == (part.signs[member.site] > 0)
        return _mixed(group.channels_of(member), rows, matrix if forward else inverse)

    edit(rw, inside, change)


def scale(rw: Rewriter, group: ChannelGroup, part: Part, factors: Array) -> None:
    """Multiply each channel of ``part`` by its factor; undo it in readers.

    Raises:
        ValueError: the symmetry of ``part`` does not allow these factors.
    """
    transform(rw, group, part, np.diag(np.asarray(factors, np.float64)))


def allows(symmetry: Transform, matrix: Array, labels: Array) -> bool:
    """Whether ``matrix`` belongs to class ``symmetry`` and mixes only channels of equal labels."""
    size = len(labels)
    if matrix.shape != (size, size) or np.linalg.matrix_rank(matrix) < size:
        return False
    if (matrix[labels[:, None] != labels[None, :]] != 0).any():
        return False
    sparse = bool(((matrix != 0).sum(axis=0) == 1).all())
    entries = matrix[matrix != 0]
    orthogonal = bool(np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-9))
    tests: dict[Transform, bool] = {
        Transform.AFFINE: True,
        Transform.GENERAL: True,
        Transform.DIAGONAL: sparse,
        Transform.POSITIVE: sparse and bool((entries > 0).all()),
        Transform.PER_GROUP: _one_per_label(matrix, labels),
        Transform.ORTHOGONAL: orthogonal,
        Transform.ROTATION: orthogonal and bool(np.allclose(matrix.sum(axis=1), 1)),
        Transform.ROTARY: _complex_by_label(matrix, labels),
        Transform.PERMUTATION: sparse and bool((entries == 1).all()),
    }
    return tests.get(symmetry, bool(np.array_equal(matrix, np.eye(size))))


def _one_per_label(matrix: Array, labels: Array) -> bool:
    factors = np.diag(matrix)
    if not np.array_equal(matrix, np.diag(factors)) or (factors <= 0).any():
        return False
    return all(np.ptp(factors[labels == label]) == 0 for label in np.unique(labels))


def _complex_by_label(matrix: Array, labels: Array) -> bool:
    """Whether each pair of channels is multiplied by a complex number."""
    for label in np.unique(labels):
        pair = np.flatnonzero(labels == label)
        block = matrix[np.ix_(pair, pair)]
        if len(pair) != 2 or block[0, 0] != block[1, 1] or block[0, 1] != -block[1, 0]:
            return False
    return True


def edit(
    rw: Rewriter,
    members: Sequence[Member],
    change: Callable[[Member, Array], Array],
    sizes: Callable[[Member], tuple[int, ...]] = lambda member: member.numbers.shape,
) -> None:
    """Replace the constants of ``members`` by what ``change`` makes of them.

    It is given a member and its constant, float64, with channels as rows; ``sizes`` is the shape
    of its axes of channels then, by default as before.
    """
    for member in members:
        constant = member.value.constant
        assert constant is not None
        array = constant.numpy()
        rows = np.moveaxis(array, member.axes, range(len(member.axes)))
        shape = rows.shape
        flat = rows.reshape(-1, *shape[len(member.axes) :])
        changed = change(member, flat.astype(np.float64))
        back = changed.reshape(*sizes(member), *shape[len(member.axes) :])
        result = np.moveaxis(back, range(len(member.axes)), member.axes).astype(array.dtype)
        if not np.array_equal(result, array):
            rw.set_input(member.node, member.index, rw.constant(np.ascontiguousarray(result)))


def copies(channels: Array) -> Array:
    """For each place, how many places before it hold the same channel."""
    flat = channels.reshape(-1)
    order = np.argsort(flat, kind="stable")
    known = flat[order]
    ranks = np.empty(len(flat), np.int64)
    ranks[order] = np.arange(len(flat)) - np.searchsorted(known, known)
    return ranks


def _moved(channels: Array, order: Array) -> Array:
    """For each place, the place of the channel that comes there, of the same copy."""
    flat = channels.reshape(-1)
    ranks = copies(flat)
    width = int(ranks.max(initial=0)) + 1
    keys = flat * width + ranks
    places = np.argsort(keys)
    wanted = order[flat] * width + ranks
    at = np.minimum(np.searchsorted(keys[places], wanted), len(keys) - 1)
    if not np.array_equal(keys[places][at], wanted):
        raise ValueError("some channels are there more often than others")
    found: Array = places[at]
    return found


def _mixed(channels: Array, rows: Array, matrix: Array) -> Array:
    """``matrix`` applied to the channels among ``rows``, to each copy by itself."""
    flat = channels.reshape(-1)
    ranks = copies(flat)
    result = np.empty_like(rows)
    for rank in range(int(ranks.max(initial=0)) + 1):
        places = np.flatnonzero(ranks == rank)
        block = matrix[np.ix_(flat[places], flat[places])]
        result[places] = np.tensordot(block, rows[places], axes=(1, 0))
    return result


def delete(rw: Rewriter, group: ChannelGroup, indices: Sequence[int] | Array) -> None:
    """Take channels out of all weights and values of the group.

    A head that loses all its queries and keys, or all its values, goes as a whole. What the
    channels contributed is gone: fold it into biases first where it matters.

    Raises:
        ValueError: see ``cannot_delete``.
    """
    delete_together(rw, {group: indices})


def delete_together(rw: Rewriter, gone: Mapping[ChannelGroup, Sequence[int] | Array]) -> None:
    """Take channels out of several groups that were found at once, as ``delete`` does out of one.

    One after the other would not do where heads tie groups to each other: the first to go would
    take along channels of the others, which are counted otherwise from then on.

    Raises:
        ValueError: see ``cannot_delete``.
    """
    left: dict[ChannelGroup, Array] = {}
    for group, indices in gone.items():
        reason = cannot_delete(group, indices)
        if reason is not None:
            raise ValueError(reason)
        for of, kept in removal(group, indices).items():
            left[of] = kept & left.get(of, True)
    left = {of: kept for of, kept in left.items() if not kept.all()}
    for of, kept in left.items():
        _thin_out(rw, of, kept)
    restate(rw, left)
    for of, kept in left.items():
        for site in of.sites:
            shape = list(site.value.shape or ())
            if site.value.constant is None and shape:
                for axis, size in zip(site.axes, left_of(of, site, kept), strict=True):
                    shape[axis] = size
                site.value.shape = tuple(shape)


def _thin_out(rw: Rewriter, group: ChannelGroup, kept: Array) -> None:
    """Leave only channels ``kept``, bool [size], in the constants of a group."""

    def change(member: Member, rows: Array) -> Array:
        return rows[kept[group.channels_of(member).reshape(-1)]]

    edit(rw, group.members, change, lambda member: left_of(group, member, kept))
