"""A fused kernel taken apart: the anchor that reduces, and what happens to its results."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm_ffi
from tvm import IRModule, tirx
from tvm.ir import Expr, TensorLoad
from tvm.s_tir import SBlock
from tvm.tirx import Buffer, BufferStore, PrimFunc, Stmt

from burnish.backends.cpu.schedule.prefetch import declared
from burnish.backends.cpu.tir_pipeline import LOOPS_ONLY

ROLE = "burnish.role"


class ScheduleMiss(Exception):
    """A rule does not know this kernel; another one should take it."""


@dataclass(frozen=True)
class Stage:
    """One block: ``out[iters] = value`` for the spatial iteration variables ``iters``."""

    out: Buffer
    """Its rows may be part of longer ones."""
    iters: tuple[tirx.Var, ...]
    value: Expr
    extents: tuple[int, ...]
    """Shape of the result."""


@dataclass(frozen=True)
class Fused:
    """An anchor block and the elementwise stages that follow it."""

    func: PrimFunc
    """With 32-bit indices."""
    anchor: Stage
    """Its value is the update: operand products, or a running maximum."""
    reduced: tuple[tirx.Var, ...]
    domain: int
    """Multiplications, or comparisons, of the anchor."""
    attrs: Mapping[str, Any]
    epilogue: tuple[Stage, ...]

    @property
    def role(self) -> str:
        """What the anchor computes."""
        return str(self.attrs[ROLE])

    @property
    def outputs(self) -> frozenset[Buffer]:
        """Parameters that the kernel writes."""
        stages = (self.anchor, *self.epilogue)
        params = set(self.func.params)
        return frozenset(s.out for s in stages if s.out in params)

    def with_body(self, body: Stmt) -> PrimFunc:
        """The function with plain loops as its body."""
        func = PrimFunc(self.func.params, declared(body), attrs=self.func.attrs)
        return func.with_attr(LOOPS_ONLY, True)

    def operands(self) -> list[TensorLoad]:
        """The loads of the anchor apart from its own accumulator, in order of appearance."""
        return [n for n in loads(self.anchor.value) if not n.source.same_as(self.anchor.out)]


def role_of(func: PrimFunc) -> str | None:
    """The role of the anchor of `func`, if it has one."""
    for block in _blocks(func):
        if ROLE in block.annotations:
            return str(block.annotations[ROLE])
    return None


def parse(func: PrimFunc) -> Fused:
    """Take a fused kernel apart.

    Raises:
        ScheduleMiss: it is not one anchor followed by elementwise stages of the same extents.
    """
    narrowed = tirx.transform.ForceNarrowIndexToInt32()(IRModule({"main": func}))["main"]
    blocks = _blocks(narrowed)
    marked = [i for i, block in enumerate(blocks) if ROLE in block.annotations]
    if marked != [0]:
        raise ScheduleMiss(f"expected one anchor block, first of all, found {len(marked)}")
    anchor, *rest = blocks
    stage = _stage(anchor)
    reduced = [i.var for i in anchor.iter_vars if i.iter_type == tirx.IterVar.CommReduce]
    domain = prod(int(i.dom.extent) for i in anchor.iter_vars)
    fused = Fused(
        narrowed, stage, tuple(reduced), domain,
        dict(anchor.annotations), tuple(_stage(block) for block in rest),
    )  # fmt: skip
    for later in fused.epilogue:
        if later.extents != stage.extents:
            raise ScheduleMiss(f"{later.out.name} has other extents than the anchor")
    return fused


def loads(value: Expr) -> list[TensorLoad]:
    """The buffer loads of an expression, in order of appearance."""
    found: list[TensorLoad] = []
    tvm_ffi.structural_walk(value, (TensorLoad, lambda node: found.append(node)), order="pre")
    return found


def _blocks(func: PrimFunc) -> list[SBlock]:
    found: list[SBlock] = []

    def keep(block: SBlock) -> None:
        if len(block.iter_vars):
            found.append(block)

    tvm_ffi.structural_walk(func.body, (SBlock, keep), order="pre")
    return found


def _stage(block: SBlock) -> Stage:
    body = block.body
    if not isinstance(body, BufferStore):
        raise ScheduleMiss(f"block {block.name_hint} is more than one store")
    written = list(body.indices)
    spatial = list(block.iter_vars)[: len(written)]
    if not all(w.same_as(i.var) for w, i in zip(written, spatial, strict=True)):
        raise ScheduleMiss(f"block {block.name_hint} does not write in order")
    if ROLE not in block.annotations and len(block.iter_vars) != len(written):
        raise ScheduleMiss(f"block {block.name_hint} reduces behind the anchor")
    extents = tuple(int(i.dom.extent) for i in spatial)
    return Stage(body.buffer, tuple(i.var for i in spatial), body.value, extents)
