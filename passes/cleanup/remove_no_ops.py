"""Remove operators that give back one of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

Judge: TypeAlias = Callable[[OperatorNode], "int | str"]
"""The index of the input that a node gives back, or why it does not."""


@dataclass(frozen=True)
class RemoveNoOps(RulePass):
    """Remove operators that give back an input bit for bit.

    Adding 0.0 stays: it turns -0.0 into 0.0. Subtracting 0.0 and adding -0.0 go.

    Before:
        y = Mul(Transpose[perm=(0, 1)](Identity(x)), 1.0)

    After:
        y = x
    """

    name: ClassVar[str] = "remove-no-ops"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule per operator type."""
        return RULES


def _first(node: OperatorNode) -> int | str:
    return 0


def _single(node: OperatorNode) -> int | str:
    return 0 if len(node.inputs) == 1 else "it has several inputs"


def _whole(node: OperatorNode) -> int | str:
    return 0 if len(node.outputs) == 1 else "it has several outputs"


def _same_shape(node: OperatorNode) -> int | str:
    source = node.inputs[0]
    assert source is not None
    if source.shape is None or node.output.shape is None or None in source.shape:
        return "its shapes are not known: give --input-shape"
    return 0 if source.shape == node.output.shape else "it changes the shape"


def _same_type(node: OperatorNode) -> int | str:
    source = node.inputs[0]
    assert source is not None
    target = DType(node.attribute("to", node.output.dtype))
    if not source.dtype or not target:
        return "its types are not known"
    return 0 if source.dtype is target else "it changes the type"


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


def _slice(node: OperatorNode) -> int | str:
    steps = node.input(4)
    if steps is not None:
        constant = steps.constant
        if constant is None or (constant.numpy() < 1).any():
            return "it may reverse an axis"
    return _same_shape(node)


def _pad(node: OperatorNode) -> int | str:
    pads = node.attribute("pads")
    if pads is None:
        constant = node.constant_input(1)
        if constant is None:
            return "its pads are not constant"
        pads = constant.numpy()
    return "it pads" if np.any(np.asarray(pads)) else 0


def _transpose(node: OperatorNode) -> int | str:
    perm = node.attribute("perm")
    if perm is None:
        source = node.inputs[0]
        rank = None if source is None else source.rank
        return 0 if rank in (0, 1) else "it reverses the axes"
    return 0 if tuple(perm) == tuple(range(len(perm))) else "it moves axes"


def _resize(node: OperatorNode) -> int | str:
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize":
        return "it crops"
    scales = node.constant_input(2)
    if scales is not None and scales.size and (scales.numpy() != 1.0).any():
        return "its scale is not 1"
    return _same_shape(node)


def _clip(node: OperatorNode) -> int | str:
    bounded = "min" in node.attributes or "max" in node.attributes
    return "it has bounds" if bounded or any(v is not None for v in node.inputs[1:]) else 0


def _pool(node: OperatorNode) -> int | str:
    if len(node.outputs) > 1:
        return "it has several outputs"
    moves = (*node.attribute("kernel_shape", (0,)), *node.attribute("strides", (1,)))
    return "its window is larger than 1" if set(moves) != {1} else _same_shape(node)


def _neutral(*positions: int, accept: Callable[[Array], bool]) -> Judge:
    """A judge of binary operators: a constant at one of ``positions`` leaves the other as it is."""

    def judge(node: OperatorNode) -> int | str:
        reason = "neither operand is a neutral constant"
        for index in positions:
            constant = node.constant_input(index)
            if constant is None or constant.dtype.bits < 8 or constant.size > 1 << 16:
                continue
            other = node.inputs[1 - index]
            if not accept(constant.numpy()):
                continue
            if other is not None and _keeps_shape(other, node.inputs[index], node.output):
                return 1 - index
            reason = "the constant broadcasts the other operand"
        return reason

    return judge


def _keeps_shape(value: VariableNode, neutral: VariableNode | None, output: VariableNode) -> bool:
    if value.shape is not None and None not in value.shape and value.shape == output.shape:
        return True
    small = neutral is not None and neutral.constant is not None and neutral.constant.size == 1
    ranks_fit = value.rank is not None and neutral is not None and neutral.rank is not None
    return small and ranks_fit and neutral.rank <= value.rank  # type: ignore[operator, union-attr]


def _ones(array: Array) -> bool:
    return bool(np.all(array == 1))


def _zeros(array: Array) -> bool:
    """Zeros that may be subtracted: x - 0.0 is x, but x - -0.0 turns -0.0 into 0.0."""
    return not np.any(array) and (array.dtype.kind in "iu" or not np.any(np.signbit(array)))


def _negative_zeros(array: Array) -> bool:
    """Zeros that may be added: integers, and -0.0."""
    return not np.any(array) and (array.dtype.kind in "iu" or bool(np.all(np.signbit(array))))


def _where(node: OperatorNode) -> int | str:
    condition = node.constant_input(0)
    if condition is None:
        return "its condition is not constant"
    array = condition.numpy()
    if array.all():
        chosen = 1
    elif not array.any():
        chosen = 2
    else:
        return "its condition is mixed"
    value = node.inputs[chosen]
    known = value is not None and value.shape is not None and None not in value.shape
    same = known and value is not None and value.shape == node.output.shape
    return chosen if same else "its result has another shape"


JUDGES: dict[str, Judge] = {
    "Add": _neutral(0, 1, accept=_negative_zeros),
    "And": _neutral(0, 1, accept=lambda array: bool(array.all())),
    "AveragePool": _pool,
    "Cast": _same_type,
    "CastLike": _same_type,
    "Clip": _clip,
    "Concat": _single,
    "Div": _neutral(1, accept=_ones),
    "Dropout": _dropout,
    "Expand": _same_shape,
    "Flatten": _same_shape,
    "Identity": _first,
    "Max": _single,
    "MaxPool": _pool,
    "Mean": _single,
    "Min": _single,
    "Mul": _neutral(0, 1, accept=_ones),
    "Or": _neutral(0, 1, accept=lambda array: not array.any()),
    "Pad": _pad,
    "Pow": _neutral(1, accept=_ones),
    "Reshape": _same_shape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _whole,
    "Squeeze": _same_shape,
    "Sub": _neutral(1, accept=_zeros),
    "Sum": _single,
    "Tile": _same_shape,
    "Transpose": _transpose,
    "Where": _where,
}
"""Standard operators that may be no-ops."""


def can_stand_in(new: VariableNode, old: VariableNode) -> bool:
    """Whether ``new`` can replace ``old`` without an Identity to keep a graph output's name."""
    if not old.is_graph_output:
        return True
    made_here = new.producer is not None and old.producer is not None
    return made_here and not new.is_graph_output and new.producer.graph is old.producer.graph  # type: ignore[union-attr]


def _guard(match: Match) -> int | Miss:
    node = match.root
    found = JUDGES[node.op_type](node)
    if isinstance(found, str):
        return Miss(found, node)
    kept = node.inputs[found]
    if kept is None or not can_stand_in(kept, node.output):
        return Miss("a graph output must keep its own name", node)
    if kept.dtype and node.output.dtype and kept.dtype is not node.output.dtype:
        return Miss("it changes the type", node)
    return found


def _forward(rewriter: Rewriter, match: Match, index: int) -> None:
    kept = match.root.inputs[index]
    assert kept is not None
    rewriter.replace(match.root.output, kept)


RULES = tuple(Rule(f"no-op-{op_type.lower()}", Op(op_type), _forward, _guard) for op_type in JUDGES)
