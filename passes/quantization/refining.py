"""Changing quantized layers one after the other, beside the graph in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from burnish.ir import Graph, OperatorNode
from burnish.passes.quantization.cascade import Stop, cascade
from burnish.passes.quantization.twins import RoundedLayer, float_twin
from burnish.pipeline import PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult
from burnish.wording import counted

Change = Callable[[Rewriter, RoundedLayer, Stop], str]
"""Changes a layer; why it stays as it is, empty if it does not."""


def refined(
    graph: Graph,
    context: PassContext,
    layers: Mapping[OperatorNode, RoundedLayer],
    change: Change,
    *,
    name: str,
    purpose: str,
) -> RewriteResult:
    """Change ``layers``, each with data as the layers before it give them by now, until it is late.

    Args:
        graph: changed in place.
        context: has the calibration data.
        layers: in order, those whose floats are known.
        change: what is done to each.
        name: of the pass.
        purpose: what it needs data for, for the note where there are none.

    Raises:
        BurnishError: the calibration data do not fit the graph.
    """
    result, rewriter = RewriteResult(), Rewriter(graph)
    if not layers:
        return result
    if context.calibration is None:
        result.notes.append(f"left alone: there is no calibration data {purpose}")
        return result
    twin, twins = float_twin(graph)
    for number, stop in enumerate(cascade(graph, twin, twins, list(layers), context.calibration)):
        if context.is_late():
            result.notes.append(
                f"stopped after {number} of {counted(len(layers), 'layer')}: time is up"
            )
            break
        layer = layers[stop.node]
        reason = change(rewriter, layer, stop)
        if reason:
            result.missed.append(NearMiss(name, reason, layer.node.provenance))
        else:
            result.fired.append(Firing(name, layer.node.provenance))
    result.edits = rewriter.edits
    return result
