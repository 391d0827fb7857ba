"""Chains of functions of one byte, computed at compile time for all it can be.

ONNX Runtime computes the entries, so that they are those of the model to the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tvm import te

from burnish.backends.kernels.lookup import ENTRIES, is_wide, looked_up
from burnish.backends.lowering.elementwise import numpy_name, uniform_scalar
from burnish.backends.lowering.encoding import Quantized
from burnish.backends.lowering.fusion import FUNCTIONS
from burnish.backends.lowering.layout import physical
from burnish.backends.lowering.plan import shape_of
from burnish.errors import UnsupportedModel
from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.oracle import results_of
from burnish.target import Target

if TYPE_CHECKING:
    from burnish.backends.lowering.emitter import KernelBuilder

_BYTES = (DType.INT8, DType.UINT8)


def table_kernel(builder: KernelBuilder, nodes: Sequence[OperatorNode]) -> te.Tensor | None:
    """The result of elementwise ``nodes`` by a table; None if they are no function of one byte.

    None also where arithmetic takes less time than loads do.
    """
    output = nodes[-1].output
    if output.dtype not in _BYTES or not _pays(builder.target, nodes):
        return None
    source = _source(builder, nodes)
    if source is None or shape_of(source) != shape_of(output):
        return None
    shape, layout = shape_of(output), builder.layout(output)
    stored = builder.stored(source, layout)
    entries = _entries(nodes, source, _decoded(builder, source, str(stored.dtype)))
    if entries is None:
        return None
    table = builder.weights(entries)
    return te.compute(
        physical(shape, layout), lambda *i: looked_up(stored(*i), table), name="table"
    )


def _pays(target: Target, nodes: Sequence[OperatorNode]) -> bool:
    """Whether looking up is faster than computing.

    With permutations it always is: 23 us for 56x56x256 bytes, where adding to them takes 74 us. One
    by one they take twice as long as HardSwish by 256 bits and half as long as Gelu; as long as
    that by 512.
    """
    is_slow = any(node.op_type in FUNCTIONS for node in nodes)
    return is_wide(target) or (is_slow and target.vector_bits < 512)


def _source(builder: KernelBuilder, nodes: Sequence[OperatorNode]) -> VariableNode | None:
    """The only value that ``nodes`` read from elsewhere, if it is kept as known bytes."""
    inside = {node.output for node in nodes}
    read = {
        value for node in nodes for value in node.inputs
        if value is not None and value not in inside and uniform_scalar(value) is None
    }  # fmt: skip
    if len(read) != 1:
        return None
    (source,) = read
    encoding = builder.emitter.plan.encoded.get(source)
    if not isinstance(encoding, Quantized) or encoding.axis is not None:
        return None
    known = all(v is None or v.is_constant for v in (encoding.scale, encoding.zero))
    held = builder.emitter.home.get(source)
    return source if known and held is not None and held.dtype in ("int8", "uint8") else None


def _decoded(builder: KernelBuilder, source: VariableNode, dtype: str) -> Array:
    """What each byte stands for, in the order of their bits."""
    encoding = builder.emitter.plan.encoded[source]
    assert isinstance(encoding, Quantized)
    zero, scale = 0, np.float32(1)
    if encoding.zero is not None and encoding.zero.constant is not None:
        zero = int(encoding.zero.constant.numpy().reshape(()))
    numbers = np.arange(ENTRIES, dtype=np.uint8).view(dtype).astype(np.int32) - zero
    if encoding.scale is not None and encoding.scale.constant is not None:
        scale = np.float32(encoding.scale.constant.numpy().reshape(()))
    return np.asarray(numbers.astype(np.float32) * scale)


def _entries(nodes: Sequence[OperatorNode], source: VariableNode, numbers: Array) -> Array | None:
    rank = max(1, len(shape_of(source)))
    given = {source: numbers.reshape(ENTRIES, *(1,) * (rank - 1))}
    try:
        found = results_of(nodes, given)[nodes[-1].output]
    except UnsupportedModel:
        return None
    # Constants of one number may have the full shape.
    if found.size % ENTRIES or found.shape[:1] != (ENTRIES,):
        return None
    first = np.ascontiguousarray(found.reshape(ENTRIES, -1)[:, 0])
    return first if str(first.dtype) == numpy_name(nodes[-1].output.dtype) else None
