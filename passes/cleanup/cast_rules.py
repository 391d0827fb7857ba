"""Rules for Cast of what was cast before, of constants, and of indices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from burnish.ir import Constant, DType
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

_INTEGER_BITS = {
    DType.BOOL: (0, 1), DType.INT8: (1, 7), DType.INT16: (1, 15), DType.INT32: (1, 31),
    DType.INT64: (1, 63), DType.UINT8: (0, 8), DType.UINT16: (0, 16), DType.UINT32: (0, 32),
    DType.UINT64: (0, 64),
}  # fmt: skip
"""Sign bits and value bits."""

_MANTISSA = {DType.BFLOAT16: 8, DType.FLOAT16: 11, DType.FLOAT: 24, DType.DOUBLE: 53}
"""Bits of integers that fit exactly."""

_FLOATS_WITHIN = {
    DType.BFLOAT16: {DType.FLOAT, DType.DOUBLE},
    DType.FLOAT16: {DType.FLOAT, DType.DOUBLE},
    DType.FLOAT: {DType.DOUBLE},
}

INDEXED = "Gather|GatherElements|ScatterElements"
"""Operators that take indices of 32 bits as well."""


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of type ``narrow`` has the same value in type ``wide``."""
    if wide is narrow:
        return True
    if narrow in _INTEGER_BITS and wide in _INTEGER_BITS and wide is not DType.BOOL:
        sign, bits = _INTEGER_BITS[narrow]
        wide_sign, wide_bits = _INTEGER_BITS[wide]
        return sign <= wide_sign and bits <= wide_bits
    if narrow in _INTEGER_BITS and wide in _MANTISSA:
        # The largest half is 65504, so 11 bits of mantissa are also the limit of its range.
        return _INTEGER_BITS[narrow][1] <= _MANTISSA[wide]
    return wide in _FLOATS_WITHIN.get(narrow, ())


def _cast_through(match: Match) -> DType | Miss:
    source, middle = match["x"].dtype, DType(match.node("inner").attribute("to", 0))
    if not source or not middle:
        return Miss("the type of the input is not known")
    if not holds(middle, source):
        return Miss(f"{middle} does not hold every {source}", match.node("inner"))
    return DType(match.root.attribute("to", 0))


def _cast(rewriter: Rewriter, match: Match, target: DType) -> None:
    old = match.root.output
    if match["x"].dtype is target and can_stand_in(match["x"], old):
        rewriter.replace(old, match["x"])
        return
    rewriter.replace(old, rewriter.op("Cast", [match["x"]], {"to": int(target)}, like=old))


def _filled(match: Match) -> Constant | Miss:
    """What a ConstantOfShape has to fill with for its Cast to be no more than it."""
    fill = match.node("fill").attribute("value")
    source, target = DType.FLOAT if fill is None else fill.dtype, DType(match.root.attribute("to"))
    if source not in PLAIN or target not in PLAIN:
        return Miss(f"{source} is not filled in as {target}", match.root)
    value = np.zeros(1, np.float32) if fill is None else fill.numpy().reshape(1)
    if not np.isfinite(value).all() or (target not in _MANTISSA and np.abs(value).max() > 127):
        return Miss(f"the value does not fit into {target} for sure", match.root)
    return Constant.of(value.astype(target.numpy))


PLAIN = frozenset(_INTEGER_BITS) | {DType.FLOAT, DType.DOUBLE}


def _fill(rewriter: Rewriter, match: Match, value: Constant) -> None:
    old, attributes = match.root.output, {"value": value}
    rewriter.replace(old, rewriter.op("ConstantOfShape", [match["x"]], attributes, like=old))


def _narrow(match: Match) -> Miss | None:
    """Indices of 32 bits that are cast to 64."""
    if match["x"].dtype is DType.INT32 and match.node("cast").attribute("to") == DType.INT64:
        return None
    return Miss("the indices are of another type than the operator takes", match.node("cast"))


def _index(rewriter: Rewriter, match: Match, _: Mapping[str, int] | None) -> None:
    rewriter.set_input(match.root, 1, match["x"])


X = Any("x")
CAST_RULES = (
    Rule("merge-casts", Op("Cast", Op("Cast", X, name="inner", shared=True)), _cast,
         _cast_through),
    Rule("cast-of-filled", Op("Cast", Op("ConstantOfShape", X, name="fill")), _fill, _filled),
    Rule("cast-of-indices",
         Op(INDEXED, Any(), Op("Cast", X, name="cast", shared=True), open_ended=True),
         _index, _narrow),
)  # fmt: skip
