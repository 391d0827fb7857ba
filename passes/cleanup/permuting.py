"""Changes operators to work on values whose axes are in another order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from burnish.ir import OperatorNode, Shape, VariableNode
from burnish.passes.cleanup.dead import erase_dead
from burnish.passes.cleanup.permuted import Form, Perm, compose, inverse, is_identity, perm_of
from burnish.rewrite import Rewriter


def permute(
    rewriter: Rewriter, chosen: Mapping[OperatorNode, Form], position: dict[OperatorNode, int]
) -> None:
    """Let ``chosen`` nodes work in another order, with transposes where needed.

    ``position`` says where in their graph nodes are; those that take their place are added.
    """
    work = _Permuting(rewriter, position)
    for node in sorted(chosen, key=position.__getitem__):
        work.change(node, chosen[node])
    rewriter.anchor = None
    erase_dead(rewriter, work.loose)


class _Permuting:
    """Values that there are in another order by now, and transposes that may not be needed."""

    def __init__(self, rewriter: Rewriter, position: dict[OperatorNode, int]) -> None:
        self.rewriter = rewriter
        self.position = position
        self.made: dict[tuple[VariableNode, Perm], VariableNode] = {}
        self.loose: list[OperatorNode] = []

    def change(self, node: OperatorNode, form: Form) -> None:
        """Put the new form of ``node`` in its place."""
        rw = self.rewriter
        rw.anchor, rw.provenance = node, node.provenance
        inputs = [
            value if value is None or index not in form.inputs
            else self.ordered(value, form.inputs[index])
            for index, value in enumerate(node.inputs)
        ]  # fmt: skip
        for index, array in form.constants.items():
            inputs += [None] * (index + 1 - len(inputs))
            inputs[index] = rw.constant(array)
        if form.swapped:
            inputs[:2] = inputs[1::-1]
        # A result that nobody reads counts as left out unless it has a name.
        results = [VariableNode("" if old.uses else old.name) for old in node.outputs]
        changed = OperatorNode(
            node.op_type, inputs, results,
            {**node.attributes, **form.attributes}, name=node.name, provenance=node.provenance,
        )  # fmt: skip
        rw.insert(changed)
        self.position[changed] = self.position[node]
        for index, (old, new) in enumerate(zip(node.outputs, changed.outputs, strict=True)):
            perm = form.outputs.get(index)
            new.dtype, new.shape = old.dtype, old.shape
            if perm is None or is_identity(perm):
                rw.replace(old, new)
            else:
                new.shape = _permuted(old, perm)
                self._hand_over(old, new, inverse(perm))
        rw.erase(node)

    def ordered(self, value: VariableNode, perm: Perm) -> VariableNode:
        """``value`` in order ``perm``, made from what there is before any transpose."""
        if value.constant is not None:
            array = value.constant.numpy()
            array = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
            return self.rewriter.constant(np.ascontiguousarray(array.transpose(perm)))
        if is_identity(perm):
            return value
        if (value, perm) not in self.made:
            source = value.producer
            inner = perm_of(source) if source is not None and source.is_op("Transpose") else None
            if source is not None and inner is not None and source.inputs[0] is not None:
                self.loose.append(source)
                found = self.ordered(source.inputs[0], compose(inner, perm))
            else:
                found = self._transposed(value, perm)
            self.made[value, perm] = found
        return self.made[value, perm]

    def _transposed(self, value: VariableNode, perm: Perm) -> VariableNode:
        like = VariableNode("", value.dtype, _permuted(value, perm))
        return self.rewriter.op("Transpose", [value], {"perm": perm}, like=like)

    def _hand_over(self, old: VariableNode, new: VariableNode, back: Perm) -> None:
        """Let the readers of ``old`` read ``new``, of which ``back`` makes the same."""
        rw = self.rewriter
        again = self._transposed(new, back)
        rw.replace(old, again)
        for reader in again.consumers:
            order = perm_of(reader) if reader.is_op("Transpose") else None
            if order is None or rw.anchor is None or reader.graph is not rw.anchor.graph:
                continue
            rw.provenance = reader.provenance
            rw.replace(reader.output, self.ordered(new, compose(back, order)))
            rw.erase(reader)
        if again.producer is not None:
            self.loose.append(again.producer)


def _permuted(value: VariableNode, perm: Perm) -> Shape:
    return None if value.shape is None else tuple(value.shape[axis] for axis in perm)
