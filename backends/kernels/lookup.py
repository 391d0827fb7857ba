"""Functions of a byte as tables: one operation for schedules, instructions for the target.

Kernels are described with `looked_up`, which `expand` turns into loads from the table. Where whole
vectors of bytes are at hand and the target has them, `wide` finds 64 entries by two permutations
(vpermi2b), given to LLVM as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, te, tirx
from tvm.ir import Expr, StringImm
from tvm.tirx import Stmt
from tvm.tirx.stmt import AttrStmt

from burnish.target import VBMI, Target

NAME = "burnish_looked_up"
ENTRIES = 256
LANES = 64
"""Entries that `wide` finds at once, and that one of its vectors of a table has."""


def looked_up(index: Expr, table: te.Tensor) -> Expr:
    """The entry of ``table`` ``[256]``, of bytes, for the bits of ``index``, int8 or uint8."""
    return tirx.call_pure_extern(table.dtype, NAME, index.astype("uint8"), table(0))


@dataclass(frozen=True)
class LookedUp:
    """The operands of `looked_up`."""

    index: Expr
    entry: ir.TensorLoad
    """The first one of the table."""
    dtype: str

    @property
    def load(self) -> Expr:
        """The same as a load from the table."""
        (first,) = self.entry.indices
        place = self.index.astype("int32").astype(str(first.ty))
        return tirx.BufferLoad(self.entry.source, [first + place])


def operands(call: Expr) -> LookedUp | None:
    """The operands of a call of `looked_up`; None of anything else."""
    if not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op):
        return None
    if not call.op.name.endswith("call_pure_extern") or str(call.args[0].value) != NAME:
        return None
    return LookedUp(call.args[1], call.args[2], str(call.ty))


def expand(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """``func`` with loads in the place of `looked_up`."""

    def replace(call: ir.Call) -> Expr:
        found = operands(call)
        return call if found is None else found.load

    mapped: tirx.PrimFunc = tvm_ffi.structural_map(func, (ir.Call, replace), order="post")
    return mapped


def is_wide(target: Target) -> bool:
    """Whether the target has the instructions of `wide`."""
    return target.vector_bits == 512 and VBMI in target.features


_WIDE = "burnish_looked_up_wide"
_IR = """
define <64 x i8> @burnish_looked_up_wide(<64 x i8> %x, <64 x i8> %a, <64 x i8> %b, <64 x i8> %c,
                                         <64 x i8> %d) {
  %l = call <64 x i8> @llvm.x86.avx512.vpermi2var.qi.512(<64 x i8> %a, <64 x i8> %x, <64 x i8> %b)
  %h = call <64 x i8> @llvm.x86.avx512.vpermi2var.qi.512(<64 x i8> %c, <64 x i8> %x, <64 x i8> %d)
  %m = icmp slt <64 x i8> %x, zeroinitializer
  %r = select <64 x i1> %m, <64 x i8> %h, <64 x i8> %l
  ret <64 x i8> %r
}
declare <64 x i8> @llvm.x86.avx512.vpermi2var.qi.512(<64 x i8>, <64 x i8>, <64 x i8>)
"""


def wide(index: Expr, table: Sequence[Expr], dtype: str) -> Expr:
    """`looked_up` for a vector of `LANES`; the table as four vectors, one after the other.

    The kernel has to be wrapped in `with_instructions`.
    """
    return tirx.call_extern(f"{dtype}x{LANES}", _WIDE, index, *table)


def with_instructions(body: Stmt) -> Stmt:
    """A whole kernel with the definition of `wide`."""
    return AttrStmt(tirx.const(0, "int32"), "pragma_import_llvm", StringImm(_IR), body)
