"""Graphs as flat tables, so that they can be pickled: links from node to node nest too deeply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from burnish.ir.constant import Constant
from burnish.ir.dtype import DType
from burnish.ir.graph import Graph
from burnish.ir.nodes import OperatorNode, VariableNode

Reference = int | None
"""Position of a value in its table; None for an input that is left out."""


@dataclass(slots=True)
class FlatGraph:
    """A graph with its subgraphs; every value is a position in one table."""

    values: list[tuple[Any, ...]] = field(default_factory=list)
    """Of the main graph, for all below it: name, dtype, shape, constant, ONNX type, annotation."""
    nodes: list[tuple[Any, ...]] = field(default_factory=list)
    inputs: list[Reference] = field(default_factory=list)
    outputs: list[Reference] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)
    """Fields of `Graph` that hold plain data."""


_PLAIN = ("name", "opsets", "metadata", "doc", "header", "output_names", "defaults")


def flatten(graph: Graph) -> FlatGraph:
    """``graph``, which must capture nothing from outside, as tables; weights are loaded."""
    flattening = _Flattening()
    flat = flattening.graph(graph)
    # Annotations may name values that nothing else does: the table grows meanwhile.
    for value in flattening.order:
        flat.values.append(
            (value.name, value.dtype, value.shape, _loaded(value.constant), value.onnx_type,
             {k: flattening.at(v) for k, v in (value.quantization or {}).items()})
        )  # fmt: skip
    return flat


def _loaded(constant: Constant | None) -> tuple[Any, ...] | None:
    return None if constant is None else (constant.shape, constant.dtype, constant.numpy())


class _Flattening:
    def __init__(self) -> None:
        self.order: list[VariableNode] = []
        self._places: dict[VariableNode, int] = {}

    def at(self, value: VariableNode | None) -> Reference:
        if value is None:
            return None
        if value not in self._places:
            self._places[value] = len(self.order)
            self.order.append(value)
        return self._places[value]

    def graph(self, graph: Graph) -> FlatGraph:
        flat = FlatGraph(rest={name: getattr(graph, name) for name in _PLAIN})
        flat.inputs = [self.at(value) for value in graph.inputs]
        for node in graph:
            flat.nodes.append(
                (node.op_type, node.domain, node.overload, node.name,
                 {name: _plain(value) for name, value in node.attributes.items()}, node.provenance,
                 [self.at(value) for value in node.inputs],
                 {key: self.graph(body) for key, body in node.subgraphs.items()},
                 [self.at(value) for value in node.outputs])
            )  # fmt: skip
        flat.outputs = [self.at(value) for value in graph.outputs]
        return flat


@dataclass(slots=True)
class _FlatConstant:
    """A tensor that is an attribute."""

    content: tuple[Any, ...]


def _plain(attribute: Any) -> Any:
    loaded = _loaded(attribute) if isinstance(attribute, Constant) else None
    return attribute if loaded is None else _FlatConstant(loaded)


def restore(flat: FlatGraph) -> Graph:
    """The graph that ``flatten`` made ``flat`` of."""
    values = []
    for name, dtype, shape, constant, onnx_type, _ in flat.values:
        kept = None if constant is None else Constant(*constant)
        values.append(VariableNode(name, DType(dtype), shape, kept))
        values[-1].onnx_type = onnx_type
    for value, (*_, annotation) in zip(values, flat.values, strict=True):
        if annotation:
            value.quantization = {key: values[place] for key, place in annotation.items()}
    return _restored(flat, values)


def _restored(flat: FlatGraph, values: list[VariableNode]) -> Graph:
    graph = Graph(**{key: value for key, value in flat.rest.items() if key != "output_names"})
    graph.inputs = [values[place] for place in flat.inputs if place is not None]
    for kind, domain, overload, name, attributes, provenance, inputs, bodies, outputs in flat.nodes:
        node = OperatorNode(
            kind, [None if place is None else values[place] for place in inputs], (),
            {key: Constant(*value.content) if isinstance(value, _FlatConstant) else value
             for key, value in attributes.items()},
            domain=domain, name=name, provenance=provenance,
        )  # fmt: skip
        node.overload = overload
        for key, body in bodies.items():
            node.add_subgraph(key, _restored(body, values))
        node.outputs = [values[place] for place in outputs]
        graph.append(node)
    graph.outputs = [values[place] for place in flat.outputs if place is not None]
    graph.output_names = flat.rest["output_names"]
    return graph
