"""Products of two matrices of bytes that are both computed at run time, summed in int32."""

from typing import Any

from tvm import te
from tvm.ir import Expr

from burnish.backends.kernels.integer_window import Number, number
from burnish.backends.kernels.integers import Integers
from burnish.backends.kernels.product import batch_product

ROLE = "batch-product-bytes"
LEFT, RIGHT = "burnish.left_zero", "burnish.right_zero"
"""Attributes of anchors: zero points as far as they are known; others are operands."""


class _Less(Integers):
    """A tensor of bytes that reads as one of integers less their zero point."""

    def __init__(self, stored: te.Tensor, zero: Number) -> None:
        super().__init__(stored)
        self._zero = zero

    def __call__(self, *index: Any) -> Expr:
        return super().__call__(*index) - number(self._zero)


def batch_product_bytes(
    a: te.Tensor, b: te.Tensor, a_zero: Number, b_zero: Number, *, transpose_b: bool = False
) -> te.Tensor:
    """``a`` ``[..., M, K]`` less ``a_zero`` times ``b`` ``[..., K, N]`` less ``b_zero``, in int32.

    Both are uint8 or int8. ``transpose_b`` says that the last two axes of ``b`` are stored the
    other way round. Leading axes broadcast as in numpy.

    Raises:
        ValueError: the inner extents differ.
    """
    known = {LEFT: a_zero, RIGHT: b_zero}
    attributes = {name: zero for name, zero in known.items() if isinstance(zero, int)}
    return batch_product(
        _Less(a, a_zero), _Less(b, b_zero), transpose_b=transpose_b,
        attributes={"burnish.role": ROLE, **attributes},
    )  # fmt: skip
