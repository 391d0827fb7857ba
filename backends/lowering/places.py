"""Which values lie within others: the parts of a Concat, where their kernels can write them there.

That saves a copy. Such a value need not be contiguous: its rows lie at the pitch of the whole.
Concats nest: of those that grow by one part each, as in a dense block, all are prefixes of the
last one, in its memory.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from burnish.backends.lowering.elementwise import ELEMENTWISE, numpy_name
from burnish.backends.lowering.layout import Layout, physical
from burnish.backends.lowering.plan import Plan, shape_of
from burnish.backends.lowering.strides import is_contiguous
from burnish.backends.program import Buffer, item_bytes
from burnish.ir import OperatorNode, VariableNode

LINE = 64
"""Bytes of a cache line. Rows that begin elsewhere would share lines with their neighbours, which
are then written in two turns, and vectors would lie across them: resizing to rows of 96 bytes took
PP-OCR's detector longer by twice what the copies did."""
ADDRESS = 16
"""What kernels may expect of an address."""
COPIED = 0.25
"""Share of a Concat's bytes up to which parts may be copied one by one. PP-OCR's detector lost by
writing two of four narrow parts in place, and copying the others by kernels of their own."""

MOST_PARTS = 8
"""That one kernel of a Concat tells apart: with more it looks for the part of each element. To copy
24 parts of 32 channels one by one took a tenth of its time, 12 parts of 12 half."""

PRODUCTS = frozenset({"Gemm", "MatMul", "MatMulInteger"})
READERS = PRODUCTS | {
    "AveragePool", "Concat", "Conv", "ConvInteger", "ConvTranspose", "GlobalAveragePool",
    "GlobalMaxPool",
    "MaxPool", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Resize", "Slice", "Softmax",
    "Split",
}  # fmt: skip
"""Anchors whose kernels take rows at any pitch; products do where the right operand is constant."""
WRITERS = PRODUCTS | {
    "AveragePool", "Concat", "Conv", "ConvInteger", "ConvTranspose", "MaxPool", "Resize", "Slice",
    "Softmax",
}  # fmt: skip
"""Anchors whose kernels, elementwise operators behind them included, write rows at any pitch."""


@dataclass(frozen=True)
class Place:
    """Where a value lies within another one."""

    whole: VariableNode
    axis: int
    start: int
    """Along ``axis``."""


@dataclass
class Places:
    """What `plan_places` decided."""

    joins: set[OperatorNode] = field(default_factory=set)
    """Concats that have no kernel of their own; parts that are not in place are copied there."""
    of: dict[VariableNode, Place] = field(default_factory=dict)
    cuts: dict[VariableNode, Place] = field(default_factory=dict)
    """Results of Slice, Split and Gather that are read within the operand, by `plan_cuts`."""
    copied: frozenset[OperatorNode] = frozenset()
    """Nodes whose results may not be."""

    def add(self, others: Places) -> None:
        """Take in what was decided for another graph."""
        self.joins |= others.joins
        self.of |= others.of
        self.cuts |= others.cuts


def parts_of(node: OperatorNode) -> list[tuple[VariableNode, int]]:
    """The operands of a Concat that have elements, and where each starts along its axis."""
    axis = concat_axis(node)
    found, start = [], 0
    for value in node.inputs:
        if value is not None and 0 not in shape_of(value):
            found.append((value, start))
            start += shape_of(value)[axis]
    return found


def concat_axis(node: OperatorNode) -> int:
    """The axis of a Concat, counted from 0."""
    return int(node.attribute("axis")) % len(shape_of(node.output))


def part_of(whole: Buffer, layout: Layout, place: Place, value: VariableNode) -> Buffer:
    """The part of ``whole``, which is in ``layout``, where ``value`` lies at ``place``."""
    axis, own = layout.index(place.axis), shape_of(value)
    # What picks one position may drop the axis.
    size = own[place.axis] if len(own) == len(layout) else 1
    shape = (*whole.shape[:axis], size, *whole.shape[axis + 1 :])
    within = whole.within or whole.shape
    offset = place.start * math.prod(within[axis + 1 :]) * item_bytes(whole.dtype)
    rows = None if is_contiguous(shape, within) else within
    return Buffer(
        value.name, shape, whole.dtype, whole.kind, alias_of=whole, offset=offset, within=rows
    )


def plan_places(
    order: Sequence[OperatorNode],
    plan: Plan,
    ours: frozenset[OperatorNode],
) -> Places:
    """Choose the values of ``order`` that lie within others.

    ``ours`` are the nodes whose kernels are described by this package, and that are no views.
    """
    return _Planner(order, plan, ours).run()


