"""Recurrent cells: all time steps of LSTM, GRU and RNN in one kernel.

The products with the inputs are made for all steps at once beforehand; what is left for each step
are some rows times the recurrent weights and the gates:

    parallel for direction and block of the batch:
        for each step, forwards or backwards:
            gates <- inputs[step] + state @ weights        # by tiles of vectors, in registers
            state <- cell(gates, state)
            outputs[step] <- state

Equations: ONNX operator specification, LSTM-22, GRU-22, RNN-22.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tvm import ir, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as build

from burnish.target import Target

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

FEWEST_SUMS = 8
"""Vectors of sums in registers at a time: enough to hide the latency of additions."""
MOST_ROWS = 8
"""Batch elements that go through a step together: enough to hide what loading weights takes."""


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
    target: Target,
) -> list[te.Tensor]:
    """Run a recurrent layer, float32.

    Args:
        inputs: ``X @ W`` plus biases that add to it, [steps, batch, directions * gates * hidden].
        weights: recurrent weights as `packing.pack_product` packs each direction's
            [hidden, gates * hidden], [directions, blocks, hidden, lanes].
        bias: what adds to the recurrent product, [directions, gates * hidden].
        states: initial hidden state [directions, batch, hidden], and LSTM's cell state.
        cell: sizes and functions.
        target: decides how many batch elements go together.

    Returns:
        All hidden states [steps, directions, batch, hidden], then the last ones of each state.
    """
    directions = len(cell.reverse)
    last = (directions, cell.batch, cell.hidden)
    shapes = [(cell.steps, directions, cell.batch, cell.hidden), *[last] * len(states)]

    rows = _rows_together(cell, target)
    blocks = math.ceil(cell.batch / rows)

    def body(ins: Sequence[tirx.Buffer], outs: Sequence[tirx.Buffer]) -> tirx.Stmt:
        with IRBuilder() as builder:
            with build.parallel(0, directions * blocks) as task:
                # The last block moves up instead of shrinking: some rows are computed twice.
                first = tirx.min(task % blocks * rows, cell.batch - rows)
                block = _Block(first, rows, target.registers)
                _Sequence(cell, list(ins), list(outs), block).emit(task // blocks)
            return builder.get()

    made = te.extern(
        shapes, [inputs, weights, bias, *states], body, name="recurrent",
        dtype=["float32"] * len(shapes),
    )  # fmt: skip
    return list(made)


def _rows_together(cell: Cell, target: Target) -> int:
    """Batch elements of a task: few enough that every thread has a task."""
    tasks = math.ceil(target.threads / len(cell.reverse))
    most = min(MOST_ROWS, target.registers // 4, math.ceil(cell.batch / tasks))
    return math.ceil(cell.batch / math.ceil(cell.batch / most))


def _store(buffer: tirx.Buffer, value: Expr, *indices: Expr) -> None:
    build.buffer_store(buffer, value, list(indices))


@dataclass(frozen=True)
class _Block:
    """Batch elements that go through all steps together."""

    first: Expr
    rows: int
    registers: int

    def vectors(self, columns: int) -> int:
        """Vectors of gate columns that are summed at a time, of `columns`, in equal shares.

        A single row waits for weights however many sums there are.
        """
        most = FEWEST_SUMS if self.rows == 1 else (self.registers - 4) // (self.rows + 1)
        return math.ceil(columns / math.ceil(columns / max(most, 1)))


class _Sequence:
    """Emits the steps of one direction for a block of the batch."""

    def __init__(
        self, cell: Cell, ins: list[tirx.Buffer], outs: list[tirx.Buffer], block: _Block
    ) -> None:
        self.cell = cell
        self.inputs, self.weights, self.bias, *self.states = ins
        self.outputs, *self.last = outs
        self.block = block
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
        cell, first = self.cell, self.block.first
        held = [self._memory(cell.hidden) for _ in self.states]
        gates = self._memory(self.columns)
        scaled = self._memory(cell.hidden) if cell.kind == "GRU" else held[0]
        functions = [ACTIVATIONS[name] for name in names]
        for state, source in zip(held, self.states, strict=True):
            self._each(partial(_fetch, state, source, (direction, first)))
        with build.serial(0, cell.steps) as count:
            step = cell.steps - 1 - count if reverse else count
            self._cell(direction, step, held, gates, scaled, functions)
            self._each(partial(_keep, held[0], self.outputs, (step, direction, first)))
        for state, target in zip(held, self.last, strict=True):
            self._each(partial(_keep, state, target, (direction, first)))

    def _memory(self, columns: int) -> tirx.Buffer:
        return build.alloc_buffer((self.block.rows, columns), "float32")

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

        def given(gate: int, r: Expr, j: Expr) -> Expr:
            column = (direction * self.cell.gates + gate) * hidden + j
            return self.inputs[step, self.block.first + r, column]

        def recurrent_bias(gate: int, j: Expr) -> Expr:
            return self.bias[direction, gate * hidden + j]

        def total(gate: int, r: Expr, j: Expr) -> Expr:
            return given(gate, r, j) + gates[r, gate * hidden + j] + recurrent_bias(gate, j)

        self._product(direction, held[0], gates)
        if self.cell.kind == "RNN":
            self._each(lambda r, j: _store(held[0], functions[0](total(0, r, j)), r, j))
        elif self.cell.kind == "LSTM":
            sigma, g, h = functions

            def lstm(r: Expr, j: Expr) -> None:
                fresh = sigma(total(0, r, j)) * g(total(3, r, j))
                _store(held[1], sigma(total(2, r, j)) * held[1][r, j] + fresh, r, j)
                _store(held[0], sigma(total(1, r, j)) * h(held[1][r, j]), r, j)

            self._each(lstm)
        else:
            sigma, g = functions
            candidate = gates
            if self.cell.reset_first:
                self._each(lambda r, j: _store(scaled, sigma(total(1, r, j)) * held[0][r, j], r, j))
                # Update gates are settled before the product overwrites its columns.
                self._each(lambda r, j: _store(gates, sigma(total(0, r, j)), r, j))
                candidate = self._memory(self.columns)
                self._product(direction, scaled, candidate)

            def gru(r: Expr, j: Expr) -> None:
                product = candidate[r, 2 * hidden + j] + recurrent_bias(2, j)
                if self.cell.reset_first:
                    z = gates[r, j]
                else:
                    product = product * sigma(total(1, r, j))
                    z = sigma(total(0, r, j))
                fresh = (one - z) * g(given(2, r, j) + product)
                _store(held[0], fresh + z * held[0][r, j], r, j)

            self._each(gru)

    def _product(self, direction: Expr, state: tirx.Buffer, gates: tirx.Buffer) -> None:
        """``gates = state @ weights``, in whole vectors."""
        columns = self.columns // self.lanes
        vectors = self.block.vectors(columns)
        whole, rest = divmod(columns, vectors)
        if whole:
            with build.serial(0, whole) as group:
                self._tile(direction, state, gates, group * vectors, vectors)
        if rest:
            self._tile(direction, state, gates, whole * vectors, rest)

    def _tile(
        self, direction: Expr, state: tirx.Buffer, gates: tirx.Buffer, first: Expr, count: int
    ) -> None:
        lanes = self.lanes
        tile = list(itertools.product(range(self.block.rows), range(count)))
        sums = [build.alloc_buffer((lanes,), "float32", scope="local") for _ in tile]
        for part in sums:
            with build.vectorized(0, lanes) as lane:
                _store(part, tirx.const(0.0, "float32"), lane)
        with build.serial(0, self.cell.hidden) as k:
            for part, (r, v) in zip(sums, tile, strict=True):
                with build.vectorized(0, lanes) as lane:
                    weight = self.weights[direction, first + v, k, lane]
                    _store(part, part[lane] + state[r, k] * weight, lane)
        for part, (r, v) in zip(sums, tile, strict=True):
            with build.vectorized(0, lanes) as lane:
                _store(gates, part[lane], r, (first + v) * lanes + lane)

    def _each(self, write: Callable[[Expr, Expr], None]) -> None:
        """Run ``write`` for every row and hidden unit, by vectors, then the rest one by one."""
        whole, rest = divmod(self.cell.hidden, self.lanes)
        with build.serial(0, self.block.rows) as r:
            if whole:
                with build.serial(0, whole) as block, build.vectorized(0, self.lanes) as lane:
                    write(r, block * self.lanes + lane)
            if rest:
                with build.serial(0, rest) as index:
                    write(r, whole * self.lanes + index)


def _fetch(
    state: tirx.Buffer, source: tirx.Buffer, at: tuple[Expr, Expr], r: Expr, j: Expr
) -> None:
    *outer, row = at
    _store(state, source[(*outer, row + r, j)], r, j)


def _keep(state: tirx.Buffer, target: tirx.Buffer, at: tuple[Expr, ...], r: Expr, j: Expr) -> None:
    *outer, row = at
    _store(target, state[r, j], *outer, row + r, j)
