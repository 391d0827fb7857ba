"""Groups of nodes that become one kernel: at most one anchor, then elementwise nodes.

A group grows forward from its seed as long as everything between seed and end stays inside
(dominator-style, so that ``x * sigmoid(x)`` fuses although ``x`` is read twice).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from burnish.backends.lowering.elementwise import ELEMENTWISE
from burnish.backends.lowering.encoding import Quantized
from burnish.backends.lowering.plan import Plan, shape_of
from burnish.ir import OperatorNode, VariableNode

MAX_NODES = 24
"""Elementwise nodes in a group: a bound on the size of one expression."""
MAX_OPERANDS = 16
"""Distinct values that a group reads, without single numbers."""
_BESIDE = 3
"""Nodes one after the other that a group computes beside those that it grows by."""
MAX_LEAVES = 400
"""Operands in the expression of a group, those counted again that it repeats: compilers walk it as
a tree, and squaring ten times over would have a thousand leaves."""


FUNCTIONS = {
    "Atan": 1, "Celu": 1, "Cos": 1, "Elu": 1, "Erf": 1, "Exp": 1, "Gelu": 1, "Log": 1, "Mish": 3,
    "Pow": 2, "QuickGelu": 1, "Selu": 1, "Sigmoid": 1, "Sin": 1, "Softplus": 2, "Swish": 1,
    "Tanh": 1,
}  # fmt: skip
"""How many polynomials stand for an operator."""
MAX_FUNCTIONS = 3
"""Of these in a group: TVM's time for an expression that nests them grows exponentially."""

REPEATS: dict[str, int] = {
    **dict.fromkeys(("Clip", "Max", "Min", "Relu", "Sign", "Softsign", "Where"), 2),
    **dict.fromkeys((
        "Atan", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Gelu", "Log", "Mish", "Pow",
        "QuickGelu", "Selu", "Sigmoid", "Sin", "Sinh", "Swish", "Tanh",
    ), 12),
    "Softplus": 100,
}  # fmt: skip
"""About how often an operator's expression has its operand in it, once polynomials stand for
functions; 1 for all others."""


@dataclass(frozen=True, eq=False)
class Gate:
    """A multiplication of channels that their reader does in its weights."""

    node: OperatorNode
    data: VariableNode
    factor: VariableNode
    """One number for each channel."""


@dataclass(eq=False)
class Group:
    """Nodes of one kernel, in order; ``anchor`` is the first of them or None."""

    nodes: list[OperatorNode]
    anchor: OperatorNode | None
    gate: Gate | None = None
    """What comes before the anchor."""

    @property
    def sources(self) -> list[OperatorNode]:
        """All operators that the group computes."""
        return self.nodes if self.gate is None else [self.gate.node, *self.nodes]

    @property
    def outputs(self) -> tuple[VariableNode, ...]:
        """What the kernel writes."""
        return self.nodes[-1].outputs

    @property
    def epilogue(self) -> list[OperatorNode]:
        """The elementwise nodes."""
        return self.nodes if self.anchor is None else self.nodes[1:]


def group_nodes(
    order: Sequence[OperatorNode],
    plan: Plan,
    native: frozenset[OperatorNode],
    fuses: Callable[[OperatorNode], bool],
) -> list[Group]:
    """Partition the native nodes of ``order`` that compute something, as they can run.

    ``fuses`` says whether an anchor's kernel can go on with elementwise nodes.
    """
    position = {node: index for index, node in enumerate(order)}
    taken: set[OperatorNode] = set()
    groups: list[Group] = []
    for node in order:
        if node not in native or node in taken or node in plan.views:
            continue
        anchor = None if node.op_type in ELEMENTWISE else node
        nodes = [node]
        if anchor is None or (len(node.outputs) == 1 and fuses(node)):
            nodes += _extend(node, plan, native, taken, position)
        taken.update(nodes)
        groups.append(Group(nodes, anchor))
    return sorted(groups, key=lambda group: position[group.nodes[-1]])


