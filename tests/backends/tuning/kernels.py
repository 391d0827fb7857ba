"""Small kernels to tune."""

from collections.abc import Callable

from tvm import te, tirx
from tvm.ir import Expr
from tvm.tirx import PrimFunc

from burnish.backends.kernels.integers import Integers, Quads
from burnish.backends.kernels.product import batch_product
from burnish.backends.kernels.product import product as packed_product


def byte_product(rows: int, depth: int, columns: int) -> PrimFunc:
    """A product of unsigned bytes and weights in quads, for vectors of 8 sums."""
    a = te.placeholder((rows, depth), "uint8", name="a")
    held = te.placeholder((-(-columns // 8), -(-depth // 4), 8, 4), "int8", name="w")
    total = packed_product(Integers(a), Quads(held, depth, False), columns=columns)
    return te.create_prim_func([a, held, total])


def product(
    rows: int, depth: int, columns: int, then: Callable[[Expr], Expr] = tirx.tanh
) -> PrimFunc:
    """A product of two operands, then a function of each element."""
    a, b = te.placeholder((rows, depth), name="a"), te.placeholder((depth, columns), name="b")
    total = batch_product(a, b)
    shown = te.compute(total.shape, lambda i, j: then(total[i, j]), name="then")
    return te.create_prim_func([a, b, shown])
