"""Lets Attention split heads and continue caches itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Dim, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import integers
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Rewriter, Rule, Scalar

BY_HEAD = (0, 2, 1, 3)


@dataclass(frozen=True)
class FuseAttention(RulePass):
    """Move what splits and merges heads and what appends to a cache into Attention.

    Before:
        keys, values = Concat(past_k, heads(k)), Concat(past_v, heads(v))
        y = merged(Attention(heads(q), keys, values))

    After:
        y, keys, values = Attention[q_num_heads=4, kv_num_heads=4](q, k, v, , past_k, past_v)

    Heads may come out of one product by Split, and be rotated in between.
    """

    name: ClassVar[str] = "fuse-attention"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Caches first: they are appended to by head."""
        return RULES


@dataclass(frozen=True)
class Heads:
    """How queries, keys or values [batch, heads, n, depth] come out of [batch, n, all * depth]."""

    apart: OperatorNode
    """The Reshape to [batch, n, all, depth], which a Transpose follows."""
    split: OperatorNode | None
    """What takes some of all heads."""
    index: int
    """Which output of ``split`` it is."""
    rotation: OperatorNode | None
    turn: OperatorNode
    """The Transpose."""
    count: int
    depth: int

    @property
    def nodes(self) -> list[OperatorNode]:
        """All of them."""
        nodes = (self.rotation, self.split, self.turn, self.apart)
        return [node for node in nodes if node is not None]


def _heads_of(value: VariableNode | None) -> Heads | None:
    rotation = split = None
    index = 0
    node = _only_maker(value)
    if node is not None and node.is_op("RotaryEmbedding"):
        rotation, value = node, node.inputs[0]
        node = _only_maker(value)
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    count, depth = value.shape[1], value.shape[3]
    if node is not None and node.is_op("Split") and node.attribute("axis", 0) in (1, -3):
        if any(len(part.uses) > 1 for part in node.outputs):
            return None
        split, index, value = node, node.outputs.index(value), node.inputs[0]
        node = _only_maker(value)
    if node is None or not node.is_op("Transpose") or node.attribute("perm") != BY_HEAD:
        return None
    apart = _only_maker(node.inputs[0])
    if apart is None or not apart.is_op("Reshape"):
        return None
    target, sides = integers(apart.input(1)), apart.output.shape
    if target is None or sides is None or len(target) != 4 or 0 in target[2:]:
        return None
    if not (isinstance(sides[2], int) and isinstance(depth, int)):
        return None
    if not isinstance(count, int):
        return None
    return Heads(apart, split, index, rotation, node, count, depth)


def _only_maker(value: VariableNode | None) -> OperatorNode | None:
    """What makes ``value``, if one node alone reads it."""
    if value is None or len({use.user for use in value.uses}) != 1:
        return None
    return value.producer


def _read_heads(match: Match) -> tuple[Heads, ...] | Miss:
    node, turn = match.node("attention"), match.node("turn")
    found = [_heads_of(value) for value in node.inputs[:3]]
    heads = tuple(each for each in found if each is not None)
    if len(heads) < 3:
        return Miss("queries, keys or values are not split into heads right before", node)
    if turn.attribute("perm") != BY_HEAD:
        return Miss("it is not heads and positions that change places", turn)
    target, shape = integers(match.root.input(1)), turn.output.shape
    if target is None or shape is None or 0 in target[2:]:
        return Miss("the shape of the result is computed", match.root)
    if not (isinstance(shape[2], int) and isinstance(shape[3], int)):
        return Miss("the number of heads of the result is unknown", turn)
    return heads


def _write_heads(rw: Rewriter, match: Match, heads: tuple[Heads, ...]) -> None:
    node, output = match.node("attention"), match.root.output
    made: dict[OperatorNode, list[VariableNode]] = {}
    sources = [_flat(rw, each, made) for each in heads]
    attributes = {**node.attributes, "q_num_heads": heads[0].count, "kv_num_heads": heads[1].count}
    inputs = [*sources, *node.inputs[3:]]
    result = rw.op("Attention", inputs, attributes, outputs=len(node.outputs))
    assert result.producer is not None
    for old, new in zip(node.outputs[1:], result.producer.outputs[1:], strict=True):
        new.dtype, new.shape = old.dtype, old.shape
        if old.uses:
            rw.replace(old, new)
    by_head = match.node("turn").output.shape
    assert by_head is not None
    result.dtype, result.shape = output.dtype, _merged(by_head)
    if "guard" in match:
        empty = rw.op("IsNaN", [result])
        empty.shape = result.shape
        zero = rw.constant(np.zeros((), output.dtype.numpy))
        result = rw.op("Where", [empty, zero, result], like=result)
    if result.shape != output.shape:
        result = rw.op(
            "Reshape", [result, match.root.inputs[1]], match.root.attributes, like=output
        )
    rw.replace(output, result)
    unused = (*match.nodes, *(node for each in heads for node in each.nodes))
    rw.erase_unused(dict.fromkeys(unused))


