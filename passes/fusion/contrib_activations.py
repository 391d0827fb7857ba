"""ONNX Runtime's own activation functions as standard operators."""

from __future__ import annotations

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.fusion.contrib_writing import (
    MS,
    Write,
    every,
    given,
    like,
    ranked,
    rule,
    scalar,
    total,
)
from burnish.rewrite import Match, Miss, Rewriter


def _gelu(approximate: str) -> Write:
    """Inputs: data and a bias, which may be left out."""

    def write(rw: Rewriter, node: OperatorNode) -> VariableNode:
        return like(rw, "Gelu", total(rw, given(node, 0, 1)), approximate=approximate)

    return write


def _quick_gelu(rw: Rewriter, node: OperatorNode) -> VariableNode:
    x, alpha = given(node, 0)[0], node.attribute("alpha", 1.702)
    argument = x if alpha == 1.0 else like(rw, "Mul", x, scalar(rw, alpha, x))
    return like(rw, "Mul", x, like(rw, "Sigmoid", argument))


def _split_gelu(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """The first half of the channels times Gelu of the second; inputs: data, bias."""
    data = total(rw, given(node, 0, 1))
    first = rw.op("Split", [data], {"axis": -1, "num_outputs": 2}, like=data, outputs=2)
    assert first.producer is not None
    assert data.shape is not None
    assert isinstance(data.shape[-1], int)
    second = first.producer.outputs[1]
    first.shape = second.shape = (*data.shape[:-1], data.shape[-1] // 2)
    second.dtype = data.dtype
    return like(rw, "Mul", first, like(rw, "Gelu", second, approximate="none"))


def _known_halves(match: Match) -> Miss | None:
    data = match.root.input(0)
    assert data is not None
    if data.shape is None or not isinstance(data.shape[-1], int):
        return Miss("the number of channels is unknown; give --input-shape", match.root)
    return Miss("the channels have no two halves", match.root) if data.shape[-1] % 2 else None


def _product_gelu(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Gelu of a product; inputs: data, weights, and a bias, which may be left out."""
    data, weights = given(node, 0, 1)
    product = rw.op("MatMul", [data, weights])
    product.dtype = data.dtype
    if data.shape is not None and weights.shape is not None:
        product.shape = (*data.shape[:-1], weights.shape[-1])
    return like(rw, "Gelu", total(rw, [product, *given(node, 2)]), approximate="tanh")


def _bias_add(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, bias, skip."""
    return total(rw, given(node, 0, 1, 2))


def _bias_softmax(rw: Rewriter, node: OperatorNode) -> VariableNode:
    return like(rw, "Softmax", total(rw, given(node, 0, 1)), axis=-1)


def _over_last(match: Match) -> Miss | None:
    node = match.root
    data, bias = given(node, 0, 1)
    assert data.rank is not None
    if node.attribute("axis", 1) % data.rank != data.rank - 1:
        return Miss("Softmax goes over several axes", node)
    # Otherwise which axes the bias is spread along is said by an attribute.
    return None if bias.rank == data.rank else Miss("the bias has fewer axes than the data", node)


RULES = (
    rule(f"{MS}Gelu", _gelu("none"), 20),
    rule(f"{MS}BiasGelu", _gelu("none"), 20),
    rule(f"{MS}FastGelu", _gelu("tanh"), 20),
    rule(f"{MS}QuickGelu", _quick_gelu, 7),
    rule(f"{MS}BiasSplitGelu", _split_gelu, 20, _known_halves),
    rule(f"{MS}GemmFastGelu", _product_gelu, 20),
    rule(f"{MS}BiasAdd", _bias_add, 7),
    rule(f"{MS}BiasSoftmax", _bias_softmax, 13, every(ranked(0, 1), _over_last)),
)
