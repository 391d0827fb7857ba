"""Compute ahead of time what does not depend on the inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.analysis import Inference, infer
from burnish.analysis.effects import is_random
from burnish.analysis.values import MAX_ELEMENTS
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.oracle import fold_nodes
from burnish.passes.cleanup.infer_shapes import annotate, problems
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult

QUANTIZED = frozenset({"DequantizeLinear"})
"""Kept: folding would replace small integer weights by large float ones."""

MAX_ROUNDS = 8
"""Folding makes shapes known, which makes more values known; real models need two rounds."""

GROWTH = 2
"""How many times larger than its inputs a constant may be whatever its size."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace results that are known by constants, with the oracle's own kernels.

    Known are results of constants, and what follows from sizes that are known. Nodes in subgraphs
    take part. Random operators never do, and DequantizeLinear keeps quantized weights small.

    Before:
        y = Reshape(x, Concat(Gather(Shape(x), 0), [-1])) * Sqrt(64.0)       x: float[2, 8, 8]

    After:
        y = Reshape(x, [2, -1]) * 8.0
    """

    name: ClassVar[str] = "fold-constants"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    max_bytes: int = 1 << 20
    """A constant above this stays computed if it is more than twice as large as its inputs."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Fold until nothing more becomes known; leaves values annotated with their shapes."""
        result = RewriteResult()
        for _ in range(MAX_ROUNDS):
            inference = infer(graph)
            result.edits += annotate(inference)
            rewriter = Rewriter(graph)
            found = _place_known(rewriter, inference)
            folding = _Folding(inference, self.max_bytes)
            found += folding.run(rewriter)
            result.edits += rewriter.edits
            result.fired += [Firing(self.name, node.provenance) for node in found]
            result.notes = problems(inference) + folding.notes
            if not folding.learned:
                break
        return result


def _place_known(rewriter: Rewriter, inference: Inference) -> list[OperatorNode]:
    """Replace integers that follow from sizes; floats are left to the oracle's kernels."""
    found = []
    for value in inference.values:
        array = _placeable(inference, value)
        if array is None or not _is_read(value, inference):
            continue
        node = value.producer
        if node is None or _returns_constant(node):
            continue
        rewriter.provenance = node.provenance
        rewriter.make_constant(value, np.array(array))
        found.append(node)
    _erase(rewriter, found)
    return found


def _is_read(value: VariableNode, inference: Inference) -> bool:
    """Whether ``value`` is an end of what is known: something that is not known reads it."""
    for use in value.uses:
        if isinstance(use.user, Graph):
            return True
        if any(_placeable(inference, result) is None for result in use.user.outputs):
            return True
    return False


def _placeable(inference: Inference, value: VariableNode) -> Array | None:
    array = inference.known_value(value)
    return None if array is None or array.dtype.kind not in "iub" else array


def _returns_constant(node: OperatorNode) -> bool:
    """Whether ``node`` only gives a graph output the value of a constant."""
    if not node.is_op("Identity") or node.constant_input(0) is None:
        return False
    return all(isinstance(use.user, Graph) for use in node.output.uses)


def _erase(rewriter: Rewriter, nodes: Iterable[OperatorNode]) -> None:
    for node in nodes:
        if node.graph is not None and not any(value.uses for value in node.outputs):
            rewriter.erase(node)


class _Folding:
    """One round: which nodes have only constant inputs, and their results."""

    def __init__(self, inference: Inference, max_bytes: int) -> None:
        self.inference = inference
        self.max_bytes = max_bytes
        self.sizes: dict[VariableNode, int] = {}
        """Bytes of results that will be folded; 0 where not known yet."""
        self.notes: list[str] = []
        self.learned = False
        """Whether a result says more than had been inferred, so that inferring again may pay."""

    def run(self, rewriter: Rewriter) -> list[OperatorNode]:
        """Fold what can be; the nodes that are gone."""
        nodes = [node for node in self.inference.graph.walk() if self._admit(node)]
        folded = set(nodes)
        results = fold_nodes(nodes)
        replaced: dict[OperatorNode, None] = {}
        for node in nodes:
            for value in node.outputs:
                array = results.get(value)
                outside = any(use.user not in folded for use in value.uses)
                if array is None or not outside or not self._worthwhile(node, array.nbytes):
                    continue
                self.learned |= self._is_news(value, array)
                rewriter.provenance = node.provenance
                rewriter.make_constant(value, array)
                replaced[node] = None
        _erase(rewriter, reversed(nodes))
        return list(replaced)

    def _is_news(self, value: VariableNode, array: Array) -> bool:
        """Whether the result ``array`` says more about ``value`` than was inferred."""
        if self.inference.type_of(value).static_shape != array.shape:
            return True
        return array.size <= MAX_ELEMENTS and self.inference.known_value(value) is None

    def _admit(self, node: OperatorNode) -> bool:
        """Whether ``node`` can be computed now; remembers the size of its results."""
        if node.subgraphs or node.op_type in QUANTIZED or _returns_constant(node):
            return False
        if is_random(node):
            return False
        given = [value for value in node.inputs if value is not None]
        if not all(value.is_constant or value in self.sizes for value in given):
            return False
        if any(self.inference.type_of(value).message for value in node.outputs):
            # Sequences and optionals cannot be stored.
            return False
        sizes = [self._bytes(value) for value in node.outputs]
        if not all(self._worthwhile(node, size) for size in sizes):
            self.notes.append(
                f"{node.op_type} {node.name or '(unnamed)'} stays: its result of {max(sizes)} "
                f"bytes is above fold-constants.max_bytes={self.max_bytes}"
            )
            return False
        self.sizes.update(zip(node.outputs, sizes, strict=True))
        return True

    def _worthwhile(self, node: OperatorNode, size: int) -> bool:
        """Whether a result of ``size`` bytes is small, or little larger than what it replaces."""
        if size <= self.max_bytes:
            return True
        return size <= GROWTH * sum(
            value.constant.nbytes if value.constant is not None else self.sizes.get(value, 0)
            for value in node.inputs
            if value is not None
        )

    def _bytes(self, value: VariableNode) -> int:
        kind = self.inference.type_of(value)
        shape = kind.static_shape
        return 0 if shape is None else int(np.prod(shape, dtype=np.int64)) * kind.dtype.bits // 8
