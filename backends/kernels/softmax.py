"""Softmax and its logarithm along any axis."""

from typing import TypeAlias

from tvm import ir, te, tirx

from burnish.backends.kernels import fast_math
from burnish.backends.kernels.reduction import combined

Expr: TypeAlias = ir.Expr


def softmax(x: te.Tensor, axis: int = -1, scale: float | None = None) -> te.Tensor:
    """exp(x - max) / sum of the same, along `axis`, float32, of the shape of `x`.

    With a positive `scale`, `x` are bytes, and differences between them are times it.
    """
    axis %= len(x.shape)
    largest = combined(x, te.max, [axis], True, None)

    def power(*index: Expr) -> Expr:
        value, most = x(*index), largest(*_row(index, axis))
        if scale is None:
            return fast_math.exp_nonpositive(value - most)
        below = (value.astype("int32") - most.astype("int32")).astype("float32")
        return fast_math.exp_nonpositive(below * tirx.const(scale, "float32"), 255 * scale)

    powers = te.compute(x.shape, power, name="powers")
    total = combined(powers, te.sum, [axis], True, None)
    inverse = te.compute(
        total.shape, lambda *i: tirx.const(1.0, "float32") / total(*i), name="inverse"
    )
    return te.compute(x.shape, lambda *i: powers(*i) * inverse(*_row(i, axis)), name="softmax")


def log_softmax(x: te.Tensor, axis: int = -1) -> te.Tensor:
    """X - max - log of the sum of exp(x - max), along `axis`, float32, of the shape of `x`."""
    axis %= len(x.shape)
    largest = combined(x, te.max, [axis], True, None)
    powers = te.compute(
        x.shape,
        lambda *i: fast_math.exp_nonpositive(x(*i) - largest(*_row(i, axis))),
        name="powers",
    )
    total = combined(powers, te.sum, [axis], True, None)
    shift = te.compute(total.shape, lambda *i: largest(*i) + tirx.log(total(*i)), name="shift")
    return te.compute(x.shape, lambda *i: x(*i) - shift(*_row(i, axis)), name="log_softmax")


def _row(index: tuple[Expr, ...], axis: int) -> list[Expr]:
    return [0 if position == axis else i for position, i in enumerate(index)]
