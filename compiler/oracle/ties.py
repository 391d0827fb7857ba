"""Models that quantize computed floats: how far their outputs depend on where ties fall.

A float next to the middle between two integers becomes one or the other by how its sum was rounded,
and that step of the quantized number travels on to the outputs, where it may be any size: no
tolerance for rounding covers it, and two engines that are both right differ by such steps. How far
is measured on the model itself: the oracle runs it again with what is quantized moved by a hair, to
either side. What is compared may be about as far off as those runs are, over each output and over
the slices of it, as a channel (see `burnish.oracle.spread`, also for what that does not see).

Shown by tests, on chains of six and twelve convolutions: a wrong zero point, scale, border or bias,
and weights left out, whether early or in the last layer, of all channels or of one or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from random import Random
from typing import Any

import numpy as np

from burnish.errors import UnsupportedModel
from burnish.ir import Array, Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.oracle.rounding import Leeway
from burnish.oracle.session import Oracle
from burnish.oracle.spread import SLACK, Spread, rounding_of, spread_of

HAIR = 2.0**-18
"""How far numbers are moved, relative to the range of the integers: a thousandth of a step of eight
bits, some thirty times what a sum of a thousand products in float32 is off by."""
RUNS = 8
"""Runs with numbers moved: up everywhere, down everywhere, and either way by node."""
KEPT = 256
"""Inputs for which it is remembered how far outputs move."""

COARSE = 0.1
"""How far ties may move an output, relative to its size, until a user is told: 20 dB."""

_CONTRIBUTED = "com.microsoft"
_RESULT_SCALE = {
    ("", "QLinearConv"): 6, ("", "QLinearMatMul"): 6,
    **{(_CONTRIBUTED, name): index for name, index in (
        ("QGemm", 7), ("QLinearAdd", 6), ("QLinearAveragePool", 3), ("QLinearConcat", 0),
        ("QLinearConv", 6), ("QLinearGlobalAveragePool", 3), ("QLinearLeakyRelu", 3),
        ("QLinearMul", 6), ("QLinearReduceMean", 3), ("QLinearSigmoid", 3), ("QLinearSoftmax", 3),
        ("QLinearWhere", 7), ("QuantizeLinear", 1),
    )},
}  # fmt: skip
"""Operators that quantize what they compute, and which input is the scale of that."""
_DYNAMIC = {("", "DynamicQuantizeLinear"), (_CONTRIBUTED, "DynamicQuantizeMatMul"),
            (_CONTRIBUTED, "DynamicQuantizeLSTM")}  # fmt: skip
"""Operators that find out the scale of their first input themselves."""


class Ties:
    """The outputs of a model that depend on how floats are rounded to integers within."""

    def __init__(self, graph: Graph) -> None:
        """Look at ``graph``, which must not change afterwards."""
        self._graph = graph
        self._is_quantized = any(_moves(node) for node in graph.walk())
        self._known: dict[bytes, dict[str, Spread]] = {}
        """By digest of the inputs, oldest first."""
        self._shares: dict[str, float] = {}
        """The largest share that each output was seen to move by."""

    def spread(
        self, feeds: Mapping[str, Array], expected: Mapping[str, Any]
    ) -> Mapping[str, Spread]:
        """By how much each output moves with its ties, by name; empty where nothing is quantized.

        Args:
            feeds: inputs by name.
            expected: what the model answers to them.
        """
        if not self._is_quantized:
            return {}
        key = _digest(feeds)
        if key in self._known:
            return self._known[key]
        try:
            runs = [oracle.run(feeds) for oracle in self._oracles]
        except UnsupportedModel:
            # What is quantized is of a type that cannot be moved: nothing is allowed for.
            runs = []
        found = {}
        for name, want in expected.items() if runs else ():
            spread = spread_of(want, (run[name] for run in runs))
            if spread is not None:
                found[name] = spread
                self._shares[name] = max(self._shares.get(name, 0.0), spread.share)
        while len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]
        self._known[key] = found
        return found

    def notices(self) -> list[str]:
        """What a user should know of outputs that ties move so far that comparing says little.

        Of those that were looked at, each once.
        """
        return [
            f"the output {name!r} moves by {share:.0%} when what the model quantizes moves by a "
            "hair, so that no closer agreement can be asked for; quantize the model with more "
            "or other samples, or leave more of it in floats"
            for name, share in self._shares.items()
            if share > COARSE
        ]

    def near(
        self, feeds: Mapping[str, Array], expected: Mapping[str, Any], actual: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Outputs by name: ``actual``, as ``expected`` where ties account for the difference."""
        spreads = self.spread(feeds, expected)
        return {name: _settled(value, expected.get(name), spreads.get(name))
                for name, value in actual.items()}  # fmt: skip

    def leeway(self, feeds: Mapping[str, Array], expected: Mapping[str, Any]) -> dict[str, Leeway]:
        """The lowest and highest value that each element of an output may have, by name."""
        return {
            name: _ends(np.asarray(expected[name]), spread)
            for name, spread in self.spread(feeds, expected).items()
            if spread.largest
        }

    @cached_property
    def _oracles(self) -> list[Oracle]:
        """Answer as the model does with what it quantizes moved."""
        return [Oracle(moved(self._graph, run)) for run in range(RUNS)]


