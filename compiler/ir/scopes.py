"""Names inside subgraphs that hide names outside, renamed so that every name means one value."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto

from burnish.ir.names import Names


def rename_shadows(graph: GraphProto) -> None:
    """Rename, in subgraphs of ``graph``, definitions that hide one of an enclosing graph."""
    names = Names(name for inner in _graphs(graph) for name in _defined(inner))
    _visit(graph, frozenset(), {}, names)


def _visit(graph: GraphProto, outer: frozenset[str], renamed: dict[str, str], names: Names) -> None:
    """Rename within ``graph``; ``renamed`` maps old names of enclosing graphs that are visible."""
    own = list(dict.fromkeys(_defined(graph)))
    # A definition of this graph's own ends a renaming that came from outside.
    mapping = {old: new for old, new in renamed.items() if old not in own}
    mapping |= {name: names.fresh(name) for name in own if name in outer}
    if mapping:
        _apply(graph, mapping)
    visible = outer | {mapping.get(name, name) for name in own} | set(own)
    for node in graph.node:
        for body in _bodies(node.attribute):
            _visit(body, visible, mapping, names)


def _apply(graph: GraphProto, mapping: dict[str, str]) -> None:
    for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        entry.name = mapping.get(entry.name, entry.name)
    for node in graph.node:
        node.input[:] = [mapping.get(name, name) for name in node.input]
        node.output[:] = [mapping.get(name, name) for name in node.output]
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = mapping.get(annotation.tensor_name, annotation.tensor_name)
        for entry in annotation.quant_parameter_tensor_names:
            entry.value = mapping.get(entry.value, entry.value)


def _defined(graph: GraphProto) -> Iterator[str]:
    """Names that ``graph`` itself defines."""
    yield from (entry.name for entry in (*graph.input, *graph.initializer))
    for node in graph.node:
        yield from (name for name in node.output if name)


def _bodies(attributes: object) -> Iterator[GraphProto]:
    for attribute in attributes:  # type: ignore[attr-defined]
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for body in _bodies(node.attribute):
            yield from _graphs(body)
