"""How large the result of an operator that counts can be, and which operators may follow it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from burnish.backends.lowering.elementwise import ELEMENTWISE, numpy_name
from burnish.ir import OperatorNode, VariableNode

Shape: TypeAlias = tuple[int, ...]
Axes: TypeAlias = Mapping[VariableNode, int]
"""The counted axis of each operand that has one."""
Follower: TypeAlias = Callable[
    [OperatorNode, Axes, Sequence[Shape | None], Sequence[Shape | None]], int
]
"""The counted axis of the results of a node, from the shapes of its operands and results.

Raises `Declined`: positions beyond the count could change those before it.
"""


class Declined(Exception):
    """An operator cannot be counted, or cannot follow one that is; says why."""


@dataclass(frozen=True)
class Bound:
    """The most that an operator can give."""

    shape: Shape
    axis: int


# ---- Operators that count. ----


def _shapes(node: OperatorNode) -> list[Shape | None]:
    return [None if value is None else value.static_shape for value in node.inputs]


def _boxes(node: OperatorNode) -> Bound:
    """Rows of batch, class and box, so many for each class."""
    boxes, scores, *_ = _shapes(node)
    types = {numpy_name(value.dtype) for value in node.inputs[:2] if value is not None}
    if boxes is None or scores is None or len(boxes) != 3 or len(scores) != 3:
        raise Declined("has operands whose sizes only running tells")
    if types != {"float32"} or scores[2] >= 1 << 31:
        raise Declined(f"of {scores[2]} boxes of {', '.join(sorted(types))} is not compiled")
    limits = [value.static_shape for value in node.inputs[2:] if value is not None]
    if boxes != (scores[0], scores[2], 4) or any(n is None or math.prod(n) != 1 for n in limits):
        raise Declined("has operands that do not fit each other")
    given, most = node.constant_input(2), scores[2]
    if node.input(2) is None:
        most = 0
    elif given is not None:
        most = min(most, max(0, int(given.numpy().reshape(()))))
    return Bound((max(1, scores[0] * scores[1] * most), 3), 0)


NONZERO = frozenset({
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64",
})  # fmt: skip


def _places(node: OperatorNode) -> Bound:
    """A column of indices for each element that is not zero."""
    shape, value = _shapes(node)[0], node.inputs[0]
    if shape is None or value is None:
        raise Declined("has an operand whose sizes only running tells")
    if not shape or numpy_name(value.dtype) not in NONZERO:
        raise Declined(f"of {numpy_name(value.dtype)}{list(shape)} is not compiled")
    return Bound((len(shape), max(1, math.prod(shape))), 1)


def _slices(node: OperatorNode) -> Bound:
    """Slices along an axis, or elements; those behind the end of the condition are left out."""
    shape, condition = _shapes(node)
    if shape is None or condition is None or not math.prod(shape):
        raise Declined("has operands whose sizes only running tells, or no elements")
    axis = node.attribute("axis")
    sizes = (math.prod(shape),) if axis is None else shape
    place = 0 if axis is None else int(axis) % len(sizes)
    if len(condition) != 1 or not 0 < condition[0] <= sizes[place]:
        raise Declined(f"of {sizes[place]} by a condition of {list(condition)} is not compiled")
    return Bound((*sizes[:place], condition[0], *sizes[place + 1 :]), place)


def counts(node: OperatorNode) -> bool:
    """Whether only running tells how large the result of ``node`` is, and its kernel counts it."""
    if node.op_type not in COUNTS or node.domain not in ("", "ai.onnx"):
        return False
    return node.op_type != "Compress" or node.constant_input(1) is None


COUNTS: dict[str, Callable[[OperatorNode], Bound]] = {
    "Compress": _slices,
    "NonMaxSuppression": _boxes,
    "NonZero": _places,
}
"""The bound of each; raises `Declined`."""


# ---- Operators that follow: they work on each position of the counted axis by itself. ----


def _elementwise(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    rank = max(len(shape or ()) for shape in shapes)
    places = {
        axes[value] - len(shape or ())
        for value, shape in zip(node.inputs, shapes, strict=True)
        if value is not None and value in axes
    }  # fmt: skip
    if len(places) != 1:
        raise Declined("pairs each with each")
    place = places.pop()
    for value, shape in zip(node.inputs, shapes, strict=True):
        if value is None or value in axes:
            continue
        # A size that happens to be the count would have to be it.
        if shape is None or (len(shape) >= -place and shape[place] != 1):
            raise Declined("relates them to something of a size of its own")
    if node.op_type in ("Div", "Mod") and "int" in numpy_name(node.output.dtype):
        divisor = node.input(1)
        if divisor is None or divisor.constant is None or not divisor.constant.numpy().all():
            raise Declined("could divide by the zeros beyond them")
    return rank + place


def _sole(node: OperatorNode, axes: Axes) -> int:
    """The counted axis of the first operand, the only one that is counted."""
    first = node.inputs[0]
    if first is None or any(value in axes for value in node.inputs[1:]):
        raise Declined("takes them for something else than data")
    return axes[first]


def _integers(node: OperatorNode, index: int, attribute: str) -> list[int] | None:
    """Constant integers, as an input or an attribute; None if they are left out."""
    value = node.input(index)
    if value is None:
        given = node.attribute(attribute)
        return None if given is None else [int(n) for n in given]
    if value.constant is None:
        raise Declined("has operands that are computed")
    return [int(n) for n in value.constant.numpy().reshape(-1)]


def _transpose(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    rank = len(shapes[0] or ())
    order = node.attribute("perm") or tuple(reversed(range(rank)))
    return list(order).index(_sole(node, axes))


def _same(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    return _sole(node, axes)


def _squeeze(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    axis, rank = _sole(node, axes), len(shapes[0] or ())
    dropped = _integers(node, 1, "axes")
    if dropped is None or axis in [each % rank for each in dropped]:
        raise Declined("would drop their axis if there were one")
    return axis - sum(each % rank < axis for each in dropped)


def _unsqueeze(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    axis, added = _sole(node, axes), _integers(node, 1, "axes") or []
    rank = len(shapes[0] or ()) + len(added)
    new = {each % rank for each in added}
    return [each for each in range(rank) if each not in new][axis]


def _reshape(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    """A reshape whose open size is the count, with as much before it and behind it."""
    axis, before, after = _sole(node, axes), shapes[0], results[0]
    if before is None or after is None:
        raise Declined("needs to know how many they are")
    if node.op_type == "Flatten":
        place = int(node.attribute("axis", 1))
        place += len(before) if place < 0 else 0
        sizes = [-1, 1] if axis < place else [1, -1]
    else:
        sizes = _integers(node, 1, "shape") or []
        if not node.attribute("allowzero", 0):
            sizes = [-1 if size == 0 and i == axis else size for i, size in enumerate(sizes)]
    if sizes.count(-1) != 1:
        raise Declined("needs to know how many they are")
    new = sizes.index(-1)
    kept = (before[:axis], before[axis + 1 :]), (after[:new], after[new + 1 :])
    if math.prod(before) == 0 or [*map(math.prod, kept[0])] != [*map(math.prod, kept[1])]:
        raise Declined("mixes them")
    return new


def _slice(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    axis, rank = _sole(node, axes), len(shapes[0] or ())
    starts = _integers(node, 1, "starts") or []
    cut = _integers(node, 3, "axes") or list(range(len(starts)))
    if axis in [each % rank for each in cut]:
        raise Declined("takes some of them")
    return axis


def _split(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    axis = _sole(node, axes)
    if int(node.attribute("axis", 0)) % len(shapes[0] or ()) == axis:
        raise Declined("takes some of them")
    return axis


def _concat(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    places = {axes.get(value) for value in node.inputs if value is not None}
    place = places.pop()
    if places or place is None or int(node.attribute("axis")) % len(shapes[0] or ()) == place:
        raise Declined("joins them to others")
    return place


def _gather(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    data, indices = node.inputs
    assert data is not None and indices is not None
    table, rank = shapes[0], len(shapes[1] or ())
    if table is None or 0 in table or (data in axes and indices in axes):
        raise Declined("chooses among them")
    along = int(node.attribute("axis", 0)) % len(table)
    if indices in axes:
        return along + axes[indices]
    if axes[data] == along:
        raise Declined("chooses among them")
    return axes[data] if axes[data] < along else axes[data] - 1 + rank


def _gather_nd(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    data, indices = node.inputs
    assert data is not None and indices is not None
    table, chosen = shapes
    if data in axes or table is None or chosen is None or 0 in table:
        raise Declined("chooses among them")
    if node.attribute("batch_dims", 0) or axes[indices] == len(chosen) - 1:
        raise Declined("mixes them")
    return axes[indices]


def _row(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    """Works along one axis, the last by default."""
    axis = _sole(node, axes)
    if int(node.attribute("axis", -1)) % len(shapes[0] or ()) == axis:
        raise Declined("relates them to each other")
    return axis


def _best(
    node: OperatorNode, axes: Axes, shapes: Sequence[Shape | None], results: Sequence[Shape | None]
) -> int:
    axis, rank = _sole(node, axes), len(shapes[0] or ())
    reduced = int(node.attribute("axis", 0)) % rank
    if axis == reduced:
        raise Declined("chooses among them")
    return axis if node.attribute("keepdims", 1) else axis - (reduced < axis)


FOLLOWS: dict[str, Follower] = {
    **dict.fromkeys(set(ELEMENTWISE) - {"CastLike", "Expand"}, _elementwise),
    "ArgMax": _best,
    "ArgMin": _best,
    "Concat": _concat,
    "Flatten": _reshape,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Identity": _same,
    "LogSoftmax": _row,
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _row,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""By operator. Sums and their kin are not among them: of no rows, ONNX Runtime gives other shapes
than the standard asks for."""
