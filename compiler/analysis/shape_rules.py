"""Shapes that ONNX's schemas leave open: targets that are known in part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from burnish.analysis.sizes import (
    Amount,
    Size,
    bounds,
    divide,
    equal,
    from_dim,
    least,
    minus,
    plus,
    product,
    times,
    to_dim,
    total,
)
from burnish.analysis.values import Scene, sizes
from burnish.ir import Dim, Shape

ShapeRule: TypeAlias = Callable[[Scene], Shape]
"""The shape of the first output, None where nothing more is known."""


def _target(scene: Scene, index: int) -> list[Amount] | None:
    """The sizes at input ``index``; all unknown if only their number is known."""
    value = scene.value(index)
    if value is not None:
        return sizes(value)
    shape = scene.type(index).static_shape
    return [None] * shape[0] if shape is not None and len(shape) == 1 else None


def _reshape(scene: Scene) -> Shape:
    data, target = scene.type(0).shape, _target(scene, 1)
    if target is None:
        return None
    copies = not scene.node.attribute("allowzero", 0)
    result: list[Amount] = list(target)
    for index, size in enumerate(target):
        if size == 0 and copies:
            known = data is not None and index < len(data)
            result[index] = from_dim(data[index]) if known and data is not None else None
    result = [None if size == -1 else size for size in result]
    open_axes = [index for index, size in enumerate(result) if size is None]
    if data is not None and len(open_axes) == 1:
        whole = product(map(from_dim, data))
        rest = product(size for size in result if size is not None)
        result[open_axes[0]] = divide(whole, rest) if rest != 0 else None
    return _dims(result)


def _expand(scene: Scene) -> Shape:
    data, target = scene.type(0).shape, _target(scene, 1)
    if data is None or target is None:
        return None
    rank = max(len(data), len(target))
    left = [1] * (rank - len(data)) + [from_dim(dim) for dim in data]
    right = [1] * (rank - len(target)) + target
    return _dims([_broadcast(a, b) for a, b in zip(left, right, strict=True)])


def _broadcast(a: Amount, b: Amount) -> Amount:
    if a == 1:
        return b
    if b == 1 or equal(a, b):
        return a
    # A size cut to a bound can only meet itself where the bound does not cut.
    for size, other in ((a, b), (b, a)):
        if bounds(size, other):
            return other
    # A size above 1 settles it, whatever the other is; a name may stand for 1.
    for size in (a, b):
        if isinstance(size, int) and size > 1:
            return size
    return None


def _elementwise(scene: Scene) -> Shape:
    shapes = [kind.shape for kind in scene.types if kind is not None]
    if not shapes or None in shapes or len(set(shapes)) == 1:
        return shapes[0] if shapes and None not in shapes else None
    rank = max(len(shape) for shape in shapes if shape is not None)
    total: list[Amount] = [1] * rank
    for shape in shapes:
        wide = [1] * (rank - len(shape or ())) + [from_dim(dim) for dim in shape or ()]
        total = [_broadcast(a, b) for a, b in zip(total, wide, strict=True)]
    return _dims(total)


def _filled(scene: Scene) -> Shape:
    target = _target(scene, 0)
    return None if target is None else _dims(target)


def _tile(scene: Scene) -> Shape:
    data, repeats = scene.type(0).shape, _target(scene, 1)
    if data is None or repeats is None or len(data) != len(repeats):
        return None
    return _dims([times(from_dim(dim), count) for dim, count in zip(data, repeats, strict=True)])


def _range(scene: Scene) -> Shape:
    bounds = [scene.value(index) for index in range(3)]
    if any(value is None for value in bounds):
        return (None,)
    start, limit, delta = (sizes(value)[0] for value in bounds if value is not None)
    length = minus(limit, start)
    if delta != 1 or not isinstance(length, Size) or not length.is_non_negative:
        return (None,)
    return (to_dim(length),)


def _slice(scene: Scene) -> Shape:
    data = scene.type(0).shape
    if data is None:
        return None
    starts: Sequence[Amount] | None = scene.integers(1, "starts")
    ends: Sequence[Amount] | None = scene.integers(2, "ends")
    if scene.has_input(1):
        starts, ends = _target(scene, 1), _target(scene, 2)
    axes, steps = scene.integers(3, "axes"), scene.integers(4)
    if axes is None and not scene.has_input(3) and starts is not None:
        axes = list(range(len(starts)))
    if starts is None or ends is None or axes is None or (steps is None and scene.has_input(4)):
        # Every axis may have been cut.
        return tuple([None] * len(data)) if axes is None else _opened(data, axes)
    result = [from_dim(dim) for dim in data]
    for n, axis in enumerate(axes):
        step = 1 if steps is None else steps[n]
        result[axis] = _cut(result[axis], starts[n], ends[n], step)
    return _dims(result)


def _cut(size: Amount, start: Amount, end: Amount, step: int) -> Amount:
    """Elements that a slice leaves of ``size``."""
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        if step < 0 and end < -size:
            return len(range(size)[start::step])
        return len(range(size)[start:end:step])
    if step != 1 or size is None:
        return None
    last = _clamped(end, size)
    first = _clamped(start, size)
    if last is None and isinstance(size, int) and isinstance(end, Size) and end.is_non_negative:
        last = least(size, end)
    length = minus(last, first)
    if isinstance(length, Size):
        return length if length.is_non_negative else None
    return None if length is None else max(length, 0)


def _clamped(bound: Amount, size: Amount) -> Amount:
    """Where ``bound`` lies within ``size``, counted from the front."""
    if isinstance(bound, int) and bound < 0:
        bound = plus(size, bound)
        # A size below the bound would be clamped to 0.
        return bound if not isinstance(bound, Size) or bound.is_non_negative else None
    if isinstance(bound, int) and (bound == 0 or bound >= 2**31 - 1):
        return 0 if bound == 0 else size
    excess = minus(size, bound)
    within = (isinstance(excess, Size) and excess.is_non_negative) or (
        isinstance(excess, int) and excess >= 0
    )
    return bound if within else None


def _opened(data: tuple[Dim, ...], axes: list[int]) -> Shape:
    dims = list(data)
    for axis in axes:
        dims[axis] = None
    return tuple(dims)


def _pad(scene: Scene) -> Shape:
    data, pads = scene.type(0).shape, scene.value(1)
    axes = scene.integers(3)
    if data is None or pads is None or (axes is None and scene.has_input(3)):
        return None
    amounts = sizes(pads)
    result = [from_dim(dim) for dim in data]
    along = range(len(data)) if axes is None else axes
    for n, axis in enumerate(along):
        added = plus(amounts[n], amounts[n + len(amounts) // 2])
        result[axis] = plus(result[axis], added)
    return _dims(result)


def _resize(scene: Scene) -> Shape:
    data = scene.type(0).shape
    if data is None:
        return None
    if scene.node.attribute("keep_aspect_ratio_policy", "stretch") not in ("stretch", b"stretch"):
        return None
    axes = scene.node.attribute("axes") or range(len(data))
    result = [from_dim(dim) for dim in data]
    target = scene.value(3)
    scales = scene.known(2)
    if target is not None and target.size:
        for axis, size in zip(axes, sizes(target), strict=True):
            result[axis] = size
    elif scales is not None and scales.size:
        for axis, scale in zip(axes, scales.reshape(-1).tolist(), strict=True):
            size = result[axis]
            whole = isinstance(size, Size) and float(scale).is_integer()
            result[axis] = (
                int(size * scale) if isinstance(size, int)
                else times(size, int(scale)) if whole else None
            )  # fmt: skip
    else:
        return None
    return _dims(result)


def _same_transposed(scene: Scene) -> Shape:
    """Of ConvTranspose with ``auto_pad`` SAME: each input makes ``stride`` outputs.

    Pads are cut from what the kernel covers, ``output_padding`` included, which ONNX's own
    inference adds to it instead. Where the kernel covers less, there is nothing to cut.
    """
    node, data, weights = scene.node, scene.type(0).shape, scene.type(1).shape
    mode = node.attribute("auto_pad", "NOTSET")
    is_same = mode in ("SAME_UPPER", "SAME_LOWER", b"SAME_UPPER", b"SAME_LOWER")
    if not is_same or node.attribute("output_shape") or data is None or weights is None:
        return None
    rank = len(data) - 2
    result: list[Dim] = [None, None]
    ones, zeros = (1,) * rank, (0,) * rank
    for size, kernel, stride, dilation, added in zip(
        data[2:], weights[2:], node.attribute("strides") or ones,
        node.attribute("dilations") or ones, node.attribute("output_padding") or zeros,
        strict=False,
    ):  # fmt: skip
        if not isinstance(size, int) or not isinstance(kernel, int):
            return None
        covered = (size - 1) * stride + (kernel - 1) * dilation + 1 + added
        result.append(min(size * stride, covered))
    return tuple(result)


def _concat(scene: Scene) -> Shape:
    shapes = [scene.type(index).shape for index in range(len(scene.node.inputs))]
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    axis = scene.node.attribute("axis", 0)
    joined = total(from_dim(shape[axis]) for shape in known)
    dims = list(known[0])
    dims[axis] = to_dim(joined)
    return tuple(dims)


def _flatten(scene: Scene) -> Shape:
    data = scene.type(0).shape
    if data is None:
        return None
    axis = scene.node.attribute("axis", 1)
    axis += len(data) if axis < 0 else 0
    halves = (data[:axis], data[axis:])
    return _dims([product(map(from_dim, half)) for half in halves])


def _dims(amounts: list[Amount]) -> Shape:
    # A negative size is an error of the model that its run reports; here it is just unknown.
    return tuple(None if isinstance(a, int) and a < 0 else to_dim(a) for a in amounts)


ELEMENTWISE = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean",
    "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip

SHAPE_RULES: dict[str, ShapeRule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "ConvTranspose": _same_transposed,
    "Expand": _expand,
    "Flatten": _flatten,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Tile": _tile,
}
"""Standard operators whose schema gives up where sizes are symbolic or come from a value, or is
wrong."""
