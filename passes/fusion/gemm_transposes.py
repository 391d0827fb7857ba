"""Lets Gemm transpose its operands and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.dead import erase_dead, producers
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Rewriter, Rule


@dataclass(frozen=True)
class FuseGemmTransposes(RulePass):
    """Let Gemm read its operands transposed, and write its result transposed.

    Before:
        y = MatMul(Transpose(a), b)                  z = Transpose(MatMul(a, b))

    After:
        y = Gemm[transA=1](a, b)                     z = Gemm[transA=1, transB=1](b, a)

    Not when compiling: there, MatMul is the one form, and layouts are planned across operators.
    """

    name: ClassVar[str] = "fuse-gemm-transposes"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """None when compiling."""
        return RULES if context.target is None else ()


def _origin(value: VariableNode | None) -> VariableNode | None:
    """The matrix that ``value`` is the transpose of."""
    node = None if value is None else value.producer
    if node is None or not node.is_op("Transpose") or node.inputs[0] is None:
        return None
    perm = node.attribute("perm")
    swaps = perm is None or tuple(perm) == (1, 0)
    return node.inputs[0] if swaps and node.inputs[0].rank == 2 else None


def _matrices(node: OperatorNode) -> Miss | None:
    for value in node.inputs[:2]:
        if value is None or value.rank != 2 or not value.dtype.is_floating:
            reason = "it does not multiply two matrices of floating-point numbers"
            return Miss(reason, node)
    return None


def _operands(match: Match) -> Miss | None:
    node = match.root
    if _origin(node.input(0)) is None and _origin(node.input(1)) is None:
        return Miss("neither operand is the transpose of a matrix", node)
    return _matrices(node)


def _read_transposed(rw: Rewriter, match: Match, facts: None) -> None:
    node = match.root
    inputs, flags = list(node.inputs), {}
    for index, name in enumerate(("transA", "transB")):
        origin = _origin(inputs[index])
        flags[name] = int(node.attribute(name, 0))
        if origin is not None:
            inputs[index] = origin
            flags[name] = 1 - flags[name]
    attributes = {**node.attributes, **flags}
    before = node.inputs
    rw.replace(node.output, rw.op("Gemm", inputs, attributes, like=node.output))
    rw.erase(node)
    erase_dead(rw, producers(before))


def _product(match: Match) -> Miss | None:
    node = match.node("product")
    if node.output.rank != 2 or tuple(match.root.attribute("perm", (1, 0))) != (1, 0):
        return Miss("what is transposed is no matrix", match.root)
    return _matrices(node)


def _write_transposed(rw: Rewriter, match: Match, facts: None) -> None:
    """(A B)^T is B^T A^T."""
    node, old = match.node("product"), match.root.output
    attributes = {
        **node.attributes,
        "transA": 1 - int(node.attribute("transB", 0)),
        "transB": 1 - int(node.attribute("transA", 0)),
    }
    rw.replace(old, rw.op("Gemm", [node.inputs[1], node.inputs[0]], attributes, like=old))


# Gemm needs nothing to add since opset 11.
RULES = (
    Rule("transposed-operands", Op("Gemm|MatMul"), _read_transposed, _operands, since=11),
    Rule("transposed-result",
         Op("Transpose", OneOf(Op("Gemm", Any(), Any(), name="product"),
                               Op("MatMul", Any(), Any(), name="product"))),
         _write_transposed, _product, since=11),
)  # fmt: skip
