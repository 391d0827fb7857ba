"""Which elementwise operators give back an operand, and which one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.passes.cleanup.no_op_moves import Judge, single
from burnish.passes.fusion.constants import number

LARGEST = 1 << 16
"""Elements of a constant that is looked at whether it is neutral."""


def _dropout(node: OperatorNode) -> int | str:
    if any(value.uses for value in node.outputs[1:]):
        return "its mask is read"
    training = node.input(2)
    if training is None:
        return 0
    constant = training.constant
    if constant is None:
        return "whether it trains is decided when it runs"
    return "it is in training mode" if constant.numpy().any() else 0


def neutral(*positions: int, accept: Callable[[Array], bool]) -> Judge:
    """A judge of binary operators: a constant at one of ``positions`` leaves the other as it is."""

    def judge(node: OperatorNode) -> int | str:
        reason = "neither operand is a neutral constant"
        for index in positions:
            constant = node.constant_input(index)
            if constant is None or constant.dtype.bits < 8 or constant.size > LARGEST:
                continue
            other = node.inputs[1 - index]
            if other is None or not accept(constant.numpy()):
                continue
            if keeps_shape(other, node.inputs[index], node.output):
                return 1 - index
            reason = "the constant broadcasts the other operand"
        return reason

    return judge


def keeps_shape(value: VariableNode, other: VariableNode | None, result: VariableNode) -> bool:
    """Whether ``value`` has the shape of ``result``, which it gives together with ``other``."""
    if value.shape is not None and None not in value.shape and value.shape == result.shape:
        return True
    if other is None or value.rank is None or other.rank is None or other.rank > value.rank:
        return False
    return other.constant is not None and other.constant.size == 1


def _same_twice(judge: Judge) -> Judge:
    """A judge of ``f(x, x)``, which is ``x``, and of one value alone, before it asks ``judge``."""

    def both(node: OperatorNode) -> int | str:
        if len(set(node.inputs)) == 1 and node.inputs[0] is not None:
            return 0
        return judge(node) if len(node.inputs) == 2 else "it has several inputs"

    return both


def _ones(array: Array) -> bool:
    return bool(np.all(array == 1))


def _zeros(array: Array) -> bool:
    """Zeros that may be subtracted: x - 0.0 is x, but x - -0.0 turns -0.0 into 0.0."""
    return not np.any(array) and (array.dtype.kind in "iu" or not np.any(np.signbit(array)))


def _negative_zeros(array: Array) -> bool:
    """Zeros that may be added: integers, and -0.0."""
    return not np.any(array) and (array.dtype.kind in "iu" or bool(np.all(np.signbit(array))))


def _all_true(array: Array) -> bool:
    return array.dtype.kind == "b" and bool(array.all())


def _all_false(array: Array) -> bool:
    return array.dtype.kind == "b" and not array.any()


def _lowest(array: Array) -> bool:
    """What the larger of x and it is x for: minus infinity, or the lowest integer."""
    if array.dtype.kind in "iu":
        return bool(np.all(array == np.iinfo(array.dtype).min))
    return array.dtype.kind == "f" and bool(np.all(np.isneginf(array)))


def _highest(array: Array) -> bool:
    if array.dtype.kind in "iu":
        return bool(np.all(array == np.iinfo(array.dtype).max))
    return array.dtype.kind == "f" and bool(np.all(np.isposinf(array)))


def _all_bits(array: Array) -> bool:
    return array.dtype.kind in "iu" and bool(np.all(np.invert(array) == 0))


def _no_bits(array: Array) -> bool:
    return array.dtype.kind in "iu" and not array.any()


def _where(node: OperatorNode) -> int | str:
    condition = node.constant_input(0)
    if node.inputs[1] is node.inputs[2]:
        chosen = 1
    elif condition is None:
        return "its condition is not constant"
    elif condition.numpy().all():
        chosen = 1
    elif not condition.numpy().any():
        chosen = 2
    else:
        return "its condition is mixed"
    value = node.inputs[chosen]
    known = value is not None and value.shape is not None and None not in value.shape
    same = known and value is not None and value.shape == node.output.shape
    return chosen if same else "its result has another shape"


_RANGES: dict[str, tuple[float, float]] = {
    "Exp": (0.0, np.inf),
    "HardSigmoid": (0.0, 1.0),
    "Relu": (0.0, np.inf),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
}
"""Between which numbers results lie, apart from NaN."""

WHOLE = frozenset({"Ceil", "Floor", "Round"})
"""Operators with whole numbers for results, which each leaves as they are."""


def extremes(value: VariableNode | None) -> tuple[float, float]:
    """The lowest and the highest finite number of a value's type."""
    if value is None or not (value.dtype.is_floating or value.dtype.is_integer):
        return -np.inf, np.inf
    describe: Any = ml_dtypes.finfo if value.dtype.is_floating else ml_dtypes.iinfo
    limits = describe(value.dtype.numpy)
    return float(limits.min), float(limits.max)


