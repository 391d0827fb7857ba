"""Annotate every value with the type and shape that follow from the inputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from onnx import TypeProto

from burnish.analysis import Inference, ValueType, infer
from burnish.ir import Graph, VariableNode
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import RewriteResult


@dataclass(frozen=True)
class InferShapes(Pass):
    """Infer types and shapes, following values through arithmetic on shapes.

    Declared shapes of computed values count only where nothing can be inferred, since exporters
    leave stale ones behind.

    Before:
        n = Shape(x)                  x: float[1, 3, 8, 8]
        y = Reshape(x, Concat(Gather(n, 0), [-1]))

    After:
        y: float[1, 192]
    """

    name: ClassVar[str] = "infer-shapes"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Annotate the values of ``graph`` and its subgraphs."""
        inference = infer(graph)
        return RewriteResult(annotate(inference), notes=problems(inference))


def annotate(inference: Inference) -> Counter[str]:
    """Write what was inferred to the values of the graph; count those that changed."""
    edits: Counter[str] = Counter()
    for value, kind in inference.types.items():
        if value.is_constant or (kind == ValueType.of(value) and not _unknown_marks(value, kind)):
            continue
        if kind.message:
            value.onnx_type = TypeProto.FromString(kind.message)
        else:
            value.dtype, value.shape = kind.dtype, kind.shape
        edits["annotate"] += 1
    return edits


def _unknown_marks(value: VariableNode, kind: ValueType) -> bool:
    """Whether ``value`` spells an unknown or computed size in another way than we do."""
    return not kind.message and value.shape != kind.shape


def problems(inference: Inference) -> list[str]:
    """One line for each node whose inputs contradict its operator."""
    return [
        f"{problem.node.op_type} {problem.node.name or '(unnamed)'}: {problem.reason}"
        for problem in inference.problems
    ]
