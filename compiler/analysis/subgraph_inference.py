"""Types of the results of operators with subgraphs: If, Loop, Scan and regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from burnish.analysis.value_type import ValueType
from burnish.ir import DType, Graph, OperatorNode

if TYPE_CHECKING:
    from burnish.analysis.shape_inference import Inference

MAX_ROUNDS = 4
"""Walks over a loop body until the types that it carries no longer change."""

SubgraphRule: TypeAlias = Callable[["Inference", OperatorNode], Sequence[ValueType]]


def _returned(inference: Inference, body: Graph) -> list[ValueType]:
    inference.walk(body)
    return [inference.type_of(value) for value in body.outputs]


def _branches(inference: Inference, node: OperatorNode) -> list[ValueType]:
    results = [_returned(inference, body) for body in node.subgraphs.values()]
    return [a.common(b) for a, b in zip(results[0], results[-1], strict=False)]


def _input_type(inference: Inference, node: OperatorNode, index: int) -> ValueType:
    value = node.input(index)
    return ValueType() if value is None else inference.type_of(value)


def _iterate(
    inference: Inference, body: Graph, fixed: Sequence[ValueType], carried: list[ValueType],
    rest: Sequence[ValueType], skip: int,
) -> list[ValueType]:  # fmt: skip
    """Walk ``body`` until the types of ``carried`` values settle; return those of its outputs.

    Args:
        inference: where types are kept.
        body: the subgraph; its inputs are ``fixed``, carried and ``rest`` values.
        fixed: types of leading inputs.
        carried: initial types of carried values; updated in place.
        rest: types of trailing inputs.
        skip: outputs before the carried ones.
    """
    results: list[ValueType] = []
    for _ in range(MAX_ROUNDS):
        for value, kind in zip(body.inputs, (*fixed, *carried, *rest), strict=False):
            inference.types[value] = kind if kind.is_known else ValueType.of(value)
        problems = len(inference.problems)
        results = _returned(inference, body)
        merged = [
            kind.common(result)
            for kind, result in zip(carried, results[skip : skip + len(carried)], strict=False)
        ]
        if merged == carried:
            return results
        del inference.problems[problems:]
        carried[:] = merged
    carried[:] = [ValueType(kind.dtype, message=kind.message) for kind in carried]
    return [ValueType(kind.dtype, message=kind.message) for kind in results]


def _loop(inference: Inference, node: OperatorNode) -> list[ValueType]:
    body = node.subgraphs["body"]
    carried = [_input_type(inference, node, index) for index in range(2, len(node.inputs))]
    control = (ValueType(DType.INT64, ()), ValueType(DType.BOOL, ()))
    results = _iterate(inference, body, control, carried, (), 1)
    stacked = [_stacked(kind, None, 0) for kind in results[1 + len(carried) :]]
    return [*carried, *stacked]


def _scan(inference: Inference, node: OperatorNode) -> list[ValueType]:
    body = node.subgraphs["body"]
    scanned = int(node.attribute("num_scan_inputs"))
    first = 0 if inference.graph.opset >= 9 else 1
    states = len(node.inputs) - first - scanned
    carried = [_input_type(inference, node, first + index) for index in range(states)]
    axes = node.attribute("scan_input_axes") or (0,) * scanned
    length: int | str | None = None
    rest = []
    for n, axis in enumerate(axes):
        kind = _input_type(inference, node, first + states + n)
        if kind.shape is None:
            rest.append(ValueType(kind.dtype))
            continue
        position = axis % len(kind.shape)
        length = kind.shape[position] if length is None else length
        shape = kind.shape[:position] + kind.shape[position + 1 :]
        rest.append(ValueType(kind.dtype, shape))
    if first:
        # The first version has a batch axis that its body does not see.
        return []
    results = _iterate(inference, body, (), carried, rest, 0)
    outputs = results[states:]
    out_axes = node.attribute("scan_output_axes") or (0,) * len(outputs)
    stacked = [_stacked(kind, length, axis) for kind, axis in zip(outputs, out_axes, strict=False)]
    return [*carried, *stacked]


def _stacked(kind: ValueType, length: int | str | None, axis: int) -> ValueType:
    """The type of values of ``kind`` stacked along a new axis."""
    if kind.shape is None:
        return ValueType(kind.dtype)
    position = axis % (len(kind.shape) + 1)
    return ValueType(kind.dtype, (*kind.shape[:position], length, *kind.shape[position:]))


def _region(inference: Inference, node: OperatorNode) -> list[ValueType]:
    body = node.subgraphs["body"]
    for value, given in zip(body.inputs, node.inputs, strict=False):
        if given is not None:
            inference.types[value] = inference.type_of(given)
            known = inference.value_of(given)
            if known is not None:
                inference.values[value] = known
    return _returned(inference, body)


SUBGRAPH_RULES: dict[str, SubgraphRule] = {
    "If": _branches,
    "Loop": _loop,
    "Scan": _scan,
    "region": _region,
}
"""By operator type; ``region`` stands for every region whatever its type."""
