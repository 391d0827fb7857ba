"""ONNX Runtime's own attention operators as the standard one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.fusion.attention_mask import for_every_query
from burnish.passes.fusion.contrib_masks import mask_problem, total_mask
from burnish.rewrite import Match, Miss, Rewriter

UNSUPPORTED = ("do_rotary", "past_present_share_buffer", "rotary_embedding_dim")


@dataclass(frozen=True)
class Operands:
    """What goes into the standard operator; with three axes, heads are beside channels."""

    queries: VariableNode
    keys: VariableNode
    values: VariableNode
    heads: int
    key_heads: int
    past: tuple[VariableNode, VariableNode] | None = None
    masks: tuple[VariableNode, ...] = ()
    attributes: dict[str, object] = field(default_factory=dict)


def _problem(node: OperatorNode, absent: tuple[int, ...], present: int) -> Miss | None:
    """What attention with rotation, a shared cache or further results has."""
    for name in UNSUPPORTED:
        if node.attribute(name, 0):
            return Miss(f"{node.op_type} has {name}", node)
    if any(node.input(index) is not None for index in absent):
        return Miss(f"{node.op_type} continues a cache that holds more than it uses", node)
    if any(value.uses for value in node.outputs[1 + present :]):
        return Miss(f"{node.op_type} returns its scores", node)
    return None


def packed_problem(match: Match) -> Miss | None:
    """Guard of Attention: data, weights, bias, mask index, past, attention bias, past length."""
    node = match.root
    weights, data, past = node.input(1), node.input(0), node.input(4)
    if weights is None or weights.shape is None or not isinstance(weights.shape[1], int):
        return Miss("the shape of the weights is unknown", node)
    if data is None or data.rank != 3:
        return Miss("the data does not have three known axes", node)
    if past is None and any(value.uses for value in node.outputs[1:]):
        return Miss(f"{node.op_type} returns its keys and values", node)
    problem = mask_problem(node, node.input(3), node.input(5), _total(data, past, 3))
    return problem or _problem(node, (6,), 1)


def _total(data: VariableNode, past: VariableNode | None, axis: int) -> int | None:
    """How many keys there are with those of the cache, if that is known."""
    assert data.shape is not None
    if past is not None and past.shape is None:
        return None
    new, old = data.shape[1], 0 if past is None or past.shape is None else past.shape[axis]
    return new + old if isinstance(new, int) and isinstance(old, int) else None


def packed(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """One product makes queries, keys and values; the cache holds both in one tensor."""
    data, weights, bias, mask, past = (node.input(index) for index in range(5))
    assert data is not None
    assert weights is not None
    assert weights.shape is not None
    product = rw.op("MatMul", [data, weights], like=data)
    product.shape = None if data.shape is None else (*data.shape[:-1], weights.shape[1])
    if bias is not None:
        product = rw.op("Add", [product, bias], like=product)
    width, heads = weights.shape[1], node.attribute("num_heads")
    assert isinstance(width, int)
    sizes = node.attribute("qkv_hidden_sizes") or (width // 3,) * 3
    parts = _split(rw, product, tuple(sizes))
    q, k, v = parts
    both = None if past is None else (_entry(rw, past, 0), _entry(rw, past, 1))
    masks = total_mask(rw, node, mask, node.input(5), q, _total(data, past, 3))
    operands = Operands(q, k, v, heads, heads, both, masks, _attributes(node))
    result = attend(rw, operands, node.output)
    if len(node.outputs) > 1 and node.outputs[1].uses:
        assert result.producer is not None
        grown = [
            rw.op("Unsqueeze", [value, rw.constant(np.array([0]))])
            for value in result.producer.outputs[1:]
        ]
        rw.replace(node.outputs[1], rw.op("Concat", grown, {"axis": 0}, like=node.outputs[1]))
    return result


def _entry(rw: Rewriter, past: VariableNode, index: int) -> VariableNode:
    result = rw.op("Gather", [past, rw.constant(np.array(index))], {"axis": 0}, like=past)
    result.shape = None if past.shape is None else past.shape[1:]
    return result


def _split(rw: Rewriter, value: VariableNode, sizes: tuple[int, ...]) -> list[VariableNode]:
    first = rw.op("Split", [value, rw.constant(np.array(sizes))], {"axis": -1}, outputs=len(sizes))
    assert first.producer is not None
    parts = list(first.producer.outputs)
    for part, size in zip(parts, sizes, strict=True):
        part.dtype = value.dtype
        part.shape = None if value.shape is None else (*value.shape[:-1], size)
    return parts


def separate_problem(match: Match) -> Miss | None:
    """Guard of MultiHeadAttention: q, k, v, bias, key mask, attention bias, past, past length."""
    node = match.root
    queries, keys, values, bias, mask, extra, past, past_values = (node.input(i) for i in range(8))
    together = keys is None and values is None and queries is not None and queries.rank == 5
    known = [None if value is None else value.rank for value in (queries, keys, values)]
    if not together and known not in ([3, 3, 3], [3, 4, 4]):
        return Miss("queries, keys and values do not have three known axes each", node)
    assert queries is not None
    if bias is not None and (known != [3, 3, 3] or _widths([queries, keys, values]) is None):
        return Miss("the sizes of queries, keys and values are unknown", node)
    if (past is None) != (past_values is None) or (past is not None and known == [3, 4, 4]):
        return Miss(f"{node.op_type} continues a cache with keys by head", node)
    if past is None and any(value.uses for value in node.outputs[1:]):
        return Miss(f"{node.op_type} returns its keys and values", node)
    data = queries if keys is None else keys
    total = None if data.rank == 4 else _total(data, past, 2)
    return mask_problem(node, mask, extra, total) or _problem(node, (8, 9), 2)


def _widths(values: Sequence[VariableNode | None]) -> tuple[int, ...] | None:
    """The last sizes of ``values``, if all are known."""
    sizes = [v.shape[-1] for v in values if v is not None and v.shape is not None]
    known = tuple(size for size in sizes if isinstance(size, int))
    return known if len(known) == len(values) else None


def separate(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Queries, keys and values come as they are, or as one; one bias for all three may be added."""
    bias, heads = node.input(3), node.attribute("num_heads")
    parts = [value for value in node.inputs[:3] if value is not None]
    if len(parts) == 1:
        parts = _unpacked(rw, parts[0])
    if bias is not None:
        widths = _widths(parts)
        assert widths is not None
        shares = _split(rw, bias, widths)
        parts = [
            rw.op("Add", [part, share], like=part)
            for part, share in zip(parts, shares, strict=True)
        ]
    past, past_values = node.input(6), node.input(7)
    both = None if past is None or past_values is None else (past, past_values)
    total = None if parts[1].rank == 4 else _total(parts[1], past, 2)
    masks = total_mask(rw, node, node.input(4), node.input(5), parts[0], total)
    if parts[1].rank == 4:
        parts[0] = _per_head(rw, parts[0], heads)
    q, k, v = parts
    result = attend(
        rw, Operands(q, k, v, heads, heads, both, masks, _attributes(node)), node.output
    )
    for index in (1, 2):
        if index < len(node.outputs) and node.outputs[index].uses:
            assert result.producer is not None
            rw.replace(node.outputs[index], result.producer.outputs[index])
    return result


