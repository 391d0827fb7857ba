"""Compute half-precision models in single precision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from onnx import TypeProto

from burnish.ir import Array, Constant, DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult

HALVES = (DType.FLOAT16, DType.BFLOAT16)

TYPE_ATTRIBUTES = frozenset({"dtype", "output_dtype", "softmax_precision", "stash_type", "to"})
"""Attributes of standard operators that hold an element type."""


@dataclass(frozen=True)
class WidenHalf(Pass):
    """Compute float16 and bfloat16 values in float32 where the target has no kernels for them.

    Inputs and outputs of the model keep their types: a Cast stands right behind and before them.
    Casts to half in between become casts to float32: they no longer round, nor turn values beyond
    65504 into infinities.

    Before:
        y: float16 = MatMul(x: float16, w: float16)

    After:
        y: float16 = Cast(MatMul(Cast(x: float16), w: float))
    """

    name: ClassVar[str] = "widen-half"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Widen when compiling for a target without half arithmetic, else leave the graph."""
        halves = tuple(
            dtype
            for dtype in HALVES
            if context.target is not None and not context.target.computes(dtype)
        )
        work = _Widening(Rewriter(graph), halves)
        if halves:
            work.graph(graph)
        result = work.result
        result.edits = work.rewriter.edits
        return result


@dataclass(eq=False)
class _Widening:
    rewriter: Rewriter
    halves: tuple[DType, ...]
    wide: dict[VariableNode, VariableNode] = field(default_factory=dict)
    """Single-precision form of constants and of inputs of the model."""
    casts: set[OperatorNode] = field(default_factory=set)
    """Casts at the inputs and outputs of the model: these keep their types."""
    result: RewriteResult = field(default_factory=RewriteResult)

    def graph(self, graph: Graph) -> None:
        """Widen the values of ``graph`` and its subgraphs in order."""
        is_main = graph.owner is None
        if is_main:
            self._find_border(graph)
            for value in graph.inputs:
                self._widen_input(graph, value)
            self._narrow_outputs(graph)
        else:
            for value in graph.inputs:
                self._retype(value)
        for node in graph:
            if node not in self.casts:
                self._node(node)

    def _find_border(self, graph: Graph) -> None:
        """Casts that an earlier run, or the exporter, put at the inputs and outputs."""
        for node in graph:
            source = node.input(0)
            if source is None or not node.is_op("Cast", "Identity"):
                continue
            if node.op_type == "Identity":
                # A constant that the model returns.
                if source.is_constant and all(isinstance(u.user, Graph) for u in node.output.uses):
                    self.casts.add(node)
                continue
            given = source in graph.inputs
            returned = all(isinstance(use.user, Graph) for use in node.output.uses)
            reads = given and node.output.dtype is DType.FLOAT
            if reads or (returned and (given or source.dtype is DType.FLOAT)):
                self.casts.add(node)

    def _is_half(self, dtype: DType) -> bool:
        return dtype in self.halves

    def _widen_input(self, graph: Graph, value: VariableNode) -> None:
        readers = [node for node in value.consumers if node not in self.casts]
        if not self._is_half(value.dtype) or not readers:
            return
        result = VariableNode("", DType.FLOAT, value.shape)
        cast = OperatorNode("Cast", [value], [result], {"to": int(DType.FLOAT)})
        self.casts.add(self.rewriter.insert(cast, graph.first))
        self.wide[value] = result

    def _node(self, node: OperatorNode) -> None:
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            wide = self._widened(value)
            if wide is not value:
                self.rewriter.set_input(node, index, wide)
        self._attributes(node)
        for body in node.subgraphs.values():
            self.graph(body)
            wide_results = [self._widened(value) for value in body.outputs]
            if wide_results != list(body.outputs):
                self.rewriter.set_results(body, wide_results)
        retyped = [self._retype(value) for value in node.outputs]
        if any(retyped):
            self.result.fired.append(Firing("widen", node.provenance))

    def _attributes(self, node: OperatorNode) -> None:
        """Widen element types and tensors that ``node`` holds."""
        for name, item in list(node.attributes.items()):
            if isinstance(item, Constant) and self._is_half(item.dtype):
                self.rewriter.set_attribute(node, name, widened(item))
            elif name in TYPE_ATTRIBUTES and isinstance(item, int) and item in self.halves:
                self.rewriter.set_attribute(node, name, int(DType.FLOAT))

    def _widened(self, value: VariableNode) -> VariableNode:
        """The single-precision form of a constant or input, else ``value``."""
        if value.constant is not None and self._is_half(value.dtype) and value not in self.wide:
            self.wide[value] = VariableNode.of(widened(value.constant), value.name)
        return self.wide.get(value, value)

    def _retype(self, value: VariableNode) -> bool:
        if value.onnx_type is not None:
            message = TypeProto()
            message.CopyFrom(value.onnx_type)
            if self._retype_message(message):
                value.onnx_type = message
                self.rewriter.edits["annotate"] += 1
        if not self._is_half(value.dtype):
            return False
        value.dtype = DType.FLOAT
        self.rewriter.edits["annotate"] += 1
        return True

    def _retype_message(self, message: TypeProto) -> bool:
        """Widen the tensors inside a sequence or optional type."""
        kind = message.WhichOneof("value")
        if kind == "tensor_type":
            half = message.tensor_type.elem_type in self.halves
            if half:
                message.tensor_type.elem_type = int(DType.FLOAT)
            return half
        if kind in ("sequence_type", "optional_type"):
            return self._retype_message(getattr(message, kind).elem_type)
        return False

    def _narrow_outputs(self, graph: Graph) -> None:
        """Return what the model declares: a Cast makes the results half again."""
        narrow: dict[VariableNode, VariableNode] = {}
        for value in dict.fromkeys(graph.outputs):
            node = value.producer
            if node is None or node in self.casts or not self._is_half(value.dtype):
                continue
            result = VariableNode(value.name, value.dtype, value.shape)
            value.name = ""
            cast = OperatorNode("Cast", [value], [result], {"to": int(value.dtype)},
                                provenance=node.provenance)  # fmt: skip
            self.rewriter.anchor = None
            self.casts.add(self.rewriter.insert(cast))
            narrow[value] = result
        if narrow:
            self.rewriter.set_results(graph, [narrow.get(v, v) for v in graph.outputs])


def widened(constant: Constant) -> Constant:
    """``constant`` in single precision, converted when it is first looked at."""

    def load() -> Array:
        return constant.numpy().astype(np.float32)

    return Constant(constant.shape, DType.FLOAT, load)
