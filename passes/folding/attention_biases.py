"""Removes biases of keys, and moves those of values behind attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from burnish.analysis.axis_graph import AxisGraph, axis_graph
from burnish.analysis.axis_graph_flow import MOVES, readers
from burnish.analysis.axis_graph_sites import Member, Role, Variance
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.folding.key_invariance import only_shifts_keys
from burnish.passes.folding.weights import NewWeights, fold_shift
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

KEYS, VALUES = "key-bias", "value-bias"
BIASED = ("Gemm", "Conv")
IN_THE_WAY = frozenset({
    "LayerNormalization", "RMSNormalization", "RotaryEmbedding", "Concat", "LpNormalization",
})  # fmt: skip
"""What may be done to keys and values behind a bias, which then has to stay."""
STEPS = 16
"""Operators between a bias and attention that are looked at."""


@dataclass(frozen=True)
class FoldAttentionBiases(Pass):
    """Drop the bias of keys and add that of values to the bias of what reads the result.

    Before:
        k = MatMul(x, wk) + bk;  v = MatMul(x, wv) + bv
        y = MatMul(Attention(q, k, v), wo) + bo

    After:
        k = MatMul(x, wk);  v = MatMul(x, wv)
        y = MatMul(Attention(q, k, v), wo) + (bo + bv wo)

    The bias of keys adds the same to all scores of a query, which Softmax ignores, unless keys are
    turned by their position, normalized or returned. The weights of values sum to one, so that
    their bias comes out as it is, unless a row may be masked entirely. Attention may be spelled out
    as MatMul, Softmax and MatMul, with heads split and merged in between.

    See Namazifar et al., Role of bias terms in dot-product attention (2023, arXiv:2302.08626).
    """

    name: ClassVar[str] = "fold-attention-biases"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Fold the biases of every attention."""
        result = RewriteResult()
        places = list(dict.fromkeys(_places(graph)))
        if not places:
            return result
        axes = axis_graph(graph)
        rw = Rewriter(graph)
        for rule, node in places:
            if node.graph is None:
                continue
            miss = _drop(rw, axes, node) if rule == KEYS else _fold(rw, axes, node)
            if miss is None:
                result.fired.append(Firing(rule, node.provenance))
            elif context.explain:
                result.missed.append(NearMiss.of(rule, miss, node))
        result.edits = rw.edits
        return result


def _places(graph: Graph) -> Iterator[tuple[str, OperatorNode]]:
    """Nodes that add a constant to what attention takes for keys or values."""
    for node in graph.walk():
        if node.domain:
            continue
        operands: list[tuple[str, VariableNode | None]] = []
        if node.op_type == "Attention":
            operands = [(KEYS, node.input(1)), (VALUES, node.input(2))]
        elif node.op_type == "MatMul" and node.constant_input(1) is None:
            kind = VALUES if _is_weighing(node) else KEYS
            operands = [(kind, node.input(1))]
        for rule, value in operands:
            biased = _biased(value)
            if biased is not None:
                yield rule, biased


def _is_weighing(node: OperatorNode) -> bool:
    """Whether the left operand comes from a Softmax, maybe with a detour."""
    left = node.input(0)
    producer = left.producer if left is not None else None
    for _ in range(4):
        if producer is None or producer.op_type == "Softmax":
            break
        source = producer.input(1 if producer.op_type == "Where" else 0)
        if producer.op_type == "Where" and source is not None and source.is_constant:
            source = producer.input(2)
        producer = source.producer if source is not None else None
    return producer is not None and producer.op_type == "Softmax"


def _biased(value: VariableNode | None) -> OperatorNode | None:
    """The node that adds a bias to ``value``, behind operators that move data."""
    node = value.producer if value is not None else None
    for _ in range(STEPS):
        if node is None or node.domain:
            return None
        if node.op_type in BIASED:
            return node if node.constant_input(2) is not None else None
        constants = [value is not None and value.is_constant for value in node.inputs[:2]]
        if node.op_type == "Add":
            return node if any(constants) else None
        if node.op_type in ("Mul", "Div"):
            index = 1 if constants[0] else 0
        elif node.op_type in MOVES or node.op_type in IN_THE_WAY:
            index = -1 if node.op_type == "Concat" else 0
        else:
            return None
        source = node.inputs[index]
        node = source.producer if source is not None else None
    return None


def _bias(axes: AxisGraph, node: OperatorNode) -> Member | Miss:
    """The bias that ``node`` adds, if it is one number per channel."""
    for member in axes.members_of.get(node, ()):
        if member.role is Role.RIDER and member.variance is Variance.COVARIANT:
            constant = member.value.constant
            if constant is None or constant.size != member.numbers.size:
                continue
            plain = node.input(1 - member.index) if node.op_type == "Add" else None
            if plain is not None and (plain.rank is None or plain.rank < len(constant.shape)):
                return Miss("what Add adds has more axes than the data", node)
            return member
    return Miss(f"what {node.op_type} adds is not one number per channel", node)


def _remove(rw: Rewriter, node: OperatorNode, bias: Member) -> None:
    """Let ``node`` add nothing any more."""
    if node.op_type == "Add":
        plain = node.input(1 - bias.index)
        assert plain is not None
        if plain.producer is not None:
            rw.adopt(plain.producer, [node])
        rw.replace(node.output, plain)
        rw.erase(node)
    else:
        rw.set_inputs(node, node.inputs[:2])


def _drop(rw: Rewriter, axes: AxisGraph, node: OperatorNode) -> Miss | None:
    """Remove the bias of keys, or say why not."""
    bias = _bias(axes, node)
    if isinstance(bias, Miss):
        return bias
    miss = only_shifts_keys(axes, node.output)
    if miss is None:
        _remove(rw, node, bias)
    return miss


def _fold(rw: Rewriter, axes: AxisGraph, node: OperatorNode) -> Miss | None:
    """Move the bias of values behind attention, or say why not."""
    bias = _bias(axes, node)
    if isinstance(bias, Miss):
        return bias
    found = readers(axes, node.output, shift=True)
    if isinstance(found, Miss):
        return Miss(f"the bias of values cannot go on: {found.reason}", found.at)
    if not found:
        return Miss("nothing reads the result", node)
    constant = bias.value.constant
    assert constant is not None
    shift = constant.numpy().astype("float64").reshape(bias.numbers.shape)
    factor = float(node.attribute("beta", 1.0))
    weights = NewWeights()
    miss = fold_shift(weights, axes, bias.site, shift * factor, found) or weights.write(rw)
    if miss is not None:
        return miss
    for reader in found:
        rw.adopt(reader.node, [node])
    _remove(rw, node, bias)
    return None
