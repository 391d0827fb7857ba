"""Matrix products."""

from collections.abc import Mapping
from math import prod

from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels.bfloat16 import Weights, reading
from burnish.backends.kernels.geometry import Axis


def product(a: te.Tensor, weights: te.Tensor | Weights, *, columns: int) -> te.Tensor:
    """``a`` ``[..., M, K]`` times packed constant weights, to ``[..., M, columns]``.

    ``weights`` are as `packing.pack_product` writes them, or `packing.pairs` of that. Leading axes
    count as rows.
    """
    lead = [int(extent) for extent in a.shape[:-1]]
    held = reading(weights)
    lanes = int(held.shape[2])
    k = te.reduce_axis((0, int(a.shape[-1])), "k")

    def value(*position: Expr) -> Expr:
        *rows, column = position
        block, lane = tirx.floordiv(column, lanes), tirx.floormod(column, lanes)
        return te.sum(a(*rows, k) * held(block, k, lane), axis=k)

    attrs = {
        "burnish.role": "contraction",
        "burnish.axes": [Axis(extent, extent).encode() for extent in lead],
        "burnish.groups": 1,
        **held.attributes,
    }
    return te.compute((*lead, columns), value, name="product", attrs=attrs)


def batch_product(
    a: te.Tensor,
    b: te.Tensor,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    attributes: Mapping[str, object] | None = None,
) -> te.Tensor:
    """``a`` ``[..., M, K]`` times ``b`` ``[..., K, N]``, both computed at run time.

    A flag says that the operand's last two axes are stored the other way round. Leading axes
    broadcast as in numpy. ``attributes`` say more about the anchor, or another role of it.

    Raises:
        ValueError: the inner extents differ.
    """
    rows, depth = _matrix(a, transpose_a)
    inner, columns = _matrix(b, transpose_b)
    if depth != inner:
        raise ValueError(f"inner extents differ: {depth} and {inner}")
    lead = _broadcast([int(e) for e in a.shape[:-2]], [int(e) for e in b.shape[:-2]])
    k = te.reduce_axis((0, depth), "k")

    def value(*position: Expr) -> Expr:
        *batch, row, column = position
        left = (k, row) if transpose_a else (row, k)
        right = (column, k) if transpose_b else (k, column)
        a_lead, b_lead = _lead(a, batch), _lead(b, batch)
        return te.sum(a(*a_lead, *left) * b(*b_lead, *right), axis=k)

    attrs = {
        "burnish.role": "batch-product",
        "burnish.batch": prod(lead),
        "burnish.transposed": [int(transpose_a), int(transpose_b)],
        **(attributes or {}),
    }
    return te.compute((*lead, rows, columns), value, name="batch_product", attrs=attrs)


def _matrix(tensor: te.Tensor, transposed: bool) -> tuple[int, int]:
    rows, columns = (int(extent) for extent in tensor.shape[-2:])
    return (columns, rows) if transposed else (rows, columns)


def _broadcast(a: list[int], b: list[int]) -> list[int]:
    rank = max(len(a), len(b))
    wide = ([1] * (rank - len(s)) + s for s in (a, b))
    return [y if x == 1 else x for x, y in zip(*wide, strict=True)]


def _lead(tensor: te.Tensor, batch: list[Expr]) -> list[Expr | int]:
    """The leading indices into ``tensor``, 0 along axes that it broadcasts."""
    extents = [int(extent) for extent in tensor.shape[:-2]]
    tail = batch[len(batch) - len(extents) :]
    return [0 if extent == 1 else i for i, extent in zip(tail, extents, strict=True)]
