"""What a model says about itself beside its graph: versions, producer, metadata, annotations."""

from __future__ import annotations

from onnx import ModelProto, helper

from burnish.ir.export_names import ExportNames
from burnish.ir.graph import Graph, VariableNode

CARRIED = ("ir_version", "producer_name", "producer_version", "domain", "model_version",
           "doc_string")  # fmt: skip
"""Fields of the message that travel in ``Graph.header``."""

OLDEST_IR_VERSION = 4
"""The first in which initializers need not be inputs, which is how we keep them: from here on an
input that is one has a default value."""


def read_header(model: ModelProto, graph: Graph, named: dict[str, VariableNode]) -> None:
    """Give ``graph`` everything that ``model`` says outside its nodes."""
    opsets = {"" if e.domain == "ai.onnx" else e.domain: e.version for e in model.opset_import}
    graph.opsets = opsets or {"": 1}
    graph.metadata = {entry.key: entry.value for entry in model.metadata_props}
    graph.header = {key: getattr(model, key) for key in CARRIED if model.HasField(key)}
    if model.ir_version >= OLDEST_IR_VERSION:
        stored = {tensor.name for tensor in model.graph.initializer}
        graph.defaults = tuple(entry.name for entry in model.graph.input if entry.name in stored)
    for annotation in model.graph.quantization_annotation:
        value = named.get(annotation.tensor_name)
        parameters = {
            entry.key: named[entry.value]
            for entry in annotation.quant_parameter_tensor_names
            if entry.value in named
        }
        if value is not None and parameters:
            value.quantization = parameters


def apply_header(model: ModelProto, graph: Graph, names: ExportNames) -> None:
    """Write into ``model`` what ``read_header`` took, with the domains that nodes use."""
    opsets = dict(graph.opsets)
    for domain in sorted({node.domain for node in graph.walk()} - set(opsets)):
        opsets[domain] = 1
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*entry) for entry in opsets.items())
    for key in CARRIED:
        if key in graph.header:
            setattr(model, key, graph.header[key])
    needed = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.ir_version = max(graph.header.get("ir_version", 0), needed, OLDEST_IR_VERSION)
    del model.metadata_props[:]
    for key, text in graph.metadata.items():
        model.metadata_props.add(key=key, value=text)
    for value in graph.variables():
        if value.quantization:
            annotation = model.graph.quantization_annotation.add(tensor_name=names.value(value))
            for key, parameter in value.quantization.items():
                annotation.quant_parameter_tensor_names.add(key=key, value=names.value(parameter))
