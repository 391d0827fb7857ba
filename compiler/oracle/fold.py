"""Evaluates nodes whose inputs are constant, with the oracle's own kernels.

Folding is exact by definition: the values are those that the oracle would have computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from burnish.errors import UnsupportedModel
from burnish.ir import Array, DType, Graph, OperatorNode, VariableNode
from burnish.ir.assembly import fill
from burnish.ir.clone import extract
from burnish.ir.onnx_io import skeleton
from burnish.oracle.exact_products import exact_products
from burnish.oracle.session import Oracle

BATCH = 512
"""Nodes in one session; the time that making one takes grows faster than their number."""


def fold_nodes(nodes: Sequence[OperatorNode]) -> dict[VariableNode, Array]:
    """The results of ``nodes``, which read only constants and each other, in order.

    ``BATCH`` nodes at a time run in one session of ONNX Runtime. Where it refuses, each node is
    tried alone, then with ONNX's reference evaluator. Results that are no tensors, and those of
    nodes that nothing can evaluate (or that read such results), are left out. The caller bounds
    sizes beforehand and leaves out nodes that are random or have effects.

    Raises:
        ValueError: a node reads a value that is neither constant nor made by an earlier one.
    """
    known: dict[VariableNode, Array] = {}
    failed: set[VariableNode] = set()
    for start in range(0, len(nodes), BATCH):
        batch = [node for node in nodes[start : start + BATCH] if not _spoilt(node, failed)]
        _together(batch, known, failed)
    return known


def results_of(
    nodes: Sequence[OperatorNode], given: dict[VariableNode, Array]
) -> dict[VariableNode, Array]:
    """The results of ``nodes``, in order, where values from elsewhere are as ``given``.

    Raises:
        UnsupportedModel: ONNX Runtime refuses a node, or that its operands have these shapes.
        ValueError: a node reads a value that is neither given nor constant nor made by another.
    """
    return _evaluate(nodes, given, reference=False)


def _spoilt(node: OperatorNode, failed: set[VariableNode]) -> bool:
    """Whether ``node`` reads a result that could not be computed; its own then cannot either."""
    if failed.isdisjoint(value for value in node.inputs if value is not None):
        return False
    failed.update(node.outputs)
    return True


def _together(
    nodes: Sequence[OperatorNode], known: dict[VariableNode, Array], failed: set[VariableNode]
) -> None:
    """Add the results of ``nodes`` to ``known``, by one session or one for each; or ``failed``."""
    if not nodes:
        return
    try:
        known |= _evaluate(nodes, known, reference=False)
    except UnsupportedModel:
        for node in nodes:
            if not _spoilt(node, failed):
                known |= _alone(node, known)
                failed.update(value for value in node.outputs if value not in known)
    else:
        failed.update(v for node in nodes for v in node.outputs if v not in known)


def _alone(node: OperatorNode, known: dict[VariableNode, Array]) -> dict[VariableNode, Array]:
    """The results of one node, empty if nothing can evaluate it."""
    for reference in (False, True):
        try:
            return _evaluate([node], known, reference=reference)
        except UnsupportedModel:
            continue
    return {}


def _evaluate(
    nodes: Sequence[OperatorNode], known: dict[VariableNode, Array], *, reference: bool
) -> dict[VariableNode, Array]:
    graph, made = extract(nodes)
    feeds: dict[str, Array] = {}
    originals = {copy: value for value, copy in made.values.items()}
    for index, value in enumerate(graph.inputs):
        original = originals[value]
        if original not in known:
            raise ValueError(f"{original!r} is not constant")
        value.name = f"input_{index}"
        value.dtype, value.shape = DType.from_numpy(known[original].dtype), known[original].shape
        feeds[value.name] = known[original]
    wanted = [value for node in nodes for value in node.outputs if value.name or value.uses]
    copies = [made.values[value] for value in wanted]
    for index, copy in enumerate(copies):
        copy.name = f"result_{index}"
        # Declared shapes may be wrong or symbolic: the evaluator finds out itself.
        copy.shape = None
    graph.outputs = copies
    results = Oracle(_model(graph), reference=reference, threads=1).run(feeds)
    return {
        value: np.asarray(results[copy.name])
        for value, copy in zip(wanted, copies, strict=True)
        if isinstance(results[copy.name], np.ndarray | np.generic)
    }


def _model(graph: Graph) -> onnx.ModelProto:
    return fill(skeleton(exact_products(graph), partial=True))
