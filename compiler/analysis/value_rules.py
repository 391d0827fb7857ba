"""How values of small tensors follow through the arithmetic that models do on shapes.

Rules compute in the tensor's type with IEEE operations only, so that results are the oracle's, bit
for bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from burnish.analysis.sizes import (
    Amount,
    Size,
    divide,
    equal,
    from_dim,
    minus,
    plus,
    product,
    times,
)
from burnish.analysis.value_type import ValueType
from burnish.analysis.values import MAX_ELEMENTS, MAX_PARTIAL, Scene, is_partial, objects
from burnish.ir import Array, DType

Rule: TypeAlias = Callable[[Scene], "Array | list[Array] | None"]
"""The value of the first output, or of all; None where nothing is known."""


def _shape(scene: Scene) -> Array | None:
    shape = scene.type(0).shape
    if shape is None:
        return None
    start, end = scene.node.attribute("start", 0), scene.node.attribute("end")
    return objects([from_dim(dim) for dim in shape[start:end]])


def _size(scene: Scene) -> Array | None:
    shape = scene.type(0).shape
    if shape is None:
        return None
    return objects([product(map(from_dim, shape))], ())


def _gather(scene: Scene) -> Array | None:
    data, indices = scene.value(0), scene.known(1)
    if data is None or indices is None or data.ndim == 0:
        return None
    axis = scene.node.attribute("axis", 0)
    if np.any(indices >= data.shape[axis]) or np.any(indices < -data.shape[axis]):
        return None
    return np.asarray(np.take(data, indices, axis=axis), dtype=data.dtype)


def _concat(scene: Scene) -> Array | None:
    axis = scene.node.attribute("axis", 0)
    parts = []
    for index in range(len(scene.node.inputs)):
        part = scene.value(index)
        if part is None:
            part = _unknown(scene.type(index))
        if part is None:
            return None
        parts.append(part)
    if not any(is_partial(part) for part in parts):
        return np.concatenate(parts, axis=axis)
    if sum(part.size for part in parts) > MAX_PARTIAL or all(
        item is None for part in parts for item in part.flat
    ):
        return None
    return np.concatenate([part.astype(object) for part in parts], axis=axis)


def _unknown(kind: ValueType) -> Array | None:
    """An array of unknowns in place of an integer tensor of known small shape."""
    shape = kind.static_shape
    if shape is None or not kind.dtype.is_integer or np.prod(shape) > MAX_PARTIAL:
        return None
    return np.full(shape, None, dtype=object)


def _unsqueeze(scene: Scene) -> Array | None:
    data, axes = scene.value(0), scene.integers(1, "axes")
    return None if data is None or axes is None else np.expand_dims(data, tuple(axes))


def _squeeze(scene: Scene) -> Array | None:
    data = scene.value(0)
    if data is None:
        return None
    axes = scene.integers(1, "axes")
    if axes is None and (scene.has_input(1)):
        return None
    return np.squeeze(data, None if axes is None else tuple(axes))


def _reshape(scene: Scene) -> Array | None:
    data, target = scene.value(0), scene.integers(1, "shape")
    if data is None or target is None or scene.node.attribute("allowzero", 0):
        return None
    return data.reshape([data.shape[i] if size == 0 else size for i, size in enumerate(target)])


def _slice(scene: Scene) -> Array | None:
    data = scene.value(0)
    starts, ends = scene.integers(1, "starts"), scene.integers(2, "ends")
    if data is None or starts is None or ends is None:
        return None
    axes = scene.integers(3, "axes")
    steps = scene.integers(4)
    if (axes is None and scene.has_input(3)) or (steps is None and scene.has_input(4)):
        return None
    index = [slice(None)] * data.ndim
    for n, axis in enumerate(range(len(starts)) if axes is None else axes):
        step = 1 if steps is None else steps[n]
        index[axis] = _range(starts[n], ends[n], step, data.shape[axis])
    return data[tuple(index)]


def _range(start: int, end: int, step: int, size: int) -> slice:
    """ONNX's clamping of slice bounds: Python's, but an end below -size means before the start."""
    if step < 0 and end < -size:
        return slice(start, None, step)
    return slice(start, end, step)


def _split(scene: Scene) -> list[Array] | None:
    data = scene.value(0)
    count = len(scene.node.outputs)
    if data is None:
        return None
    axis = scene.node.attribute("axis", 0)
    parts = scene.integers(1, "split")
    if parts is None:
        if scene.has_input(1):
            return None
        chunk = -(-data.shape[axis] // count)
        parts = [chunk] * (count - 1) + [data.shape[axis] - chunk * (count - 1)]
    return list(np.split(data, np.cumsum(parts)[:-1].tolist(), axis=axis))


def _transpose(scene: Scene) -> Array | None:
    data = scene.value(0)
    return None if data is None else np.transpose(data, scene.node.attribute("perm"))


def _same(scene: Scene) -> Array | None:
    return scene.value(0)


def _cast(scene: Scene) -> Array | None:
    data, target = scene.value(0), DType(scene.node.attribute("to", 0))
    if data is None or target.bits < 8:
        return None
    if is_partial(data):
        # Sizes fit any of the wider integer types; other targets would round or wrap.
        return data if target in (DType.INT64, DType.INT32, DType.UINT64) else None
    if data.dtype.kind == "f" and not target.is_floating and target is not DType.BOOL:
        limits = np.iinfo(target.numpy.name)
        if not np.all(np.isfinite(data)) or np.any(data < limits.min) or np.any(data > limits.max):
            return None
    if data.dtype.kind not in "fiub" or target.numpy.kind not in "fiub":
        return None
    return data.astype(target.numpy)


def _where(scene: Scene) -> Array | None:
    condition, x, y = (scene.value(index) for index in range(3))
    x = _unknown(scene.type(1)) if x is None else x
    y = _unknown(scene.type(2)) if y is None else y
    if condition is None or x is None or y is None:
        return None
    if not any(is_partial(part) for part in (condition, x, y)):
        return np.where(condition, x, y)
    pick = np.frompyfunc(_pick, 3, 1)
    return np.asarray(pick(condition, x, y), dtype=object)


def _pick(condition: Any, x: Any, y: Any) -> Any:
    if condition is None:
        return x if x is not None and equal(_amount(x), _amount(y)) else None
    return x if condition else y


def _range_op(scene: Scene) -> Array | None:
    start, limit, delta = (scene.known(index) for index in range(3))
    if start is None or limit is None or delta is None or not delta or start.dtype.kind not in "iu":
        return None
    bounds = (int(start), int(limit), int(delta))
    if len(range(*bounds)) > MAX_ELEMENTS:
        return None
    return np.arange(*bounds, dtype=start.dtype)


def _constant_of_shape(scene: Scene) -> Array | None:
    shape = scene.integers(0)
    if shape is None or min(shape, default=0) < 0:
        return None
    if np.prod(shape, dtype=np.float64) > MAX_ELEMENTS:
        return None
    fill = scene.node.attribute("value")
    return np.full(shape, 0.0 if fill is None else fill.numpy().reshape(()),
                   dtype=np.float32 if fill is None else fill.numpy().dtype)  # fmt: skip


def _expand(scene: Scene) -> Array | None:
    data, target = scene.value(0), scene.integers(1)
    if data is None or target is None:
        return None
    shape = np.broadcast_shapes(data.shape, tuple(target))
    if np.prod(shape, dtype=np.float64) > (MAX_PARTIAL if is_partial(data) else MAX_ELEMENTS):
        return None
    return np.broadcast_to(data, shape)


def _tile(scene: Scene) -> Array | None:
    data, repeats = scene.value(0), scene.integers(1)
    if data is None or repeats is None:
        return None
    if data.size * np.prod(repeats, dtype=np.float64) > MAX_ELEMENTS:
        return None
    return np.tile(data, repeats)


def _amount(item: Any) -> Amount:
    return item if isinstance(item, Size) or item is None else int(item)


def _elementwise(exact: Callable[..., Any], partial: Callable[..., Any] | None = None) -> Rule:
    """A rule for an operator that works element by element with broadcasting."""

    def apply(scene: Scene) -> Array | None:
        operands = [scene.value(index) for index in range(len(scene.node.inputs))]
        if any(operand is None for operand in operands):
            return None
        arrays = [operand for operand in operands if operand is not None]
        if not any(is_partial(array) for array in arrays):
            with np.errstate(all="ignore"):
                found = reduce(exact, arrays) if len(arrays) > 1 else exact(arrays[0])
                return np.asarray(found)
        if partial is None:
            return None
        step = np.frompyfunc(lambda *items: partial(*map(_amount, items)), min(2, len(arrays)), 1)
        return np.asarray(reduce(step, arrays) if len(arrays) > 1 else step(arrays[0]), object)

    return apply


def _integer_division(a: Array, b: Array) -> Any:
    """Division in the operands' type; integers round towards zero."""
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise ZeroDivisionError
    quotient = np.abs(a) // np.abs(b)
    return (np.sign(a) * np.sign(b) * quotient).astype(a.dtype)


