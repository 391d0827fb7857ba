"""Functions written as loops already, in one opaque block: attention, scans, recurrences."""

import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir import Schedule, ScheduleError

from burnish.backends.cpu.tir_pipeline import LOOPS_ONLY
from burnish.target import Target


def applies(sch: Schedule) -> bool:
    """Whether the function is a single block without iterations of its own."""
    return _block(sch.mod["main"]) is not None


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """The loops without the block around them, which are lowered faster."""
    func = sch.mod["main"]
    block = _block(func)
    if block is None:
        raise ScheduleError("the function is not written as loops")
    return tirx.PrimFunc(func.params, block.body, attrs=func.attrs).with_attr(LOOPS_ONLY, True)


def _block(func: tirx.PrimFunc) -> s_tir.SBlock | None:
    block = func.body.block
    while isinstance(block.body, s_tir.SBlockRealize) and not len(block.alloc_buffers):
        block = block.body.block
    plain = not (len(block.iter_vars) or len(block.alloc_buffers) or len(block.match_buffers))
    return block if plain and not _has_blocks(block.body) else None


def _has_blocks(statement: tirx.Stmt) -> bool:
    def found(_: s_tir.SBlock) -> tvm_ffi.VisitInterrupt:
        return tvm_ffi.VisitInterrupt(True)

    return tvm_ffi.structural_walk(statement, (s_tir.SBlock, found), order="pre") is not None
