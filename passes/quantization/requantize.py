"""One factor from integer sums to the integers that they are quantized as.

Sums are scaled by the product of both operands' scales, then divided by the scale of the result.
One factor does both, as in integer engines, which so round the same way. Sums of two dequantized
values are taken from the integers at once: what zero points add up to is one number. All numbers
are rounded to float32 where ONNX Runtime's kernels round theirs, so that results are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, DType, VariableNode
from burnish.passes.quantization.parameters import BYTES, Dequantized, Parameters, dequantized
from burnish.rewrite import Any, Const, Match, Miss, Op, Rewriter, Rule


def _scale(match: Match) -> np.float32 | Miss:
    """What sums are divided by: one known number other than 1, that leaves factors normal."""
    node, x = match.root, match["x"]
    parameters = Parameters.of(node)
    if parameters is None or not parameters.is_single or parameters.scale.constant is None:
        return Miss("the scale is computed, or there are several", node)
    if x.dtype is not DType.INT32 or match.node("cast").output.dtype is not DType.FLOAT:
        return Miss("no sums of integers are quantized", node)
    scale = np.float32(parameters.scales())
    if scale == 1:
        return Miss("the factor is one already", node)
    for name in ("factor", "bias"):
        if name in match and not _is_normal(_divided(match, name, scale)):
            return Miss(f"the {name} leaves the range of float32", node)
    return scale


def _divided(match: Match, name: str, scale: np.float32) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(match.constant(name).numpy() / scale, np.float32)


def _is_normal(array: Array) -> bool:
    sizes = np.abs(array[array != 0])
    return bool(np.all((sizes >= np.finfo(np.float32).tiny) & np.isfinite(sizes)))


def _requantize(rw: Rewriter, match: Match, scale: np.float32) -> None:
    node = match.root
    cast, like = match.node("cast").output, match.node("product").output
    factor = rw.constant(_divided(match, "factor", scale))
    value = rw.op("Mul", [cast, factor], like=like)
    if "bias" in match:
        value = rw.op("Add", [value, rw.constant(_divided(match, "bias", scale))], like=like)
    one = rw.constant(np.ones((), np.float32))
    zero: list[VariableNode | None] = [node.input(2)] if node.input(2) is not None else []
    rw.replace(
        node.output, rw.op("QuantizeLinear", [value, one, *zero], node.attributes, like=node.output)
    )


@dataclass(frozen=True)
class _Terms:
    """What the integers of two values are multiplied by, and what is added to their sum."""

    a: Dequantized
    b: Dequantized
    factors: tuple[np.float32, np.float32]
    offset: np.float32


def _terms(match: Match) -> _Terms | Miss:
    node, parameters = match.root, Parameters.of(match.root)
    a, b = (dequantized(value) for value in match.node("sum").inputs)
    if a is None or b is None:
        return Miss("the sum is not of two values that are dequantized from 8 bits", node)
    if parameters is None or node.output.dtype not in BYTES:
        return Miss("it is not quantized to 8 bits by scales of one axis", node)
    every = (a.parameters, b.parameters, parameters)
    if not all(each.is_single and each.is_constant for each in every):
        return Miss("a scale is computed, or there are several", node)
    (one, other, step), zeros = (
        [np.float32(each.scales()) for each in every],
        [np.float64(each.zeros()) for each in every],
    )
    # Scales may be infinite: quantizers write such for masks of minus infinity.
    with np.errstate(all="ignore"):
        factors = np.float32(one / step), np.float32(other / step)
        second = np.float64(np.float32(factors[1] * np.float32(zeros[1])))
        offset = np.float32(zeros[2] - np.float64(np.float32(factors[0] * zeros[0] + second)))
    if not _is_normal(np.array([*factors, offset], np.float32)):
        return Miss("a factor leaves the range of float32", node)
    return _Terms(a, b, factors, offset)


def _requantize_sum(rw: Rewriter, match: Match, found: _Terms) -> None:
    """One multiplication and addition for each value, the second one first."""
    node, like = match.root, match.node("sum").output
    value = rw.op(
        "Add", [_times(rw, found.b, found.factors[1]), rw.constant(np.array(found.offset))],
        like=VariableNode("", like.dtype, found.b.integers.shape),
    )  # fmt: skip
    value = rw.op("Add", [value, _times(rw, found.a, found.factors[0])], like=like)
    one, zero = np.ones((), np.float32), np.zeros((), node.output.dtype.numpy)
    rw.replace(
        node.output,
        rw.op("QuantizeLinear", [value, rw.constant(one), rw.constant(zero)], like=node.output),
    )


def _times(rw: Rewriter, source: Dequantized, factor: np.float32) -> VariableNode:
    like = VariableNode("", DType.FLOAT, source.integers.shape)
    number = rw.op("Cast", [source.integers], {"to": int(DType.FLOAT)}, like=like)
    return rw.op("Mul", [number, rw.constant(np.array(factor))], like=like)


_SOURCE = Op("DequantizeLinear", shared=True)
_PRODUCT = Op("Mul", Op("Cast", Any("x"), name="cast"), Const("factor"), name="product")
REQUANTIZE = (
    Rule("requantize-sums", Op("QuantizeLinear", _PRODUCT, open_ended=True), _requantize, _scale,
         since=13),
    Rule("requantize-biased-sums",
         Op("QuantizeLinear", Op("Add", _PRODUCT, Const("bias")), open_ended=True), _requantize,
         _scale, since=13),
    Rule("requantize-total",
         Op("QuantizeLinear", Op("Add", _SOURCE, _SOURCE, name="sum"), open_ended=True),
         _requantize_sum, _terms, since=13),
)  # fmt: skip
