"""What an operator looks like when it works on values whose axes are in another order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, Attribute, DType, OperatorNode, VariableNode

Perm: TypeAlias = tuple[int, ...]
"""An order of axes: axis ``i`` of the result is axis ``perm[i]`` of the value, as in Transpose."""


@dataclass(frozen=True)
class Form:
    """An operator for permuted values: how its inputs come, how its results go, what changes."""

    inputs: dict[int, Perm]
    """By index of the input; others stay as they are."""
    outputs: dict[int, Perm]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    constants: dict[int, Array] = field(default_factory=dict)
    """New values of small inputs: axes, pads."""
    swapped: bool = False
    """Whether the first two inputs change places."""


Judge: TypeAlias = Callable[[OperatorNode, Perm, int], "Form | None"]
"""The form for a first input in order ``perm``, given the opset; None where there is none."""


def inverse(perm: Perm) -> Perm:
    """The order that undoes ``perm``."""
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def compose(first: Perm, second: Perm) -> Perm:
    """The order that comes of ``first`` and then ``second``."""
    return tuple(first[axis] for axis in second)


def is_identity(perm: Perm) -> bool:
    """Whether no axis moves."""
    return perm == tuple(range(len(perm)))


def without(perm: Perm, axes: Sequence[int]) -> Perm:
    """``perm`` for a value that lost ``axes``."""
    kept = [axis for axis in range(len(perm)) if axis not in axes]
    return tuple(kept.index(axis) for axis in perm if axis in kept)


def perm_of(node: OperatorNode) -> Perm | None:
    """The order of axes that a Transpose gives; None if it reverses an unknown rank."""
    perm = node.attribute("perm")
    if perm is not None:
        return tuple(perm)
    rank = None if node.inputs[0] is None else node.inputs[0].rank
    return None if rank is None else tuple(reversed(range(rank)))


def _same(perm: Perm, node: OperatorNode, **attributes: Attribute) -> Form:
    outputs = {index: perm for index, value in enumerate(node.outputs) if value.rank == len(perm)}
    return Form({0: perm}, outputs, attributes)


def _unary(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    """For operators whose further inputs are numbers."""
    return _same(perm, node)


def _broadcasting(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    inputs = {}
    if node.output.rank != len(perm):
        return None
    for index, value in enumerate(node.inputs):
        if value is None or value.rank is None:
            return None
        if value.rank == len(perm) or (value.is_constant and not _is_one(value)):
            inputs[index] = perm
        elif not _is_one(value) and not _ends_alike(perm, value.rank):
            return None
    return Form(inputs, {0: perm})


def _is_one(value: VariableNode) -> bool:
    """Whether ``value`` has one element and no shape of its own."""
    return value.rank is not None and value.rank <= 1 and value.static_shape in ((), (1,))


def _ends_alike(perm: Perm, count: int) -> bool:
    """Whether ``perm`` leaves the last ``count`` axes where they are."""
    return all(perm[-back] == len(perm) - back for back in range(1, count + 1))


def _along_axis(default: int | None, since: int = 1) -> Judge:
    """For operators that work along attribute ``axis`` and keep the rank."""

    def judge(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
        axis = node.attribute("axis", default)
        if axis is None or opset < since:
            return None
        return _same(perm, node, axis=perm.index(axis % len(perm)))

    return judge


def _concat(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    axis = perm.index(node.attributes["axis"] % len(perm))
    every = dict.fromkeys(range(len(node.inputs)), perm)
    return Form(every, {0: perm}, {"axis": axis})


def _quantize(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    scale = node.input(1)
    if scale is None or node.attribute("block_size", 0):
        return None
    if scale.rank == 0 or scale.static_shape == (1,):
        return _same(perm, node)
    axis = node.attribute("axis", 1)
    return _same(perm, node, axis=perm.index(axis % len(perm))) if scale.rank == 1 else None


def _channels_second(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    """For operators whose channels are axis 1 and that treat the others alike."""
    return _same(perm, node) if perm[1] == 1 else None


def _images(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    """For operators on batch and channels that treat all further axes alike."""
    return _same(perm, node) if perm[:2] == (0, 1) else None


def axes_of(node: OperatorNode, index: int = 1) -> tuple[int, ...] | None:
    """The axes that ``node`` is told by attribute or input; None if unknown or none given."""
    given = node.attribute("axes")
    if given is not None:
        return tuple(given)
    constant = node.constant_input(index)
    return None if constant is None else tuple(int(a) for a in constant.numpy().reshape(-1))


def _moved_axes(
    node: OperatorNode, axes: Sequence[int], index: int
) -> tuple[dict[str, Attribute], dict[int, Array]]:
    if "axes" in node.attributes:
        return {"axes": tuple(axes)}, {}
    return {}, {index: np.array(axes, np.int64)}


def _reduce(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    axes = axes_of(node)
    if axes is None:
        whole = node.input(1) is None and not node.attribute("noop_with_empty_axes", 0)
        kept = node.attribute("keepdims", 1)
        return Form({0: perm}, {0: perm} if kept else {}) if whole else None
    if not axes:
        return None
    along = [axis % len(perm) for axis in axes]
    moved = sorted(perm.index(axis) for axis in along)
    attributes, constants = _moved_axes(node, moved, 1)
    out = perm if node.attribute("keepdims", 1) else without(perm, along)
    return Form({0: perm}, {0: out}, attributes, constants)


def _arg(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    axis = node.attribute("axis", 0) % len(perm)
    out = perm if node.attribute("keepdims", 1) else without(perm, [axis])
    return Form({0: perm}, {0: out}, {"axis": perm.index(axis)})


def _gather(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    axis, indices = node.attribute("axis", 0) % len(perm), node.input(1)
    if indices is None or indices.rank not in (0, 1):
        return None
    out = perm if indices.rank == 1 else without(perm, [axis])
    return Form({0: perm}, {0: out}, {"axis": perm.index(axis)})


def _squeeze(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    axes = axes_of(node)
    if not axes:
        return None
    along = [axis % len(perm) for axis in axes]
    attributes, constants = _moved_axes(node, sorted(perm.index(a) for a in along), 1)
    return Form({0: perm}, {0: without(perm, along)}, attributes, constants)


def _unsqueeze(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    """New axes stay where they are, and the others move around them."""
    axes = axes_of(node)
    if not axes:
        return None
    rank = len(perm) + len(axes)
    new = {axis % rank for axis in axes}
    old = [axis for axis in range(rank) if axis not in new]
    moved = iter(perm)
    out = tuple(axis if axis in new else old[next(moved)] for axis in range(rank))
    return Form({0: perm}, {0: out})


def _slice(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    if opset < 10 and "starts" not in node.attributes:
        return None
    count = len(node.attribute("starts", ())) or _length(node.input(1))
    axes = axes_of(node, 3)
    if axes is None:
        if node.input(3) is not None or count is None:
            return None
        axes = tuple(range(count))
    moved = [perm.index(axis % len(perm)) for axis in axes]
    if "starts" in node.attributes:
        return _same(perm, node, axes=tuple(moved))
    bounds = node.inputs[1]
    narrow = bounds is not None and bounds.dtype is DType.INT32
    return Form({0: perm}, {0: perm}, {}, {3: np.array(moved, np.int32 if narrow else np.int64)})


def _length(value: VariableNode | None) -> int | None:
    shape = None if value is None else value.static_shape
    return shape[0] if shape is not None and len(shape) == 1 else None


def _resize(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    """Engines resize the last axes: others would be legal, and slow or not implemented."""
    roi = node.input(1)
    if "axes" in node.attributes or (roi is not None and roi.static_shape not in ((0,),)):
        return None
    for index in (3, 2):
        constant = node.constant_input(index)
        if constant is None or constant.size != len(perm):
            if node.input(index) is not None and (constant is None or constant.size):
                return None
            continue
        numbers = constant.numpy()[list(perm)]
        grown = _grown(node, perm, numbers if index == 2 else None, numbers)
        if grown is None or any(axis < len(perm) - 2 for axis in grown):
            return None
        return Form({0: perm}, {0: perm}, {}, {index: numbers})
    return None


def _grown(node: OperatorNode, perm: Perm, scales: Array | None, sizes: Array) -> list[int] | None:
    """The axes, in order ``perm``, that a Resize makes longer or shorter."""
    if scales is not None:
        return [axis for axis, scale in enumerate(scales) if scale != 1]
    shape = None if node.inputs[0] is None else node.inputs[0].static_shape
    if shape is None:
        return None
    return [axis for axis, size in enumerate(sizes) if shape[perm[axis]] != size]


def _per_axis(index: int) -> Judge:
    """For operators told a number per axis at input ``index`` (both ends of each for Pad)."""

    def judge(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
        constant = node.constant_input(index)
        if constant is None or constant.size % len(perm) or node.input(3) is not None:
            return None
        numbers = constant.numpy().reshape(-1, len(perm))[:, list(perm)].reshape(-1)
        return Form({0: perm}, {0: perm}, {}, {index: numbers})

    return judge


def _normalizing(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    """For operators over the last axes, from attribute ``axis`` on, that stay where they are."""
    axis = node.attribute("axis", -1) % len(perm)
    fits = len(node.outputs) == 1 and _ends_alike(perm, len(perm) - axis)
    return Form({0: perm}, {0: perm}) if fits else None


def _cumsum(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    axis = node.constant_input(1)
    if axis is None or axis.size != 1:
        return None
    moved = np.array(perm.index(int(axis.numpy().reshape(())) % len(perm)), np.int64)
    return Form({0: perm}, {0: perm}, {}, {1: moved})


def _matmul(node: OperatorNode, perm: Perm, opset: int) -> Form | None:
    """Batches and rows in another order; (A B)^T is B^T A^T."""
    rank, right = len(perm), node.input(1)
    if right is not None and right.rank == 2 and rank > 2 and _ends_alike(perm, 1):
        # A matrix multiplies every row alike.
        return Form({0: perm}, {0: perm}) if node.output.rank == rank else None
    swapped = perm[-2:] == (rank - 1, rank - 2)
    if rank < 2 or node.output.rank != rank or not (swapped or _ends_alike(perm, 2)):
        return None
    inputs = {}
    for index, value in enumerate(node.inputs):
        if value is None or value.rank is None or value.rank < 2:
            return None
        if value.rank == rank:
            inputs[index] = perm
        elif value.is_constant and value.rank == 2:
            if swapped:
                inputs[index] = (1, 0)
        else:
            return None
    return Form(inputs, {0: perm}, swapped=swapped)


_UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil",
    "Celu", "Clip", "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
_BROADCASTING = (
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu",
    "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
_REDUCTIONS = (
    "L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare",
)  # fmt: skip

FORMS: dict[str, Judge] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BROADCASTING, _broadcasting),
    **{f"Reduce{kind}": _reduce for kind in _REDUCTIONS},
    "ArgMax": _arg,
    "ArgMin": _arg,
    "BatchNormalization": _channels_second,
    "Concat": _concat,
    "CumSum": _cumsum,
    "DequantizeLinear": _quantize,
    "Gather": _gather,
    "GlobalAveragePool": _images,
    "GlobalMaxPool": _images,
    "InstanceNormalization": _images,
    "GroupNormalization": _images,
    "Hardmax": _along_axis(-1, since=13),
    "LayerNormalization": _normalizing,
    "LogSoftmax": _along_axis(-1, since=13),
    "MatMul": _matmul,
    "Pad": _per_axis(1),
    "QuantizeLinear": _quantize,
    "Resize": _resize,
    "RMSNormalization": _normalizing,
    "Slice": _slice,
    "Softmax": _along_axis(-1, since=13),
    "Split": _along_axis(0),
    "Squeeze": _squeeze,
    "Tile": _per_axis(1),
    "TopK": _along_axis(-1),
    "Unsqueeze": _unsqueeze,
}
"""By standard operator."""


def form_of(
    node: OperatorNode, perm: Perm, opset: int, *, port: int | None, swaps: bool
) -> Form | None:
    """How ``node`` works if one of its values is in order ``perm``.

    Args:
        node: any.
        perm: the order of axes.
        opset: of the model.
        port: the index of the input that is in that order; None for the first result.
        swaps: whether the operands of a product may change places.
    """
    judge = FORMS.get(node.op_type) if node.domain == "" and not node.subgraphs else None
    found = None if judge is None else judge(node, perm, opset)
    if found is None or (found.swapped and not swaps):
        return None
    if (found.outputs.get(0) if port is None else found.inputs.get(port)) != perm:
        return None
    for index, order in found.inputs.items():
        value = node.inputs[index]
        if value is None or (not value.is_constant and value.rank != len(order)):
            return None
    return found