def moved(graph: Graph, run: int) -> Graph:
    """A copy of ``graph`` in which all that is quantized is moved by a hair.

    Args:
        graph: stays as it is.
        run: 0 moves everything up, 1 everything down, others each operator either way.
    """
    copy, _ = clone(graph)
    random = Random(run)
    for node in list(copy.walk()):
        way = (1, -1)[run] if run < 2 else random.choice((1, -1))
        if not _moves(node):
            continue
        if node.is_op("QuantizeLinear") and not _by_scale(node):
            _add(node, way)
        elif (node.domain, node.op_type) in _DYNAMIC:
            _add_part(node, way)
        else:
            _stretch(node, way)
    return copy


def _moves(node: OperatorNode) -> bool:
    kind = (node.domain, node.op_type)
    return node.is_op("QuantizeLinear") or kind in _RESULT_SCALE or kind in _DYNAMIC


def _by_scale(node: OperatorNode) -> bool:
    """Whether what is quantized cannot simply be added to: there are many scales, or no float32."""
    scale, first = node.input(1), node.input(0)
    single = scale is not None and scale.static_shape in ((), (1,)) and scale.dtype is DType.FLOAT
    return not single or first is None or first.dtype not in (DType.FLOAT, DType.UNDEFINED)


def _insert(node: OperatorNode, op_type: str, *inputs: VariableNode, dtype: DType) -> VariableNode:
    """A new operator right before ``node``."""
    assert node.graph is not None
    new = OperatorNode(op_type, inputs, [VariableNode("", dtype)])
    node.graph.insert_before(node, new)
    return new.output


def _number(value: float, dtype: DType = DType.FLOAT) -> VariableNode:
    return VariableNode.of(Constant.of(np.array(value, dtype.numpy)))


def _add(node: OperatorNode, way: int) -> None:
    """Move what ``node`` quantizes by a part of its range."""
    first, scale = node.input(0), node.input(1)
    assert first is not None
    assert scale is not None
    bits = node.output.dtype.bits or 8
    part = _insert(node, "Mul", scale, _number(way * HAIR * 2.0**bits), dtype=DType.FLOAT)
    node.replace_input(0, _insert(node, "Add", first, part, dtype=DType.FLOAT))


def _add_part(node: OperatorNode, way: int) -> None:
    """The same where the range follows from the numbers."""
    first = node.input(0)
    assert first is not None
    sizes = _insert(node, "Abs", first, dtype=DType.FLOAT)
    largest = OperatorNode("ReduceMax", [sizes], [VariableNode("", DType.FLOAT)], {"keepdims": 0})
    assert node.graph is not None
    node.graph.insert_before(node, largest)
    part = _insert(node, "Mul", largest.output, _number(way * HAIR), dtype=DType.FLOAT)
    node.replace_input(0, _insert(node, "Add", first, part, dtype=DType.FLOAT))


def _stretch(node: OperatorNode, way: int) -> None:
    """Change the scale of what ``node`` computes, so that larger numbers move by more."""
    index = _RESULT_SCALE.get((node.domain, node.op_type), 1)
    scale = node.input(index)
    if scale is None or not scale.dtype.is_floating:
        return
    # Half precision has no number that is closer than this.
    hair = max(HAIR * 2, float(np.spacing(scale.dtype.numpy.type(1))))
    if scale.constant is not None:
        array = scale.constant.numpy()
        wide = array.astype(np.float64) * (1 + way * hair)
        stretched = np.asarray(wide, array.dtype)
        node.replace_input(index, VariableNode.of(Constant.of(stretched)))
        return
    factor = _number(1 + way * hair, scale.dtype)
    node.replace_input(index, _insert(node, "Mul", scale, factor, dtype=scale.dtype))


def _digest(feeds: Mapping[str, Array]) -> bytes:
    """The same for the same inputs, as holding them would take much room."""
    digest = blake2b()
    for name, array in sorted(feeds.items()):
        given = np.asarray(array)
        digest.update(f"{name!r} {given.dtype} {given.shape} ".encode())
        data = repr(given.tolist()).encode() if given.dtype.hasobject else given.tobytes()
        digest.update(data)
    return digest.digest()


def _settled(actual: Any, expected: Any, spread: Spread | None) -> Any:
    if spread is None or not isinstance(actual, np.ndarray) or expected is None:
        return actual
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return actual
    return expected if spread.covers(expected, actual) else actual


def _ends(expected: Array, spread: Spread) -> Leeway:
    reach = SLACK * spread.largest + rounding_of(expected)
    wide = expected.astype(np.float64)
    if expected.dtype.kind == "f":
        low, high = wide - reach, wide + reach
    else:
        info = np.iinfo(expected.dtype)
        low, high = (np.clip(wide + side, info.min, info.max) for side in (-reach, reach))
    return low.astype(expected.dtype), high.astype(expected.dtype)
