"""Recurrent cells: all time steps of LSTM, GRU and RNN in one kernel.

The products with the inputs are made for all steps at once beforehand; what is left for each step
is one row times the recurrent weights and the gates:

    parallel for direction and batch:
        for each step, forwards or backwards:
            gates <- inputs[step] + state @ weights        # by blocks of vectors, in registers
            state <- cell(gates, state)
            outputs[step] <- state

Equations: ONNX operator specification, LSTM-22, GRU-22, RNN-22.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tvm import ir, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as build

Expr: TypeAlias = ir.Expr | int
Activation: TypeAlias = Callable[[ir.Expr], ir.Expr]

ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": lambda x: tirx.const(1.0, "float32") / (tirx.const(1.0, "float32") + tirx.exp(-x)),
    "tanh": tirx.tanh,
    "relu": lambda x: tirx.max(x, tirx.const(0.0, "float32")),
    "hardsigmoid": lambda x: tirx.max(
        tirx.min(x * tirx.const(0.2, "float32") + tirx.const(0.5, "float32"),
                 tirx.const(1.0, "float32")),
        tirx.const(0.0, "float32"),
    ),
    "softsign": lambda x: x / (tirx.const(1.0, "float32") + tirx.abs(x)),
}  # fmt: skip
"""Gate activations by ONNX's name in lower case, with default parameters."""

BLOCKS = 8
"""Vectors of gate columns held in registers at a time: enough to hide the latency of additions."""


@dataclass(frozen=True)
class Cell:
    """A recurrent layer."""

    kind: str
    """``LSTM``, ``GRU`` or ``RNN``."""
    steps: int
    batch: int
    hidden: int
    reverse: tuple[bool, ...]
    """For each direction, whether time runs backwards."""
    activations: tuple[tuple[str, ...], ...]
    """Names for each direction: f, g, h of LSTM; f, g of GRU; f of RNN."""
    reset_first: bool = False
    """GRU with ``linear_before_reset = 0``: the reset gate scales the state before the product."""

    @property
    def gates(self) -> int:
        """Blocks of ``hidden`` columns that a step computes."""
        return {"LSTM": 4, "GRU": 3, "RNN": 1}[self.kind]


