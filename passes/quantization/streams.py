"""Streams: channels that may be scaled, with everything that writes them and reads them.

A stream is a part of a channel group (`burnish.analysis.axis_graph`) that one scale per channel
reaches. It ends where an operator with constants takes in one scale and gives out another:
products, depthwise convolutions, normalizations with a scale of their own. What those ends have to
become, and whether the channels allow a scale at all, follows from the symmetry class of the part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, Part, axis_graph
from burnish.analysis.axis_graph_components import carries
from burnish.analysis.axis_graph_sites import Bound, Member, Passage, Role, Site, Variance
from burnish.analysis.symmetry import NORMS, Transform, meet
from burnish.ir import Array, Graph, OperatorNode
from burnish.passes.folding.weights import NewWeights, shared_elsewhere
from burnish.passes.fusion.constants import Vector, number
from burnish.rewrite import Miss


@dataclass(frozen=True, eq=False)
class End:
    """A constant whose slices along one axis belong to the channels of a stream."""

    member: Member
    """Which input of which node, and along which axis."""
    channels: Array
    """Place along the axis -> channel of the stream."""
    forward: bool
    """It is multiplied by the scale of the channels; else it is divided."""

    @property
    def node(self) -> OperatorNode:
        """The operator that has the constant."""
        return self.member.node

    @property
    def index(self) -> int:
        """Of the input."""
        return self.member.index

    @property
    def weighs(self) -> bool:
        """Whether it is a matrix or kernel, and not one number for each channel."""
        return self.member.role is not Role.RIDER or (self.index == 1 and is_depthwise(self.node))


@dataclass(frozen=True, eq=False)
class Stream:
    """Channels that are scaled together."""

    size: int
    part: Part
    symmetry: Transform
    """What all that is on the way allows."""
    ends: tuple[End, ...]
    clips: tuple[OperatorNode, ...]
    """Clip operators on the way, whose bounds are scaled with the channels."""
    names: Array
    """Channel -> its number in the axis graph, ascending."""
    axes: AxisGraph

    @property
    def forward(self) -> tuple[End, ...]:
        """What is multiplied by the scale: weights that write the channels, biases, ..."""
        return tuple(end for end in self.ends if end.forward)

    @property
    def backward(self) -> tuple[End, ...]:
        """What is divided by the scale: weights that read the channels."""
        return tuple(end for end in self.ends if not end.forward)

    @property
    def where(self) -> OperatorNode:
        """The node that writes the channels first."""
        first = next((e for e in self.ends if e.forward), self.ends[0])
        return first.node

    @property
    def sources(self) -> tuple[End, ...]:
        """What makes the channels: matrices, kernels, scales of normalizations."""
        return tuple(
            end
            for end in self.forward
            if end.weighs or (end.node.op_type in NORMS and end.index == 1)
        )

    @property
    def free(self) -> Array:
        """[size], bool: channels that are not multiplied with those of another value.

        Queries and keys could be scaled inversely, but often one product writes both.
        """
        found = np.ones(self.size, bool)
        for passage in self.axes.sites.passages:
            for site in (passage.source, passage.target):
                if passage.dual and site in self.part.signs:
                    found[self.channels(site)] = False
        return found

    @property
    def is_closed(self) -> bool:
        """Whether matrices or kernels both write and read the channels."""
        return any(e.weighs for e in self.forward) and any(e.weighs for e in self.backward)

    @property
    def scalable(self) -> bool:
        """Whether each channel may have a positive scale of its own."""
        return self.symmetry >= Transform.POSITIVE

    def channels(self, at: Member | Site) -> Array:
        """Which channel of the stream stands where, flat."""
        found: Array = np.searchsorted(self.names, self.axes.channels(at).reshape(-1))
        return found

    def problem(self) -> Miss | None:
        """Why the channels cannot be scaled."""
        if self.scalable and not self.free.any():
            return Miss("channels are multiplied with those of another value", self.where)
        if self.scalable:
            return shared_elsewhere(end.member for end in self.ends)
        return Miss(*_reason(self))

    def at(self, site: Site, factors: Vector) -> Array:
        """``factors`` [channels] as they multiply the value of ``site``, to broadcast with it."""
        here = factors[self.channels(site)]
        sizes = [1] * (site.value.rank or 0)
        for axis, size in zip(site.axes, site.numbers.shape, strict=True):
            sizes[axis] = size
        found: Array = (here if self.part.signs[site] > 0 else 1 / here).reshape(sizes)
        return found

    def scale(self, weights: NewWeights, factors: Vector) -> None:
        """Multiply each free channel by its factor, undo it in what reads it; ``clips`` aside."""
        factors = np.where(self.free, factors, 1.0)
        for end in self.ends:
            vector = factors[end.channels]
            weights.scale(end.member, vector if end.forward else 1 / vector)


def streams(graph: Graph | AxisGraph, *, clips: bool = False) -> list[Stream]:
    """The streams of ``graph``, in its order, those that allow no scale among them.

    Args:
        graph: what to look at, or its axis graph.
        clips: let scales through Clip, whose bounds have to be scaled as well then.
    """
    axes = graph if isinstance(graph, AxisGraph) else axis_graph(graph)
    through = [p for p in axes.sites.passages if _links(p, clips=clips)]
    parts = axes.parts(through)
    ends = _ends(axes, parts)
    found = (_stream(axes, part, ends.get(part, ()), clips=clips) for part in parts)
    return [stream for stream in found if stream is not None]


def _links(passage: Passage, *, clips: bool) -> bool:
    """Whether what comes out of ``passage`` has the scale of what goes in."""
    if passage.dual or is_depthwise(passage.node) or passage.node.op_type in NORMS:
        return False
    return carries(passage) or (clips and _bounds(passage.node) is not None)


def is_depthwise(node: OperatorNode) -> bool:
    """Whether ``node`` weighs each channel by itself, so that its weights take any two scales."""
    return node.is_op("Conv") and node.attribute("group", 1) != 1


def _bounds(node: OperatorNode) -> tuple[float, float] | None:
    """The least and the largest number that a Clip lets through, None if they are computed."""
    if not node.is_op("Clip"):
        return None
    found = []
    for index, default in ((1, -np.inf), (2, np.inf)):
        value = node.input(index)
        known = default if value is None else number(value)
        if known is None:
            return None
        found.append(known)
    return found[0], found[1]


def _ends(axes: AxisGraph, parts: Sequence[Part]) -> dict[Part, list[tuple[Member, Site, bool]]]:
    """The constants of each part: which, at which site, and whether scales multiply them."""
    part_of = {site: part for part in parts for site in part.sites}
    result: dict[Part, list[tuple[Member, Site, bool]]] = {}

    def put(member: Member, site: Site, *, forward: bool) -> None:
        part = part_of.get(site)
        if part is not None:
            result.setdefault(part, []).append((member, site, forward == (part.signs[site] > 0)))

    for member in axes.sites.members:
        if member.variance is Variance.CONTRAVARIANT:
            put(member, member.site, forward=False)
        elif member.variance is Variance.COVARIANT:
            put(member, member.site, forward=True)
        elif is_depthwise(member.node):
            put(member, member.site, forward=True)
            source = next(p.source for p in axes.passages_to[member.site] if p.node is member.node)
            put(member, source, forward=False)
    for site in part_of:
        for member in _parameters(site):
            put(member, site, forward=True)
    return result


def _parameters(site: Site) -> Iterator[Member]:
    """Scale and shift of the normalization that makes the channels of ``site``, if one does."""
    node = site.value.producer
    if node is None or not _rescales(node, site):
        return
    for index in (1, 2):
        if node.input(index) is not None:
            yield Member(node, index, (0,), site, Role.RIDER, Variance.COVARIANT)


def _stream(
    axes: AxisGraph, part: Part, ends: Iterable[tuple[Member, Site, bool]], *, clips: bool
) -> Stream | None:
    """The stream of a part, None if no constant is at its ends."""
    everywhere = [axes.channels(site).reshape(-1) for site in part.sites]
    names = np.unique(np.concatenate(everywhere))
    found = [
        End(member, np.searchsorted(names, axes.channels(site).reshape(-1)), forward)
        for member, site, forward in _aligned(axes, ends)
    ]
    if not found:
        return None
    inside = [p.node for p in part.passages if clips and p.node.op_type == "Clip"]
    classes = [p.allowed for p in part.passages if p.node not in inside]
    classes += [Transform.POSITIVE for _ in inside]
    classes += [bound.allowed for bound in _outer(part)]
    clipped = tuple(dict.fromkeys(inside))
    return Stream(len(names), part, meet(set(classes)), tuple(found), clipped, names, axes)


def _aligned(
    axes: AxisGraph, ends: Iterable[tuple[Member, Site, bool]]
) -> Iterator[tuple[Member, Site, bool]]:
    """Ends whose site numbers the places of the constant; depthwise ones repeat their source."""
    for member, site, forward in ends:
        if site is not member.site and site.numbers.size != member.numbers.size:
            # Channels of the source are equal to those they are copied to.
            site = Site(site.value, site.axes, member.numbers)
        yield member, site, forward


def _outer(part: Part) -> Iterator[Bound]:
    """The bounds of a part, without those that its own ends lift."""
    for bound in part.bounds:
        maker = bound.site.value.producer
        if maker is None or maker is not bound.node or not _rescales(maker, bound.site):
            yield bound


def _rescales(node: OperatorNode, site: Site) -> bool:
    """Whether ``node`` is a normalization that gives channels at ``site`` a scale of their own."""
    if node.op_type not in NORMS or node.domain or site.axis is None:
        return False
    given = [node.constant_input(i) for i in (1, 2) if node.input(i) is not None]
    last = site.axis == (site.value.rank or 0) - 1
    return last and all(c is not None and c.shape == site.numbers.shape for c in given)


def _reason(stream: Stream) -> tuple[str, OperatorNode | None]:
    """What is in the way of a scale for each channel."""
    for bound in _outer(stream.part):
        if not bound.allowed >= Transform.POSITIVE:
            return f"no scale for each channel gets past: {bound.reason}", bound.node
    for passage in stream.part.passages:
        if not passage.allowed >= Transform.POSITIVE:
            return f"{passage.node.op_type} allows {passage.allowed.value}", passage.node
    return f"together the operators on the way allow {stream.symmetry.value}", stream.where
