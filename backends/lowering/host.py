"""Parts of a model that ONNX Runtime runs on the host, because no kernel can."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from burnish.backends.lowering.elementwise import numpy_name
from burnish.backends.lowering.emitter import Emitter
from burnish.backends.lowering.layout import identity
from burnish.backends.lowering.plan import shape_of
from burnish.backends.program import Buffer, BufferKind, Call, item_bytes
from burnish.errors import UnsupportedModel
from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.ir.clone import extract, values_read
from burnish.oracle.exact_products import exact_products


def arrange(graph: Graph, refused: Collection[OperatorNode]) -> list[OperatorNode]:
    """The nodes in an order that changes between kernels and the host as rarely as it can."""
    nodes = list(graph)
    if not refused:
        return nodes
    position = {node: index for index, node in enumerate(nodes)}
    waiting = {}
    readers: dict[OperatorNode, list[OperatorNode]] = {}
    for node in nodes:
        makers = {v.producer for v in values_read(node) if v.producer in position}
        waiting[node] = len(makers)
        for maker in makers:
            assert maker is not None
            readers.setdefault(maker, []).append(node)
    ready: tuple[list[int], list[int]] = ([], [])
    for node in nodes:
        if not waiting[node]:
            heapq.heappush(ready[node in refused], position[node])
    order: list[OperatorNode] = []
    hosted = False
    while any(ready):
        if not ready[hosted]:
            hosted = not hosted
        node = nodes[heapq.heappop(ready[hosted])]
        order.append(node)
        for reader in readers.get(node, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready[reader in refused], position[reader])
    return order


def region_nodes(
    order: Sequence[OperatorNode], refused: Collection[OperatorNode]
) -> dict[OperatorNode, list[OperatorNode]]:
    """For each node that must run on the host, the run of nodes that goes there with it.

    A run is as long as ``order`` lets it be without a native node in between.
    """
    hosted: dict[OperatorNode, list[OperatorNode]] = {}
    current: list[OperatorNode] = []
    for node in order:
        if node not in refused:
            current = []
            continue
        current.append(node)
        hosted[node] = current
    return hosted


def entangled(
    order: Sequence[OperatorNode], hosted: dict[OperatorNode, list[OperatorNode]]
) -> set[OperatorNode]:
    """Native nodes between two regions that exchange what no buffer can hold.

    They have to run on the host as well, so that the two become one.
    """
    position = {node: index for index, node in enumerate(order)}
    found: set[OperatorNode] = set()
    for node, run in hosted.items():
        for value in values_read(node):
            maker = value.producer
            if maker not in hosted or hosted[maker] is run or passes(value):
                continue
            found |= {n for n in _ancestors(node, position, position[maker]) if n not in hosted}
    return found


def _ancestors(
    node: OperatorNode, position: dict[OperatorNode, int], after: int
) -> set[OperatorNode]:
    """Nodes that ``node`` depends on and that come behind position ``after``."""
    found: set[OperatorNode] = set()
    pending = [node]
    while pending:
        for value in values_read(pending.pop()):
            maker = value.producer
            if maker in position and position[maker] > after and maker not in found:
                found.add(maker)
                pending.append(maker)
    return found


def passes(value: VariableNode) -> bool:
    """Whether ``value`` can pass between regions and kernels: a numeric tensor of known rank."""
    if value.onnx_type is not None or value.shape is None:
        return False
    if value.dtype in (DType.UNDEFINED, DType.STRING):
        return False
    try:
        item_bytes(numpy_name(value.dtype))
    except ValueError:
        return False
    return True


def emit_region(emitter: Emitter, nodes: list[OperatorNode]) -> None:
    """Emit one call of ONNX Runtime for ``nodes``."""
    inside = set(nodes)
    outputs = [
        value for node in nodes for value in node.outputs
        if any(_outermost(use.user, emitter.graph) not in inside for use in value.uses)
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
        emitter.home[value] = _result(value)
        targets.append(emitter.home[value])
    label = "+".join(dict.fromkeys(node.op_type for node in nodes))
    model = exact_products(body).to_onnx().SerializeToString(deterministic=True)
    emitter.calls.append(Call(label, (*operands, *targets), outputs=len(targets), region=model))


def copy_open(emitter: Emitter, value: VariableNode, name: str) -> Buffer:
    """Emit a copy on the host of ``value``, some size of which is open, for another output."""
    node = OperatorNode("Identity", [VariableNode("in0", value.dtype, value.shape)], ())
    result = VariableNode("out0", value.dtype, value.shape)
    node.outputs = [result]
    body = Graph("copy", dict(emitter.graph.opsets), inputs=[node.inputs[0]])  # type: ignore[list-item]
    body.append(node)
    body.outputs = (result,)
    source = emitter.home[value]
    target = Buffer(name, source.shape, source.dtype, BufferKind.OUTPUT)
    model = body.to_onnx().SerializeToString(deterministic=True)
    emitter.calls.append(Call("Identity", (source, target), region=model))
    return target


def _outermost(user: OperatorNode | Graph, graph: Graph) -> OperatorNode | None:
    """The node of ``graph`` itself in whose bodies ``user`` is; None for ``graph``."""
    node = user.owner if isinstance(user, Graph) else user
    while node is not None and node.graph is not graph:
        node = node.graph.owner if node.graph is not None else None
    return node


def _operand(emitter: Emitter, value: VariableNode) -> Buffer:
    if value.static_shape is None:
        return emitter.home[value]
    return emitter.located(value, identity(len(shape_of(value))))


def _result(value: VariableNode) -> Buffer:
    if not passes(value):
        raise UnsupportedModel(
            f"{value.name!r} is computed on the host and leaves it, but it is no numeric tensor "
            "of known rank: compile the part of the model that handles tensors"
        )
    sizes = tuple(d if isinstance(d, int) else -1 for d in value.shape or ())
    return Buffer(value.name, sizes, numpy_name(value.dtype), BufferKind.TEMPORARY)
