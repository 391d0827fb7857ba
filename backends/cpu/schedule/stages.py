"""The nests of a function as pieces of work, with memory for what passes between them."""

import math
from collections.abc import Sequence

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.script.ir_builder import tirx as build
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.build import Views
from burnish.backends.cpu.schedule.nest import Nest
from burnish.backends.cpu.schedule.work import Atom, Work, describe


class Stages:
    """All nests of a function, within rows that are the leading loops of each, or without any."""

    def __init__(self, sch: Schedule, found: Sequence[Nest], extents: Sequence[int] = ()) -> None:
        dtype = str(sch.get(found[-1].block).iter_vars[0].var.ty)
        self.rows = [Atom(tirx.Var(f"row{i}", dtype), extent) for i, extent in enumerate(extents)]
        self._views = Views()
        self._places: dict[tirx.Buffer, tuple[tirx.Buffer, dict[tirx.Var, int]]] = {}
        for nest in found:
            if not nest.is_output:
                self._hold(sch.get(nest.block).writes[0].source)
        self.works = [self._work(sch, nest) for nest in found]

    def allocate(self) -> None:
        """Emit the memory of intermediate results, those of one row if there are rows."""
        for own, _ in self._places.values():
            build.add_to_parent(AllocBuffer(own))

    def declare(self, body: tirx.Stmt) -> tirx.Stmt:
        """`body` with its views of parameters declared."""
        return self._views.declare([body])

    def _hold(self, buffer: tirx.Buffer) -> None:
        pitch = math.prod(int(extent) for extent in buffer.shape)
        steps = {row.variable: (pitch := pitch // row.extent) for row in self.rows}
        own = tirx.decl_buffer((pitch,), buffer.dtype, name=buffer.name)
        self._places[buffer] = (own, steps)

    def _place(self, buffer: tirx.Buffer) -> tuple[tirx.Buffer, dict[tirx.Var, int]]:
        """See `work.Place`."""
        return self._places.get(buffer) or (self._views.of(buffer), {})

    def _work(self, sch: Schedule, nest: Nest) -> Work:
        block = sch.get(nest.block)
        variables: dict[tirx.Var, ir.Expr] = {}
        loops, waiting = [], list(self.rows)
        for axis, extent, kind in zip(block.iter_vars, nest.extents, nest.kinds, strict=True):
            atom = Atom(tirx.Var(axis.var.name, str(axis.var.ty)), extent, kind == "R")
            if kind == "R" or not waiting:
                variables[axis.var] = atom.variable
                loops.append(atom)
                continue
            row = waiting.pop(0)
            variables[axis.var] = row.variable
            if extent > row.extent:
                within = Atom(atom.variable, extent // row.extent)
                variables[axis.var] = row.variable * within.extent + within.variable
                loops.append(within)
        return describe(block, variables, self.rows, loops, self._place)
