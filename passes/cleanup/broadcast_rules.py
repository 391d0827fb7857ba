"""Rules for Expand and Tile before operators that broadcast by themselves."""

from __future__ import annotations

from burnish.ir import OperatorNode, Shape, VariableNode
from burnish.passes.fusion.constants import integers
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

BROADCASTING = (
    "Add|And|BitwiseAnd|BitwiseOr|BitwiseXor|Div|Equal|Greater|GreaterOrEqual|Less|LessOrEqual|Max|"
    "Mean|Min|Mod|Mul|Or|Pow|Sub|Sum|Where|Xor"
)
REPEATERS = ("Expand", "Tile")


def _repeater(value: VariableNode | None, node: OperatorNode) -> OperatorNode | None:
    maker = None if value is None else value.producer
    return maker if maker is not None and maker.is_op(*REPEATERS) else None


def _broadcasts_to(shapes: list[Shape], result: Shape) -> bool:
    """Whether values of ``shapes`` are known to broadcast to ``result``."""
    if result is None or None in result or all(len(shape or ()) < len(result) for shape in shapes):
        return False
    covered = [False] * len(result)
    for shape in shapes:
        if shape is None or len(shape) > len(result):
            return False
        offset = len(result) - len(shape)
        for axis, dim in enumerate(shape):
            if dim == result[offset + axis]:
                covered[offset + axis] = True
            elif dim != 1:
                return False
    return all(is_covered or dim == 1 for is_covered, dim in zip(covered, result, strict=True))


def _skippable(match: Match) -> tuple[int, VariableNode] | Miss:
    """The operand that is repeated for nothing, and what it was before."""
    node = match.root
    reason = Miss("no operand is expanded or tiled", node)
    for index, value in enumerate(node.inputs):
        maker = _repeater(value, node)
        source = None if maker is None else maker.inputs[0]
        if maker is None or source is None:
            continue
        if maker.op_type == "Tile" and not _repeats_ones(maker):
            reason = Miss("it repeats axes of several elements", maker)
            continue
        shapes = [v.shape for i, v in enumerate(node.inputs) if v is not None and i != index]
        if _broadcasts_to([*shapes, source.shape], node.output.shape):
            return index, source
        reason = Miss("the other operands are not known to have the sizes of the result", node)
    return reason


def _repeats_ones(tile: OperatorNode) -> bool:
    """Whether a Tile repeats axes of one element only."""
    source, repeats = tile.inputs[0], integers(tile.input(1))
    if source is None or source.shape is None or repeats is None:
        return False
    pairs = zip(source.shape, repeats, strict=False)
    return len(repeats) == len(source.shape) and all(d == 1 or r == 1 for d, r in pairs)


def _skip(rewriter: Rewriter, match: Match, facts: tuple[int, VariableNode]) -> None:
    index, source = facts
    rewriter.set_input(match.root, index, source)


BROADCAST_RULES = (Rule("broadcast-expand", Op(BROADCASTING), _skip, _skippable, since=8),)