def _extend(
    seed: OperatorNode,
    plan: Plan,
    native: frozenset[OperatorNode],
    taken: set[OperatorNode],
    position: dict[OperatorNode, int],
) -> list[OperatorNode]:
    """Nodes to take in after ``seed``: the longest run that ends in a single live value."""
    live = {seed.output}
    run: list[OperatorNode] = []
    accepted: list[OperatorNode] = []
    size = _Size(
        _operands(seed), FUNCTIONS.get(seed.op_type, 0),
        {seed.output: REPEATS.get(seed.op_type, 1)},
    )  # fmt: skip

    def fits_beside(maker: OperatorNode) -> bool:
        is_free = maker in native and maker not in taken and maker is not seed and maker not in run
        return is_free and _fits(maker, seed, plan)

    while len(run) < MAX_NODES:
        if any(value.is_graph_output for value in live):
            break
        # Nodes of subgraphs have no position; they come last and end the run.
        following = sorted(_readers(live, run), key=lambda n: position.get(n, len(position)))
        if not following:
            break
        node = following[0]
        if node in taken or node not in native or not _fits(node, seed, plan):
            break
        if node in plan.views and not _goes_on(node, live, plan):
            break
        beside = [] if node in plan.views else _beside(node, fits_beside, plan)
        size.add(*beside, node)
        if size.is_too_much:
            break
        run += [*beside, node]
        inside = {seed, *run}
        live.add(node.output)
        live = {v for v in live if v.is_graph_output or any(c not in inside for c in v.consumers)}
        if live <= {node.output} and node not in plan.views:
            accepted = list(run)
    return accepted


@dataclass
class _Size:
    """What bounds an expression."""

    operands: set[VariableNode | None]
    functions: int
    leaves: dict[VariableNode, int]

    def add(self, *nodes: OperatorNode) -> None:
        """Take in ``nodes``, in order."""
        for node in nodes:
            self.operands |= _operands(node) - self.leaves.keys()
            self.leaves[node.output] = _leaves(node, self.leaves)
            self.functions += FUNCTIONS.get(node.op_type, 0)

    @property
    def is_too_much(self) -> bool:
        """Whether it is beyond a limit."""
        most = max(self.leaves.values())
        return (
            len(self.operands) > MAX_OPERANDS or most > MAX_LEAVES or self.functions > MAX_FUNCTIONS
        )


def _operands(node: OperatorNode) -> set[VariableNode | None]:
    """What ``node`` reads, without numbers that become part of the code."""
    return {v for v in node.inputs if v is None or v.constant is None or v.constant.size != 1}


def _leaves(node: OperatorNode, leaves: dict[VariableNode, int]) -> int:
    """Operands in the expression of ``node``."""
    total = sum(leaves.get(value, 1) for value in node.inputs if value is not None)
    return total * REPEATS.get(node.op_type, 1)


def _readers(live: set[VariableNode], run: list[OperatorNode]) -> Iterator[OperatorNode]:
    inside = set(run)
    for value in live:
        for node in value.consumers:
            if node not in inside:
                yield node


def _goes_on(view: OperatorNode, live: set[VariableNode], plan: Plan) -> bool:
    """Whether a view computes what it decodes, once that is not stored but ``live``."""
    return isinstance(plan.encoded.get(view.output), Quantized) and view.inputs[0] in live


def _beside(
    node: OperatorNode, fits: Callable[[OperatorNode], bool], plan: Plan, depth: int = _BESIDE
) -> list[OperatorNode]:
    """Nodes that make operands of ``node`` alone from bytes: to store them takes more bytes."""
    found: list[OperatorNode] = []
    for value in dict.fromkeys(node.inputs):
        maker = None if value is None else value.producer
        if value is None or maker is None or value.is_graph_output or len(value.uses) != 1:
            continue
        if not depth or maker in plan.views or not fits(maker):
            continue
        inner = _beside(maker, fits, plan, depth - 1)
        inside = {each.output for each in inner}
        read = [v for v in maker.inputs if v is not None and not v.is_constant and v not in inside]
        if all(isinstance(plan.encoded.get(v), Quantized) for v in read):
            found += [*inner, maker]
    return found


def _fits(node: OperatorNode, seed: OperatorNode, plan: Plan) -> bool:
    """Whether ``node`` is elementwise over the very elements that ``seed`` makes."""
    if node.op_type not in ELEMENTWISE or node.domain not in ("", "burnish.region"):
        return False
    if shape_of(node.output) != shape_of(seed.output):
        return False
    # Equal, not merely the same storage: one index addresses both.
    return plan.layout(node.output) == plan.layout(seed.output)
