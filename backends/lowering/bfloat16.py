"""How packed weights are stored: as they are, or as bfloat16 where each of them is such a number.

Nothing is rounded here. Passes round, so that what they do to a model can be measured on its graph;
kernels only make use of it.
"""

from __future__ import annotations

from math import prod

import numpy as np
from tvm import te

from burnish.backends.kernels import packing
from burnish.backends.kernels.bfloat16 import Widened
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.ir import Array, VariableNode
from burnish.passes.precision.narrow_weights import FEWEST_BYTES, MOST_ROWS
from burnish.target import BFLOAT16


def packed_weights(
    builder: KernelBuilder, source: te.Tensor, packed: Array, key: tuple[object, ...]
) -> te.Tensor:
    """The operand of packed constant weights ``[blocks, *kernel, K, lanes]``.

    In pairs along ``K`` if they and ``source``, ``[..., groups * K]``, are bfloat16 and the target
    multiplies such pairs; one by one if they are, and reading them takes longer than multiplying.
    ``key`` stands for the weights and how they are packed.
    """
    in_pairs = _multiplies_pairs(builder, source, packed)
    if not (in_pairs or _is_read_slowly(source, packed)) or not is_exact(packed):
        return builder.weights(packed, key)
    if in_pairs:
        return builder.weights(bits(packing.pairs(packed)), (*key, "pairs"))
    return builder.weights(bits(packed), (*key, "bits"))


def table(builder: KernelBuilder, value: VariableNode) -> te.Tensor:
    """What rows are gathered from, row-major; a large constant as bfloat16 if it is one."""
    constant = value.constant
    if constant is None or constant.nbytes < FEWEST_BYTES or not is_exact(constant.numpy()):
        return builder.read(value)
    return Widened(builder.weights(bits(constant.numpy()), (id(constant), "bits")))


def _is_read_slowly(source: te.Tensor, packed: Array) -> bool:
    rows = prod(int(extent) for extent in source.shape[:-1])
    return rows <= MOST_ROWS and packed.nbytes >= FEWEST_BYTES


def _multiplies_pairs(builder: KernelBuilder, source: te.Tensor, packed: Array) -> bool:
    has_pairs = packed.shape[-2] % 2 == 0 and int(source.shape[-1]) % 2 == 0
    return has_pairs and isinstance(source, Widened) and BFLOAT16 in builder.target.features


def is_exact(array: Array) -> bool:
    """Whether each number is a bfloat16 one: no float32 has anything in its lower half."""
    if array.dtype != np.float32:
        return False
    return not bool((np.ascontiguousarray(array).view(np.uint32) & 0xFFFF).any())


def bits(array: Array) -> Array:
    """The upper halves of numbers of which `is_exact` holds, uint16."""
    return (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16)
