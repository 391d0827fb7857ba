"""Scales and shifts channels of values so that one scale of integers suits all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.analysis.axis_graph_flow import Slot, bias_slot, readers
from burnish.analysis.symmetry import Transform
from burnish.calibration import Calibration, Channels, Rows
from burnish.ir import Array, Graph, VariableNode
from burnish.numerics import Numerics
from burnish.passes.folding.weights import NewWeights, response
from burnish.passes.fusion.constants import Vector
from burnish.passes.quantization.channel_scales import STRENGTHS, smoothing_scales
from burnish.passes.quantization.simulation import Simulation, data_of, rows_of
from burnish.passes.quantization.streams import End, Stream, streams
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

RULE = "smooth-channels"


@dataclass(frozen=True)
class Choice:
    """What is done to the channels of a stream, and what it is for."""

    scale: Vector
    """What channels are divided by."""
    shift: Vector
    """What is taken away from them before that."""
    error: float
    """Of what all readers compute, with 8 bits."""


@dataclass(frozen=True)
class SmoothActivations(Pass):
    """Move differences between channels from values into the weights that read them.

    Values are rounded with one scale for all channels, weights with one for each result: a few
    channels that are far larger than the others would leave those no digits. Each channel is
    divided by s = max|x|^a / max|w|^(1-a) where it is written, and what reads it is multiplied by
    s. Strength ``a``, from 0 to 1, is what gives the least error of all that read the channels,
    computed with 8 bits on calibration data; so is whether each channel is first centered.

    Before:
        n = LayerNormalization(x, gamma, beta)
        y = MatMul(n, w) + b

    After:
        n' = LayerNormalization(x, gamma / s, (beta - z) / s)
        y = MatMul(n', s * w) + (b + z w)

    Nothing is done where the channels go to what is no product with constant weights. After
    SmoothQuant (Xiao et al., 2022, arXiv:2211.10438) and Outlier Suppression+ (Wei et al., 2023,
    arXiv:2304.09145).
    """

    shift: bool = True
    """Center channels as well, where everything on the way takes it."""
    least_gain: float = 0.1
    """Part of the error that has to go, or channels stay as they are."""

    name: ClassVar[str] = "smooth-activations"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Smooth every stream on the calibration data, the last first.

        What reads a stream writes the next one: its results are what they will be then.
        """
        rw, result = Rewriter(graph), RewriteResult()
        if context.calibration is None:
            return result
        found = list(_candidates(graph, context, result))
        seen = _observe(graph, found, context.calibration)
        weights = NewWeights()
        for stream in reversed(found):
            choice = self._choose(stream, seen, weights)
            if choice is not None:
                _apply(weights, stream, choice)
                result.fired.append(Firing(RULE, stream.where.provenance))
        problem = weights.write(rw)
        if problem is not None:
            result.fired = []
            result.missed.append(NearMiss(RULE, problem.reason, ()))
        result.edits = rw.edits
        return result

    def _choose(self, stream: Stream, seen: Seen, weights: NewWeights) -> Choice | None:
        """The best that can be done to a stream, None if that is not worth it."""
        products = _products(stream, seen, weights)
        low, high = seen.ranges(stream)
        if not products or not (np.isfinite(low).all() and np.isfinite(high).all()):
            return None
        heaviest = np.zeros(stream.size)
        for channels, product in products:
            np.maximum.at(heaviest, channels, np.abs(product.weights).max(axis=(1, 2)))
        still, plain = np.zeros(stream.size), np.ones(stream.size)
        candidates = [(plain, still)]
        middle = np.where(stream.free, (low + high) / 2, 0.0)
        for shift in (still, middle) if self.shift and _slots(stream) else (still,):
            largest = np.maximum(high - shift, shift - low)
            largest[~stream.free] = 0
            candidates += [(smoothing_scales(largest, heaviest, part), shift) for part in STRENGTHS]
            candidates.append((plain, shift))
        choices = [
            Choice(scale, shift, sum(
                product.error(low[c], high[c], scale[c], shift[c]) for c, product in products
            ))
            for scale, shift in candidates
        ]  # fmt: skip
        best = min(choices, key=lambda choice: choice.error)
        return best if best.error < (1 - self.least_gain) * choices[0].error else None


@dataclass(frozen=True)
class Seen:
    """What was observed of the values that streams are read as."""

    channels: dict[tuple[VariableNode, int], Channels]
    """By value and axis."""
    rows: dict[End, Rows]
    """What the weights of each end were multiplied by."""

    def ranges(self, stream: Stream) -> tuple[Vector, Vector]:
        """The least and the greatest value of each channel where it is read."""
        low, high = np.full(stream.size, np.inf), np.full(stream.size, -np.inf)
        for end in stream.backward:
            found = self.channels[data_of(end)]
            copies = len(end.channels) // max(len(found.low), 1)
            np.minimum.at(low, end.channels, np.repeat(found.low, copies))
            np.maximum.at(high, end.channels, np.repeat(found.high, copies))
            if found.wrong:
                high[:] = np.inf
        # Queries and keys that one product writes with the values are not read here.
        unread = low > high
        return np.where(unread, 0.0, low), np.where(unread, 0.0, high)


def _candidates(graph: Graph, context: PassContext, result: RewriteResult) -> Iterator[Stream]:
    """Streams that only products with constant weights read."""
    for stream in streams(graph):
        problem = stream.problem()
        if problem is None:
            if stream.sources and stream.backward:
                yield stream
        elif context.explain and stream.sources and (problem.at or stream.backward):
            result.missed.append(NearMiss.of(RULE, problem, stream.where))


def _observe(graph: Graph, found: Sequence[Stream], calibration: Calibration) -> Seen:
    """Collect ranges of channels, and some rows, of all that is read."""
    seen = Seen({}, {})
    wanted: dict[VariableNode, list[Channels | Rows]] = {}
    for end in (end for stream in found for end in stream.backward):
        value, axis = data_of(end)
        collectors = wanted.setdefault(value, [])
        if (value, axis) not in seen.channels:
            seen.channels[value, axis] = Channels(axis)
            collectors.append(seen.channels[value, axis])
        seen.rows[end] = rows_of(end)
        collectors.append(seen.rows[end])
    if wanted:
        calibration.collect(graph, wanted)
    return seen


def _products(stream: Stream, seen: Seen, weights: NewWeights) -> list[tuple[Array, Simulation]]:
    """What reads the stream, with its weights as they will be, and which channels it reads."""
    found = []
    for end in stream.backward:
        rows = seen.rows[end]
        if rows.seen:
            now = weights.current(end.node, end.index)
            found.append((end.channels, Simulation.of(end, rows, now)))
    return found


def _slots(stream: Stream) -> dict[End, Slot] | None:
    """Where a shift is added when channels are written and taken away when they are read.

    None if some of what is on the way does not take one.
    """
    if stream.symmetry is not Transform.AFFINE or len(stream.sources) != 1:
        return None
    (source,) = stream.sources
    node = source.node
    found = readers(stream.axes, node.output, shift=True)
    reading = {end.member for end in stream.backward}
    if isinstance(found, Miss) or {reader.member for reader in found} != reading:
        return None
    slots: dict[End, Slot] = {}
    for end in (source, *stream.backward):
        own = node.op_type == "LayerNormalization" and end is source
        slot = Slot(node, 2) if own else bias_slot(end.node, end.index)
        if slot is None or end.node.op_type == "RMSNormalization":
            return None
        if slot.node.attribute("beta", 1.0) == 0:
            return None
        slots[end] = slot
    return slots


def _apply(weights: NewWeights, stream: Stream, choice: Choice) -> None:
    """Divide what writes the channels, multiply what reads them, move shifts into biases."""
    stream.scale(weights, 1 / choice.scale)
    if not choice.shift.any():
        return
    shift = choice.shift / choice.scale
    for end, slot in (_slots(stream) or {}).items():
        vector = shift[end.channels]
        weights.add(slot, -vector if end.forward else response(weights, end.member, vector))
