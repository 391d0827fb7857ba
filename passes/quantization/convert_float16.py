"""Computes in half the bits what bears it: float16, or weights that are stored as bfloat16."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.errors import UsageError
from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.quantization.half_range import HalfRange
from burnish.passes.quantization.weighted import WEIGHTED
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult
from burnish.suggest import unknown

KINDS = {"float16": DType.FLOAT16, "bfloat16": DType.BFLOAT16}
BESIDE = frozenset({
    "Abs", "Add", "Clip", "Concat", "DepthToSpace", "Div", "Expand", "Flatten", "Gather", "Gelu",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Max", "MaxPool", "Min", "Mul", "Neg",
    "PRelu", "Pad", "Relu", "Reshape", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze",
    "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that go along with products beside them; sums over many numbers are none of them."""
FEWEST = 64
"""Elements of a constant that are worth a Cast."""


@dataclass(frozen=True)
class ConvertFloat16(Pass):
    """Compute products, and what lies between them, in float16, where calibration data allow it.

    Values that come near 65504, or that lose digits because they are small, are named and stay
    float32, with all that computes them; so do norms, softmax, averages and other sums over many
    numbers. What a model reads and returns stays float32. With ``dtype`` bfloat16 weights alone
    are stored so, and computed with in float32; that takes no data.

    Before:
        y = Softmax(Relu(MatMul(x, w)))

    After:
        y = Softmax(Cast(Relu(MatMul(Cast(x, float16), w16)), float))
    """

    dtype: str = "float16"
    """``float16``, or ``bfloat16`` for weights alone."""
    keep: tuple[str, ...] = ()
    """Names of nodes to leave in float32, as the model calls them."""
    headroom: float = 2.0
    """How many times the largest value on calibration data has to fit."""
    largest_loss: float = 2.0**-9
    """Part of a value or a weight that rounding may take away, as root mean square."""

    name: ClassVar[str] = "convert-float16"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Convert what bears it.

        Raises:
            UsageError: there is no such ``dtype``.
            BurnishError: the calibration data do not fit the graph.
        """
        if self.dtype not in KINDS:
            raise UsageError(unknown("dtype", self.dtype, KINDS))
        rw, result = Rewriter(graph), RewriteResult()
        found = [node for node in graph if self._may_convert(node)]
        if self.dtype == "bfloat16":
            self._store(rw, found, result)
        elif context.calibration is not None and any(_is_heavy(node) for node in found):
            values = {v: HalfRange() for node in found for v in _floats(node)}
            for value, seen in values.items():
                if value.constant is not None:
                    seen.update(value.constant.numpy())
            computed = {v: [seen] for v, seen in values.items() if not v.is_constant}
            context.calibration.collect(graph, computed)
            fit = self._fitting(found, values, result)
            _Conversion(rw, _worthwhile(fit)).run(result)
        result.edits = rw.edits
        return result

    def _may_convert(self, node: OperatorNode) -> bool:
        known = node.is_op(*WEIGHTED) or node.is_op(*BESIDE)
        kept = any(name in self.keep for name in (node.name, *node.provenance))
        return known and not kept and not node.subgraphs and any(_floats(node))

    def _fitting(
        self, nodes: Collection[OperatorNode], values: dict[VariableNode, HalfRange],
        result: RewriteResult,
    ) -> list[OperatorNode]:  # fmt: skip
        """Nodes all of whose values fit float16; the others are told, with the value."""
        fit = []
        for node in nodes:
            reasons = (
                f"{value.name or node.op_type} {reason}"
                for value in _floats(node)
                if (reason := values[value].problem(self.headroom, self.largest_loss))
            )
            reason = next(reasons, None)
            if reason is None:
                fit.append(node)
            else:
                result.missed.append(NearMiss(self.name, reason, node.provenance))
        return fit

    def _store(self, rw: Rewriter, nodes: Collection[OperatorNode], result: RewriteResult) -> None:
        """Store large constants as bfloat16, and widen them where they are read."""
        made: dict[VariableNode, VariableNode] = {}
        for node in (node for node in nodes if _is_heavy(node)):
            for index, value in enumerate(node.inputs):
                if value is None or value.constant is None or value.constant.size < FEWEST:
                    continue
                if value.dtype is not DType.FLOAT:
                    continue
                if value not in made:
                    array = value.constant.numpy()
                    with np.errstate(over="ignore"):
                        half = array.astype(DType.BFLOAT16.numpy)
                    if not np.isfinite(half.astype(np.float32)).all():
                        reason = f"{value.name} has numbers that are too large or none"
                        result.missed.append(NearMiss(self.name, reason, node.provenance))
                        continue
                    rw.anchor, rw.provenance = node, node.provenance
                    like = VariableNode("", DType.FLOAT, value.shape)
                    narrow = rw.constant(half, value.name)
                    made[value] = rw.op("Cast", [narrow], {"to": int(DType.FLOAT)}, like=like)
                    result.fired.append(Firing(self.name, node.provenance))
                rw.set_input(node, index, made[value])


def _floats(node: OperatorNode) -> Iterator[VariableNode]:
    """The float32 tensors that ``node`` reads and computes."""
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.dtype is DType.FLOAT and value.onnx_type is None:
            yield value


def _is_heavy(node: OperatorNode) -> bool:
    """Whether half the bits save time or size at ``node`` itself."""
    return node.is_op(*WEIGHTED) or (node.is_op("Gather") and node.constant_input(0) is not None)


def _worthwhile(nodes: Collection[OperatorNode]) -> dict[OperatorNode, None]:
    """Those of ``nodes`` that hang together with one that gains."""
    inside = dict.fromkeys(nodes)
    kept: dict[OperatorNode, None] = {}
    pending = [node for node in nodes if _is_heavy(node)]
    while pending:
        node = pending.pop()
        if node in kept:
            continue
        kept[node] = None
        around = [v.producer for v in node.inputs if v is not None]
        around += [reader for v in node.outputs for reader in v.consumers]
        pending += [other for other in around if other is not None and other in inside]
    return {node: None for node in nodes if node in kept}


class _Conversion:
    """Writes nodes anew, with Casts where float32 and float16 meet."""

    def __init__(self, rw: Rewriter, nodes: dict[OperatorNode, None]) -> None:
        self._rw, self._nodes = rw, nodes
        self._half: dict[VariableNode, VariableNode] = {}
        """What stands for a value in float16."""

    def run(self, result: RewriteResult) -> None:
        """Convert all nodes, in the order of the graph."""
        for node in self._nodes:
            self._rw.anchor, self._rw.provenance = node, node.provenance
            self._convert(node)
            result.fired.append(Firing(ConvertFloat16.name, node.provenance))
        self._rw.erase_unused(self._nodes)

    def _convert(self, node: OperatorNode) -> None:
        inputs = [None if value is None else self._narrowed(value) for value in node.inputs]
        results = [VariableNode("", _halved(value.dtype), value.shape) for value in node.outputs]
        self._rw.insert(
            OperatorNode(
                node.op_type, inputs, results, node.attributes, name=node.name,
                provenance=node.provenance,
            )
        )  # fmt: skip
        for old, new in zip(node.outputs, results, strict=True):
            if new.dtype is old.dtype:
                self._rw.replace(old, new)
            elif all(use.user in self._nodes for use in old.uses):
                self._half[old] = new
            else:
                to = {"to": int(DType.FLOAT)}
                like = VariableNode("", DType.FLOAT, old.shape)
                wide = self._rw.op("Cast", [new], to, like=like)
                self._rw.replace(old, wide)
                self._half[wide] = new

    def _narrowed(self, value: VariableNode) -> VariableNode:
        """``value`` in float16."""
        if value.dtype is not DType.FLOAT:
            return value
        if value not in self._half:
            if value.constant is not None:
                half = value.constant.numpy().astype(np.float16)
                self._half[value] = self._rw.constant(half, value.name)
            else:
                like = VariableNode("", DType.FLOAT16, value.shape)
                to = {"to": int(DType.FLOAT16)}
                self._half[value] = self._rw.op("Cast", [value], to, like=like)
        return self._half[value]


def _halved(dtype: DType) -> DType:
    return DType.FLOAT16 if dtype is DType.FLOAT else dtype
