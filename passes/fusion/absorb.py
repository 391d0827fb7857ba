"""Plans how an affine map goes into constants further up or down the graph, and carries it out.

A plan is a list of ends: nodes that take the map, or a part of it, into their own constants. What
lies in between stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.fusion.affine import Affine
from burnish.passes.fusion.ends import (
    Edit,
    End,
    constant_end,
    linear_reader,
    linear_writer,
    recurrent_reader,
    response_end,
)
from burnish.passes.fusion.norm_ends import norm_reader, norm_writer
from burnish.passes.fusion.operands import CARRIED, SPREAD, Maps, joined_parts
from burnish.passes.fusion.passages import PASSAGES
from burnish.rewrite import Miss, Rewriter

Plan: TypeAlias = tuple[End, ...]

MAX_STEPS = 64
"""Operators, or inputs of one, that one search looks at: time stays linear in the graph."""


def into_writers(source: VariableNode, affine: Affine, root: OperatorNode) -> Plan | Miss:
    """How what writes ``source`` can write it mapped, which is what ``root`` does to it.

    A value that several operators read on the way can come mapped if all of them lead to
    ``source`` and want the same: so the factor of a query passes its rotation by positions.
    """
    search = Search()
    found = search.writers(source, affine, root)
    if not isinstance(found, Miss) or not search.met_shared:
        return found
    together = Search(joint=True)
    again = together.writers(source, affine, root)
    return found if isinstance(again, Miss) or together.is_waiting else again


def into_readers(value: VariableNode, affine: Affine, root: OperatorNode) -> Plan | Miss:
    """How every reader of ``value`` can do without the map that ``root`` applies to it."""
    return Search().readers(value, affine, root)


class Search:
    """One search for the ends of a map, from a value up to writers or down to readers."""

    def __init__(self, *, joint: bool = False) -> None:
        """Start with the whole budget of steps.

        Args:
            joint: go on behind a value with several readers once all of them want it mapped.
        """
        self._steps = 0
        self._joint = joint
        self._wanted: dict[VariableNode, list[Affine]] = {}
        self._parts: dict[OperatorNode, dict[VariableNode, Affine]] = {}
        self.met_shared = False
        """Whether a value with several readers was in the way."""

    @property
    def is_waiting(self) -> bool:
        """Whether some reader of a value has not said that it wants it mapped."""
        return any(len(maps) < len(value.uses) for value, maps in self._wanted.items()) or any(
            len(parts) < _used(split) for split, parts in self._parts.items()
        )

    def _shared(self, node: OperatorNode, value: VariableNode, affine: Affine) -> Miss | bool:
        """Whether to stop at ``value`` for now, because other readers come later."""
        if len(value.uses) == 1:
            return False
        self.met_shared = True
        if not self._joint:
            return _read_elsewhere(node, value)
        maps = self._wanted.get(value, [])
        if maps and not maps[0].same_as(affine):
            return Miss(f"the readers of {node.op_type} want different factors", node)
        self._wanted = {**self._wanted, value: [*maps, affine]}
        return len(maps) + 1 < len(value.uses)

    def _spend(self, node: OperatorNode) -> Miss | None:
        self._steps += 1
        if len(node.inputs) > MAX_STEPS:
            return Miss(f"{node.op_type} has too many inputs", node)
        return Miss("too many operators lie in between", node) if self._steps > MAX_STEPS else None

    def writers(self, value: VariableNode, affine: Affine, reader: OperatorNode) -> Plan | Miss:
        """How what writes ``value`` can write the mapped value, which only ``reader`` reads."""
        if affine.is_identity:
            return ()
        node = value.producer
        if node is None or node.graph is not reader.graph:
            return Miss(f"{value.name or 'the data'} comes from outside", reader)
        problem = self._spend(node)
        waits = problem or self._shared(node, value, affine)
        if waits:
            return waits if isinstance(waits, Miss) else ()
        return _stuck(node, affine) if node.domain else self._writer(node, value, affine)

    def _writer(self, node: OperatorNode, value: VariableNode, affine: Affine) -> Plan | Miss:
        first = value is node.output
        for end in (linear_writer, norm_writer):
            found = end(node, affine) if first else None
            if found is not None:
                return found if isinstance(found, Miss) else (found,)
        passage = PASSAGES.get(node.op_type)
        if passage is not None and first:
            before = passage(node, affine, True)
            if isinstance(before, Miss):
                return before
            return self._operand(node, 0, before)
        if self._joint and node.op_type == "Split":
            return self._part(node, value, affine)
        spread = SPREAD.get(node.op_type)
        if spread is None:
            return _stuck(node, affine)
        return self._either(node, spread(node, value, affine))

    def _part(self, split: OperatorNode, value: VariableNode, affine: Affine) -> Plan | Miss:
        """A part of a value; the whole is looked at once all parts are to come mapped."""
        parts = {**self._parts.get(split, {}), value: affine}
        self._parts = {**self._parts, split: parts}
        if len(parts) < _used(split):
            return ()
        whole = joined_parts(split, [parts.get(part, affine) for part in split.outputs])
        return whole if isinstance(whole, Miss) else self._operand(split, 0, whole)

    def _operand(self, node: OperatorNode, slot: int, affine: Affine) -> Plan | Miss:
        """How input ``slot`` of ``node`` can come mapped."""
        value = node.inputs[slot]
        assert value is not None
        if affine.is_identity:
            return ()
        if value.is_constant:
            if len(value.uses) > 1 and node.op_type == "Gather":
                return Miss("the table of Gather is read elsewhere as well", node)
            end = constant_end(node, slot, affine)
            return end if isinstance(end, Miss) else (end,)
        return self.writers(value, affine, node)

    def _either(self, node: OperatorNode, ways: Sequence[Maps]) -> Plan | Miss:
        """The first of several ways to map the inputs of ``node``."""
        misses = []
        for maps in ways:
            before = self._wanted, self._parts
            found = self._operands(node, maps)
            if not isinstance(found, Miss):
                return found
            self._wanted, self._parts = before
            misses.append(found)
        return misses[0]

    def _operands(self, node: OperatorNode, maps: Maps) -> Plan | Miss:
        """How every input of ``node`` can come mapped in its own way."""
        plan: Plan = ()
        for slot, affine in enumerate(maps):
            found = affine if isinstance(affine, Miss) else self._operand(node, slot, affine)
            if isinstance(found, Miss):
                return found
            plan += found
        return plan

    def readers(self, value: VariableNode, affine: Affine, writer: OperatorNode) -> Plan | Miss:
        """How every reader of ``value``, which comes mapped, can make do without the map."""
        if affine.is_identity:
            return ()
        plan: Plan = ()
        for use in value.uses:
            node = use.user
            if not isinstance(node, OperatorNode):
                return Miss("the result is also read by a graph output", writer)
            if node.graph is not writer.graph:
                return Miss("the result is also read inside a subgraph", node)
            found = self._spend(node) or self._reader(node, use.index, value, affine)
            if isinstance(found, Miss):
                return found
            plan += found
        return plan

    def _reader(
        self, node: OperatorNode, slot: int, value: VariableNode, affine: Affine
    ) -> Plan | Miss:
        if node.domain or value.times_read_by(node) > 1:
            return _stuck(node, affine)
        found = linear_reader(node, slot, affine)
        if isinstance(found, End) and node.op_type == "MatMul" and found.added:
            return self._biased(node, slot, found, affine)
        if found is None:
            found = norm_reader(node, slot, affine) or recurrent_reader(node, slot, affine)
        if found is not None:
            return found if isinstance(found, Miss) else (found,)
        passage = PASSAGES.get(node.op_type)
        if passage is not None and slot == 0:
            after = passage(node, affine, False)
            return after if isinstance(after, Miss) else self.readers(node.output, after, node)
        carry = CARRIED.get(node.op_type)
        if carry is None:
            return _stuck(node, affine)
        results = carry(node, slot, affine)
        if isinstance(results, Miss):
            return results
        plan = results[0]
        for result, after in zip(node.outputs, results[1], strict=True):
            further = self.readers(result, after, node) if result.uses else ()
            if isinstance(further, Miss):
                return further
            plan += further
        return plan

    @staticmethod
    def _biased(product: OperatorNode, data: int, end: End, affine: Affine) -> Plan:
        """A shift that a MatMul turns into a bias joins the bias that is there, if there is."""
        readers = product.output.consumers if len(product.output.uses) == 1 else []
        reader = next(iter(readers), None)
        if reader is None or not reader.is_op("Add") or reader.graph is not product.graph:
            return (end,)
        slot = 1 if reader.inputs[0] is product.output else 0
        if reader.constant_input(slot) is None:
            return (end,)
        bias = response_end(product, reader, slot, affine)
        if isinstance(bias, Miss):
            return (end,)
        scale = linear_reader(product, data, affine.scaling)
        if affine.scale is None or not isinstance(scale, End):
            return (bias,)
        return (scale, bias)


def _stuck(node: OperatorNode, affine: Affine) -> Miss:
    what = "a factor" if affine.shift is None else "a shift"
    return Miss(f"{what} does not go through {node.op_type}", node)


def _read_elsewhere(node: OperatorNode, value: VariableNode) -> Miss:
    others = [use.user.op_type for use in value.uses if isinstance(use.user, OperatorNode)]
    reader = others[-1] if len(others) == len(value.uses) else "graph output"
    return Miss(f"the result of {node.op_type} is also read by another {reader}", node)


def _used(split: OperatorNode) -> int:
    return sum(1 for part in split.outputs if part.uses)


def settled(plan: Plan, gain: int, root: OperatorNode) -> tuple[Edit, ...] | Miss:
    """The edits of ``plan``, if they are fewer operators than the ``gain`` and do not collide."""
    if sum(end.added for end in plan) >= gain:
        return Miss("MatMul has no bias: it would take another addition", root)
    slots = [(end.node, slot) for end in plan for slot in end.slots]
    if len(set(slots)) != len(slots):
        return Miss("two branches lead to the same operator", root)
    edits = []
    for end in plan:
        edit = end.fold()
        if isinstance(edit, Miss):
            return edit
        edits.append(edit)
    return tuple(edits)


def carry_out(rw: Rewriter, edits: Sequence[Edit], root: OperatorNode) -> None:
    """Write ``edits``, which make ``root`` superfluous."""
    for edit in edits:
        node = edit.node
        for slot, constant in edit.inputs.items():
            rw.set_input(node, slot, VariableNode.of(constant))
        for name, value in edit.attributes.items():
            rw.set_attribute(node, name, value)
        rw.adopt(node, [root])
        if edit.offset is not None:
            _add(rw, node, edit)


def _add(rw: Rewriter, product: OperatorNode, edit: Edit) -> None:
    """Put a MatMul and the addition of its new bias in the place of ``product``."""
    assert edit.offset is not None
    old = product.output
    bare, result = (VariableNode("", old.dtype, old.shape) for _ in range(2))
    rw.insert(
        OperatorNode("MatMul", product.inputs, [bare], provenance=product.provenance), product
    )
    offset = VariableNode.of(edit.offset)
    rw.insert(OperatorNode("Add", [bare, offset], [result], provenance=product.provenance), product)
    rw.replace(old, result)
    rw.erase(product)
