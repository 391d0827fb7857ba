"""Weights whose product is all that matters: of queries and keys, of values and what reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup
from burnish.analysis.axis_graph_heads import inner_ties
from burnish.analysis.axis_graph_sites import Member, Role
from burnish.analysis.axis_graph_sizes import by_head
from burnish.analysis.symmetry import Transform
from burnish.ir import Array, OperatorNode
from burnish.passes.folding.weights import shared_elsewhere
from burnish.rewrite import Miss


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """A constant with something for each channel of heads."""

    member: Member
    places: Array
    """int [heads, width]: where each channel is along the axis of channels."""

    @property
    def rows(self) -> Array:
        """float64 [heads, width, numbers for each channel]."""
        constant = self.member.value.constant
        assert constant is not None
        array = np.moveaxis(constant.numpy(), self.member.axes, range(len(self.member.axes)))
        found: Array = array.reshape(self.member.numbers.size, -1)[self.places].astype(np.float64)
        return found


@dataclass(frozen=True, eq=False)
class HeadProduct:
    """Two sides of a product in each head: what one is multiplied by, the other is divided by."""

    rule: str
    node: OperatorNode
    """Of the graph: what writes the left side."""
    left: tuple[HeadWeights, ...]
    """What writes queries, or values, and its biases."""
    right: tuple[HeadWeights, ...]
    """What writes keys and its biases, or what reads values."""


QUERIES_KEYS, VALUES = "queries-and-keys", "values"


def head_products(axes: AxisGraph) -> Iterator[tuple[str, HeadProduct | Miss]]:
    """The products in the attentions of a graph, or why one is none that can be rotated."""
    group_of = {site: group for group in axes.groups for site in group.sites}
    met: dict[ChannelGroup, list[Array]] = {}
    for passage in axes.sites.passages:
        if not passage.dual or not group_of[passage.source].ties:
            continue
        group = group_of[passage.source]
        met.setdefault(group, []).append(group.channels_of(passage.source).reshape(-1))
        left, right = (
            _flat(by_head(passage.node, site, site.numbers))
            for site in (passage.source, passage.target)
        )
        if left.shape != right.shape:
            miss = Miss("several heads of queries share those of keys", passage.node)
            yield QUERIES_KEYS, miss
        else:
            # Both have the same channels: where they stand tells them apart.
            channels = met[group][-1]
            sides = left, right
            found = _product(axes, group, QUERIES_KEYS, channels, sides, lambda m: m.numbers)
            yield QUERIES_KEYS, found
    for group in axes.groups:
        for tie in inner_ties(group):
            if not any(np.isin(tie.channels, known).any() for known in met.get(group, ())):
                channels = tie.channels
                found = _product(axes, group, VALUES, channels, (channels,), group.channels_of)
                yield VALUES, found


def _flat(numbers: Array) -> Array:
    return numbers.reshape(-1, numbers.shape[-1])


def _product(
    axes: AxisGraph,
    group: ChannelGroup,
    rule: str,
    channels: Array,
    sides: Sequence[Array],
    names: Callable[[Member], Array],
) -> HeadProduct | Miss:
    """The weights of a product of ``channels``, called ``sides`` [heads, width] by ``names``."""
    everything = np.concatenate([side.reshape(-1) for side in sides])
    problem = _bent(axes, group, channels)
    if problem is not None:
        return problem
    found: list[list[HeadWeights]] = [[] for _ in sides]
    for member in group.members:
        inside = np.isin(group.channels_of(member), channels)
        if not inside.any():
            continue
        if not np.isin(names(member)[inside], everything).all():
            return Miss("other queries or keys have the same channels", member.node)
        for side, weights in zip(sides, found, strict=True):
            places = _places(names(member).reshape(-1), side)
            if isinstance(places, np.ndarray):
                weights.append(HeadWeights(member, places))
            elif places:
                return Miss(f"{member.node.op_type} has its channels more than once", member.node)
    return _sorted(rule, found)


def _sorted(rule: str, found: list[list[HeadWeights]]) -> HeadProduct | Miss:
    if rule == VALUES:
        readers = [w for w in found[0] if w.member.role is Role.READER]
        found = [[w for w in found[0] if w.member.role is not Role.READER], readers]
    everything = [weights.member for side in found for weights in side]
    if not all(found):
        return Miss("not all of it is written and read by constant weights")
    return shared_elsewhere(everything) or HeadProduct(
        rule, found[0][0].member.node, tuple(found[0]), tuple(found[1])
    )


def _bent(axes: AxisGraph, group: ChannelGroup, channels: Array) -> Miss | None:
    """What on the way of ``channels`` does not let any matrix through."""
    for site in group.sites:
        if not np.isin(group.channels_of(site), channels).any():
            continue
        for passage in axes.passages_from.get(site, ()):
            if passage.beyond is not None or not passage.allowed >= Transform.GENERAL:
                return Miss(f"{passage.node.op_type} allows {passage.allowed.value}", passage.node)
    for bound in group.bounds:
        inside = np.isin(group.channels_of(bound.site), channels).any()
        if inside and not bound.allowed >= Transform.GENERAL:
            return Miss(bound.reason, bound.node)
    return None


def _places(names: Array, wanted: Array) -> Array | bool:
    """Where each of ``wanted`` is among ``names``; whether some are, if not each is once."""
    inside = np.isin(names, wanted)
    if inside.sum() != wanted.size or len(np.unique(names[inside])) != wanted.size:
        return bool(inside.any())
    order = np.argsort(names)
    found: Array = order[np.searchsorted(names, wanted, sorter=order)]
    return found
