"""Turns groups of nodes into kernels, buffers and calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import tvm.tirx as tx
from tvm import te

from burnish.backends.kernels.decoded import Decoded
from burnish.backends.lowering.elementwise import (
    ELEMENTWISE,
    Expr,
    numpy_name,
    stored_name,
    uniform_scalar,
)
from burnish.backends.lowering.encoding import Encoding, Rounded, parameter
from burnish.backends.lowering.fusion import Gate, Group
from burnish.backends.lowering.kernel import Kernel
from burnish.backends.lowering.layout import Layout, identity, physical, same_storage
from burnish.backends.lowering.outlived import Cut
from burnish.backends.lowering.pitched import pitched
from burnish.backends.lowering.places import (
    READERS,
    WRITERS,
    Place,
    Places,
    concat_axis,
    part_of,
    parts_of,
)
from burnish.backends.lowering.plan import Plan, shape_of
from burnish.backends.lowering.strides import reshaped_within
from burnish.backends.lowering.tables import table_kernel
from burnish.backends.program import Buffer, BufferKind, Call
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.passes.quantization.conversions import parameter_axis
from burnish.target import Target

Reader: TypeAlias = Callable[[Sequence[Expr]], Expr]
"""The element at an index of the kernel's iteration space."""
AnchorEmitter: TypeAlias = Callable[["KernelBuilder", OperatorNode], list[te.Tensor]]
"""Describes an anchor's results, each in the physical shape that the plan gave it."""