def recurrent(
    inputs: te.Tensor,
    weights: te.Tensor,
    bias: te.Tensor,
    states: Sequence[te.Tensor],
    cell: Cell,
) -> list[te.Tensor]:
    """Run a recurrent layer, float32.

    Args:
        inputs: ``X @ W`` plus biases that add to it, [directions, steps, batch, gates * hidden].
        weights: recurrent weights as `packing.pack_product` packs each direction's
            [hidden, gates * hidden], [directions, blocks, hidden, lanes].
        bias: what adds to the recurrent product, [directions, gates * hidden].
        states: initial hidden state [directions, batch, hidden], and LSTM's cell state.
        cell: sizes and functions.

    Returns:
        All hidden states [steps, directions, batch, hidden], then the last ones of each state.
    """
    directions = len(cell.reverse)
    last = (directions, cell.batch, cell.hidden)
    shapes = [(cell.steps, directions, cell.batch, cell.hidden), *[last] * len(states)]

    def body(ins: Sequence[tirx.Buffer], outs: Sequence[tirx.Buffer]) -> tirx.Stmt:
        with IRBuilder() as builder:
            with build.parallel(0, directions * cell.batch) as task:
                _Sequence(cell, list(ins), list(outs), task % cell.batch).emit(task // cell.batch)
            return builder.get()

    made = te.extern(
        shapes, [inputs, weights, bias, *states], body, name="recurrent",
        dtype=["float32"] * len(shapes),
    )  # fmt: skip
    return list(made)


def _fetch(state: tirx.Buffer, source: tirx.Buffer, at: Sequence[Expr], j: Expr) -> None:
    _store(state, source[(*at, j)], j)


def _keep(state: tirx.Buffer, target: tirx.Buffer, at: Sequence[Expr], j: Expr) -> None:
    _store(target, state[j], *at, j)


def _store(buffer: tirx.Buffer, value: Expr, *indices: Expr) -> None:
    build.buffer_store(buffer, value, list(indices))


class _Sequence:
    """Emits the steps of one direction for one batch element."""

    def __init__(
        self, cell: Cell, ins: list[tirx.Buffer], outs: list[tirx.Buffer], batch: Expr
    ) -> None:
        self.cell = cell
        self.inputs, self.weights, self.bias, *self.states = ins
        self.outputs, *self.last = outs
        self.batch = batch
        self.lanes = int(self.weights.shape[3])
        self.columns = int(self.weights.shape[1]) * self.lanes

    def emit(self, task: Expr) -> None:
        """All steps; directions that differ are told apart at compile time."""
        reverse, names = self.cell.reverse, self.cell.activations
        if len(set(zip(reverse, names, strict=True))) == 1:
            self._direction(task, reverse[0], names[0])
            return
        for number in range(len(reverse)):
            with build.If(tirx.EQ(task, number)), build.Then():
                self._direction(tirx.const(number, "int32"), reverse[number], names[number])

    def _direction(self, direction: Expr, reverse: bool, names: Sequence[str]) -> None:
        cell = self.cell
        held = [build.alloc_buffer((cell.hidden,), "float32") for _ in self.states]
        gates = build.alloc_buffer((self.columns,), "float32")
        scaled = build.alloc_buffer((cell.hidden,), "float32") if cell.kind == "GRU" else held[0]
        functions = [ACTIVATIONS[name] for name in names]
        for state, first in zip(held, self.states, strict=True):
            self._each(partial(_fetch, state, first, (direction, self.batch)))
        with build.serial(0, cell.steps) as count:
            step = cell.steps - 1 - count if reverse else count
            self._cell(direction, step, held, gates, scaled, functions)
            self._each(lambda j: _store(self.outputs, held[0][j], step, direction, self.batch, j))
        for state, target in zip(held, self.last, strict=True):
            self._each(partial(_keep, state, target, (direction, self.batch)))

    def _cell(
        self,
        direction: Expr,
        step: Expr,
        held: list[tirx.Buffer],
        gates: tirx.Buffer,
        scaled: tirx.Buffer,
        functions: Sequence[Activation],
    ) -> None:
        hidden = self.cell.hidden
        one = tirx.const(1.0, "float32")

        def given(gate: int, j: Expr) -> Expr:
            return self.inputs[direction, step, self.batch, gate * hidden + j]

        def recurrent_bias(gate: int, j: Expr) -> Expr:
            return self.bias[direction, gate * hidden + j]

        def total(gate: int, j: Expr) -> Expr:
            return given(gate, j) + gates[gate * hidden + j] + recurrent_bias(gate, j)

        self._product(direction, held[0], gates, 0, self.columns)
        if self.cell.kind == "RNN":
            self._each(lambda j: _store(held[0], functions[0](total(0, j)), j))
        elif self.cell.kind == "LSTM":
            sigma, g, h = functions

            def lstm(j: Expr) -> None:
                fresh = sigma(total(0, j)) * g(total(3, j))
                _store(held[1], sigma(total(2, j)) * held[1][j] + fresh, j)
                _store(held[0], sigma(total(1, j)) * h(held[1][j]), j)

            self._each(lstm)
        else:
            sigma, g = functions
            candidate = gates
            if self.cell.reset_first:
                self._each(lambda j: _store(scaled, sigma(total(1, j)) * held[0][j], j))
                # Update gates are settled before the product overwrites its columns.
                self._each(lambda j: _store(gates, sigma(total(0, j)), j))
                candidate = build.alloc_buffer((self.columns,), "float32")
                self._product(direction, scaled, candidate, 0, self.columns)

            def gru(j: Expr) -> None:
                product = candidate[2 * hidden + j] + recurrent_bias(2, j)
                if self.cell.reset_first:
                    z = gates[j]
                else:
                    product = product * sigma(total(1, j))
                    z = sigma(total(0, j))
                _store(held[0], (one - z) * g(given(2, j) + product) + z * held[0][j], j)

            self._each(gru)

    def _product(
        self, direction: Expr, state: tirx.Buffer, gates: tirx.Buffer, first: int, end: int
    ) -> None:
        """``gates[first:end] = state @ weights[:, first:end]``, in whole vectors."""
        lanes, blocks = self.lanes, (end - first) // self.lanes
        whole, rest = divmod(blocks, BLOCKS)
        if whole:
            with build.serial(0, whole) as group:
                self._tile(direction, state, gates, first // lanes + group * BLOCKS, BLOCKS)
        if rest:
            self._tile(direction, state, gates, first // lanes + whole * BLOCKS, rest)

    def _tile(
        self, direction: Expr, state: tirx.Buffer, gates: tirx.Buffer, block: Expr, count: int
    ) -> None:
        lanes = self.lanes
        sums = build.alloc_buffer((count, lanes), "float32", scope="local")
        for v in range(count):
            with build.vectorized(0, lanes) as lane:
                _store(sums, tirx.const(0.0, "float32"), v, lane)
        with build.serial(0, self.cell.hidden) as k:
            for v in range(count):
                with build.vectorized(0, lanes) as lane:
                    weight = self.weights[direction, block + v, k, lane]
                    _store(sums, sums[v, lane] + state[k] * weight, v, lane)
        for v in range(count):
            with build.vectorized(0, lanes) as lane:
                _store(gates, sums[v, lane], (block + v) * lanes + lane)

    def _each(self, write: Callable[[Expr], None]) -> None:
        """Run ``write`` for every hidden unit, by vectors, then the rest one by one."""
        whole, rest = divmod(self.cell.hidden, self.lanes)
        if whole:
            with build.serial(0, whole) as block, build.vectorized(0, self.lanes) as lane:
                write(block * self.lanes + lane)
        if rest:
            with build.serial(0, rest) as index:
                write(whole * self.lanes + index)
