"""Which results of Slice, Split and Gather are read where they lie, within the operand.

Nothing is copied then. What is cut along an inner axis lies in rows at the pitch of the whole: that
is for kernels that read such rows as fast as others. What must be contiguous for a kernel all the
same is copied once, as a kernel of the cut would do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from burnish.backends.lowering.attributes import starts_and_steps
from burnish.backends.lowering.elementwise import ELEMENTWISE
from burnish.backends.lowering.layout import identity, physical
from burnish.backends.lowering.places import (
    ADDRESS,
    LINE,
    PRODUCTS,
    Place,
    Places,
    reads_rows,
)
from burnish.backends.lowering.plan import Plan, picked, shape_of
from burnish.backends.lowering.strides import is_contiguous, reshaped_within, row_length
from burnish.ir import OperatorNode, VariableNode

SINGLE_ELEMENTS = frozenset({"Conv", "Gemm", "MatMul"})
"""Anchors that read one element at a time, to multiply vectors of weights with: that it may lie
anywhere costs nothing."""
MOVERS = frozenset({"Attention", "Concat", "Slice", "Split"})
"""Anchors that copy what they read, as a kernel of the cut would."""

CUTTERS = frozenset({"Gather", "Slice", "Split"})
"""Operators whose results are parts of the operand."""

Rows: TypeAlias = tuple[int, ...] | None
"""What a value lies within, in memory order; None if it is contiguous."""


def place_of(value: VariableNode) -> Place | None:
    """Where ``value`` lies within the operand of the node that cuts it out.

    None if it is not made of all elements at neighbouring positions of one axis.
    """
    node = value.producer
    whole = node.input(0) if node is not None else None
    if node is None or whole is None or whole.is_constant or 0 in shape_of(value):
        return None
    if node.op_type == "Gather":
        place = picked(node)
        return None if place is None else Place(whole, *place)
    if node.op_type == "Split":
        axis = int(node.attribute("axis", 0)) % len(shape_of(whole))
        before = node.outputs[: node.outputs.index(value)]
        return Place(whole, axis, sum(shape_of(other)[axis] for other in before))
    return _sliced(node, whole) if node.op_type == "Slice" else None


def _sliced(node: OperatorNode, whole: VariableNode) -> Place | None:
    before, after = shape_of(whole), shape_of(node.output)
    taken = starts_and_steps(node)
    if any(step != 1 and after[axis] != 1 for axis, (_, step) in taken.items()):
        return None
    cut = [axis for axis, size in enumerate(after) if size != before[axis]]
    return Place(whole, cut[0], taken[cut[0]][0]) if len(cut) == 1 else None


def plan_cuts(
    order: Sequence[OperatorNode],
    plan: Plan,
    ours: frozenset[OperatorNode],
    places: Places,
) -> None:
    """Add to ``places`` the results of nodes of ``order`` that are read within the operand.

    ``ours`` are the nodes that may be such or read such: their kernels are described by this
    package, and they are no views. ``places`` has what lies within the results of Concats.
    """
    _Planner(plan, ours, places, frozenset(order)).run(order)


@dataclass
class _Planner:
    plan: Plan
    ours: frozenset[OperatorNode]
    places: Places
    nodes: frozenset[OperatorNode]
    """Those of the graph; others may run any number of times."""
    rows: dict[VariableNode, Rows] = field(default_factory=dict)
    """Of views and of what has been cut."""

    def run(self, order: Sequence[OperatorNode]) -> None:
        for node in order:
            source = node.input(0)
            if source is None or source in self.plan.encoded:
                continue
            if node in self.plan.views:
                self.rows[node.output] = self._viewed(source, self._rows(source), node.output)
            elif node.op_type in CUTTERS and node in self.ours and node not in self.places.copied:
                self._cut(node)

    def _shape(self, value: VariableNode) -> tuple[int, ...]:
        return physical(shape_of(value), self.plan.layout(value))

    def _rows(self, value: VariableNode) -> Rows:
        place = self.places.of.get(value)
        if place is None:
            return self.rows.get(value)
        whole = self._rows(place.whole) or self._shape(place.whole)
        return None if is_contiguous(self._shape(value), whole) else whole

    def _viewed(self, source: VariableNode, rows: Rows, result: VariableNode) -> Rows:
        """What a view lies within; None also where it is of a copy, as it has to be."""
        return rows and reshaped_within(self._shape(source), rows, self._shape(result))

    def _cut(self, node: OperatorNode) -> None:
        """Let the results of ``node`` be read within its operand if that saves a copy."""
        found: dict[VariableNode, Place] = {}
        rows: dict[VariableNode, Rows] = {}
        gains = False
        for value in (value for value in node.outputs if value.uses):
            place = place_of(value)
            if place is None or value in self.places.of:
                return
            found[value] = place
            part = self._part(value, place)
            if part is None:
                return
            at, rows[value] = part
            answers = {self._gains(*reader, at) for reader in self._readers(value, rows[value])}
            if False in answers:
                return
            gains |= True in answers
        if gains:
            self.places.cuts |= found
            self.rows |= rows

    def _part(self, value: VariableNode, place: Place) -> tuple[int, Rows] | None:
        """Where ``value`` begins in its operand, in bytes, and its rows.

        None if no kernel may read it there.
        """
        layout, whole = self.plan.layout(place.whole), self._shape(place.whole)
        within = self._rows(place.whole) or whole
        at = layout.index(place.axis)
        own = shape_of(value)
        size = own[place.axis] if len(own) == len(layout) else 1
        shape = (*whole[:at], size, *whole[at + 1 :])
        start = place.start * math.prod(within[at + 1 :]) * self.plan.item_bytes(value)
        if start % ADDRESS or len(self._shape(value)) not in (len(layout), len(layout) - 1):
            return None
        if is_contiguous(shape, within):
            return start, None
        rows = reshaped_within(shape, within, self._shape(value))
        return None if rows is None else (start, rows)

    def _readers(
        self, value: VariableNode, rows: Rows
    ) -> Iterator[tuple[OperatorNode, VariableNode, Rows]]:
        """What reads ``value`` or a view of it, with that view and its rows."""
        for reader in value.consumers:
            if reader not in self.plan.views or reader not in self.nodes:
                yield reader, value, rows
            elif rows is None or self._viewed(value, rows, reader.output) is not None:
                yield from self._readers(reader.output, self._viewed(value, rows, reader.output))

    def _gains(
        self, node: OperatorNode, value: VariableNode, rows: Rows, start: int
    ) -> bool | None:
        """Whether ``node`` reads ``value`` where it lies as fast as it would a copy.

        None if it reads a copy in any case.
        """
        if self._goes_on(value):
            return None
        if rows is None or node in self.places.joins:
            return True
        if node not in self.nodes:
            return False  # It might make that copy many times.
        if node not in self.ours:
            return None
        if node.op_type in MOVERS:
            return True
        if not reads_rows(node, self.ours):
            return self._transposes(node, value) or None
        item, shape = self.plan.item_bytes(value), self._shape(value)
        run = row_length(shape, rows)
        if node.op_type in ELEMENTWISE:
            return run * item % LINE == 0
        if run != shape[-1] or rows[1:-1] != shape[1:-1]:
            return False
        if node.op_type in SINGLE_ELEMENTS and not _is_depthwise(node):
            return True
        return all(n % LINE == 0 for n in (start, run * item, rows[-1] * item))

    def _goes_on(self, value: VariableNode) -> bool:
        """Whether a kernel of the cut would compute elementwise what alone reads ``value``."""
        maker, (reader, *others) = value.producer, value.consumers
        if maker is None or maker.op_type not in ("Gather", "Slice") or others:
            return False
        is_elementwise = reader.op_type in ELEMENTWISE and reader in self.ours
        return is_elementwise and shape_of(reader.output) == shape_of(value)

    def _transposes(self, node: OperatorNode, value: VariableNode) -> bool:
        """Whether ``node`` reads a copy in another layout, which a copy of the cut would double."""
        layout = self.plan.layout(value)
        # Products take matrices as they are or turned.
        matrices = (*range(len(layout) - 2), *sorted(layout[-2:]))
        return node.op_type in PRODUCTS and matrices != identity(len(layout))


def _is_depthwise(node: OperatorNode) -> bool:
    return node.op_type == "Conv" and int(node.attribute("group", 1)) > 1