@dataclass
class Emitter:
    """State of lowering one graph: where values live, what has been emitted."""

    graph: Graph
    plan: Plan
    target: Target
    anchors: dict[str, AnchorEmitter]
    winograd: int = 1
    """Outputs along an axis of a convolution that may share products."""
    home: dict[VariableNode, Buffer] = field(default_factory=dict)
    copies: dict[Any, Buffer] = field(default_factory=dict)
    """By memory, shape, layout before and after, and dtype."""
    places: Places = field(default_factory=Places)
    rooms: dict[VariableNode, Buffer] = field(default_factory=dict)
    """Where values are written, or will be."""
    cuts: list[Cut] = field(default_factory=list)
    """What is read within operands."""
    settled: set[Any] = field(default_factory=set)
    """Parts of Concats that were copied to their place, as `_location` tells it."""
    constants: dict[Any, Buffer] = field(default_factory=dict)
    kernels: list[Kernel] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    filled: dict[OperatorNode, Buffer] = field(default_factory=dict)
    """Where operators that count their results say how many there are."""
    origins: list[Sequence[OperatorNode]] = field(default_factory=list)
    """The nodes that each call was emitted for; one sequence for all calls of a group."""

    def credit(self, nodes: Sequence[OperatorNode]) -> None:
        """Say that the calls emitted since the last time were for ``nodes``."""
        self.origins += [nodes] * (len(self.calls) - len(self.origins))

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Forget copies made within, which calls behind a jump cannot rely on."""
        before = dict(self.copies)
        yield
        self.copies = before

    def temporary(self, name: str, shape: Sequence[int], dtype: str) -> Buffer:
        """A new buffer in the arena."""
        return Buffer(name, tuple(shape), dtype, BufferKind.TEMPORARY)

    def constant(self, array: Array, key: object = None) -> Buffer:
        """A buffer in the weights file; equal ``key`` means equal contents."""
        if key is not None and key in self.constants:
            return self.constants[key]
        array = np.asarray(array, order="C")
        buffer = Buffer(
            f"w{len(self.constants)}", array.shape, str(array.dtype), BufferKind.CONSTANT, array
        )
        self.constants[key if key is not None else buffer] = buffer
        return buffer

    def view(self, buffer: Buffer, shape: Sequence[int]) -> Buffer:
        """The same elements under another shape, contiguous or in rows that allow it."""
        if buffer.shape == tuple(shape):
            return buffer
        within = buffer.within and reshaped_within(buffer.shape, buffer.within, shape)
        if within is None and buffer.within is not None:
            raise ValueError(f"rows of {buffer.name} lie apart: it has no shape {shape}")
        shape, kind = tuple(shape), buffer.kind
        return Buffer(buffer.name, shape, buffer.dtype, kind, alias_of=buffer, within=within)

    def room(self, value: VariableNode, shape: Sequence[int]) -> Buffer:
        """Where to write ``value``: in its place within another one, if it has that, or anew."""
        dtype = numpy_name(value.dtype)
        place = self.places.of.get(value)
        if value not in self.rooms:
            if place is None:
                self.rooms[value] = self.temporary(value.name, shape, dtype)
            else:
                layout = self.plan.layout(value)
                outer = self.room(place.whole, physical(shape_of(place.whole), layout))
                self.rooms[value] = part_of(outer, layout, place, value)
        return self.rooms[value]

    def join(self, node: OperatorNode) -> None:
        """Complete the result of a Concat: copy the parts that were not written in place."""
        layout = self.plan.layout(node.output)
        whole = self.room(node.output, physical(shape_of(node.output), layout))
        for value, start in parts_of(node):
            place = Place(node.output, concat_axis(node), start)
            target = part_of(whole, layout, place, value)
            at = target.elements()
            if at in self.settled or (value in self.home and self.home[value].elements() == at):
                continue
            self.settled.add(at)
            self._copy(value, layout, target, node)
        self.home[node.output] = whole

    def _copy(
        self, value: VariableNode, layout: Layout, target: Buffer, node: OperatorNode
    ) -> None:
        """Copy ``value`` to where ``node`` wants it."""
        builder = KernelBuilder(self, pitched=True)
        source = builder.read(value, layout)
        result = te.compute(target.shape, lambda *index: source(*index), name="copy")
        self.launch(builder, [result], [target], (node,), node.op_type.lower())

    def located(self, value: VariableNode, layout: Layout, pitched: bool = False) -> Buffer:
        """A buffer that holds ``value`` in ``layout`` (over its own rank).

        It is contiguous; with ``pitched``, rows may lie farther apart than they are long.
        """
        return self._located(value, layout, numpy_name(value.dtype), pitched)

    def stored(self, value: VariableNode, layout: Layout, pitched: bool = False) -> Buffer:
        """The same, but numbers that are kept in another type stay that."""
        kept = numpy_name(value.dtype) if value.constant is not None else self.home[value].dtype
        return self._located(value, layout, kept, pitched)

    def _located(
        self, value: VariableNode, layout: Layout, dtype: str, pitched: bool = False
    ) -> Buffer:
        shape = shape_of(value)
        if value.constant is not None:
            array = value.constant.numpy()
            key = (id(value.constant), layout)
            return self.constant(array.transpose(layout), key)
        home, current = self.home[value], self.plan.layout(value)
        as_it_is = home.within is None or (pitched and layout == current)
        if as_it_is and home.dtype == dtype and same_storage(shape, current, layout):
            return self.view(home, physical(shape, layout))
        encoding = None if home.dtype == dtype else self.plan.encoded[value]
        key_ = (*home.elements()[:3], shape, current, layout, dtype, encoding)
        if key_ not in self.copies:
            self.copies[key_] = self._transpose(value, layout, dtype, encoding)
        return self.copies[key_]

    def _transpose(
        self, value: VariableNode, layout: Layout, dtype: str, encoding: Encoding | None
    ) -> Buffer:
        shape, home, current = shape_of(value), self.home[value], self.plan.layout(value)
        builder = KernelBuilder(self)
        source = builder.argument(self.view(home, physical(shape, current)))
        element_of = encoding.decoded(builder, source, current) if encoding else source

        def element(*index: Expr) -> Expr:
            logical = dict(zip(layout, index, strict=True))
            return element_of(*(logical[axis] for axis in current))

        result = te.compute(physical(shape, layout), element, name="transpose")
        target = self.temporary(f"{value.name}.copy", physical(shape, layout), dtype)
        makers = (value.producer,) if value.producer else ()
        self.launch(builder, [result], [target], makers, "transpose")
        return target

    def launch(
        self,
        builder: KernelBuilder,
        results: list[te.Tensor],
        targets: list[Buffer],
        nodes: tuple[OperatorNode, ...],
        label: str,
        flops: float = 0.0,
    ) -> None:
        """Record the kernel that ``builder`` described and a call of it."""
        tensors = [tensor for tensor, _ in builder.arguments]
        operands = [buffer for _, buffer in builder.arguments]
        func = pitched(
            te.create_prim_func([*tensors, *results]),
            {n: b.within for n, b in enumerate((*operands, *targets)) if b.within is not None},
        )
        self.record(func, operands, targets, nodes, label, flops)

    def record(
        self,
        func: Any,
        operands: Sequence[Buffer],
        targets: Sequence[Buffer],
        nodes: tuple[OperatorNode, ...],
        label: str,
        flops: float = 0.0,
    ) -> None:
        """Record a kernel and a call of it."""
        name = f"k{len(self.kernels)}_{label}"
        self.kernels.append(Kernel(name, func, nodes, flops))
        self.calls.append(Call(name, (*operands, *targets), outputs=len(targets)))

    def copy_out(self, value: VariableNode, name: str) -> Buffer:
        """A copy of ``value``, row-major, in the caller's memory."""
        shape = shape_of(value)
        builder = KernelBuilder(self)
        source = builder.read(value)
        result = te.compute(shape, lambda *index: source(*index), name="copy")
        target = Buffer(name, shape, numpy_name(value.dtype), BufferKind.OUTPUT)
        self.launch(builder, [result], [target], (), "copy")
        return target

    def emit_group(self, group: Group) -> None:
        """Emit the kernel of one group."""
        is_free = group.anchor is None or group.anchor.op_type in READERS
        builder = KernelBuilder(self, pitched=is_free)
        builder.gate = group.gate
        builder.rounds = [node.op_type for node in group.nodes] == ["Attention", "Cast"]
        label = (group.anchor or group.nodes[-1]).op_type.lower()
        if group.anchor is None:
            table = table_kernel(builder, group.nodes)
            results = [builder.elementwise(group.nodes, {}) if table is None else table]
        else:
            results = self.anchors[group.anchor.op_type](builder, group.anchor)
            if group.epilogue and not builder.rounds:
                results = [builder.elementwise(group.epilogue, {group.anchor.output: results[0]})]
        targets = []
        for value, result in zip(group.outputs, results, strict=True):
            shape = [int(extent) for extent in result.shape]
            if math.prod(shape) != math.prod(shape_of(value)):
                raise ValueError(f"the kernel makes {shape} of what is {shape_of(value)}")
            self.home[value] = self._target(group, value, shape)
            targets.append(self.home[value])
        self.launch(builder, results, targets, tuple(group.sources), label, builder.flops)

    def _target(self, group: Group, value: VariableNode, shape: Sequence[int]) -> Buffer:
        """Where the kernel of ``group`` writes ``value``."""
        fits = tuple(shape) == physical(shape_of(value), self.plan.layout(value))
        if fits and (group.anchor is None or group.anchor.op_type in WRITERS):
            return self.room(value, shape)
        return self.temporary(value.name, shape, numpy_name(value.dtype))


