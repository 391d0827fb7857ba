"""Between ONNX messages, graphsurgeon and our graphs: the only module that imports graphsurgeon.

graphsurgeon compares tensors by name and makes them unhashable, so everything here maps its objects
by ``id``. What it cannot hold (types that are no tensors, rare attributes, annotations) travels
beside it in the ONNX message; see ``loader`` and ``assembly``.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, helper
from onnx_graphsurgeon.importers.onnx_importer import OnnxImporter, get_numpy_type
from onnx_graphsurgeon.ir.tensor import LazyValues
from onnx_graphsurgeon.logger import G_LOGGER

from burnish.errors import InvalidInput, UnsupportedModel
from burnish.ir import value_types
from burnish.ir.assembly import Skeleton, complete, fill
from burnish.ir.attributes import constant_of, fits_graphsurgeon, from_message, typed
from burnish.ir.constant import Array, Constant
from burnish.ir.dtype import DType
from burnish.ir.export_names import ExportNames
from burnish.ir.external_data import read_constant, to_message
from burnish.ir.graph import Attribute, Graph, OperatorNode, VariableNode
from burnish.ir.header import apply_header, read_header
from burnish.ir.loader import LoadedModel, Path_, load_model
from burnish.ir.names import Names
from burnish.ir.regions import expanded
from burnish.ir.sort import sort
from burnish.ir.verify import verify


def from_onnx(source: str | PathLike[str] | bytes | ModelProto) -> Graph:
    """Load a model; see ``Graph.from_onnx``."""
    model = load_model(source)
    with G_LOGGER.suppress():
        imported = gs.import_onnx(model.proto)
    importer = _Importer(model)
    graph = importer.main(imported)
    read_header(model.proto, graph, importer.named)
    verify(graph)
    return graph


def from_graphsurgeon(source: gs.Graph) -> Graph:
    """Take over a graphsurgeon graph; see ``Graph.from_graphsurgeon``."""
    if source.functions:
        raise UnsupportedModel(
            "the graphsurgeon graph has local functions; export it to ONNX and load that instead"
        )
    importer = _Importer(None)
    graph = importer.main(source)
    graph.opsets = {
        "" if entry.domain == "ai.onnx" else entry.domain: entry.version
        for entry in source.import_domains or ()
    } or {"": source.opset}
    graph.header = {
        "producer_name": source.producer_name,
        "producer_version": source.producer_version,
        "ir_version": source.ir_version or 0,
    }
    sort(graph)
    verify(graph)
    return graph


class _Importer:
    """Makes our nodes for graphsurgeon's; one per model."""

    def __init__(self, model: LoadedModel | None) -> None:
        self._folder = None if model is None else model.folder
        self._carried = {} if model is None else model.carried
        self._bodies = {} if model is None else model.bodies
        self._proto = None if model is None else model.proto.graph
        self._stored: list[dict[str, TensorProto]] = []
        """Initializers of the graph at hand and of those around it."""
        self._values: dict[int, VariableNode] = {}
        self._kept: list[gs.Tensor] = []
        self._scopes: list[dict[str, VariableNode]] = []
        self._names = Names()
        self.named: dict[str, VariableNode] = {}
        """Values of the main graph."""

    def main(self, source: gs.Graph) -> Graph:
        """The main graph."""
        for graph in (source, *source.subgraphs(recursive=True)):
            for node in graph.nodes:
                self._names.fresh(node.name or "")
        for body in (body for bodies in self._bodies.values() for body in bodies.values()):
            for message in body.node:
                self._names.fresh(message.name)
        graph = self._graph(source, self._proto, ())
        if self._proto is not None:
            self._take_idle_initializers(self._proto)
        return graph

    def _take_idle_initializers(self, proto: GraphProto) -> None:
        """Initializers that no node reads may still be named by annotations."""
        wanted = {
            entry.value
            for annotation in proto.quantization_annotation
            for entry in annotation.quant_parameter_tensor_names
        }
        for tensor in proto.initializer:
            if tensor.name in wanted and tensor.name not in self.named:
                constant = read_constant(tensor, self._folder)
                self.named[tensor.name] = VariableNode.of(constant, tensor.name)

    def _graph(
        self, source: gs.Graph, proto: GraphProto | None, path: Path_, prefix: str = ""
    ) -> Graph:
        """One graph; ``prefix`` goes before names generated for its nodes."""
        types = {} if proto is None else {
            entry.name: entry.type for entry in (*proto.value_info, *proto.input, *proto.output)
        }  # fmt: skip
        graph = Graph(source.name, doc=source.doc_string or "")
        self._scopes.append({})
        self._stored.append({} if proto is None else {t.name: t for t in proto.initializer})
        is_main = len(self._scopes) == 1
        graph.inputs = [self._value(tensor, types, is_main) for tensor in source.inputs]
        for index, node in enumerate(source.nodes):
            if node.op == "Constant" and node.domain in (None, "", "ai.onnx"):
                self._constant_node(node, (*path, index))
            else:
                name = node.name or self._names.fresh(f"{prefix}{node.op}_{index}")
                graph.append(self._node(node, name, types, (*path, index)))
        graph.outputs = [self._output(tensor, graph, types) for tensor in source.outputs]
        graph.output_names = tuple(tensor.name for tensor in source.outputs)
        self._scopes.pop()
        self._stored.pop()
        return graph

    def _node(self, node: gs.Node, name: str, types: dict[str, Any], path: Path_) -> OperatorNode:
        inputs = [None if t.is_empty() else self._value(t, types) for t in node.inputs]
        outputs = [self._value(tensor, types) for tensor in node.outputs]
        domain = "" if node.domain in (None, "ai.onnx") else node.domain
        result = OperatorNode(
            node.op, inputs, outputs, domain=domain, name=name, provenance=(name,)
        )  # fmt: skip
        for key, value in node.attrs.items():
            if isinstance(value, gs.Graph):
                result.add_subgraph(key, self._graph(value, None, (*path, key), f"{name}/{key}/"))
            else:
                result.attributes[key] = self._attribute(value)
        for key, message in self._bodies.get(path, {}).items():
            body = self._graph(
                OnnxImporter.import_graph(message), message, (*path, key), f"{name}/{key}/"
            )
            result.add_subgraph(key, body)
        carried = self._carried.get(path, [])
        result.attributes |= {entry.name: from_message(entry) for entry in carried}
        return result

    def _attribute(self, value: Any) -> Attribute:
        if isinstance(value, gs.Constant):
            return self._constant(value)
        if isinstance(value, list | tuple):
            return tuple(self._attribute(item) for item in value)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, type | np.dtype):
            return int(DType.from_numpy(np.dtype(value)))
        if isinstance(value, int | float | str):
            return value
        raise UnsupportedModel(f"an attribute holds {type(value).__name__}, which has no ONNX form")

    def _constant_node(self, node: gs.Node, path: Path_) -> None:
        attributes = {key: self._attribute(value) for key, value in node.attrs.items()}
        carried = self._carried.get(path, [])
        attributes |= {message.name: from_message(message) for message in carried}
        if len(attributes) != 1 or len(node.outputs) != 1:
            raise InvalidInput(
                f"Constant node {node.name!r} must have one attribute and one output"
            )
        ((key, value),) = attributes.items()
        self._keep(node.outputs[0], VariableNode.of(constant_of(key, value), node.outputs[0].name))

    def _constant(self, tensor: gs.Constant) -> Constant:
        values = tensor._values
        if isinstance(values, _LazyConstant):
            return values.constant
        if isinstance(values, LazyValues) and isinstance(values.tensor, TensorProto):
            return read_constant(values.tensor, self._folder)
        return Constant.of(tensor.values)

    def _keep(self, tensor: gs.Tensor, value: VariableNode) -> VariableNode:
        self._kept.append(tensor)  # an id is only good while its object lives
        self._values[id(tensor)] = value
        if tensor.name:
            self._scopes[-1][tensor.name] = value
            if len(self._scopes) == 1:
                self.named[tensor.name] = value
        return value

    def _value(
        self, tensor: gs.Tensor, types: dict[str, Any], is_input: bool = False
    ) -> VariableNode:
        """Our value for ``tensor``, made on first sight."""
        known = self._values.get(id(tensor)) or self._visible(tensor.name)
        if known is not None:
            return known
        if isinstance(tensor, gs.Constant):
            return self._keep(tensor, VariableNode.of(self._constant(tensor), tensor.name))
        value = VariableNode(tensor.name)
        if tensor.name in types:
            value_types.describe(value, types[tensor.name], is_input)
        elif tensor.type == "tensor_type":
            value.shape = value_types.shape(tensor.shape, least=0 if is_input else 1)
            if tensor.dtype is not None:
                code = tensor.dtype
                value.dtype = DType(code) if isinstance(code, int) else DType.from_numpy(code)
        return self._keep(tensor, value)

    def _visible(self, name: str) -> VariableNode | None:
        """The value called ``name`` here or around here; in a loaded model names are unique."""
        if self._proto is None:
            return None
        for scope, stored in zip(reversed(self._scopes), reversed(self._stored), strict=True):
            if name in scope:
                return scope[name]
            if name in stored:
                constant = read_constant(stored[name], self._folder)
                value = scope[name] = VariableNode.of(constant, name)
                if scope is self._scopes[0]:
                    self.named[name] = value
                return value
        return None

    def _output(self, tensor: gs.Tensor, graph: Graph, types: dict[str, Any]) -> VariableNode:
        """A value that a graph returns; a body may return one of an enclosing graph by name."""
        value = self._values.get(id(tensor)) or self._visible(tensor.name)
        if value is None and not isinstance(tensor, gs.Constant):
            scopes = reversed(self._scopes)
            value = next((s[tensor.name] for s in scopes if tensor.name in s), None)
            if value is None:
                raise InvalidInput(
                    f"output {tensor.name!r} of graph {graph.name!r} is not produced by any node"
                )
        return value if value is not None else self._value(tensor, types)


