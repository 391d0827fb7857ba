"""Results that round computed floats: what else they may be, given how far off the floats may be.

Compiled code computes floats in another order than the oracle. Where one of them lies next to a
boundary of what rounds it (Floor, Round, Cast to integers), that moves the result by a whole step,
though the float is as right as any. These operators never decrease, so what they make of the
lowest and of the highest float that would be accepted bounds what they may make of any. A float
that no arithmetic has touched, as an input that is rounded, has no such leeway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from burnish.analysis.shape_inference import infer
from burnish.ir import Array, DType, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.oracle.comparison import TOLERANCES
from burnish.oracle.session import Oracle

Leeway: TypeAlias = tuple[Array, Array]
"""The lowest and the highest value that each element of a result may have."""

_ROUNDS: dict[str, Callable[[Array], Array]] = {
    "Ceil": np.ceil, "Floor": np.floor, "Round": np.rint,
}  # fmt: skip
_KEEPS_ORDER = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""What hands on elements as they are, one after the other."""
_EXACT = _KEEPS_ORDER | {
    "Abs", "Cast", "CastLike", "Clip", "Concat", "Constant", "Expand", "Gather", "Max", "Min",
    "Neg", "Pad", "Relu", "Sign", "Slice", "Split", "Tile", "Transpose", "Where", *_ROUNDS,
}  # fmt: skip
"""What rounds no float, so that everyone has the same ones."""


@dataclass(frozen=True)
class _Rounding:
    """An output, the float that it rounds, and how."""

    output: VariableNode
    source: VariableNode
    steps: tuple[OperatorNode, ...]
    """What is done to the float, in order."""

    def apply(self, floats: Array) -> Array:
        """The output for other ``floats``, float64; NaN where an integer does not hold it."""
        for node in self.steps:
            if node.op_type in _ROUNDS:
                floats = _ROUNDS[node.op_type](floats)
            elif _is_to_integer(node):
                floats = _whole(floats, _cast_to(node))
        return floats


def _whole(floats: Array, dtype: DType) -> Array:
    whole, limits = np.trunc(floats), np.iinfo(dtype.numpy.name)
    # Beyond 2**53 float64 does not hold every integer.
    most = min(limits.max, 1 << 53)
    with np.errstate(invalid="ignore"):
        fits = (whole >= max(limits.min, -most)) & (whole <= most)
    return np.where(fits, whole, np.nan)


class Roundings:
    """The outputs of a model that round computed floats."""

    def __init__(self, graph: Graph) -> None:
        """Find them in ``graph``, which must not change afterwards."""
        found = (_rounding(value) for value in dict.fromkeys(graph.outputs))
        self._found = [each for each in found if each is not None]
        self._graph = graph

    def leeway(self, feeds: Mapping[str, Array]) -> dict[str, Leeway]:
        """What each of these outputs may be for some inputs, by name.

        Both ends are of its shape and type; a float next to no boundary leaves no choice, and
        neither does one that is no number. Floats may be as far off as where they are outputs.
        """
        if not self._found:
            return {}
        results = self._oracle.run(feeds)
        return {
            each.output.name: _leeway(
                each, np.asarray(results[each.source.name]), np.asarray(results[each.output.name])
            )
            for each in self._found
        }

    def near(
        self, feeds: Mapping[str, Array], expected: Mapping[str, Any], actual: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Outputs by name: ``actual``, as ``expected`` wherever it lies within the leeway."""
        leeway = self.leeway(feeds)
        return {k: settled(v, expected.get(k), leeway.get(k)) for k, v in actual.items()}

    @cached_property
    def _oracle(self) -> Oracle:
        """Answers with the rounded floats and what is made of them."""
        copy, made = clone(self._graph)
        values = dict.fromkeys(v for each in self._found for v in (each.output, each.source))
        copy.outputs = [made.values[value] for value in values]
        # The model may not state the types of the floats, and outputs need one.
        types = infer(self._graph).types
        for value in values:
            known = types.get(value)
            made.values[value].dtype = known.dtype if known else value.dtype
        return Oracle(copy)


def settled(actual: Any, expected: Any, leeway: Leeway | None) -> Any:
    """``actual``, as ``expected`` wherever it lies within the leeway."""
    if leeway is None:
        return actual
    have, want = np.asarray(actual), np.asarray(expected)
    low, high = leeway
    if have.shape != want.shape or have.dtype != want.dtype:
        return actual
    return np.where((low <= have) & (have <= high), want, have)


def _leeway(rounding: _Rounding, floats: Array, rounded: Array) -> Leeway:
    if floats.dtype.kind not in "fV" or DType.from_numpy(floats.dtype) not in TOLERANCES:
        return rounded, rounded
    wide = floats.astype(np.float64)
    finite = np.isfinite(wide)
    scale = float(np.abs(wide[finite]).max()) if finite.any() else 0.0
    off = TOLERANCES[DType.from_numpy(floats.dtype)] * scale
    ends = [rounding.apply(wide + side).reshape(rounded.shape) for side in (-off, off)]
    known = np.isfinite(ends[0]) & np.isfinite(ends[1]) & finite.reshape(rounded.shape)
    low, high = (np.where(known, end, 0).astype(rounded.dtype) for end in ends)
    return np.where(known, low, rounded), np.where(known, high, rounded)


def _rounding(output: VariableNode) -> _Rounding | None:
    """How ``output`` rounds a float that arithmetic made, None if it does no such thing."""
    steps: list[OperatorNode] = []
    value = output
    while (node := value.producer) is not None and _is_step(node):
        first = node.inputs[0]
        assert first is not None
        steps.append(node)
        value = first
    rounds = any(node.op_type in _ROUNDS or _is_to_integer(node) for node in steps)
    if not rounds or not _is_computed(value):
        return None
    return _Rounding(output, value, tuple(reversed(steps)))


def _is_step(node: OperatorNode) -> bool:
    """Whether ``node`` hands on the elements of its first input, or rounds them."""
    if node.domain or not node.inputs or node.inputs[0] is None:
        return False
    if node.op_type == "Cast":
        return _is_to_integer(node) or _cast_to(node) in TOLERANCES
    return node.op_type in _ROUNDS or node.op_type in _KEEPS_ORDER


def _cast_to(node: OperatorNode) -> DType:
    return DType(int(node.attribute("to")))


def _is_to_integer(node: OperatorNode) -> bool:
    return node.op_type == "Cast" and _cast_to(node).numpy.kind in "iu"


def _is_computed(value: VariableNode) -> bool:
    """Whether arithmetic on floats leads to ``value``."""
    seen, waiting = {value}, [value]
    while waiting:
        node = waiting.pop().producer
        if node is None:
            continue
        if node.domain or node.op_type not in _EXACT:
            return True
        for each in node.inputs:
            if each is not None and each not in seen:
                seen.add(each)
                waiting.append(each)
    return False
