"""The axis graph: which channels of which tensors and weights belong together.

Nodes are the axes of tensors along which channels lie, edges lead through operators that keep
channels apart. A connected component is a *channel group*: it can be permuted, scaled or thinned
out only as a whole. The graph is walked once; the work is linear in it.

After DepGraph (Fang et al., 2023, arXiv:2301.12900), whose nodes are layers: here they are axes,
with a number for every channel, so that reshapes, splits and heads are followed exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from burnish.analysis.axis_graph_components import Part, carries, connected, find_parts
from burnish.analysis.axis_graph_elementwise import ELEMENTWISE
from burnish.analysis.axis_graph_products import PRODUCTS
from burnish.analysis.axis_graph_sites import (
    Blocks,
    Bound,
    Member,
    Passage,
    Role,
    Site,
    Sites,
    Variance,
)
from burnish.analysis.axis_graph_views import VIEWS, unknown
from burnish.analysis.symmetry import Transform, meet
from burnish.ir import Array, Graph, OperatorNode, VariableNode

__all__ = [
    "AxisGraph", "Bound", "ChannelGroup", "Member", "Part", "Passage", "Role", "Site", "Tie",
    "Variance", "axis_graph", "channel_groups",
]  # fmt: skip

HANDLERS = {**VIEWS, **ELEMENTWISE, **PRODUCTS}


@dataclass(eq=False)
class ChannelGroup:
    """Channels that can only be permuted, scaled or deleted together.

    Channels are counted from zero here; ``channels_of`` says which one stands where.
    """

    size: int
    members: tuple[Member, ...]
    sites: tuple[Site, ...]
    parts: tuple[Part, ...]
    bounds: tuple[Bound, ...]
    labels: Array
    """[size]: channels with the same label, those of a head, mix; others do not."""
    resized: tuple[tuple[OperatorNode, Site, Site | None], ...]
    _ranks: Array
    """Number of a channel -> its place in this group."""
    ties: list[Tie] = field(default_factory=list)
    """Heads whose channels are in this group, or that this group consists of."""

    @property
    def writers(self) -> tuple[Member, ...]:
        """Constants that make the channels."""
        return tuple(member for member in self.members if member.role is Role.WRITER)

    @property
    def readers(self) -> tuple[Member, ...]:
        """Constants that contract the channels."""
        return tuple(member for member in self.members if member.role is Role.READER)

    @property
    def riders(self) -> tuple[Member, ...]:
        """Constants with one element for each channel."""
        return tuple(member for member in self.members if member.role is Role.RIDER)

    @cached_property
    def symmetry(self) -> Transform:
        """What can be done to all channels of the group at once."""
        return meet(part.symmetry for part in self.parts)

    @property
    def fixed(self) -> Bound | None:
        """Why no channel may be moved or deleted, None if they may."""
        return next((bound for bound in self.bounds if bound.whole), None)

    @cached_property
    def kinds(self) -> Array:
        """[size]: only channels of the same kind, in the same values, can change places."""
        arrays = {id(site.numbers): site for site in self.sites}
        kinds = self.labels
        for site in arrays.values():
            counts = np.bincount(self.channels_of(site).reshape(-1), minlength=self.size)
            kinds = np.unique(kinds * (counts.max() + 1) + counts, return_inverse=True)[1]
        return kinds

    def channels_of(self, at: Member | Site) -> Array:
        """Which channel of this group stands where in a constant or a value."""
        found: Array = self._ranks[at.numbers]
        return found


@dataclass(frozen=True, eq=False)
class Tie:
    """Heads of an attention, which are channels of its scores, and what is inside each of them.

    A head that goes takes its channels along, and goes if all of them do.
    """

    group: ChannelGroup
    """The heads."""
    heads: Array
    """[heads]: channels of ``group``."""
    inside: ChannelGroup
    """Queries and keys, or values, or all of them if one product writes them."""
    channels: Array
    """[heads, channels of a head]: channels of ``inside``."""


@dataclass(eq=False)
class AxisGraph:
    """All sites, members and passages of a graph."""

    sites: Sites
    canonical: Array
    """Number of a channel -> the least number of the channels equal to it."""

    def sites_of(self, value: VariableNode | None) -> tuple[Site, ...]:
        """Where ``value`` has channels."""
        return self.sites.sites(value)

    def channels(self, at: Member | Site) -> Array:
        """Channels of the whole graph, numbered so that equal ones have equal numbers."""
        found: Array = self.canonical[at.numbers]
        return found

    @cached_property
    def all_sites(self) -> list[Site]:
        """Every site of every value."""
        return [site for found in self.sites.of.values() for site in found]

    @cached_property
    def members_of(self) -> dict[OperatorNode, list[Member]]:
        """What the constants of a node have to do with channels."""
        result: dict[OperatorNode, list[Member]] = {}
        for member in self.sites.members:
            result.setdefault(member.node, []).append(member)
        return result

    @cached_property
    def passages_from(self) -> dict[Site, list[Passage]]:
        """How channels at a site go on."""
        result: dict[Site, list[Passage]] = {}
        for passage in self.sites.passages:
            result.setdefault(passage.source, []).append(passage)
        return result

    @cached_property
    def passages_to(self) -> dict[Site, list[Passage]]:
        """Where channels at a site come from."""
        result: dict[Site, list[Passage]] = {}
        for passage in self.sites.passages:
            result.setdefault(passage.target, []).append(passage)
        return result

    @staticmethod
    def graph_of(value: VariableNode) -> Graph | None:
        """The graph or subgraph in which ``value`` is computed."""
        return None if value.producer is None else value.producer.graph

    def parts(self, through: Iterable[Passage] | None = None) -> list[Part]:
        """Sites that are connected by ``through``, by default all passages that carry scales."""
        passages = self.sites.passages if through is None else list(through)
        carrying = [p for p in passages if through is not None or carries(p)]
        return find_parts(self.sites, carrying)

    @cached_property
    def groups(self) -> list[ChannelGroup]:
        """The channel groups, in order of the graph."""
        return _groups(self)


def axis_graph(graph: Graph) -> AxisGraph:
    """Walk ``graph`` and its subgraphs once."""
    sites = Sites(graph)
    for body in graph.graphs():
        _walk(sites, body)
    canonical = connected(sites.count, sites.equal)
    return AxisGraph(sites, canonical)


def channel_groups(graph: Graph) -> list[ChannelGroup]:
    """The channel groups of ``graph``."""
    return axis_graph(graph).groups


def _walk(sites: Sites, body: Graph) -> None:
    for node in body:
        for value in node.inputs:
            if (
                value is not None
                and value.producer is not None
                and value.producer.graph is not body
            ):
                sites.pin(value, "a subgraph reads it", node)
        handler = HANDLERS.get(node.op_type, unknown) if node.domain == "" else unknown
        if node.subgraphs:
            handler = unknown
        known = len(sites.passages), len(sites.members), len(sites.bounds), len(sites.resized)
        handler(sites, node)
        _fix_others(sites, node, known)
    for value in body.outputs:
        sites.pin(value, "the graph returns it", None)


def _fix_others(sites: Sites, node: OperatorNode, known: tuple[int, int, int, int]) -> None:
    """Channels that ``node`` reads and that its handler has said nothing about stay in place."""
    told = {passage.source for passage in sites.passages[known[0] :]}
    told |= {passage.target for passage in sites.passages[known[0] :] if passage.dual}
    told |= {member.site for member in sites.members[known[1] :]}
    told |= {bound.site for bound in sites.bounds[known[2] :]}
    told |= {entry[1] for entry in sites.resized[known[3] :]}
    for value in node.inputs:
        # What a constant means to one node does not concern another: each may have its own.
        if value is None or value.is_constant:
            continue
        for site in sites.sites(value):
            if site not in told:
                sites.bound(site, Transform.IDENTITY, f"{node.op_type} reads it", node)


def _groups(axes: AxisGraph) -> list[ChannelGroup]:
    sites, group_of = axes.sites, _components(axes)

    def key(site: Site) -> int:
        return int(group_of[site.numbers.reshape(-1)[0]]) if site.numbers.size else -1

    drafts: dict[int, _Draft] = {}
    for site in axes.all_sites:
        drafts.setdefault(key(site), _Draft()).sites.append(site)
    for heads, _ in sites.ties:
        drafts.setdefault(int(group_of[heads[0]]), _Draft())
    for member in sites.members:
        drafts[key(member.site)].members.append(member)
    for bound in sites.bounds:
        drafts[key(bound.site)].bounds.append(bound)
    for blocks in sites.blocks:
        drafts[key(blocks.site)].blocks.append(blocks)
    for entry in sites.resized:
        drafts[key(entry[1])].resized.append(entry)
    for part in axes.parts():
        drafts[key(part.sites[0])].parts.append(part)
    drafts.pop(-1, None)
    ranks, sizes = _ranked(axes.canonical, group_of)
    groups = {
        number: _finish(found, sizes[number], ranks) for number, found in sorted(drafts.items())
    }
    for heads, channels in sites.ties:
        group, inside = groups[int(group_of[heads[0]])], groups[int(group_of[channels.flat[0]])]
        tie = Tie(group, ranks[heads], inside, ranks[channels])
        group.ties.append(tie)
        inside.ties.append(tie)
    return list(groups.values())


def _components(axes: AxisGraph) -> Array:
    """Number of a channel -> the least number of those in its group."""
    sites = axes.sites
    everywhere = [*axes.all_sites, *(member.site for member in sites.members)]
    arrays = {id(site.numbers): site.numbers for site in everywhere}
    stars = []
    for numbers in (*arrays.values(), *(heads for heads, _ in sites.ties)):
        flat = axes.canonical[numbers.reshape(-1)]
        stars.append((flat, np.broadcast_to(flat[:1], flat.shape)))
    return connected(sites.count, [*sites.equal, *stars])


@dataclass(eq=False)
class _Draft:
    sites: list[Site] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    blocks: list[Blocks] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    resized: list[tuple[OperatorNode, Site, Site | None]] = field(default_factory=list)


def _ranked(canonical: Array, group_of: Array) -> tuple[Array, dict[int, int]]:
    """The place of every channel in its group, and the sizes of the groups."""
    own = np.flatnonzero(canonical == np.arange(len(canonical)))
    own = own[np.argsort(group_of[own], kind="stable")]
    keys = group_of[own]
    ranks = np.zeros(len(canonical), np.int64)
    ranks[own] = np.arange(len(own)) - np.searchsorted(keys, keys)
    names, counts = np.unique(keys, return_counts=True)
    return ranks[canonical], dict(zip(names.tolist(), counts.tolist(), strict=True))


def _finish(found: _Draft, size: int, ranks: Array) -> ChannelGroup:
    labels = np.zeros(size, np.int64)
    for blocks in found.blocks:
        other = np.zeros(size, np.int64)
        # Channels that the blocks say nothing of are in none of them.
        other[ranks[blocks.site.numbers.reshape(-1)]] = 1 + blocks.labels.reshape(-1)
        labels = np.unique(labels * (other.max() + 1) + other, return_inverse=True)[1]
    return ChannelGroup(
        size, tuple(found.members), tuple(found.sites), tuple(found.parts), tuple(found.bounds),
        labels, tuple(found.resized), ranks,
    )  # fmt: skip