def bounds(node: OperatorNode) -> tuple[float, float] | None:
    """Lower and upper bound that a Relu or Clip imposes; None if they are not known numbers.

    Bounds that a Clip leaves out are the lowest and the highest finite number.
    """
    if node.op_type == "Relu":
        return 0.0, np.inf
    found = []
    omitted = extremes(node.inputs[0])
    for index, name in ((1, "min"), (2, "max")):
        value = node.input(index)
        bound = node.attribute(name, omitted[index - 1]) if value is None else number(value)
        if bound is None:
            return None
        found.append(float(bound))
    return found[0], found[1]


def _clamp(node: OperatorNode) -> int | str:
    """A Relu or Clip of what lies within its bounds already."""
    source = node.inputs[0]
    assert source is not None
    limits, maker = bounds(node), source.producer
    if limits is None:
        return "its bounds are not constant"
    if node.op_type == "Clip" and limits == extremes(source):
        return 0
    reach: tuple[float, float] | None = None
    if maker is not None and maker.domain == "":
        reach = bounds(maker) if maker.op_type == "Clip" else _RANGES.get(maker.op_type)
    if reach is None and source.dtype.is_integer:
        reach = extremes(source)
    if reach is None or reach[0] > reach[1]:
        return "what it bounds may be anything"
    return 0 if limits[0] <= reach[0] and reach[1] <= limits[1] else "it bounds"


def _rounding(node: OperatorNode) -> int | str:
    """Rounding what is whole already: rounded, or made of integers."""
    maker = None if node.inputs[0] is None else node.inputs[0].producer
    if maker is not None and maker.is_op(*WHOLE):
        return 0
    if maker is not None and maker.is_op("Cast", "CastLike"):
        source = maker.inputs[0]
        if source is not None and (source.dtype.is_integer or source.dtype.name == "BOOL"):
            return 0
    return "what it rounds may not be whole"


def _repeated(*makers: str) -> Judge:
    """A judge of functions that change nothing in the results of ``makers``."""

    def judge(node: OperatorNode) -> int | str:
        maker = None if node.inputs[0] is None else node.inputs[0].producer
        known = maker is not None and maker.is_op(*makers)
        return 0 if known else "what it is applied to may be anything"

    return judge


def _matches_type(node: OperatorNode) -> int | str:
    """``x == True`` for a condition ``x``."""
    return neutral(0, 1, accept=_all_true)(node)


ARITHMETIC: dict[str, Judge] = {
    "Abs": _repeated("Abs", "Exp", "Sigmoid", "Softmax"),
    "Add": neutral(0, 1, accept=_negative_zeros),
    "And": _same_twice(neutral(0, 1, accept=_all_true)),
    "BitwiseAnd": _same_twice(neutral(0, 1, accept=_all_bits)),
    "BitwiseOr": _same_twice(neutral(0, 1, accept=_no_bits)),
    "BitwiseXor": neutral(0, 1, accept=_no_bits),
    "BitShift": neutral(1, accept=_no_bits),
    "Ceil": _rounding,
    "Clip": _clamp,
    "Div": neutral(1, accept=_ones),
    "Dropout": _dropout,
    "Equal": _matches_type,
    "Floor": _rounding,
    "Max": _same_twice(neutral(0, 1, accept=_lowest)),
    "Mean": single,
    "Min": _same_twice(neutral(0, 1, accept=_highest)),
    "Mul": neutral(0, 1, accept=_ones),
    "Or": _same_twice(neutral(0, 1, accept=_all_false)),
    "PRelu": neutral(1, accept=_ones),
    "Pow": neutral(1, accept=_ones),
    "Relu": _clamp,
    "Round": _rounding,
    "Sign": _repeated("Sign"),
    "Sub": neutral(1, accept=_zeros),
    "Sum": single,
    "Where": _where,
    "Xor": neutral(0, 1, accept=_all_false),
}
"""Standard elementwise operators that may leave an operand as it is."""
