"""Replaces shapes that are computed when the model runs by what they are known to come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.analysis import Inference, infer
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.dead import erase_dead, producers
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.passes.cleanup.shape_arguments import ARGUMENTS, Arguments, same_shape
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

SOURCES = frozenset({"Shape", "Size"})
"""Operators that sizes come from; a graph without them computes no shapes."""


@dataclass(frozen=True)
class SimplifyShapes(Pass):
    """Write shapes that depend on the sizes of inputs as constants where an operator allows it.

    Reshape copies a size with 0 and infers one with -1, Expand keeps a size with 1, Slice runs to
    the end, Resize takes a scale. What computed the shape is then dead and goes.

    Before:
        n = Shape(x)                                        x: float[batch, 64, 8]
        y = Reshape(x, Concat(Gather(n, [0]), [512]))

    After:
        y = Reshape(x, [0, 512])
    """

    name: ClassVar[str] = "simplify-shapes"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Look at every operator that reads a shape, once."""
        result = RewriteResult()
        if not any(node.op_type in SOURCES for node in graph.walk()):
            return result
        inference = infer(graph, name_unknown=True)
        rewriter = Rewriter(graph)
        for node in list(graph.walk()):
            if node.domain == "" and node.op_type in ARGUMENTS and node.graph is not None:
                _simplify(rewriter, inference, node, result)
        result.edits = rewriter.edits
        return result


def _simplify(
    rewriter: Rewriter, inference: Inference, node: OperatorNode, result: RewriteResult
) -> None:
    """Give ``node`` constant arguments, or replace it by what it leaves as it is."""
    judge, since = ARGUMENTS[node.op_type]
    data = node.inputs[0]
    rewriter.provenance = node.provenance
    if inference.graph.opset < since or data is None:
        return
    before = node.inputs
    if (
        node.op_type in ("Reshape", "Expand")
        and same_shape(inference, data, node.output)
        and can_stand_in(data, node.output)
    ):
        rewriter.replace(node.output, data)
        result.fired.append(Firing(f"same-shape-{node.op_type.lower()}", node.provenance))
        erase_dead(rewriter, [node])
        return
    found = judge(inference, node)
    if isinstance(found, str):
        result.missed.append(NearMiss(f"constant-{node.op_type.lower()}", found, node.provenance))
    if not isinstance(found, Arguments):
        return
    place(rewriter, node, found)
    result.fired.append(Firing(f"constant-{node.op_type.lower()}", node.provenance))
    erase_dead(rewriter, producers(before))


def place(rewriter: Rewriter, node: OperatorNode, arguments: Arguments) -> None:
    """Let ``node`` read ``arguments``."""
    inputs = list(node.inputs)
    for index, array in arguments.inputs.items():
        inputs[index] = None if array is None else rewriter.constant(array)
    while inputs[-1] is None:
        inputs.pop()
    rewriter.set_inputs(node, inputs)
    for name in arguments.attributes:
        if name in node.attributes:
            rewriter.set_attribute(node, name, None)
