"""Facts about the loop nests of a PrimFunc that schedule rules decide by."""

import math
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import ir, sym, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from burnish.backends.kernels import exact

_normalize = tvm_ffi.get_global_func("s_tir.schedule.NormalizePrimFunc")

_CALL_COST = 12
"""Arithmetic steps counted for a transcendental call."""


@dataclass(frozen=True)
class Nest:
    """One block under its own loops, one loop per iteration variable longer than one."""

    block: SBlockRV
    name: str
    loops: tuple[LoopRV, ...]
    extents: tuple[int, ...]
    kinds: str
    """``S`` (spatial) or ``R`` (reduced) per loop."""
    is_output: bool
    """Whether the block writes a parameter of the function."""

    @property
    def is_reduction(self) -> bool:
        """Whether any loop is reduced."""
        return "R" in self.kinds

    @property
    def domain(self) -> int:
        """Number of block instances."""
        return math.prod(self.extents)

    @property
    def spatial_extents(self) -> tuple[int, ...]:
        """Extents of the spatial loops, in order."""
        return tuple(e for e, kind in zip(self.extents, self.kinds, strict=True) if kind == "S")

    def loops_of(self, kind: str) -> list[LoopRV]:
        """The loops of one kind, in order."""
        return [loop for loop, k in zip(self.loops, self.kinds, strict=True) if k == kind]


def nests(sch: Schedule) -> list[Nest] | None:
    """Normalize `sch` so that each leaf block has one loop per iteration variable, and list them.

    None when some block cannot be normalized: opaque bodies, loops around several blocks.
    """
    try:
        normalized = _normalize(sch)
    except RuntimeError:
        return None
    if normalized is None:
        return None
    found = []
    outputs = {sch.get(block).name_hint for block in sch.get_output_blocks("root")}
    for block, loops, iters, _ in zip(*normalized, strict=True):
        kinds = "".join("S" if i.iter_type == tirx.IterVar.DataPar else "R" for i in iters)
        extents = tuple(int(sch.get(loop).extent) for loop in loops)
        if len(kinds) != len(loops):
            return None
        name = sch.get(block).name_hint
        found.append(Nest(block, name, tuple(loops), extents, kinds, name in outputs))
    return found


def body_cost(sch: Schedule, block: SBlockRV) -> int:
    """Arithmetic steps of one instance of `block`, index arithmetic not counted."""
    cost = 0

    def count(node: Any) -> None:
        nonlocal cost
        cost += _step_cost(node)

    tvm_ffi.structural_walk(sch.get(block).body, ((*_ARITHMETIC, ir.Call), count), order="pre")
    return cost


_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min, tirx.Select)
_FREE_CALLS = frozenset({"if_then_else", "likely", "reinterpret", "sqrt"})


def _step_cost(node: Any) -> int:
    if isinstance(node, ir.Call):
        if exact.unwrapped(node) is not node:
            return 0
        name = node.op.name.rpartition(".")[2] if isinstance(node.op, ir.Op) else ""
        return 1 if name in _FREE_CALLS else _CALL_COST
    return 1 if str(node.ty).startswith("float") else 0


def strides(nest: Nest, sch: Schedule) -> list[tuple[tirx.Buffer, tuple[int | None, ...]]]:
    """Element stride of every access of a block along each of its loops; None if not affine.

    The write comes first. Strides refer to a row-major buffer.
    """
    block = sch.get(nest.block)
    accesses: list[tuple[tirx.Buffer, list[ir.Expr]]] = []

    def load(node: ir.TensorLoad) -> None:
        accesses.append((node.source, list(node.indices)))

    def store(node: tirx.BufferStore) -> None:
        accesses.insert(0, (node.buffer, list(node.indices)))

    tvm_ffi.structural_walk(
        block.body, ((ir.TensorLoad, load), (tirx.BufferStore, store)), order="pre"
    )
    variables = [i.var for i in block.iter_vars]
    return [(buffer, _linear(buffer, indices, variables)) for buffer, indices in accesses]


def _linear(
    buffer: tirx.Buffer, indices: list[ir.Expr], variables: list[tirx.Var]
) -> tuple[int | None, ...]:
    totals = [0] * len(variables)
    unknown: set[int] = set()
    pitch = 1
    for index, extent in zip(reversed(indices), reversed(list(buffer.shape)), strict=True):
        coefficients = sym.detect_linear_equation(index, variables)
        for position, variable in enumerate(variables):
            factor = coefficients[position] if len(coefficients) else None
            if isinstance(factor, tirx.IntImm):
                totals[position] += int(factor) * pitch
            elif factor is not None or _uses(index, variable):
                unknown.add(position)
        pitch *= int(extent)
    return tuple(None if p in unknown else total for p, total in enumerate(totals))


def _uses(expr: ir.Expr, variable: tirx.Var) -> bool:
    def match(node: tirx.Var) -> tvm_ffi.VisitInterrupt | None:
        return tvm_ffi.VisitInterrupt(True) if node.same_as(variable) else None

    return tvm_ffi.structural_walk(expr, (tirx.Var, match), order="pre") is not None
