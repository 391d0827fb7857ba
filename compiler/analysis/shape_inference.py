"""Joint inference of types, shapes and shape-like values in one walk in order.

Shapes depend on values (Reshape) and values on shapes (Shape), so both are followed together: with
all input sizes known, everything that a model computes from sizes becomes known in one walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from burnish.analysis.contributed import contributed
from burnish.analysis.schema_inference import InferenceFailed, infer_outputs
from burnish.analysis.shape_rules import SHAPE_RULES
from burnish.analysis.subgraph_inference import SUBGRAPH_RULES
from burnish.analysis.value_rules import VALUE_RULES
from burnish.analysis.value_type import ValueType, complete
from burnish.analysis.values import MAX_ELEMENTS, MAX_PARTIAL, Scene, is_partial, settle
from burnish.ir import Array, Graph, OperatorNode, VariableNode

UNKNOWN = ValueType()


@dataclass(frozen=True, slots=True)
class Problem:
    """A node whose inputs contradict its operator."""

    node: OperatorNode
    reason: str


@dataclass(eq=False)
class Inference:
    """What is known about the values of a graph and its subgraphs."""

    graph: Graph
    names: UnknownNames | None = None
    """Names for sizes that nothing is known about; None leaves them unknown."""
    types: dict[VariableNode, ValueType] = field(default_factory=dict)
    values: dict[VariableNode, Array] = field(default_factory=dict)
    """Known or partly known values of computed tensors, small ones only."""
    problems: list[Problem] = field(default_factory=list)
    opsets: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Look up the versions of operators once."""
        self.opsets = self.graph.root.opsets

    def type_of(self, value: VariableNode) -> ValueType:
        """What is known about the type of ``value``."""
        found = self.types.get(value)
        if found is None:
            found = self.types[value] = ValueType.of(value)
        return found

    def value_of(self, value: VariableNode) -> Array | None:
        """The value, if it is small and at least partly known."""
        if value.constant is not None:
            small = value.constant.size <= MAX_ELEMENTS and value.constant.dtype.bits >= 8
            return value.constant.numpy() if small else None
        return self.values.get(value)

    def known_value(self, value: VariableNode) -> Array | None:
        """The value, if it is small and entirely known."""
        found = self.value_of(value)
        return None if found is None or is_partial(found) else found

    def scene(self, node: OperatorNode) -> Scene:
        """``node`` with what is known about its inputs."""
        return Scene(
            node,
            self.opsets.get("", 1),
            [None if value is None else self.type_of(value) for value in node.inputs],
            [None if value is None else self.value_of(value) for value in node.inputs],
        )

    def walk(self, graph: Graph) -> None:
        """Infer the nodes of ``graph`` in order; types of its inputs must be settled before."""
        for node in graph:
            self.visit(node)

    def visit(self, node: OperatorNode) -> None:
        """Infer the outputs of ``node``."""
        for value in node.outputs:
            # A body walked again, with other types carried, must not remember.
            self.values.pop(value, None)
        scene = self.scene(node)
        found = self._types(scene)
        for index, value in enumerate(node.outputs):
            kind = (found[index] if index < len(found) else UNKNOWN).refined(ValueType.of(value))
            self.types[value] = kind if self.names is None else self.names.complete(value, kind)
        if node.domain == "" and not node.subgraphs:
            self._follow_values(scene)

    def _types(self, scene: Scene) -> Sequence[ValueType]:
        node = scene.node
        if node.subgraphs:
            rule = SUBGRAPH_RULES.get(node.op_type)
            if node.is_region:
                rule = SUBGRAPH_RULES["region"]
            return rule(self, node) if rule is not None else ()
        if node.domain == "com.microsoft":
            return contributed(scene) or ()
        try:
            found = self._by_schema(scene)
        except InferenceFailed as error:
            self.problems.append(Problem(node, str(error)))
            return ()
        if found is None:
            return contributed(scene) or ()
        refine = SHAPE_RULES.get(node.op_type) if node.domain == "" else None
        if refine is not None and found:
            known = found[0].shape
            if node.op_type == "Slice" and known is not None:
                # Before opset 13, ONNX takes a cut axis of symbolic size for a whole one.
                known = tuple(dim if isinstance(dim, int) else None for dim in known)
            shape = complete(refine(scene), known)
            found[0] = ValueType(found[0].dtype, shape)
        return found

    def _by_schema(self, scene: Scene) -> list[ValueType] | None:
        data = [None if value is None or is_partial(value) else value for value in scene.values]
        return infer_outputs(scene.node, scene.types, data, self.opsets)

    def _follow_values(self, scene: Scene) -> None:
        node = scene.node
        rule = VALUE_RULES.get(node.op_type)
        found: Sequence[Array] | Array | None = None
        if rule is not None:
            try:
                found = rule(scene)
            except (ValueError, IndexError, ZeroDivisionError, TypeError) as error:
                self.problems.append(Problem(node, f"its known inputs do not fit: {error}"))
                return
        if found is None:
            return
        results = [found] if isinstance(found, np.ndarray) else found
        for value, result in zip(node.outputs, results, strict=False):
            self._learn(value, result)

    def _learn(self, value: VariableNode, result: Array) -> None:
        kind = self.type_of(value)
        settled = settle(result, kind.dtype)
        limit = MAX_PARTIAL if is_partial(settled) else MAX_ELEMENTS
        if settled.size <= limit:
            self.values[value] = settled
            self.types[value] = ValueType(kind.dtype, tuple(settled.shape))


@dataclass(eq=False)
class UnknownNames:
    """Names for unknown sizes: whatever a size is, it is equal to itself."""

    prefix: str
    given: dict[tuple[VariableNode, int], str] = field(default_factory=dict)

    @classmethod
    def avoiding(cls, graph: Graph) -> UnknownNames:
        """Names that no size of ``graph`` has."""
        taken = [
            dim for value in graph.variables() for dim in value.shape or () if isinstance(dim, str)
        ]
        prefix = "size_"
        while any(prefix in name for name in taken):
            prefix = f"_{prefix}"
        return cls(prefix)

    def complete(self, value: VariableNode, kind: ValueType) -> ValueType:
        """``kind`` with a name for each size of ``value`` that is not known, always the same."""
        if kind.shape is None or None not in kind.shape:
            return kind
        dims = tuple(
            self.given.setdefault((value, axis), f"{self.prefix}{len(self.given)}")
            if dim is None else dim
            for axis, dim in enumerate(kind.shape)
        )  # fmt: skip
        return ValueType(kind.dtype, dims)


def infer(graph: Graph, *, name_unknown: bool = False) -> Inference:
    """Infer types, shapes and shape-like values of the main ``graph`` and its subgraphs.

    The graph is not changed. Declared types of inputs are taken as given; those of computed values
    only where nothing can be inferred. With ``name_unknown``, results of operators have names for
    sizes that are not known, so that equal ones can be told.
    """
    inference = Inference(graph)
    if name_unknown:
        inference.names = names = UnknownNames.avoiding(graph)
        inference.types = {value: names.complete(value, ValueType.of(value))
                           for value in graph.inputs}  # fmt: skip
    inference.walk(graph)
    return inference