def to_graphsurgeon(graph: Graph) -> gs.Graph:
    """The graph for graphsurgeon; see ``Graph.to_graphsurgeon``.

    Raises:
        UnsupportedModel: a value or an attribute is of a kind that graphsurgeon cannot hold.
    """
    graph = expanded(graph)
    for node in graph.walk():
        lost = [key for key in node.attributes if not fits_graphsurgeon(typed(node, key))]
        if lost:
            raise UnsupportedModel(
                f"attribute {lost[0]!r} of {node.name!r} is of a kind that graphsurgeon cannot hold"
            )
    result = _Exporter(ExportNames(graph), with_data=True).graph(graph)
    result.import_domains = [helper.make_opsetid(*entry) for entry in graph.opsets.items()]
    result.opset = graph.opset
    result.producer_name = graph.header.get("producer_name", "")
    result.producer_version = graph.header.get("producer_version", "")
    result.ir_version = graph.header.get("ir_version") or None
    return result


def skeleton(graph: Graph, *, partial: bool = False) -> Skeleton:
    """The model without the data of its initializers, and the constants that belong there.

    Args:
        graph: the main graph.
        partial: leave out unknown types of outputs instead of refusing them.

    Raises:
        UnsupportedModel: the type of an input or output is not known.
    """
    graph = expanded(graph)
    names = ExportNames(graph)
    with G_LOGGER.suppress():
        exported = _Exporter(names, with_data=False).graph(graph)
        model = gs.export_onnx(exported, do_type_check=False)
    payload = complete(model.graph, graph, names, partial=partial)
    apply_header(model, graph, names)
    return Skeleton(model, payload)


