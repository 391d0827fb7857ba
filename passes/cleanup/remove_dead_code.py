"""Remove what no output depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx

from burnish.analysis.schema_inference import schema_of
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.dead_states import drop_items, trim_scanned, trim_states
from burnish.passes.cleanup.loop_bodies import Layout
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Rewriter, RewriteResult

OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional


@dataclass(frozen=True)
class RemoveDeadCode(Pass):
    """Remove nodes and results of subgraphs that nobody reads, and what loops carry in vain.

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
        orphans = trim_states(rewriter, node)
        for body in node.subgraphs.values():
            _sweep(rewriter, body)
        trim_scanned(rewriter, node)
        assert not any(value.uses for value in orphans)


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
    layout = Layout.of(node)
    if layout is None and not node.is_op("If"):
        return
    first = 0 if layout is None else layout.states
    gone = [index for index in dead if index >= first]
    if not gone or len(gone) == len(node.outputs):
        return
    rewriter.keep_outputs(node, [n for n in range(len(node.outputs)) if n not in gone])
    for name in ("scan_output_axes", "scan_output_directions"):
        drop_items(rewriter, node, name, [n - first for n in gone])
    shift = 0 if layout is None else layout.first
    for body in node.subgraphs.values():
        kept = [v for n, v in enumerate(body.outputs) if n - shift not in gone]
        rewriter.set_results(body, kept)


def _may_omit(schema: onnx.defs.OpSchema, index: int) -> bool:
    return index < len(schema.outputs) and schema.outputs[index].option == OPTIONAL


def _opset(node: OperatorNode) -> int:
    return 1 if node.graph is None else node.graph.root.opsets.get(node.domain, 1)
