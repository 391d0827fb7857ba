"""Write operators on quantized numbers as operators on floats between conversions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any as AnyType
from typing import ClassVar

import numpy as np

from burnish.analysis import infer
from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import annotate
from burnish.passes.fusion.contrib_writing import (
    MS,
    channels_first,
    channels_last,
    integers,
    transposed,
)
from burnish.passes.quantization.parameters import shaped
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, RewriteResult, Rule


@dataclass(frozen=True)
class ExpandQuantized(RulePass):
    """Write operators that read and give quantized numbers with their conversions next to them.

    Products, convolutions and what else there is then are those of floats, and what is done about
    models with explicit conversions is done about these as well.

    Before:
        y = QLinearMatMul(a, 0.5, 128, b, 0.1, 0, 0.2, 3)

    After:
        y = QuantizeLinear(MatMul(DequantizeLinear(a, 0.5, 128), DequantizeLinear(b, 0.1, 0)), 0.2, 3)
    """  # noqa: E501

    name: ClassVar[str] = "expand-quantized"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule for each operator."""
        return RULES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Expand, and annotate what is new with its shapes."""
        result = super().run(graph, context)
        if result.changed:
            result.edits += annotate(infer(graph))
        return result


Write = Callable[["_Writer"], VariableNode]
"""Inserts the operator on floats and returns its result."""


class _Writer:
    """Inserts what one operator computes."""

    def __init__(self, rw: Rewriter, node: OperatorNode) -> None:
        self.rw, self.node = rw, node

    def given(self, index: int) -> VariableNode:
        """An input that is not optional."""
        value = self.node.input(index)
        assert value is not None, "the guard makes sure of it"
        return value

    def real(self, index: int, axis: int = 1) -> VariableNode:
        """The integers at input ``index`` as floats, by the scale and zero point behind them.

        A vector of scales goes along ``axis``.
        """
        integers, scale, zero = self.given(index), self.given(index + 1), self.node.input(index + 2)
        parameters = [each for each in (scale, zero) if each is not None]
        is_vector = _size(scale) > 1
        if not is_vector:
            parameters = [shaped(self.rw, each, ()) for each in parameters]
        like = VariableNode("", DType.FLOAT, integers.shape)
        attributes = {"axis": axis} if is_vector else {}
        return self.rw.op("DequantizeLinear", [integers, *parameters], attributes, like=like)

    def op(
        self, op_type: str, inputs: Sequence[VariableNode], keep: Sequence[str] = (),
        **attributes: AnyType,
    ) -> VariableNode:  # fmt: skip
        """An operator with the sizes of the result; attributes called ``keep`` are the node's."""
        own = {name: v for name, v in self.node.attributes.items() if name in keep}
        like = VariableNode("", DType.FLOAT, self.node.output.shape)
        return self.rw.op(op_type, inputs, own | attributes, like=like)

    def channels_last(
        self, value: VariableNode, write: Callable[[VariableNode], VariableNode]
    ) -> VariableNode:
        """What ``write`` makes of ``value``, if need be with the channels moved there and back."""
        if not self.node.attribute("channels_last", 0):
            return write(value)
        rank, shape = value.rank or 0, self.node.output.shape
        result = write(transposed(self.rw, value, channels_first(rank)))
        known = shape is not None and len(shape) == rank
        result.shape = tuple(shape[i] for i in channels_first(rank)) if shape and known else None
        return transposed(self.rw, result, channels_last(rank))


def _size(value: VariableNode) -> int:
    return int(np.prod(value.static_shape or ()))


_WINDOW = ("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads",
           "strides")  # fmt: skip


def _convolution(w: _Writer) -> VariableNode:
    """Inputs: data, weights, result, each with scale and zero point, and a bias of integers."""
    bias = [] if w.node.input(8) is None else [_bias(w, 8, 1, 4)]
    weights = w.real(3, axis=0)
    keep = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    return w.channels_last(w.real(0), lambda data: w.op("Conv", [data, weights, *bias], keep))


