"""How an affine map spreads over the operands of operators that have several, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.passes.fusion.affine import Affine
from burnish.passes.fusion.ends import End, constant_end
from burnish.rewrite import Miss

Maps: TypeAlias = Sequence[Affine | Miss]
"""A map for every operand (or why there is none)."""
Spread: TypeAlias = Callable[[OperatorNode, VariableNode, Affine], Sequence[Maps]]
"""Ways to map the operands of a node, one of whose results is to be mapped."""
Carried: TypeAlias = tuple[tuple[End, ...], Sequence[Affine]] | Miss
"""Constants to change, and the maps of the results, for an operand that comes mapped."""

SAME = Affine(None, None)


def _operand(node: OperatorNode, slot: int, affine: Affine) -> Affine | Miss:
    """``affine`` of the result for operand ``slot``, which the operator may broadcast."""
    value = node.inputs[slot]
    assert value is not None
    if affine.is_identity or value.is_constant:
        return affine
    if value.shape is None:
        return Miss(f"the shape of what {node.op_type} reads is unknown", node)
    rank = len(value.shape)
    for array in affine.arrays:
        if any(size != 1 for size in array.shape[: array.ndim - rank]):
            return Miss(f"an operand of {node.op_type} has no such channels", node)
        kept = array.shape[max(array.ndim - rank, 0) :]
        if any(n not in (1, size) for n, size in zip(kept, value.shape[-len(kept) :], strict=True)):
            return Miss(f"an operand of {node.op_type} has no such channels", node)
    return affine.mapped(lambda array: _with_rank(array, rank))


def _with_rank(array: Array, rank: int) -> Array:
    return array.reshape((1,) * (rank - array.ndim) + array.shape[max(array.ndim - rank, 0) :])


def _result(node: OperatorNode, affine: Affine) -> Affine | Miss:
    """``affine`` of an operand for the result, which may have more axes."""
    rank = node.output.rank
    if rank is None:
        return Miss("the rank of the data is unknown", node)
    return affine.mapped(lambda array: _with_rank(array, rank))


def _only(node: OperatorNode, slot: int, affine: Affine) -> list[Affine | Miss]:
    """Operand ``slot`` mapped and the others as they are."""
    maps: list[Affine | Miss] = [SAME] * len(node.inputs)
    maps[slot] = _operand(node, slot, affine)
    return maps


def _sum(node: OperatorNode, value: VariableNode, affine: Affine) -> list[Maps]:
    """All operands are scaled and one is shifted, a constant one if there is one."""
    slots = sorted(range(len(node.inputs)), key=lambda i: not _is_constant(node, i))
    ways: list[Maps] = []
    for chosen in slots if affine.shift is not None else slots[:1]:
        shift = affine.shift
        if shift is not None and node.op_type == "Sub" and chosen == 1:
            shift = -shift
        maps = [
            _operand(node, i, Affine(affine.scale, shift) if i == chosen else affine.scaling)
            for i in range(len(node.inputs))
        ]
        ways.append(maps)
    return ways


def _is_constant(node: OperatorNode, slot: int) -> bool:
    value = node.inputs[slot]
    return value is not None and value.is_constant


def _product(node: OperatorNode, value: VariableNode, affine: Affine) -> list[Maps]:
    """One factor is scaled, a constant one if there is one."""
    if affine.shift is not None:
        return [[Miss(f"a shift does not go through {node.op_type}", node)]]
    slots = sorted(range(2), key=lambda i: not _is_constant(node, i))
    return [_only(node, slot, affine) for slot in slots]


def _quotient(node: OperatorNode, value: VariableNode, affine: Affine) -> list[Maps]:
    if affine.shift is not None:
        return [[Miss("a shift does not go through Div", node)]]
    if not _is_constant(node, 1):
        return [_only(node, 0, affine)]
    assert affine.scale is not None
    if not affine.scale.all():
        return [[Miss("a channel would be divided by zero", node)]]
    return [[SAME, affine.mapped(np.reciprocal)]]


def _choice(node: OperatorNode, value: VariableNode, affine: Affine) -> list[Maps]:
    """Where: whatever is chosen is mapped."""
    return [[SAME, _operand(node, 1, affine), _operand(node, 2, affine)]]


def _matrix_product(node: OperatorNode, value: VariableNode, affine: Affine) -> list[Maps]:
    """A product of two computed matrices: rows are those of the left, columns of the right."""
    if affine.shift is not None:
        return [[Miss("a shift does not go through MatMul", node)]]
    if any(v is None or (v.rank or 0) < 2 for v in node.inputs):
        return [[Miss("an operand of MatMul is no matrix", node)]]
    sides = [slot for slot, axis in ((0, -1), (1, -2)) if not affine.varies([axis])]
    if not sides:
        return [[Miss("the constant differs between rows and columns of MatMul", node)]]
    return [_only(node, slot, affine) for slot in sides]


def _concat(node: OperatorNode, value: VariableNode, affine: Affine) -> list[Maps]:
    pieces = _pieces(node, node.inputs, affine)
    return [[pieces] if isinstance(pieces, Miss) else pieces]


def _split(node: OperatorNode, value: VariableNode, affine: Affine) -> list[Maps]:
    """The input with this piece mapped and the others as they are."""
    axis = node.attribute("axis", 0)
    sizes = _sizes(node, node.outputs, axis)
    if isinstance(sizes, Miss):
        return [[sizes]]
    position = node.outputs.index(value)
    whole = _joined(affine, position, sizes, axis)
    return [[whole, *[SAME] * (len(node.inputs) - 1)]]


def _sizes(
    node: OperatorNode, values: Sequence[VariableNode | None], axis: int
) -> list[int] | Miss:
    """Sizes of ``values`` along ``axis``."""
    shapes = [() if value is None else value.shape or () for value in values]
    known = [s[axis] for s in shapes if -len(s) <= axis < len(s)]
    sizes = [size for size in known if isinstance(size, int)]
    if len(sizes) != len(values):
        return Miss(f"the sizes of the parts of {node.op_type} are unknown", node)
    return sizes


def _joined(affine: Affine, position: int, sizes: Sequence[int], axis: int) -> Affine:
    """The map of a whole whose part at ``position`` alone is mapped."""

    def whole(array: Array, neutral: float) -> Array:
        parts = []
        for i, size in enumerate(sizes):
            shape = [*array.shape]
            shape[axis] = size
            parts.append(np.broadcast_to(array if i == position else neutral, shape))
        return np.concatenate(parts, axis)

    return Affine.of(
        None if affine.scale is None else whole(affine.scale, 1.0),
        None if affine.shift is None else whole(affine.shift, 0.0),
    )


def joined_parts(split: OperatorNode, maps: Sequence[Affine]) -> Affine | Miss:
    """The map of a whole all of whose parts are mapped."""
    axis = split.attribute("axis", 0)
    if all(part.same_as(maps[0]) for part in maps) and not maps[0].varies([axis]):
        return maps[0]
    sizes = _sizes(split, split.outputs, axis)
    if isinstance(sizes, Miss):
        return sizes
    total = SAME
    for position, part in enumerate(maps):
        whole = _joined(part, position, sizes, axis)
        # The parts lie side by side: what one does is neutral where the others are.
        total = Affine(_both(total.scale, whole.scale, np.multiply),
                       _both(total.shift, whole.shift, np.add))  # fmt: skip
    return Affine.of(total.scale, total.shift)


def _both(a: Array | None, b: Array | None, join: np.ufunc) -> Array | None:
    if a is None or b is None:
        return a if b is None else b
    return np.asarray(join(a, b))


def _pieces(
    node: OperatorNode, values: Sequence[VariableNode | None], affine: Affine
) -> list[Affine | Miss] | Miss:
    """The maps of the parts of a whole."""
    axis = node.attribute("axis", 0)
    if not affine.varies([axis]):
        return [affine] * len(values)
    sizes = _sizes(node, values, axis)
    if isinstance(sizes, Miss):
        return sizes
    ends = np.cumsum(sizes)
    pieces: list[Affine | Miss] = []
    for size, end in zip(sizes, ends, strict=True):
        window = range(int(end) - size, int(end))

        def cut(array: Array, window: range = window) -> Array:
            return array if array.shape[axis] == 1 else array.take(window, axis)

        part = affine.mapped(cut)
        pieces.append(Affine.of(part.scale, part.shift))
    return pieces


SPREAD: dict[str, Spread] = {
    "Add": _sum,
    "Concat": _concat,
    "Div": _quotient,
    "MatMul": _matrix_product,
    "Mul": _product,
    "Split": _split,
    "Sub": _sum,
    "Sum": _sum,
    "Where": _choice,
}
"""By operator type: from a result to the operands."""


def _into_sum(node: OperatorNode, slot: int, affine: Affine) -> Carried:
    if node.op_type == "Sub" and slot == 1 and affine.shift is not None:
        affine = Affine(affine.scale, -affine.shift)
    known = [other for other in range(len(node.inputs)) if _is_constant(node, other)]
    if affine.scale is not None:
        return _past_constants(node, known, affine)
    if known:
        # What is subtracted has to become smaller for the result to become larger.
        signed = affine.mapped(np.negative) if node.op_type == "Sub" and known[0] == 1 else affine
        end = constant_end(node, known[0], signed)
        return end if isinstance(end, Miss) else ((end,), [SAME])
    result = _result(node, affine)
    return result if isinstance(result, Miss) else ((), [result])


def _past_constants(node: OperatorNode, known: Sequence[int], affine: Affine) -> Carried:
    """``scale * x + c`` as ``scale * (x + c / scale)``, if nothing else is added."""
    assert affine.scale is not None
    if len(known) != len(node.inputs) - 1:
        return Miss(f"a factor of one operand does not go through {node.op_type}", node)
    if not affine.scale.all():
        return Miss("a constant would be divided by zero", node)
    ends = []
    for other in known:
        shift = affine.shift if other == known[0] else None
        if shift is not None:
            shift = shift / affine.scale
            shift = -shift if node.op_type == "Sub" and other == 1 else shift
        end = constant_end(node, other, Affine(1 / affine.scale, shift))
        if isinstance(end, Miss):
            return end
        ends.append(end)
    result = _result(node, affine.scaling)
    return result if isinstance(result, Miss) else (tuple(ends), [result])


def _into_product(node: OperatorNode, slot: int, affine: Affine) -> Carried:
    other = 1 - slot
    if node.op_type == "Div" and slot == 1:
        return Miss("Div divides by the data", node)
    if affine.shift is not None:
        return Miss(f"a shift does not go through {node.op_type}", node)
    if not _is_constant(node, other):
        result = _result(node, affine)
        return result if isinstance(result, Miss) else ((), [result])
    assert affine.scale is not None
    if node.op_type == "Div":
        if not affine.scale.all():
            return Miss("a channel would be divided by zero", node)
        affine = affine.mapped(np.reciprocal)
    end = constant_end(node, other, affine)
    return end if isinstance(end, Miss) else ((end,), [SAME])


def _into_matrix_product(node: OperatorNode, slot: int, affine: Affine) -> Carried:
    if affine.shift is not None:
        return Miss("a shift does not go through MatMul", node)
    if any(v is None or (v.rank or 0) < 2 for v in node.inputs):
        return Miss("an operand of MatMul is no matrix", node)
    if affine.varies([-1 if slot == 0 else -2]):
        return Miss("the constant differs along the axis that MatMul adds up", node)
    result = _result(node, affine)
    return result if isinstance(result, Miss) else ((), [result])


def _into_concat(node: OperatorNode, slot: int, affine: Affine) -> Carried:
    axis = node.attribute("axis", 0)
    sizes = _sizes(node, node.inputs, axis)
    return sizes if isinstance(sizes, Miss) else ((), [_joined(affine, slot, sizes, axis)])


def _into_split(node: OperatorNode, slot: int, affine: Affine) -> Carried:
    pieces = _pieces(node, node.outputs, affine)
    if isinstance(pieces, Miss):
        return pieces
    return (), [piece for piece in pieces if isinstance(piece, Affine)]


CARRIED: dict[str, Callable[[OperatorNode, int, Affine], Carried]] = {
    "Add": _into_sum,
    "Concat": _into_concat,
    "Div": _into_product,
    "MatMul": _into_matrix_product,
    "Mul": _into_product,
    "Split": _into_split,
    "Sub": _into_sum,
    "Sum": _into_sum,
}
"""By operator type: from an operand to the results."""