def _merged(shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """[batch, n, heads, depth] as [batch, n, heads * depth]."""
    heads, depth = shape[2:]
    assert isinstance(heads, int)
    assert isinstance(depth, int)
    return (*shape[:2], heads * depth)


def _flat(rw: Rewriter, heads: Heads, made: dict[OperatorNode, list[VariableNode]]) -> VariableNode:
    """Queries, keys or values with heads beside channels."""
    apart, split = heads.apart, heads.split
    if apart not in made:
        target, shape = integers(apart.input(1)), apart.output.shape
        assert target is not None
        assert shape is not None
        merged = _merged(shape)
        last = -1 if -1 in target[2:] else merged[2]
        sizes = rw.constant(np.array([*target[:2], last]))
        flat = rw.op("Reshape", [apart.inputs[0], sizes], apart.attributes, like=apart.output)
        flat.shape = merged
        made[apart] = [flat]
    result = made[apart][0]
    if split is not None:
        if split not in made:
            made[split] = _parts(rw, result, split, heads.depth)
        result = made[split][heads.index]
    if heads.rotation is not None:
        turn = heads.rotation
        attributes = {**turn.attributes, "num_heads": heads.count}
        inputs = [result, *turn.inputs[1:]]
        result = rw.op("RotaryEmbedding", inputs, attributes, like=result)
    return result


def _parts(
    rw: Rewriter, whole: VariableNode, split: OperatorNode, depth: int
) -> list[VariableNode]:
    counts = [part.shape[1] for part in split.outputs if part.shape is not None]
    widths = [count * depth for count in counts if isinstance(count, int)]
    sizes = rw.constant(np.array(widths))
    first = rw.op("Split", [whole, sizes], {"axis": -1}, outputs=len(widths))
    assert first.producer is not None
    assert whole.shape is not None
    for part, width in zip(first.producer.outputs, widths, strict=True):
        part.dtype, part.shape = whole.dtype, (*whole.shape[:2], width)
    return list(first.producer.outputs)


def _read_cache(match: Match) -> Miss | None:
    node = match.root
    if node.attribute("is_causal", 0):
        return Miss("causality counts from the first key, not behind a cache", node)
    if len(node.outputs) > 1 or any(value is not None for value in node.inputs[4:]):
        return Miss("Attention continues a cache already", node)
    shapes = []
    for name in ("past_k", "k", "past_v", "v"):
        shape = match[name].shape
        if shape is None or len(shape) != 4 or None in shape:
            return Miss("the shape of the cache is unknown", node)
        shapes.append(shape)
    if any(match.node(name).attribute("axis") not in (2, -2) for name in ("keys", "values")):
        return Miss("keys and values are not appended along the positions", node)
    if shapes[0][2] != shapes[2][2] or shapes[1][2] != shapes[3][2]:
        return Miss("keys and values do not continue caches of equal length", node)
    return None


def _write_cache(rw: Rewriter, match: Match, facts: None) -> None:
    node = match.root
    inputs = [node.input(0), match["k"], match["v"], node.input(3), match["past_k"],
              match["past_v"]]  # fmt: skip
    result = rw.op("Attention", inputs, node.attributes, like=node.output, outputs=3)
    assert result.producer is not None
    for name, new in zip(("keys", "values"), result.producer.outputs[1:], strict=True):
        old = match.node(name).output
        new.dtype, new.shape = old.dtype, old.shape
        rw.replace(old, new)
    rw.replace(node.output, result)


def _appended(past: str, new: str, name: str) -> Op:
    return Op("Concat", Any(past), Any(new), name=name, shared=True)


CACHED = Op(
    "Attention", Any(), _appended("past_k", "k", "keys"), _appended("past_v", "v", "values"),
    open_ended=True,
)  # fmt: skip


def _turns_attention(node: OperatorNode) -> bool:
    """Whether the heads of an Attention move: other Transposes are no near misses."""
    maker = None if node.inputs[0] is None else node.inputs[0].producer
    return maker is not None and maker.op_type in ("Attention", "Where")


ATTENTION = Op("Attention", name="attention", shared=True)
GUARDED = Op("Where", Op("IsNaN", ATTENTION), Scalar(0.0), ATTENTION, name="guard")
MERGED = Op(
    "Reshape",
    Op("Transpose", OneOf(ATTENTION, GUARDED), name="turn", accept=_turns_attention),
    Any(),
)

RULES = (
    Rule("attention-cache", CACHED, _write_cache, _read_cache, since=23),
    Rule("attention-heads", MERGED, _write_heads, _read_heads, since=23),
)
