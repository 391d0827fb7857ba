"""Write Attention in the one form that code is generated for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from burnish.analysis import infer
from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.attention_positions import visible
from burnish.passes.cleanup.function_bodies import expansion
from burnish.passes.cleanup.infer_shapes import annotate
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, RewriteResult, Rule, apply_rules

Q, K, V, MASK, PAST_KEY, PAST_VALUE, LENGTHS = range(7)
PRESENT_KEY, PRESENT_VALUE, SCORES = 1, 2, 3
PLAIN = ("is_causal", "scale", "softcap", "softmax_precision")
"""Attributes that mean the same in the simple form."""


@dataclass(frozen=True)
class LowerAttention(RulePass):
    """Write Attention with heads as an axis, its cache by Concat, and all that hides keys as masks.

    Where the scores are read as well, or the elements are doubles, its definition is written out.

    Before:
        y, keys, values = Attention[q_num_heads=4, kv_num_heads=2](q, k, v, mask, past_k, past_v)

    After:
        keys, values = Concat(past_k, heads(k)), Concat(past_v, heads(v))
        y = merged(Attention(heads(q), keys, values, mask))
    """

    name: ClassVar[str] = "lower-attention"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The simple form, else the definition."""
        return RULES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Lower; leaves values annotated with their shapes."""
        result = apply_rules(
            graph, self.rules(context), explain=context.explain, allowance=context.allowance
        )
        if result.changed:
            result.edits += annotate(infer(graph))
        return result


@dataclass(frozen=True)
class Sizes:
    """Queries [batch, heads, queries, depth], keys [batch, key_heads, past + new, depth]."""

    batch: int
    heads: int
    key_heads: int
    queries: int
    new: int
    past: int
    flat: bool
    """Heads and depth are one axis, the last of three."""

    @property
    def keys(self) -> int:
        """Keys with those from the cache."""
        return self.past + self.new


def _used(node: OperatorNode, index: int) -> bool:
    return index < len(node.outputs) and bool(node.outputs[index].uses)


def _is_simple(node: OperatorNode, sizes: Sizes) -> bool:
    """Whether the node is as code is generated for it already."""
    extras = any(node.input(index) is not None for index in (PAST_KEY, PAST_VALUE, LENGTHS))
    mask = node.input(MASK)
    assert mask is None or mask.static_shape is not None
    short = mask is not None and (mask.static_shape or (0,))[-1] != sizes.keys
    windows = any(name in node.attributes for name in WINDOWS)
    return not (sizes.flat or extras or short or windows or len(node.outputs) > 1)


WINDOWS = ("left_window_size", "right_window_size")


def _plain(match: Match) -> Sizes | Miss:
    """Guard of the simple form."""
    node = match.root
    if _used(node, SCORES):
        return Miss("the scores of Attention are read", node)
    given = [value for value in node.inputs if value is not None]
    if any(value.static_shape is None for value in given):
        return Miss("the shapes of Attention are not known: give --input-shape", node)
    if any(v.dtype is not DType.FLOAT for v in given if v.dtype.is_floating):
        return Miss("Attention is compiled for float32", node)
    sizes = _sizes(node)
    if _is_simple(node, sizes):
        return Miss("Attention is as simple as it gets", node)
    return sizes


def _sizes(node: OperatorNode) -> Sizes:
    (q, k), past = ((node.inputs[i] for i in (Q, K)), node.input(PAST_KEY))
    assert q is not None
    assert k is not None
    (batch, *queries), (_, *keys) = q.static_shape or (), k.static_shape or ()
    before = 0 if past is None else (past.static_shape or (0,) * 3)[2]
    if len(queries) == 3:
        return Sizes(batch, queries[0], keys[0], queries[1], keys[1], before, False)
    heads = (node.attributes["q_num_heads"], node.attributes["kv_num_heads"])
    return Sizes(batch, heads[0], heads[1], queries[0], keys[0], before, True)


def _write_plain(rw: Rewriter, match: Match, sizes: Sizes) -> None:
    node = match.root
    q, k, v = (_with_heads(rw, node, index, sizes) for index in (Q, K, V))
    k = _continued(rw, node, (PAST_KEY, PRESENT_KEY), k)
    v = _continued(rw, node, (PAST_VALUE, PRESENT_VALUE), v)
    allowed, causal = visible(rw, node, (sizes.queries, sizes.keys, sizes.past, sizes.batch))
    mask = _joined(rw, _long_enough(rw, node.input(MASK), sizes.keys), allowed)
    attributes = {name: node.attribute(name) for name in PLAIN if name in node.attributes}
    attributes["is_causal"] = int(causal)
    width = (v.shape or (None,))[-1]
    result = rw.op("Attention", [q, k, v] + ([] if mask is None else [mask]), attributes, like=q)
    result.shape = (sizes.batch, sizes.heads, sizes.queries, width)
    if sizes.flat:
        merged = rw.op("Transpose", [result], {"perm": (0, 2, 1, 3)}, like=q)
        merged.shape = (sizes.batch, sizes.queries, sizes.heads, width)
        shape = rw.constant(np.array([sizes.batch, sizes.queries, -1], np.int64))
        result = rw.op("Reshape", [merged, shape], like=node.output)
    rw.replace(node.output, result)


def _with_heads(rw: Rewriter, node: OperatorNode, index: int, sizes: Sizes) -> VariableNode:
    value = node.inputs[index]
    assert value is not None
    shape = value.static_shape
    if not sizes.flat or shape is None:
        return value
    heads = sizes.heads if index == Q else sizes.key_heads
    apart = (*shape[:2], heads, shape[2] // heads)
    sides = rw.op("Reshape", [value, rw.constant(np.array(apart, np.int64))], like=value)
    sides.shape = apart
    result = rw.op("Transpose", [sides], {"perm": (0, 2, 1, 3)}, like=value)
    result.shape = tuple(apart[axis] for axis in (0, 2, 1, 3))
    return result


def _continued(
    rw: Rewriter, node: OperatorNode, places: tuple[int, int], new: VariableNode
) -> VariableNode:
    """``new`` behind what the cache holds, which is also what ``node`` returns."""
    past = node.input(places[0])
    total = new
    if past is not None:
        assert past.static_shape is not None
        assert new.static_shape is not None
        total = rw.op("Concat", [past, new], {"axis": 2}, like=past)
        grown = past.static_shape[2] + new.static_shape[2]
        total.shape = (*past.static_shape[:2], grown, past.static_shape[3])
    if _used(node, places[1]):
        rw.replace(node.outputs[places[1]], total)
    return total


def _long_enough(rw: Rewriter, mask: VariableNode | None, keys: int) -> VariableNode | None:
    """``mask`` for all keys; those that it does not cover are hidden."""
    if mask is None:
        return None
    shape = mask.static_shape
    assert shape is not None
    if shape[-1] == keys:
        return mask
    pads = [0] * (2 * len(shape))
    pads[-1] = keys - shape[-1]
    fill = np.array(False) if mask.dtype is DType.BOOL else np.array(-np.inf, mask.dtype.numpy)
    operands = [mask, rw.constant(np.array(pads, np.int64)), rw.constant(fill)]
    result = rw.op("Pad", operands, like=mask)
    result.shape = (*shape[:-1], keys)
    return result


def _joined(
    rw: Rewriter, mask: VariableNode | None, allowed: VariableNode | None
) -> VariableNode | None:
    """What both masks let through; ``mask`` may hold numbers to add."""
    if mask is None or allowed is None:
        return mask or allowed
    shape = np.broadcast_shapes(mask.static_shape or (), allowed.static_shape or ())
    if mask.dtype is DType.BOOL:
        result = rw.op("And", [mask, allowed], like=mask)
    else:
        hidden = rw.constant(np.array(-np.inf, mask.dtype.numpy))
        result = rw.op("Where", [allowed, mask, hidden], like=mask)
    result.shape = shape
    return result


def _by_definition(match: Match) -> object:
    """Guard of the definition: what has no simple form."""
    node = match.root
    if not _used(node, SCORES) and node.output.dtype in (DType.FLOAT, DType.UNDEFINED):
        return Miss("Attention has a simpler form", node)
    return _DEFINED.guard(match)


_DEFINED = expansion("Attention")

RULES = (
    Rule("lower-attention", Op("Attention"), _write_plain, _plain, since=23),
    replace(_DEFINED, guard=_by_definition, since=23),
)
