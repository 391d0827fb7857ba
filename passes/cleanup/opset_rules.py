"""How operators of older opsets are written in newer ones.

One entry per change of meaning or form. Versions that only admit more element types, or only add
attributes and inputs whose absence means the old behaviour, need none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.rewrite import Rewriter

Check: TypeAlias = Callable[[OperatorNode], str | None]
"""Why a node cannot be rewritten, None if it can."""
Apply: TypeAlias = Callable[[Rewriter, OperatorNode], None]


def _fine(node: OperatorNode) -> str | None:
    """A change that every node can follow."""
    return None


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A change that opset ``version`` brought to some operators."""

    version: int
    apply: Apply
    check: Check = _fine


def set_type(rewriter: Rewriter, node: OperatorNode, op_type: str) -> OperatorNode:
    """Replace ``node`` by one of ``op_type`` that is otherwise the same."""
    results = [VariableNode("", value.dtype, value.shape) for value in node.outputs]
    new = OperatorNode(op_type, node.inputs, results, node.attributes, name=node.name,
                       provenance=node.provenance)  # fmt: skip
    rewriter.insert(new, node)
    for old, result in zip(node.outputs, results, strict=True):
        name = old.name
        rewriter.replace(old, result)
        result.name = result.name or name
    rewriter.erase(node)
    return new


def _drop(*names: str) -> Apply:
    """Remove attributes that said nothing about inference."""

    def apply(rewriter: Rewriter, node: OperatorNode) -> None:
        for name in names:
            if name in node.attributes:
                rewriter.set_attribute(node, name, None)

    return apply


def _default(**values: Any) -> Apply:
    """Spell out what the absence of attributes meant before."""

    def apply(rewriter: Rewriter, node: OperatorNode) -> None:
        for name, value in values.items():
            if name not in node.attributes:
                rewriter.set_attribute(node, name, value)

    return apply


def _to_input(index: int, name: str, dtype: type[np.generic] = np.int64) -> Apply:
    """Turn attribute ``name`` into a constant at input ``index``."""

    def apply(rewriter: Rewriter, node: OperatorNode) -> None:
        if name in node.attributes:
            array = np.array(node.attributes[name], dtype)
            rewriter.set_input(node, index, rewriter.constant(array))
            rewriter.set_attribute(node, name, None)

    return apply


def _in_turn(*steps: Apply) -> Apply:
    def apply(rewriter: Rewriter, node: OperatorNode) -> None:
        for step in steps:
            step(rewriter, node)

    return apply


def _only(reason: str, holds: Callable[[OperatorNode], bool]) -> Check:
    """A check that ``holds``, else ``reason``."""

    def check(node: OperatorNode) -> str | None:
        return None if holds(node) else reason

    return check


def _scalar_input(rewriter: Rewriter, node: OperatorNode, index: int, value: float) -> None:
    like = node.inputs[0]
    dtype = like.dtype if like is not None and like.dtype.bits else DType.FLOAT
    rewriter.set_input(node, index, rewriter.constant(np.array(value, dtype.numpy)))


def _clip(rewriter: Rewriter, node: OperatorNode) -> None:
    for index, name in enumerate(("min", "max"), start=1):
        if name in node.attributes:
            _scalar_input(rewriter, node, index, node.attributes[name])
            rewriter.set_attribute(node, name, None)


def _dropout(rewriter: Rewriter, node: OperatorNode) -> None:
    ratio = node.attribute("ratio", 0.5)
    rewriter.set_attribute(node, "ratio", None)
    rewriter.set_input(node, 1, rewriter.constant(np.array(ratio, np.float32)))


def _pads(rewriter: Rewriter, node: OperatorNode) -> None:
    fill = node.attribute("value", 0.0)
    _to_input(1, "pads")(rewriter, node)
    if fill:
        _scalar_input(rewriter, node, 2, fill)
    rewriter.set_attribute(node, "value", None)


def _slice(rewriter: Rewriter, node: OperatorNode) -> None:
    for index, name in enumerate(("starts", "ends", "axes"), start=1):
        _to_input(index, name)(rewriter, node)


def _split(rewriter: Rewriter, node: OperatorNode) -> None:
    if node.input(1) is None:
        rewriter.set_attribute(node, "num_outputs", len(node.outputs))


def _top_k(rewriter: Rewriter, node: OperatorNode) -> None:
    k = np.array([node.attributes["k"]], np.int64)
    rewriter.set_input(node, 1, rewriter.constant(k))
    rewriter.set_attribute(node, "k", None)


