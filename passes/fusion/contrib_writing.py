"""How ONNX Runtime's own operators are written as standard ones: what their rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

MS = "com.microsoft:"
Write = Callable[[Rewriter, OperatorNode], VariableNode]
"""Writes what a node computes and returns its first result."""
Guard = Callable[[Match], Miss | None]


def rule(kind: str, write: Write, since: int, guard: Guard | None = None) -> Rule:
    """The rule that writes operators of type ``kind`` otherwise, from opset ``since`` on."""

    def rewrite(rw: Rewriter, match: Match, facts: None) -> None:
        rw.replace(match.root.output, write(rw, match.root))

    def checked(match: Match) -> Miss | None:
        data = match.root.input(0)
        if data is None or data.dtype is DType.UNDEFINED:
            return Miss("the type of the data is unknown", match.root)
        return None if guard is None else guard(match)

    name = f"contrib-{kind.rpartition(':')[2]}"
    return Rule(name, Op(kind), rewrite, checked, since)


def left(kind: str, reason: str) -> Rule:
    """A rule that never fires: operators of type ``kind`` stay, for ``reason``."""
    name = f"contrib-{kind.rpartition(':')[2]}"
    return Rule(name, Op(kind), _nothing, lambda match: Miss(reason, match.root))


def _nothing(rw: Rewriter, match: Match, facts: None) -> None:
    """The rewrite of a rule that never fires."""


def like(
    rw: Rewriter, op_type: str, *inputs: VariableNode | None, **attributes: object
) -> VariableNode:
    """An operator whose result has the type of its first input."""
    assert inputs[0] is not None
    return rw.op(op_type, inputs, attributes, like=inputs[0])


def given(node: OperatorNode, *indices: int) -> list[VariableNode]:
    """The inputs of ``node`` at ``indices`` that are there."""
    return [value for index in indices if (value := node.input(index)) is not None]


def total(rw: Rewriter, values: Sequence[VariableNode]) -> VariableNode:
    """The sum of ``values``, which all have the shape of the first or broadcast to it."""
    result = values[0]
    for value in values[1:]:
        result = like(rw, "Add", result, value)
    return result


def scalar(rw: Rewriter, value: float, data: VariableNode) -> VariableNode:
    """``value`` in the type of ``data``."""
    return rw.constant(np.asarray(value, data.dtype.numpy))


def integers(rw: Rewriter, *values: int) -> VariableNode:
    """A list of axes or sizes."""
    return rw.constant(np.asarray(values, np.int64))


def transposed(rw: Rewriter, value: VariableNode, perm: Sequence[int]) -> VariableNode:
    """``value`` with its axes in another order."""
    result = rw.op("Transpose", [value], {"perm": tuple(perm)}, like=value)
    result.shape = None if value.shape is None else tuple(value.shape[axis] for axis in perm)
    return result


def channels_first(rank: int) -> tuple[int, ...]:
    """The order of axes that brings the channels from the last place to the second."""
    return (0, rank - 1, *range(1, rank - 1))


def channels_last(rank: int) -> tuple[int, ...]:
    """The opposite of ``channels_first``."""
    return (0, *range(2, rank), 1)


def unread(*indices: int) -> Guard:
    """A guard: outputs at ``indices`` exist for training or tools and are not read."""

    def guard(match: Match) -> Miss | None:
        for index in indices:
            if index < len(match.root.outputs) and match.root.outputs[index].uses:
                return Miss(f"output {index} of {match.root.op_type} is read", match.root)
        return None

    return guard


def ranked(*indices: int) -> Guard:
    """A guard: the numbers of axes of the inputs at ``indices`` are known."""

    def guard(match: Match) -> Miss | None:
        if any(value.rank is None for value in given(match.root, *indices)):
            return Miss("the number of axes of its inputs is unknown", match.root)
        return None

    return guard


def every(*guards: Guard) -> Guard:
    """A guard: all of ``guards`` agree."""

    def guard(match: Match) -> Miss | None:
        return next((miss for check in guards if (miss := check(match)) is not None), None)

    return guard
