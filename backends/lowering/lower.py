"""From a static graph to kernels, buffers and calls."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.backends.lowering.anchors import ANCHORS, FUSES_NOTHING, supports
from burnish.backends.lowering.elementwise import ELEMENTWISE, numpy_name
from burnish.backends.lowering.emitter import Emitter, Kernel
from burnish.backends.lowering.fusion import Group, group_nodes
from burnish.backends.lowering.host import emit_region, region_nodes
from burnish.backends.lowering.layout import identity, physical, same_storage
from burnish.backends.lowering.plan import VIEWS, Plan, plan_layouts, shape_of
from burnish.backends.lowering.tail import Converted, NotConverted, convert, emit_converted
from burnish.backends.program import Buffer, BufferKind, Call, item_bytes
from burnish.ir import REGION_DOMAIN, DType, Graph, OperatorNode, VariableNode
from burnish.target import Target


@dataclass
class Lowered:
    """A model as unscheduled kernels and the calls that use them."""

    inputs: list[Buffer]
    outputs: list[Buffer]
    calls: list[Call]
    kernels: list[Kernel]
    refusals: dict[OperatorNode, str]
    """Nodes left to ONNX Runtime, with the reason."""


def lower(graph: Graph, target: Target) -> Lowered:
    """Lower ``graph``, whose shapes are static, for ``target``.

    Raises:
        UnsupportedModel: an input has no static shape or a type that buffers cannot hold.
    """
    converted, refusals = _classify(graph)
    hosted = region_nodes(graph, refusals)
    native = frozenset(node for node in graph if node not in hosted)
    plan = plan_layouts(graph, native)
    emitter = Emitter(graph, plan, target, ANCHORS)
    for value in graph.inputs:
        emitter.home[value] = Buffer(
            value.name, shape_of(value), numpy_name(value.dtype), BufferKind.INPUT
        )
    inputs = [emitter.home[value] for value in graph.inputs]
    groups = {group.nodes[-1]: group for group in group_nodes(graph, plan, native, _fuses)}
    for node in graph:
        if node in plan.views:
            _emit_view(emitter, node)
        elif node in groups:
            _emit(emitter, groups[node], converted)
        elif node in hosted and hosted[node][-1] is node:
            emit_region(emitter, hosted[node])
    outputs = [_emit_output(emitter, value, index) for index, value in enumerate(graph.outputs)]
    return Lowered(inputs, outputs, emitter.calls, emitter.kernels, refusals)


def _fuses(node: OperatorNode) -> bool:
    fusable = node.op_type in ANCHORS and node.op_type not in FUSES_NOTHING
    return fusable and supports(node) is None


def _classify(graph: Graph) -> tuple[dict[OperatorNode, Converted], dict[OperatorNode, str]]:
    """Try what needs TVM's converters; say why where nothing helps."""
    converted: dict[OperatorNode, Converted] = {}
    refusals: dict[OperatorNode, str] = {}
    for node in graph:
        reason = _unsupported_types(node)
        if reason is None and not _is_ours(node):
            try:
                converted[node] = convert(node, graph.opset)
            except NotConverted as error:
                reason = str(error)
        if reason is not None:
            refusals[node] = reason
    return converted, refusals


def _is_ours(node: OperatorNode) -> bool:
    if node.domain not in ("", "ai.onnx", REGION_DOMAIN):
        return False
    if node.op_type in VIEWS or node.op_type == "Transpose" or node.op_type in ELEMENTWISE:
        return True
    return node.op_type in ANCHORS and supports(node) is None


def _unsupported_types(node: OperatorNode) -> str | None:
    for value in (*node.inputs, *node.outputs):
        if value is None or (not value.uses and value.producer is node):
            continue
        if value.onnx_type is not None or value.dtype in (DType.UNDEFINED, DType.STRING):
            return f"{node.op_type} handles values that are no numeric tensors"
        if value.static_shape is None:
            return f"{node.op_type} has a shape that is known only when it runs"
        try:
            item_bytes(numpy_name(value.dtype))
        except ValueError:
            return f"{node.op_type} handles {value.dtype}"
    return None


def _emit(
    emitter: Emitter, group: Group, converted: dict[OperatorNode, Converted]
) -> None:
    if group.anchor is not None and group.anchor in converted:
        emit_converted(emitter, group.anchor, converted[group.anchor])
    else:
        emitter.emit_group(group)


def _emit_view(emitter: Emitter, node: OperatorNode) -> None:
    source = node.inputs[0]
    assert source is not None
    output = node.output
    held = emitter.located(source, emitter.plan.layout(source))
    shape = physical(shape_of(output), emitter.plan.layout(output))
    emitter.home[output] = emitter.view(held, shape)


def _emit_output(emitter: Emitter, value: VariableNode, index: int) -> Buffer:
    """The caller's buffer for an output: the value's own memory if that can be, else a copy."""
    name = emitter.graph.outputs[index].name
    if value not in emitter.home and value.constant is None:
        raise KeyError(name)
    if value.constant is None and emitter.home[value].kind is BufferKind.OUTPUT:
        open_sized = not emitter.home[value].is_static
        if open_sized:
            return emitter.home[value]
    shape = shape_of(value)
    held = emitter.located(value, identity(len(shape)))
    root, offset = held.root()
    if root.kind is BufferKind.TEMPORARY and offset == 0 and root.nbytes == held.nbytes:
        root.kind = BufferKind.OUTPUT
        root.name, root.shape = name, root.shape
        return _as_output(emitter, root, name, shape)
    return emitter.copy_out(value, name)


def _as_output(emitter: Emitter, root: Buffer, name: str, shape: tuple[int, ...]) -> Buffer:
    """Give the buffer that kernels write the shape that the caller sees."""
    if root.shape == shape:
        return root
    owner = Buffer(name, shape, root.dtype, BufferKind.OUTPUT)
    root.alias_of, root.offset, root.name = owner, 0, f"{name}.view"
    return owner


