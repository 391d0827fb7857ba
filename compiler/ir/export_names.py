"""Names of a whole model on export: the interface as it was, everything else unique."""

from __future__ import annotations

from functools import cache

import onnx.defs

from burnish.ir.graph import Graph, VariableNode
from burnish.ir.names import Names


class ExportNames:
    """Names for every value and node of ``graph`` and its subgraphs.

    Inputs and outputs of the main graph keep their names. An output whose value cannot carry the
    output's name (an input, a constant, a value returned twice or from an enclosing graph) gets a
    name of its own, and the exporter puts an Identity in between.
    """

    def __init__(self, graph: Graph) -> None:
        """Settle the names that must not change."""
        self._values: dict[VariableNode, str] = {}
        self._outputs: dict[Graph, tuple[str, ...]] = {}
        interface = {v.name for v in graph.inputs} | set(graph.output_names)
        self._names = Names(interface)
        self._nodes = Names()
        for value in graph.inputs:
            self._values[value] = value.name or self._names.fresh("input")
        for body in graph.graphs():
            self._settle_outputs(body)

    def _settle_outputs(self, graph: Graph) -> None:
        main = graph.owner is None
        settled = []
        taken: set[VariableNode] = set()
        for value, wanted in zip(graph.outputs, graph.output_names, strict=True):
            own = value.producer is not None and value.producer.graph is graph
            if main and value in taken and self._values.get(value) == wanted:
                name = wanted
            elif own and value not in taken:
                if main:
                    name = wanted or self._names.fresh(value.name or "output")
                else:
                    name = self._names.fresh(value.name or wanted)
                self._values[value] = name
            elif main:
                # An input that is returned under its own name needs no copy.
                name = wanted or self._names.fresh("output")
            else:
                name = self._names.fresh(wanted or "output")
            taken.add(value)
            settled.append(name)
        self._outputs[graph] = tuple(settled)

    def outputs(self, graph: Graph) -> tuple[str, ...]:
        """Names that ``graph`` returns its outputs under."""
        return self._outputs[graph]

    def value(self, value: VariableNode) -> str:
        """The name of ``value``; empty for an output that its node leaves out."""
        if value not in self._values:
            self._values[value] = "" if _is_left_out(value) else self._names.fresh(value.name)
        return self._values[value]

    def node(self, hint: str) -> str:
        """A name for a node, unique in the model."""
        return self._nodes.fresh(hint)


def _is_left_out(value: VariableNode) -> bool:
    """Whether nobody asks for ``value``; a node keeps at least its first output."""
    node = value.producer
    if value.name or value.uses or node is None:
        return False
    if not _may_leave_out(node.op_type, node.domain, node.outputs.index(value)):
        return False
    return value is not node.outputs[0] or any(other.uses or other.name for other in node.outputs)


@cache
def _may_leave_out(op_type: str, domain: str, index: int) -> bool:
    """Whether an operator may have no name for an output.

    Engines crash where Split, whose outputs are one variadic list, leaves one out.
    """
    if not onnx.defs.has(op_type, domain):
        return True
    outputs = onnx.defs.get_schema(op_type, domain).outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return index < len(outputs) and outputs[index].option == optional
