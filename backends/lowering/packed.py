"""Operators whose kernels are written in C: they sort, sum up, scatter, sample or count."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from burnish.backends.lowering.counting_rules import COUNTS, counts
from burnish.backends.lowering.elementwise import numpy_name
from burnish.backends.lowering.emitter import Emitter
from burnish.backends.lowering.layout import channels_last, identity, physical
from burnish.backends.lowering.plan import shape_of
from burnish.backends.program import Buffer, Call
from burnish.ir import OperatorNode

PackedEmitter: TypeAlias = Callable[[Emitter, OperatorNode], None]
"""Emits the call of a C kernel."""

NUMBERS = frozenset({
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
})  # fmt: skip
"""Types that the kernels compute with."""

REDUCTIONS = {"none": 0, "add": 1, "mul": 2, "max": 3, "min": 4}


def declines(node: OperatorNode) -> str | None:
    """Why the kernel does not fit ``node``, None if it does."""
    if node.op_type in COUNTS:
        # What they give in the main graph has been bounded, or they have been refused.
        is_inner = node.graph is not None and node.graph.owner is not None
        fits = counts(node) and not is_inner
        return None if fits else f"{node.op_type} is not compiled where it counts nothing"
    first = node.inputs[0]
    assert first is not None
    dtype = numpy_name(first.dtype)
    if node.op_type == "RoiAlign":
        if dtype == "float32" and _text(node, "mode", "avg") == "avg":
            return None
        return f"no kernel of {node.op_type} but averages of float32"
    moves_only = node.op_type.startswith("Scatter") and _reduction(node) == 0
    if dtype not in NUMBERS and not moves_only:
        return f"{node.op_type} of {dtype} is not compiled"
    if not moves_only and not node.op_type.startswith("Scatter") and not _constant(node, 1):
        return f"input 1 of {node.op_type} is computed"
    return None


def _constant(node: OperatorNode, index: int) -> bool:
    value = node.input(index)
    return value is not None and value.is_constant


def _text(node: OperatorNode, name: str, default: str) -> str:
    value = node.attribute(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _reduction(node: OperatorNode) -> int:
    return REDUCTIONS[_text(node, "reduction", "none")]


def _options(emitter: Emitter, *values: int) -> Buffer:
    return emitter.constant(np.array(values, np.int64), ("options", values))


def _result(emitter: Emitter, node: OperatorNode, index: int) -> Buffer:
    """A new home for an output; a result that nobody reads still needs memory."""
    value = node.outputs[index]
    shape = physical(shape_of(value), emitter.plan.layout(value))
    emitter.home[value] = emitter.temporary(value.name, shape, numpy_name(value.dtype))
    return emitter.home[value]


def top_k(emitter: Emitter, node: OperatorNode) -> None:
    """TopK with a constant k along any axis, which the plan has put last."""
    x = node.inputs[0]
    assert x is not None
    source = emitter.located(x, emitter.plan.layout(node.outputs[0]))
    options = _options(emitter, int(node.attribute("largest", 1)))
    results = (_result(emitter, node, 0), _result(emitter, node, 1))
    emitter.calls.append(Call("burnish_topk", (source, options, *results), outputs=2))


def cumulate(emitter: Emitter, node: OperatorNode) -> None:
    """CumSum and CumProd along a constant axis."""
    x, axis = node.inputs[0], node.constant_input(1)
    assert x is not None and axis is not None
    layout = emitter.plan.layout(node.output)
    place = layout.index(int(axis.numpy().reshape(())) % len(layout))
    shape = physical(shape_of(x), layout)
    options = _options(
        emitter, math.prod(shape[:place]), shape[place], math.prod(shape[place + 1 :]),
        int(node.attribute("exclusive", 0)), int(node.attribute("reverse", 0)),
        int(node.op_type == "CumProd"),
    )  # fmt: skip
    source = emitter.located(x, layout)
    emitter.calls.append(Call("burnish_cumulate", (source, options, _result(emitter, node, 0))))


def scatter(emitter: Emitter, node: OperatorNode) -> None:
    """ScatterElements and ScatterND with any reduction, updates in order."""
    x = node.inputs[0]
    assert x is not None
    by_element = node.op_type == "ScatterElements"
    rank = len(shape_of(x))
    axis = int(node.attribute("axis", 0)) % rank if by_element else -1
    held = [
        emitter.located(value, identity(len(shape_of(value))))
        for value in node.inputs if value is not None
    ]  # fmt: skip
    options = _options(emitter, _reduction(node), axis)
    emitter.calls.append(Call("burnish_scatter", (*held, options, _result(emitter, node, 0))))


def roi_align(emitter: Emitter, node: OperatorNode) -> None:
    """RoiAlign by averages; the picture's channels lie last."""
    x, boxes, batch = node.inputs
    assert x is not None and boxes is not None and batch is not None
    half = _text(node, "coordinate_transformation_mode", "half_pixel") == "half_pixel"
    scale = float(node.attribute("spatial_scale", 1.0))
    operands = (
        emitter.located(x, channels_last(4)),
        emitter.located(boxes, identity(2)),
        emitter.located(batch, identity(1)),
        _options(emitter, int(node.attribute("sampling_ratio", 0)), int(half)),
        emitter.constant(np.array([scale], np.float32), ("scale", scale)),
    )
    emitter.calls.append(Call("burnish_roi_align", (*operands, _result(emitter, node, 0))))


