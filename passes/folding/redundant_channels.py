"""Deletes hidden channels that a model computes to no effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup, axis_graph
from burnish.analysis.axis_graph_edits import copies, delete
from burnish.analysis.axis_graph_flow import Reader
from burnish.analysis.axis_graph_sites import Member, Site
from burnish.analysis.axis_graph_sizes import cannot_delete
from burnish.ir import Array, Graph
from burnish.numerics import Numerics
from burnish.passes.folding.constant_channels import constant_channels
from burnish.passes.folding.redundancy import Twin, twins, unsuitable, worth_looking, zero_channels
from burnish.passes.folding.weights import NewWeights, response, shared_elsewhere
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

DEAD, CONSTANT, TWIN = "dead-channels", "constant-channels", "duplicate-channels"


@dataclass
class Plan:
    """What is to be deleted of a group, and why it can be."""

    dead: list[int] = field(default_factory=list)
    """Channels that no reader uses."""
    constant: dict[int, list[tuple[Member, float]]] = field(default_factory=dict)
    """Channels that are always the same number at a reader."""
    twins: list[Twin] = field(default_factory=list)

    @property
    def channels(self) -> list[int]:
        """The channels that go."""
        return [*self.dead, *self.constant, *(twin.other for twin in self.twins)]

    @property
    def size(self) -> int:
        """How many channels go."""
        return len(self.channels)

    def limit(self, count: int) -> None:
        """Delete no more than ``count``, the simplest first."""
        self.dead = self.dead[:count]
        count -= len(self.dead)
        self.constant = dict(list(self.constant.items())[:count])
        count -= len(self.constant)
        self.twins = self.twins[:count]

    @property
    def rules(self) -> list[str]:
        """Which kinds of channels go."""
        kinds = ((DEAD, self.dead), (CONSTANT, self.constant), (TWIN, self.twins))
        return [rule for rule, some in kinds if some]


@dataclass(frozen=True)
class RemoveRedundantChannels(Pass):
    """Delete hidden channels that no reader uses, that are constant, or that repeat another.

    Before:
        h = Relu(MatMul(x, w) + b)      columns of w: p, 0, p, q      b: 1, 2, 1, 3
        y = MatMul(h, v) + c            rows of v: e, f, g, 0

    After:
        h = Relu(MatMul(x, w') + b')    columns of w': p              b': 1
        y = MatMul(h, v') + c'          rows of v': e + g             c': c + 2 f

    A constant goes into the bias of what reads it, unless that pads. Multiples of another channel
    count as repeated where everything on the way keeps multiples: positive ones past Relu.
    """

    name: ClassVar[str] = "remove-redundant-channels"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES
    align: int = 8
    """Channels stay a multiple of this where they were one: kernels take as many at once."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Thin out every group of channels."""
        result = RewriteResult()
        if not worth_looking(graph):
            return result
        axes = axis_graph(graph)
        rw = Rewriter(graph)
        for group in axes.groups:
            self._thin_out(rw, axes, group, result, context)
        result.edits = rw.edits
        return result

    def _thin_out(
        self, rw: Rewriter, axes: AxisGraph, group: ChannelGroup, result: RewriteResult,
        context: PassContext,
    ) -> None:  # fmt: skip
        if group.size < 2 or group.fixed is not None or unsuitable(group) is not None:
            return
        plan = _plan(axes, group)
        if not plan.size:
            return
        where = group.writers[0].node.provenance
        rules = plan.rules
        problem = self._limited(group, plan) or shared_elsewhere(group.members)
        if problem is None:
            problem = _apply(rw, group, plan)
        if problem is None:
            result.fired += [Firing(rule, where) for rule in plan.rules]
        elif context.explain:
            result.missed += [NearMiss(rule, problem.reason, where) for rule in rules]

    def _limited(self, group: ChannelGroup, plan: Plan) -> Miss | None:
        """Leave as many channels as kernels like; why nothing goes then."""
        reason = cannot_delete(group)
        if reason is not None:
            return Miss(f"{plan.size} of {group.size} channels have no effect, but {reason}")
        left = max(group.size - plan.size, 1)
        if group.size % self.align == 0:
            left = -(-left // self.align) * self.align
        if left >= group.size:
            return Miss(
                f"{plan.size} of {group.size} channels have no effect, but what is left would be "
                f"no multiple of {self.align}: set align to 1 to delete them anyway"
            )
        plan.limit(group.size - left)
        reason = cannot_delete(group, plan.channels)
        return Miss(f"channels have no effect, but {reason}") if reason is not None else None


def _plan(axes: AxisGraph, group: ChannelGroup) -> Plan:
    """All channels that can go."""
    plan = Plan()
    gone = zero_channels(group, group.readers)
    plan.dead = [int(channel) for channel in np.flatnonzero(gone)]
    known = constant_channels(axes, group)
    if known and all(reader.site in known for reader in group.readers):
        for channel in np.flatnonzero(~gone):
            found = _folded(group, int(channel), known)
            if found is not None:
                plan.constant[int(channel)] = found
                gone[channel] = True
    plan.twins = twins(group, gone)
    return plan


def _folded(
    group: ChannelGroup, channel: int, known: dict[Site, Array]
) -> list[tuple[Member, float]] | None:
    """What each reader sees of a constant channel, None if it cannot go into the biases."""
    seen = []
    for reader in group.readers:
        number = float(known[reader.site][channel])
        if not np.isfinite(number):
            return None
        if number:
            if reader.padded or Reader(reader, 1.0).slot is None:
                return None
            seen.append((reader, number))
    return seen


def _apply(rw: Rewriter, group: ChannelGroup, plan: Plan) -> Miss | None:
    """Fold what goes into what stays, and delete it."""
    weights = NewWeights()
    _fold_constants(weights, group, plan)
    for twin in plan.twins:
        for reader in group.readers:
            _add_columns(weights, group, reader, twin)
    problem = weights.write(rw)
    if problem is None:
        delete(rw, group, plan.channels)
    return problem


def _fold_constants(weights: NewWeights, group: ChannelGroup, plan: Plan) -> None:
    """Add what constant channels contribute to the biases behind their readers."""
    shifts: dict[Member, Array] = {}
    for channel, seen in plan.constant.items():
        for reader, number in seen:
            at = group.channels_of(reader)
            shift = shifts.setdefault(reader, np.zeros(at.shape))
            shift[at == channel] = number
    for reader, shift in shifts.items():
        slot = Reader(reader, 1.0).slot
        assert slot is not None
        weights.add(slot, response(weights, reader, shift))


def _add_columns(weights: NewWeights, group: ChannelGroup, reader: Member, twin: Twin) -> None:
    """What was read of one channel is read of the other as well, copy by copy."""
    channels = group.channels_of(reader)
    ranks = copies(channels)
    weight = weights.current(reader.node, reader.index)
    assert weight is not None
    columns = np.moveaxis(weight.copy(), reader.axes[0], 0)
    order = _places(channels, ranks, twin.kept), _places(channels, ranks, twin.other)
    columns[order[0]] += twin.factor * columns[order[1]]
    weights.inputs[reader.node, reader.index] = np.moveaxis(columns, 0, reader.axes[0])


def _places(channels: Array, ranks: Array, channel: int) -> Sequence[int]:
    found = np.flatnonzero(channels == channel)
    return [int(place) for place in found[np.argsort(ranks[found])]]
