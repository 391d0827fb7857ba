"""The one door through which passes change a graph; it records every edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from burnish.ir import Array, Attribute, Constant, Graph, OperatorNode, VariableNode
from burnish.ir.clone import values_read
from burnish.ir.regions import outline
from burnish.rewrite.provenance import merged


class Rewriter:
    """Makes edits around a place in a graph and remembers what it did.

    New nodes go right before ``anchor``. ``touched`` collects nodes that compute something from
    something else now, ``loosened`` those that only lost or gained a reader, for the driver to look
    at again; ``edits`` counts insertions, replacements and removals.
    """

    def __init__(self, graph: Graph) -> None:
        """Rewrite ``graph`` (or any subgraph below it)."""
        self.graph = graph
        self.anchor: OperatorNode | None = None
        self.provenance: tuple[str, ...] = ()
        self.edits: Counter[str] = Counter()
        self.touched: dict[OperatorNode, None] = {}
        self.loosened: dict[OperatorNode, None] = {}

    @property
    def changed(self) -> bool:
        """Whether anything was edited."""
        return self.edits.total() > 0

    def constant(self, array: Array, name: str = "") -> VariableNode:
        """A new constant value."""
        return VariableNode.of(Constant.of(array), name)

    def op(
        self,
        op_type: str,
        inputs: Iterable[VariableNode | None],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        domain: str = "",
        like: VariableNode | None = None,
        outputs: int = 1,
        name: str = "",
    ) -> VariableNode:
        """Insert a node at the anchor and return its first output.

        ``like`` gives the first output its dtype and shape. The node inherits the provenance of
        what is being rewritten.
        """
        results = [VariableNode() for _ in range(outputs)]
        if like is not None:
            results[0].dtype, results[0].shape = like.dtype, like.shape
        node = OperatorNode(
            op_type, inputs, results, attributes, domain=domain, name=name,
            provenance=self.provenance,
        )  # fmt: skip
        return self.insert(node).output

    def insert(self, node: OperatorNode, before: OperatorNode | None = None) -> OperatorNode:
        """Insert ``node`` before ``before`` (default: the anchor; with neither, at the end)."""
        place = before or self.anchor
        if place is None:
            self.graph.append(node)
        else:
            assert place.graph is not None
            place.graph.insert_before(place, node)
        self._edit("insert", node)
        return node

    def replace(self, old: VariableNode, new: VariableNode) -> None:
        """Make every reader of ``old`` read ``new``; names of graph outputs stay.

        The node that computes ``new`` may itself read ``old`` and goes on doing so. Readers of
        ``old`` must come after that node.

        Raises:
            ValueError: the two are known to differ in type.
        """
        if old is new:
            return
        if old.dtype and new.dtype and old.dtype is not new.dtype:
            raise ValueError(f"{old.name!r} is {old.dtype} but its replacement is {new.dtype}")
        if not new.dtype:
            new.dtype = old.dtype
        if new.shape is None:
            new.shape = old.shape
        if _inherits(new, old):
            new.name, old.name = old.name, ""
        returning: dict[Graph, None] = {}
        for use in list(old.uses):
            if not isinstance(use.user, OperatorNode):
                returning[use.user] = None
            elif use.user is not new.producer:
                use.user.replace_input(use.index, new)
                self.touched[use.user] = None
        for graph in returning:
            self._replace_output(graph, old, new)
        self._loosen(new)
        self.edits["replace"] += 1

    def _replace_output(self, graph: Graph, old: VariableNode, new: VariableNode) -> None:
        """Return ``new`` under the old name: a graph's output names are its interface."""
        free = new.producer is not None and not new.is_graph_output and new.producer.graph is graph
        if not free:
            type_of = VariableNode("", old.dtype, old.shape)
            node = OperatorNode("Identity", [new], [type_of], provenance=self.provenance)
            graph.append(node)
            new = node.output
        new.name, old.name = old.name, ""
        for use in [use for use in old.uses if use.user is graph]:
            graph.replace_output(use.index, new)

    def erase(self, node: OperatorNode) -> None:
        """Delete ``node``; its results must no longer be read."""
        inputs = node.inputs
        assert node.graph is not None
        node.graph.remove(node)
        self.touched.pop(node, None)
        for value in inputs:
            self._loosen(value)
        self.edits["erase"] += 1

    def erase_unused(self, nodes: Iterable[OperatorNode]) -> None:
        """Delete those of ``nodes`` whose results nobody reads, users before producers."""
        pending = dict.fromkeys(node for node in nodes if node.graph is not None)
        queue = list(pending)
        while queue:
            node = queue.pop()
            if node not in pending or any(value.uses for value in node.outputs):
                continue
            makers = [value.producer for value in values_read(node)]
            self.erase(node)
            del pending[node]
            queue += [maker for maker in makers if maker is not None and maker in pending]

    def set_input(self, node: OperatorNode, index: int, value: VariableNode | None) -> None:
        """Make ``node`` read ``value`` at ``index`` (appending omitted inputs up to it)."""
        inputs = list(node.inputs) + [None] * (index + 1 - len(node.inputs))
        previous = inputs[index]
        inputs[index] = value
        node.inputs = tuple(inputs)
        self._loosen(previous)
        self._edit("update", node)

    def set_inputs(self, node: OperatorNode, values: Iterable[VariableNode | None]) -> None:
        """Give ``node`` a new list of inputs."""
        node.inputs = tuple(values)
        self._edit("update", node)

    def set_attribute(self, node: OperatorNode, name: str, value: Attribute) -> None:
        """Set attribute ``name``; None removes it."""
        if value is None:
            node.attributes.pop(name, None)
        else:
            node.attributes[name] = value
        self._edit("update", node)

    def keep_outputs(self, node: OperatorNode, indices: Iterable[int]) -> None:
        """Keep only the outputs of ``node`` at ``indices``; the others must not be read."""
        node.outputs = tuple(node.outputs[index] for index in indices)
        self._edit("update", node)

    def set_results(self, body: Graph, values: Iterable[VariableNode]) -> None:
        """Let ``body`` return ``values``; the outputs of the node that owns it must match them."""
        body.outputs = tuple(values)
        if body.owner is not None:
            self._edit("update", body.owner)

    def drop_states(
        self, node: OperatorNode, states: Iterable[int], *, given: int, inner: int, first: int
    ) -> None:
        """Take ``states`` away from a Loop or Scan and from its body.

        State ``n`` is input ``given + n`` and output ``n`` of ``node``, which must not be read,
        input ``inner + n`` and output ``first + n`` of the body. What else reads the body's input
        is the caller's to settle.
        """
        gone, body = set(states), node.subgraphs["body"]
        body.outputs = tuple(v for n, v in enumerate(body.outputs) if n - first not in gone)
        body.output_names = tuple(value.name for value in body.outputs)
        body.inputs[:] = [v for n, v in enumerate(body.inputs) if n - inner not in gone]
        node.inputs = tuple(v for n, v in enumerate(node.inputs) if n - given not in gone)
        node.outputs = tuple(v for n, v in enumerate(node.outputs) if n not in gone)
        self._edit("update", node)

    def drop_parameters(self, body: Graph, indices: Iterable[int]) -> None:
        """Take inputs at ``indices``, which nobody reads, away from ``body``."""
        gone = set(indices)
        body.inputs[:] = [value for n, value in enumerate(body.inputs) if n not in gone]
        assert body.owner is not None
        self._edit("update", body.owner)

    def move(self, node: OperatorNode, before: OperatorNode) -> None:
        """Put ``node`` right before ``before``, which is in the same graph or in one around it."""
        assert node.graph is not None
        assert before.graph is not None
        node.graph.unlink(node)
        before.graph.insert_before(before, node)
        self._edit("move", node)

    def outline(
        self,
        nodes: Sequence[OperatorNode],
        op_type: str,
        inputs: Sequence[VariableNode],
        outputs: Sequence[VariableNode],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> OperatorNode:
        """Merge ``nodes``, given in order, into one region node; see ``ir.regions.outline``."""
        graph = nodes[-1].graph
        assert graph is not None
        region = outline(graph, nodes, op_type, inputs, outputs, attributes)
        self._edit("insert", region)
        return region

    def splice(
        self, body: Graph, before: OperatorNode, given: Iterable[VariableNode | None] = ()
    ) -> tuple[VariableNode, ...]:
        """Move the nodes of subgraph ``body`` right before ``before`` and return its results.

        ``given`` are the values that take the place of its inputs, in order.
        """
        place = before.graph
        assert place is not None
        bound = {v: g for v, g in zip(body.inputs, given, strict=False) if g is not None}
        results = tuple(bound.get(value, value) for value in body.outputs)
        body.outputs = ()
        for value, replacement in bound.items():
            self.replace(value, replacement)
        for node in list(body):
            body.unlink(node)
            place.insert_before(before, node)
            self._edit("insert", node)
        return results

    def make_constant(self, value: VariableNode, array: Array) -> None:
        """Replace a computed ``value`` by the constant ``array``."""
        self.replace(value, self.constant(array))

    def adopt(self, node: OperatorNode, sources: Iterable[OperatorNode]) -> None:
        """Let ``node`` also stand for the source nodes of ``sources``."""
        node.provenance = merged([node.provenance, *(other.provenance for other in sources)])

    def _loosen(self, value: VariableNode | None) -> None:
        """Remember that ``value`` has another number of readers now."""
        if value is not None and value.producer is not None:
            self.loosened[value.producer] = None

    def _edit(self, kind: str, node: OperatorNode) -> None:
        self.edits[kind] += 1
        self.touched[node] = None


def _inherits(new: VariableNode, old: VariableNode) -> bool:
    """Whether ``new``, which has no name, is all that will be left of ``old``."""
    if new.name or new.producer is None or old.is_graph_output:
        return False
    return not old.times_read_by(new.producer)
