"""Loop and If as kernels under jumps.

    y = Loop(m, c, x) {i, t, v: u, w}         v, i := x, 0
                                        head: go := t and i < m; unless go jump to end
                                              kernels of the body
                                              t, v, i := u, w, i + 1; jump to head
                                        end:  y is v

States have memory of their own, which each round writes anew, so their sizes may not change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import tvm.tirx as tx
from tvm import te

from burnish.backends.lowering.elementwise import numpy_name
from burnish.backends.lowering.emitter import Emitter, KernelBuilder
from burnish.backends.lowering.layout import identity
from burnish.backends.lowering.plan import shape_of
from burnish.backends.program import Buffer, Call
from burnish.ir import Graph, OperatorNode, VariableNode

BodyEmitter: TypeAlias = Callable[[Graph], None]
"""Emits the kernels of a subgraph."""

CONTROL = frozenset({"If", "Loop"})


def declines(node: OperatorNode) -> str | None:
    """Why a Loop or If cannot become jumps, leaving aside what its bodies hold; None if it can."""
    if node.op_type == "Loop":
        body = node.subgraphs["body"]
        states = len(node.inputs) - 2
        if node.input(0) is None and node.input(1) is None:
            return "Loop has no end"
        if len(body.outputs) != 1 + states:
            return "Loop stacks results of its rounds"
        pairs = zip(body.inputs[2:], body.outputs[1:], node.inputs[2:], strict=True)
        if any(_differ(*pair) for pair in pairs):
            return "Loop changes the size of a state"
        return None
    branches = [branch.outputs for branch in node.subgraphs.values()]
    if any(_differ(*values) for values in zip(node.outputs, *branches, strict=True)):
        return "the branches of If give results of different sizes"
    return None


def _differ(*values: VariableNode | None) -> bool:
    """Whether values have other types or sizes, or open ones."""
    known = {None if v is None else (v.dtype, v.static_shape) for v in values}
    return len(known) > 1 or None in known or next(iter(known))[1] is None  # type: ignore[index]


def emit_loop(emitter: Emitter, node: OperatorNode, emit_body: BodyEmitter) -> None:
    """Emit a Loop for which `declines` has no objection."""
    body = node.subgraphs["body"]
    count, goes_on = node.input(0), node.input(1)
    states = [_state(emitter, value) for value in node.inputs[2:] if value is not None]
    number = _fresh(emitter, "round", "int64")
    _copy(emitter, emitter.constant(np.zeros((), np.int64), "zero"), number)
    condition = _fresh(emitter, "condition", "bool")
    first = emitter.constant(np.ones((), np.bool_), "true")
    _copy(emitter, first if goes_on is None else _scalar(emitter, goes_on), condition)

    head = len(emitter.calls)
    leave = _jump_unless(emitter, _in_bounds(emitter, condition, number, count))
    round_, asked, *inside = body.inputs
    emitter.home |= {round_: number, asked: condition, **dict(zip(inside, states, strict=True))}
    with emitter.isolated():
        emit_body(body)
        again, *results = body.outputs
        moves = [(_scalar(emitter, again), condition)]
        moves += [
            (emitter.located(value, identity(len(shape_of(value)))), state)
            for value, state in zip(results, states, strict=True)
        ]
        _assign(emitter, moves)
        _count(emitter, number)
    emitter.calls.append(Call("goto", (), outputs=0, jump=head))
    leave(len(emitter.calls))
    emitter.home.update(zip(node.outputs, states, strict=True))


def emit_if(emitter: Emitter, node: OperatorNode, emit_body: BodyEmitter) -> None:
    """Emit an If for which `declines` has no objection."""
    condition = node.inputs[0]
    assert condition is not None
    results = [
        emitter.temporary(value.name, shape_of(value), numpy_name(value.dtype))
        for value in node.outputs
    ]
    otherwise = _jump_unless(emitter, _scalar(emitter, condition))
    _branch(emitter, node.subgraphs["then_branch"], results, emit_body)
    end = _jump_unless(emitter, None)
    otherwise(len(emitter.calls))
    _branch(emitter, node.subgraphs["else_branch"], results, emit_body)
    end(len(emitter.calls))
    emitter.home.update(zip(node.outputs, results, strict=True))


def _branch(
    emitter: Emitter, body: Graph, results: Sequence[Buffer], emit_body: BodyEmitter
) -> None:
    with emitter.isolated():
        emit_body(body)
        for value, result in zip(body.outputs, results, strict=True):
            _copy(emitter, emitter.located(value, identity(len(shape_of(value)))), result)


def _fresh(emitter: Emitter, name: str, dtype: str) -> Buffer:
    return emitter.temporary(name, (), dtype)


def _state(emitter: Emitter, value: VariableNode) -> Buffer:
    """Memory of its own that holds ``value``."""
    shape = shape_of(value)
    state = emitter.temporary(f"{value.name}.state", shape, numpy_name(value.dtype))
    _copy(emitter, emitter.located(value, identity(len(shape))), state)
    return state


def _scalar(emitter: Emitter, value: VariableNode) -> Buffer:
    return emitter.view(emitter.located(value, identity(len(shape_of(value)))), ())


def _copy(emitter: Emitter, source: Buffer, target: Buffer) -> None:
    emitter.calls.append(Call("burnish_copy", (source, target)))


def _jump_unless(emitter: Emitter, condition: Buffer | None) -> Callable[[int], None]:
    """A jump taken unless ``condition`` holds, or always; calling the result says where to."""
    place = len(emitter.calls)
    arguments = () if condition is None else (condition,)
    call = Call("goto" if condition is None else "unless", arguments, outputs=0, jump=place)
    emitter.calls.append(call)

    def to(target: int) -> None:
        emitter.calls[place] = replace(call, jump=target)

    return to


def _in_bounds(
    emitter: Emitter, condition: Buffer, number: Buffer, count: VariableNode | None
) -> Buffer:
    """Whether there is one more round."""
    if count is None:
        return condition
    builder = KernelBuilder(emitter)
    asked, at = builder.argument(condition), builder.argument(number)
    most = builder.argument(_scalar(emitter, count))
    go = _fresh(emitter, "go", "bool")
    result = te.compute((), lambda: tx.And(asked(), at() < most()), name="go")
    emitter.launch(builder, [result], [go], (), "go")
    return go


def _count(emitter: Emitter, number: Buffer) -> None:
    builder = KernelBuilder(emitter)
    at = builder.argument(number)
    after = _fresh(emitter, "next", "int64")
    result = te.compute((), lambda: at() + tx.const(1, "int64"), name="next")
    emitter.launch(builder, [result], [after], (), "next")
    _copy(emitter, after, number)


def _assign(emitter: Emitter, moves: Sequence[tuple[Buffer, Buffer]]) -> None:
    """Store all sources at once: none is overwritten before it is read."""
    targets = {target for _, target in moves}
    held = []
    for source, target in moves:
        root, _ = source.root()
        if root is target or source is target:
            continue
        if root in targets:
            saved = emitter.temporary(source.name, source.shape, source.dtype)
            _copy(emitter, source, saved)
            source = saved
        held.append((source, target))
    for source, target in held:
        _copy(emitter, source, target)
