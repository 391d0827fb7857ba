"""Builds shapes from the sizes of values, each part once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from burnish.analysis import Inference
from burnish.analysis.sizes import Amount, Size, from_dim
from burnish.ir import DType, OperatorNode, VariableNode
from burnish.rewrite import Rewriter

PARTS_SINCE = 15
"""The first opset whose Shape takes a part of a shape."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of axes ``start`` to ``end`` of a value, as a list or as a number."""

    value: VariableNode
    start: int
    end: int
    scalar: bool = False


@dataclass(frozen=True)
class Numbers:
    """Sizes that are known."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Joined:
    """Lists one after the other."""

    parts: tuple[Sizes | Numbers, ...]


Step: TypeAlias = Sizes | Numbers | Joined


@dataclass
class Blueprint:
    """What is wanted, and the operators that it takes beyond those there are."""

    wanted: list[Step] = field(default_factory=list)
    steps: dict[Step, None] = field(default_factory=dict)


class ShapeBuilder:
    """Knows where sizes are to be had first, and what has been built from them."""

    def __init__(self, inference: Inference, rewriter: Rewriter) -> None:
        """Look at every value of the main graph."""
        self.inference = inference
        self.rewriter = rewriter
        self.opset = inference.graph.opset
        self.position: dict[VariableNode, int] = {}
        self.last: dict[int, OperatorNode] = {}
        """Behind which node to insert what depends on the node at a position."""
        self.built: dict[Step, VariableNode] = {}
        self.sources: dict[Size, tuple[VariableNode, int]] = {}
        self.shapes: dict[tuple[Amount, ...], VariableNode] = {}
        for value in inference.graph.inputs:
            self._note(value, -1)
        for index, node in enumerate(inference.graph):
            self.last[index] = node
            for value in node.outputs:
                if value.uses:
                    self._note(value, index)

    def _note(self, value: VariableNode, position: int) -> None:
        shape = self.inference.type_of(value).shape
        if shape is None:
            return
        self.position[value] = position
        amounts = tuple(from_dim(dim) for dim in shape)
        for axis, amount in enumerate(amounts):
            if isinstance(amount, Size):
                self.sources.setdefault(amount, (value, axis))
        if None not in amounts:
            self.shapes.setdefault(amounts, value)

    def plan(self, plan: Blueprint, wanted: VariableNode, amounts: Sequence[Amount]) -> bool:
        """Add ``wanted``, which is ``amounts``, to a plan; False if they cannot be had."""
        position = self.position[wanted]
        if self.inference.type_of(wanted).shape == ():
            found: Step | None = self._number(amounts[0], position)
        else:
            found = self._list(tuple(amounts), position)
        if found is None:
            return False
        plan.wanted.append(found)
        self._count(plan, found)
        return True

    def _source(self, amount: Amount, position: int) -> tuple[VariableNode, int] | None:
        """The first value with an axis of size ``amount``, if it is made before ``position``."""
        found = self.sources.get(amount) if isinstance(amount, Size) else None
        return None if found is None or self.position[found[0]] >= position else found

    def _number(self, amount: Amount, position: int) -> Step | None:
        source = self._source(amount, position)
        return None if source is None else Sizes(source[0], source[1], source[1] + 1, scalar=True)

    def _list(self, amounts: tuple[Amount, ...], position: int) -> Step | None:
        if not amounts:
            return Numbers(())
        parts = self._pieces(amounts, position)
        if parts is not None and len(parts) == 1 and not _needs(parts[0], self.opset):
            return parts[0]
        whole = self.shapes.get(amounts)
        if whole is not None and self.position[whole] < position:
            return Sizes(whole, 0, len(amounts))
        if parts is None:
            return None
        return parts[0] if len(parts) == 1 else Joined(tuple(parts))

    def _pieces(self, amounts: Sequence[Amount], position: int) -> list[Sizes | Numbers] | None:
        """Lists that come to ``amounts`` one after the other, None if some size is not had."""
        parts: list[Sizes | Numbers] = []
        index = 0
        while index < len(amounts):
            amount = amounts[index]
            if isinstance(amount, int):
                last = parts[-1] if parts else None
                known = last.numbers if isinstance(last, Numbers) else ()
                parts[len(parts) - bool(known) :] = [Numbers((*known, amount))]
                index += 1
                continue
            source = self._source(amount, position)
            if source is None:
                return None
            length = self._run(*source, amounts[index:])
            parts.append(Sizes(source[0], source[1], source[1] + length))
            index += length
        return parts

    def _run(self, value: VariableNode, axis: int, amounts: Sequence[Amount]) -> int:
        """How many of ``amounts`` are the sizes of ``value`` from ``axis`` on."""
        shape = self.inference.type_of(value).shape or ()
        here = [from_dim(dim) for dim in shape[axis:]]
        pairs = zip(here, amounts, strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(here), len(amounts)))

    def _count(self, plan: Blueprint, step: Step) -> None:
        for part in _needs(step, self.opset):
            self._count(plan, part)
        if step not in self.built and not isinstance(step, Numbers):
            plan.steps[step] = None

    def build(self, step: Step) -> VariableNode:
        """The value that ``step`` stands for, with the nodes that make it."""
        if isinstance(step, Numbers):
            return self.rewriter.constant(np.array(step.numbers, np.int64))
        if step not in self.built:
            inputs = [self.build(part) for part in _needs(step, self.opset)]
            self.built[step] = self._node(step, inputs)
        return self.built[step]

    def _node(self, step: Sizes | Joined, inputs: list[VariableNode]) -> VariableNode:
        rw = self.rewriter
        read = inputs if isinstance(step, Joined) or inputs else [step.value]
        place = max((self.position.get(value, -1) for value in read), default=-1)
        before = self.last.get(place)
        rw.anchor = rw.graph.first if before is None else before.next
        if isinstance(step, Joined):
            length = sum(value.shape[0] for value in inputs if value.shape)  # type: ignore[misc]
            like = VariableNode("", DType.INT64, (length,))
            result = rw.op("Concat", inputs, {"axis": 0}, like=like)
        else:
            result = self._sizes(step, inputs)
        rw.anchor = None
        assert result.producer is not None
        self.position[result] = place
        self.last[place] = result.producer
        return result

    def _sizes(self, step: Sizes, inputs: list[VariableNode]) -> VariableNode:
        rw, rank = self.rewriter, len(self.inference.type_of(step.value).shape or ())
        count = step.end - step.start
        like = VariableNode("", DType.INT64, () if step.scalar else (count,))
        if inputs:
            index = np.arange(step.start, step.end, dtype=np.int64)
            where = rw.constant(index.reshape(()) if step.scalar else index)
            return rw.op("Gather", [inputs[0], where], {"axis": 0}, like=like)
        whole = (step.start, step.end) == (0, rank)
        part = {} if whole else {"start": step.start, "end": step.end}
        return rw.op("Shape", [step.value], part, like=like)


def _needs(step: Step, opset: int) -> tuple[Step, ...]:
    """What a step is made from, besides values that there are."""
    if isinstance(step, Joined):
        return step.parts
    if isinstance(step, Numbers):
        return ()
    rank = step.value.rank or 0
    whole = Sizes(step.value, 0, rank)
    takes = step.scalar or (opset < PARTS_SINCE and step != whole)
    return (whole,) if takes else ()
