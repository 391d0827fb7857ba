"""Recognises LayerNormalization and RMSNormalization in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import is_number, number, rounded
from burnish.passes.fusion.forms import (
    count_along,
    inverse_square_root,
    mean,
    reduced_axes,
    reshaped,
    spread_problem,
    square,
    square_root,
    widened,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import (
    Any,
    Const,
    Match,
    Miss,
    Missing,
    OneOf,
    Op,
    Pattern,
    Rewriter,
    Rule,
    Scalar,
)

X = Any("x")
SCALE = Const("scale")
UNKNOWN_SIZE = "the size of the normalized axes is unknown; give --input-shape"


@dataclass(frozen=True)
class RecogniseLayerNorm(RulePass):
    """Replace the arithmetic of LayerNorm and RMSNorm by the operators.

    Before:
        c = x - ReduceMean(x)
        y = c / Sqrt(ReduceMean(c * c) + epsilon) * scale + bias

    After:
        y = LayerNormalization(x, scale, bias)

    Normalization along one axis that is not the last is transposed there and back. Scales and
    offsets that follow a normalization become part of it.
    """

    name: ClassVar[str] = "recognise-layer-norm"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Bare normalizations first; what scales and shifts them is absorbed afterwards."""
        return RULES


@dataclass(frozen=True)
class Normalization:
    """What to write: the operator over the last axes of ``x``, transposed by ``perm`` first."""

    op_type: str
    epsilon: float
    scale: Array
    bias: Array | None
    axes: int
    """How many axes at the end are normalized."""
    perm: tuple[int, ...] | None
    """Order of axes that brings the normalized one to the end; None if it is there."""


def _variance(centered: Pattern) -> Pattern:
    """The mean of squares of ``centered``, or jax's difference of means."""
    two_pass = mean(square(centered), "variance")
    average = mean(X, "mean")
    fast = Op("Sub", mean(square(X), "variance"), square(average))
    return OneOf(two_pass, fast, Op("Max", fast, Scalar(0.0)))


def _layer_norm(scaled: bool) -> Pattern:
    average = reshaped(mean(X, "mean"))
    centered = Op("Sub", X, average)
    variance = Op("Add", reshaped(_variance(centered)), Const("epsilon", is_number))
    return _divided(centered, variance, scaled)


def _divided(data: Pattern, variance: Pattern, scaled: bool) -> Pattern:
    deviation, inverse = square_root(variance), inverse_square_root(variance)
    bare = OneOf(Op("Div", data, deviation), Op("Mul", data, inverse))
    if not scaled:
        return bare
    return OneOf(Op("Mul", bare, SCALE), Op("Mul", data, Op("Mul", inverse, SCALE)))


def _tensorflow() -> Pattern:
    """``x * k + (bias - mean * k)`` with ``k = scale / sqrt(variance + epsilon)``."""
    average = reshaped(mean(X, "mean"))
    variance = Op(
        "Add", reshaped(_variance(Op("Sub", X, average))), Const("epsilon", is_number)
    )  # fmt: skip
    inverse = inverse_square_root(variance)
    factor = OneOf(Op("Mul", inverse, SCALE, name="factor"), inverse)
    shift = Op("Sub", Const("bias"), Op("Mul", average, factor))
    return Op("Add", Op("Mul", X, factor), shift)


def _rms_norm(scaled: bool) -> Pattern:
    squares = reshaped(mean(square(X), "variance"))
    return _divided(X, Op("Add", squares, Const("epsilon", is_number)), scaled)


def _read(match: Match) -> Normalization | Miss:
    x, variance = match["x"], match.node("variance")
    axes = reduced_axes(variance)
    if axes is None or x.rank is None:
        return Miss("the normalized axes are unknown", variance)
    if "mean" in match and reduced_axes(match.node("mean")) != axes:
        return Miss("mean and variance are taken along different axes", variance)
    for name in ("mean", "variance"):
        problem = _not_a_mean(match, name, axes) if name in match else None
        if problem is not None:
            return problem
    wider = widened(match)
    if wider is not None:
        return wider
    last = axes == tuple(range(x.rank - len(axes), x.rank))
    if not last and len(axes) != 1:
        return Miss("the normalized axes are not the last ones", variance)
    perm = None if last else (*(i for i in range(x.rank) if i != axes[0]), axes[0])
    scale = _parameter(match, "scale", axes)
    bias = _parameter(match, "bias", axes) if "bias" in match else None
    if isinstance(scale, Miss):
        return scale
    if isinstance(bias, Miss):
        return bias
    kind = "LayerNormalization" if "mean" in match else "RMSNormalization"
    epsilon = number(match["epsilon"])
    assert epsilon is not None
    return Normalization(kind, epsilon, scale, bias, len(axes), perm)


def _not_a_mean(match: Match, name: str, axes: tuple[int, ...]) -> Miss | None:
    """Why the reduction ``name`` does not compute a mean that lines up with ``x``."""
    node, x = match.node(name), match["x"]
    count = count_along(x, axes)
    for key, inverse in ((f"{name}_factor", True), (f"{name}_divisor", False)):
        if key not in match:
            continue
        found = number(match[key])
        if found is None or count is None:
            return Miss("a sum is divided by a number that is unknown", node)
        if not np.isclose(found, 1 / count if inverse else count, rtol=1e-5):
            return Miss(f"a sum of {count} elements is not divided by {count}", node)
    return spread_problem(match, node, axes)


