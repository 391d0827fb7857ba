"""How operators that move data move channels: Reshape, Transpose, Slice, Concat and their kin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from burnish.analysis.axis_graph_sites import Site, Sites
from burnish.analysis.symmetry import Transform
from burnish.ir import Array, Dim, OperatorNode, VariableNode

Handler: TypeAlias = Callable[[Sites, OperatorNode], None]

MAX_BLOCK = 1 << 20
"""Elements of the block of axes that a Reshape may mix with channels."""


def integers(node: OperatorNode, index: int, attribute: str = "") -> list[int] | None:
    """Constant input ``index``, or in older opsets ``attribute``, as a list of integers."""
    if attribute and attribute in node.attributes:
        found = node.attributes[attribute]
        return [found] if isinstance(found, int) else list(found)
    constant = node.constant_input(index)
    if constant is None or not constant.dtype.is_integer:
        return None
    return [int(item) for item in constant.numpy().reshape(-1)]


def transpose(sites: Sites, node: OperatorNode) -> None:
    """Axes change places; the numbers are transposed if their order changes."""
    sites.source(node, 0)
    source = node.inputs[0]
    rank = source.rank if source is not None else None
    if rank is None:
        return sites.pin(source, "the rank is unknown", node)
    order = node.attribute("perm") or tuple(reversed(range(rank)))
    for site in sites.sites(source):
        places = [order.index(axis) for axis in site.axes]
        arrangement = np.argsort(places)
        axes = tuple(sorted(places))
        numbers = site.numbers
        if list(arrangement) != list(range(len(axes))):
            numbers = np.transpose(numbers, arrangement)
        sites.carry(node, site, node.output, axes=axes, numbers=numbers)


def reshape(sites: Sites, node: OperatorNode) -> None:
    """Reshape, Squeeze, Unsqueeze, Flatten.

    Each site goes to the axes that its own axes are split into or merged with.
    """
    sites.source(node, 0)
    source, target = node.inputs[0], node.output
    assert source is not None
    for site in sites.sites(source):
        moved = _reshaped(site, source.shape, target.shape)
        if moved is None:
            sites.bound(
                site,
                Transform.IDENTITY,
                f"{node.op_type} mixes channels with axes of open size",
                node,
            )
        else:
            axes, numbers = moved
            new = sites.carry(node, site, target, axes=axes, numbers=numbers)
            sites.resized.append((node, site, new))


def _reshaped(
    site: Site, before: Sequence[Dim] | None, after: Sequence[Dim] | None
) -> tuple[tuple[int, ...], Array] | None:
    """Axes and numbers of ``site`` after a Reshape, None if they cannot be told."""
    if before is None or after is None:
        return None
    lengths = {axis: n for axis, n in enumerate(before) if isinstance(n, int)}
    new_lengths = {axis: n for axis, n in enumerate(after) if isinstance(n, int)}
    axes: list[int] = []
    parts: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for old, new in _blocks(before, after):
        if not set(old) & set(site.axes):
            continue
        sizes = [*(before[axis] for axis in old), *(after[axis] for axis in new)]
        if not all(isinstance(size, int) for size in sizes):
            return None
        parts.append((old, new))
    numbers = site.numbers
    # One block after another: numbers over the axes of the block, then over its new axes.
    shape: list[int] = []
    fill: list[int] = []
    for old, new in parts:
        fill += [lengths[a] if a in site.axes else 1 for a in old]
        shape += [lengths[a] for a in old]
        axes += new
    if np.prod(shape, dtype=np.int64) > MAX_BLOCK:
        return None
    wide = np.broadcast_to(numbers.reshape(fill), shape)
    wide = wide.reshape([new_lengths[a] for a in axes])
    return _narrow(tuple(axes), wide)


def _narrow(axes: tuple[int, ...], numbers: Array) -> tuple[tuple[int, ...], Array]:
    """Leave out axes along which ``numbers`` does not change."""
    kept = []
    for position, axis in reversed(list(enumerate(axes))):
        first = np.take(numbers, [0], position)
        if numbers.shape[position] == 1 or (numbers == first).all():
            numbers = first.squeeze(position)
        else:
            kept.append(axis)
    return tuple(reversed(kept)), numbers


def _blocks(
    before: Sequence[Dim], after: Sequence[Dim]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Runs of axes, as short as possible, that hold the same elements on both sides."""
    cuts = set(_cuts(before, after))
    for i, j in _cuts(before[::-1], after[::-1]):
        cuts.add((len(before) - i, len(after) - j))
    blocks = []
    last = 0, 0
    for cut in sorted(cuts):
        if cut != last and cut[0] >= last[0] and cut[1] >= last[1]:
            blocks.append((tuple(range(last[0], cut[0])), tuple(range(last[1], cut[1]))))
            last = cut
    return blocks


