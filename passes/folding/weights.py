"""New weights: collected first, written together, so that a fold happens entirely or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from burnish.analysis.axis_graph import AxisGraph
from burnish.analysis.axis_graph_flow import Reader, Slot, arriving
from burnish.analysis.axis_graph_sites import Member, Site
from burnish.ir import Array, Constant, OperatorNode, VariableNode
from burnish.passes.folding.key_invariance import only_shifts_keys
from burnish.passes.fusion.constants import Vector, along, rounded
from burnish.passes.fusion.linear import OVERFLOW
from burnish.rewrite import Miss, Rewriter

COPIED = 1 << 14
"""Bytes of a constant that may be copied because others use it as it is: a bias."""


@dataclass
class NewWeights:
    """Constants to be put in place of others; equal ones that are shared stay shared."""

    inputs: dict[tuple[OperatorNode, int], Array] = field(default_factory=dict)
    """New values of inputs, float64."""

    def current(self, node: OperatorNode, index: int) -> Array | None:
        """The value of an input as it will be, float64; None if it is left out."""
        if (node, index) in self.inputs:
            return self.inputs[node, index]
        constant = node.constant_input(index)
        return None if constant is None else constant.numpy().astype(np.float64)

    def scale(self, member: Member, factors: Vector) -> None:
        """Multiply a weight along its axis by one factor for each place there."""
        weight = self.current(member.node, member.index)
        assert weight is not None
        wide = along(factors, member.axes[0], weight.ndim)
        self.inputs[member.node, member.index] = weight * wide

    def add(self, slot: Slot, addition: Vector) -> None:
        """Add a number to each channel of a result, where its bias is."""
        present = self.current(slot.node, slot.index)
        if slot.node.op_type == "Gemm":
            beta = float(slot.node.attribute("beta", 1.0)) if present is not None else 1.0
            addition = addition / beta
        total = addition if present is None else present + addition
        self.inputs[slot.node, slot.index] = total

    def write(self, rw: Rewriter) -> Miss | None:
        """Put the new constants in place; nothing is changed if one of them does not fit."""
        made: dict[tuple[VariableNode, int], VariableNode] = {}
        steps: list[tuple[OperatorNode, int, VariableNode]] = []
        for (node, index), array in self.inputs.items():
            old = node.input(index)
            if old is not None and (old, id(array)) in made:
                steps.append((node, index, made[old, id(array)]))
                continue
            dtype = old.dtype if old is not None else node.output.dtype
            cast = rounded(array, dtype)
            if cast is None:
                return Miss(OVERFLOW.format(dtype), node)
            new = rw.constant(cast)
            if old is not None:
                made[old, id(array)] = new
            steps.append((node, index, new))
        for node, index, new in steps:
            if node.op_type == "Gemm" and index == 2 and node.input(2) is None:
                rw.set_attribute(node, "beta", None)
            rw.set_input(node, index, new)
        return None


def response(weights: NewWeights, member: Member, shift: Vector) -> Vector:
    """What ``shift``, one number for each place along the read axis, adds to the results."""
    weight = weights.current(member.node, member.index)
    assert weight is not None
    moved = np.tensordot(shift, weight, axes=(0, member.axes[0]))
    # What is left besides output channels are the places of a kernel.
    flat: Vector = moved.sum(axis=tuple(range(1, moved.ndim)))
    if member.node.op_type == "Gemm":
        flat = flat * float(member.node.attribute("alpha", 1.0))
    return flat


def fold_shift(
    weights: NewWeights, axes: AxisGraph, site: Site, shift: Vector, found: Sequence[Reader]
) -> Miss | None:
    """Add what ``shift`` at the channels of ``site`` comes to behind every reader.

    A product without bias that makes keys does not need any: a shift of keys has no effect.
    """
    for reader in found:
        slot = reader.slot
        if slot is None and only_shifts_keys(axes, reader.node.output) is None:
            continue
        if slot is None:
            return Miss(f"{reader.node.op_type} has no bias to take the shift", reader.node)
        biased = slot.node.op_type == "Gemm" and slot.node.input(slot.index) is not None
        if biased and slot.node.attribute("beta", 1.0) == 0:
            return Miss("Gemm multiplies its bias by 0", reader.node)
        here = arriving(axes, site, shift, reader.member)
        if here is None:
            return Miss("its channels cannot be told apart", reader.node)
        weights.add(slot, response(weights, reader.member, here) * reader.factor)
    return None


def shared_elsewhere(members: Iterable[Member]) -> Miss | None:
    """Why the weights of ``members`` cannot be changed: others use them as they are."""
    known = {(member.node, member.index) for member in members}
    for value, node in _values(known):
        if value.constant is not None and value.constant.nbytes <= COPIED:
            continue
        if any((use.user, use.index) not in known for use in value.uses):
            size = value.constant.nbytes / 1e6 if value.constant is not None else 0
            reason = f"its weights are used elsewhere too, and a copy would add {size:.2g} MB"
            return Miss(reason, node)
    return None


def _values(
    places: Iterable[tuple[OperatorNode, int]],
) -> Iterator[tuple[VariableNode, OperatorNode]]:
    for node, index in places:
        value = node.input(index)
        if value is not None:
            yield value, node


def vector(constant: Constant | None) -> Vector | None:
    """A constant with one axis, float64."""
    return None if constant is None else constant.numpy().astype(np.float64)
