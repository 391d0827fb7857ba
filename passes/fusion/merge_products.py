"""Merges products of one value with several weights into one, whose result is split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import per_channel
from burnish.passes.fusion.linear import Linear, read_linear
from burnish.passes.fusion.sink_split import SINK_SPLIT
from burnish.passes.fusion.splits import write_split
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, Missing, OneOf, Op, Rewriter, Rule

MAX_READERS = 64
"""A value that more operators read is left alone: time stays linear in the size of the graph."""


@dataclass(frozen=True)
class MergeProducts(RulePass):
    """Compute products of one value with several weights in one go, and split the result.

    Before:
        q = MatMul(x, a) + b        k = MatMul(x, c) + d        v = MatMul(x, e) + f

    After:
        q, k, v = Split(MatMul(x, [a c e]) + [b d f])

    So do Gemm and Conv. What then happens to all parts alike, such as the reshape and transpose to
    attention heads, happens before the split, once. Only where fewer operators are left.
    """

    name: ClassVar[str] = "merge-products"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Merging, then what follows the split; none of it for native code, which gains nothing.

        Kernels read the common value from the cache as often as they like, but the parts of a
        split are copied: one percent slower on DeiT-tiny, the same on MiniLM.
        """
        return NATIVE if context.target is not None else (*RULES, *SINK_SPLIT)


@dataclass(frozen=True)
class Member:
    """One of the products."""

    linear: Linear
    add: OperatorNode | None
    """What adds the bias of a MatMul."""

    @property
    def result(self) -> VariableNode:
        """The value that comes out, bias included."""
        return self.linear.node.output if self.add is None else self.add.output

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return self.linear.output_channels

    def bias(self) -> Array:
        """What is added to the channels, [channels] in the type of the model."""
        value, slot = self.linear.node.input(2), 0
        if self.add is not None:
            slot = 1 if self.add.inputs[0] is self.linear.node.output else 0
            value = self.add.inputs[slot]
        dtype = self.linear.weight.dtype.numpy
        if value is None or value.constant is None:
            return np.zeros(self.channels, dtype)
        return np.broadcast_to(value.constant.numpy().reshape(-1), (self.channels,))


def _members(match: Match) -> tuple[Member, ...] | Miss:
    root, data = match.root, match["data"]
    if len(data.uses) > MAX_READERS:
        return Miss(f"more than {MAX_READERS} operators read the same value", root)
    wanted = _signature(root)
    if isinstance(wanted, Miss):
        return wanted
    found = []
    for node in data.consumers:
        if node.op_type == root.op_type and node.graph is root.graph and node.input(0) is data:
            if _signature(node) == wanted:
                found.append(_member(node))
    if len(found) == 1:
        return Miss("no other product with such weights reads the same value", root)
    if found[0].linear.node is not root:
        return Miss("another product of the same value comes first", root)
    adds = sum(member.add is not None for member in found)
    if 2 + min(adds, 1) >= len(found) + adds:
        return Miss("a product and a split are no fewer operators than there are now", root)
    return tuple(found)


def _signature(node: OperatorNode) -> tuple[object, ...] | Miss:
    """What products must have in common to be merged."""
    linear = read_linear(node)
    if linear is None or isinstance(linear, Miss):
        return linear or Miss(f"the weights of {node.op_type} are computed", node)
    bias = node.input(2)
    if bias is not None and (bias.constant is None or not _is_vector(bias, linear)):
        return Miss(f"the bias of {node.op_type} is not one known number per channel", node)
    if linear.slot != 1 or not linear.has_matrix or linear.groups != 1:
        return Miss(f"{node.op_type} has groups, batches of weights, or its weights first", node)
    shape = list(linear.weight.shape)
    shape[linear.out_axis] = 0
    attributes = {k: v for k, v in node.attributes.items() if k != "kernel_shape"}
    return (linear.weight.dtype, tuple(shape), tuple(sorted(attributes.items())))


def _is_vector(bias: VariableNode, linear: Linear) -> bool:
    return per_channel(bias, -1, max(bias.rank or 0, 1), linear.output_channels) is not None


def _member(node: OperatorNode) -> Member:
    """``node`` with the addition that follows, if that is its bias."""
    linear = read_linear(node)
    assert isinstance(linear, Linear)
    readers = node.output.consumers
    if node.op_type != "MatMul" or len(node.output.uses) != 1 or not readers:
        return Member(linear, None)
    add = readers[0]
    if not add.is_op("Add") or add.graph is not node.graph:
        return Member(linear, None)
    bias = add.inputs[1 if add.inputs[0] is node.output else 0]
    known = bias is not None and bias.is_constant and bias.dtype is linear.weight.dtype
    rank = node.output.rank
    fits = known and bias is not None and _is_vector(bias, linear)
    if not fits or bias is None or rank is None or (bias.rank or 0) > rank:
        return Member(linear, None)
    return Member(linear, add)


def _merge(rw: Rewriter, match: Match, members: tuple[Member, ...]) -> None:
    root, data = match.root, match["data"]
    graph, producer = root.graph, data.producer
    assert graph is not None
    # Other members may come before the root, but none before the value that all read.
    rw.anchor = producer.next if producer is not None and producer.graph is graph else graph.first
    nodes = [n for m in members for n in (m.add, m.linear.node) if n is not None]
    rw.provenance = tuple(dict.fromkeys(p for node in reversed(nodes) for p in node.provenance))
    first = members[0].linear
    axis = first.out_axis
    weight = rw.constant(np.concatenate([m.linear.weight.numpy() for m in members], axis))
    like = _joined(members)
    biased = root.op_type == "MatMul" and any(m.add is not None for m in members)
    own = root.op_type != "MatMul" and any(m.linear.node.input(2) is not None for m in members)
    bias = rw.constant(np.concatenate([m.bias() for m in members])) if biased or own else None
    inputs = [data, weight, bias] if own else [data, weight]
    whole = rw.op(root.op_type, inputs, root.attributes, like=like)
    if biased:
        whole = rw.op("Add", [whole, bias], like=like)
    write_split(
        rw, whole, [m.result for m in members], first.result_axis, [m.channels for m in members]
    )
    rw.erase_unused(nodes)


def _joined(members: Sequence[Member]) -> VariableNode:
    """A value with the type of all results side by side."""
    first = members[0].linear
    value = VariableNode("", first.node.output.dtype, None)
    if first.node.output.shape is not None:
        shape = list(first.node.output.shape)
        shape[first.result_axis] = sum(member.channels for member in members)
        value.shape = tuple(shape)
    return value


def _native(match: Match) -> Miss:
    found = _members(match)
    if isinstance(found, Miss):
        return found
    return Miss(
        "native code takes separate products as fast, and a split would be copied", match.root
    )


def _pattern(op_type: str) -> Op:
    return Op(op_type, Any("data"), Const("weight"), OneOf(Missing(), Any("bias")))


RULES = tuple(
    Rule(name, _pattern(op_type), _merge, _members, since=2)
    for name, op_type in (
        ("products-of-one-value", "MatMul"), ("gemms-of-one-value", "Gemm"),
        ("convolutions-of-one-value", "Conv"),
    )
)  # fmt: skip
NATIVE = tuple(replace(rule, guard=_native) for rule in RULES)
