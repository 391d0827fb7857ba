"""Replaces normalizations whose scale hardly differs from row to row by constants in weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.analysis.axis_graph import axis_graph
from burnish.calibration import Tokens
from burnish.ir import Graph, VariableNode
from burnish.numerics import Numerics
from burnish.passes.folding.constant_norm import NORMS, ConstantNorm, constant_norm
from burnish.passes.folding.norm_trial import Trial, take_out
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

RULE = "constant-scale"


@dataclass(frozen=True)
class FixNormScale(Pass):
    """Let products read what a normalization reads, where its scale is about the same in all rows.

    On calibration data: where the deviations of rows vary little (as a part of their mean, at most
    ``most``), the division becomes one by a constant, which goes into the weights of the readers
    together with the subtraction of the mean. These weights are fitted to give what they gave
    before. Normalizations that vary the least go first; one that takes the outputs too far from
    the original's, by more than ``allowed`` parts of the bound for quantized models, stays.

    Before:
        n = LayerNormalization(x, ones)
        y = MatMul(n, w) + b

    After:
        y = MatMul(x, C w' / s) + b'      C = I - 1 1'/n takes the mean away, s = E[d^2] / E[d]

    Of all constants, ``s`` makes the least error for deviations ``d``. Scales and shifts are folded
    first, by fold-layer-norm, and only products with constant weights may read the result: networks
    that normalize after their additions keep their normalizations.

    What Unified Normalization (Yang et al., 2022, arXiv 2208.01313) trains a network for is done
    here to one that was not, which costs accuracy and gains little. On a transformer for
    Fashion-MNIST 5 of 9 normalizations, which vary by 0.18 to 0.21, can be taken out for -0.15
    points (-0.40 to 0.11); ONNX Runtime is 1.04 times as fast then (1.01 to 1.06, one thread of a
    machine with other work), compiled code is not faster (0.97, 0.88 to 1.02). All nine cost 1.9
    points (1.5 to 2.3).
    """

    most: float = 0.3
    """Coefficient of variation of the deviations of rows. It is a sieve, as outputs decide: in that
    transformer and a text recognizer (PP-OCRv4) they bore none above 0.27."""
    allowed: float = 1.0
    """Share of what a quantized model may differ by (`burnish.quantization.distance`)."""

    name: ClassVar[str] = "fix-norm-scale"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Fix the scale of every normalization that bears it.

        Raises:
            BurnishError: the calibration data do not fit the graph.
        """
        result = RewriteResult()
        norms = [node for node in graph if node.is_op(*NORMS)]
        if not norms:
            return result
        if context.calibration is None:
            result.notes.append("left alone: there is no calibration data to tell scales by")
            return result
        axes, fixable = axis_graph(graph), list[ConstantNorm]()
        for node in norms:
            found = constant_norm(axes, node)
            if isinstance(found, Miss):
                result.missed.append(NearMiss.of(RULE, found, node))
            else:
                fixable.append(found)
        context.calibration.collect(graph, _collectors(fixable))
        self._fix(graph, fixable, result, context)
        return result

    def _fix(
        self, graph: Graph, norms: Sequence[ConstantNorm], result: RewriteResult,
        context: PassContext,
    ) -> None:  # fmt: skip
        """Fix one after the other, as long as the outputs bear it."""
        assert context.calibration is not None
        rw, trial = Rewriter(graph), None
        for norm in sorted(norms, key=lambda each: each.variation):
            reason = norm.unfit(self.most)
            if not reason and context.is_late():
                reason = "time is up"
            if not reason:
                trial = trial or Trial(graph, context.calibration)
                reason = self._fix_one(rw, norm, trial)
            if reason:
                result.missed.append(NearMiss(RULE, reason, norm.node.provenance))
            else:
                result.fired.append(Firing(RULE, norm.node.provenance))
        result.edits = rw.edits

    def _fix_one(self, rw: Rewriter, norm: ConstantNorm, trial: Trial) -> str:
        """Fix ``norm``; why it stays, empty if it does not."""
        weights, distance = trial.without(rw.graph, norm)
        if distance is None:
            return "all outputs are empty: nothing tells what it costs"
        if not distance.share <= self.allowed:
            return (
                f"without it the outputs are off by {distance}, {distance.share:.2g} of what a "
                f"quantized model may be off by; {self.allowed:g} is allowed"
            )
        miss = weights.write(rw)
        if miss is not None:
            return miss.reason
        for reader in norm.readers:
            rw.adopt(reader.node, [norm.node])
        take_out(rw, norm.node)
        return ""


def _collectors(norms: Sequence[ConstantNorm]) -> dict[VariableNode, list[Tokens]]:
    """What is to be seen of the inputs of ``norms``."""
    found: dict[VariableNode, list[Tokens]] = {}
    for norm in norms:
        source = norm.node.inputs[0]
        assert source is not None
        found.setdefault(source, []).append(norm.tokens)
    return found