@dataclass
class _Planner:
    order: Sequence[OperatorNode]
    plan: Plan
    ours: frozenset[OperatorNode]
    places: Places = field(default_factory=Places)

    @cached_property
    def _nodes(self) -> frozenset[OperatorNode]:
        """Those of the graph; others may run any number of times."""
        return frozenset(self.order)

    def run(self) -> Places:
        concats = [node for node in self.order if self._is_concat(node)]
        # The last first: whether an earlier one is a part of it decides for that one too.
        for number in reversed(range(len(concats))):
            self._join(concats[number], concats[number + 1 :])
        return self.places

    def _is_concat(self, node: OperatorNode) -> bool:
        if node.op_type != "Concat" or node not in self.ours or node.output in self.plan.encoded:
            return False
        _, unit = self._unit(node.output, concat_axis(node))
        parts = parts_of(node)
        # Whatever copies a part may expect as much of its address as any kernel.
        return len(parts) > 1 and all(start * unit % ADDRESS == 0 for _, start in parts)

    def _unit(self, value: VariableNode, axis: int) -> tuple[int, int]:
        """Where ``axis`` is in memory, and the bytes from one position of it to the next."""
        layout = self.plan.layout(value)
        at = layout.index(axis)
        inner = physical(shape_of(value), layout)[at + 1 :]
        return at, math.prod(inner) * item_bytes(numpy_name(value.dtype))

    def _join(self, node: OperatorNode, later: Iterable[OperatorNode]) -> None:
        """Let the parts of ``node`` be written in place if that saves copies."""
        parts, axis = parts_of(node), concat_axis(node)
        before, host = self.places.of.get(node.output), self._host(node, later)
        if host is not None:
            self.places.of[node.output] = host
        placed: dict[VariableNode, Place] = {}
        copied = 0
        for value, start in parts:
            place = Place(node.output, axis, start)
            if value not in placed and self._is_writable(value) and self._fits(value, place):
                placed[value] = place
            elif host is None or self._found(value) != replace(host, start=host.start + start):
                copied += _bytes(value)
        if copied <= self._most_copied(node):
            self.places.joins.add(node)
            self.places.of.update(placed)
        elif before is None:
            self.places.of.pop(node.output, None)

    def _most_copied(self, node: OperatorNode) -> float:
        """Bytes of the parts of ``node`` that may be copied one by one."""
        parts = parts_of(node)
        whole = sum(_bytes(value) for value, _ in parts)
        if len(parts) > MOST_PARTS:
            return whole
        if not self._goes_on(node):
            return COPIED * whole
        # With a consumer in its own kernel, no copy is saved, and none may be added; but where
        # parts do not begin at whole vectors, that kernel has none, and takes twice as long.
        at, unit = self._unit(node.output, concat_axis(node))
        is_last = at == len(shape_of(node.output)) - 1
        return whole if is_last and any(start * unit % LINE for _, start in parts) else 0

    def _goes_on(self, node: OperatorNode) -> bool:
        """Whether a kernel of ``node`` would compute elementwise what alone reads it."""
        value = node.output
        return not value.is_graph_output and all(
            reader.op_type in ELEMENTWISE and reader in self.ours
            and shape_of(reader.output) == shape_of(value)
            for reader in value.consumers
        )  # fmt: skip

    def _host(self, node: OperatorNode, later: Iterable[OperatorNode]) -> Place | None:
        """The place of the result of ``node`` in that of one that comes later."""
        axis, own = concat_axis(node), [value for value, _ in parts_of(node)]
        for other in later:
            if other not in self.places.joins or concat_axis(other) != axis:
                continue
            theirs = parts_of(other)
            for first in range(len(theirs) - len(own) + 1):
                if [value for value, _ in theirs[first : first + len(own)]] == own:
                    place = self._outermost(Place(other.output, axis, theirs[first][1]))
                    if self._fits(node.output, place):
                        return place
        return self._found(node.output)

    def _found(self, value: VariableNode) -> Place | None:
        place = self.places.of.get(value)
        return place and self._outermost(place)

    def _outermost(self, place: Place) -> Place:
        """The same place, in the last of the values that contain it along its axis."""
        while (outer := self.places.of.get(place.whole)) and outer.axis == place.axis:
            place = Place(outer.whole, place.axis, outer.start + place.start)
        return place

    def _is_writable(self, value: VariableNode) -> bool:
        """Whether the kernel that makes ``value`` can write it anywhere."""
        maker = value.producer
        if maker is None or maker not in self.ours or value.is_graph_output:
            return False
        return maker.op_type in WRITERS or maker.op_type in ELEMENTWISE

    def _fits(self, value: VariableNode, place: Place) -> bool:
        """Whether all that read ``value`` can do so at ``place``."""
        layout = self.plan.layout(value)
        if value in self.plan.encoded or value.is_graph_output or value in self.places.of:
            return False
        if layout != self.plan.layout(place.whole) or value.dtype is not place.whole.dtype:
            return False
        whole = physical(shape_of(place.whole), layout)
        at, unit = self._unit(place.whole, place.axis)
        readers = set(self._readers(value))
        if not self._nodes.issuperset(readers):
            return False
        if is_contiguous(physical(shape_of(value), layout), whole):
            fits = place.start * unit % ADDRESS == 0
            if place.whole not in self.places.of:
                return fits
        else:
            is_last = at == len(layout) - 1
            fits = is_last and all(n * unit % LINE == 0 for n in (place.start, whole[at]))
        return fits and all(reads_rows(reader, self.ours) for reader in readers)

    def _readers(self, value: VariableNode) -> Iterator[OperatorNode]:
        """What reads ``value``, or decodes it as it reads."""
        for reader in value.consumers:
            if reader in self.plan.views and reader.output in self.plan.encoded:
                yield from self._readers(reader.output)
            else:
                yield reader


def reads_rows(node: OperatorNode, ours: Container[OperatorNode]) -> bool:
    """Whether a kernel of ``node``, if it is one of ``ours``, takes rows at any pitch."""
    if node not in ours or (node.op_type in PRODUCTS and not _has_weights(node)):
        return False
    return node.op_type in READERS or node.op_type in ELEMENTWISE


def _has_weights(product: OperatorNode) -> bool:
    right = product.inputs[1]
    return right is not None and right.is_constant


def _bytes(value: VariableNode) -> int:
    return math.prod(shape_of(value)) * item_bytes(numpy_name(value.dtype))
