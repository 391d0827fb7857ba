"""Pieces of patterns that several rules share: the same mathematics as exporters spell it."""

from __future__ import annotations

from collections.abc import Iterator

from burnish.ir import Dim, DType, OperatorNode, VariableNode
from burnish.passes.fusion.constants import integers, normalized
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Pattern, Scalar

SHAPERS = "Reshape|Unsqueeze|Expand"


def product(*factors: Pattern) -> Pattern:
    """The product of ``factors``, multiplied in any order."""
    return factors[0] if len(factors) == 1 else OneOf(*_products(factors))


def _products(factors: tuple[Pattern, ...]) -> Iterator[Op]:
    """One pattern for every way to bracket ``factors``; the matcher commutes operands."""
    seen: list[Op] = []
    first, rest = factors[0], factors[1:]
    for choice in range(2 ** len(rest) - 1):
        left = [first, *(f for i, f in enumerate(rest) if choice >> i & 1)]
        right = [f for i, f in enumerate(rest) if not choice >> i & 1]
        form = Op("Mul", product(*left), product(*right))
        if form not in seen:
            seen.append(form)
            yield form


def square(value: Pattern) -> Pattern:
    """``value`` times itself."""
    return OneOf(Op("Pow", value, Scalar(2.0)), Op("Mul", value, value))


def square_root(value: Pattern) -> Pattern:
    """The square root of ``value``."""
    return OneOf(Op("Sqrt", value), Op("Pow", value, Scalar(0.5)))


def inverse_square_root(value: Pattern) -> Pattern:
    """One over the square root of ``value``."""
    root = square_root(value)
    return OneOf(
        Op("Reciprocal", root), Op("Div", Scalar(1.0), root), Op("Pow", value, Scalar(-0.5))
    )


def wide(value: Pattern) -> Pattern:
    """``value``, maybe in another precision."""
    return OneOf(value, Op("Cast", value))


def reshaped(value: Pattern) -> Pattern:
    """``value``, maybe given back the axes that a reduction took, and spread along them."""
    once = Op(SHAPERS, value, open_ended=True)
    return OneOf(value, once, Op(SHAPERS, once, open_ended=True))


def squeezed(value: Pattern) -> Pattern:
    """``value``, maybe without the axes of size one that a reduction left."""
    return OneOf(value, Op("Squeeze|Reshape", value, open_ended=True))


def mean(value: Pattern, name: str) -> Pattern:
    """The mean of ``value`` along axes; ``name`` is the reducing node.

    A sum that is divided by a number has to be checked: see ``reduced_axes``.
    """
    total = Op("ReduceSum", value, name=name, open_ended=True)
    average = Op("ReduceMean", value, name=name, open_ended=True)
    return OneOf(
        average,
        Op("Mul", total, Any(f"{name}_factor")),
        Op("Div", total, Any(f"{name}_divisor")),
    )


def mean_square(value: Pattern, name: str) -> Pattern:
    """The mean of the squares of ``value``; see ``mean``."""
    total = Op("ReduceSumSquare", value, name=name, open_ended=True)
    return OneOf(
        mean(square(value), name),
        Op("Mul", total, Any(f"{name}_factor")),
        Op("Div", total, Any(f"{name}_divisor")),
    )


def negated(value: Pattern) -> Pattern:
    """``-value``."""
    return OneOf(
        Op("Neg", value), Op("Mul", value, Scalar(-1.0)), Op("Sub", Scalar(0.0), value),
        Op("Div", value, Scalar(-1.0)),
    )  # fmt: skip


def increased(value: Pattern, by: float = 1.0) -> Pattern:
    """``value`` plus the number ``by``."""
    return OneOf(Op("Add", value, Scalar(by)), Op("Sub", value, Scalar(-by)))


def relu(value: Pattern) -> Pattern:
    """The positive part of ``value``."""
    return OneOf(Op("Relu", value), Op("Max", value, Scalar(0.0)), Op("Clip", value, Scalar(0.0)))


def is_positive(value: Pattern) -> Pattern:
    """Whether ``value`` is above zero, or not below; for what is the same on both sides of it."""
    zero, above, below = Scalar(0.0), "Greater|GreaterOrEqual", "Less|LessOrEqual"
    return OneOf(
        Op(above, value, zero), Op(below, zero, value), Op("Not", Op(below, value, zero)),
        Op("Not", Op(above, zero, value)),
    )  # fmt: skip


