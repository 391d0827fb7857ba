"""What a path computes: one product, with its place among the axes, and a shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from burnish.ir import Array, OperatorNode
from burnish.passes.adapters.paths import Kind, Step
from burnish.passes.fusion.constants import Vector, along, number, per_channel
from burnish.rewrite import Miss

POINTWISE = ("pointwise",)
"""The geometry of a product that mixes channels only."""
TABLE = ("table",)
"""The geometry of a product that looks rows up."""

Geometry = tuple[object, ...]


@dataclass
class LinearMap:
    """``y = weight x + bias``, float64; a map without a weight multiplies by ``scale`` alone."""

    weight: Array | None = None
    """[outputs, inputs, *kernel]."""
    scale: Vector | float = 1.0
    bias: Vector | float = 0.0
    """[outputs]."""
    geometry: Geometry = POINTWISE

    @property
    def has_bias(self) -> bool:
        """Whether anything is added."""
        return bool(np.any(self.bias))

    def matrix(self) -> Array | None:
        """The weight [outputs, inputs] of a map that mixes channels only."""
        if self.weight is None or self.geometry != POINTWISE:
            return None
        return self.weight.reshape(self.weight.shape[:2])


@dataclass(frozen=True)
class Layout:
    """Where the elements are that a path has led to so far."""

    rank: int | None
    perm: tuple[int, ...] | None = None
    """Axes of the source in their present order; None as long as that is unchanged."""
    reshaped: bool = False

    def axis(self, index: int) -> int:
        """Which axis of the source, counted from the end, is now the one at ``index``."""
        if self.perm is None:
            if index >= 0 and self.rank is not None:
                return index - self.rank
            return index
        return self.perm[index] - len(self.perm)


@dataclass
class Walk:
    """Composes the steps of a path."""

    map: LinearMap = field(default_factory=LinearMap)
    layout: Layout = Layout(None)
    channel: int | None = None
    """Axis of the source that counts channels, from the end."""


def compose(steps: Sequence[Step]) -> Walk | Miss:
    """What ``steps``, the first one first, compute together."""
    walk = Walk(layout=Layout(steps[0].source.rank if steps else None))
    for step in steps:
        problem = _take(walk, step)
        if problem:
            return Miss(problem, step.node)
    return walk


def _take(walk: Walk, step: Step) -> str:
    """Add ``step``; returns why it cannot be added, or nothing."""
    if step.kind is Kind.PRODUCT:
        return _product(walk, step)
    if step.kind is Kind.VIEW:
        return _view(walk, step.node)
    if step.kind is Kind.NOTHING:
        return ""
    if _adds_axes(step):
        return f"the constant of {step.node.op_type} may have more axes than the data"
    vector = _vector(walk, step)
    if vector is None:
        return f"the constant of {step.node.op_type} is not one number per channel"
    if walk.channel is None and not isinstance(vector, float):
        walk.channel = -1
    if step.kind is Kind.SHIFT:
        walk.map.bias = walk.map.bias + (-vector if step.node.op_type == "Sub" else vector)
        return ""
    if step.node.op_type == "Div":
        if not np.all(vector):
            return "a channel is divided by zero"
        vector = 1 / vector
    _multiply(walk.map, vector)
    return ""


def _adds_axes(step: Step) -> bool:
    """Whether a scale or shift may make data of more axes than it reads."""
    assert step.factor is not None
    axes = len(step.factor.shape or ())
    return axes > (1 if step.source.rank is None else step.source.rank)


def _multiply(found: LinearMap, vector: Vector | float) -> None:
    found.bias = found.bias * vector
    if found.weight is None:
        found.scale = found.scale * vector
    elif isinstance(vector, float):
        found.weight = found.weight * vector
    else:
        found.weight = found.weight * along(vector, 0, found.weight.ndim)


def _vector(walk: Walk, step: Step) -> Vector | float | None:
    """The factor of a step: one number, or one for each channel."""
    assert step.factor is not None
    single = number(step.factor)
    if single is not None and len(step.factor.shape or ()) <= (step.result.rank or 0):
        return single
    rank = step.result.rank
    if rank is None:
        return None
    axis = _position(walk, rank)
    shape = step.source.shape
    width = None if axis is None or shape is None else shape[axis]
    if walk.map.weight is not None:
        width = walk.map.weight.shape[0]
    if axis is None or not isinstance(width, int):
        return None
    return per_channel(step.factor, axis, rank, width)


def _position(walk: Walk, rank: int) -> int | None:
    """The axis of the present value that counts channels; the last one while nobody says."""
    if walk.channel is None:
        return rank - 1 if walk.layout.perm is None else None
    for index in range(rank):
        if walk.layout.axis(index - rank if walk.layout.perm is None else index) == walk.channel:
            return index
    return None


def _view(walk: Walk, node: OperatorNode) -> str:
    layout = walk.layout
    if node.op_type == "Cast":
        return ""
    if node.op_type == "Transpose":
        rank = node.output.rank or len(node.attribute("perm", ()) or ())
        order = tuple(node.attribute("perm") or reversed(range(rank)))
        if layout.reshaped:
            return "rows are merged before axes are exchanged"
        present = layout.perm or tuple(range(len(order)))
        perm = tuple(present[axis] for axis in order)
        same = perm == tuple(range(len(perm)))
        walk.layout = Layout(len(order), None if same else perm)
        return ""
    if layout.perm is not None:
        return "axes are exchanged before rows are merged"
    if walk.channel not in (None, -1):
        return "the axes of a convolution are merged"
    walk.layout = Layout(node.output.rank, None, reshaped=True)
    return ""


def _product(walk: Walk, step: Step) -> str:
    node = step.node
    if step.factor is None or step.factor.constant is None:
        return f"the weights of {node.op_type} are inputs of the model"
    weight, bias, geometry = read_product(node)
    index = 1 if node.op_type == "Conv" else -1
    if node.op_type == "Gather":
        channel = -1
    else:
        if node.op_type == "Conv" and walk.layout.perm is None and walk.layout.rank is None:
            walk.layout = Layout(weight.ndim)
        channel = walk.layout.axis(index)
        if walk.layout.reshaped and channel != -1:
            return "rows are merged before a convolution"
    if walk.channel is not None and channel != walk.channel:
        return f"{node.op_type} works on another axis than what is before it"
    walk.channel = channel
    problem = _chain(walk.map, weight, geometry)
    if problem:
        return problem
    if bias is not None:
        walk.map.bias = walk.map.bias + bias
    return ""


def _chain(found: LinearMap, weight: Array, geometry: Geometry) -> str:
    """Let a product follow ``found``."""
    outputs, inputs = weight.shape[:2]
    if found.weight is None:
        if geometry == TABLE and (found.has_bias or np.any(found.scale != np.asarray(1.0))):
            return "the indices are computed with"
        before = np.broadcast_to(np.asarray(found.scale, np.float64), (inputs,))
        if found.has_bias and geometry not in (POINTWISE, TABLE):
            return "a shift comes before a convolution with a kernel"
        shift = np.broadcast_to(np.asarray(found.bias, np.float64), (inputs,))
        found.bias = weight.reshape(outputs, inputs, -1).sum(-1) @ shift if found.has_bias else 0.0
        found.weight = weight * along(before, 1, weight.ndim)
        found.scale, found.geometry = 1.0, geometry
        return ""
    if geometry == TABLE or found.weight.shape[0] != inputs:
        return "the sizes of two products in sequence do not fit"
    if geometry == POINTWISE:
        matrix = weight.reshape(outputs, inputs)
        found.bias = matrix @ np.broadcast_to(found.bias, (inputs,)) if found.has_bias else 0.0
        found.weight = np.tensordot(matrix, found.weight, axes=(1, 0))
        return ""
    if found.geometry != POINTWISE:
        return "two convolutions with kernels follow each other"
    if found.has_bias:
        return "a bias comes before a convolution with a kernel"
    first = found.weight.reshape(found.weight.shape[:2])
    found.weight = np.moveaxis(np.tensordot(weight, first, axes=(1, 0)), -1, 1)
    found.geometry = geometry
    return ""


def read_product(node: OperatorNode) -> tuple[Array, Vector | None, Geometry]:
    """Weight [outputs, inputs, *kernel], bias [outputs] and geometry, with groups made dense."""
    index = 0 if node.op_type == "Gather" else 1
    constant = node.constant_input(index)
    assert constant is not None
    weight: Array = constant.numpy().astype(np.float64)
    if node.op_type == "Gather":
        return weight.T, None, TABLE
    if node.op_type == "MatMul":
        return weight.T, None, POINTWISE
    bias = node.input(2)
    if node.op_type == "Gemm":
        weight = (weight if node.attribute("transB", 0) else weight.T) * node.attribute(
            "alpha", 1.0
        )
        offset = None if bias is None else per_channel(bias, -1, 2, weight.shape[0])
        if offset is not None:
            offset = offset * node.attribute("beta", 1.0)
        return weight, offset, POINTWISE
    held = node.constant_input(2)
    offset = None if held is None else held.numpy().astype(np.float64)
    return dense(weight, node.attribute("group", 1)), offset, conv_geometry(node, weight.ndim - 2)


def dense(weight: Array, groups: int) -> Array:
    """The weight of a Conv with groups as one without: zero between groups."""
    if groups == 1:
        return weight
    outputs, inputs, *kernel = weight.shape
    result = np.zeros((outputs, inputs * groups, *kernel))
    size = outputs // groups
    for group in range(groups):
        rows = slice(group * size, (group + 1) * size)
        result[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return result


def conv_geometry(node: OperatorNode, axes: int) -> Geometry:
    """How a Conv moves its kernel; POINTWISE if it has none to move."""
    weight = node.constant_input(1)
    assert weight is not None
    kernel = tuple(weight.shape[2:])
    ones = (1,) * axes
    strides = tuple(node.attribute("strides") or ones)
    dilations = tuple(node.attribute("dilations") or ones)
    pads: object = tuple(node.attribute("pads") or (0,) * (2 * axes))
    auto = node.attribute("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID"):
        pads = (0,) * (2 * axes) if kernel == strides == ones else auto
    if kernel == strides == ones and pads == (0,) * (2 * axes):
        return POINTWISE
    return "conv", kernel, strides, pads, dilations if kernel != ones else ones