def _bias(w: _Writer, index: int, *scales: int, alpha: float = 1.0) -> VariableNode:
    """Integers at ``index`` times the product of ``scales`` and ``alpha``."""
    bias = w.given(index)
    one, other = (w.given(i) for i in scales)
    if one.constant is not None and other.constant is not None:
        product = one.constant.numpy().reshape(-1) * other.constant.numpy() * np.float32(alpha)
        scale = w.rw.constant(product.reshape(() if product.size == 1 else -1))
    else:
        small, vector = sorted((one, other), key=_size)
        scale = w.rw.op("Mul", [vector, shaped(w.rw, small, ())], like=vector)
        if alpha != 1:
            scale = w.rw.op("Mul", [scale, w.rw.constant(np.array(alpha, np.float32))], like=scale)
        scale = shaped(w.rw, scale, ()) if _size(scale) == 1 else scale
    like = VariableNode("", DType.FLOAT, bias.shape)
    attributes = {} if _size(scale) == 1 else {"axis": 0}
    return w.rw.op("DequantizeLinear", [bias, scale], attributes, like=like)


def _product(w: _Writer) -> VariableNode:
    """Vectors of scales are those of rows of the first and columns of the second operand."""
    return w.op("MatMul", [w.real(0, axis=-2), w.real(3, axis=-1)])


def _gemm(w: _Writer) -> VariableNode:
    columns = 0 if w.node.attribute("transB", 0) else 1
    alpha = w.node.attribute("alpha", 1.0)
    bias = [] if w.node.input(6) is None else [_bias(w, 6, 1, 4, alpha=alpha)]
    return w.op("Gemm", [w.real(0), w.real(3, axis=columns), *bias], ("alpha", "transA", "transB"))


def _of(op_type: str, *indices: int, keep: Sequence[str] = ()) -> Write:
    """An operator with the same inputs and attributes."""
    return lambda w: w.op(op_type, [w.real(index) for index in indices], keep)


def _leaky(w: _Writer) -> VariableNode:
    return w.op("LeakyRelu", [w.real(0)], alpha=w.node.attribute("alpha", 0.01))


def _pool(op_type: str) -> Write:
    return lambda w: w.channels_last(w.real(0), lambda data: w.op(op_type, [data], _WINDOW))


def _softmax(w: _Writer) -> VariableNode:
    return w.op("Softmax", [w.real(0)], axis=w.node.attribute("axis", -1))


def _whole_steps(rw: Rewriter, step: VariableNode) -> VariableNode:
    """The scale that probabilities are divided by: ONNX Runtime takes whole steps from 0 to 1."""
    if step.constant is not None:
        array = step.constant.numpy()
        return rw.constant(np.asarray(1 / np.floor(1 / array), array.dtype))
    one = rw.constant(np.array(1, step.dtype.numpy))
    steps = rw.op("Floor", [rw.op("Div", [one, step], like=step)], like=step)
    return rw.op("Div", [one, steps], like=step)


def _one_axis(match: Match) -> Miss | None:
    """Before opset 13, Softmax goes over all axes from the one that it names on."""
    node = match.root
    rank, axis = node.inputs[0].rank if node.inputs[0] else None, node.attribute("axis", -1)
    if node.attribute("opset", 13) >= 13 or (rank and axis % rank == rank - 1):
        return None
    return Miss("Softmax goes over several axes", node)


def _mean(w: _Writer) -> VariableNode:
    axes = w.node.attribute("axes")
    inputs = [w.real(0)] if axes is None else [w.real(0), integers(w.rw, *axes)]
    return w.op("ReduceMean", inputs, keepdims=w.node.attribute("keepdims", 1))


def _concat(w: _Writer) -> VariableNode:
    """Inputs: scale and zero point of the result, then those of each part behind it."""
    parts = [w.real(index) for index in range(2, len(w.node.inputs), 3)]
    return w.op("Concat", parts, ("axis",))


