"""Moves a Split behind what all of its parts go through alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.fusion.constants import integers
from burnish.passes.fusion.regroup import aligned
from burnish.passes.fusion.splits import write_split
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

UNARY = frozenset(
    {
        "Abs", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish",
        "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Swish",
        "Tanh",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Sunk:
    """What to do to the whole, and how to split it then."""

    readers: tuple[OperatorNode, ...]
    axis: int
    sizes: tuple[int, ...]
    target: tuple[int, ...] = field(default=())
    """The shape input of Reshape."""


def _sunk(match: Match) -> Sunk | Miss:
    split = match.root
    readers = []
    for part in split.outputs:
        node = part.consumers[0] if len(part.uses) == 1 and part.consumers else None
        if node is None or node.graph is not split.graph or node.domain:
            return Miss("a part is read by several operators or by none", split)
        readers.append(node)
    first = readers[0]
    if len(set(readers)) < len(readers) or len(readers) < 2:
        return Miss("two parts are read by the same operator", split)
    if any(n.op_type != first.op_type or n.attributes != first.attributes for n in readers):
        return Miss("the parts go through different operators", split)
    if any(n.inputs[0] is not part for n, part in zip(readers, split.outputs, strict=True)):
        return Miss("a part is a parameter of its reader", split)
    whole = match["whole"]
    axis, sizes = split.attribute("axis", 0), _sizes(split)
    if sizes is None or whole.rank is None:
        return Miss("the sizes of the parts are unknown", split)
    handler = HANDLERS.get(first.op_type)
    if handler is None:
        return Miss(f"{first.op_type} does not treat all elements alike", first)
    return handler(tuple(readers), axis % whole.rank, sizes)


def _sizes(split: OperatorNode) -> tuple[int, ...] | None:
    axis = split.attribute("axis", 0)
    shapes = [part.shape for part in split.outputs]
    found = [None if shape is None else shape[axis] for shape in shapes]
    sizes = tuple(size for size in found if isinstance(size, int))
    return sizes if len(sizes) == len(shapes) else None


Handler = Callable[[tuple[OperatorNode, ...], int, tuple[int, ...]], "Sunk | Miss"]


def _elementwise(
    readers: tuple[OperatorNode, ...], axis: int, sizes: tuple[int, ...]
) -> Sunk | Miss:
    return Sunk(readers, axis, sizes)


def _transposed(
    readers: tuple[OperatorNode, ...], axis: int, sizes: tuple[int, ...]
) -> Sunk | Miss:
    perm = readers[0].attribute("perm")
    if perm is None:
        rank = readers[0].output.rank or 0
        perm = tuple(reversed(range(rank)))
    return Sunk(readers, perm.index(axis), sizes)


def _reshaped(readers: tuple[OperatorNode, ...], axis: int, sizes: tuple[int, ...]) -> Sunk | Miss:
    """Where the axis of the parts becomes several, of which only the first tells them apart."""
    targets = [integers(node.input(1)) for node in readers]
    places = [_heads(node, axis) for node in readers]
    place = places[0]
    if place is None or any(other is None or other[0] != place[0] for other in places):
        return Miss("the reshapes do not split the axis of the parts alike", readers[0])
    heads = tuple(other[1] for other in places if other is not None)
    rests = {other[2] for other in places if other is not None}
    common = {
        tuple(size for i, size in enumerate(target or ()) if i != place[0]) for target in targets
    }
    given = [None if target is None else target[place[0]] for target in targets]
    if len(rests) != 1 or len(common) != 1 or None in given or 0 in given:
        return Miss("the reshapes differ in more than the number of heads", readers[0])
    target = list(targets[0] or ())
    target[place[0]] = -1 if given[0] == -1 else sum(heads)
    if (given.count(-1) not in (0, len(given))) or target.count(-1) > 1:
        return Miss("the reshapes differ in more than the number of heads", readers[0])
    return Sunk(readers, place[0], heads, tuple(target))


def _heads(node: OperatorNode, axis: int) -> tuple[int, int, tuple[int, ...]] | None:
    """Where the heads are in the result of a Reshape, how many, and the sizes behind them."""
    source, result = node.inputs[0], node.output
    if source is None or source.shape is None or result.shape is None:
        return None
    for old, new in aligned(source.shape, result.shape):
        if old == range(axis, axis + 1) and new:
            sizes = [size for size in result.shape[new.start : new.stop] if isinstance(size, int)]
            if len(sizes) == len(new):
                return new.start, sizes[0], tuple(sizes[1:])
    return None


def _write(rw: Rewriter, match: Match, sunk: Sunk) -> None:
    split, first = match.root, sunk.readers[0]
    nodes = (*sunk.readers, split)
    rw.provenance = tuple(dict.fromkeys(p for node in reversed(nodes) for p in node.provenance))
    inputs: list[VariableNode | None] = [match["whole"], *first.inputs[1:]]
    if sunk.target:
        inputs[1] = rw.constant(np.array(sunk.target, np.int64))
    like = VariableNode("", first.output.dtype, None)
    if first.output.shape is not None:
        shape = list(first.output.shape)
        shape[sunk.axis] = sum(sunk.sizes)
        like.shape = tuple(shape)
    whole = rw.op(first.op_type, inputs, first.attributes, like=like)
    write_split(rw, whole, [node.output for node in sunk.readers], sunk.axis, sunk.sizes)
    rw.erase_unused(nodes)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(UNARY, _elementwise),
    "Reshape": _reshaped,
    "Transpose": _transposed,
}


SINK_SPLIT = (
    Rule("sink-split", Op("Split", Any("whole"), open_ended=True), _write, _sunk, since=2),
)
