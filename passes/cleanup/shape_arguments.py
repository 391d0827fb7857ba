"""Arguments that are shapes, as constants: how each operator can do without knowing every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from burnish.analysis import Inference
from burnish.analysis.sizes import Amount, Size, divide, equal, from_dim, minus
from burnish.analysis.values import sizes
from burnish.ir import Array, DType, OperatorNode, VariableNode

END = int(np.iinfo(np.int64).max)
"""A bound of a Slice that lies behind the last element, however many there are."""


@dataclass(frozen=True)
class Arguments:
    """What an operator may read instead of computed shapes."""

    inputs: dict[int, Array | None]
    """New constants by index; None leaves the input out."""
    attributes: tuple[str, ...] = ()
    """Attributes that no longer apply."""


Judge: TypeAlias = Callable[[Inference, OperatorNode], "Arguments | str | None"]
"""New arguments, or why there are none; None where nothing is computed."""


def computed(node: OperatorNode, index: int) -> VariableNode | None:
    """Input ``index`` if it is computed when the model runs."""
    value = node.input(index)
    return None if value is None or value.is_constant else value


def amounts(inference: Inference, value: VariableNode) -> list[Amount] | None:
    """The elements of a list of sizes as far as they are known; None if not even their number."""
    found = inference.value_of(value)
    if found is not None:
        return sizes(found) if found.ndim == 1 else None
    shape = inference.type_of(value).static_shape
    return [None] * shape[0] if shape is not None and len(shape) == 1 else None


def dims(inference: Inference, value: VariableNode | None) -> list[Amount] | None:
    """The sizes of the axes of ``value``."""
    shape = None if value is None else inference.type_of(value).shape
    return None if shape is None else [from_dim(dim) for dim in shape]


def _reshape(inference: Inference, node: OperatorNode) -> Arguments | str | None:
    target = computed(node, 1)
    if target is None:
        return None
    wanted, data = amounts(inference, target), dims(inference, node.input(0))
    if wanted is None:
        return "how many axes the result has is not known"
    if node.attribute("allowzero", 0) and 0 in wanted:
        return "its result is empty"
    result: list[int] = []
    for axis, size in enumerate(wanted):
        if isinstance(size, int):
            result.append(size)
        else:
            same = data is not None and axis < len(data) and size is not None and data[axis] == size
            result.append(0 if same else -1)
    if result.count(-1) > 1:
        return "more than one size is neither known nor that of the same axis: give --input-shape"
    return Arguments({1: np.array(result, np.int64)}, ("allowzero",))


def _expand(inference: Inference, node: OperatorNode) -> Arguments | str | None:
    target = computed(node, 1)
    if target is None:
        return None
    wanted, data = amounts(inference, target), dims(inference, node.input(0))
    if wanted is None or data is None:
        return "how many axes there are is not known"
    result = []
    for back, size in enumerate(reversed(wanted), 1):
        own: Amount = data[-back] if back <= len(data) else 1
        if isinstance(size, int):
            result.append(size)
        elif size is not None and own == size:
            # A size of 1 leaves an axis as long as it is.
            result.append(1)
        else:
            return "it makes an axis as long as something else: give --input-shape"
    return Arguments({1: np.array(result[::-1], np.int64)})


def _slice(inference: Inference, node: OperatorNode) -> Arguments | str | None:
    if all(computed(node, index) is None for index in (1, 2)):
        return None
    data = dims(inference, node.input(0))
    axes, steps = node.input(3), node.input(4)
    along = None if axes is None else inference.known_value(axes)
    moves = None if steps is None else inference.known_value(steps)
    if data is None or (axes is not None and along is None) or (
        steps is not None and (moves is None or (moves < 1).any())
    ):  # fmt: skip
        return "its axes or steps are not known"
    found: dict[int, Array | None] = {}
    for index in (1, 2):
        bounds = computed(node, index)
        wanted = None if bounds is None else amounts(inference, bounds)
        if bounds is None or wanted is None:
            continue
        positions = range(len(wanted)) if along is None else [int(a) for a in along]
        fixed = [_bound(size, data[axis]) for size, axis in zip(wanted, positions, strict=True)]
        if None not in fixed:
            # All bounds of a Slice have one type.
            kind = np.int32 if inference.type_of(bounds).dtype is DType.INT32 else np.int64
            found[index] = np.minimum(np.array(fixed, np.int64), np.iinfo(kind).max).astype(kind)
    return Arguments(found) if found else "where it cuts depends on sizes: give --input-shape"


def _bound(wanted: Amount, size: Amount) -> int | None:
    """``wanted``, a bound of an axis of ``size`` elements, as a number."""
    if isinstance(wanted, int) or wanted is None:
        return wanted
    beyond = minus(wanted, size)
    behind = beyond == 0 or (isinstance(beyond, Size) and beyond.is_non_negative) or (
        isinstance(beyond, int) and beyond > 0
    )  # fmt: skip
    return END if behind else None


def _resize(inference: Inference, node: OperatorNode) -> Arguments | str | None:
    target = computed(node, 3)
    if target is None:
        return None
    wanted, data = amounts(inference, target), dims(inference, node.input(0))
    if wanted is None or data is None:
        return "how many axes there are is not known"
    axes = node.attribute("axes") or range(len(data))
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "it keeps the ratio of sides"
    scales = []
    for axis, size in zip(axes, wanted, strict=True):
        scale = _scale(size, data[axis])
        if scale is None:
            return "an axis does not become a whole number of times as long: give --input-shape"
        scales.append(scale)
    return Arguments({2: np.array(scales, np.float32), 3: None})


def _scale(wanted: Amount, size: Amount) -> np.float32 | None:
    """``wanted / size`` if Resize comes to ``wanted`` elements when it is told that."""
    if isinstance(wanted, int) and isinstance(size, int) and size > 0:
        scale = np.float32(wanted) / np.float32(size)
        return scale if int(np.float32(size) * scale) == wanted else None
    times = divide(wanted, size)
    return np.float32(times) if isinstance(times, int) else None


ARGUMENTS: dict[str, tuple[Judge, int]] = {
    "Expand": (_expand, 8),
    "Reshape": (_reshape, 5),
    "Resize": (_resize, 11),
    "Slice": (_slice, 10),
}
"""By operator: the judge, and the first opset where the argument is an input as it is today."""


def same_shape(inference: Inference, a: VariableNode | None, b: VariableNode) -> bool:
    """Whether two values have the same shape, whatever sizes are not known."""
    left, right = dims(inference, a), dims(inference, b)
    if left is None or right is None or len(left) != len(right):
        return False
    pairs: Sequence[tuple[Amount, Amount]] = list(zip(left, right, strict=True))
    return all(equal(x, y) is True for x, y in pairs)
