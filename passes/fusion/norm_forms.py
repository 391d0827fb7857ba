"""How exporters spell normalizations: patterns and what their guards have in common."""

from __future__ import annotations

import numpy as np

from burnish.ir import Array, VariableNode
from burnish.passes.fusion.constants import is_number, number
from burnish.passes.fusion.forms import (
    count_along,
    inverse_square_root,
    mean,
    mean_square,
    reduced_axes,
    reshaped,
    spread_problem,
    square,
    square_root,
    squeezed,
    wide,
    widened,
)
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Pattern, Scalar

X = Any("x")
SCALE = Const("scale")
MEANS = ("mean", "own_mean", "variance")
"""Names of the reducing nodes in the patterns below."""


def centered_form(scaled: bool) -> Pattern:
    """``(x - mean) / sqrt(variance + epsilon)``, maybe times ``scale`` where it is bracketed so.

    In half precision the deviation is taken of a wider copy of the data.
    """
    centered = wide(Op("Sub", X, reshaped(mean(X, "mean"))))
    return _divided(centered, _guarded(_variance(centered)), scaled)


def shifted_form() -> Pattern:
    """``x * k + (bias - mean * k)`` with ``k = scale / sqrt(variance + epsilon)``: tensorflow's."""
    average = reshaped(mean(X, "mean"))
    inverse = inverse_square_root(_guarded(_variance(Op("Sub", X, average))))
    factor = OneOf(Op("Mul", inverse, SCALE), inverse)
    product, shift = Op("Mul", X, factor), Op("Mul", average, factor)
    return OneOf(
        Op("Add", product, Op("Sub", Const("bias"), shift)),
        Op("Sub", product, shift),
        Op("Add", product, Op("Neg", shift)),
    )


def uncentered_form(scaled: bool) -> Pattern:
    """``x / sqrt(mean of squares + epsilon)``, maybe times ``scale`` where it is bracketed so."""
    return _divided(X, _guarded(mean_square(X, "variance")), scaled)


def batch_form() -> Pattern:
    """BatchNormalization by the mean and variance of its own data: tf2onnx's."""
    average = squeezed(mean(X, "own_mean"))
    centered = Op("Sub", X, reshaped(mean(X, "mean")))
    variance = squeezed(mean_square(centered, "variance"))
    parameters = Const("norm_scale"), Const("norm_bias")
    return Op("BatchNormalization", X, *parameters, average, variance, name="norm")


def _variance(centered: Pattern) -> Pattern:
    """The mean of squares of ``centered``, or jax's difference of means."""
    average = mean(X, "mean")
    fast = Op("Sub", mean_square(X, "variance"), square(average))
    copy = wide(X)
    anew = Op("Sub", copy, reshaped(mean(copy, "own_mean")))
    return OneOf(
        mean_square(centered, "variance"), fast, Op("Max", fast, Scalar(0.0)),
        mean_square(anew, "variance"),
    )  # fmt: skip


def _guarded(variance: Pattern) -> Pattern:
    return Op("Add", wide(reshaped(variance)), Const("epsilon", is_number))


def _divided(data: Pattern, variance: Pattern, scaled: bool) -> Pattern:
    deviation, inverse = square_root(variance), inverse_square_root(variance)
    if not scaled:
        return OneOf(Op("Div", data, deviation), Op("Mul", data, inverse))
    bare = OneOf(Op("Div", data, deviation), Op("Mul", data, inverse))
    return OneOf(Op("Mul", bare, SCALE), Op("Mul", data, Op("Mul", inverse, SCALE)))


def normalized_axes(match: Match) -> tuple[int, ...] | Miss:
    """The axes that mean and variance go over, if the arithmetic is that of a normalization."""
    x, variance = match["x"], match.node("variance")
    axes = reduced_axes(variance)
    if axes is None or x.rank is None:
        return Miss("the normalized axes are unknown", variance)
    if max(axes, default=0) >= x.rank:
        return Miss("the squares have more axes than the data", variance)
    for name in (name for name in MEANS if name in match):
        if reduced_axes(match.node(name)) != axes:
            return Miss("mean and variance are taken along different axes", variance)
        node = match.node(name)
        problem = wrong_divisor(match, name, axes) or spread_problem(match, node, axes)
        if problem is not None:
            return problem
    return widened(match) or axes


def wrong_divisor(match: Match, name: str, axes: tuple[int, ...]) -> Miss | None:
    """Why the sum ``name``, if it is one, does not become a mean over ``axes``."""
    node, count = match.node(name), count_along(match["x"], axes)
    for key, inverse in ((f"{name}_factor", True), (f"{name}_divisor", False)):
        if key not in match:
            continue
        found = number(match[key])
        if found is None or count is None:
            return Miss("a sum is divided by a number that is unknown", node)
        if not np.isclose(found, 1 / count if inverse else count, rtol=1e-5):
            return Miss(f"a sum of {count} elements is not divided by {count}", node)
    return None


def epsilon(match: Match) -> float:
    """What is added to the variance."""
    found = number(match["epsilon"])
    assert found is not None
    return found


def padded(array: Array, rank: int) -> Array:
    """``array`` with axes of size 1 in front, up to ``rank``."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def following(value: VariableNode) -> tuple[int, ...] | None:
    """The shape of the constant that the only reader of ``value`` multiplies by or adds to it."""
    readers = value.consumers
    if len(readers) != 1 or not readers[0].is_op("Mul", "Add") or value.is_graph_output:
        return None
    others = [v for v in readers[0].inputs if v is not None and v is not value]
    if len(others) != 1 or others[0].constant is None:
        return None
    return others[0].constant.shape