def _cuts(before: Sequence[Dim], after: Sequence[Dim]) -> Iterator[tuple[int, int]]:
    """Where as many elements have been passed on both sides, counted from the front."""
    places: dict[Hashable, list[int]] = {}
    for position, key in _products(before):
        places.setdefault(key, []).append(position)
    met: dict[Hashable, int] = {}
    for position, key in _products(after):
        found = places.get(key, ())
        rank = met.get(key, 0)
        met[key] = rank + 1
        if rank < len(found):
            yield found[rank], position


def _products(sizes: Sequence[Dim]) -> Iterator[tuple[int, Hashable]]:
    """How many elements the first axes hold: an amount and named sizes, up to an unknown one."""
    amount, names = 1, Counter[str]()
    yield 0, (1, frozenset[tuple[str, int]]())
    for position, size in enumerate(sizes):
        if size is None:
            return
        if isinstance(size, int):
            amount *= size
        else:
            names[size] += 1
        yield position + 1, (amount, frozenset(names.items()))


def expand(sites: Sites, node: OperatorNode) -> None:
    """Axes get longer, but not those of channels."""
    sites.source(node, 0)
    source = node.inputs[0]
    shift = _rank_gain(source, node.output)
    for site in sites.sites(source):
        axes = tuple(axis + shift for axis in site.axes) if shift is not None else None
        if axes is None or not _keeps_sizes(node.output, axes, site):
            sites.bound(site, Transform.IDENTITY, f"{node.op_type} repeats channels", node)
        else:
            new = sites.carry(node, site, node.output, axes=axes)
            sites.resized.append((node, site, new))


def _rank_gain(source: VariableNode | None, target: VariableNode) -> int | None:
    if source is None or source.rank is None or target.rank is None:
        return None
    return target.rank - source.rank


def _keeps_sizes(target: VariableNode, axes: tuple[int, ...], site: Site) -> bool:
    shape = target.shape
    return shape is not None and tuple(shape[axis] for axis in axes) == site.numbers.shape


def concat(sites: Sites, node: OperatorNode) -> None:
    """Channels of several values side by side, or several values with the same channels."""
    rank = node.output.rank
    if rank is None:
        return unknown(sites, node)
    axis = int(node.attribute("axis", 0)) % rank
    for index in range(len(node.inputs)):
        sites.source(node, index)
    parts = [sites.site(value, axis) for value in node.inputs]
    if any(part is not None for part in parts):
        _side_by_side(sites, node, axis, parts)
    _one_after_another(sites, node, axis)


def _side_by_side(
    sites: Sites, node: OperatorNode, axis: int, parts: Sequence[Site | None]
) -> None:
    """Channels are joined along their own axis: the result has all of them."""
    present = [part for part in parts if part is not None]
    axes = present[0].axes
    shapes = {
        tuple(n for a, n in zip(part.axes, part.numbers.shape, strict=True) if a != axis)
        for part in present
    }
    if len(present) < len(parts) or any(p.axes != axes for p in present) or len(shapes) > 1:
        for part in present:
            sites.bound(
                part, Transform.IDENTITY, "Concat puts channels next to what nothing writes", node
            )
        return
    numbers = np.concatenate([part.numbers for part in present], axes.index(axis))
    for part in present:
        new = sites.carry(node, part, node.output, axes=axes, numbers=numbers)
        sites.resized.append((node, part, new))


def _one_after_another(sites: Sites, node: OperatorNode, axis: int) -> None:
    """Values with the same channels are joined along another axis, for example as tokens."""
    for value in node.inputs:
        for site in sites.sites(value):
            if axis in site.axes:
                continue
            if all(_has(sites, other, site.axes) for other in node.inputs):
                sites.carry(node, site, node.output)
            else:
                sites.bound(
                    site, Transform.IDENTITY, "Concat joins channels with what nothing writes", node
                )


def _has(sites: Sites, value: VariableNode | None, axes: tuple[int, ...]) -> bool:
    return any(site.axes == axes for site in sites.sites(value))


