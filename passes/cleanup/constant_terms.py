"""Elementwise operators with one constant operand, as sums ``s x + c`` and products ``f x^p``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, Constant, DType, OperatorNode, VariableNode
from burnish.passes.fusion.constants import rounded
from burnish.rewrite import Miss, Rewriter

ROUNDING = 2.0**11
"""What is added and taken away again above this is there to round, not by accident."""

COMPUTED = "it has no constant operand"


@dataclass(frozen=True, eq=False)
class Shift:
    """``sign * x + amount``, the amount as float64, or as integers of the operator's type."""

    x: VariableNode
    sign: int
    amount: Array


@dataclass(frozen=True, eq=False)
class Factor:
    """``amount * x ** power``, the power being 1 or -1."""

    x: VariableNode
    power: int
    amount: Array


def _operands(node: OperatorNode) -> tuple[VariableNode, Constant, bool] | None:
    """The computed operand, the constant one, and whether that comes first."""
    for index in (1, 0):
        constant, other = node.constant_input(index), node.input(1 - index)
        if constant is not None and other is not None and not other.is_constant:
            return other, constant, index == 0
    return None


def _values(constant: Constant) -> Array | None:
    """The numbers of a constant to compute with; None of what is no number."""
    if constant.dtype.is_floating:
        return constant.numpy().astype(np.float64)
    return constant.numpy() if constant.dtype.is_integer and constant.dtype.bits >= 8 else None


def read_shift(node: OperatorNode) -> Shift | Miss:
    """What an Add or Sub with a constant adds."""
    operands = _operands(node)
    amount = None if operands is None else _values(operands[1])
    if operands is None or amount is None:
        return Miss(COMPUTED, node)
    x, _, first = operands
    if node.op_type == "Add":
        return Shift(x, 1, amount)
    return Shift(x, -1, amount) if first else Shift(x, 1, np.asarray(np.negative(amount)))


def read_factor(node: OperatorNode) -> Factor | Miss:
    """What a Mul, Div, Neg or Reciprocal multiplies with."""
    if node.op_type in ("Neg", "Reciprocal"):
        x = node.inputs[0]
        if x is None or not x.dtype.is_floating:
            return Miss("it works on integers", node)
        one = np.array(1.0)
        return Factor(x, 1, -one) if node.op_type == "Neg" else Factor(x, -1, one)
    operands = _operands(node)
    amount = None if operands is None else _values(operands[1])
    if operands is None or amount is None:
        return Miss(COMPUTED, node)
    x, _, first = operands
    if node.op_type == "Mul":
        return Factor(x, 1, amount)
    if amount.dtype.kind != "f":
        return Miss("integers are divided with rounding", node)
    if first:
        return Factor(x, -1, amount)
    with np.errstate(all="ignore"):
        return Factor(x, 1, np.asarray(1 / amount))


def size_of_operand(node: OperatorNode) -> int:
    """Elements of the constant operand, 1 if there is none; without reading it."""
    operands = _operands(node)
    return 1 if operands is None else operands[1].size


def shape_of_operand(node: OperatorNode) -> tuple[int, ...]:
    """Shape of the constant operand."""
    operands = _operands(node)
    return () if operands is None else operands[1].shape


def grown(*nodes: OperatorNode) -> Miss | None:
    """A Miss if the constants of ``nodes`` together are larger than each of them."""
    try:
        shape = np.broadcast_shapes(*map(shape_of_operand, nodes))
    except ValueError:
        return Miss("the constants do not fit each other", nodes[0])
    if int(np.prod(shape, dtype=np.int64)) > max(map(size_of_operand, nodes)):
        return Miss("one constant in place of two would be larger than both", nodes[0])
    return None


def settled(exact: Array, dtype: DType, *parts: Array) -> Array | Miss:
    """``exact`` as a constant of type ``dtype``, which was made of ``parts``."""
    if exact.dtype.kind != "f":
        return exact
    result = rounded(exact, dtype)
    if result is None or not all(np.isfinite(part).all() for part in (exact, *parts)):
        return Miss(f"the constants together would not fit into {dtype}")
    tiny = float(np.finfo(np.float32).tiny) if dtype is not DType.FLOAT16 else 6e-5
    if dtype is not DType.DOUBLE and np.any((np.abs(exact) < tiny) & (exact != 0)):
        return Miss(f"the constants together are too small for {dtype}")
    return result


def cancels(total: Array, part: Array) -> bool:
    """Whether a large ``part`` of a sum is taken away again, as is done to round."""
    wide = np.broadcast_to(np.abs(part), np.broadcast_shapes(total.shape, part.shape))
    return bool(np.any((wide >= ROUNDING) & (np.abs(total) < wide / ROUNDING)))


def write_shift(
    rw: Rewriter, x: VariableNode, sign: int, amount: Array, like: VariableNode
) -> VariableNode:
    """``sign * x + amount`` in one operator, or none."""
    if not np.any(amount) and fits(x, amount, like):
        return x if sign > 0 else rw.op("Neg", [x], like=like)
    constant = rw.constant(amount)
    if sign > 0:
        return rw.op("Add", [x, constant], like=like)
    return rw.op("Sub", [constant, x], like=like)


def write_factor(
    rw: Rewriter, x: VariableNode, power: int, amount: Array, like: VariableNode
) -> VariableNode:
    """``amount * x ** power`` in one operator, or none."""
    plain = fits(x, amount, like)
    if power > 0 and plain and np.all(amount == 1):
        return x
    if power > 0 and plain and np.all(amount == -1):
        return rw.op("Neg", [x], like=like)
    if power < 0 and plain and np.all(amount == 1):
        return rw.op("Reciprocal", [x], like=like)
    constant = rw.constant(amount)
    if power > 0:
        return rw.op("Mul", [x, constant], like=like)
    return rw.op("Div", [constant, x], like=like)


def fits(x: VariableNode, amount: Array, like: VariableNode) -> bool:
    """Whether ``x`` has the shape of ``like`` without being broadcast by ``amount``."""
    if x.shape is not None and None not in x.shape and x.shape == like.shape:
        return True
    return x.rank is not None and amount.size == 1 and amount.ndim <= x.rank