def _where(w: _Writer) -> VariableNode:
    return w.op("Where", [w.given(0), w.real(1), w.real(4)])


def _plain(match: Match) -> Miss | None:
    """How many scales there are is known, and no number is of half precision."""
    node = match.root
    if any(v is not None and v.dtype in (DType.FLOAT16, DType.BFLOAT16) for v in node.inputs):
        return Miss("numbers are of half precision", node)
    for value in node.inputs:
        is_scale = value is not None and value.dtype is DType.FLOAT
        if is_scale and value is not None and value.static_shape is None:
            return Miss("the size of a scale is not known", node)
    return None


def _vectors(match: Match) -> Miss | None:
    for index in (1, 2, 4, 5, 6, 7):
        value = match.root.input(index)
        if value is not None and _size(value) > 1 and value.rank != 1:
            return Miss("a scale or zero point has more than one axis", match.root)
    return None


def _channels(match: Match) -> Miss | None:
    data = match.root.input(0)
    if match.root.attribute("channels_last", 0) and (data is None or data.rank is None):
        return Miss("the number of axes is not known: give --input-shape", match.root)
    return None


def _of_convolution(match: Match) -> Miss | None:
    return _vectors(match) or _channels(match)


def _rule(
    kind: str, write: Write, scale: int, guard: AnyType = None, since: int = 13,
    divisor: Callable[[Rewriter, VariableNode], VariableNode] | None = None,
) -> Rule:  # fmt: skip
    """The rule for operators of type ``kind``; the result's scale is input ``scale``.

    ``divisor`` makes what results are divided by of that scale, if it is another number.
    """

    def rewrite(rw: Rewriter, match: Match, facts: None) -> None:
        node = match.root
        floats, old = write(_Writer(rw, node)), node.output
        step, zero = node.input(scale), node.input(scale + 1)
        if step is None:
            rw.replace(old, floats)
            return
        if zero is None:
            zero = rw.constant(np.zeros((), (old.dtype or DType.UINT8).numpy))
        if divisor is not None:
            step = divisor(rw, step)
        like = VariableNode("", zero.dtype, old.shape)
        inputs = [floats, shaped(rw, step, ()), shaped(rw, zero, ())]
        rw.replace(old, rw.op("QuantizeLinear", inputs, like=like))

    def checked(match: Match) -> Miss | None:
        miss = _plain(match)
        return miss if miss is not None or guard is None else guard(match)

    name = f"expand-{kind.rpartition(':')[2]}"
    return Rule(name, Op(kind), rewrite, checked, since)


def _one_result_scale(match: Match) -> Miss | None:
    value = match.root.input(6)
    if value is not None and _size(value) > 1:
        return Miss("each row of the result has its own scale", match.root)
    return _vectors(match)


RULES = (
    _rule("QLinearConv|com.microsoft:QLinearConv", _convolution, 6, _of_convolution),
    _rule("QLinearMatMul", _product, 6, _one_result_scale),
    _rule(f"{MS}QGemm", _gemm, 7, _vectors),
    _rule(f"{MS}QLinearAdd", _of("Add", 0, 3), 6),
    _rule(f"{MS}QLinearMul", _of("Mul", 0, 3), 6),
    _rule(f"{MS}QLinearSigmoid", _of("Sigmoid", 0), 3),
    _rule(f"{MS}QLinearLeakyRelu", _leaky, 3),
    _rule(f"{MS}QLinearAveragePool", _pool("AveragePool"), 3, _channels),
    _rule(f"{MS}QLinearGlobalAveragePool", _pool("GlobalAveragePool"), 3, _channels),
    _rule(f"{MS}QLinearSoftmax", _softmax, 3, _one_axis, divisor=_whole_steps),
    _rule(f"{MS}QLinearReduceMean", _mean, 3, since=18),
    _rule(f"{MS}QLinearConcat", _concat, 0),
    _rule(f"{MS}QLinearWhere", _where, 7),
)