def _counted_result(emitter: Emitter, node: OperatorNode) -> tuple[Buffer, Buffer]:
    """A home for a result of which a kernel fills a part, and for how large that is."""
    filled = emitter.temporary(f"{node.output.name}.count", (1,), "int64")
    emitter.filled[node] = filled
    return _result(emitter, node, 0), filled


def non_max_suppression(emitter: Emitter, node: OperatorNode) -> None:
    """NonMaxSuppression; what is left out keeps nothing, or does not restrict."""
    boxes, scores = node.inputs[:2]
    assert boxes is not None and scores is not None
    limits = []
    for index, dtype in ((2, np.int64), (3, np.float32), (4, np.float32)):
        value = node.input(index)
        none = np.zeros(1, dtype)
        limits.append(
            emitter.constant(none, ("none", dtype)) if value is None
            else emitter.located(value, identity(len(shape_of(value))))
        )  # fmt: skip
    options = _options(
        emitter, int(node.attribute("center_point_box", 0)), int(node.input(4) is not None)
    )
    held = (emitter.located(value, identity(3)) for value in (boxes, scores))
    operands = (*held, *limits, options)
    results = _counted_result(emitter, node)
    emitter.calls.append(
        Call("burnish_non_max_suppression", (*operands, *results), outputs=len(results))
    )


def non_zero(emitter: Emitter, node: OperatorNode) -> None:
    """NonZero of a tensor with at least one axis."""
    x = node.inputs[0]
    assert x is not None
    source = emitter.located(x, identity(len(shape_of(x))))
    results = _counted_result(emitter, node)
    emitter.calls.append(Call("burnish_non_zero", (source, *results), outputs=len(results)))


def compress(emitter: Emitter, node: OperatorNode) -> None:
    """Compress by a condition that is computed, of slices or of all elements."""
    x, condition = node.inputs
    assert x is not None and condition is not None
    shape, axis = shape_of(x), node.attribute("axis")
    place = 0 if axis is None else int(axis) % len(shape)
    sizes = (math.prod(shape),) if axis is None else shape
    options = _options(
        emitter, math.prod(sizes[:place]), sizes[place], math.prod(sizes[place + 1 :])
    )
    source = emitter.located(x, identity(len(shape)))
    held = (source, emitter.located(condition, identity(1)), options)
    results = _counted_result(emitter, node)
    emitter.calls.append(Call("burnish_compress", (*held, *results), outputs=len(results)))


PACKED: dict[str, PackedEmitter] = {
    "Compress": compress,
    "CumProd": cumulate,
    "CumSum": cumulate,
    "NonMaxSuppression": non_max_suppression,
    "NonZero": non_zero,
    "RoiAlign": roi_align,
    "ScatterElements": scatter,
    "ScatterND": scatter,
    "TopK": top_k,
}
"""How each of them calls its kernel."""
