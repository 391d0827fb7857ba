"""Multiplies channels by gates in the weights that read them, where that is less than the map.

Squeeze-and-excitation (Hu et al., arXiv:1709.01507) scales each channel of a map by a number that
is computed from all of the map, so that the kernel that makes the map cannot do it. A pass of its
own would read and write the map once more. For a single picture, the 1x1 convolution behind it
gives the same sums, but for rounding, if its weights' rows are scaled instead:

    sum_k (x[m, k] * gate[k]) * w[k, n]  =  sum_k x[m, k] * (gate[k] * w[k, n])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from tvm import te

from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.fusion import Gate, Group
from burnish.backends.lowering.layout import identity
from burnish.backends.lowering.places import Places
from burnish.backends.lowering.plan import Plan, shape_of
from burnish.ir import Array, DType, OperatorNode, VariableNode

_FEWER = 4
"""Times as many rows as a map must have as weights have columns. With as many rows, as much would
be multiplied; but a map is still near the core, weights come from memory. With 2.5 times as many
(14x14 positions, 80 columns) that took as long."""


def with_gates(groups: Sequence[Group], plan: Plan, places: Places) -> list[Group]:
    """The groups without multiplications by gates that others do in their weights.

    Only what has a kernel of its own moves: behind an anchor it costs nothing.
    """
    anchors = {group.anchor: group for group in groups if group.anchor is not None}
    found: dict[OperatorNode, Gate] = {}
    for group in groups:
        readers = group.outputs[0].consumers
        if len(group.nodes) == 1 and len(readers) == 1 and readers[0] in anchors:
            gate = _gate(group.nodes[0], readers[0], plan, places)
            if gate is not None:
                found[readers[0]] = gate
    moved = {gate.node for gate in found.values()}
    return [
        replace(group, gate=found.get(group.anchor)) if group.anchor in found else group
        for group in groups
        if group.nodes[0] not in moved
    ]


def _gate(node: OperatorNode, reader: OperatorNode, plan: Plan, places: Places) -> Gate | None:
    """The gate that ``node`` multiplies by, if ``reader`` can do so in its weights."""
    if not node.is_op("Mul") or node.output.is_graph_output or not _is_pointwise(reader, node):
        return None
    shape = shape_of(node.output)
    for data, factor in (node.inputs, node.inputs[::-1]):
        assert data is not None and factor is not None
        stays = data not in plan.encoded and data not in places.of
        if (
            stays and not data.is_constant and shape_of(data) == shape
            and not factor.is_constant and _is_of_channels(factor, shape)
        ):  # fmt: skip
            return Gate(node, data, factor)
    return None


def _is_pointwise(reader: OperatorNode, node: OperatorNode) -> bool:
    """Whether ``reader`` is a 1x1 convolution of one picture that ``node`` made, large enough."""
    if not reader.is_op("Conv") or reader.inputs[0] is not node.output:
        return False
    weights = reader.inputs[1]
    assert weights is not None
    if weights.constant is None or weights.dtype is not DType.FLOAT:
        return False
    batch, _, *spatial = shape_of(node.output)
    columns, _, *kernel = weights.constant.shape
    # Around a padded map, a gate that is infinite would make sums of nothing NaN.
    plain = reader.attribute("group", 1) == 1 and not any(reader.attribute("pads") or ())
    return batch == 1 and prod(kernel) == 1 and plain and prod(spatial) >= _FEWER * columns


def _is_of_channels(factor: VariableNode, shape: Sequence[int]) -> bool:
    """Whether ``factor`` has one number for each channel of a picture of ``shape``."""
    own = shape_of(factor)
    padded = (*(1 for _ in range(len(shape) - len(own))), *own)
    return padded == (1, shape[1], *(1 for _ in shape[2:]))


def scaled_weights(
    builder: KernelBuilder, gate: Gate, packed: Array, key: tuple[object, ...]
) -> te.Tensor:
    """The operand of packed weights ``[blocks, *kernel, K, lanes]`` with rows times ``gate``.

    A kernel of its own scales them, each time.
    """
    emitter = builder.emitter
    inner = KernelBuilder(emitter)
    weights = inner.weights(packed, key)
    held = emitter.located(gate.factor, identity(len(shape_of(gate.factor))))
    factor = inner.argument(emitter.view(held, (packed.shape[-2],)))
    scaled = te.compute(
        packed.shape, lambda *index: weights(*index) * factor(index[-2]), name="scale"
    )
    target = emitter.temporary(f"{gate.node.name}.weights", packed.shape, str(packed.dtype))
    emitter.launch(inner, [scaled], [target], (gate.node,), "gate")
    return builder.argument(target)
