"""ONNX Runtime's own normalizations as standard operators."""

from __future__ import annotations

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.fusion.contrib_writing import (
    MS,
    channels_first,
    channels_last,
    every,
    given,
    integers,
    like,
    ranked,
    rule,
    scalar,
    total,
    transposed,
    unread,
)
from burnish.rewrite import Match, Miss, Rewriter


def _skip_layer_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, skip, gamma, beta, bias; the fourth output is the sum before normalizing."""
    return _normalize_sum(rw, node, (0, 1, 4), (2, 3), "LayerNormalization")


def _skip_rms_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, skip, gamma, bias; the fourth output is the sum before normalizing."""
    return _normalize_sum(rw, node, (0, 1, 3), (2,), "RMSNormalization")


def _normalize_sum(
    rw: Rewriter, node: OperatorNode, terms: tuple[int, ...], parameters: tuple[int, ...],
    op_type: str,
) -> VariableNode:  # fmt: skip
    data = total(rw, given(node, *terms))
    if len(node.outputs) > 3:
        rw.replace(node.outputs[3], data)
    attributes = {"axis": -1, "epsilon": node.attribute("epsilon", 1e-12)}
    return like(rw, op_type, data, *given(node, *parameters), **attributes)


def _rms_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    kept = ("axis", "epsilon", "stash_type")
    attributes = {k: v for k, v in node.attributes.items() if k in kept}
    return like(rw, "RMSNormalization", *given(node, 0, 1), **attributes)


def _same_type(match: Match) -> Miss | None:
    data, scale = given(match.root, 0, 1)
    if scale.dtype is not data.dtype:
        return Miss("scale and data differ in type", match.root)
    return None


def _embedding(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: ids, segments, words, positions, segment table, gamma, beta, mask, position ids.

    The second output counts the ones of the mask in each row, the third is the sum before
    normalizing.
    """
    ids, segments, words, positions, table = (node.input(i) for i in range(5))
    assert ids is not None
    assert words is not None
    assert positions is not None
    hidden = words.shape[1] if words.shape is not None else None
    shape = None if ids.shape is None else (*ids.shape, hidden)

    def gather(source: VariableNode, index: VariableNode) -> VariableNode:
        result = rw.op("Gather", [source, index], {"axis": 0})
        result.dtype, result.shape = source.dtype, shape
        return result

    places = node.input(8)
    if places is None:
        assert ids.shape is not None
        places = rw.constant(np.arange(ids.shape[1], dtype=np.int64)[None])  # type: ignore[arg-type]
    terms = [gather(words, ids), gather(positions, places)]
    if segments is not None and table is not None:
        terms.append(gather(table, segments))
    data = total(rw, terms)
    if len(node.outputs) > 2:
        rw.replace(node.outputs[2], data)
    if len(node.outputs) > 1 and node.outputs[1].uses:
        rw.replace(node.outputs[1], _ones_per_row(rw, node))
    attributes = {"axis": -1, "epsilon": node.attribute("epsilon", 1e-12)}
    return like(rw, "LayerNormalization", data, *given(node, 5, 6), **attributes)


def _ones_per_row(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """How many elements of each row of the mask are one, int32 [batch]."""
    mask = given(node, 7)[0]
    ones = rw.op("Equal", [mask, scalar(rw, 1, mask)], like=mask)
    ones.dtype = DType.BOOL
    numbers = rw.op("Cast", [ones], {"to": DType.INT32.value}, like=mask)
    numbers.dtype = DType.INT32
    count = rw.op("ReduceSum", [numbers, integers(rw, 1)], {"keepdims": 0})
    count.dtype = DType.INT32
    count.shape = None if mask.shape is None else mask.shape[:1]
    return count


def _known_length(match: Match) -> Miss | None:
    node, ids = match.root, match.root.input(0)
    if node.input(8) is None and (
        ids is None or ids.shape is None or not isinstance(ids.shape[-1], int)
    ):
        return Miss("the length of the sequence is unknown; give --input-shape", node)
    if node.input(7) is None:
        return unread(1)(match)
    return None


def _group_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data with channels last, gamma, beta."""
    return _normalize_groups(rw, node, given(node, 0)[0])


def _skip_group_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data with channels last, gamma, beta, skip, bias; the second output is the sum."""
    data = total(rw, given(node, 0, 3, 4))
    if len(node.outputs) > 1:
        rw.replace(node.outputs[1], data)
    return _normalize_groups(rw, node, data)


def _normalize_groups(rw: Rewriter, node: OperatorNode, data: VariableNode) -> VariableNode:
    """Its parameters are float32 whatever the data are."""
    rank = data.rank
    assert rank is not None
    is_last = bool(node.attribute("channels_last", 1))
    moved = transposed(rw, data, channels_first(rank)) if is_last else data
    parameters = []
    for value in given(node, 1, 2):
        parameters.append(value)
        if value.dtype is not data.dtype:
            parameters[-1] = rw.op("Cast", [value], {"to": data.dtype.value}, like=value)
            parameters[-1].dtype = data.dtype
    attributes = {
        "epsilon": node.attribute("epsilon", 1e-5), "num_groups": node.attribute("groups"),
    }  # fmt: skip
    result = like(rw, "GroupNormalization", moved, *parameters, **attributes)
    if node.attribute("activation"):
        result = like(rw, "Mul", result, like(rw, "Sigmoid", result))
    return transposed(rw, result, channels_last(rank)) if is_last else result


def _spread_last(match: Match) -> Miss | None:
    """The skip may be [N, C]; added as it is it would not meet the channels of every position."""
    data, skip = match.root.input(0), match.root.input(3)
    if data is not None and skip is not None and skip.rank != data.rank:
        return Miss("what is added has fewer axes than the data", match.root)
    return None


RULES = (
    rule(f"{MS}SkipLayerNormalization", _skip_layer_norm, 17, unread(1, 2)),
    rule(f"{MS}SkipSimplifiedLayerNormalization", _skip_rms_norm, 23, unread(1, 2)),
    # ONNX Runtime put this one into the standard domain.
    rule("SimplifiedLayerNormalization", _rms_norm, 23, every(unread(1), _same_type)),
    rule(f"{MS}EmbedLayerNormalization", _embedding, 17, _known_length),
    rule(f"{MS}GroupNorm", _group_norm, 21, ranked(0)),
    rule(f"{MS}SkipGroupNorm", _skip_group_norm, 21, every(ranked(0, 3), _spread_last)),
)
