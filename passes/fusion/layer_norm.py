"""Recognises LayerNormalization and RMSNormalization in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Array, DType, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.norm_forms import (
    centered_form,
    epsilon,
    following,
    normalized_axes,
    padded,
    shifted_form,
    uncentered_form,
)
from burnish.passes.fusion.norm_parameters import (
    HALF_RULE,
    MAX_ELEMENTS,
    PARAMETER_RULES,
    TOO_LARGE,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Rewriter, Rule

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
    offsets that follow a normalization become part of it, and so do conversions from and to half
    precision around it.
    """

    name: ClassVar[str] = "recognise-layer-norm"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Bare normalizations first; what scales and shifts them is absorbed afterwards.

        Kernels compute in single precision: for code generation, conversions stay around them.
        """
        rules = (*RULES, *PARAMETER_RULES)
        return (*rules, HALF_RULE) if context.target is None else rules


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


def _read(match: Match) -> Normalization | Miss:
    x, axes = match["x"], normalized_axes(match)
    if isinstance(axes, Miss):
        return axes
    assert x.rank is not None
    last = axes == tuple(range(x.rank - len(axes), x.rank))
    if not last and len(axes) != 1:
        return Miss("the normalized axes are not the last ones", match.node("variance"))
    if "mean" in match and match.root.output.dtype is DType.BFLOAT16:
        return Miss("no engine has LayerNormalization for bfloat16", match.root)
    perm = None if last else (*(i for i in range(x.rank) if i != axes[0]), axes[0])
    scale = _parameter(match, "scale", axes)
    bias = _parameter(match, "bias", axes) if "bias" in match else None
    if isinstance(scale, Miss):
        return scale
    if isinstance(bias, Miss):
        return bias
    kind = "LayerNormalization" if "mean" in match else "RMSNormalization"
    return Normalization(kind, epsilon(match), scale, bias, len(axes), perm)


def _parameter(match: Match, name: str, axes: tuple[int, ...]) -> Array | Miss:
    """The captured constant ``name`` in the shape of the normalized axes, ones without it."""
    x = match["x"]
    assert x.shape is not None
    dtype = match.root.output.dtype.numpy
    given = np.ones((), dtype) if name not in match else match.constant(name).numpy()
    if given.ndim > len(x.shape):
        return Miss(f"the {name} has more axes than the data", match.root)
    wide = padded(given, len(x.shape))
    if any(size != 1 for axis, size in enumerate(wide.shape) if axis not in axes):
        return Miss(f"the {name} differs along axes that are not normalized", match.root)
    sizes = [wide.shape[a] if wide.shape[a] != 1 else x.shape[a] for a in axes]
    shape = tuple(size for size in sizes if isinstance(size, int))
    if len(shape) != len(sizes):
        return Miss(UNKNOWN_SIZE, match.root)
    if given.size < np.prod(shape) > MAX_ELEMENTS:
        return Miss(TOO_LARGE.format(np.prod(shape)), match.root)
    own = wide.reshape([wide.shape[axis] for axis in axes])
    return np.ascontiguousarray(np.broadcast_to(own, shape))


def _write(rw: Rewriter, match: Match, facts: Normalization) -> None:
    output, source = match.root.output, match["x"]
    if source.dtype is not output.dtype:
        source = rw.op("Cast", [source], {"to": output.dtype.value}, like=source)
        source.dtype = output.dtype
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


def _rows(match: Match) -> Normalization | Miss:
    """InstanceNormalization of data whose last axes are laid out as rows."""
    x, norm, output = match["x"], match.node("norm"), match.root.output
    rows = norm.inputs[0]
    assert rows is not None
    if x.static_shape is None or rows.static_shape is None or x.dtype is DType.UNDEFINED:
        return Miss("the shape of the data is unknown; give --input-shape", norm)
    if output.static_shape != x.static_shape:
        return Miss("the result does not get back the shape of the data", match.root)
    width = int(np.prod(rows.static_shape[2:]))
    axes = next((n for n in range(1, x.rank or 0) if np.prod(x.static_shape[-n:]) == width), None)
    if axes is None:
        return Miss("the rows are not the last axes of the data", norm)
    if width > MAX_ELEMENTS:
        return Miss(TOO_LARGE.format(width), norm)
    if np.prod(following(output) or (1,)) not in (1, width):
        return Miss("the result is scaled otherwise than by what is normalized", match.root)
    scale, bias = (match.constant(name).numpy() for name in ("norm_scale", "norm_bias"))
    if np.any(scale != scale[:1]) or np.any(bias != bias[:1]):
        return Miss("scale and bias differ from row to row", norm)
    shape, dtype = x.static_shape[-axes:], x.dtype.numpy
    full = np.full(shape, scale[0], dtype), np.full(shape, bias[0], dtype)
    shift = full[1] if bias[0] else None
    eps = norm.attribute("epsilon", 1e-5)
    return Normalization("LayerNormalization", eps, full[0], shift, axes, None)


def _row_form() -> Op:
    parameters = Const("norm_scale"), Const("norm_bias")
    norm = Op("InstanceNormalization", Op("Reshape", Any("x"), Any()), *parameters, name="norm")
    return Op("Reshape", norm, OneOf(Op("Shape", Any("x"), shared=True), Any()))


def _transposed(rw: Rewriter, value: VariableNode, perm: tuple[int, ...]) -> VariableNode:
    result = rw.op("Transpose", [value], {"perm": perm}, like=value)
    result.shape = None if value.shape is None else tuple(value.shape[axis] for axis in perm)
    return result


RULES = (
    Rule("layer-norm", centered_form(scaled=False), _write, _read, since=17),
    Rule("layer-norm-scaled", centered_form(scaled=True), _write, _read, since=17),
    Rule("layer-norm-tensorflow", shifted_form(), _write, _read, since=17),
    Rule("layer-norm-of-rows", _row_form(), _write, _rows, since=17),
    Rule("rms-norm", uncentered_form(scaled=False), _write, _read, since=23),
    Rule("rms-norm-scaled", uncentered_form(scaled=True), _write, _read, since=23),
)