def _parameter(match: Match, name: str, axes: tuple[int, ...]) -> Array | Miss:
    """The captured constant ``name`` in the shape of the normalized axes, ones without it."""
    x = match["x"]
    assert x.shape is not None
    given = np.ones((), x.dtype.numpy) if name not in match else match.constant(name).numpy()
    if given.ndim > len(x.shape):
        return Miss(f"the {name} has more axes than the data", match.root)
    padded = given.reshape((1,) * (len(x.shape) - given.ndim) + given.shape)
    if any(size != 1 for axis, size in enumerate(padded.shape) if axis not in axes):
        return Miss(f"the {name} differs along axes that are not normalized", match.root)
    sizes = [padded.shape[a] if padded.shape[a] != 1 else x.shape[a] for a in axes]
    shape = tuple(size for size in sizes if isinstance(size, int))
    if len(shape) != len(sizes):
        return Miss(UNKNOWN_SIZE, match.root)
    own = padded.reshape([padded.shape[axis] for axis in axes])
    return np.ascontiguousarray(np.broadcast_to(own, shape))


def _write(rw: Rewriter, match: Match, facts: Normalization) -> None:
    output, source = match.root.output, match["x"]
    if facts.perm is not None:
        source = _transposed(rw, source, facts.perm)
    inputs = [source, rw.constant(facts.scale)]
    if facts.bias is not None:
        inputs.append(rw.constant(facts.bias))
    attributes = {"axis": -facts.axes, "epsilon": facts.epsilon}
    result = rw.op(facts.op_type, inputs, attributes, like=source)
    if facts.perm is not None:
        result = _transposed(rw, result, tuple(int(i) for i in np.argsort(facts.perm)))
    rw.replace(output, result)


def _transposed(rw: Rewriter, value: VariableNode, perm: tuple[int, ...]) -> VariableNode:
    result = rw.op("Transpose", [value], {"perm": perm}, like=value)
    result.shape = None if value.shape is None else tuple(value.shape[axis] for axis in perm)
    return result


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
    norm, scale = match.node("norm"), match.constant("norm_scale")
    factor, value = match.constant("factor").numpy(), match.root.output
    rank = norm.output.rank
    if rank is None or factor.ndim > rank or len(scale.shape) != _axes(norm, rank):
        return Miss("the shape of the normalized data is unknown or too small", match.root)
    factor = factor.reshape((1,) * (rank - factor.ndim) + factor.shape)
    if "transpose" in match:
        perm = match.node("transpose").attribute("perm") or tuple(reversed(range(rank)))
        factor = factor.transpose(np.argsort(perm))
    outer, own = factor.shape[: -len(scale.shape)], factor.shape[-len(scale.shape) :]
    fits = all(a in (1, b) for a, b in zip(own, scale.shape, strict=True))
    if any(size != 1 for size in outer) or not fits:
        return Miss("the constant differs along axes that are not normalized", match.root)
    factor = factor.reshape(own).astype(np.float64)
    bias = match.constant("norm_bias").numpy() if "norm_bias" in match else None
    return _absorbed(match.root, scale.numpy(), bias, factor, value)


def _axes(norm: OperatorNode, rank: int) -> int:
    """How many axes at the end ``norm`` normalizes."""
    axis: int = norm.attribute("axis", -1)
    return -axis if axis < 0 else rank - axis


def _absorbed(
    node: OperatorNode, scale: Array, bias: Array | None, factor: Array, value: VariableNode
) -> Parameters | Miss:
    wide = np.broadcast_to(factor, scale.shape)
    new_scale, new_bias = scale, bias
    if node.op_type == "Mul":
        new_scale = scale * wide
        new_bias = None if bias is None else bias * wide
    else:
        new_bias = wide if bias is None else bias + wide
    fitting = rounded(new_scale, value.dtype)
    shift = None if new_bias is None else rounded(new_bias, value.dtype)
    if fitting is None or (new_bias is not None and shift is None):
        return Miss(f"the parameters together do not fit into {value.dtype}", node)
    return Parameters(fitting, shift)


def _write_absorbed(rw: Rewriter, match: Match, facts: Parameters) -> None:
    norm = match.node("norm")
    inputs = [match["x"], rw.constant(facts.scale)]
    if facts.bias is not None:
        inputs.append(rw.constant(facts.bias))
    result = rw.op(norm.op_type, inputs, norm.attributes, like=norm.output)
    if "transpose" in match:
        perm = match.node("transpose").attributes
        result = rw.op("Transpose", [result], perm, like=match.root.output)
    rw.replace(match.root.output, result)


FACTOR = Const("factor")
SCALABLE = _normalization("LayerNormalization|RMSNormalization")
SHIFTABLE = _normalization("LayerNormalization")

RULES = (
    Rule("layer-norm", _layer_norm(False), _write, _read, since=17),
    Rule("layer-norm-scaled", _layer_norm(True), _write, _read, since=17),
    Rule("layer-norm-tensorflow", _tensorflow(), _write, _read, since=17),
    Rule("rms-norm", _rms_norm(False), _write, _read, since=23),
    Rule("rms-norm-scaled", _rms_norm(True), _write, _read, since=23),
    Rule("normalization-scale", Op("Mul", SCALABLE, FACTOR), _write_absorbed, _absorb, since=17),
    Rule("normalization-bias", Op("Add", SHIFTABLE, FACTOR), _write_absorbed, _absorb, since=17),
)