def _flattened(rewriter: Rewriter, node: OperatorNode) -> None:
    """Softmax and its kin once worked on the input flattened to two axes."""
    axis, source = node.attribute("axis", 1), node.inputs[0]
    assert source is not None
    rank = source.rank
    if axis == -1 or (rank is not None and axis == rank - 1):
        rewriter.set_attribute(node, "axis", -1)
        return
    rewriter.anchor, rewriter.provenance = node, node.provenance
    flat = rewriter.op("Flatten", [source], {"axis": axis})
    flat.dtype = source.dtype
    result = rewriter.op(node.op_type, [flat], {"axis": -1})
    result.dtype = source.dtype
    shape = source.static_shape
    target = (
        rewriter.op("Shape", [source]) if shape is None
        else rewriter.constant(np.array(shape, np.int64))
    )  # fmt: skip
    rewriter.replace(node.output, rewriter.op("Reshape", [result, target], like=node.output))
    rewriter.erase(node)


def _broadcast(rewriter: Rewriter, node: OperatorNode) -> None:
    """Binary operators once aligned their second operand at ``axis``, not at the end."""
    left, right = node.inputs[0], node.inputs[1]
    axis = node.attribute("axis")
    _drop("axis", "broadcast")(rewriter, node)
    if axis is None or left is None or right is None:
        return
    assert left.rank is not None
    assert right.rank is not None
    trailing = left.rank - (axis % left.rank) - right.rank
    if trailing > 0:
        rewriter.anchor, rewriter.provenance = node, node.provenance
        axes = np.arange(right.rank, right.rank + trailing, dtype=np.int64)
        rewriter.set_input(node, 1, unsqueezed(rewriter, right, axes))


def unsqueezed(rewriter: Rewriter, value: VariableNode, axes: Array) -> VariableNode:
    """``value`` with new axes of size 1 (in the newest form of Unsqueeze)."""
    if value.constant is not None:
        return rewriter.constant(np.expand_dims(value.constant.numpy(), tuple(axes.tolist())))
    result = rewriter.op("Unsqueeze", [value, rewriter.constant(axes)])
    result.dtype = value.dtype
    return result


def _aligned(node: OperatorNode) -> bool:
    ranks = [value.rank for value in node.inputs if value is not None]
    return node.attribute("axis") is None or None not in ranks


def _slope(rewriter: Rewriter, node: OperatorNode) -> None:
    """PRelu once took one slope per channel, whatever the rank."""
    source, slope = node.inputs[0], node.inputs[1]
    assert source is not None
    assert slope is not None
    size = slope.static_shape
    if source.rank is not None and source.rank > 2 and size is not None and size != (1,):
        rewriter.anchor, rewriter.provenance = node, node.provenance
        axes = np.arange(1, source.rank - 1, dtype=np.int64)
        rewriter.set_input(node, 1, unsqueezed(rewriter, slope, axes))


def _resize_10(rewriter: Rewriter, node: OperatorNode) -> None:
    inputs = node.inputs
    rewriter.set_inputs(node, [inputs[0], None, *inputs[1:]])
    rewriter.set_attribute(node, "coordinate_transformation_mode", "asymmetric")
    rewriter.set_attribute(node, "nearest_mode", "floor")


def _upsample(rewriter: Rewriter, node: OperatorNode) -> None:
    """Upsample became Resize."""
    if "height_scale" in node.attributes:
        scales = [1.0, 1.0, node.attributes["height_scale"], node.attributes["width_scale"]]
        rewriter.set_attribute(node, "scales", tuple(scales))
        _drop("height_scale", "width_scale")(rewriter, node)
    _to_input(1, "scales", np.float32)(rewriter, node)
    mode = str(node.attribute("mode", "nearest"))
    rewriter.set_attribute(node, "mode", {"bilinear": "linear"}.get(mode, mode))
    _resize_10(rewriter, set_type(rewriter, node, "Resize"))


def _cast_name(rewriter: Rewriter, node: OperatorNode) -> None:
    target = node.attributes["to"]
    if isinstance(target, str):
        rewriter.set_attribute(node, "to", int(DType[target.upper()]))


def _grid_mode(rewriter: Rewriter, node: OperatorNode) -> None:
    mode = str(node.attribute("mode", "bilinear"))
    renamed = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    rewriter.set_attribute(node, "mode", renamed)


def _renamed(old: str, new: str) -> Apply:
    def apply(rewriter: Rewriter, node: OperatorNode) -> None:
        if old in node.attributes:
            rewriter.set_attribute(node, new, node.attributes[old])
            rewriter.set_attribute(node, old, None)

    return apply


def _integral(name: str) -> Apply:
    def apply(rewriter: Rewriter, node: OperatorNode) -> None:
        if name in node.attributes:
            rewriter.set_attribute(node, name, int(node.attributes[name]))

    return apply


def _scatter(rewriter: Rewriter, node: OperatorNode) -> None:
    set_type(rewriter, node, "ScatterElements")


