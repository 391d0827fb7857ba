"""Pooling and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te

from burnish.backends.kernels import pooling, resize
from burnish.backends.kernels.integers import Integers
from burnish.backends.lowering.attributes import window_of
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.encoding import Encoding, Quantized, parameter
from burnish.backends.lowering.layout import Layout, spatial_order
from burnish.backends.lowering.plan import shape_of
from burnish.ir import OperatorNode


def _arguments(node: OperatorNode, layout: Layout) -> dict[str, Any]:
    """What both poolings take, the spatial axes in the order of ``layout``."""
    x = node.inputs[0]
    assert x is not None
    spatial = shape_of(x)[2:]
    stated = tuple(node.attribute("kernel_shape"))
    moves = window_of(node, spatial, stated)
    # With ceil_mode the only window may be larger than the padded input: the rest never counts.
    kernel = tuple(
        min(stated[i], -(-(size + moves.pads[i] + moves.pads[i + len(stated)]) // step))
        for i, (size, step) in enumerate(zip(spatial, moves.dilations, strict=True))
    )
    order = spatial_order(layout)
    kernel, moves = tuple(kernel[i] for i in order), moves.ordered(order)
    return {
        "kernel": kernel, "strides": moves.strides, "pads": moves.pads,
        "dilations": moves.dilations, "ceil_mode": bool(node.attribute("ceil_mode", 0)),
    }  # fmt: skip


def max_pool(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """MaxPool without indices; of quantized numbers, whose order is that of what is stored."""
    x, layout = node.inputs[0], builder.layout(node.output)
    assert x is not None
    arguments = _arguments(node, layout)
    if not _keeps_order(builder.emitter.plan.encoded.get(x)):
        return [pooling.max_pool(builder.factor(x, layout), **arguments)]
    source = builder.read(x, layout)
    found = pooling.max_pool(source.stored, **arguments)
    return [te.compute(found.shape, lambda *i: source.decode(found(*i), i), name="decode")]


def _keeps_order(encoding: Encoding | None) -> bool:
    """Whether the larger of two stored numbers of a channel stands for the larger one."""
    if not isinstance(encoding, Quantized) or encoding.axis not in (None, 1):
        return False
    if encoding.scale is None:
        return True
    scale = encoding.scale.constant
    return scale is not None and bool((scale.numpy() > 0).all())


def average_pool(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """AveragePool; of quantized numbers, of which the stored ones are summed."""
    x, layout = node.inputs[0], builder.layout(node.output)
    assert x is not None
    arguments = _arguments(node, layout)
    arguments["count_include_pad"] = bool(node.attribute("count_include_pad", 0))
    kept = builder.emitter.plan.encoded.get(x)
    if not isinstance(kept, Quantized) or kept.axis is not None or kept.scale is None:
        return [pooling.average_pool(builder.factor(x, layout), **arguments)]
    stored = builder.read(x, layout).stored
    if str(stored.dtype) not in ("int8", "uint8"):
        return [pooling.average_pool(builder.factor(x, layout), **arguments)]
    scale = parameter(builder, kept.scale, None)(())
    zero = None if kept.zero is None else parameter(builder, kept.zero, None)(())
    return [pooling.average_pool(Integers(stored), **arguments, scale=scale, zero=zero)]


def declines_indices(node: OperatorNode) -> str | None:
    """Why the pooling kernel does not fit ``node``, None if it does."""
    if any(value.uses for value in node.outputs[1:]):
        return f"{node.op_type} with indices is not compiled"
    return None


def _text(value: Any, default: str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or default)


def declines_resize(node: OperatorNode) -> str | None:
    """Why the resizing kernel does not fit ``node``, None if it does."""
    if node.attribute("antialias", 0):
        return "Resize with antialiasing is not compiled"
    return None


def resize_axes(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Resize with known sizes, one axis after the other, in the layout of the output."""
    x = node.inputs[0]
    assert x is not None
    layout = builder.layout(node.output)
    before, after = shape_of(x), shape_of(node.output)
    moves = resize.Interpolation(
        _text(node.attribute("mode"), "nearest"),
        _text(node.attribute("coordinate_transformation_mode"), "half_pixel"),
        _text(node.attribute("nearest_mode"), "round_prefer_floor"),
        float(node.attribute("cubic_coeff_a", -0.75)),
        bool(node.attribute("exclude_outside", 0)),
    )
    scales, regions = _scales(node, before, after), _regions(node, len(before))
    result = builder.read(x, layout)
    fill = float(node.attribute("extrapolation_value", 0.0))
    for axis in _cheapest_order(before, after, layout):
        if before[axis] == after[axis] and moves.coordinates != "tf_crop_and_resize":
            continue
        table = moves.table(before[axis], after[axis], scales[axis], regions[axis])
        result = _resize_axis(builder, result, table, layout.index(axis), fill)
    if result is builder.read(x, layout):
        return [te.compute(result.shape, lambda *i: result(*i), name="resize")]
    return [result]


