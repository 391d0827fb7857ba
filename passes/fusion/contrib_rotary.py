"""ONNX Runtime's operators of decoders as standard ones: rotations, grouped queries."""

from __future__ import annotations

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.fusion.contrib_attention import Operands, attend
from burnish.rewrite import Match, Miss, Rewriter

QUERY, KEY, VALUE, PAST_KEY, _, LAST, _, COS, SIN, POSITIONS, BIAS = range(11)
"""Inputs of GroupQueryAttention; ``LAST`` is the position of the last key of each entry."""
UNSUPPORTED = (
    "k_quant_type", "kv_cache_bit_width", "local_window_size", "qk_output", "smooth_softmax",
    "v_quant_type",
)  # fmt: skip


def rotary_problem(match: Match) -> Miss | None:
    """Guard of RotaryEmbedding: data, positions, cosines, sines."""
    node = match.root
    x, positions, cos = node.input(0), node.input(1), node.input(2)
    if x is None or x.rank not in (3, 4) or cos is None or cos.rank != 2:
        return Miss("the data does not have three or four known axes", node)
    if node.attribute("is_packed_batching", 0) or node.attribute("scale", 1.0) != 1.0:
        return Miss("the batch is packed, or the result scaled", node)
    if positions is None or positions.rank not in (1, 2):
        return Miss("the shape of the positions is unknown", node)
    if positions.rank == 1 and not all(isinstance(size, int) for size in _batch_and_length(x)):
        return Miss("the batch or the length is unknown; give --input-shape", node)
    if x.rank == 3 and _heads(node) is None:
        return Miss("the number of heads is unknown", node)
    return None


def _batch_and_length(x: VariableNode) -> tuple[object, object]:
    assert x.shape is not None
    return x.shape[0], x.shape[1 if len(x.shape) == 3 else 2]


def _heads(node: OperatorNode) -> int | None:
    """How many heads there are beside the channels."""
    heads = node.attribute("num_heads", 0)
    x, cos = node.inputs[0], node.inputs[2]
    assert x is not None
    assert cos is not None
    if heads or node.attribute("rotary_embedding_dim", 0):
        return int(heads) or None
    width = None if x.shape is None else x.shape[-1]
    half = None if cos.shape is None else cos.shape[-1]
    known = isinstance(width, int) and isinstance(half, int) and half > 0
    return width // (2 * half) if known else None  # type: ignore[operator]


