"""Replace sequences and optionals whose elements are known by the elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np

from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

MAX_ELEMENTS = 1024
"""A split into more parts than this stays."""


@dataclass(frozen=True)
class ResolveSequences(Pass):
    """Follow tensors through sequences and optionals to where they are taken out again.

    Before:
        s = SequenceInsert(SequenceConstruct(a, b), c); y = ConcatFromSequence[axis=0](s)

    After:
        y = Concat[axis=0](a, b, c)
    """

    name: ClassVar[str] = "resolve-sequences"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Resolve in one walk in order; what builds a sequence in vain is erased."""
        work = _Resolution(Rewriter(graph))
        if graph.opset >= 13 and context.may_meet(HANDLERS.keys() - {"Identity"}):
            work.walk(graph)
            work.sweep()
        result = work.result
        result.edits = work.rewriter.edits
        return result


@dataclass(eq=False)
class _Resolution:
    rewriter: Rewriter
    elements: dict[VariableNode, tuple[VariableNode, ...]] = field(default_factory=dict)
    """Tensors in each sequence that is known."""
    contents: dict[VariableNode, VariableNode | None] = field(default_factory=dict)
    """What each known optional holds, None if nothing."""
    builders: list[OperatorNode] = field(default_factory=list)
    result: RewriteResult = field(default_factory=RewriteResult)

    def walk(self, graph: Graph) -> None:
        """Resolve the nodes of ``graph`` and its subgraphs."""
        for node in graph:
            for body in node.subgraphs.values():
                self.walk(body)
            handler = HANDLERS.get(node.op_type) if node.domain == "" else None
            if handler is None:
                continue
            self.rewriter.anchor, self.rewriter.provenance = node, node.provenance
            reason = handler(self, node)
            if reason is not None:
                miss = NearMiss(f"resolve-{node.op_type.lower()}", reason, node.provenance)
                self.result.missed.append(miss)

    def sweep(self) -> None:
        """Erase what built sequences that nobody reads any more."""
        for node in reversed(self.builders):
            if node.graph is not None and not any(value.uses for value in node.outputs):
                self.rewriter.erase(node)

    def known(self, node: OperatorNode, index: int = 0) -> tuple[VariableNode, ...] | None:
        """Elements of the sequence at input ``index``."""
        value = node.input(index)
        return None if value is None else self.elements.get(value)

    def builds(self, node: OperatorNode, elements: tuple[VariableNode, ...]) -> None:
        """Remember that ``node`` makes a sequence of ``elements``."""
        self.elements[node.output] = elements
        self.builders.append(node)

    def resolves(self, node: OperatorNode, value: VariableNode) -> None:
        """Let ``value`` take the place of the result of ``node``."""
        self.rewriter.replace(node.output, value)
        self.rewriter.erase(node)
        self.result.fired.append(Firing(f"resolve-{node.op_type.lower()}", node.provenance))

    def op(
        self,
        op_type: str,
        inputs: list[VariableNode | None],
        attributes: dict[str, object] | None = None,
        outputs: int = 1,
    ) -> tuple[VariableNode, ...]:
        """Outputs of a new node, of the element type of its first input."""
        first = self.rewriter.op(op_type, inputs, attributes, outputs=outputs)
        assert first.producer is not None
        for index, value in enumerate(first.producer.outputs):
            value.dtype = inputs[0].dtype if inputs[0] is not None else DType.UNDEFINED
            # An output that is neither named nor read would count as left out.
            value.name = f"part_{index}" if outputs > 1 else ""
        return first.producer.outputs


Handler: TypeAlias = Callable[[_Resolution, OperatorNode], "str | None"]
"""Handles one node; returns why it could not."""

UNKNOWN = "the elements of its sequence are only known when the model runs"


def _index(node: OperatorNode, position: int, count: int) -> int | None:
    """The constant index at input ``position``, counted from the front; None if not known."""
    constant = node.constant_input(position)
    if constant is None:
        return None
    index = int(constant.numpy().reshape(-1)[0])
    return index + count if index < 0 else index


def _construct(work: _Resolution, node: OperatorNode) -> str | None:
    work.builds(node, tuple(value for value in node.inputs if value is not None))
    return None


def _empty(work: _Resolution, node: OperatorNode) -> str | None:
    work.builds(node, ())
    return None


def _alias(work: _Resolution, node: OperatorNode) -> str | None:
    elements = work.known(node)
    if elements is not None:
        work.builds(node, elements)
    source = node.input(0)
    if source in work.contents:
        work.contents[node.output] = work.contents[source]
        work.builders.append(node)
    return None


