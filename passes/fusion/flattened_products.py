"""Products of flattened values, as engines for matrices want them, without the flattening."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from burnish.ir import Shape, VariableNode
from burnish.passes.fusion.constants import rounded
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Rewriter, Rule

VIEWS = "Flatten|Reshape|Squeeze|Unsqueeze"


@dataclass(frozen=True)
class Plain:
    """What is between a flattened value and the reshape back."""

    grouped: bool
    """Whether the axes of the columns have to be flattened still."""

    factor: float
    """Of the product."""
    bias_factor: float
    transposed: bool
    """Whether the weights are given with their columns first."""


def _guard(match: Match) -> Plain | Miss:
    product, x, w = match.node("product"), match["x"], match["w"]
    flat, result = product.inputs[0], product.output
    if flat is None or flat.rank != 2 or w.rank != 2 or x.rank is None or x.rank < 2:
        return Miss("it is no product of a flattened value and a matrix", product)
    if x.rank == 2:
        return Miss("the value is no longer than a matrix", product)
    grouped = _groups(match, flat.shape, result.shape)
    if not grouped and not _leads(x.shape, flat.shape, match.root.output.shape, result.shape):
        return Miss("the reshapes do more than flatten all axes but the last", match.root)
    if product.attribute("transA", 0):
        return Miss("Gemm reads the flattened value transposed", product)
    plain = Plain(
        grouped, product.attribute("alpha", 1.0), product.attribute("beta", 1.0),
        bool(product.attribute("transB", 0)),
    )  # fmt: skip
    if not w.is_constant and (plain.transposed or plain.factor != 1):
        return Miss("the weights are computed, and Gemm transposes or scales them", product)
    return _with_bias(match, plain)


def _with_bias(match: Match, plain: Plain) -> Plain | Miss:
    if "bias" not in match:
        return plain
    bias, columns = match["bias"], match.node("product").output.shape
    assert columns is not None
    if bias.rank is None or bias.shape is None or any(d != 1 for d in bias.shape[:-1]):
        return Miss("the bias differs between rows", match.node("product"))
    if bias.rank > 2 or (bias.shape and bias.shape[-1] not in (1, columns[-1])):
        return Miss("the bias is not one number per column", match.node("product"))
    if plain.bias_factor != 1 and not bias.is_constant:
        return Miss("the bias is computed, and Gemm scales it", match.node("product"))
    return plain


def _leads(x: Shape, flat: Shape, back: Shape, result: Shape) -> bool:
    """Whether all axes but the last are flattened and come back as they were."""
    if x is None or flat is None or back is None or result is None or None in (*x, *back):
        return False
    same = x[:-1] == back[:-1] and len(x) == len(back)
    columns = isinstance(x[-1], int) and isinstance(back[-1], int)
    return same and columns and x[-1] == flat[-1] and back[-1] == result[-1]


def _groups(match: Match, flat: Shape, result: Shape) -> bool:
    """Whether leading axes stay and all others are columns, and a computed shape is saved."""
    x, back = match["x"].shape, match.root.output.shape
    if x is None or back is None or flat is None or result is None or None in back:
        return False
    count = len(back) - 1
    target = match.root.input(1)
    saves = target is not None and not target.is_constant
    columns = [size for size in x[count:] if isinstance(size, int)]
    whole = len(columns) == len(x) - count and math.prod(columns) == flat[-1]
    same = count > 1 and len(x) > len(back) and x[:count] == back[:count]
    return saves and whole and same and back[-1] == result[-1]


def _write(rw: Rewriter, match: Match, plain: Plain) -> None:
    old, w = match.root.output, match["w"]
    if w.constant is not None and (plain.transposed or plain.factor != 1):
        array = w.constant.numpy()
        array = array.T if plain.transposed else array
        if plain.factor != 1:
            scaled = rounded(array.astype(np.float64) * plain.factor, w.dtype)
            if scaled is None:
                return
            array = scaled
        w = rw.constant(np.ascontiguousarray(array))
    x = match["x"]
    if plain.grouped:
        shape = np.array([0] * (len(old.shape or ()) - 1) + [-1], np.int64)
        like = VariableNode("", x.dtype, (*(old.shape or ())[:-1], w.shape[0] if w.shape else None))
        x = rw.op("Reshape", [x, rw.constant(shape)], like=like)
    y = rw.op("MatMul", [x, w], like=old)
    if "bias" in match:
        y = rw.op("Add", [y, _bias(rw, match["bias"], plain.bias_factor)], like=old)
    rw.replace(old, y)


def _bias(rw: Rewriter, bias: VariableNode, factor: float) -> VariableNode:
    if bias.constant is None:
        return bias
    array = bias.constant.numpy().reshape(-1)
    return rw.constant((array * factor).astype(array.dtype) if factor != 1 else array)


_FLAT = Op("Flatten|Reshape", Any("x"), open_ended=True, shared=True)
_PRODUCTS = OneOf(
    Op("Gemm", _FLAT, Any("w"), Any("bias"), name="product"),
    Op("Gemm", _FLAT, Any("w"), name="product"),
    Op("Add", Op("MatMul", _FLAT, Any("w"), name="product"), Any("bias")),
    Op("MatMul", _FLAT, Any("w"), name="product"),
)
FLATTENED_PRODUCT = Rule("product-of-flattened", Op(VIEWS, _PRODUCTS, open_ended=True), _write,
                         _guard)  # fmt: skip
