"""Writes a product and what is added to it as Gemm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Rewriter, Rule


@dataclass(frozen=True)
class FuseMatMulAdd(RulePass):
    """Write the product of two matrices and what is added to it as Gemm.

    Before:
        y = Add(MatMul(x, w), b)

    After:
        y = Gemm(x, w, b)

    Only with two axes: Gemm knows no batches. Not when compiling, where every kernel for a
    product adds biases by itself and MatMul is the one form for any number of axes.
    """

    name: ClassVar[str] = "fuse-matmul-add"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """None when compiling."""
        return RULES if context.target is None else ()


def _read(match: Match) -> Miss | None:
    x, w, bias, product = match["x"], match["w"], match["bias"], match.node("product")
    if x.rank != 2 or w.rank != 2 or not x.dtype.is_floating:
        return Miss("MatMul does not multiply two matrices of floating-point numbers", match.root)
    wanted = product.output.shape
    if bias.shape is None or wanted is None or len(bias.shape) > 2:
        return Miss("what is added has more axes than the product", match.root)
    wide = (1,) * (2 - len(bias.shape)) + bias.shape
    if any(own != 1 and (own is None or own != size)
           for own, size in zip(wide, wanted, strict=True)):  # fmt: skip
        return Miss("what is added may be longer than the product along an axis", match.root)
    return None


def _write(rw: Rewriter, match: Match, facts: None) -> None:
    output, product = match.root.output, match.node("product")
    attributes = {name: value for name, value in product.attributes.items() if name != "beta"}
    inputs = [match["x"], match["w"], match["bias"]]
    rw.replace(output, rw.op("Gemm", inputs, attributes, like=output))


_PRODUCTS = OneOf(
    Op("MatMul", Any("x"), Any("w"), name="product"), Op("Gemm", Any("x"), Any("w"), name="product")
)
# Gemm broadcasts what it adds since opset 7.
RULES = (Rule("matmul-add", Op("Add", _PRODUCTS, Any("bias")), _write, _read, since=7),)
