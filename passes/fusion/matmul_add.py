"""Writes a product and the addition of its bias as Gemm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, Op, Rewriter, Rule


@dataclass(frozen=True)
class FuseMatMulAdd(RulePass):
    """Write the product of two matrices and the addition of its bias as Gemm.

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
    x, w, bias = match["x"], match["w"], match.constant("bias")
    if x.rank != 2 or w.rank != 2 or not x.dtype.is_floating:
        return Miss("MatMul does not multiply two matrices of floating-point numbers", match.root)
    assert w.shape is not None
    if len(bias.shape) > 2 or bias.shape[-1:] not in ((), (1,), (w.shape[1],)):
        return Miss("the bias is not one number per column", match.root)
    if len(bias.shape) == 2 and bias.shape[0] != 1:
        return Miss("the bias differs between rows", match.root)
    return None


def _write(rw: Rewriter, match: Match, facts: None) -> None:
    output = match.root.output
    rw.replace(output, rw.op("Gemm", [match["x"], match["w"], match["bias"]], like=output))


# Gemm broadcasts its bias since opset 7.
RULES = (
    Rule(
        "matmul-add", Op("Add", Op("MatMul", Any("x"), Any("w")), Const("bias")),
        _write, _read, since=7,
    ),
)  # fmt: skip