def _insert(work: _Resolution, node: OperatorNode) -> str | None:
    elements, tensor = work.known(node), node.input(1)
    if elements is None or tensor is None:
        return UNKNOWN
    index = len(elements) if node.input(2) is None else _index(node, 2, len(elements))
    if index is None:
        return "where it inserts is only known when the model runs"
    work.builds(node, (*elements[:index], tensor, *elements[index:]))
    return None


def _erase(work: _Resolution, node: OperatorNode) -> str | None:
    elements = work.known(node)
    if elements is None:
        return UNKNOWN
    index = len(elements) - 1 if node.input(1) is None else _index(node, 1, len(elements))
    if index is None:
        return "what it erases is only known when the model runs"
    work.builds(node, elements[:index] + elements[index + 1 :])
    return None


def _at(work: _Resolution, node: OperatorNode) -> str | None:
    elements = work.known(node)
    if elements is None:
        return UNKNOWN
    index = _index(node, 1, len(elements))
    if index is None or not 0 <= index < len(elements):
        return "which element it takes is only known when the model runs"
    work.resolves(node, elements[index])
    return None


def _length(work: _Resolution, node: OperatorNode) -> str | None:
    elements = work.known(node)
    if elements is None:
        return UNKNOWN
    work.resolves(node, work.rewriter.constant(np.array(len(elements), np.int64)))
    return None


def _concat(work: _Resolution, node: OperatorNode) -> str | None:
    elements = work.known(node)
    if not elements:
        return UNKNOWN if elements is None else "its sequence is empty"
    axis = int(node.attributes["axis"])
    parts: list[VariableNode | None] = list(elements)
    if node.attribute("new_axis", 0):
        axes = work.rewriter.constant(np.array([axis], np.int64))
        parts = [work.op("Unsqueeze", [part, axes])[0] for part in elements]
    joined = work.op("Concat", parts, {"axis": axis})[0]
    joined.shape = node.output.shape
    work.resolves(node, joined)
    return None


def _split(work: _Resolution, node: OperatorNode) -> str | None:
    source = node.inputs[0]
    assert source is not None
    axis = int(node.attribute("axis", 0))
    size = None if source.shape is None else source.shape[axis]
    if not isinstance(size, int):
        return "the size of the axis that it splits is not known: give --input-shape"
    sizes = _part_sizes(node, size)
    if sizes is None:
        return "the sizes of its parts are only known when the model runs"
    if not 0 < len(sizes) <= MAX_ELEMENTS:
        return f"it makes {len(sizes)} parts"
    split = work.rewriter.constant(np.array(sizes, np.int64))
    parts = work.op("Split", [source, split], {"axis": axis}, len(sizes))
    if node.input(1) is None and not node.attribute("keepdims", 1):
        axes = work.rewriter.constant(np.array([axis], np.int64))
        parts = tuple(work.op("Squeeze", [part, axes])[0] for part in parts)
    work.builds(node, parts)
    return None


def _part_sizes(node: OperatorNode, size: int) -> list[int] | None:
    if node.input(1) is None:
        return [1] * size
    constant = node.constant_input(1)
    if constant is None:
        return None
    if constant.shape:
        return [int(part) for part in constant.numpy()]
    step = int(constant.numpy())
    return [min(step, size - start) for start in range(0, size, step)] if step > 0 else None


def _optional(work: _Resolution, node: OperatorNode) -> str | None:
    work.contents[node.output] = node.input(0)
    work.builders.append(node)
    return None


def _get(work: _Resolution, node: OperatorNode) -> str | None:
    source = node.inputs[0]
    assert source is not None
    held = work.contents.get(source)
    is_tensor = source.onnx_type is None and bool(source.dtype)
    if held is None and not is_tensor:
        return "what its optional holds is only known when the model runs"
    work.resolves(node, source if held is None else held)
    return None


def _has(work: _Resolution, node: OperatorNode) -> str | None:
    source = node.input(0)
    if source is None:
        answer = False
    elif source in work.contents:
        answer = work.contents[source] is not None
    elif source.onnx_type is None and source.dtype:
        answer = True
    else:
        return "whether its optional holds anything is only known when the model runs"
    work.resolves(node, work.rewriter.constant(np.array(answer)))
    return None


HANDLERS: dict[str, Handler] = {
    "ConcatFromSequence": _concat,
    "Identity": _alias,
    "Optional": _optional,
    "OptionalGetElement": _get,
    "OptionalHasElement": _has,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "SplitToSequence": _split,
}