def _even_division(a: Amount, b: Amount) -> Amount:
    if isinstance(a, int) and isinstance(b, int):
        return int(a / b) if b and abs(a) < 2**52 else None
    return divide(a, b)


def _less(a: Amount, b: Amount) -> bool | None:
    difference = minus(b, a)
    if isinstance(difference, Size):
        negative = times(difference, -1)
        if difference.is_positive:
            return True
        return False if isinstance(negative, Size) and negative.is_non_negative else None
    return None if difference is None else difference > 0


def _minimum(a: Amount, b: Amount) -> Amount:
    less = _less(a, b)
    return None if less is None else a if less else b


def _maximum(a: Amount, b: Amount) -> Amount:
    less = _less(a, b)
    return None if less is None else b if less else a


def _mod(scene: Scene) -> Array | None:
    a, b = scene.known(0), scene.known(1)
    if a is None or b is None or a.dtype.kind == "f" or not np.all(b):
        return None
    return np.asarray(np.fmod(a, b) if scene.node.attribute("fmod", 0) else np.mod(a, b))


def _negated(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _both(a: Any, b: Any) -> Any:
    return None if a is None or b is None else bool(a) and bool(b)


def _either(a: Any, b: Any) -> Any:
    return None if a is None or b is None else bool(a) or bool(b)


def _reduction(exact: Callable[..., Any], step: Callable[..., Any] | None) -> Rule:
    def apply(scene: Scene) -> Array | None:
        data, axes = scene.value(0), scene.integers(1, "axes")
        # Sums of floats depend on their order, which is the oracle's business.
        if data is None or data.dtype.kind == "f" or (axes is None and scene.has_input(1)):
            return None
        if not axes and scene.node.attribute("noop_with_empty_axes", 0):
            return data
        keep = bool(scene.node.attribute("keepdims", 1))
        along = tuple(axes) if axes else None
        if not is_partial(data):
            return np.asarray(exact(data, axis=along, keepdims=keep), dtype=data.dtype)
        if step is None or data.ndim != 1 or not data.size:
            return None
        return objects([reduce(step, map(_amount, data))], (1,) if keep else ())

    return apply


VALUE_RULES: dict[str, Rule] = {
    "Abs": _elementwise(np.abs),
    "Add": _elementwise(operator.add, plus),
    "And": _elementwise(np.logical_and, _both),
    "Cast": _cast,
    "Ceil": _elementwise(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(_integer_division, _even_division),
    "Equal": _elementwise(np.equal, equal),
    "Expand": _expand,
    "Floor": _elementwise(np.floor),
    "Gather": _gather,
    "Greater": _elementwise(np.greater, lambda a, b: _less(b, a)),
    "GreaterOrEqual": _elementwise(np.greater_equal, lambda a, b: _negated(_less(a, b))),
    "Identity": _same,
    "Less": _elementwise(np.less, _less),
    "LessOrEqual": _elementwise(np.less_equal, lambda a, b: _negated(_less(b, a))),
    "Max": _elementwise(np.maximum, _maximum),
    "Min": _elementwise(np.minimum, _minimum),
    "Mod": _mod,
    "Mul": _elementwise(operator.mul, times),
    "Neg": _elementwise(operator.neg, lambda a: times(a, -1)),
    "Not": _elementwise(np.logical_not),
    "Or": _elementwise(np.logical_or, _either),
    "Range": _range_op,
    "ReduceMax": _reduction(np.max, _maximum),
    "ReduceMin": _reduction(np.min, _minimum),
    "ReduceProd": _reduction(np.prod, times),
    "ReduceSum": _reduction(np.sum, plus),
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _elementwise(operator.sub, minus),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""How the value of a standard operator's result follows from its inputs."""
