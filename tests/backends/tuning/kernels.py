"""Small kernels to tune."""

from collections.abc import Callable

from tvm import te, tirx
from tvm.ir import Expr
from tvm.tirx import PrimFunc

from burnish.backends.kernels.product import batch_product


def product(
    rows: int, depth: int, columns: int, then: Callable[[Expr], Expr] = tirx.tanh
) -> PrimFunc:
    """A product of two operands, then a function of each element."""
    a, b = te.placeholder((rows, depth), name="a"), te.placeholder((depth, columns), name="b")
    total = batch_product(a, b)
    shown = te.compute(total.shape, lambda i, j: then(total[i, j]), name="then")
    return te.create_prim_func([a, b, shown])