def _cheapest_order(
    before: Sequence[int], after: Sequence[int], layout: Sequence[int]
) -> list[int]:
    """Axes in an order that keeps what lies between them small.

    Of axes that grow alike the fastest in memory goes first, where the fewest elements are
    gathered; of axes that shrink alike it goes last.
    """

    def key(axis: int) -> tuple[float, int]:
        growth = after[axis] / max(1, before[axis])
        return growth, -layout.index(axis) if growth > 1 else layout.index(axis)

    return sorted(range(len(before)), key=key)


def _resize_axis(
    builder: KernelBuilder, x: te.Tensor, table: resize.AxisTable, place: int, fill: float
) -> te.Tensor:
    if table.repeats is not None and table.repeats * int(x.shape[place]) == len(table.indices):
        repeats = [1] * len(x.shape)
        repeats[place] = table.repeats
        return resize.repeat(x, repeats=tuple(repeats))
    indices = builder.weights(np.ascontiguousarray(table.indices.T))
    if table.is_selection:
        return resize.select(x, indices, axis=place)
    weights = builder.weights(np.ascontiguousarray(table.weights.T))
    result = resize.mix(x, indices, weights, axis=place)
    if table.outside is None:
        return result
    return resize.extrapolate(result, builder.weights(table.outside), axis=place, value=fill)


def _by_axis(node: OperatorNode, given: np.ndarray, rank: int, default: float) -> list[float]:
    """Values of listed axes (all by default), ``default`` for the others."""
    axes = node.attribute("axes") or range(rank)
    values = [default] * rank
    for axis, value in zip(axes, given, strict=True):
        values[axis % rank] = float(value)
    return values


def _scales(node: OperatorNode, before: tuple[int, ...], after: tuple[int, ...]) -> list[float]:
    """Outputs per input of each axis: as stated, else from the sizes."""
    stated = node.constant_input(2)
    exact = [b / a if a else 1.0 for a, b in zip(before, after, strict=True)]
    if stated is None or stated.size == 0:
        policy = _text(node.attribute("keep_aspect_ratio_policy"), "stretch")
        return exact if policy == "stretch" else _kept_ratio(node, before, exact, policy)
    return _by_axis(node, stated.numpy().reshape(-1), len(before), 1.0)


def _kept_ratio(
    node: OperatorNode, before: tuple[int, ...], exact: list[float], policy: str
) -> list[float]:
    sizes = node.constant_input(3)
    assert sizes is not None
    axes = [axis % len(before) for axis in node.attribute("axes") or range(len(before))]
    wanted = sizes.numpy().reshape(-1)
    ratios = [wanted[i] / before[axis] for i, axis in enumerate(axes)]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [float(ratio) if axis in axes else exact[axis] for axis in range(len(before))]


def _regions(node: OperatorNode, rank: int) -> list[tuple[float, float]]:
    """Region of interest of each axis, in shares of its extent."""
    region = node.constant_input(1)
    if region is None or region.size == 0:
        return [(0.0, 1.0)] * rank
    given = region.numpy().reshape(-1)
    half = len(given) // 2
    low = _by_axis(node, given[:half], rank, 0.0)
    high = _by_axis(node, given[half:], rank, 1.0)
    return list(zip(low, high, strict=True))