def take_slice(sites: Sites, node: OperatorNode) -> None:
    """A window of the channels, or all of them at fewer places."""
    sites.source(node, 0)
    source = node.inputs[0]
    rank = source.rank if source is not None else None
    if rank is None:
        return sites.pin(source, "the rank is unknown", node)
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    axes = integers(node, 3, "axes")
    if axes is None:
        axes = list(range(len(starts or ())))
        if node.input(3) is not None:
            return sites.pin(source, "Slice takes axes that are computed", node)
    steps = integers(node, 4, "steps") or [1] * len(axes)
    axes = [axis % rank for axis in axes]
    for site in sites.sites(source):
        cut = [axis for axis in axes if axis in site.axes]
        if cut and (starts is None or ends is None):
            sites.bound(site, Transform.IDENTITY, "Slice takes a computed part of channels", node)
            continue
        numbers = site.numbers
        for axis in cut:
            assert starts is not None
            assert ends is not None
            at = axes.index(axis)
            window: list[slice] = [slice(None)] * numbers.ndim
            end: int | None = ends[at]
            if steps[at] < 0 and end is not None and end < -numbers.shape[site.axes.index(axis)]:
                end = None
            window[site.axes.index(axis)] = slice(starts[at], end, steps[at])
            numbers = numbers[tuple(window)]
        new = sites.carry(node, site, node.output, numbers=numbers)
        if cut:
            sites.resized.append((node, site, new))


def split(sites: Sites, node: OperatorNode) -> None:
    """Windows of the channels, or all of them at fewer places."""
    sites.source(node, 0)
    source = node.inputs[0]
    rank = source.rank if source is not None else None
    if rank is None:
        return sites.pin(source, "the rank is unknown", node)
    axis = int(node.attribute("axis", 0)) % rank
    sizes = [value.shape[axis] if value.shape else None for value in node.outputs]
    for site in sites.sites(source):
        if axis not in site.axes:
            for value in node.outputs:
                sites.carry(node, site, value)
            continue
        if not all(isinstance(size, int) for size in sizes):
            sites.bound(site, Transform.IDENTITY, "Split cuts channels at open places", node)
            continue
        at = site.axes.index(axis)
        ends = np.cumsum([int(size or 0) for size in sizes])[:-1]
        for value, part in zip(node.outputs, np.split(site.numbers, ends, at), strict=True):
            new = sites.carry(node, site, value, numbers=part)
            sites.resized.append((node, site, new))


def gather(sites: Sites, node: OperatorNode) -> None:
    """Rows of a table, chosen tokens, or chosen channels."""
    sites.source(node, 0)
    source, chosen = node.inputs[0], node.inputs[1]
    rank = source.rank if source is not None else None
    if rank is None or chosen is None or chosen.rank is None:
        return sites.pin(source, "the rank is unknown", node)
    axis = int(node.attribute("axis", 0)) % rank
    gain = chosen.rank - 1
    for site in sites.sites(source):
        if axis not in site.axes:
            axes = tuple(a if a < axis else a + gain for a in site.axes)
            sites.carry(node, site, node.output, axes=axes)
        elif chosen.constant is None:
            # Looking rows up in a table is the usual case: their order is what the input means.
            sites.bound(site, Transform.IDENTITY, "Gather chooses by a computed index", node)
        elif chosen.constant.size:
            at = site.axes.index(axis)
            numbers = np.take(site.numbers, chosen.constant.numpy(), at)
            axes = tuple(
                a + d
                for a in site.axes
                for d in (range(gain + 1) if a == axis else (0 if a < axis else gain,))
            )
            kept, narrow = _narrow(axes, numbers)
            new = sites.carry(node, site, node.output, axes=kept, numbers=narrow)
            sites.resized.append((node, site, new))


def unknown(sites: Sites, node: OperatorNode) -> None:
    """Nothing is known about ``node``: what it reads stays as it is."""
    for value in node.inputs:
        sites.pin(value, f"{node.op_type} reads it", node)


VIEWS: dict[str, Handler] = {
    "Transpose": transpose,
    "Reshape": reshape,
    "Squeeze": reshape,
    "Unsqueeze": reshape,
    "Flatten": reshape,
    "Expand": expand,
    "Concat": concat,
    "Slice": take_slice,
    "Split": split,
    "Gather": gather,
}
