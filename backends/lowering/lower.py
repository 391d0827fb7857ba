"""From a static graph to kernels, buffers and calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from burnish.backends.lowering.anchors import ANCHORS, FUSES_NOTHING, supports
from burnish.backends.lowering.control import CONTROL, emit_if, emit_loop
from burnish.backends.lowering.control import declines as declines_control
from burnish.backends.lowering.counted import Counts, find_counts
from burnish.backends.lowering.cuts import plan_cuts
from burnish.backends.lowering.disputed import refuse_disputed
from burnish.backends.lowering.elementwise import ELEMENTWISE, numpy_name
from burnish.backends.lowering.emitter import Emitter
from burnish.backends.lowering.fusion import Group, group_nodes
from burnish.backends.lowering.gates import with_gates
from burnish.backends.lowering.host import (
    arrange,
    copy_open,
    emit_region,
    entangled,
    passes,
    region_nodes,
)
from burnish.backends.lowering.kernel import Kernel
from burnish.backends.lowering.layout import identity, physical
from burnish.backends.lowering.outlived import Cut, enlarging
from burnish.backends.lowering.packed import PACKED
from burnish.backends.lowering.packed import declines as declines_packed
from burnish.backends.lowering.places import ADDRESS, part_of, plan_places
from burnish.backends.lowering.plan import VIEWS, extend_plan, plan_layouts, shape_of
from burnish.backends.lowering.strides import reshaped_within
from burnish.backends.lowering.tail import Converted, NotConverted, convert, emit_converted
from burnish.backends.lowering.work import describe_calls
from burnish.backends.program import Buffer, BufferKind, Call, Count, Program, Work
from burnish.errors import BurnishError, UnsupportedModel
from burnish.ir import REGION_DOMAIN, DType, Graph, OperatorNode, VariableNode
from burnish.passes.quantization.conversions import QUANTIZATION, stays
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
    work: list[Work]
    """What each of ``calls`` does."""


class KernelFailed(Exception):
    """No kernel can be made of some nodes after all; they have to run on the host."""

    def __init__(self, nodes: Sequence[OperatorNode], cause: Exception) -> None:
        """Blame ``nodes`` for ``cause``."""
        lines = str(cause).strip().splitlines()
        names = "+".join(dict.fromkeys(node.op_type for node in nodes))
        super().__init__(f"no kernel of {names}: {lines[-1] if lines else type(cause).__name__}")
        self.nodes = tuple(nodes)


def lower(
    graph: Graph,
    target: Target,
    failed: Mapping[OperatorNode, str] | None = None,
    winograd: int = 1,
) -> Lowered:
    """Lower ``graph``, whose shapes are static, for ``target``.

    Args:
        graph: after the passes of the ``compile`` preset.
        target: what to make kernels for.
        failed: nodes whose kernels could not be compiled in an earlier attempt, with the reason.
        winograd: outputs along an axis that convolutions may compute from shared products.

    Raises:
        UnsupportedModel: an input has no static shape or a type that buffers cannot hold, or it is
            disputed what an operator means.
    """
    refuse_disputed(graph)
    refused = dict(failed or {})
    copied: set[OperatorNode] = set()
    while True:
        counts = find_counts(graph, refused)
        try:
            with counts.applied():
                return _attempt(graph, target, refused, winograd, counts, copied)
        except KernelFailed as failure:
            refused |= dict.fromkeys(failure.nodes, str(failure))
        except _CountsOnHost as more:
            refused |= more.refused
        except _Copies as more_copies:
            copied |= more_copies.nodes


class _CountsOnHost(Exception):
    """Operators that make or read counted values have to run on the host, with the reasons."""

    def __init__(self, refused: Mapping[OperatorNode, str]) -> None:
        super().__init__(*refused.values())
        self.refused = refused


class _Copies(Exception):
    """Results of some nodes have to be copied after all, not read within their operands."""

    def __init__(self, nodes: set[OperatorNode]) -> None:
        super().__init__(*nodes)
        self.nodes = nodes


def _attempt(
    graph: Graph,
    target: Target,
    failed: Mapping[OperatorNode, str],
    winograd: int,
    counts: Counts,
    copied: Collection[OperatorNode],
) -> Lowered:
    converted, refusals = _classify(graph, {**failed, **counts.refusals})
    order, hosted = _partition(graph, refusals)
    counted = {node: reason for node, reason in refusals.items() if node in counts.nodes}
    if counted:
        raise _CountsOnHost(counted)
    native = frozenset(node for node in order if node not in hosted)
    # What TVM converts is row-major throughout.
    plan = plan_layouts(order, native - frozenset(converted))
    emitter = Emitter(graph, plan, target, ANCHORS, winograd)
    emitter.places.copied = frozenset(copied)
    for value in graph.inputs:
        emitter.home[value] = _input(value)
    inputs = [emitter.home[value] for value in graph.inputs]
    _emit_nodes(emitter, order, native, hosted, converted)
    outputs = [_emit_output(emitter, value, index) for index, value in enumerate(graph.outputs)]
    for value, output in zip(graph.outputs, outputs, strict=True):
        if value in counts.axes:
            axis = counts.axes[value]
            output.count = Count(axis.axis, emitter.filled[axis.source])
    if nodes := enlarging(Program(inputs, outputs, emitter.calls), emitter.cuts):
        raise _Copies(nodes)
    emitter.credit(())
    work = describe_calls(emitter.calls, emitter.origins, emitter.kernels)
    return Lowered(inputs, outputs, emitter.calls, emitter.kernels, refusals, work)


def _emit_nodes(
    emitter: Emitter,
    order: Sequence[OperatorNode],
    native: frozenset[OperatorNode],
    hosted: Mapping[OperatorNode, list[OperatorNode]],
    converted: dict[OperatorNode, Converted],
) -> None:
    """Emit the calls of a graph, or of a subgraph."""
    plan = emitter.plan
    described = native - plan.views - frozenset(converted)
    ours = frozenset(filter(_is_described, described))
    places = plan_places(order, plan, ours)
    places.copied = emitter.places.copied
    plan_cuts(order, plan, ours, places)
    emitter.places.add(places)
    cuts = {value.producer for value in places.cuts}
    whole = native - places.joins - cuts
    found = with_gates(group_nodes(order, plan, whole, _fuses), plan, places)
    groups = {group.nodes[-1]: group for group in found}
    fused = {node for group in found for node in group.nodes}
    for node in order:
        if node in plan.views - fused:
            _emit_view(emitter, node)
        elif node in places.joins:
            _emit_join(emitter, node)
        elif node in cuts:
            _emit_cut(emitter, node)
        elif node in groups:
            _emit(emitter, groups[node], converted)
        elif node in hosted and hosted[node][-1] is node:
            emit_region(emitter, hosted[node])
        emitter.credit(groups[node].sources if node in groups else hosted.get(node, [node]))


def _emit_body(emitter: Emitter, body: Graph, converted: dict[OperatorNode, Converted]) -> None:
    """Emit the calls of a subgraph, all of them kernels."""
    emitter.credit(())
    order = list(body)
    native = frozenset(order)
    extend_plan(emitter.plan, order, native - frozenset(converted))
    _emit_nodes(emitter, order, native, {}, converted)


def _partition(
    graph: Graph, refusals: dict[OperatorNode, str]
) -> tuple[list[OperatorNode], dict[OperatorNode, list[OperatorNode]]]:
    """An order to run in, and the regions; more nodes are refused where regions need them."""
    while True:
        order = arrange(graph, refusals)
        hosted = region_nodes(order, refusals)
        between = entangled(order, hosted)
        if not between:
            return order, hosted
        refusals |= {
            node: f"{node.op_type} lies between operators on the host that exchange no tensors"
            for node in between
        }


def _input(value: VariableNode) -> Buffer:
    if not passes(value):
        held = value.onnx_type.WhichOneof("value") if value.onnx_type else value.dtype
        raise UnsupportedModel(
            f"the input {value.name!r} holds {held}: compiled models take numeric tensors"
        )
    return Buffer(value.name, shape_of(value), numpy_name(value.dtype), BufferKind.INPUT)


def _is_described(node: OperatorNode) -> bool:
    """Whether the kernel of ``node``, once it is known to have one, comes from a description."""
    return node.op_type not in PACKED and node.op_type not in CONTROL


def _fuses(node: OperatorNode) -> bool:
    if node.op_type == "Attention":
        # It knows how to round what it gives.
        readers = node.output.consumers
        return len(readers) == 1 and readers[0].output.dtype is DType.BFLOAT16
    fusable = node.op_type in ANCHORS and node.op_type not in FUSES_NOTHING
    return fusable and supports(node) is None


def _classify(
    graph: Graph, failed: Mapping[OperatorNode, str]
) -> tuple[dict[OperatorNode, Converted], dict[OperatorNode, str]]:
    """Try what needs TVM's converters; say why where nothing helps."""
    converted: dict[OperatorNode, Converted] = {}
    refusals: dict[OperatorNode, str] = {}
    for node in graph:
        reason = failed.get(node) or _unsupported_types(node)
        if reason is None and node.is_op(*CONTROL):
            reason = declines_control(node)
            for body in node.subgraphs.values() if reason is None else ():
                inner, refused = _classify(body, failed)
                converted |= inner
                reason = next(iter(refused.values()), reason)
        elif reason is None and not _is_ours(node):
            try:
                converted[node] = convert(node, graph.opset)
            except NotConverted as error:
                reason = str(error)
        if reason is not None:
            refusals[node] = reason
    return converted, refusals


