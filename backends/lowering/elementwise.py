"""Elementwise operators as functions of scalars.

A fused kernel evaluates a whole chain of them in one expression for each element, so nothing
between them is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tvm.tirx as tx

from burnish.backends.kernels.bfloat16 import narrow, widen
from burnish.backends.kernels.exact import product
from burnish.backends.kernels.quantization import dequantized, quantized
from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.quantization.conversions import parameter_axis

Expr: TypeAlias = Any
"""A TIR scalar expression."""
Scalars: TypeAlias = Callable[[OperatorNode, Sequence[Expr | None]], Expr]
"""Value of one element of the output from the elements of the inputs (None if left out)."""


def numpy_name(dtype: DType) -> str:
    """TVM's name of an element type."""
    return str(dtype.numpy)


def stored_name(dtype: str) -> str:
    """The type that kernels see elements of a buffer's type as; bfloat16 as its bits."""
    return "uint16" if dtype == "bfloat16" else dtype


def dtype_of(x: Expr) -> str:
    """TVM's name of an expression's type."""
    return str(x.ty)


def like(x: Expr, value: float) -> Expr:
    """The constant ``value`` in the type of ``x``."""
    return tx.const(value, dtype_of(x))


def is_float(x: Expr) -> bool:
    """Whether ``x`` is floating-point."""
    return "float" in dtype_of(x)


def uniform_scalar(value: VariableNode) -> Expr | None:
    """The one number that every element of a constant has, as an immediate, else None."""
    constant = value.constant
    if constant is None or constant.size == 0 or constant.size > 1 << 20:
        return None
    if constant.dtype is DType.BFLOAT16:
        return None
    array = constant.numpy()
    first = array.reshape(-1)[0]
    if constant.size > 1 and not bool((array == first).all()):
        return None
    return tx.const(first.item(), numpy_name(constant.dtype))


def _unary(function: Callable[[Expr], Expr]) -> Scalars:
    return lambda node, x: function(x[0])


def _binary(function: Callable[[Expr, Expr], Expr]) -> Scalars:
    return lambda node, x: function(x[0], x[1])


def _fold(function: Callable[[Expr, Expr], Expr]) -> Scalars:
    def apply(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
        result = x[0]
        for other in x[1:]:
            result = function(result, other)
        return result

    return apply


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + exp(-x))."""
    return like(x, 1.0) / logistic_divisor(-x)


def logistic_divisor(x: Expr) -> Expr:
    """1 + exp(x), in the form that `fast_math` knows."""
    return like(x, 1.0) + tx.exp(x)


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger; a NaN in ``a`` propagates as ONNX asks, one in ``b`` too."""
    if not is_float(a):
        return tx.max(a, b)
    # Comparisons alone become vector instructions; a test for NaN would be done lane by lane.
    return tx.Select(a < b, b, a if _is_number(b) else tx.Select(a >= b, a, a + b))


