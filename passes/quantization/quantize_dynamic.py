"""Computes products with integers of 8 bits whose scales are found as the model runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.calibration.formats import S8_SYMMETRIC
from burnish.ir import Array, DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.quantization.weighted import Weighted, weighted
from burnish.passes.quantization.weights import quantize_weights
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

FEWEST = 1 << 12
"""Weights of a product below which finding scales takes longer than integers save."""
SINCE = 18
"""The opset whose ReduceMax takes its axes as an input."""
LEAST = 2.0**-100
"""What rows of zeros have for a largest value."""


@dataclass(frozen=True)
class QuantizeDynamic(Pass):
    """Round what products with constant weights multiply to 8 bits, by scales of the moment.

    No calibration data are needed, and no value is beyond its range. Weights have a scale for each
    output channel. Data have one for each row, a token, where native code is generated, symmetric
    about zero; in ONNX they have one for all rows, with a zero point, which engines know as
    DynamicQuantizeLinear.

    Before:
        y = MatMul(x, w)

    After:
        s = ReduceMax(Abs(x), axes = -1) / 127
        y = Cast(MatMulInteger(Cast(Round(x / s), int8), w8)) * s * t
    """

    by_token: bool | None = None
    """A scale for each row; by default where native code is generated."""
    keep: tuple[str, ...] = ()
    """Names of nodes to leave in float32, as the model calls them."""
    fewest: int = FEWEST
    """Weights of a product below which it stays as it is."""

    name: ClassVar[str] = "quantize-dynamic"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Quantize every product that is large enough."""
        rw, result = Rewriter(graph), RewriteResult()
        by_token = context.target is not None if self.by_token is None else self.by_token
        data: dict[tuple[VariableNode, Graph], _Data] = {}
        for node in list(graph.walk()):
            site = self._site(node, by_token=by_token)
            if isinstance(site, str):
                result.missed.append(NearMiss(self.name, site, node.provenance))
            elif site is not None and node.graph is not None:
                rw.anchor, rw.provenance = node, node.provenance
                key = site.data, node.graph
                if key not in data:
                    data[key] = _by_token(rw, site.data) if by_token else _by_tensor(rw, site.data)
                _write(rw, site, data[key])
                result.fired.append(Firing(self.name, node.provenance))
        result.edits = rw.edits
        return result

    def _site(self, node: OperatorNode, *, by_token: bool) -> Weighted | str | None:
        """A product to quantize, or why it is none."""
        if not node.is_op("MatMul", "Gemm"):
            return None
        site = weighted(node)
        if site is None or isinstance(site, str):
            return site
        if any(name in self.keep for name in (node.name, *node.provenance)):
            return "it is to be kept"
        if site.weights.size < self.fewest:
            return f"it has {site.weights.size} weights, and less than {self.fewest} do not pay"
        if node.attribute("transA", 0) or site.data.rank is None or site.data.rank < 2:
            return "the rows of its data are no tokens"
        assert node.graph is not None
        least = SINCE if by_token else 11
        if node.graph.opset < least:
            return f"opset {least} is needed: give --opset {least}"
        return site


@dataclass(frozen=True)
class _Data:
    """Data as integers."""

    integers: VariableNode
    zero: VariableNode | None
    scale: VariableNode
    """One number, or one for each row."""


def _by_tensor(rw: Rewriter, value: VariableNode) -> _Data:
    """One scale and zero point for all of ``value``."""
    like = VariableNode("", DType.UINT8, value.shape)
    integers = rw.op("DynamicQuantizeLinear", [value], like=like, outputs=3)
    assert integers.producer is not None
    _, scale, zero = integers.producer.outputs
    scale.dtype, scale.shape = DType.FLOAT, ()
    zero.dtype, zero.shape = DType.UINT8, ()
    return _Data(integers, zero, scale)


def _by_token(rw: Rewriter, value: VariableNode) -> _Data:
    """A scale for each row of ``value``: its largest number becomes 127."""
    rows = None if value.shape is None else (*value.shape[:-1], 1)
    column = VariableNode("", DType.FLOAT, rows)
    sizes = rw.op("Abs", [value], like=value)
    last = rw.constant(np.array([-1], np.int64))
    largest = rw.op("ReduceMax", [sizes, last], {"keepdims": 1}, like=column)
    positive = rw.op("Max", [largest, rw.constant(np.array(LEAST, np.float32))], like=column)
    steps = np.array(1 / S8_SYMMETRIC.high, np.float32)
    scale = rw.op("Mul", [positive, rw.constant(steps)], like=column)
    rounded = rw.op("Round", [rw.op("Div", [value, scale], like=value)], like=value)
    bounds = [
        rw.constant(np.array(bound, np.float32)) for bound in (S8_SYMMETRIC.low, S8_SYMMETRIC.high)
    ]
    clipped = rw.op("Clip", [rounded, *bounds], like=value)
    like = VariableNode("", DType.INT8, value.shape)
    integers = rw.op("Cast", [clipped], {"to": int(DType.INT8)}, like=like)
    return _Data(integers, None, scale)


def _write(rw: Rewriter, site: Weighted, data: _Data) -> None:
    """Multiply integers, and scale the sums."""
    node, output = site.node, site.node.output
    matrix = site.weights.numpy()
    if site.axis == 0:
        matrix = np.ascontiguousarray(matrix.T)
    found = quantize_weights(matrix * np.float32(_attribute(node, "alpha")), 1, S8_SYMMETRIC)
    operands = [data.integers, rw.constant(found.integers)]
    if data.zero is not None:
        operands.append(data.zero)
    sums = VariableNode("", DType.INT32, output.shape)
    integers = rw.op("MatMulInteger", operands, like=sums)
    floats = rw.op("Cast", [integers], {"to": int(DType.FLOAT)}, like=output)
    scales = rw.constant(found.scales)
    if data.zero is not None:
        like = VariableNode("", DType.FLOAT, scales.shape)
        result = rw.op("Mul", [floats, rw.op("Mul", [data.scale, scales], like=like)], like=output)
    else:
        result = rw.op("Mul", [floats, data.scale], like=output)
        result = rw.op("Mul", [result, scales], like=output)
    bias = node.input(2)
    if bias is not None:
        result = rw.op("Add", [result, _scaled(rw, bias, _attribute(node, "beta"))], like=output)
    rw.replace(output, result)
    rw.erase_unused([node])


def _attribute(node: OperatorNode, name: str) -> float:
    """A factor of a Gemm, 1 of any other operator."""
    return float(node.attribute(name, 1.0)) if node.is_op("Gemm") else 1.0


def _scaled(rw: Rewriter, bias: VariableNode, factor: float) -> VariableNode:
    if factor == 1.0:
        return bias
    number: Array = np.array(factor, np.float32)
    if bias.constant is not None:
        return rw.constant((bias.constant.numpy() * number).astype(np.float32))
    return rw.op("Mul", [bias, rw.constant(number)], like=bias)