class KernelBuilder:
    """Collects the operands of one kernel while its results are described."""

    def __init__(self, emitter: Emitter, pitched: bool = False) -> None:
        """Start a kernel; ``pitched`` says that it can read rows at any distance."""
        self.emitter = emitter
        self._pitched = pitched
        self.arguments: list[tuple[te.Tensor, Buffer]] = []
        self.flops = 0.0
        self.gate: Gate | None = None
        self.rounds = False
        """Whether an anchor that fuses nothing is to give its result as bfloat16."""
        self._decoded: dict[tuple[te.Tensor, Encoding], Decoded] = {}

    @property
    def target(self) -> Target:
        """The processor that the kernel is for."""
        return self.emitter.target

    def layout(self, value: VariableNode) -> Layout:
        """The layout that ``value`` has in memory."""
        return self.emitter.plan.layout(value)

    def argument(self, buffer: Buffer) -> te.Tensor:
        """The tensor of an operand, one for each distinct buffer and shape."""
        for tensor, known in self.arguments:
            if known is buffer or (
                known.elements() == buffer.elements() and known.dtype == buffer.dtype
            ):  # fmt: skip
                return tensor
        tensor = te.placeholder(
            buffer.shape, stored_name(buffer.dtype), name=f"p{len(self.arguments)}"
        )
        self.arguments.append((tensor, buffer))
        return tensor

    def read(self, value: VariableNode | None, layout: Layout | None = None) -> te.Tensor:
        """The operand ``value`` in ``layout`` (row-major by default), for expressions.

        Numbers that are kept in another type are decoded as they are read.
        """
        assert value is not None
        order = identity(len(shape_of(value))) if layout is None else layout
        buffer = self.emitter.stored(value, order, self._pitched)
        tensor = self.argument(buffer)
        if buffer.dtype == numpy_name(value.dtype):
            return tensor
        encoding = self.emitter.plan.encoded[value]
        if (tensor, encoding) not in self._decoded:
            self._decoded[tensor, encoding] = encoding.decoded(self, tensor, order)
        return self._decoded[tensor, encoding]

    def stored(self, value: VariableNode, layout: Layout) -> te.Tensor:
        """The same as it is stored."""
        return self.argument(self.emitter.stored(value, layout, self._pitched))

    def factor(self, value: VariableNode | None, layout: Layout | None = None) -> te.Tensor:
        """The same for products, which decode bfloat16 alone, and take more rows for others."""
        assert value is not None
        kept = self.emitter.plan.encoded.get(value)
        return (self.read if kept in (None, Rounded()) else self.operand)(value, layout)

    def operand(
        self, value: VariableNode | None, layout: Layout | None = None, pitched: bool = False
    ) -> te.Tensor:
        """The same for kernels that take buffers: each number in the type of ``value``."""
        assert value is not None
        order = identity(len(shape_of(value))) if layout is None else layout
        return self.argument(self.emitter.located(value, order, pitched))

    def weights(self, array: Array, key: object = None) -> te.Tensor:
        """A constant operand made at compile time."""
        return self.argument(self.emitter.constant(array, key))

    def elementwise(
        self, nodes: Sequence[OperatorNode], made: dict[VariableNode, te.Tensor]
    ) -> te.Tensor:
        """One expression for a chain of elementwise nodes over the output's elements.

        ``made`` holds results of the anchor, which the first nodes read.
        """
        last = nodes[-1].output
        shape, layout = shape_of(last), self.layout(last)
        inside = {node.output for node in nodes} | set(made)
        readers = {
            (value, axis): self._reader(value, shape, layout, axis)
            for node in nodes
            for value in node.inputs
            if value is not None and value not in inside
            for axis in [parameter_axis(node, value)]
        }

        def element(*index: Expr) -> Expr:
            known = {value: tensor(*index) for value, tensor in made.items()}
            for node in nodes:
                operands = [
                    None if v is None
                    else known[v] if v in known
                    else readers[v, parameter_axis(node, v)](index)
                    for v in node.inputs
                ]  # fmt: skip
                known[node.output] = ELEMENTWISE[node.op_type](node, operands)
            return known[last]

        return te.compute(physical(shape, layout), element, name="elementwise")

    def _reader(
        self, value: VariableNode, shape: tuple[int, ...], layout: Layout, axis: int | None
    ) -> Reader:
        """How to read ``value`` broadcast over ``shape`` in ``layout``, or laid along ``axis``."""
        if axis is not None or uniform_scalar(value) is not None:
            return parameter(self, value, None if axis is None else layout.index(axis))
        own = shape_of(value)
        rank, added = len(own), len(shape) - len(own)
        order = tuple(axis - added for axis in layout if axis >= added)
        tensor = self.read(value, order)
        assert len(order) == rank

        def at(index: Sequence[Expr]) -> Expr:
            kept = [i for i, axis in zip(index, layout, strict=True) if axis >= added]
            return tensor(*(
                tx.const(0, "int32") if own[axis] == 1 else i
                for i, axis in zip(kept, order, strict=True)
            ))  # fmt: skip

        return at
