"""LSTM, GRU and RNN with constant weights."""

from __future__ import annotations

import numpy as np
from tvm import te

from burnish.backends.kernels import packing
from burnish.backends.kernels.product import product
from burnish.backends.kernels.recurrent import ACTIVATIONS, Cell, recurrent
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.plan import shape_of
from burnish.backends.program import Buffer
from burnish.ir import Array, DType, OperatorNode

DEFAULTS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _activations(node: OperatorNode) -> tuple[str, ...]:
    given = node.attribute("activations")
    count = len(DIRECTIONS[_text(node.attribute("direction", "forward"))])
    return tuple(_text(name).lower() for name in given) if given else DEFAULTS[node.op_type] * count


def declines(node: OperatorNode) -> str | None:
    """Why the kernel does not fit ``node``, None if it does."""
    kind = node.op_type
    x = node.inputs[0]
    if x is None or x.dtype is not DType.FLOAT:
        return f"{kind} is compiled for float32"
    if any(value is not None and not value.is_constant for value in node.inputs[1:4]):
        return f"{kind} is compiled for constant weights"
    if not _full_lengths(node):
        return f"{kind} with sequence lengths that differ is not compiled"
    if node.input(7) is not None or node.attribute("clip") or node.attribute("input_forget"):
        return f"{kind} with peepholes, clipping or coupled gates is not compiled"
    custom = node.attribute("activation_alpha") or node.attribute("activation_beta")
    if custom or any(name not in ACTIVATIONS for name in _activations(node)):
        return f"{kind} has activations that are not compiled"
    return None


def _full_lengths(node: OperatorNode) -> bool:
    lengths = node.input(4)
    if lengths is None:
        return True
    steps = shape_of(node.inputs[0])[int(node.attribute("layout", 0))]  # type: ignore[arg-type]
    return lengths.constant is not None and bool((lengths.constant.numpy() == steps).all())


def layer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """A recurrent layer: one product for the inputs of all steps, then the steps."""
    x = node.inputs[0]
    assert x is not None
    batch_first = bool(node.attribute("layout", 0))
    first, second, _ = shape_of(x)
    steps, batch = (second, first) if batch_first else (first, second)
    reverse = DIRECTIONS[_text(node.attribute("direction", "forward"))]
    names = _activations(node)
    each = len(names) // len(reverse)
    hidden = int(node.attribute("hidden_size"))
    cell = Cell(
        node.op_type, steps, batch, hidden, reverse,
        tuple(names[i * each : (i + 1) * each] for i in range(len(reverse))),
        node.op_type == "GRU" and not node.attribute("linear_before_reset", 0),
    )  # fmt: skip
    weights, again, bias = _parameters(node, cell)
    lanes = builder.target.lanes("float32")
    ahead = _input_products(builder, node, cell, weights, bias[0])
    packed = np.stack([packing.pack_product(again[d].T, lanes) for d in range(len(reverse))])
    states = [_state(builder, node, 5, cell)]
    if cell.kind == "LSTM":
        states.append(_state(builder, node, 6, cell))
    builder.flops += 2.0 * steps * batch * len(reverse) * hidden * hidden * cell.gates
    results = recurrent(
        builder.argument(ahead), builder.weights(packed), builder.weights(bias[1]), states, cell,
        builder.target,
    )  # fmt: skip
    made = results[: len(node.outputs)]
    return [_batch_first(r) for r in made] if batch_first else made


def _parameters(node: OperatorNode, cell: Cell) -> tuple[Array, Array, tuple[Array, Array]]:
    """Input weights, recurrent weights, and the biases of both products.

    A GRU scales the recurrent part of its candidate by the reset gate, bias included; everywhere
    else the two biases simply add up.
    """
    weights, again = (node.constant_input(i).numpy() for i in (1, 2))  # type: ignore[union-attr]
    width = cell.gates * cell.hidden
    given = node.constant_input(3)
    both = np.zeros((len(weights), 2 * width), np.float32) if given is None else given.numpy()
    return weights, again, (both[:, :width], np.ascontiguousarray(both[:, width:]))


def _input_products(
    builder: KernelBuilder, node: OperatorNode, cell: Cell, weights: Array, bias: Array
) -> Buffer:
    """``X @ W + b`` for every direction and step, [steps, batch, directions * gates * hidden]."""
    emitter, x = builder.emitter, node.inputs[0]
    assert x is not None
    order = (1, 0, 2) if node.attribute("layout", 0) else (0, 1, 2)
    width, count = cell.gates * cell.hidden, len(cell.reverse)
    stacked = weights.transpose(2, 0, 1).reshape(weights.shape[2], count * width)
    lanes = packing.lane_count(count * width, builder.target.lanes("float32"))
    inner = KernelBuilder(emitter)
    table = inner.weights(packing.pack_product(np.ascontiguousarray(stacked), lanes))
    offset = inner.weights(bias.reshape(-1).astype(np.float32))
    total = product(inner.read(x, order), table, columns=count * width)
    result = te.compute(total.shape, lambda s, b, c: total(s, b, c) + offset(c), name="bias")
    held = emitter.temporary(f"{node.name}.inputs", [int(e) for e in result.shape], "float32")
    flops = 2.0 * cell.steps * cell.batch * count * width * weights.shape[2]
    emitter.launch(inner, [result], [held], (node,), "inputs", flops)
    return held


def _state(builder: KernelBuilder, node: OperatorNode, index: int, cell: Cell) -> te.Tensor:
    value = node.input(index)
    if value is None:
        return builder.weights(np.zeros((len(cell.reverse), cell.batch, cell.hidden), np.float32))
    return builder.operand(value, (1, 0, 2) if node.attribute("layout", 0) else None)


def _batch_first(result: te.Tensor) -> te.Tensor:
    """[steps, directions, batch, hidden] or [directions, batch, hidden] with the batch first."""
    shape = [int(extent) for extent in result.shape]
    if len(shape) == 4:
        turned = (shape[2], shape[0], shape[1], shape[3])
        return te.compute(turned, lambda b, s, d, h: result(s, d, b, h), name="batch_first")
    turned3 = (shape[1], shape[0], shape[2])
    return te.compute(turned3, lambda b, d, h: result(d, b, h), name="batch_first")