def _first_output(rewriter: Rewriter, node: OperatorNode) -> None:
    rewriter.keep_outputs(node, (0,))


def _for_each(upgrade: Upgrade, *op_types: str) -> dict[str, tuple[Upgrade, ...]]:
    return dict.fromkeys(op_types, (upgrade,))


def _combined(*tables: Mapping[str, tuple[Upgrade, ...]]) -> dict[str, tuple[Upgrade, ...]]:
    """All entries, those of one operator in order of version."""
    merged: dict[str, tuple[Upgrade, ...]] = {}
    for table in tables:
        for op_type, entries in table.items():
            merged[op_type] = (*merged.get(op_type, ()), *entries)
    return {
        op_type: tuple(sorted(entries, key=lambda entry: entry.version))
        for op_type, entries in merged.items()
    }


_UNUSED = _only("its further outputs are read", lambda n: not any(v.uses for v in n.outputs[1:]))

UPGRADES: dict[str, tuple[Upgrade, ...]] = _combined(
    _for_each(
        Upgrade(6, _drop("consumed_inputs")),
        "Abs", "Add", "BatchNormalization", "Ceil", "Clip", "Div", "Dropout", "Elu", "Exp",
        "Floor", "HardSigmoid", "InstanceNormalization", "LeakyRelu", "Log", "Max", "Mean", "Min",
        "Mul", "Neg", "PRelu", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sqrt", "Sub", "Sum",
        "Tanh",
    ),
    _for_each(
        Upgrade(7, _broadcast, _only("it broadcasts values of unknown rank", _aligned)),
        "Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor",
    ),
    _for_each(Upgrade(7, _drop("output_sequence")), "GRU", "LSTM", "RNN"),
    _for_each(Upgrade(13, _flattened), "Hardmax", "LogSoftmax", "Softmax"),
    _for_each(Upgrade(13, _to_input(1, "axes")), "ReduceSum", "Squeeze", "Unsqueeze"),
    _for_each(
        Upgrade(18, _to_input(1, "axes")),
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
        "ReduceMin", "ReduceProd", "ReduceSumSquare",
    ),
    {
        "BatchNormalization": (
            Upgrade(7, _drop("is_test")),
            Upgrade(9, _drop("spatial"),
                    _only("spatial=0 has no newer form", lambda n: n.attribute("spatial", 1) == 1)),
            Upgrade(14, _first_output, _UNUSED),
        ),
        "Cast": (Upgrade(6, _cast_name),),
        "Clip": (Upgrade(11, _clip),),
        "Concat": (Upgrade(4, _default(axis=1)),),
        "DFT": (Upgrade(20, _in_turn(_default(axis=1), _to_input(2, "axis"))),),
        "Dropout": (
            Upgrade(7, _drop("is_test")),
            Upgrade(12, _in_turn(_first_output, _dropout), _UNUSED),
        ),
        "GRU": (Upgrade(3, _default(direction="forward")),),
        "Gemm": (Upgrade(7, _drop("broadcast")),),
        "GlobalLpPool": (Upgrade(2, _integral("p")),),
        "GridSample": (Upgrade(20, _grid_mode),),
        "LpPool": (Upgrade(2, _integral("p")),),
        "PRelu": (
            Upgrade(7, _slope,
                    _only("its rank is unknown", lambda n: _rank_known(n.input(0)))),
        ),
        "Pad": (Upgrade(2, _renamed("paddings", "pads")), Upgrade(11, _pads)),
        "Reshape": (Upgrade(5, _to_input(1, "shape")),),
        "Resize": (
            Upgrade(11, _resize_10),
            Upgrade(13, _drop(),
                    _only("tf_half_pixel_for_nn has no newer form",
                          lambda n: n.attribute("coordinate_transformation_mode")
                          != "tf_half_pixel_for_nn")),
        ),
        "RoiAlign": (Upgrade(16, _default(coordinate_transformation_mode="output_half_pixel")),),
        "Scan": (
            Upgrade(9, _drop(), _only("its first version has a batch axis", lambda n: False)),
        ),
        "Scatter": (Upgrade(11, _scatter),),
        "Selu": (Upgrade(6, _default(alpha=1.6732, gamma=1.0507)),),
        "Slice": (Upgrade(10, _slice),),
        "Split": (
            Upgrade(2, _default(axis=0)),
            Upgrade(13, _to_input(1, "split")),
            Upgrade(18, _split),
        ),
        "Tile": (
            Upgrade(6, _drop(), _only("its first version tiles one axis", lambda n: False)),
        ),
        "TopK": (Upgrade(10, _top_k),),
        "Upsample": (Upgrade(10, _upsample),),
    },
)  # fmt: skip
"""Changes by operator, in order of version."""


def _rank_known(value: VariableNode | None) -> bool:
    return value is not None and value.rank is not None
