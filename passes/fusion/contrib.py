"""Writes ONNX Runtime's own operators as standard ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion import contrib_attention
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

Write = Callable[[Rewriter, OperatorNode], VariableNode]
"""Writes what a node computes and returns its first result."""


@dataclass(frozen=True)
class StandardiseContribOps(RulePass):
    """Replace the operators that ONNX Runtime's optimizers write by standard ones.

    Before:
        y = com.microsoft::BiasGelu(x, b)

    After:
        y = Gelu(x + b)

    Knows Gelu and its relatives, SkipLayerNormalization and its relatives, EmbedLayerNormalization,
    FusedConv, FusedMatMul, FusedGemm, Attention and MultiHeadAttention.
    """

    name: ClassVar[str] = "standardise-contrib-ops"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule per operator."""
        return RULES


def _like(
    rw: Rewriter, op_type: str, *inputs: VariableNode | None, **attributes: object
) -> VariableNode:
    """An operator whose result has the type of its first input."""
    assert inputs[0] is not None
    return rw.op(op_type, inputs, attributes, like=inputs[0])


def _given(node: OperatorNode, *indices: int) -> list[VariableNode]:
    """The inputs of ``node`` at ``indices`` that are there."""
    return [value for index in indices if (value := node.input(index)) is not None]


def _sum(rw: Rewriter, values: Sequence[VariableNode]) -> VariableNode:
    total = values[0]
    for value in values[1:]:
        total = _like(rw, "Add", total, value)
    return total


def _gelu(approximate: str) -> Write:
    def write(rw: Rewriter, node: OperatorNode) -> VariableNode:
        total = _sum(rw, _given(node, 0, 1))
        return _like(rw, "Gelu", total, approximate=approximate)

    return write


def _quick_gelu(rw: Rewriter, node: OperatorNode) -> VariableNode:
    x = _given(node, 0)[0]
    alpha = rw.constant(np.asarray(node.attribute("alpha", 1.702), x.dtype.numpy))
    gate = _like(rw, "Sigmoid", _like(rw, "Mul", x, alpha))
    return _like(rw, "Mul", x, gate)


def _skip_layer_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, skip, gamma, beta, bias; the fourth output is the sum before normalizing."""
    return _normalize_sum(rw, node, (0, 1, 4), (2, 3), "LayerNormalization", 1e-12)


def _skip_rms_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, skip, gamma, bias; the fourth output is the sum before normalizing."""
    return _normalize_sum(rw, node, (0, 1, 3), (2,), "RMSNormalization", 1e-12)


def _normalize_sum(
    rw: Rewriter, node: OperatorNode, terms: tuple[int, ...], parameters: tuple[int, ...],
    op_type: str, epsilon: float,
) -> VariableNode:  # fmt: skip
    total = _sum(rw, _given(node, *terms))
    if len(node.outputs) > 3:
        rw.replace(node.outputs[3], total)
    attributes = {"axis": -1, "epsilon": node.attribute("epsilon", epsilon)}
    return _like(rw, op_type, total, *_given(node, *parameters), **attributes)


def _rms_norm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    attributes = {k: v for k, v in node.attributes.items() if k in ("axis", "epsilon")}
    return _like(rw, "RMSNormalization", *_given(node, 0, 1), **attributes)


def _embedding(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: ids, segments, words, positions, segment table, gamma, beta, mask, position ids."""
    ids, segments, words, positions, table = (node.input(i) for i in range(5))
    assert ids is not None
    assert words is not None
    assert positions is not None
    hidden = words.shape[1] if words.shape is not None else None
    shape = None if ids.shape is None else (*ids.shape, hidden)

    def gather(source: VariableNode, index: VariableNode) -> VariableNode:
        result = rw.op("Gather", [source, index], {"axis": 0})
        result.dtype, result.shape = source.dtype, shape
        return result

    given = node.input(8)
    if given is None:
        assert ids.shape is not None
        given = rw.constant(np.arange(ids.shape[1], dtype=np.int64)[None])  # type: ignore[arg-type]
    terms = [gather(words, ids), gather(positions, given)]
    if segments is not None and table is not None:
        terms.append(gather(table, segments))
    total = _sum(rw, terms)
    if len(node.outputs) > 2:
        rw.replace(node.outputs[2], total)
    attributes = {"axis": -1, "epsilon": node.attribute("epsilon", 1e-12)}
    return _like(rw, "LayerNormalization", total, *_given(node, 5, 6), **attributes)


def _known_length(match: Match) -> Miss | None:
    node = match.root
    ids = node.input(0)
    if node.input(8) is None and (ids is None or ids.shape is None or not _is_size(ids.shape[-1])):
        return Miss("the length of the sequence is unknown; give --input-shape", node)
    return _unread(1)(match)


def _is_size(size: object) -> bool:
    return isinstance(size, int)


def _fused_conv(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, weights, bias, and a sum that is added before the activation."""
    skipped = ("activation", "activation_params")
    attributes = {k: v for k, v in node.attributes.items() if k not in skipped}
    inputs = [node.input(index) for index in range(3)]
    while inputs[-1] is None:
        inputs.pop()
    result = rw.op("Conv", inputs, attributes, like=node.output)
    if node.input(3) is not None:
        result = _like(rw, "Add", result, node.input(3))
    return _activated(rw, result, node.attribute("activation"), _parameters(node))


def _fused_gemm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    kept = ("alpha", "beta", "transA", "transB")
    attributes = {k: v for k, v in node.attributes.items() if k in kept}
    result = rw.op("Gemm", node.inputs, attributes, like=node.output)
    names = ("activation_alpha", "activation_beta")
    parameters = [node.attribute(name) for name in names if node.attribute(name) is not None]
    return _activated(rw, result, node.attribute("activation"), parameters)


def _parameters(node: OperatorNode) -> list[float]:
    return list(node.attribute("activation_params") or ())


def _activated(
    rw: Rewriter, value: VariableNode, activation: str, parameters: Sequence[float]
) -> VariableNode:
    if activation == "Clip":
        limits = (rw.constant(np.asarray(p, value.dtype.numpy)) for p in parameters)
        return _like(rw, "Clip", value, *limits)
    names = ACTIVATIONS[activation]
    attributes = dict(zip(names, parameters, strict=False))
    return _like(rw, activation, value, **attributes)


ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "Clip": ("min", "max"),
    "ThresholdedRelu": ("alpha",),
}
"""Activations of fused operators with the names of their parameters."""


