"""Multiply dequantized numbers as the integers that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.quantization.parameters import Dequantized, Parameters, dequantized, shaped
from burnish.passes.quantization.requantize import REQUANTIZE
from burnish.passes.quantization.transposed import declined, transposed
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

_CLOSE = 1e-5
"""How far apart two scales may be, relative to one, that a quantizer meant to be the same."""


@dataclass(frozen=True)
class IntegerProducts(RulePass):
    """Multiply and sum up integers where both operands of a product or convolution are dequantized.

    The sums are exact, with biases that are integers of the same scale. They are scaled once: by
    both scales, and by that of the result where it is quantized right away. Other biases are added
    as floats.

    Before:
        f = DequantizeLinear(x, 0.5, 128)
        y = QuantizeLinear(Conv(f, DequantizeLinear(w, 0.1), DequantizeLinear(b, 0.05)), 0.2, 3)

    After:
        y = QuantizeLinear(Cast(ConvInteger(x, w, 128, 0) + b) * 0.25, 1, 3)
    """

    name: ClassVar[str] = "integer-products"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule for each kind of product, then what comes after them."""
        return RULES


@dataclass(frozen=True)
class _Operands:
    """Both operands of a product, and the factor of each sum."""

    a: Dequantized
    b: Dequantized


def _operands(match: Match) -> _Operands | Miss:
    node = match.root
    found = [dequantized(node.input(index)) for index in (0, 1)]
    for name, each in zip(("data", "weights"), found, strict=True):
        if each is None:
            return Miss(f"the {name} are not dequantized from 8 bits to float32", node)
    a, b = found
    assert a is not None and b is not None
    if node.output.dtype is not DType.FLOAT:
        return Miss("the type of the result is not known", node)
    if not a.parameters.is_single:
        return Miss("the data have more than one scale", a.node)
    if a.integers.is_constant and b.integers.is_constant:
        return Miss("both operands are constant", node)
    return _Operands(a, b)


def _of_convolution(match: Match) -> _Operands | Miss:
    found = _operands(match)
    if isinstance(found, Miss):
        return found
    b = found.b.parameters
    if b.is_single:
        return found
    if b.axis not in (0, -(found.b.integers.rank or 0)):
        return Miss("the scales of the weights are not those of output channels", found.b.node)
    return _with_one_zero(found)


def _with_one_zero(found: _Operands) -> _Operands | Miss:
    """ConvInteger as engines know it has one zero point for all weights."""
    zero = found.b.parameters.zero
    if zero is None:
        return found
    if zero.constant is None or np.ptp(found.b.parameters.zeros()) != 0:
        return Miss("each output channel has a zero point of its own", found.b.node)
    return found


def _of_transposed(match: Match) -> _Operands | Miss:
    """Weights are ``[inputs, outputs of a group, *kernel]``."""
    found = _operands(match)
    if isinstance(found, Miss):
        return found
    b = found.b.parameters
    if not b.is_single and b.axis not in (1, 1 - (found.b.integers.rank or 0)):
        return Miss("the scales of the weights are not those of output channels", found.b.node)
    if int(match.root.attribute("group", 1)) > 1 and not b.is_single and not b.scale.is_constant:
        return Miss("scales that are computed are those of one group", match.root)
    return declined(match.root, found.a, found.b) or _with_one_zero(found)


def _transposed_convolution(rw: Rewriter, match: Match, found: _Operands) -> None:
    total = transposed(rw, match.root, found.a, found.b)
    _finish(rw, match.root, total, found, int(match.root.attribute("group", 1)))


def _convolution(rw: Rewriter, match: Match, found: _Operands) -> None:
    """Weights are ``[outputs, inputs of a group, *kernel]``."""
    node = match.root
    like = _like(node, DType.INT32)
    total = rw.op("ConvInteger", _integers(rw, found, by_channel=False), node.attributes, like=like)
    _finish(rw, node, total, found)


def _finish(
    rw: Rewriter, node: OperatorNode, total: VariableNode, found: _Operands, groups: int = 1
) -> None:
    """Scale the sums of a convolution and add its bias; scales are the same for all ``groups``."""
    channels = (-1, *(1,) * ((found.b.integers.rank or 2) - 2))
    factor, bias = _factor(rw, found, channels, groups=groups), node.input(2)
    whole = _whole_bias(bias, factor)
    if whole is not None:
        total = rw.op("Add", [total, rw.constant(whole.reshape(channels))], like=total)
    value = _scaled(rw, total, factor, node)
    if bias is not None and whole is None:
        value = rw.op("Add", [value, shaped(rw, bias, channels)], like=node.output)
    rw.replace(node.output, value)


def _whole_bias(bias: VariableNode | None, factor: VariableNode, beta: float = 1.0) -> Array | None:
    """The int32 numbers that ``bias`` is made of, if they count the same as sums; else None."""
    node = None if bias is None else bias.producer
    if node is None or not node.is_op("DequantizeLinear") or factor.constant is None:
        return None
    numbers, parameters = node.constant_input(0), Parameters.of(node)
    if numbers is None or numbers.dtype is not DType.INT32 or parameters is None:
        return None
    if not parameters.is_constant or parameters.zeros().any():
        return None
    scales, steps = parameters.scales() * beta, factor.constant.numpy().reshape(-1)
    if steps.size > 1 and scales.size > 1 and steps.size != scales.size:
        return None
    # Quantizers round the product of two scales in their own ways.
    is_same = np.all(np.abs(scales - steps) <= _CLOSE * np.abs(steps))
    return numbers.numpy() if is_same else None


