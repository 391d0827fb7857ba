"""Gives channels between two layers the same range in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Array, Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.folding.weights import NewWeights
from burnish.passes.fusion.constants import Vector, number
from burnish.passes.quantization.streams import End, Stream, streams
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

RULE = "channel-ranges"
SETTLED = 0.001
"""Relative change of a scale below which nothing moves any more."""
SWEEPS = 200
"""Times that all streams are looked at, at most: what one gives its neighbour takes up."""


@dataclass(frozen=True)
class EqualizeChannels(Pass):
    """Scale channels so that the weights which write them and those which read them range alike.

    With ``a`` the largest weight that writes a channel and ``b`` the largest that reads it, what
    writes it is multiplied by sqrt(b / a), and what reads it is divided by that: both are as large
    then. Where one layer's channels had differed a hundredfold, one scale does for all of them.

    Before:
        h = Relu(Conv(x, w, b))         rows of w up to 8, 2
        y = Conv(h, v, c)               columns of v up to 2, 8

    After:
        h' = Relu(Conv(x, w', b'))      rows of w' up to 4, 4       b': b * (1/2, 2)
        y = Conv(h', v', c)             columns of v' up to 4, 4

    Channels that pass anything but products with constants, sums, ReLUs and their kin are left
    alone. A Clip is written as Min and Max with a bound for each channel. After DFQ (Nagel et al.,
    2019, arXiv:1906.04721).
    """

    clips: bool = True
    """Scale through Clip (ReLU6), at the cost of an operator for each bound that is not zero."""
    least: float = 0.02
    """Leave alone what no scale would change by more than this part."""

    name: ClassVar[str] = "equalize-channels"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Scale the channels of every stream that has weights at both ends."""
        rw, result = Rewriter(graph), RewriteResult()
        found = []
        for stream in streams(graph, clips=self.clips):
            problem = stream.problem()
            if problem is None and stream.is_closed:
                found.append(stream)
            elif (
                problem
                and context.explain
                and (stream.is_closed or (problem.at and any(e.weighs for e in stream.forward)))
            ):
                result.missed.append(NearMiss.of(RULE, problem, stream.where))
        scales = _solve(found)
        weights = NewWeights()
        kept = []
        for stream, factors in zip(found, scales, strict=True):
            if np.abs(np.log(factors)).max() > np.log1p(self.least):
                stream.scale(weights, factors)
                kept.append((stream, factors))
        problem = weights.write(rw)
        if problem is not None:
            result.missed.append(NearMiss.of(RULE, problem, kept[0][0].where))
            return result
        for stream, factors in kept:
            for clip in stream.clips:
                unclip(rw, stream, clip, factors)
            result.fired.append(Firing(RULE, stream.where.provenance))
        result.edits = rw.edits
        return result


def _solve(found: Sequence[Stream]) -> list[Vector]:
    """The scales of all streams at which no stream alone could be better balanced."""
    table = Magnitudes(found)
    totals = [np.ones(stream.size) for stream in found]
    for _ in range(SWEEPS):
        moved = 0.0
        for stream, total in zip(found, totals, strict=True):
            written, read = (table.of(stream, ends) for ends in (stream.forward, stream.backward))
            usable = (written > 0) & (read > 0) & stream.free
            factors = np.sqrt(np.where(usable, read, 1) / np.where(usable, written, 1))
            table.scale(stream, factors)
            total *= factors
            moved = max(moved, float(np.abs(np.log(factors)).max(initial=0)))
        if moved < SETTLED:
            break
    return totals


class Magnitudes:
    """The largest weights by channel of all streams at the ends of which they are."""

    def __init__(self, found: Sequence[Stream]) -> None:
        """Reduce each weight to the axes along which it belongs to some of the streams."""
        axes: dict[tuple[OperatorNode, int], set[int]] = {}
        ends: dict[tuple[OperatorNode, int], End] = {}
        for end in (end for stream in found for end in stream.ends if end.weighs):
            axes.setdefault((end.node, end.index), set()).update(end.member.axes)
            ends[end.node, end.index] = end
        self._tables = {key: _largest(end, axes[key]) for key, end in ends.items()}

    def of(self, stream: Stream, ends: Sequence[End]) -> Vector:
        """The largest weight of each channel among ``ends``, zero where there is none."""
        result = np.zeros(stream.size)
        for end in (end for end in ends if end.weighs):
            table = self._tables[end.node, end.index]
            others = tuple(axis for axis in range(table.ndim) if axis != end.member.axes[0])
            np.maximum.at(result, end.channels, table.max(axis=others))
        return result

    def scale(self, stream: Stream, factors: Vector) -> None:
        """Multiply the channels of ``stream`` by ``factors``."""
        for end in (end for end in stream.ends if end.weighs):
            table = self._tables[end.node, end.index]
            shape = [1] * table.ndim
            shape[end.member.axes[0]] = -1
            vector = factors[end.channels].reshape(shape)
            self._tables[end.node, end.index] = table * (vector if end.forward else 1 / vector)


def _largest(end: End, axes: set[int]) -> Array:
    """The largest magnitudes of a constant along ``axes``; other axes have size one."""
    constant = end.member.value.constant
    assert constant is not None
    array = constant.numpy()
    others = tuple(axis for axis in range(array.ndim) if axis not in axes)
    found: Array = np.abs(array).max(axis=others, keepdims=True).astype(np.float64)
    return found


def unclip(rw: Rewriter, stream: Stream, clip: OperatorNode, factors: Vector) -> None:
    """Write a Clip of channels that are multiplied by ``factors``: each has bounds of its own."""
    value, output = clip.inputs[0], clip.output
    assert value is not None
    site = next(s for s in stream.part.sites if s.value is output)
    here = stream.at(site, factors)
    rw.anchor, rw.provenance = clip, clip.provenance
    for kind, index in (("Max", 1), ("Min", 2)):
        bound = number(clip.input(index))
        if bound is None or np.isinf(bound):
            continue
        if bound == 0 and kind == "Max":
            value = rw.op("Relu", [value], like=output)
            continue
        limits = (bound * here).astype(output.dtype.numpy)
        value = rw.op(kind, [value, rw.constant(limits)], like=output)
    rw.replace(output, value)
    rw.erase_unused([clip])
