"""From a file, bytes or message to a checked ONNX model that the importer can take.

Everything here treats the model as untrusted: each way to be wrong ends in one message.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
)

from burnish.errors import InvalidInput, UnsupportedModel
from burnish.ir import sparse
from burnish.ir.external_data import is_external
from burnish.ir.functions import inline_functions
from burnish.ir.scopes import rename_shadows
from burnish.ir.untrusted import check_parts, walk

STANDARD_ALIAS = "ai.onnx"
MAX_FILE_BYTES = 2**31 - 1
"""Protocol buffers cannot hold more in one message."""

MAX_VERSION = 2**31 - 1

FOREIGN = {"LayerNormalization": 17, "SimplifiedLayerNormalization": 1 << 30}
"""Operators that ONNX Runtime has in the standard domain before this opset of the standard."""
FOREIGN_DOMAIN = "burnish.foreign"
"""Where the checker looks for them: it passes over domains that it does not know."""

Path_ = tuple[int | str, ...]
"""Where a node is: its index, then attribute name and index for every level of subgraphs."""


@dataclass(slots=True)
class LoadedModel:
    """A checked model.

    ``carried`` are attributes that graphsurgeon cannot hold, taken out of ``proto``, by node.
    ``bodies`` are the subgraphs, taken out as well, by node and attribute: graphsurgeon copies all
    that is visible from outside for each of them.
    """

    proto: ModelProto
    folder: Path | None
    carried: dict[Path_, list[AttributeProto]] = field(default_factory=dict)
    bodies: dict[Path_, dict[str, GraphProto]] = field(default_factory=dict)


def load_model(source: str | os.PathLike[str] | bytes | ModelProto) -> LoadedModel:
    """Read and check ``source``; a message passed in is copied, never changed.

    Raises:
        InvalidInput: ``source`` is missing, malformed, truncated or hostile.
        UnsupportedModel: it is valid ONNX that burnish cannot represent.
    """
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    proto = _own_message(source, path)
    _check_versions(proto)
    folder = None if path is None else path.parent
    model = LoadedModel(proto, folder)
    has_external = check_parts(proto, folder)
    _drop_alias(proto)
    _refuse_unrepresentable(proto)
    _run_checker(proto, has_external=has_external)
    model.proto = inline_functions(proto)
    _normalise(model, model.proto.graph, ())
    rename_shadows(model.proto.graph)
    _detach_bodies(model, model.proto.graph, ())
    return model


def _own_message(
    source: str | os.PathLike[str] | bytes | ModelProto, path: Path | None
) -> ModelProto:
    """The model message, safe to change."""
    if isinstance(source, ModelProto):
        copy = ModelProto()
        copy.CopyFrom(source)
        return copy
    if path is not None:
        return _parse(_read(path), str(path))
    if not isinstance(source, bytes | bytearray | memoryview):
        raise TypeError(f"expected a path, bytes or a ModelProto, not {type(source).__name__}")
    return _parse(bytes(source), "the given bytes")


def _read(path: Path) -> bytes:
    name = f"{path!s:.200}"
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InvalidInput(f"{name} is a folder; give the .onnx file in it")
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{name} is not a regular file; give an .onnx file")
        if status.st_size > MAX_FILE_BYTES:
            raise InvalidInput(
                f"{name} has {status.st_size} bytes, more than the 2 GB that one ONNX file can "
                "hold; save it with external data"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidInput(f"{name} does not exist; check the path of the model") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"cannot read {name}: {reason}") from error


def _parse(data: bytes, origin: str) -> ModelProto:
    if not data:
        raise InvalidInput(f"{origin} is empty; was the export interrupted?")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise InvalidInput(
            f"{origin} is not an ONNX model, or is truncated: {error}; export it again"
        ) from error
    if not proto.ir_version and not proto.HasField("graph"):
        raise InvalidInput(f"{origin} is not an ONNX model: it holds no graph")
    return proto


def _check_versions(proto: ModelProto) -> None:
    """Refuse what the installed onnx package does not know yet."""
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedModel(
            f"the model has IR version {proto.ir_version}; the installed onnx package reads up to "
            f"{onnx.IR_VERSION}: upgrade it (pip install -U onnx) or export for an older version"
        )
    newest = onnx.defs.onnx_opset_version()
    for entry in proto.opset_import:
        if not 0 < entry.version <= MAX_VERSION:
            raise InvalidInput(
                f"the model imports version {entry.version} of the operators {entry.domain!r}, "
                "which cannot be; it is damaged, export it again"
            )
        if entry.domain in ("", STANDARD_ALIAS) and entry.version > newest:
            raise UnsupportedModel(
                f"the model uses opset {entry.version}; the installed onnx package knows up to "
                f"{newest}: upgrade it (pip install -U onnx) or export with opset {newest}"
            )


def _drop_alias(proto: ModelProto) -> None:
    """Call the standard domain by its empty name only; onnx's checker does not know the other."""
    imported = {entry.domain for entry in proto.opset_import}
    if STANDARD_ALIAS not in imported:
        return
    for index in reversed(range(len(proto.opset_import))):
        entry = proto.opset_import[index]
        if entry.domain == STANDARD_ALIAS and "" in imported:
            del proto.opset_import[index]
        elif entry.domain == STANDARD_ALIAS:
            entry.domain = ""
    for node in walk(proto):
        if isinstance(node, NodeProto) and node.domain == STANDARD_ALIAS:
            node.domain = ""