def _of_product(match: Match) -> _Operands | Miss:
    found = _operands(match)
    if isinstance(found, Miss):
        return found
    rank, b = found.b.integers.rank, found.b.parameters
    if rank is None or found.a.integers.rank is None:
        return Miss("the number of axes is not known", match.root)
    if not b.is_single and (rank < 2 or b.axis not in (rank - 1, -1)):
        return Miss("the scales of the weights differ along what is summed up", found.b.node)
    return found


def _product(rw: Rewriter, match: Match, found: _Operands) -> None:
    node = match.root
    like = _like(node, DType.INT32)
    total = rw.op("MatMulInteger", _integers(rw, found, by_channel=True), like=like)
    rw.replace(node.output, _scaled(rw, total, _factor(rw, found, (-1,)), node))


def _of_gemm(match: Match) -> _Operands | Miss:
    found, node = _operands(match), match.root
    if isinstance(found, Miss):
        return found
    columns = 0 if node.attribute("transB", 0) else 1
    b = found.b.parameters
    if not b.is_single and b.axis not in (columns, columns - 2):
        return Miss("the scales of the weights differ along what is summed up", found.b.node)
    return found


def _gemm(rw: Rewriter, match: Match, found: _Operands) -> None:
    node = match.root
    a, b, *zeros = _integers(rw, found, by_channel=True)
    operands = [
        _turned(rw, value) if value is not None and node.attribute(name, 0) else value
        for value, name in ((a, "transA"), (b, "transB"))
    ]
    like = _like(node, DType.INT32)
    total = rw.op("MatMulInteger", [*operands, *zeros], like=like)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    factor, bias = _factor(rw, found, (-1,), alpha), node.input(2)
    whole = _whole_bias(bias, factor, beta) if bias is not None and bias.rank == 1 else None
    if whole is not None:
        total = rw.op("Add", [total, rw.constant(whole)], like=like)
    value = _scaled(rw, total, factor, node)
    if bias is not None and beta != 0 and whole is None:
        if beta != 1:
            bias = rw.op("Mul", [bias, rw.constant(np.array(beta, np.float32))], like=bias)
        value = rw.op("Add", [value, bias], like=node.output)
    rw.replace(node.output, value)


def _like(node: OperatorNode, dtype: DType) -> VariableNode:
    return VariableNode("", dtype, node.output.shape)


def _integers(rw: Rewriter, found: _Operands, *, by_channel: bool) -> list[VariableNode | None]:
    """Inputs of ConvInteger or MatMulInteger: operands, zero points as far as they are not 0."""
    zeros = [
        _zero_point(rw, each, by_channel=by_channel and each is found.b)
        for each in (found.a, found.b)
    ]
    while zeros and zeros[-1] is None:
        zeros.pop()
    if zeros and zeros[0] is None:
        zeros[0] = rw.constant(np.zeros((), found.a.integers.dtype.numpy))
    return [found.a.integers, found.b.integers, *zeros]


def _zero_point(rw: Rewriter, operand: Dequantized, *, by_channel: bool) -> VariableNode | None:
    """The zero point of an operand: a scalar, or a vector; None for 0."""
    zero = operand.parameters.zero
    if zero is None or zero.constant is None:
        return zero if zero is None else shaped(rw, zero, ())
    array = operand.parameters.zeros()
    if not array.any():
        return None
    if np.ptp(array) == 0:
        array = array.reshape(-1)[0]
    return rw.constant(np.asarray(array, operand.integers.dtype.numpy))


def _factor(
    rw: Rewriter, found: _Operands, shape: tuple[int, ...], alpha: float = 1.0, groups: int = 1
) -> VariableNode:
    """What a sum is multiplied by; scales of channels in ``shape``, once for each of ``groups``."""
    a, b = found.a.parameters, found.b.parameters
    if a.scale.is_constant and b.scale.is_constant:
        scales = b.scales().astype(np.float64) * a.scales() * alpha
        scales = np.tile(scales, groups) if scales.ndim else scales
        return rw.constant(np.asarray(scales.reshape(shape if scales.ndim else ()), np.float32))
    one = shaped(rw, a.scale, ())
    if b.scale.is_constant and groups > 1 and not b.is_single:
        other = rw.constant(np.tile(b.scales(), groups).reshape(shape))
    else:
        other = shaped(rw, b.scale, () if b.is_single else shape)
    factor = rw.op("Mul", [other, one], like=other)
    if alpha == 1.0:
        return factor
    return rw.op("Mul", [factor, rw.constant(np.array(alpha, np.float32))], like=factor)


def _scaled(
    rw: Rewriter, total: VariableNode, factor: VariableNode, node: OperatorNode
) -> VariableNode:
    number = rw.op("Cast", [total], {"to": int(DType.FLOAT)}, like=node.output)
    return rw.op("Mul", [number, factor], like=node.output)


def _turned(rw: Rewriter, value: VariableNode) -> VariableNode:
    if value.constant is not None:
        return rw.constant(np.ascontiguousarray(value.constant.numpy().T))
    shape = None if value.shape is None else value.shape[::-1]
    return rw.op("Transpose", [value], {"perm": (1, 0)}, like=VariableNode("", value.dtype, shape))


_A, _B = (Op("DequantizeLinear", shared=True) for _ in range(2))
RULES = (
    Rule("integer-convolution", Op("Conv", _A, _B, open_ended=True), _convolution, _of_convolution,
         since=13),
    Rule("integer-transposed-convolution", Op("ConvTranspose", _A, _B, open_ended=True),
         _transposed_convolution, _of_transposed, since=13),
    Rule("integer-product", Op("MatMul", _A, _B), _product, _of_product, since=13),
    Rule("integer-gemm", Op("Gemm", _A, _B, open_ended=True), _gemm, _of_gemm, since=13),
    *REQUANTIZE,
)  # fmt: skip