def _unpacked(rw: Rewriter, value: VariableNode) -> list[VariableNode]:
    """[batch, n, heads, 3, depth] as three of [batch, n, heads * depth]."""
    one = rw.constant(np.array([1, 1, 1]))
    first = rw.op("Split", [value, one], {"axis": 3}, outputs=3)
    assert first.producer is not None
    assert value.shape is not None
    batch, count, heads, _, depth = value.shape
    width = heads * depth if isinstance(heads, int) and isinstance(depth, int) else None
    parts = []
    for part in first.producer.outputs:
        part.dtype, part.shape = value.dtype, (batch, count, heads, 1, depth)
        flat = rw.op("Reshape", [part, rw.constant(np.array([0, 0, -1]))], like=value)
        flat.shape = (batch, count, width)
        parts.append(flat)
    return parts


def _attributes(node: OperatorNode) -> dict[str, object]:
    attributes: dict[str, object] = {"is_causal": 1} if node.attribute("unidirectional", 0) else {}
    if node.attribute("scale", 0.0):
        attributes["scale"] = node.attribute("scale")
    return attributes


def attend(rw: Rewriter, operands: Operands, output: VariableNode) -> VariableNode:
    """The standard operator; its further results are the grown cache, if there is one."""
    queries = operands.queries
    inputs: list[VariableNode | None] = [queries, operands.keys, operands.values]
    if operands.masks:
        total = operands.masks[0]
        for mask in operands.masks[1:]:
            total = rw.op("Add", [total, mask], like=mask)
        inputs.append(for_every_query(rw, total, queries))
    attributes = dict(operands.attributes)
    if queries.rank == 3:
        attributes |= {"q_num_heads": operands.heads, "kv_num_heads": operands.key_heads}
    if operands.past is not None:
        inputs += [None] * (4 - len(inputs)) + list(operands.past)
    results = 1 if operands.past is None else 3
    result = rw.op("Attention", inputs, attributes, outputs=results)
    assert result.producer is not None
    for value in result.producer.outputs:
        value.dtype = output.dtype
    if queries.rank == 3:
        result.shape = output.shape
        return result
    joined = rw.op("Transpose", [result], {"perm": (0, 2, 1, 3)})
    joined.dtype = output.dtype
    return rw.op("Reshape", [joined, rw.constant(np.array([0, 0, -1]))], like=output)


def _per_head(rw: Rewriter, value: VariableNode, heads: int) -> VariableNode:
    """[batch, n, heads * depth] as [batch, heads, n, depth]."""
    apart = rw.op("Reshape", [value, rw.constant(np.array([0, 0, heads, -1]))])
    result = rw.op("Transpose", [apart], {"perm": (0, 2, 1, 3)})
    apart.dtype = result.dtype = value.dtype
    if value.shape is not None:
        result.shape = (value.shape[0], heads, value.shape[1], None)
    return result
