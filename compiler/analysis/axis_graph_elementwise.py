"""How channels pass through arithmetic, activations, norms, pooling and reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from burnish.analysis.axis_graph_sites import Blocks, Role, Site, Sites, Variance
from burnish.analysis.axis_graph_views import integers, unknown
from burnish.analysis.symmetry import NORMS, PASSAGES, Transform, passage
from burnish.ir import Array, Constant, OperatorNode, VariableNode

Handler: TypeAlias = Callable[[Sites, OperatorNode], None]

SHIFTED = frozenset({"Add", "Sub", "Sum", "Mean", "Max", "Min", "Where"})
"""Operators whose constants are values of channels; those of others are factors."""


def unary(sites: Sites, node: OperatorNode) -> None:
    """One value in, one of the same shape out."""
    for site in sites.sites(node.inputs[0]):
        sites.carry(node, site, node.output)


def cast(sites: Sites, node: OperatorNode) -> None:
    """Casting between floating types only rounds; other types have no channels to transform."""
    source = node.inputs[0]
    if source is not None and source.dtype.is_floating and node.output.dtype.is_floating:
        return unary(sites, node)
    unknown(sites, node)


def dropout(sites: Sites, node: OperatorNode) -> None:
    """Identity when the model is not trained and nobody looks at the mask."""
    if len(node.outputs) > 1 and node.outputs[1].uses:
        return unknown(sites, node)
    if node.input(2) is not None and node.constant_input(2) is None:
        return unknown(sites, node)
    unary(sites, node)


def arithmetic(sites: Sites, node: OperatorNode) -> None:
    """Operators on values that are broadcast against each other."""
    rank = node.output.rank
    if rank is None or node.output.shape is None:
        return unknown(sites, node)
    for index, value in enumerate(node.inputs):
        for site in sites.sites(value):
            assert value is not None
            if value.is_constant:
                continue
            shift = rank - (value.rank or 0)
            axes = tuple(axis + shift for axis in site.axes)
            if tuple(node.output.shape[axis] for axis in axes) != site.numbers.shape:
                sites.bound(site, Transform.IDENTITY, f"{node.op_type} repeats channels", node)
                continue
            _operand(sites, node, index, site, axes)


def _operand(
    sites: Sites, node: OperatorNode, index: int, site: Site, axes: tuple[int, ...]
) -> None:
    """The channels ``site`` of input ``index``, at ``axes`` of the result."""
    if node.op_type == "Where" and index == 0:
        return _condition(sites, node, site, axes)
    allowed = _alone(node, index)
    for other, value in enumerate(node.inputs):
        if other == index or value is None:
            continue
        found = _beside(sites, node, other, value, axes, site)
        allowed = found if found < allowed else allowed
    if allowed is Transform.IDENTITY:
        sites.bound(
            site, allowed, f"{node.op_type} combines it with values that nothing writes", node
        )
    else:
        beyond = Transform.AFFINE if _only_gates(sites, node, index, allowed) else None
        sites.carry(node, site, node.output, allowed, axes=axes, beyond=beyond)


def _condition(sites: Sites, node: OperatorNode, site: Site, axes: tuple[int, ...]) -> None:
    """Where chooses channel by channel of values that have them too, or are the same for all."""
    rank = node.output.rank or 0
    for value in node.inputs[1:]:
        assert value is not None
        shift = rank - (value.rank or 0)
        if value.constant is not None and value.constant.size == 1:
            continue
        if not any(tuple(a + shift for a in s.axes) == axes for s in sites.sites(value)):
            reason = "Where chooses by it between values that nothing writes"
            return sites.bound(site, Transform.IDENTITY, reason, node)
    sites.carry(node, site, node.output, Transform.PERMUTATION, axes=axes)


def _only_gates(sites: Sites, node: OperatorNode, index: int, allowed: Transform) -> bool:
    """Whether the result of a product has its scale from the operand beside ``index``."""
    if node.op_type not in ("Mul", "Div") or allowed is not Transform.PERMUTATION:
        return False
    other = node.inputs[1 - index]
    if other is node.inputs[index] or other is None or other.is_constant or not sites.sites(other):
        return False
    if node.op_type == "Div":
        return index == 1
    return _takes_scale(node, 1 - index)


def _alone(node: OperatorNode, index: int) -> Transform:
    """What the operator allows its operand ``index`` whatever the others are."""
    if node.op_type in ("Mul", "Div"):
        return Transform.GENERAL if index == 0 or node.op_type == "Mul" else Transform.PERMUTATION
    if node.op_type == "PRelu" and index == 1:
        return Transform.IDENTITY
    return passage(node.op_type)


def _beside(
    sites: Sites,
    node: OperatorNode,
    index: int,
    value: VariableNode,
    axes: tuple[int, ...],
    site: Site,
) -> Transform:
    """What operand ``index`` beside ``site`` allows to be done to the channels at ``axes``."""
    rank = node.output.rank or 0
    shift = rank - (value.rank if value.rank is not None else rank)
    shape = value.shape if value.shape is not None else (None,) * rank
    sizes = tuple(shape[axis - shift] if axis >= shift else 1 for axis in axes)
    scaling = node.op_type in ("Mul", "Div")
    choosing = node.op_type == "Where" and index == 0
    if all(size == 1 for size in sizes):
        if scaling or choosing:
            return Transform.GENERAL
        return Transform.POSITIVE if node.op_type == "PRelu" else Transform.PERMUTATION
    if value.constant is not None and not choosing:
        if sizes != site.numbers.shape:
            return Transform.IDENTITY
        own = tuple(axis - shift for axis in axes)
        kind = Variance.COVARIANT if node.op_type in SHIFTED else Variance.INVARIANT
        sites.member(node, index, own, site, Role.RIDER, kind)
        return Transform.DIAGONAL if scaling else passage(node.op_type)
    partner = next(
        (s for s in sites.sites(value) if tuple(a + shift for a in s.axes) == axes), None
    )
    if partner is None:
        return Transform.IDENTITY
    sites.same(site.numbers, partner.numbers)
    if choosing:
        return Transform.PERMUTATION
    if scaling:
        return _gate(sites, node, index)
    return passage(node.op_type)


def _gate(sites: Sites, node: OperatorNode, index: int) -> Transform:
    """A product of two values with channels: the one before an activation gates the other."""
    if node.op_type == "Div":
        return Transform.DIAGONAL if index == 1 else Transform.PERMUTATION
    return Transform.DIAGONAL if _takes_scale(node, 1 - index) else Transform.PERMUTATION


def _takes_scale(node: OperatorNode, index: int) -> bool:
    """Whether the scale of a product of two values is that of operand ``index``."""
    one, other = node.inputs[index], node.inputs[1 - index]
    if one is other or not _is_linear(one):
        return False
    # If both could be scaled, only the first is.
    return not _is_linear(other) or index == 0


def _is_linear(value: VariableNode | None) -> bool:
    """Whether ``value`` does not come right from an activation."""
    producer = value.producer if value is not None else None
    return producer is None or not passage(producer.op_type) <= Transform.PERMUTATION


def normalize_channels(sites: Sites, node: OperatorNode) -> None:
    """BatchNormalization and InstanceNormalization: parameters for each channel of axis 1."""
    source = node.inputs[0]
    site = sites.site(source, 1)
    if site is None or site.axis != 1 or len([o for o in node.outputs if o.uses]) > 1:
        return unknown(sites, node)
    if any(node.constant_input(i) is None for i in range(1, len(node.inputs))):
        return unknown(sites, node)
    for other in sites.sites(source):
        if other is not site:
            sites.bound(other, Transform.IDENTITY, f"{node.op_type} spans it", node)
    batch = node.op_type == "BatchNormalization"
    # What is normalized forgets its scale; that of the result is all in scale and shift.
    scale = Variance.INVARIANT if batch else Variance.COVARIANT
    variances = (scale, Variance.COVARIANT, Variance.COVARIANT, Variance.INVARIANT)
    if batch:
        result = sites.carry(node, site, node.output)
    else:
        result = sites.forget_scale(node, site, node.output, passage(node.op_type))
    for index, variance in zip(range(1, len(node.inputs)), variances, strict=False):
        sites.member(node, index, (0,), result, Role.RIDER, variance)


def normalize_rows(sites: Sites, node: OperatorNode) -> None:
    """LayerNormalization and RMSNormalization over the last axis."""
    source = node.inputs[0]
    rank = source.rank if source is not None else None
    if rank is None or any(o.uses for o in node.outputs[1:]):
        return unknown(sites, node)
    first = int(node.attribute("axis", -1)) % rank
    for site in sites.sites(source):
        if max(site.axes) < first:
            sites.carry(node, site, node.output, Transform.PERMUTATION)
        elif first == rank - 1 and site.axis is None and max(site.axes) == first:
            # Heads are normalized by themselves, all with the same scale.
            result = sites.carry(node, site, node.output, Transform.IDENTITY)
            sites.resized.append((node, site, result))
        elif first != rank - 1 or site.axis != first or not _parameters(node, site.numbers):
            sites.bound(site, Transform.IDENTITY, f"{node.op_type} spans other axes too", node)
        else:
            for index in range(1, len(node.inputs)):
                if node.input(index) is not None:
                    sites.member(node, index, (0,), site, Role.RIDER, Variance.INVARIANT)
            plain = is_plain(node)
            allowed = NORMS[node.op_type] if plain else Transform.PERMUTATION
            sites.carry(node, site, node.output, allowed)
    if sites.site(source, rank - 1) is None and first == rank - 1:
        _start_rows(sites, node, rank - 1)


def _start_rows(sites: Sites, node: OperatorNode, axis: int) -> None:
    """What nothing writes is normalized: its channels can be told apart, but not moved."""
    scale = node.constant_input(1)
    size = node.output.shape[axis] if node.output.shape else None
    if scale is None or scale.shape != (size,):
        return
    site = sites.put(node.output, (axis,), sites.fresh(scale.size))
    sites.bound(site, Transform.IDENTITY, f"{node.op_type} gets it from where nothing writes", node)


def _parameters(node: OperatorNode, numbers: Array) -> bool:
    """Whether scale and shift are constants with one element for each channel."""
    given = [node.constant_input(i) for i in (1, 2) if node.input(i) is not None]
    return all(constant is not None and constant.shape == numbers.shape for constant in given)


def is_plain(node: OperatorNode) -> bool:
    """Whether a normalization has a scale of ones and no shift."""
    return _all(node.constant_input(1), 1) and (
        node.input(2) is None or _all(node.constant_input(2), 0)
    )


def _all(constant: Constant | None, number: int) -> bool:
    return constant is not None and bool((constant.numpy() == number).all())


def normalize_groups(sites: Sites, node: OperatorNode) -> None:
    """GroupNormalization: channels stay in their group."""
    source = node.inputs[0]
    site = sites.site(source, 1)
    groups = int(node.attribute("num_groups", 1))
    if site is None or site.axis != 1 or site.numbers.size % groups:
        return unknown(sites, node)
    constants = [node.constant_input(index) for index in (1, 2)]
    if any(c is None or c.shape != site.numbers.shape for c in constants):
        return unknown(sites, node)
    result = sites.forget_scale(node, site, node.output, passage(node.op_type))
    for index in (1, 2):
        sites.member(node, index, (0,), result, Role.RIDER, Variance.COVARIANT)
    sites.resized.append((node, site, result))
    labels = np.arange(site.numbers.size) // (site.numbers.size // groups)
    sites.blocks.append(Blocks(site, labels))


def pool(sites: Sites, node: OperatorNode) -> None:
    """Pooling works on each channel of axis 1 by itself."""
    if any(value.uses for value in node.outputs[1:]):
        return unknown(sites, node)
    for site in sites.sites(node.inputs[0]):
        if site.axis == 1:
            sites.carry(node, site, node.output)
        else:
            sites.bound(site, Transform.IDENTITY, f"{node.op_type} slides over it", node)


def same_size(sites: Sites, node: OperatorNode) -> None:
    """Resize and Pad: axes that keep their size are left alone."""
    source, shape = node.inputs[0], node.output.shape
    for site in sites.sites(source):
        sizes = tuple(shape[axis] for axis in site.axes) if shape is not None else None
        if sizes != site.numbers.shape:
            sites.bound(
                site, Transform.IDENTITY, f"{node.op_type} changes how many there are", node
            )
            continue
        new = sites.carry(node, site, node.output, _filled(node))
        sites.resized.append((node, site, new))


def _filled(node: OperatorNode) -> Transform:
    """What a Pad allows: zeros stay zeros, other numbers and shifts do not."""
    if node.op_type != "Pad":
        return Transform.AFFINE
    if node.attribute("mode", "constant") != "constant":
        return Transform.AFFINE
    number = node.input(2)
    if number is None:
        return Transform.GENERAL if not node.attribute("value", 0.0) else Transform.PERMUTATION
    return Transform.GENERAL if _all(number.constant, 0) else Transform.PERMUTATION


def reduce(sites: Sites, node: OperatorNode) -> None:
    """Reductions over other axes than those of channels."""
    source = node.inputs[0]
    rank = source.rank if source is not None else None
    axes = integers(node, 1, "axes")
    if axes is None and node.input(1) is None and not node.attribute("noop_with_empty_axes", 0):
        axes = list(range(rank or 0))
    if rank is None or axes is None:
        return sites.pin(source, f"{node.op_type} goes over unknown axes", node)
    gone = {axis % rank for axis in axes}
    kept = bool(node.attribute("keepdims", 1))
    for site in sites.sites(source):
        if gone & set(site.axes):
            sites.bound(site, Transform.IDENTITY, f"{node.op_type} combines channels", node)
            continue
        lost = [sum(1 for g in gone if g < axis) for axis in site.axes]
        where = site.axes if kept else tuple(a - n for a, n in zip(site.axes, lost, strict=True))
        sites.carry(node, site, node.output, axes=where)


def softmax(sites: Sites, node: OperatorNode) -> None:
    """Softmax over other axes keeps channels apart; over channels it only lets them permute."""
    source = node.inputs[0]
    rank = source.rank if source is not None else None
    if rank is None or sites.graph.opset < 13:
        return unknown(sites, node)
    axis = int(node.attribute("axis", -1)) % rank
    for site in sites.sites(source):
        if axis in site.axes and site.axis is None:
            sites.bound(site, Transform.IDENTITY, f"{node.op_type} goes over parts of it", node)
        else:
            sites.carry(node, site, node.output)


def quantize(sites: Sites, node: OperatorNode) -> None:
    """QuantizeLinear and DequantizeLinear with one scale, or one for each channel."""
    source, scale = node.inputs[0], node.constant_input(1)
    sites.source(node, 0)
    rank = source.rank if source is not None else None
    if rank is None or scale is None or node.attribute("block_size", 0):
        return unknown(sites, node)
    # A number has no axis, and needs none.
    axis = int(node.attribute("axis", 1)) % max(rank, 1)
    for site in sites.sites(source):
        if scale.size > 1 and axis in site.axes:
            if site.axis != axis:
                sites.bound(site, Transform.IDENTITY, f"{node.op_type} goes by parts of it", node)
                continue
            for index in range(1, len(node.inputs)):
                if node.constant_input(index) is not None:
                    sites.member(node, index, (0,), site, Role.RIDER, Variance.INVARIANT)
        sites.carry(node, site, node.output)


def measured(sites: Sites, node: OperatorNode) -> None:
    """Shape and Size tell how many channels there are, and nothing of their values."""
    for site in sites.sites(node.inputs[0]):
        sites.resized.append((node, site, None))


_SPECIAL = {
    "Cast": cast, "Dropout": dropout, "BatchNormalization": normalize_channels,
    "InstanceNormalization": normalize_channels, "LayerNormalization": normalize_rows,
    "RMSNormalization": normalize_rows, "GroupNormalization": normalize_groups,
    "MaxPool": pool, "AveragePool": pool, "GlobalAveragePool": pool, "GlobalMaxPool": pool,
    "LpPool": pool, "Resize": same_size, "Upsample": same_size, "Pad": same_size,
    "Softmax": softmax, "LogSoftmax": softmax, "QuantizeLinear": quantize,
    "DequantizeLinear": quantize, "Shape": measured, "Size": measured,
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "Pow", "PRelu", "Where"),
        arithmetic,
    ),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
         "ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp"), reduce,
    ),
}  # fmt: skip

_UNARY = frozenset({
    "Identity", "Neg", "Relu", "LeakyRelu", "Abs", *PASSAGES[Transform.PERMUTATION],
})  # fmt: skip

ELEMENTWISE: dict[str, Handler] = {**dict.fromkeys(_UNARY - set(_SPECIAL), unary), **_SPECIAL}
