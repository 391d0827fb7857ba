"""Turns LayerNormalization into RMSNormalization by centring what writes the residual stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, Part, axis_graph
from burnish.analysis.axis_graph_sites import Bound, Member, Passage, Role, Site, Variance
from burnish.analysis.symmetry import Transform
from burnish.ir import Array, Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.folding.weights import NewWeights, shared_elsewhere, vector
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

RULE = "layer-norm-to-rms-norm"
SINCE = 23
NORMS = ("LayerNormalization",)
SHIFTED = "LayerNormalization adds a shift that fold-layer-norm could not fold into what reads it"


@dataclass(frozen=True)
class CenterResidualStream(Pass):
    """Fold the mean subtraction of LayerNormalization into all that writes the residual stream.

    Before:
        s = Gather(table, i) + MatMul(h, w) + b
        y = LayerNormalization(s, gamma)

    After:
        s = Gather(table C, i) + MatMul(h, w C) + b C      C = I - 1 1'/n takes the mean away
        y = RMSNormalization(s, gamma)

    The stream is what additions and moves of data connect. Everything that writes it must be a
    constant or a product with constant weights, which a post-norm network does not fulfil, and only
    normalizations may read it. Shifts are folded first, by fold-layer-norm: a normalization that
    still has one stays what it is. Needs opset 23.

    From SliceGPT (Ashkboos et al., 2024, arXiv:2401.15024), there as a step before pruning.
    """

    name: ClassVar[str] = "center-residual-stream"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Centre every stream that can be."""
        result = RewriteResult()
        if graph.opset < SINCE and not context.explain:
            return result
        norms = [node for node in graph.walk() if node.is_op(*NORMS)]
        if not any(context.explain or _unshifted(node) for node in norms):
            return result
        rw = Rewriter(graph)
        streams = Streams(axis_graph(graph))
        for stream, members in streams.read_by(norms):
            _run_one(rw, streams, stream, members, result, context)
        result.edits = rw.edits
        return result


def _run_one(
    rw: Rewriter, streams: Streams, stream: Part | None, norms: list[OperatorNode],
    result: RewriteResult, context: PassContext,
) -> None:  # fmt: skip
    miss = streams.problem(stream, norms)
    bare = [node for node in norms if _unshifted(node)]
    if miss is None and not bare:
        miss = Miss(SHIFTED, norms[0])
    if miss is None and rw.graph.opset < SINCE:
        miss = Miss(f"needs opset {SINCE}, the model has {rw.graph.opset}: use --opset {SINCE}")
    if miss is None:
        assert stream is not None
        miss = _centre(rw, streams, stream, bare)
    if miss is None:
        result.fired += [Firing(RULE, node.provenance) for node in bare]
    elif context.explain:
        result.missed.append(NearMiss.of(RULE, miss, norms[0]))


def _unshifted(node: OperatorNode) -> bool:
    """Whether a normalization has no shift, or one of zeros."""
    if node.input(2) is None:
        return True
    shift = vector(node.constant_input(2))
    return shift is not None and not shift.any()


def _centre(rw: Rewriter, streams: Streams, stream: Part, norms: list[OperatorNode]) -> Miss | None:
    """Take the mean from all writers of ``stream``, then replace ``norms``."""
    writers = list(streams.writers(stream))
    weights = NewWeights()
    for member in writers:
        key = member.node, member.index
        shared = streams.centred.get((member.value, member.axes))
        if shared is None:
            array = weights.current(*key)
            assert array is not None
            shared = array - array.mean(axis=member.axes[0], keepdims=True)
            streams.centred[member.value, member.axes] = shared
        weights.inputs[key] = shared
    miss = weights.write(rw)
    if miss is not None:
        return miss
    for member in writers:
        rw.adopt(member.node, norms[:1])
    for node in norms:
        kept = {k: v for k, v in node.attributes.items() if k in ("axis", "epsilon", "stash_type")}
        rw.anchor, rw.provenance = node, node.provenance
        output = node.output
        rw.replace(output, rw.op("RMSNormalization", node.inputs[:2], kept, like=output))
        rw.erase(node)
    return None


