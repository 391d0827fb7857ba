"""Completes what graphsurgeon exports: types, rare attributes, and where the weights go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from burnish.errors import UnsupportedModel
from burnish.ir import value_types
from burnish.ir.attributes import fits_graphsurgeon, to_message, typed
from burnish.ir.constant import Constant
from burnish.ir.export_names import ExportNames
from burnish.ir.external_data import put
from burnish.ir.graph import Graph, OperatorNode, VariableNode

MAX_MESSAGE_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """A model whose initializers have no data yet; ``constants`` holds it by name."""

    model: ModelProto
    constants: dict[str, Constant]

    def initializers(self) -> Iterator[TensorProto]:
        """The tensors to fill, in file order."""
        for graph in _graphs(self.model.graph):
            yield from graph.initializer

    @property
    def nbytes(self) -> int:
        """Bytes that all constants take."""
        return sum(constant.nbytes for constant in self.constants.values())


def fill(skeleton: Skeleton) -> ModelProto:
    """Put all data into the message.

    Raises:
        UnsupportedModel: it would be larger than a message can be.
    """
    if skeleton.nbytes + skeleton.model.ByteSize() > MAX_MESSAGE_BYTES:
        raise UnsupportedModel(
            f"the model has {skeleton.nbytes} bytes of weights, more than the 2 GB that one ONNX "
            "message can hold; save it to a file, which keeps them beside it"
        )
    for tensor in skeleton.initializers():
        put(tensor, skeleton.constants[tensor.name])
    return skeleton.model


def complete(
    proto: GraphProto, graph: Graph, names: ExportNames, *, partial: bool = False
) -> dict[str, Constant]:
    """Finish ``proto``, exported from ``graph``; return the constants that it needs by name.

    Raises:
        UnsupportedModel: the type of an input or output is not known, unless ``partial``.
    """
    protos: dict[Graph, GraphProto] = {}
    _complete(proto, graph, names, protos)
    for entry in (*proto.input, *proto.output):
        if not partial and not entry.type.WhichOneof("value"):
            raise UnsupportedModel(
                f"the type of {entry.name!r}, an input or output of the model, is not known; infer "
                "shapes before saving"
            )
    constants: dict[str, Constant] = {}
    for value, home in _homes(graph).items():
        assert value.constant is not None
        name = names.value(value)
        constants[name] = value.constant
        protos[home].initializer.add(
            name=name, data_type=int(value.constant.dtype), dims=value.constant.shape
        )
    return constants


def _homes(graph: Graph) -> dict[VariableNode, Graph]:
    """Where each constant is stored: with its users if they are in one graph, else in the main one.

    A constant that scopes share is stored once that way, and no name hides another.
    """
    homes: dict[VariableNode, Graph] = {}
    for inner in graph.graphs():
        read = [value for node in inner for value in node.inputs if value is not None]
        for value in (*read, *inner.outputs):
            if value.is_constant and homes.setdefault(value, inner) is not inner:
                homes[value] = graph
    for value in graph.variables():
        for parameter in (value.quantization or {}).values():
            homes[parameter] = graph
    return {value: home for value, home in homes.items() if value.is_constant}


def _complete(
    proto: GraphProto, graph: Graph, names: ExportNames, protos: dict[Graph, GraphProto]
) -> None:
    protos[graph] = proto
    del proto.initializer[:], proto.value_info[:]
    for entry, value in zip((*proto.input, *proto.output), (*graph.inputs, *graph.outputs),
                            strict=True):  # fmt: skip
        type_ = value_types.message(value)
        if type_ is None:
            entry.ClearField("type")
        else:
            entry.type.CopyFrom(type_)
    returned = {*graph.inputs, *graph.outputs}
    for node, message in zip(graph, proto.node, strict=False):  # Identity nodes may follow
        for value in node.outputs:
            type_ = value_types.message(value)
            name = names.value(value)
            if type_ is not None and name and value not in returned:
                proto.value_info.add(name=name, type=type_)
        message.attribute.extend(_rare_attributes(node))
        for attribute in message.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _complete(attribute.g, node.subgraphs[attribute.name], names, protos)


def _rare_attributes(node: OperatorNode) -> Iterator[AttributeProto]:
    for key in node.attributes:
        value = typed(node, key)
        if not fits_graphsurgeon(value):
            yield to_message(key, value)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
