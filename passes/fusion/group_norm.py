"""Recognises InstanceNormalization and GroupNormalization in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any as AnyType
from typing import ClassVar

import numpy as np

from burnish.ir import Array, DType
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import along, per_channel
from burnish.passes.fusion.forms import reduced_axes, spread_problem
from burnish.passes.fusion.norm_forms import (
    batch_form,
    centered_form,
    epsilon,
    following,
    normalized_axes,
    shifted_form,
    wrong_divisor,
)
from burnish.passes.fusion.norm_parameters import CHANNEL_RULES
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Rewriter, Rule

X = Any("x")
PER_CHANNEL = 21
"""The opset since which GroupNormalization has one scale per channel; before, one per group."""


@dataclass(frozen=True)
class RecogniseGroupNorm(RulePass):
    """Replace the arithmetic of InstanceNorm and GroupNorm by the operators.

    Before:
        n = InstanceNormalization(Reshape(x, [0, groups, -1]), ones, zeros)
        y = Reshape(n, Shape(x)) * scale + bias

    After:
        y = GroupNormalization(x, scale, bias)

    Data that are normalized over all axes after the channels make InstanceNormalization, data that
    are normalized over the channels too make GroupNormalization with one group. When compiling,
    groups become rows of InstanceNormalization, the other way round: its kernel is the faster one.
    """

    name: ClassVar[str] = "recognise-group-norm"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Bare normalizations first; what scales and shifts them is absorbed afterwards."""
        groups = GROUPS if context.target is None else SPLIT_GROUPS
        return (*INSTANCES, *groups, *CHANNEL_RULES)


@dataclass(frozen=True)
class Normalization:
    """Parameters [channels], and the number of groups; None for InstanceNormalization."""

    scale: Array
    bias: Array
    epsilon: float
    groups: int | None = None


def _instances(match: Match) -> Normalization | Miss:
    """Normalization of every channel over its positions."""
    axes, x = normalized_axes(match), match["x"]
    if isinstance(axes, Miss):
        return axes
    assert x.rank is not None
    # Over the last axis alone it is LayerNormalization that is meant.
    if x.rank < 4 or axes != tuple(range(2, x.rank)):
        return Miss("the normalized axes are not all axes after the channels", match.root)
    return _channelwise(match, axes, None)


def _single_group(match: Match) -> Normalization | Miss:
    """Normalization of every sample over channels and positions together."""
    axes, x = normalized_axes(match), match["x"]
    if isinstance(axes, Miss):
        return axes
    assert x.rank is not None
    if x.rank < 3 or axes != tuple(range(1, x.rank)):
        return Miss("the normalized axes are not all axes after the first", match.root)
    return _channelwise(match, axes, 1)


def _channelwise(match: Match, axes: tuple[int, ...], groups: int | None) -> Normalization | Miss:
    x, value = match["x"], match.root.output
    assert x.shape is not None
    channels = x.shape[1]
    if not isinstance(channels, int):
        return Miss("the number of channels is unknown; give --input-shape", match.root)
    if value.dtype not in (DType.FLOAT, DType.FLOAT16):
        return Miss(f"engines lack this normalization for {value.dtype}", match.root)
    given = match.constant("scale").shape if "scale" in match else following(value)
    if given is None and groups is not None:
        return Miss("no scale or bias per channel follows: it is LayerNormalization", match.root)
    inner = (1,) * (len(x.shape) - len(given or ())) + (given or ())
    if any(size != 1 for axis, size in enumerate(inner) if axis in axes and axis != 1):
        return Miss("its parameters differ from position to position", match.root)
    parameters = []
    for name, default in (("scale", np.ones), ("bias", np.zeros)):
        found = default(channels)
        if name in match:
            vector = per_channel(match[name], 1, len(x.shape), channels)
            if vector is None:
                return Miss(f"the {name} is not one number per channel", match.root)
            found = vector
        parameters.append(found.astype(value.dtype.numpy))
    return Normalization(parameters[0], parameters[1], epsilon(match), groups)


def _groups(match: Match) -> Normalization | Miss:
    """InstanceNormalization of data whose channels are reshaped into groups."""
    x, norm = match["x"], match.node("norm")
    folded, output = norm.inputs[0], match.root.output
    assert folded is not None
    if x.shape is None or folded.shape is None or output.shape is None:
        return Miss("the shape of the data is unknown", norm)
    if len(x.shape) < 2 or not isinstance(x.shape[1], int):
        return Miss("the number of channels is unknown; give --input-shape", norm)
    if len(folded.shape) < 3 or not isinstance(folded.shape[1], int):
        return Miss("the number of groups is unknown", norm)
    channels, groups = x.shape[1], folded.shape[1]
    if folded.shape[0] != x.shape[0] or folded.shape[0] is None or channels % groups:
        return Miss("what is normalized together are not groups of channels", norm)
    if len(output.shape) != len(x.shape) or _differing(output.shape, x.shape) > 1:
        return Miss("the result does not get back the shape of the data", match.root)
    scale, bias = (match.constant(name).numpy() for name in ("norm_scale", "norm_bias"))
    members = channels // groups
    return Normalization(
        np.repeat(scale, members), np.repeat(bias, members), norm.attribute("epsilon", 1e-5), groups
    )