def is_negative(value: Pattern) -> Pattern:
    """The opposite of ``is_positive``."""
    zero, above, below = Scalar(0.0), "Greater|GreaterOrEqual", "Less|LessOrEqual"
    return OneOf(
        Op(below, value, zero), Op(above, zero, value), Op("Not", Op(above, value, zero)),
        Op("Not", Op(below, zero, value)),
    )  # fmt: skip


def clip(value: Pattern, low: float, high: float) -> Pattern:
    """``value`` limited to ``low`` and ``high``."""

    def by_attributes(node: OperatorNode) -> bool:
        limits = node.attribute("min"), node.attribute("max")
        return len(node.inputs) == 1 and limits == (low, high)

    return OneOf(
        Op("Clip", value, Scalar(low), Scalar(high)),
        Op("Clip", value, accept=by_attributes),
        Op("Min", Op("Max", value, Scalar(low)), Scalar(high)),
        Op("Max", Op("Min", value, Scalar(high)), Scalar(low)),
    )


def reduced_axes(node: OperatorNode) -> tuple[int, ...] | None:
    """Axes that a reduction goes over, counted from the front; None if they are unknown."""
    source = node.input(0)
    if source is None or source.rank is None:
        return None
    axes = node.attribute("axes")
    if axes is None and node.input(1) is not None:
        axes = integers(node.input(1))
        if axes is None:
            return None
    if not axes:
        return None if node.attribute("noop_with_empty_axes", 0) else tuple(range(source.rank))
    return normalized(axes, source.rank)


def count_along(value: VariableNode, axes: tuple[int, ...]) -> int | None:
    """Elements of ``value`` along ``axes``, if those sizes are known."""
    if value.shape is None:
        return None
    count = 1
    for axis in axes:
        size = value.shape[axis]
        if not isinstance(size, int):
            return None
        count *= size
    return count


def spread_problem(match: Match, node: OperatorNode, axes: tuple[int, ...]) -> Miss | None:
    """Why what ``node`` reduces along ``axes`` of ``x`` does not line up with ``x`` again."""
    shape = match["x"].shape or ()
    shaping = [n for n in match.nodes if n.op_type in SHAPERS.split("|")]
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    for other in shaping:
        found = other.output.shape
        if found == shape and None not in shape:
            continue
        if other.op_type == "Expand" or found is None or not _same_count(found, kept):
            return Miss("a reduction is not spread along the axes that it was taken over", node)
    if not node.attribute("keepdims", 1) and axes != (0,) and _meets_data(match, node):
        return Miss("the result of a reduction has lost the axes that it was taken over", node)
    return None


def _meets_data(match: Match, node: OperatorNode) -> bool:
    """Whether the result of ``node`` is combined with ``x`` before its axes are given back."""
    inside, rank, pending = set(match.nodes), match["x"].rank, [node.output]
    while pending:
        for reader in pending.pop().consumers:
            if reader not in inside or reader.op_type in SHAPERS.split("|"):
                continue
            if reader.output.rank == rank:
                return True
            pending.append(reader.output)
    return False


def _same_count(one: tuple[Dim, ...], other: tuple[Dim, ...]) -> bool:
    """Whether two shapes of the same number of elements are the same one.

    They are if at most one size is not known to be the same: the others settle it.
    """
    if len(one) != len(other):
        return False
    open_sizes = [(a, b) for a, b in zip(one, other, strict=True) if a is None or a != b]
    known = any(isinstance(a, int) and isinstance(b, int) for a, b in open_sizes)
    return len(open_sizes) <= 1 and not known


def widened(match: Match) -> Miss | None:
    """A Miss if the result is known to be larger than the data ``x``, or to have more axes.

    A constant with one element may have any number of axes, which it gives to the result.
    """
    data, result = match["x"].shape, match.root.output.shape
    if data is None or result is None:
        return None
    if len(data) == len(result) and all(
        a == b or not isinstance(a, int) or not isinstance(b, int)
        for a, b in zip(data, result, strict=True)
    ):
        return None
    return Miss("a constant gives the result another shape than the data has", match.root)


def floats(match: Match) -> Miss | None:
    """A Miss unless the data ``x`` are real numbers, and of the shape of the result."""
    if not match["x"].dtype.is_floating:
        return Miss(f"the data are {match['x'].dtype}", match.root)
    return widened(match)


def singles(match: Match) -> Miss | None:
    """Like ``floats``, for operators that ONNX Runtime has no kernels of in double precision."""
    if match["x"].dtype is DType.DOUBLE:
        return Miss("ONNX Runtime lacks the operator for double", match.root)
    return floats(match)
