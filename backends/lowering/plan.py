"""Decides for every value its layout, and for every node whether it costs nothing.

One walk forward: anchors choose their output's layout, elementwise nodes follow their operands,
reshapes and transposes pass the bytes on under another layout where that is possible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from burnish.backends.lowering.elementwise import ELEMENTWISE, numpy_name
from burnish.backends.lowering.encoding import Encoding, Rounded, decodes
from burnish.backends.lowering.layout import (
    Layout,
    channels_last,
    extend,
    identity,
    reshaped,
    spatial_last,
    transposed,
    without,
)
from burnish.backends.program import item_bytes
from burnish.errors import UnsupportedModel
from burnish.ir import DType, OperatorNode, VariableNode

VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})
"""Operators that only give the same elements another shape."""

SPATIAL = frozenset({
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool",
    "GlobalMaxPool", "ConvInteger", "ConvTransposeInteger",
})  # fmt: skip
"""Operators computed with channels last."""

FOLLOWERS = frozenset({
    "Softmax", "LogSoftmax", "Concat", "Slice", "Pad", "LayerNormalization", "RMSNormalization",
    "Resize", "Split", "InstanceNormalization", "GroupNormalization", "ArgMax", "ArgMin",
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "BatchNormalization", "CumProd", "CumSum",
    "RotaryEmbedding",
})  # fmt: skip
"""Operators that work along named axes in whatever layout their first input has."""


TRAILING = frozenset({"LayerNormalization", "RMSNormalization", "RotaryEmbedding"})
"""Those that work along the last axes, which have to lie last."""

CHANNEL_NORMS = frozenset({"InstanceNormalization", "GroupNormalization"})
"""Those that know channels second or last."""

ATTENTION_RESULT: Layout = (0, 2, 1, 3)
"""Batch, position, head, channel: merging the heads afterwards then costs nothing."""


@dataclass
class Plan:
    """Layouts of all values, and which nodes are mere views of their first input."""

    layouts: dict[VariableNode, Layout] = field(default_factory=dict)
    views: set[OperatorNode] = field(default_factory=set)
    encoded: dict[VariableNode, Encoding] = field(default_factory=dict)
    """Float32 values that are kept in another type, and how."""

    def layout(self, value: VariableNode) -> Layout:
        """The layout of ``value``; row-major unless decided otherwise."""
        return self.layouts.get(value) or identity(len(shape_of(value)))

    def item_bytes(self, value: VariableNode) -> int:
        """Bytes of an element of ``value`` as it is stored."""
        encoding = self.encoded.get(value)
        return item_bytes(numpy_name(value.dtype) if encoding is None else encoding.stored)


def shape_of(value: VariableNode) -> tuple[int, ...]:
    """The static shape of ``value``.

    Raises:
        UnsupportedModel: a size is not known.
    """
    shape = value.static_shape
    if shape is None:
        maker = value.producer.provenance if value.producer else ()
        raise UnsupportedModel(
            f"the shape of {value.name or 'a value'} (made by {', '.join(maker) or 'the input'}) "
            f"is {value.shape}: fix the input shapes with --input-shape"
        )
    return shape


def plan_layouts(order: Iterable[OperatorNode], native: frozenset[OperatorNode]) -> Plan:
    """Choose layouts for every value that ``native`` nodes make, given in ``order``."""
    plan = Plan()
    extend_plan(plan, order, native)
    return plan


def extend_plan(plan: Plan, order: Iterable[OperatorNode], native: frozenset[OperatorNode]) -> None:
    """Go on with nodes, of a subgraph perhaps, that read what ``plan`` knows."""
    for node in order:
        if node in native:
            if not _plan_decoding(node, plan):
                _plan_node(node, plan)


def _plan_node(node: OperatorNode, plan: Plan) -> None:
    output, first = node.output, node.input(0)
    if node.op_type in ELEMENTWISE and node.op_type not in VIEWS:
        plan.layouts[output] = _majority(node, plan)
    elif node.op_type == "Attention":
        plan.layouts[output] = ATTENTION_RESULT
    elif first is None:
        return
    elif node.op_type in VIEWS or node.op_type == "Transpose":
        _plan_view(node, first, plan)
    elif node.op_type in SPATIAL:
        plan.layouts[output] = spatial_last(shape_of(first), shape_of(output))
    elif node.op_type == "TopK":
        axis = int(node.attribute("axis", -1)) % len(shape_of(first))
        order = (*(a for a in range(len(shape_of(first))) if a != axis), axis)
        plan.layouts.update(dict.fromkeys(node.outputs, order))
    elif place := picked(node):
        plan.layouts[output] = without(plan.layout(first), place[0])
    elif node.op_type in FOLLOWERS:
        layout = _followed(node, plan)
        same = (value for value in node.outputs if value.rank == first.rank)
        plan.layouts.update(dict.fromkeys(same, layout))


def picked(node: OperatorNode) -> tuple[int, int] | None:
    """The axis that a Gather drops by taking one known position of it, and which one; else None."""
    data, at = node.input(0), node.constant_input(1)
    if node.op_type != "Gather" or data is None or data.is_constant or at is None or at.shape != ():
        return None
    axis = int(node.attribute("axis", 0)) % len(shape_of(data))
    position, size = int(at.numpy()), shape_of(data)[axis]
    position += size if position < 0 else 0
    return (axis, position) if 0 <= position < size else None


def _plan_decoding(node: OperatorNode, plan: Plan) -> bool:
    """Plan what only decodes: who reads the result reads the operand, and decodes each number.

    Rounding to bfloat16 what is kept so anyhow is such a view as well.
    """
    source = node.input(0)
    if source is None:
        return False
    encoding = decodes(node)
    restores = node.is_op("Cast") and node.output.dtype is DType.BFLOAT16
    if encoding is None and not (restores and plan.encoded.get(source) == Rounded()):
        return False
    plan.views.add(node)
    plan.layouts[node.output] = plan.layout(source)
    if encoding is not None:
        plan.encoded[node.output] = encoding
    return True


def _plan_view(node: OperatorNode, first: VariableNode, plan: Plan) -> None:
    """A Transpose always only renames axes, a reshape if no byte has to move."""
    output, held, encoding = node.output, plan.layout(first), plan.encoded.get(first)
    layout: Layout | None
    if node.op_type == "Transpose":
        order = node.attribute("perm") or tuple(reversed(range(len(held))))
        layout = transposed(held, order)
        kept = encoding and encoding.transposed(order)
    else:
        layout = reshaped(shape_of(first), shape_of(output), held)
        kept = encoding and encoding.reshaped(shape_of(first), shape_of(output))
    if layout is not None and (encoding is None) == (kept is None):
        plan.views.add(node)
        plan.layouts[output] = layout
        if kept is not None:
            plan.encoded[output] = kept


def _followed(node: OperatorNode, plan: Plan) -> Layout:
    """The layout of the operands, if the kernel can work along its axes in it."""
    layout = _majority(node, plan)
    if node.op_type in TRAILING and layout[-1] != len(layout) - 1:
        return identity(len(layout))
    if node.op_type in CHANNEL_NORMS and layout != channels_last(len(layout)):
        return identity(len(layout))
    return layout


def _majority(node: OperatorNode, plan: Plan) -> Layout:
    """The layout that most bytes of the operands have; computed ones count before others."""
    rank = len(shape_of(node.output))
    votes: dict[Layout, int] = {}
    for value in node.inputs:
        if value is None or value.is_constant or value.rank is None or value.rank > rank:
            continue
        layout = extend(plan.layout(value), rank)
        size = int(np.prod(shape_of(value), dtype=np.int64))
        votes[layout] = votes.get(layout, 0) + size * (2 if layout != identity(rank) else 1)
    return max(votes, key=lambda layout: votes[layout]) if votes else identity(rank)