def _known_activation(match: Match) -> Miss | None:
    activation = match.root.attribute("activation")
    if activation not in ACTIVATIONS:
        return Miss(f"the activation {activation} is unknown", match.root)
    return None


def _fused_matmul(rw: Rewriter, node: OperatorNode) -> VariableNode:
    operands = []
    for index, name in ((0, "transA"), (1, "transB")):
        value = _given(node, index)[0]
        if node.attribute(name, 0):
            assert value.shape is not None
            order = range(len(value.shape))
            perm = (*order[:-2], order[-1], order[-2])
            transposed = rw.op("Transpose", [value], {"perm": perm}, like=value)
            transposed.shape = tuple(value.shape[axis] for axis in perm)
            value = transposed
        operands.append(value)
    product = rw.op("MatMul", operands, like=node.output)
    alpha = node.attribute("alpha", 1.0)
    if alpha == 1.0:
        return product
    return _like(rw, "Mul", product, rw.constant(np.asarray(alpha, product.dtype.numpy)))


def _plain_transposes(match: Match) -> Miss | None:
    node = match.root
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        return Miss("batch axes are transposed", node)
    ranks = [value.rank for value in _given(node, 0, 1)]
    if None in ranks or min(rank or 0 for rank in ranks) < 2:
        return Miss("the number of axes is unknown or below two", node)
    return None


def _unread(*indices: int) -> Callable[[Match], Miss | None]:
    """A guard: outputs at ``indices`` exist for training or tools and are not read."""

    def guard(match: Match) -> Miss | None:
        for index in indices:
            if index < len(match.root.outputs) and match.root.outputs[index].uses:
                return Miss(f"output {index} of {match.root.op_type} is read", match.root)
        return None

    return guard


def _rule(
    kind: str, write: Write, since: int, guard: Callable[[Match], Miss | None] | None = None
) -> Rule:
    def rewrite(rw: Rewriter, match: Match, facts: None) -> None:
        rw.replace(match.root.output, write(rw, match.root))

    name = f"contrib-{kind.rpartition(':')[2]}"
    return Rule(name, Op(kind), rewrite, guard or (lambda match: None), since)


MS = "com.microsoft:"

RULES = (
    _rule(f"{MS}Gelu", _gelu("none"), 20),
    _rule(f"{MS}BiasGelu", _gelu("none"), 20),
    _rule(f"{MS}FastGelu", _gelu("tanh"), 20),
    _rule(f"{MS}QuickGelu", _quick_gelu, 7),
    _rule(f"{MS}SkipLayerNormalization", _skip_layer_norm, 17, _unread(1, 2)),
    _rule(f"{MS}SkipSimplifiedLayerNormalization", _skip_rms_norm, 23, _unread(1, 2)),
    # ONNX Runtime put this one into the standard domain.
    _rule("SimplifiedLayerNormalization", _rms_norm, 23, _unread(1)),
    _rule(f"{MS}EmbedLayerNormalization", _embedding, 17, _known_length),
    _rule(f"{MS}FusedConv", _fused_conv, 11, _known_activation),
    _rule(f"{MS}FusedGemm", _fused_gemm, 11, _known_activation),
    _rule(f"{MS}FusedMatMul", _fused_matmul, 7, _plain_transposes),
    _rule(
        f"{MS}Attention", contrib_attention.packed, 23, contrib_attention.packed_problem
    ),
    _rule(
        f"{MS}MultiHeadAttention", contrib_attention.separate, 23,
        contrib_attention.separate_problem,
    ),
)  # fmt: skip
