"""Absorbs into a normalization what scales, shifts or converts its result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, DType, OperatorNode
from burnish.passes.fusion.constants import rounded
from burnish.passes.fusion.norm_forms import padded
from burnish.rewrite import Any, Const, Match, Miss, Missing, OneOf, Op, Pattern, Rewriter, Rule

MAX_ELEMENTS = 1 << 16
"""Up to this size, parameters may be written out that are the same all along an axis."""
TOO_LARGE = "its parameters would have to be written out as {} numbers"

X = Any("x")
ROWS = "LayerNormalization|RMSNormalization"
CHANNELS = "InstanceNormalization|GroupNormalization"


@dataclass(frozen=True)
class Parameters:
    """New scale and bias of a normalization."""

    scale: Array
    bias: Array | None


def _normalization(kinds: str) -> Pattern:
    """A normalization with constant parameters, maybe transposed afterwards."""
    bias = OneOf(Missing(), Const("norm_bias"))
    norm = Op(kinds, X, Const("norm_scale"), bias, name="norm")
    return OneOf(norm, Op("Transpose", norm, name="transpose"))


def _absorb(match: Match) -> Parameters | Miss:
    """What scales or shifts the result of a normalization, in the shape of its scale."""
    norm, rank = match.node("norm"), match.node("norm").output.rank
    shape, given = match.constant("norm_scale").shape, match.constant("factor").shape
    if rank is None or len(given) > rank:
        return Miss("the shape of the normalized data is unknown or too small", match.root)
    sizes = (1,) * (rank - len(given)) + given
    perm = tuple(range(rank))
    if "transpose" in match:
        order = match.node("transpose").attribute("perm") or tuple(reversed(range(rank)))
        perm = tuple(int(axis) for axis in np.argsort(order))
        sizes = tuple(sizes[axis] for axis in perm)
    own = _parameter_axes(norm, rank)
    if len(shape) != len(own):
        return Miss("the scale is given in another shape than that of the normalized axes", norm)
    spread = zip((sizes[axis] for axis in own), shape, strict=True)
    if any(size != 1 for axis, size in enumerate(sizes) if axis not in own) or not all(
        a in (1, b) for a, b in spread
    ):
        return Miss(f"the constant differs along axes that {_unlike(norm)}", match.root)
    factor = padded(match.constant("factor").numpy(), rank).transpose(perm)
    return _absorbed(match, np.broadcast_to(factor.reshape([sizes[a] for a in own]), shape))


def _parameter_axes(norm: OperatorNode, rank: int) -> tuple[int, ...]:
    """The axes of the data along which ``norm`` has parameters."""
    if norm.op_type in CHANNELS.split("|"):
        return (1,)
    axis: int = norm.attribute("axis", -1)
    return tuple(range(axis % rank, rank))


def _unlike(norm: OperatorNode) -> str:
    is_row = norm.op_type in ROWS.split("|")
    return "are not normalized" if is_row else "are not that of the channels"


def _absorbed(match: Match, factor: Array) -> Parameters | Miss:
    dtype = match.root.output.dtype
    scale, wide = match.constant("norm_scale").numpy(), factor.astype(np.float64)
    bias = match.constant("norm_bias").numpy() if "norm_bias" in match else None
    if match.root.op_type == "Mul":
        scale = scale * wide
        bias = None if bias is None else bias * wide
    else:
        bias = wide if bias is None else bias + wide
    fitting = rounded(scale, dtype)
    shift = None if bias is None else rounded(bias, dtype)
    if fitting is None or (bias is not None and shift is None):
        return Miss(f"the parameters together do not fit into {dtype}", match.root)
    return Parameters(fitting, shift)


def _write_absorbed(rw: Rewriter, match: Match, facts: Parameters) -> None:
    norm = match.node("norm")
    inputs = [match["x"], rw.constant(facts.scale)]
    if facts.bias is not None:
        inputs.append(rw.constant(facts.bias))
    result = rw.op(norm.op_type, inputs, norm.attributes, like=norm.output)
    result.dtype = match.root.output.dtype
    if "transpose" in match:
        perm = match.node("transpose").attributes
        result = rw.op("Transpose", [result], perm, like=match.root.output)
    rw.replace(match.root.output, result)


def _narrow(match: Match) -> Parameters | Miss:
    """The parameters in half precision, where the data are converted from it and to it again.

    Inside, normalizations of half precision compute in single precision all the same.
    """
    norm, dtype = match.node("norm"), match["x"].dtype
    if dtype is not DType.FLOAT16 or match.root.output.dtype is not dtype:
        return Miss("the data are not converted from float16 and back to it", match.root)
    if norm.output.dtype is not DType.FLOAT or norm.attribute("stash_type", 1) != 1:
        return Miss("the normalization is not computed in single precision", norm)
    scale = _exactly(match.constant("norm_scale").numpy(), dtype)
    bias = match.constant("norm_bias").numpy() if "norm_bias" in match else None
    shift = None if bias is None else _exactly(bias, dtype)
    if scale is None or (bias is not None and shift is None):
        return Miss(f"the parameters have more digits than {dtype} has", norm)
    return Parameters(scale, shift)


def _exactly(array: Array, dtype: DType) -> Array | None:
    with np.errstate(over="ignore"):
        result: Array = array.astype(dtype.numpy)
    return result if np.array_equal(result.astype(array.dtype), array) else None


def _rules(scalable: str, shiftable: str) -> tuple[Rule, ...]:
    scaled = Op("Mul", _normalization(scalable), Const("factor"))
    shifted = Op("Add", _normalization(shiftable), Const("factor"))
    return (
        Rule("normalization-scale", scaled, _write_absorbed, _absorb),
        Rule("normalization-bias", shifted, _write_absorbed, _absorb),
    )


BIAS = OneOf(Missing(), Const("norm_bias"))
HALF = Op("Cast", Op(ROWS, Op("Cast", X, shared=True), Const("norm_scale"), BIAS, name="norm"))

CHANNEL_RULES = _rules(CHANNELS, CHANNELS)
PARAMETER_RULES = _rules(ROWS, "LayerNormalization")
HALF_RULE = Rule("normalization-half", HALF, _write_absorbed, _narrow, since=17)
