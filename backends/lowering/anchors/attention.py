"""Attention over four-dimensional queries, keys and values."""

from __future__ import annotations

import math

import tvm.tirx as tx
from tvm import te

from burnish.backends.kernels.attention import Layout as Storage
from burnish.backends.kernels.attention import Sizes
from burnish.backends.kernels.attention import attention as attention_kernel
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.encoding import Rounded
from burnish.backends.lowering.layout import identity
from burnish.backends.lowering.plan import shape_of
from burnish.ir import DType, OperatorNode, VariableNode
from burnish.target import BFLOAT16

KNOWN = frozenset({
    "is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap",
    "softmax_precision",
})  # fmt: skip
"""Attributes that the kernel obeys, or that do not concern it."""


def declines(node: OperatorNode) -> str | None:
    """Why the kernel does not fit ``node``, None if it does."""
    q = node.input(0)
    if q is None or q.rank != 4:
        return "Attention is compiled for queries of four axes"
    if len(node.outputs) > 1 or any(node.input(index) is not None for index in range(4, 7)):
        return "Attention with past keys or further outputs is not compiled"
    others = sorted(key for key, value in node.attributes.items() if key not in KNOWN and value)
    if others:
        return f"Attention with {', '.join(others)} is not compiled"
    if any(value is not None and value.dtype is not DType.FLOAT for value in node.inputs[:3]):
        return "Attention is compiled for float32"
    return None


def attention(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Attention (opset 23), queries [B, H, Sq, D], keys and values [B, Hk, Sk, D]."""
    q, k, v = node.inputs[:3]
    assert q is not None and k is not None and v is not None
    batch, heads, queries, channels = shape_of(q)
    _, key_heads, keys, width = shape_of(v)
    sizes = Sizes(batch, heads, key_heads, queries, keys, channels, width)
    scale = node.attribute("scale")
    in_pairs = _is_in_pairs(builder, node)
    stored = [_stored(builder, value, in_pairs) for value in (q, k, v)]
    builder.flops += 2.0 * batch * heads * queries * keys * (channels + width)
    result = attention_kernel(
        stored[0][0],
        stored[1][0],
        stored[2][0],
        _mask(builder, node.input(3)),
        sizes=sizes,
        scale=1.0 / math.sqrt(channels) if scale is None else float(scale),
        target=builder.target,
        softcap=float(node.attribute("softcap", 0.0)),
        causal=bool(node.attribute("is_causal", 0)),
        layouts=[storage for _, storage in stored],
        out_order="bshd",
        rounds=builder.rounds,
    )
    return [result]


def _is_in_pairs(builder: KernelBuilder, node: OperatorNode) -> bool:
    """Whether all that is multiplied is to be rounded, and is kept so."""
    if not node.is_region or BFLOAT16 not in builder.target.features:
        return False
    encoded = builder.emitter.plan.encoded
    return all(value and encoded.get(value) == Rounded() for value in node.inputs[:3])


def _stored(
    builder: KernelBuilder, value: VariableNode, in_pairs: bool
) -> tuple[te.Tensor, Storage]:
    """An operand where it is, and how it is stored there; with channels last if `in_pairs`."""
    layout = builder.layout(value)
    if not in_pairs:
        tensor = builder.operand(value, layout, pitched=True)
    else:
        layout = layout if layout[-1] == 3 else identity(4)
        tensor = builder.argument(builder.emitter.stored(value, layout))
    return tensor, Storage("".join("bhsd"[axis] for axis in layout))


def _mask(builder: KernelBuilder, mask: VariableNode | None) -> te.Tensor | None:
    """The mask as something to add to scores, with four axes."""
    if mask is None:
        return None
    shape = shape_of(mask)
    wide = (*(1,) * (4 - len(shape)), *shape)
    emitter = builder.emitter
    held = emitter.view(emitter.located(mask, tuple(range(len(shape)))), wide)
    if mask.dtype is not DType.BOOL:
        return builder.argument(held)
    # True lets a position through.
    inner = KernelBuilder(emitter)
    allowed = inner.argument(held)
    zero, hidden = tx.const(0.0, "float32"), tx.const(float("-inf"), "float32")
    result = te.compute(wide, lambda *i: tx.Select(allowed(*i), zero, hidden), name="mask")
    target = emitter.temporary(f"{mask.name}.additive", wide, "float32")
    emitter.launch(inner, [result], [target], (), "mask")
    return builder.argument(target)
