"""Products of two matrices of bytes that are both computed, accumulated exactly in 32 bits."""

from __future__ import annotations

from tvm import te

from burnish.analysis.cost import kernel_flops
from burnish.backends.kernels.integer_product import batch_product_bytes
from burnish.backends.lowering.anchors.contraction import matrix_operand
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.integers import in_quads, scalar_zero
from burnish.backends.lowering.plan import shape_of
from burnish.ir import OperatorNode


def is_batch(builder: KernelBuilder, node: OperatorNode) -> bool:
    """Whether a MatMulInteger is of matrices with one zero point each, and quads are multiplied."""
    a, b = node.inputs[:2]
    assert a is not None and b is not None
    zeros = [value for value in (node.input(2), node.input(3)) if value is not None]
    is_scalar = all(shape_of(value) in ((), (1,)) for value in zeros)
    return in_quads(builder) and is_scalar and min(len(shape_of(a)), len(shape_of(b))) > 1


def batch_integer(builder: KernelBuilder, node: OperatorNode) -> te.Tensor:
    """A MatMulInteger of which `is_batch` holds."""
    a, b = node.inputs[:2]
    assert a is not None and b is not None
    builder.flops += kernel_flops(node) or 0
    right, turned = matrix_operand(builder, b)
    return batch_product_bytes(
        builder.operand(a), right,
        scalar_zero(builder, node.input(2)), scalar_zero(builder, node.input(3)),
        transpose_b=turned,
    )  # fmt: skip
