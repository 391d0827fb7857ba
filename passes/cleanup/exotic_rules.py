"""Rarely used standard operators in terms of common ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, DType, VariableNode
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

Facts: TypeAlias = tuple[int, ...]


def _static(match: Match) -> Facts | Miss:
    """The shape of the first input, which must be known."""
    value = match.root.inputs[0]
    shape = None if value is None else value.static_shape
    return (
        Miss("its shape is not known: give --input-shape", match.root) if shape is None else shape
    )


def _source(match: Match) -> VariableNode:
    value = match.root.inputs[0]
    assert value is not None
    return value


def _scalar(rewriter: Rewriter, value: float, dtype: DType) -> VariableNode:
    return rewriter.constant(np.array(value, dtype.numpy))


def _integers(rewriter: Rewriter, values: Sequence[int]) -> VariableNode:
    return rewriter.constant(np.array(values, np.int64))


def _op(
    rewriter: Rewriter,
    op_type: str,
    *inputs: VariableNode,
    shape: Sequence[int] | None = None,
    dtype: DType | None = None,
    **attributes: object,
) -> VariableNode:
    """A node whose result has the type of its first input unless told otherwise."""
    first = inputs[0]
    like = VariableNode("", first.dtype if dtype is None else dtype,
                        first.shape if shape is None else tuple(shape))  # fmt: skip
    return rewriter.op(op_type, inputs, attributes, like=like)


def _rearranged(
    rewriter: Rewriter, match: Match, split: Sequence[int], perm: tuple[int, ...]
) -> None:
    """Reshape to ``split``, move axes, reshape to the shape of the result."""
    old = match.root.output
    parts = _op(rewriter, "Reshape", _source(match), _integers(rewriter, split), shape=split)
    moved = _op(rewriter, "Transpose", parts, shape=[split[axis] for axis in perm], perm=perm)
    shape = old.static_shape
    assert shape is not None
    rewriter.replace(old, rewriter.op("Reshape", [moved, _integers(rewriter, shape)], like=old))


def _depth_to_space(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    n, c, h, w = shape
    block = int(match.root.attributes["blocksize"])
    depth = c // block**2
    if match.root.attribute("mode", "DCR") == "DCR":
        _rearranged(rewriter, match, (n, block, block, depth, h, w), (0, 3, 4, 1, 5, 2))
    else:
        _rearranged(rewriter, match, (n, depth, block, block, h, w), (0, 1, 4, 2, 5, 3))


def _space_to_depth(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    n, c, h, w = shape
    block = int(match.root.attributes["blocksize"])
    split = (n, c, h // block, block, w // block, block)
    column_first = match.root.attribute("mode", "DCR") == "CRD"
    perm = (0, 1, 3, 5, 2, 4) if column_first else (0, 3, 5, 1, 2, 4)
    _rearranged(rewriter, match, split, perm)


def _power(rewriter: Rewriter, value: VariableNode, p: float) -> VariableNode:
    """|value| to the power ``p``."""
    if p == 2:
        return _op(rewriter, "Mul", value, value)
    magnitude = _op(rewriter, "Abs", value)
    return magnitude if p == 1 else _op(
        rewriter, "Pow", magnitude, _scalar(rewriter, p, value.dtype))  # fmt: skip


def _root(rewriter: Rewriter, value: VariableNode, p: float) -> VariableNode:
    if p == 1:
        return value
    if p == 2:
        return _op(rewriter, "Sqrt", value)
    return _op(rewriter, "Pow", value, _scalar(rewriter, 1 / p, value.dtype))


def _global_lp_pool(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    p = float(match.root.attribute("p", 2))
    axes = _integers(rewriter, range(2, len(shape)))
    old = match.root.output
    powers = _power(rewriter, _source(match), p)
    reduced = (*shape[:2], *(1,) * (len(shape) - 2))
    total = _op(rewriter, "ReduceSum", powers, axes, shape=reduced, keepdims=1)
    rewriter.replace(old, _root(rewriter, total, p))


def _whole_windows(match: Match) -> Facts | Miss:
    if match.root.attribute("ceil_mode", 0):
        return Miss("its last windows may be cut", match.root)
    return _static(match)


def _lp_pool(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    """The mean of powers, times how many there are."""
    node, old = match.root, match.root.output
    p = float(node.attribute("p", 2))
    attributes = {key: value for key, value in node.attributes.items() if key != "p"}
    powers = _power(rewriter, _source(match), p)
    mean = rewriter.op("AveragePool", [powers], attributes | {"count_include_pad": 1}, like=old)
    count = int(np.prod(node.attributes["kernel_shape"]))
    total = _op(rewriter, "Mul", mean, _scalar(rewriter, count, mean.dtype))
    rewriter.replace(old, _root(rewriter, total, p))


def _lp_normalization(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    """Divide by the norm; a vector of zeros stays as it is."""
    node, source, old = match.root, _source(match), match.root.output
    axis = int(node.attribute("axis", -1))
    norm_shape = list(shape)
    norm_shape[axis] = 1
    kind = "ReduceL1" if int(node.attribute("p", 2)) == 1 else "ReduceL2"
    axes = _integers(rewriter, [axis])
    norm = _op(rewriter, kind, source, axes, shape=norm_shape, keepdims=1)
    empty = _op(rewriter, "Equal", norm, _scalar(rewriter, 0, norm.dtype), dtype=DType.BOOL)
    one = _scalar(rewriter, 1, norm.dtype)
    divisor = rewriter.op("Where", [empty, one, norm], like=norm)
    rewriter.replace(old, rewriter.op("Div", [source, divisor], like=old))


def _diagonal(match: Match) -> Facts | Miss:
    if match.root.input(1) is not None and match.root.constant_input(1) is None:
        return Miss("its diagonal is not constant", match.root)
    return _static(match)


def _trilu(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    """Select by a constant mask."""
    node, source, old = match.root, _source(match), match.root.output
    constant = node.constant_input(1)
    k = 0 if constant is None else int(constant.numpy().reshape(-1)[0])
    ones = np.ones(shape[-2:], np.bool_)
    mask = np.triu(ones, k) if node.attribute("upper", 1) else np.tril(ones, k)
    zero = rewriter.constant(np.zeros((), source.dtype.numpy))
    rewriter.replace(old, rewriter.op("Where", [rewriter.constant(mask), source, zero], like=old))


def _eye_like(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    node, old = match.root, match.root.output
    dtype = DType(node.attribute("dtype", _source(match).dtype))
    eye = np.eye(shape[0], shape[1], int(node.attribute("k", 0))).astype(dtype.numpy)
    rewriter.replace(old, rewriter.op("Identity", [rewriter.constant(eye)], like=old))


def _hardmax(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    """One where the first largest element is."""
    source, old = _source(match), match.root.output
    axis = int(match.root.attribute("axis", -1)) % len(shape)
    picked = list(shape)
    picked[axis] = 1
    first = _op(rewriter, "ArgMax", source, shape=picked, dtype=DType.INT64, axis=axis, keepdims=1)
    numbers: Array = np.arange(shape[axis], dtype=np.int64)
    ladder = rewriter.constant(numbers.reshape([-1] + [1] * (len(shape) - 1 - axis)))
    hit = _op(rewriter, "Equal", first, ladder, shape=shape, dtype=DType.BOOL)
    rewriter.replace(old, rewriter.op("Cast", [hit], {"to": int(source.dtype)}, like=old))


def _lengths(match: Match) -> Facts | Miss:
    if match.root.constant_input(1) is None:
        return Miss("its lengths are not constant", match.root)
    return _static(match)


def _reverse_sequence(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    """Gather along the time axis by constant indices."""
    node, old = match.root, match.root.output
    constant = node.constant_input(1)
    assert constant is not None
    time, batch = int(node.attribute("time_axis", 0)), int(node.attribute("batch_axis", 1))
    indices = np.empty((shape[time], shape[batch]), np.int64)
    for column, length in enumerate(constant.numpy().tolist()):
        steps = np.arange(shape[time])
        indices[:, column] = np.where(steps < length, length - 1 - steps, steps)
    grid = indices if time < batch else indices.T
    grid = grid.reshape([*grid.shape, *(1,) * (len(shape) - 2)])
    full = rewriter.constant(np.ascontiguousarray(np.broadcast_to(grid, shape)))
    gathered = rewriter.op("GatherElements", [_source(match), full], {"axis": time}, like=old)
    rewriter.replace(old, gathered)


def _scaled(match: Match) -> Facts | Miss:
    if match.root.attribute("spatial_scale", 1.0) == 1.0:
        return Miss("its boxes are in pixels already", match.root)
    return ()


def _roi_align(rewriter: Rewriter, match: Match, shape: Facts) -> None:
    """Scale the boxes first: converters disagree about whether half a pixel is scaled as well."""
    node = match.root
    x, boxes, batch = node.inputs
    assert x is not None and boxes is not None and batch is not None
    attributes = {**node.attributes, "spatial_scale": 1.0}
    scale = _scalar(rewriter, node.attributes["spatial_scale"], boxes.dtype)
    scaled = rewriter.op("Mul", [boxes, scale], like=boxes)
    aligned = rewriter.op("RoiAlign", [x, scaled, batch], attributes, like=node.output)
    rewriter.replace(node.output, aligned)


def _matrix_shapes(match: Match) -> Facts | Miss:
    shape = _static(match)
    if isinstance(shape, Miss) or len(shape) >= 2:
        return shape
    return Miss("it is no matrix", match.root)


Lowering: TypeAlias = tuple[
    Callable[[Rewriter, Match, Facts], None], Callable[[Match], Facts | Miss], int
]

LOWERINGS: dict[str, Lowering] = {
    "DepthToSpace": (_depth_to_space, _static, 5),
    "EyeLike": (_eye_like, _matrix_shapes, 9),
    "GlobalLpPool": (_global_lp_pool, _static, 13),
    "Hardmax": (_hardmax, _static, 13),
    "LpNormalization": (_lp_normalization, _static, 18),
    "LpPool": (_lp_pool, _whole_windows, 19),
    "ReverseSequence": (_reverse_sequence, _lengths, 11),
    "RoiAlign": (_roi_align, _scaled, 10),
    "SpaceToDepth": (_space_to_depth, _static, 5),
    "Trilu": (_trilu, _diagonal, 16),
}
"""By operator: how to write it, when that is possible, and from which opset on."""


def rule(op_type: str) -> Rule:
    """The rule that lowers ``op_type``."""
    rewrite, guard, since = LOWERINGS[op_type]
    return Rule(f"lower-{op_type.lower()}", Op(op_type), rewrite, guard, since=since)


EXOTIC_RULES = tuple(rule(op_type) for op_type in LOWERINGS)
