"""Leaves out optional inputs that say what an operator does without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.cleanup.dead import erase_dead, producers
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

LARGEST = 1 << 20
"""Elements of a constant that are looked at; a bias has no more."""

REARRANGES = frozenset({
    "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that make zeros of zeros."""

MAX_STEPS = 16
"""How many of them there may be one after the other."""

Judge: TypeAlias = Callable[[OperatorNode, VariableNode], "str | None"]
"""Why an input of a node has to stay, None if it says nothing."""


def is_zero(value: VariableNode) -> bool:
    """Whether every element of ``value`` is zero, for every size it may have."""
    for _ in range(MAX_STEPS):
        if value.constant is not None:
            constant = value.constant
            small = constant.dtype.bits >= 8 and constant.size <= LARGEST
            return small and not np.any(constant.numpy())
        node = value.producer
        if node is None or node.domain != "":
            return False
        if node.op_type == "ConstantOfShape":
            fill = node.attribute("value")
            return fill is None or not np.any(fill.numpy())
        if node.op_type not in REARRANGES or node.inputs[0] is None:
            return False
        value = node.inputs[0]
    return False


def _zeros(node: OperatorNode, value: VariableNode) -> str | None:
    return None if is_zero(value) else "it is not known to be zero"


def _whole_length(node: OperatorNode, value: VariableNode) -> str | None:
    """Lengths of the sequences of a batch: left out, they are as long as the data."""
    data = node.inputs[0]
    steps = None if data is None or data.shape is None else data.shape[node.attribute("layout", 0)]
    if value.constant is None or not isinstance(steps, int):
        return "the lengths of the sequences are not known"
    return None if np.all(value.constant.numpy() == steps) else "sequences end early"


OPTIONAL: dict[str, tuple[int, dict[int, Judge]]] = {
    "Conv": (1, {2: _zeros}),
    "ConvTranspose": (1, {2: _zeros}),
    "DeformConv": (19, {3: _zeros}),
    "GRU": (7, {3: _zeros, 4: _whole_length, 5: _zeros}),
    "Gemm": (11, {2: _zeros}),
    "LSTM": (7, {3: _zeros, 4: _whole_length, 5: _zeros, 6: _zeros, 7: _zeros}),
    "QLinearConv": (10, {8: _zeros}),
    "RNN": (7, {3: _zeros, 4: _whole_length, 5: _zeros}),
}
"""By operator: the first opset where the inputs are optional, and when each says nothing."""


def _needless(match: Match) -> tuple[int, ...] | Miss:
    node = match.root
    found, reason = [], "it has no optional inputs"
    for index, judge in OPTIONAL[node.op_type][1].items():
        value = node.input(index)
        if value is None:
            continue
        why = judge(node, value)
        if why is None:
            found.append(index)
        else:
            reason = why
    return tuple(found) if found else Miss(reason, node)


def _leave_out(rw: Rewriter, match: Match, needless: tuple[int, ...]) -> None:
    node = match.root
    dropped = [node.inputs[index] for index in needless]
    inputs = [None if index in needless else value for index, value in enumerate(node.inputs)]
    while inputs[-1] is None:
        inputs.pop()
    rw.set_inputs(node, inputs)
    erase_dead(rw, producers(dropped))


OPTIONAL_INPUT_RULES = tuple(
    Rule(f"optional-inputs-{op_type.lower()}", Op(op_type), _leave_out, _needless, since=since)
    for op_type, (since, _) in OPTIONAL.items()
)