def _own_statistics(match: Match) -> Normalization | Miss:
    """BatchNormalization by statistics of a batch of one: of every channel."""
    norm, x = match.node("norm"), match["x"]
    if norm.attribute("training_mode", 0) or x.rank is None or x.rank < 3:
        return Miss("BatchNormalization trains, or the data have no positions", norm)
    if x.shape is None or x.shape[0] != 1:
        return Miss("the statistics are those of a whole batch", norm)
    others = (0, *range(2, x.rank))
    for name in ("mean", "own_mean", "variance"):
        if reduced_axes(match.node(name)) != others:
            return Miss("the statistics are not taken for every channel", match.node(name))
        problem = wrong_divisor(match, name, others)
        if problem is not None:
            return problem
    problem = spread_problem(match, match.node("mean"), others)
    if problem is not None:
        return problem
    scale, bias = (match.constant(name).numpy() for name in ("norm_scale", "norm_bias"))
    return Normalization(scale, bias, norm.attribute("epsilon", 1e-5))


def _differing(one: Sequence[object], other: Sequence[object]) -> int:
    """Along how many axes two shapes are not known to be the same."""
    return sum(a != b or a is None for a, b in zip(one, other, strict=True))


def _write(rw: Rewriter, match: Match, facts: Normalization) -> None:
    output, source = match.root.output, match["x"]
    if source.dtype is not output.dtype:
        source = rw.op("Cast", [source], {"to": output.dtype.value}, like=source)
        source.dtype = output.dtype
    inputs = [source, rw.constant(facts.scale), rw.constant(facts.bias)]
    attributes: dict[str, object] = {"epsilon": facts.epsilon}
    if facts.groups is not None:
        attributes["num_groups"] = facts.groups
    kind = "InstanceNormalization" if facts.groups is None else "GroupNormalization"
    rw.replace(output, rw.op(kind, inputs, attributes, like=output))


def _group_form() -> Op:
    norm = Op(
        "InstanceNormalization", Op("Reshape", X, Any()), Const("norm_scale"), Const("norm_bias"),
        name="norm",
    )  # fmt: skip
    return Op("Reshape", norm, OneOf(Op("Shape", X, shared=True), Any()))


def _write_split(rw: Rewriter, match: Match, facts: Normalization) -> None:
    """Groups as rows of InstanceNormalization; scale and bias are applied afterwards."""
    output, source = match.root.output, match["x"]
    shape = source.static_shape
    assert shape is not None
    assert facts.groups is not None
    rows = rw.op("Reshape", [source, rw.constant(np.array([shape[0], facts.groups, -1]))])
    size = int(np.prod(shape[1:])) // facts.groups
    rows.dtype, rows.shape = source.dtype, (shape[0], facts.groups, size)
    plain = (rw.constant(make(facts.groups, source.dtype.numpy)) for make in (np.ones, np.zeros))
    attributes = {"epsilon": facts.epsilon}
    rows = rw.op("InstanceNormalization", [rows, *plain], attributes, like=rows)
    value = rw.op("Reshape", [rows, rw.constant(np.array(shape))], like=output)
    for kind, vector in (("Mul", facts.scale), ("Add", facts.bias)):
        operand = rw.constant(along(vector, 1, len(shape)))
        value = rw.op(kind, [value, operand], like=output)
    rw.replace(output, value)


def _static(guard: Callable[[Match], Normalization | Miss]) -> Callable[[Match], AnyType]:
    """``guard``, and all sizes of the data are known."""

    def checked(match: Match) -> Normalization | Miss:
        facts = guard(match)
        if match["x"].static_shape is None or match["x"].dtype is not match.root.output.dtype:
            return Miss("the shape of the data is unknown; give --input-shape", match.root)
        return facts

    return checked


def _operator(match: Match) -> Normalization | Miss:
    """What GroupNormalization itself does."""
    node, data = match.root, match["x"]
    scale, bias = (match.constant(name).numpy() for name in ("norm_scale", "norm_bias"))
    if data.dtype is not DType.FLOAT or data.rank is None or data.rank < 3:
        return Miss("only positions in float32 are normalized as rows", node)
    groups = int(node.attribute("num_groups"))
    return Normalization(scale, bias, node.attribute("epsilon", 1e-5), groups)


BARE, SCALED, SHIFTED = centered_form(scaled=False), centered_form(scaled=True), shifted_form()
OPERATOR = Op("GroupNormalization", X, Const("norm_scale"), Const("norm_bias"))

INSTANCES = (
    Rule("instance-norm", BARE, _write, _instances, since=6),
    Rule("instance-norm-scaled", SCALED, _write, _instances, since=6),
    Rule("instance-norm-tensorflow", SHIFTED, _write, _instances, since=6),
    Rule("instance-norm-of-batch", batch_form(), _write, _own_statistics, since=6),
)
GROUPS = (
    Rule("group-norm", _group_form(), _write, _groups, since=PER_CHANNEL),
    Rule("group-norm-single", BARE, _write, _single_group, since=PER_CHANNEL),
    Rule("group-norm-single-scaled", SCALED, _write, _single_group, since=PER_CHANNEL),
)
SPLIT_GROUPS = (
    Rule("group-norm-split", OPERATOR, _write_split, _static(_operator), since=PER_CHANNEL),
    Rule("group-norm-single", BARE, _write_split, _static(_single_group)),
    Rule("group-norm-single-scaled", SCALED, _write_split, _static(_single_group)),
)
