"""Parts of a model that ONNX Runtime runs on the host, because no kernel can."""

from __future__ import annotations

from collections.abc import Collection

from burnish.backends.lowering.elementwise import numpy_name
from burnish.backends.lowering.emitter import Emitter
from burnish.backends.lowering.layout import identity
from burnish.backends.lowering.plan import shape_of
from burnish.backends.program import Buffer, BufferKind, Call
from burnish.errors import UnsupportedModel
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.ir.clone import extract


def region_nodes(
    graph: Graph, refused: Collection[OperatorNode]
) -> dict[OperatorNode, list[OperatorNode]]:
    """For each node that must run on the host, the run of nodes that goes there with it.

    A run is as long as the order of the graph lets it be without a native node in between.
    """
    hosted: dict[OperatorNode, list[OperatorNode]] = {}
    current: list[OperatorNode] = []
    for node in graph:
        if node not in refused:
            current = []
            continue
        current.append(node)
        hosted[node] = current
    return hosted


def emit_region(emitter: Emitter, nodes: list[OperatorNode]) -> None:
    """Emit one call of ONNX Runtime for ``nodes``."""
    inside = set(nodes)
    outputs = [
        value for node in nodes for value in node.outputs
        if any(use.user not in inside for use in value.uses)
    ]  # fmt: skip
    body, copies = extract(nodes)
    originals = {copy: value for value, copy in copies.values.items()}
    inputs = [originals[copy] for copy in body.inputs]
    for index, copy in enumerate(body.inputs):
        copy.name = f"in{index}"
    for index, value in enumerate(outputs):
        copies.values[value].name = f"out{index}"
    body.outputs = tuple(copies.values[value] for value in outputs)
    operands = [_operand(emitter, value) for value in inputs]
    targets = []
    for value in outputs:
        emitter.home[value] = _result(emitter, value)
        targets.append(emitter.home[value])
    label = "+".join(dict.fromkeys(node.op_type for node in nodes))
    model = body.to_onnx().SerializeToString(deterministic=True)
    emitter.calls.append(Call(label, (*operands, *targets), outputs=len(targets), region=model))


def _operand(emitter: Emitter, value: VariableNode) -> Buffer:
    if value.static_shape is None:
        return emitter.home[value]
    return emitter.located(value, identity(len(shape_of(value))))


def _result(emitter: Emitter, value: VariableNode) -> Buffer:
    if value.onnx_type is not None or value.shape is None:
        raise UnsupportedModel(
            f"{value.name!r} passes between parts of the model but is no tensor of known rank"
        )
    sizes = tuple(d if isinstance(d, int) else -1 for d in value.shape)
    kind = BufferKind.TEMPORARY if -1 not in sizes else BufferKind.OUTPUT
    return Buffer(value.name, sizes, numpy_name(value.dtype), kind)