def rotary(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Positions are given one by one, or the first of them counts for all entries."""
    x, positions, cos, sin = node.inputs[:4]
    assert x is not None
    assert positions is not None
    if positions.rank == 1:
        batch, length = _batch_and_length(x)
        assert isinstance(batch, int)
        assert isinstance(length, int)
        steps = rw.constant(np.tile(np.arange(length, dtype=np.int64), (batch, 1)))
        positions = rw.op("Add", [positions, steps], like=steps)
    attributes = {
        name: node.attribute(name)
        for name in ("interleaved", "rotary_embedding_dim")
        if node.attribute(name, 0)
    }
    if x.rank == 3:
        attributes["num_heads"] = _heads(node)
    return rw.op("RotaryEmbedding", [x, cos, sin, positions], attributes, like=node.output)


def grouped_problem(match: Match) -> Miss | None:
    """Guard of GroupQueryAttention, which is always causal."""
    node = match.root
    query, key, value = (node.input(index) for index in (QUERY, KEY, VALUE))
    for name in UNSUPPORTED:
        if node.attribute(name, 0) not in (0, -1, "NONE"):
            return Miss(f"{node.op_type} has {name}", node)
    if any(node.input(index) is not None for index in range(BIAS, len(node.inputs))):
        return Miss(f"{node.op_type} adds a bias or has sinks", node)
    if any(result.uses for result in node.outputs[3:]):
        return Miss(f"{node.op_type} returns its scores", node)
    if query is None or query.static_shape is None or len(query.static_shape) != 3:
        return Miss("the sizes of the queries are unknown; give --input-shape", node)
    if (key is None) != (value is None):
        return Miss("keys or values are missing", node)
    past = node.input(PAST_KEY)
    if past is not None and (past.rank != 4 or past.shape is None or past.shape[2] != 0):
        return Miss("the cache may have room for more keys than it holds", node)
    return None


def grouped(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Queries, keys and values may come as one; both may be rotated first."""
    query = node.inputs[QUERY]
    assert query is not None
    assert query.static_shape is not None
    batch, length, _ = query.static_shape
    heads, key_heads = node.attribute("num_heads"), node.attribute("kv_num_heads")
    q, k, v = _parts(rw, node, query, heads, key_heads)
    if node.attribute("do_rotary", 0):
        q, k = (_turned(rw, node, x, n) for x, n in ((q, heads), (k, key_heads)))
    for index, part in ((1, k), (2, v)):
        if index < len(node.outputs) and node.outputs[index].uses:
            rw.replace(node.outputs[index], _per_head(rw, part, key_heads, node.outputs[index]))
    attributes: dict[str, object] = {"is_causal": 1}
    attributes |= {k: node.attribute(k) for k in ("scale", "softcap") if node.attribute(k, 0.0)}
    masks = () if node.input(LAST) is None else (_counted(rw, node, q, (batch, length)),)
    operands = Operands(q, k, v, heads, key_heads, None, masks, attributes)
    return attend(rw, operands, node.output)


def _parts(
    rw: Rewriter, node: OperatorNode, query: VariableNode, heads: int, key_heads: int
) -> tuple[VariableNode, ...]:
    key, value = node.input(KEY), node.input(VALUE)
    if key is not None and value is not None:
        return query, key, value
    assert query.static_shape is not None
    *outer, width = query.static_shape
    depth = width // (heads + 2 * key_heads)
    sizes = (heads * depth, key_heads * depth, key_heads * depth)
    first = rw.op("Split", [query, rw.constant(np.array(sizes))], {"axis": -1}, outputs=3)
    assert first.producer is not None
    for part, size in zip(first.producer.outputs, sizes, strict=True):
        part.dtype, part.shape = query.dtype, (*outer, size)
    return first.producer.outputs


def _turned(rw: Rewriter, node: OperatorNode, x: VariableNode, heads: int) -> VariableNode:
    positions = node.input(POSITIONS)
    assert x.shape is not None
    if positions is None:
        batch, length = _batch_and_length(x)
        assert isinstance(batch, int)
        assert isinstance(length, int)
        positions = rw.constant(np.tile(np.arange(length, dtype=np.int64), (batch, 1)))
    attributes = {"num_heads": heads}
    cos = node.inputs[COS]
    assert cos is not None
    width, half = x.shape[-1], None if cos.shape is None else cos.shape[-1]
    if isinstance(width, int) and isinstance(half, int) and 2 * half != width // heads:
        attributes["rotary_embedding_dim"] = 2 * half
    if node.attribute("rotary_interleaved", 0):
        attributes["interleaved"] = 1
    inputs = [x, cos, node.inputs[SIN], positions]
    return rw.op("RotaryEmbedding", inputs, attributes, like=x)


def _per_head(rw: Rewriter, value: VariableNode, heads: int, like: VariableNode) -> VariableNode:
    apart = rw.op("Reshape", [value, rw.constant(np.array([0, 0, heads, -1]))])
    apart.dtype = value.dtype
    return rw.op("Transpose", [apart], {"perm": (0, 2, 1, 3)}, like=like)


def _counted(
    rw: Rewriter, node: OperatorNode, like: VariableNode, sizes: tuple[int, int]
) -> VariableNode:
    """Numbers to add that hide keys behind the last one of each entry."""
    last, (batch, length) = node.inputs[LAST], sizes
    assert last is not None
    column = rw.op("Reshape", [last, rw.constant(np.array([batch, 1, 1, 1]))], like=last)
    column.shape = (batch, 1, 1, 1)
    positions = rw.constant(np.arange(length, dtype=last.dtype.numpy))
    counts = rw.op("LessOrEqual", [positions, column])
    counts.dtype, counts.shape = DType.BOOL, (batch, 1, 1, length)
    choices = [rw.constant(np.asarray(c, like.dtype.numpy)) for c in (0.0, -np.inf)]
    result = rw.op("Where", [counts, *choices])
    result.dtype, result.shape = like.dtype, counts.shape
    return result
