"""Remove what no output depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx

from burnish.analysis.schema_inference import schema_of
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Rewriter, RewriteResult

OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional


@dataclass(frozen=True)
class RemoveDeadCode(Pass):
    """Remove nodes whose results nobody reads, and results of subgraphs that nobody reads.

    ONNX operators have no side effects, so this never changes an output.

    Before:
        y = Relu(x); z = Exp(x); i, j = If(c) {then: p, q; else: r, s}; return y, i

    After:
        y = Relu(x); i = If(c) {then: p; else: r}; return y, i
    """

    name: ClassVar[str] = "remove-dead-code"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Remove dead nodes from the last to the first, in subgraphs before their owners' inputs.

        A single walk does: whatever a removed node or result has read comes earlier in order.
        """
        rewriter = Rewriter(graph)
        _sweep(rewriter, graph)
        return RewriteResult(rewriter.edits)


def _sweep(rewriter: Rewriter, graph: Graph) -> None:
    for node in graph.reversed():
        if not any(value.uses for value in node.outputs):
            rewriter.erase(node)
            continue
        _trim_outputs(rewriter, node)
        for body in node.subgraphs.values():
            _sweep(rewriter, body)


def _trim_outputs(rewriter: Rewriter, node: OperatorNode) -> None:
    """Drop outputs of ``node`` that nobody reads, where its operator lets them be left out."""
    dead = [index for index, value in enumerate(node.outputs) if not value.uses]
    if not dead or node.is_region:
        return
    if node.is_op("If", "Loop", "Scan"):
        _trim_results(rewriter, node, dead)
        return
    schema = schema_of(node.op_type, node.domain, _opset(node))
    if schema is None:
        return
    keep = len(node.outputs)
    while keep > 1 and keep - 1 in dead and _may_omit(schema, keep - 1):
        keep -= 1
    if keep < len(node.outputs):
        rewriter.keep_outputs(node, range(keep))


def _trim_results(rewriter: Rewriter, node: OperatorNode, dead: list[int]) -> None:
    """Drop results of If branches, and scanned results of Loop and Scan, that nobody reads."""
    body = next(iter(node.subgraphs.values()))
    first = 0
    if node.op_type == "Loop":
        first = len(node.inputs) - 2
    elif node.op_type == "Scan":
        if node.attribute("scan_output_axes") or node.attribute("scan_output_directions"):
            return
        first = len(node.inputs) - int(node.attribute("num_scan_inputs"))
    gone = [index for index in dead if index >= first]
    if not gone or len(gone) == len(node.outputs):
        return
    rewriter.keep_outputs(node, [n for n in range(len(node.outputs)) if n not in gone])
    shift = 1 if node.op_type == "Loop" else 0
    for body in node.subgraphs.values():
        kept = [v for n, v in enumerate(body.outputs) if n - shift not in gone]
        rewriter.set_results(body, kept)


def _may_omit(schema: onnx.defs.OpSchema, index: int) -> bool:
    return index < len(schema.outputs) and schema.outputs[index].option == OPTIONAL


def _opset(node: OperatorNode) -> int:
    return 1 if node.graph is None else node.graph.root.opsets.get(node.domain, 1)