def _refuse_unrepresentable(proto: ModelProto) -> None:
    if proto.training_info:
        raise UnsupportedModel(
            "the model carries training_info (a training step beside the graph); export it for "
            "inference"
        )


def _run_checker(proto: ModelProto, *, has_external: bool) -> None:
    """Let onnx check the structure: types, order, undefined and doubly defined names."""
    try:
        onnx.checker.check_model(_checkable(proto, has_external))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        if "topologically sorted" in reason:
            reason += f" ({_disorder(proto.graph)})"
        raise InvalidInput(
            f"the model breaks the ONNX standard: {reason[:500]}; export it again or repair it"
        ) from error


def _disorder(graph: GraphProto) -> str:
    """The first node that reads a result of itself or of a later node, or what is nowhere."""
    known = {value.name for value in (*graph.input, *graph.initializer)}
    known |= {value.values.name for value in graph.sparse_initializer}
    made_by = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    for index, node in enumerate(graph.node):
        for name in node.input:
            maker = made_by.get(name, -1)
            if maker >= index:
                other = graph.node[maker].name or graph.node[maker].op_type
                return (
                    "nodes out of order, or a cycle: "
                    f"{node.name or node.op_type} reads {name!r} of {other}"
                )
            if name and name not in made_by and name not in known:
                return f"{node.name or node.op_type} reads {name!r}, which nothing computes"
    return "nodes out of order, or a cycle: inside a subgraph"


def _checkable(proto: ModelProto, has_external: bool) -> ModelProto:
    """What the checker should see: it looks for files itself, and wants to know every rank.

    External data was checked before, and a value of unknown rank is no defect. Nor are operators
    that ONNX Runtime's optimizer writes into the standard domain.
    """
    opset = max((entry.version for entry in proto.opset_import if not entry.domain), default=1)
    foreign = any(opset < FOREIGN.get(node.op_type, 0) for node in proto.graph.node)
    values = [e.type for e in (*proto.graph.input, *proto.graph.output)]
    rankless = any(
        t.HasField("tensor_type") and not t.tensor_type.HasField("shape") for t in values
    )
    if not (rankless or has_external or foreign):
        return proto
    copy = ModelProto()
    copy.CopyFrom(proto)
    if foreign:
        copy.opset_import.add(domain=FOREIGN_DOMAIN, version=1)
    for node in copy.graph.node if foreign else ():
        if not node.domain and opset < FOREIGN.get(node.op_type, 0):
            node.domain = FOREIGN_DOMAIN
    for entry in (*copy.graph.input, *copy.graph.output):
        if entry.type.HasField("tensor_type"):
            entry.type.tensor_type.shape.SetInParent()
    for tensor in walk(copy):
        if isinstance(tensor, TensorProto) and is_external(tensor):
            tensor.ClearField("data_location")
            del tensor.external_data[:]
            tensor.dims[:] = [0]
    return copy


def _normalise(model: LoadedModel, graph: GraphProto, path: Path_) -> None:
    """Make initializers dense, drop empty value entries, set aside what graphsurgeon loses."""
    graph.initializer.extend(sparse.to_dense(tensor) for tensor in graph.sparse_initializer)
    del graph.sparse_initializer[:]
    for index in reversed(range(len(graph.value_info))):
        if not graph.value_info[index].name:
            del graph.value_info[index]
    for index, node in enumerate(graph.node):
        carried: list[AttributeProto] = []
        for position in reversed(range(len(node.attribute))):
            attribute = node.attribute[position]
            if attribute.HasField("sparse_tensor") and node.op_type == "Constant":
                dense = sparse.to_dense(attribute.sparse_tensor)
                attribute.CopyFrom(onnx.helper.make_attribute("value", dense))
            elif not _fits_graphsurgeon(attribute):
                carried.insert(0, AttributeProto.FromString(attribute.SerializeToString()))
                del node.attribute[position]
            elif attribute.type == AttributeProto.GRAPH:
                _normalise(model, attribute.g, (*path, index, attribute.name))
        if carried:
            model.carried[*path, index] = carried


def _detach_bodies(model: LoadedModel, graph: GraphProto, path: Path_) -> None:
    """Take subgraphs out of their nodes, the innermost first, so that none is copied twice."""
    for index, node in enumerate(graph.node):
        found: dict[str, GraphProto] = {}
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _detach_bodies(model, attribute.g, (*path, index, attribute.name))
                found[attribute.name] = GraphProto()
                found[attribute.name].CopyFrom(attribute.g)
        if found:
            model.bodies[*path, index] = found
            kept = [a for a in node.attribute if a.type != AttributeProto.GRAPH]
            del node.attribute[:]
            node.attribute.extend(kept)


def _fits_graphsurgeon(attribute: AttributeProto) -> bool:
    """Whether graphsurgeon imports ``attribute`` without loss."""
    kinds = AttributeProto
    if attribute.ref_attr_name:
        raise InvalidInput(
            f"attribute {attribute.name!r} refers to a function's attribute outside a function"
        )
    if attribute.type in (kinds.STRING, kinds.STRINGS):
        return all(_is_text(text) for text in (attribute.s, *attribute.strings))
    return attribute.type in (kinds.FLOAT, kinds.INT, kinds.TENSOR, kinds.GRAPH,
                              kinds.FLOATS, kinds.INTS)  # fmt: skip


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