class Streams:
    """Streams of a graph: sites that operators connect which treat all channels alike."""

    def __init__(self, axes: AxisGraph) -> None:
        """Find the streams of ``axes``."""
        self.axes = axes
        self.centred: dict[object, Array] = {}
        self._linear = {p for p in axes.sites.passages if _keeps_channels(axes, p)}
        self._parts = axes.parts(self._linear)
        self._part_of = {site: part for part in self._parts for site in part.sites}

    def read_by(
        self, norms: list[OperatorNode]
    ) -> Iterator[tuple[Part | None, list[OperatorNode]]]:
        """Streams that ``norms`` read, with those which read each; None where there is none."""
        found: dict[Part | None, list[OperatorNode]] = {}
        for node in norms:
            source = node.inputs[0]
            assert source is not None
            site = self.axes.sites.site(source, (source.rank or 1) - 1)
            found.setdefault(self._part_of[site] if site is not None else None, []).append(node)
        yield from found.items()

    @cached_property
    def _members(self) -> dict[Site, list[Member]]:
        result: dict[Site, list[Member]] = {}
        for member in self.axes.sites.members:
            result.setdefault(member.site, []).append(member)
        return result

    @cached_property
    def _bounds(self) -> dict[Site, list[Bound]]:
        result: dict[Site, list[Bound]] = {}
        for bound in self.axes.sites.bounds:
            result.setdefault(bound.site, []).append(bound)
        return result

    def writers(self, stream: Part) -> Iterator[Member]:
        """Constants that write or are added to ``stream``."""
        for member in self._at(stream):
            covariant = member.variance is Variance.COVARIANT
            if covariant and not member.node.is_op("InstanceNormalization", "GroupNormalization"):
                yield member

    def _at(self, stream: Part) -> Iterator[Member]:
        for site in stream.sites:
            yield from self._members.get(site, ())

    def problem(self, stream: Part | None, norms: list[OperatorNode]) -> Miss | None:
        """Why ``stream`` cannot be centred for ``norms``, None if it can."""
        if stream is None:
            return Miss("inputs, or operators without weights, write what is normalized", norms[0])
        channels = self.axes.channels(stream.sites[0])
        if channels.ndim != 1 or len(np.unique(channels)) < channels.size:
            return Miss("the normalization does not go over the channels alone", norms[0])
        for site in stream.sites:
            miss = self._stopped_at(site)
            if miss is not None:
                return miss
        return shared_elsewhere(self.writers(stream))

    def _stopped_at(self, site: Site) -> Miss | None:
        for passage in self.axes.passages_to.get(site, ()):
            if passage not in self._linear:
                return Miss(_written_by(passage.node), passage.node)
        for passage in self.axes.passages_from.get(site, ()):
            if passage not in self._linear and not _normalizes(passage):
                reason = f"{passage.node.op_type} reads the residual stream as it is"
                return Miss(reason, passage.node)
        for member in self._members.get(site, ()):
            if member.role is Role.READER:
                reason = f"the residual stream feeds {member.node.op_type} without normalization"
                return Miss(reason, member.node)
        for bound in self._bounds.get(site, ()):
            return Miss(f"the residual stream cannot be changed: {bound.reason}", bound.node)
        return None


def _keeps_channels(axes: AxisGraph, passage: Passage) -> bool:
    """Whether all channels go through ``passage`` and are treated alike."""
    if passage.dual or passage.node.is_op("MatMul", "Attention"):
        return False
    if passage.allowed not in (Transform.AFFINE, Transform.GENERAL):
        return False
    one, other = passage.source, passage.target
    if one.axis is None or other.axis is None or one.numbers.size != other.numbers.size:
        return False
    if one.numbers is other.numbers:
        return True
    return bool(np.array_equal(np.sort(axes.channels(one)), np.sort(axes.channels(other))))


def _normalizes(passage: Passage) -> bool:
    """Whether ``passage`` is through a LayerNormalization over the channels."""
    rank = passage.source.value.rank
    return passage.node.is_op(*NORMS) and passage.source.axis == (rank or 0) - 1


def _written_by(node: OperatorNode) -> str:
    if node.is_op("LayerNormalization", "RMSNormalization"):
        return (
            f"the residual stream is written by {node.op_type}, whose result has no constant scale "
            f"that could be centred: the network normalizes after its additions"
        )
    return f"the residual stream is written by {node.op_type}, whose result no weights write"
