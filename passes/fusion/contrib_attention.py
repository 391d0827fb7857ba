"""ONNX Runtime's own attention operators as the standard one."""

from __future__ import annotations

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.fusion.attention_mask import for_every_query
from burnish.rewrite import Match, Miss, Rewriter

UNSUPPORTED = ("do_rotary", "past_present_share_buffer", "rotary_embedding_dim")


def _problem(node: OperatorNode, absent: tuple[int, ...]) -> Miss | None:
    """What attention with a cache, rotation or further results has and the standard one not."""
    for name in UNSUPPORTED:
        if node.attribute(name, 0):
            return Miss(f"{node.op_type} has {name}", node)
    if any(node.input(index) is not None for index in absent):
        return Miss(f"{node.op_type} continues a cache of earlier keys and values", node)
    if any(value.uses for value in node.outputs[1:]):
        return Miss(f"{node.op_type} returns its keys and values", node)
    return None


def packed_problem(match: Match) -> Miss | None:
    """Guard of Attention: data, weights, bias, mask index, past, attention bias, past length."""
    node = match.root
    weights, mask = node.input(1), node.input(3)
    if mask is not None and mask.rank not in (2, 3):
        return Miss("the mask holds lengths, or its shape is unknown", node)
    if weights is None or weights.shape is None or not isinstance(weights.shape[1], int):
        return Miss("the shape of the weights is unknown", node)
    data, extra = node.input(0), node.input(5)
    if data is None or data.rank != 3:
        return Miss("the data does not have three known axes", node)
    if extra is not None and extra.rank != 4:
        return Miss("the bias of the scores does not have four known axes", node)
    return _problem(node, (4, 6))


def packed(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """One product makes queries, keys and values."""
    data, weights, bias, mask = (node.input(index) for index in range(4))
    assert weights is not None
    assert weights.shape is not None
    product = rw.op("MatMul", [data, weights], like=data)
    assert data is not None
    product.shape = None if data.shape is None else (*data.shape[:-1], weights.shape[1])
    if bias is not None:
        product = rw.op("Add", [product, bias], like=product)
    width = weights.shape[1]
    assert isinstance(width, int)
    sizes = node.attribute("qkv_hidden_sizes") or (width // 3,) * 3
    parts = _split(rw, product, tuple(sizes))
    masks = [] if mask is None else [_from_mask(rw, mask, node, parts[0])]
    extra = node.input(5)
    return _attend(rw, node, parts, masks + ([] if extra is None else [extra]))


def _split(rw: Rewriter, value: VariableNode, sizes: tuple[int, ...]) -> list[VariableNode]:
    first = rw.op("Split", [value, rw.constant(np.array(sizes))], {"axis": -1}, outputs=len(sizes))
    assert first.producer is not None
    parts = list(first.producer.outputs)
    for part, size in zip(parts, sizes, strict=True):
        part.dtype = value.dtype
        part.shape = None if value.shape is None else (*value.shape[:-1], size)
    return parts


def separate_problem(match: Match) -> Miss | None:
    """Guard of MultiHeadAttention: q, k, v, bias, key padding mask, attention bias, past."""
    node = match.root
    values = [node.input(index) for index in range(3)]
    if any(value is None or value.rank != 3 for value in values):
        return Miss("queries, keys and values do not have three known axes each", node)
    bias, mask, extra = node.input(3), node.input(4), node.input(5)
    if mask is not None and mask.rank not in (2, 3):
        return Miss("the mask holds lengths, or its shape is unknown", node)
    if extra is not None and extra.rank != 4:
        return Miss("the bias of the scores does not have four known axes", node)
    if bias is not None and _widths(values) is None:
        return Miss("the sizes of queries, keys and values are unknown", node)
    return _problem(node, (6, 7))


def _widths(values: list[VariableNode | None]) -> tuple[int, ...] | None:
    """The last sizes of ``values``, if all are known."""
    sizes = [v.shape[-1] for v in values if v is not None and v.shape is not None]
    known = tuple(size for size in sizes if isinstance(size, int))
    return known if len(known) == len(values) else None


def separate(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Queries, keys and values come as they are; one bias for all three may be added."""
    parts = [value for value in node.inputs[:3] if value is not None]
    bias, mask, extra = node.input(3), node.input(4), node.input(5)
    if bias is not None:
        widths = _widths(list(parts))
        assert widths is not None
        shares = _split(rw, bias, widths)
        parts = [
            rw.op("Add", [part, share], like=part)
            for part, share in zip(parts, shares, strict=True)
        ]
    masks = [] if mask is None else [_from_mask(rw, mask, node, parts[0])]
    return _attend(rw, node, parts, masks + ([] if extra is None else [extra]))


def _from_mask(
    rw: Rewriter, mask: VariableNode, node: OperatorNode, like: VariableNode
) -> VariableNode:
    """Numbers to add from a mask of ones and zeros: 0 where a key counts."""
    assert mask.shape is not None
    axes = [1, 2] if len(mask.shape) == 2 else [1]
    keys = rw.op("Unsqueeze", [mask, rw.constant(np.array(axes))], like=mask)
    keys.shape = (mask.shape[0], *(1 for _ in axes), *mask.shape[1:])
    counts = rw.op("Cast", [keys], {"to": 9})
    fill = node.attribute("mask_filter_value", -10000.0)
    choices = [rw.constant(np.asarray(c, like.dtype.numpy)) for c in (0.0, fill)]
    result = rw.op("Where", [counts, *choices])
    result.dtype, result.shape = like.dtype, keys.shape
    return result


def _attend(
    rw: Rewriter, node: OperatorNode, parts: list[VariableNode], masks: list[VariableNode]
) -> VariableNode:
    heads = node.attribute("num_heads")
    queries, keys, values = (_per_head(rw, part, heads) for part in parts)
    inputs: list[VariableNode] = [queries, keys, values]
    if masks:
        total = masks[0]
        for mask in masks[1:]:
            total = rw.op("Add", [total, mask], like=mask)
        inputs.append(for_every_query(rw, total, queries))
    attributes = {"is_causal": 1} if node.attribute("unidirectional", 0) else {}
    if node.attribute("scale", 0.0):
        attributes["scale"] = node.attribute("scale")
    result = rw.op("Attention", inputs, attributes)
    result.dtype = node.output.dtype
    joined = rw.op("Transpose", [result], {"perm": (0, 2, 1, 3)})
    joined.dtype = node.output.dtype
    return rw.op("Reshape", [joined, rw.constant(np.array([0, 0, -1]))], like=node.output)


def _per_head(rw: Rewriter, value: VariableNode, heads: int) -> VariableNode:
    """[batch, n, heads * depth] as [batch, heads, n, depth]."""
    apart = rw.op("Reshape", [value, rw.constant(np.array([0, 0, heads, -1]))])
    result = rw.op("Transpose", [apart], {"perm": (0, 2, 1, 3)})
    apart.dtype = result.dtype = value.dtype
    if value.shape is not None:
        result.shape = (value.shape[0], heads, value.shape[1], None)
    return result
