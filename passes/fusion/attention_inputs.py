"""What the operator Attention does by itself: causal masks, groups of heads."""

from __future__ import annotations

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.fusion.attention_mask import ABSORBING, FLOOR
from burnish.rewrite import Any, Const, Match, Op, Rewriter, Rule


def is_causal(mask: VariableNode) -> bool:
    """Whether ``mask`` lets each query see the keys up to its own position, and only those."""
    assert mask.constant is not None
    shape = mask.constant.shape
    if len(shape) < 2 or not (mask.dtype.is_floating or mask.dtype.bits == 8):
        return False
    array = mask.constant.numpy()
    # The first row settles it for nearly all others: only the first key is seen.
    for rows in (1, shape[-2]):
        part = array[..., :rows, :]
        wanted = np.tril(np.ones(part.shape[-2:], np.bool_))
        if array.dtype == np.bool_:
            seen, hidden = part, ~part
        elif mask.dtype.is_floating:
            seen, hidden = part == 0, part <= FLOOR.get(mask.dtype, ABSORBING)
        else:
            return False
        if not ((seen == wanted).all() and (hidden != wanted).all()):
            return False
    return True


def _write(rw: Rewriter, match: Match, facts: None) -> None:
    node = match.root
    rw.set_attribute(node, "is_causal", 1)
    rw.set_inputs(node, node.inputs[:3])


def unrepeated(value: VariableNode) -> VariableNode | None:
    """What ``value`` [batch, heads, n, d] repeats along heads, each several times in a row.

    That is written as Unsqueeze, Expand along the new axis 2, Reshape.
    """
    steps = []
    for op_type in ("Reshape", "Expand", "Unsqueeze"):
        node = value.producer
        if node is None or not node.is_op(op_type) or node.inputs[0] is None:
            return None
        steps.append(value.shape)
        value = node.inputs[0]
    merged, spread, apart = steps
    source = value.shape
    if merged is None or spread is None or source is None or None in (*spread, *source):
        return None
    if len(source) != 4 or len(spread) != 5 or (*spread[:2], *spread[3:]) != source:
        return None
    if apart != (*source[:2], 1, *source[2:]):
        return None
    heads, times = source[1], spread[2]
    if not isinstance(heads, int) or not isinstance(times, int):
        return None
    return value if merged == (source[0], heads * times, *source[2:]) else None


def _repeats_heads(node: OperatorNode) -> bool:
    """Whether keys and values are repeated for groups of heads: others are no near misses."""
    k, v = node.inputs[1:3]
    if k is None or v is None or node.input(4) is not None:
        return False
    keys, values = unrepeated(k), unrepeated(v)
    if keys is None or values is None or keys.shape is None or values.shape is None:
        return False
    return keys.shape[1] == values.shape[1]


def _write_groups(rw: Rewriter, match: Match, facts: None) -> None:
    node = match.root
    q, k, v, *rest = node.inputs
    assert k is not None
    assert v is not None
    rw.set_inputs(node, [q, unrepeated(k), unrepeated(v), *rest])


INPUTS = (
    Rule(
        "causal-mask", Op("Attention", Any(), Any(), Any(), Const("mask", is_causal)), _write,
        since=23,
    ),
    Rule("attention-groups", Op("Attention", accept=_repeats_heads), _write_groups, since=23),
)  # fmt: skip
