"""Reductions over any axes.

Written with one combiner each, so that the schedule rules can split rows over vector lanes.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tvm import ir, te, tirx

Expr: TypeAlias = ir.Expr

KINDS = (
    "sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum", "log_sum_exp",
)  # fmt: skip
"""Reductions that `reduce` knows; ONNX's ReduceX by X."""


def reduce(x: te.Tensor, kind: str, axes: Sequence[int], keepdims: bool = True) -> te.Tensor:
    """Reduce `x` over `axes`.

    Args:
        x: Any shape; float32, or an integer dtype for sum, max, min and prod.
        kind: One of `KINDS`.
        axes: Axes to reduce, not negative.
        keepdims: Whether reduced axes stay with extent one.

    Returns:
        The reduced tensor, of the dtype of `x`.

    Raises:
        ValueError: `kind` is not known.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown reduction {kind!r}; known are {', '.join(KINDS)}")
    if kind == "log_sum_exp":
        return _log_sum_exp(x, axes, keepdims)
    before, combine, after = _STEPS[kind]
    total = combined(x, combine, axes, keepdims, before)
    count = 1
    for axis in axes:
        count *= int(x.shape[axis])
    if after is None:
        return total
    return te.compute(total.shape, lambda *i: after(total(*i), count), name=f"reduce_{kind}")


def arg_extreme(
    x: te.Tensor, axis: int, *, largest: bool, keepdims: bool = True, last: bool = False
) -> te.Tensor:
    """Position of the largest or smallest element along `axis`, int64.

    Found in two plain reductions, of the value and of the positions that hold it, because a
    reduction of pairs does not vectorize. A NaN counts as the extreme.

    Args:
        x: Any shape.
        axis: Axis to search, not negative.
        largest: Whether to find the largest element rather than the smallest.
        keepdims: Whether `axis` stays with extent one.
        last: Whether to return the last of equal elements rather than the first.
    """
    extent = int(x.shape[axis])
    extreme = combined(x, te.max if largest else te.min, [axis], True, None)

    def position(*index: Expr) -> Expr:
        value, best = x(*index), extreme(*_at(index, [axis], 0))
        beaten = value < best if largest else value > best
        here = index[axis].astype("int32")
        return tirx.Select(beaten, tirx.const(-1 if last else extent, "int32"), here)

    places = te.compute(x.shape, position, name="places")
    found = combined(places, te.max if last else te.min, [axis], keepdims, None)
    return te.compute(found.shape, lambda *i: found(*i).astype("int64"), name="arg_extreme")


def combined(
    x: te.Tensor,
    combine: Callable[..., Expr],
    axes: Sequence[int],
    keepdims: bool,
    before: Callable[[Expr], Expr] | None,
) -> te.Tensor:
    """`x`, mapped by `before`, combined over `axes` by a TE reducer such as `te.sum`."""
    shape = [int(extent) for extent in x.shape]
    kept = [
        1 if axis in axes else extent
        for axis, extent in enumerate(shape)
        if keepdims or axis not in axes
    ]
    reduced = {axis: te.reduce_axis((0, shape[axis]), name=f"k{axis}") for axis in sorted(axes)}

    def body(*index: Expr) -> Expr:
        position = iter(index)
        full = []
        for axis in range(len(shape)):
            outer = next(position) if keepdims or axis not in axes else None
            full.append(reduced[axis].var if axis in axes else outer)
        value = x(*full)
        return combine(value if before is None else before(value), axis=list(reduced.values()))

    return te.compute(kept, body, name="combined")


def _log_sum_exp(x: te.Tensor, axes: Sequence[int], keepdims: bool) -> te.Tensor:
    largest = combined(x, te.max, axes, True, None)
    # An infinite maximum would turn the difference into NaN.
    finite = te.compute(
        largest.shape,
        lambda *i: tirx.Select(
            tirx.abs(largest(*i)) < tirx.const(float("inf"), "float32"),
            largest(*i),
            tirx.const(0.0, "float32"),
        ),
        name="finite",
    )
    powers = te.compute(
        x.shape, lambda *i: tirx.exp(x(*i) - finite(*_at(i, axes, 0))), name="powers"
    )
    total = combined(powers, te.sum, axes, keepdims, None)

    def body(*index: Expr) -> Expr:
        outer = index if keepdims else _insert(index, axes)
        return tirx.log(total(*index)) + finite(*outer)

    return te.compute(total.shape, body, name="log_sum_exp")


def _at(index: Sequence[Expr], axes: Sequence[int], value: int) -> list[Expr]:
    return [value if axis in axes else i for axis, i in enumerate(index)]


def _insert(index: Sequence[Expr], axes: Sequence[int]) -> list[Expr]:
    """Positions with the removed axes put back as zero."""
    position = iter(index)
    return [0 if axis in axes else next(position) for axis in range(len(index) + len(axes))]


def _mean(total: Expr, count: int) -> Expr:
    return total / tirx.const(count, str(total.ty))


_product = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), name="product")

_Step = tuple[
    Callable[[Expr], Expr] | None, Callable[..., Expr], Callable[[Expr, int], Expr] | None
]
_STEPS: dict[str, _Step] = {
    "sum": (None, te.sum, None),
    "mean": (None, te.sum, _mean),
    "max": (None, te.max, None),
    "min": (None, te.min, None),
    "prod": (None, _product, None),
    "l1": (tirx.abs, te.sum, None),
    "l2": (lambda v: v * v, te.sum, lambda total, _: tirx.sqrt(total)),
    "sum_square": (lambda v: v * v, te.sum, None),
    "log_sum": (None, te.sum, lambda total, _: tirx.log(total)),
}