def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller; NaN propagates."""
    if not is_float(a):
        return tx.min(a, b)
    return tx.Select(a > b, b, a if _is_number(b) else tx.Select(a <= b, a, a + b))


def _is_number(x: Expr) -> bool:
    return isinstance(x, tx.FloatImm) and not math.isnan(x.value)


def clamp(x: Expr, low: Expr | None, high: Expr | None) -> Expr:
    """``x`` limited to [low, high]; either may be None. NaN stays NaN."""
    if low is not None:
        x = tx.max(x, low) if not is_float(x) else tx.Select(x < low, low, x)
    if high is not None:
        x = tx.min(x, high) if not is_float(x) else tx.Select(x > high, high, x)
    return x


def _divide(a: Expr, b: Expr) -> Expr:
    return a / b if is_float(a) else tx.truncdiv(a, b)


def _mod(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    a, b = x[0], x[1]
    assert a is not None and b is not None
    if is_float(a):
        rest = tx.fmod(a, b)
        if node.attribute("fmod", 0):
            return rest
        # The sign of the divisor, as with integers.
        is_other = tx.NE((rest < like(a, 0)).astype("int8"), (b < like(a, 0)).astype("int8"))
        return tx.Select(tx.all(tx.NE(rest, like(a, 0)), is_other), rest + b, rest)
    return tx.truncmod(a, b) if node.attribute("fmod", 0) else tx.floormod(a, b)


def _power(a: Expr, b: Expr) -> Expr:
    if isinstance(b, tx.FloatImm | tx.IntImm):
        exponent = float(b.value)
        if exponent in (1.0, 2.0, 3.0, 4.0):
            squared = a * a
            return {1.0: a, 2.0: squared, 3.0: squared * a, 4.0: squared * squared}[exponent]
        if exponent == 0.5 and is_float(a):
            return tx.sqrt(a)
        if exponent == -1.0 and is_float(a):
            return like(a, 1.0) / a
    if is_float(a):
        return tx.pow(a, b.astype(dtype_of(a)))
    # Integer powers through double are exact as far as results fit 53 bits.
    return tx.pow(a.astype("float64"), b.astype("float64")).astype(dtype_of(a))


def _cast(x: Expr, to: str) -> Expr:
    source = dtype_of(x)
    if source == to:
        return x
    if to == "bool":
        return tx.NE(x, like(x, 0))
    if source == "bool":
        return tx.Select(x, tx.const(1, to), tx.const(0, to))
    return x.astype(to)


def _cast_node(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    """Cast and CastLike. LLVM cannot be relied on for bfloat16, whose bits are moved here."""
    value, source = x[0], node.inputs[0]
    assert value is not None and source is not None
    if source.dtype is node.output.dtype:
        return value
    if source.dtype is DType.BFLOAT16:
        value = widen(value)
    if node.output.dtype is not DType.BFLOAT16:
        return _cast(value, numpy_name(node.output.dtype))
    return narrow(_cast(value, "float32"))


def _erf_gelu(x: Expr) -> Expr:
    half = like(x, 0.5)
    return x * (half + half * tx.erf(x * like(x, float(np.sqrt(0.5)))))


def _tanh_gelu(x: Expr) -> Expr:
    """GELU by tanh, x (1 + tanh(y)) / 2, as x / (1 + exp(-2 y))."""
    scale = -2 * math.sqrt(2 / math.pi)
    return x / logistic_divisor(x * (x * x * like(x, scale * 0.044715) + like(x, scale)))


def _gelu(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    approximate = node.attribute("approximate", "none")
    return _tanh_gelu(x[0]) if approximate in ("tanh", b"tanh") else _erf_gelu(x[0])


def _softplus(x: Expr) -> Expr:
    positive = tx.max(x, like(x, 0.0))
    return positive + tx.log(like(x, 1.0) + tx.exp(-tx.abs(x)))


def _mish(x: Expr) -> Expr:
    """``x * tanh(softplus(x))``, by one exponential: with n = e^x (e^x + 2) it is x n / (n + 2)."""
    power = tx.exp(tx.min(x, like(x, 20.0)))  # beyond, the quotient is 1
    n = power * (power + like(x, 2.0))
    return x * (n / (n + like(x, 2.0)))


def _hard_sigmoid(x: Expr, alpha: float, beta: float) -> Expr:
    return clamp(x * like(x, alpha) + like(x, beta), like(x, 0.0), like(x, 1.0))


def _leaky(x: Expr, slope: Expr) -> Expr:
    return tx.Select(x < like(x, 0), x * slope, x)


def _elu(x: Expr, alpha: float) -> Expr:
    # exp overflows for large x, where it is not selected.
    negative = like(x, alpha) * (tx.exp(tx.min(x, like(x, 0.0))) - like(x, 1.0))
    return tx.Select(x < like(x, 0.0), negative, x)


def _selu(x: Expr, alpha: float, gamma: float) -> Expr:
    return like(x, gamma) * _elu(x, alpha)


def _shrink(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    v = x[0]
    assert v is not None
    bias, lambd = node.attribute("bias", 0.0), node.attribute("lambd", 0.5)
    low = tx.Select(v < like(v, -lambd), v + like(v, bias), like(v, 0))
    return tx.Select(v > like(v, lambd), v - like(v, bias), low)


def _celu(x: Expr, alpha: float) -> Expr:
    negative = like(x, alpha) * (tx.exp(tx.min(x, like(x, 0.0)) / like(x, alpha)) - like(x, 1.0))
    return tx.max(x, like(x, 0.0)) + tx.min(negative, like(x, 0.0))


def _sign(x: Expr) -> Expr:
    one, zero = like(x, 1), like(x, 0)
    if dtype_of(x).startswith("u"):
        return tx.Select(x > zero, one, zero)
    return tx.Select(x > zero, one, tx.Select(x < zero, like(x, -1), x if is_float(x) else zero))


def _is_inf(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    v = x[0]
    assert v is not None
    infinity = tx.infinity(dtype_of(v))
    found = tx.const(False, "bool")
    if node.attribute("detect_positive", 1):
        found = tx.any(found, tx.EQ(v, infinity))
    if node.attribute("detect_negative", 1):
        found = tx.any(found, tx.EQ(v, -infinity))
    return found


def _alpha(name: str, default: float) -> Callable[[OperatorNode], float]:
    return lambda node: float(node.attribute(name, default))


def _clip(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    low = x[1] if len(x) > 1 else None
    high = x[2] if len(x) > 2 else None
    return clamp(x[0], low, high)


def _mean(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    total = _fold(lambda a, b: a + b)(node, x)
    return total / like(total, float(len(x)))


def _shift(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    """BitShift; by more bits than there are, or by a negative number, nothing of it is left."""
    value, by = x[0], x[1]
    assert value is not None and by is not None
    width = node.output.dtype.numpy.itemsize * 8
    is_within = tx.all(by >= like(by, 0), by < like(by, width))
    bits = tx.Select(is_within, by, like(by, 0))
    if node.attribute("direction") in ("LEFT", b"LEFT"):
        return tx.Select(is_within, tx.shift_left(value, bits), like(value, 0))
    sign = (
        tx.Select(value < like(value, 0), like(value, -1), like(value, 0))
        if dtype_of(value).startswith("int")
        else like(value, 0)
    )
    return tx.Select(is_within, tx.shift_right(value, bits), sign)


def _swish(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    assert x[0] is not None
    return _scaled_swish(x[0], float(node.attribute("alpha", 1.0)))


def _scaled_swish(x: Expr, alpha: float) -> Expr:
    """The product x sigmoid(alpha x)."""
    return x / logistic_divisor(x * like(x, -alpha))


def _quantize(node: OperatorNode, x: Sequence[Expr | None]) -> Expr:
    value, scale, dtype = x[0], node.inputs[1], numpy_name(node.output.dtype)
    assert value is not None and scale is not None
    zero = x[2] if len(x) > 2 else None
    return quantized(
        _cast(value, "float32"), x[1], zero, dtype, parameter_axis(node, scale) is None
    )


def _equal(a: Expr, b: Expr) -> Expr:
    if dtype_of(a) == "bool":
        return tx.EQ(a.astype("int8"), b.astype("int8"))
    return tx.EQ(a, b)


ELEMENTWISE: dict[str, Scalars] = {
    "Abs": _unary(tx.abs),
    "Acos": _unary(tx.acos),
    "Acosh": _unary(tx.acosh),
    "Add": _binary(lambda a, b: a + b),
    "And": _binary(lambda a, b: tx.all(a, b)),
    "Asin": _unary(tx.asin),
    "Asinh": _unary(tx.asinh),
    "Atan": _unary(tx.atan),
    "Atanh": _unary(tx.atanh),
    "BitShift": _shift,
    "BitwiseAnd": _binary(tx.bitwise_and),
    "BitwiseNot": _unary(tx.bitwise_not),
    "BitwiseOr": _binary(tx.bitwise_or),
    "BitwiseXor": _binary(tx.bitwise_xor),
    "Cast": _cast_node,
    "CastLike": _cast_node,
    "Ceil": _unary(tx.ceil),
    "Celu": lambda node, x: _celu(x[0], _alpha("alpha", 1.0)(node)),
    "Clip": _clip,
    "Cos": _unary(tx.cos),
    "Cosh": _unary(tx.cosh),
    "DequantizeLinear": lambda node, x: dequantized(x[0], x[1], x[2] if len(x) > 2 else None),
    "Div": _binary(_divide),
    "Elu": lambda node, x: _elu(x[0], _alpha("alpha", 1.0)(node)),
    "Equal": _binary(_equal),
    "Erf": _unary(tx.erf),
    "Exp": _unary(tx.exp),
    "Expand": lambda node, x: x[0],
    "Floor": _unary(tx.floor),
    "Gelu": _gelu,
    "Greater": _binary(lambda a, b: a > b),
    "GreaterOrEqual": _binary(lambda a, b: a >= b),
    "HardSigmoid": lambda node, x: _hard_sigmoid(
        x[0], _alpha("alpha", 0.2)(node), _alpha("beta", 0.5)(node)
    ),
    "HardSwish": lambda node, x: x[0] * _hard_sigmoid(x[0], 1 / 6, 0.5),
    "Identity": lambda node, x: x[0],
    "IsInf": _is_inf,
    "IsNaN": _unary(tx.isnan),
    "LeakyRelu": lambda node, x: _leaky(x[0], like(x[0], _alpha("alpha", 0.01)(node))),
    "Less": _binary(lambda a, b: a < b),
    "LessOrEqual": _binary(lambda a, b: a <= b),
    "Log": _unary(tx.log),
    "Max": _fold(maximum),
    "Mean": _mean,
    "Min": _fold(minimum),
    "Mish": _unary(_mish),
    "Mod": _mod,
    "Mul": _binary(product),
    "Neg": _unary(lambda a: -a),
    "Not": _unary(tx.Not),
    "Or": _binary(lambda a, b: tx.any(a, b)),
    "PRelu": _binary(_leaky),
    "Pow": _binary(_power),
    "QuickGelu": lambda node, x: _scaled_swish(x[0], _alpha("alpha", 1.702)(node)),
    "QuantizeLinear": _quantize,
    "Reciprocal": _unary(lambda a: like(a, 1.0) / a),
    "Relu": _unary(lambda a: maximum(a, like(a, 0))),
    "Round": _unary(tx.nearbyint),
    "Selu": lambda node, x: _selu(
        x[0], _alpha("alpha", 1.67326319217681884765625)(node),
        _alpha("gamma", 1.05070102214813232421875)(node),
    ),
    "Shrink": _shrink,
    "Sigmoid": _unary(sigmoid),
    "Sign": _unary(_sign),
    "Sin": _unary(tx.sin),
    "Sinh": _unary(tx.sinh),
    "Softplus": _unary(_softplus),
    "Softsign": _unary(lambda a: a / (like(a, 1.0) + tx.abs(a))),
    "Sqrt": _unary(tx.sqrt),
    "Sub": _binary(lambda a, b: a - b),
    "Sum": _fold(lambda a, b: a + b),
    "Swish": _swish,
    "Tan": _unary(tx.tan),
    "Tanh": _unary(tx.tanh),
    "ThresholdedRelu": lambda node, x: tx.Select(
        x[0] > like(x[0], _alpha("alpha", 1.0)(node)), x[0], like(x[0], 0.0)
    ),
    "Where": lambda node, x: tx.Select(x[0], x[1], x[2]),
    "Xor": _binary(lambda a, b: tx.NE(a.astype("int8"), b.astype("int8"))),
}  # fmt: skip
"""Operator type to its scalar function, for the newest version of each."""