MOVERS = frozenset({
    "Cast", "CastLike", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
    "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that need no arithmetic of their own, and so take any type."""


def _is_ours(node: OperatorNode) -> bool:
    if node.domain not in ("", "ai.onnx", REGION_DOMAIN):
        return False
    if node.op_type == "Dropout":
        return not _drops(node)
    if node.op_type in QUANTIZATION:
        return stays(node)
    if node.op_type in VIEWS or node.op_type == "Transpose" or node.op_type in ELEMENTWISE:
        return True
    if node.op_type in PACKED:
        return declines_packed(node) is None
    return node.op_type in ANCHORS and supports(node) is None


def _drops(node: OperatorNode) -> bool:
    """Whether a Dropout may do something: it trains, or tells what it would have kept."""
    mode, constant = node.input(2), node.constant_input(2)
    trains = mode is not None and (constant is None or bool(constant.numpy().any()))
    return trains or any(value.uses for value in node.outputs[1:])


def _unsupported_types(node: OperatorNode) -> str | None:
    for value in (*node.inputs, *node.outputs):
        if value is None or (not value.uses and value.producer is node):
            continue
        if value.onnx_type is not None or value.dtype in (DType.UNDEFINED, DType.STRING):
            return f"{node.op_type} handles values that are no numeric tensors"
        if value.static_shape is None:
            return f"{node.op_type} has a shape that is known only when it runs"
        if not passes(value):
            return f"{node.op_type} handles {value.dtype}"
        if value.dtype is DType.BFLOAT16 and node.op_type not in MOVERS:
            return f"{node.op_type} handles {value.dtype}"
    return None


def _emit(emitter: Emitter, group: Group, converted: dict[OperatorNode, Converted]) -> None:
    try:
        if group.anchor is not None and group.anchor in converted:
            emit_converted(emitter, group.anchor, converted[group.anchor])
        elif group.anchor is not None and group.anchor.op_type in PACKED:
            PACKED[group.anchor.op_type](emitter, group.anchor)
        elif group.anchor is not None and group.anchor.op_type in CONTROL:
            emit = emit_loop if group.anchor.op_type == "Loop" else emit_if
            emit(emitter, group.anchor, lambda body: _emit_body(emitter, body, converted))
        else:
            emitter.emit_group(group)
    except BurnishError:
        raise
    except Exception as error:  # whatever TVM or a kernel's author did not think of
        raise KernelFailed(group.sources, error) from error


def _emit_join(emitter: Emitter, node: OperatorNode) -> None:
    try:
        emitter.join(node)
    except Exception as error:  # whatever TVM did not think of
        raise KernelFailed((node,), error) from error


def _emit_view(emitter: Emitter, node: OperatorNode) -> None:
    source = node.inputs[0]
    assert source is not None
    output, layout = node.output, emitter.plan.layout(source)
    shape = physical(shape_of(output), emitter.plan.layout(output))
    held = emitter.stored(source, layout, pitched=True)
    if held.within and reshaped_within(held.shape, held.within, shape) is None:
        held = emitter.stored(source, layout)
    emitter.home[output] = emitter.view(held, shape)


def _emit_cut(emitter: Emitter, node: OperatorNode) -> None:
    for value in (value for value in node.outputs if value.uses):
        place = emitter.places.cuts[value]
        layout = emitter.plan.layout(place.whole)
        part = part_of(emitter.stored(place.whole, layout, pitched=True), layout, place, value)
        if part.root()[1] % ADDRESS:
            # It lies otherwise than planned, where no kernel may read it.
            raise _Copies({node})
        shape = physical(shape_of(value), emitter.plan.layout(value))
        emitter.home[value] = emitter.view(part, shape)
        emitter.cuts.append(Cut(node, len(emitter.calls), part))


def _emit_output(emitter: Emitter, value: VariableNode, index: int) -> Buffer:
    """The caller's buffer for an output: the value's own memory if that can be, else a copy."""
    name = emitter.graph.output_names[index]
    if value.constant is None and value not in emitter.home:
        raise UnsupportedModel(f"the output {name!r} is no tensor that anything computes")
    if value.constant is None and not emitter.home[value].is_static:
        if emitter.home[value].kind is BufferKind.OUTPUT:
            return copy_open(emitter, value, name)
        held = emitter.home[value]
        held.kind, held.name = BufferKind.OUTPUT, name
        return held
    shape = shape_of(value)
    held = emitter.located(value, identity(len(shape)))
    root, offset = held.root()
    if root.kind is BufferKind.TEMPORARY and offset == 0 and root.nbytes == held.nbytes:
        root.kind = BufferKind.OUTPUT
        root.name = name
        return _as_output(root, name, shape)
    return emitter.copy_out(value, name)


def _as_output(root: Buffer, name: str, shape: tuple[int, ...]) -> Buffer:
    """Give the buffer that kernels write the shape that the caller sees."""
    if root.shape == shape:
        return root
    owner = Buffer(name, shape, root.dtype, BufferKind.OUTPUT)
    root.alias_of, root.offset, root.name = owner, 0, f"{name}.view"
    return owner