def to_onnx(graph: Graph) -> ModelProto:
    """One message with everything in it; see ``Graph.to_onnx``."""
    return fill(skeleton(graph))


class _LazyConstant(LazyValues):  # type: ignore[misc]
    """One of our constants as graphsurgeon's lazy values."""

    def __init__(self, constant: Constant, with_data: bool) -> None:
        code = int(constant.dtype)
        native = get_numpy_type(code) if with_data else None
        self.constant = constant
        self.shape = list(constant.shape)
        self.dtype = code if native is None else native
        self.nbytes = constant.nbytes
        self._with_data = with_data

    @property
    def tensor(self) -> TensorProto:
        """A new message at every call: graphsurgeon writes the name into it."""
        return to_message(self.constant) if self._with_data else TensorProto(
            data_type=int(self.constant.dtype), dims=self.constant.shape
        )  # fmt: skip

    def load(self) -> Array:
        """The elements, for the user to change."""
        return self.constant.numpy().copy()


class _Exporter:
    """Makes graphsurgeon's nodes for ours; one per model."""

    def __init__(self, names: ExportNames, *, with_data: bool) -> None:
        self._names = names
        self._with_data = with_data
        self._tensors: dict[VariableNode, gs.Tensor] = {}

    def graph(self, graph: Graph) -> gs.Graph:
        """``graph`` and everything below it."""
        inputs = [self._tensor(value) for value in graph.inputs]
        nodes = [self._node(node) for node in graph]
        outputs = []
        for value, name in zip(graph.outputs, self._names.outputs(graph), strict=True):
            tensor = self._tensor(value)
            if name != tensor.name:
                # The value is an input, a constant, from outside, or returned twice.
                copy = gs.Variable(name, tensor.dtype, tensor.shape)
                nodes.append(gs.Node("Identity", self._names.node(f"Identity_{name}"), {},
                                     [tensor], [copy]))  # fmt: skip
                tensor = copy
            outputs.append(tensor)
        return gs.Graph(nodes, inputs, outputs, graph.name, graph.doc, opset=graph.opset)

    def _node(self, node: OperatorNode) -> gs.Node:
        attributes: dict[str, Any] = {}
        for key in node.attributes:
            value = typed(node, key)
            if isinstance(value, Constant):
                attributes[key] = gs.Constant("", _LazyConstant(value, with_data=True))
            elif fits_graphsurgeon(value):
                attributes[key] = list(value) if isinstance(value, tuple) else value
        for key, body in node.subgraphs.items():
            attributes[key] = self.graph(body)
        inputs = [gs.Variable.empty() if v is None else self._tensor(v) for v in node.inputs]
        outputs = [self._tensor(value) for value in node.outputs]
        return gs.Node(
            node.op_type, self._names.node(node.name or node.op_type), attributes, inputs, outputs,
            node.domain or None,
        )  # fmt: skip

    def _tensor(self, value: VariableNode) -> gs.Tensor:
        known = self._tensors.get(value)
        if known is not None:
            return known
        name = self._names.value(value)
        if value.constant is not None:
            tensor = gs.Constant(name, _LazyConstant(value.constant, self._with_data))
        elif not self._with_data:
            tensor = gs.Variable(name)  # its type is written afterwards
        else:
            code = int(value.dtype)
            native = (get_numpy_type(code) or code) if code else None
            shape = None if value.shape is None else list(value.shape)
            tensor = gs.Variable(name, native, shape)
        self._tensors[value] = tensor
        return tensor
