"""Small kernels to tune."""

from tvm import te, tirx
from tvm.tirx import PrimFunc

from burnish.backends.kernels.product import batch_product


def product(rows: int, depth: int, columns: int) -> PrimFunc:
    """A product of two operands, then tanh."""
    a, b = te.placeholder((rows, depth), name="a"), te.placeholder((depth, columns), name="b")
    total = batch_product(a, b)
    shown = te.compute(total.shape, lambda i, j: tirx.tanh(total[i, j]), name="tanh")
    return te.create_prim_func([a, b, shown])
