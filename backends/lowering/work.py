"""What lowering knows of each call: its arithmetic, and the operators that it stands for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import tvm_ffi
from tvm.s_tir import SBlock

from burnish.analysis.cost import COUNTERS, kernel_flops
from burnish.backends.kernels.bfloat16 import PAIRS
from burnish.backends.lowering.kernel import Kernel
from burnish.backends.program import Call, Work
from burnish.ir import OperatorNode

SELECTS = frozenset({"Compress", "Gather", "GatherElements", "GatherND", "Slice"})
"""Operators that read as much of an input as they write."""
INTEGER = frozenset({
    "ConvInteger", "ConvTransposeInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul",
})  # fmt: skip
"""Operators that multiply integers."""


def describe_calls(
    calls: Sequence[Call], origins: Sequence[Sequence[OperatorNode]], kernels: Iterable[Kernel]
) -> list[Work]:
    """Return the work of each of `calls`.

    A node's operations count for the last of the calls that were emitted for it, less those that
    the others state themselves. What comes before and states none packs or transposes: it computes
    no operator.

    Args:
        calls: as they run.
        origins: the nodes that each call was emitted for; one sequence for all calls of a group.
        kernels: those of the calls that have one in TIR.
    """
    by_name = {kernel.name: kernel for kernel in kernels}
    found: list[Work] = []
    pairs = zip(calls, origins, strict=True)
    for _, group in itertools.groupby(pairs, key=lambda pair: id(pair[1])):
        emitted = list(group)
        nodes = emitted[-1][1]
        left = sum(_needed_flops(node) for node in nodes)
        for call, _ in emitted[:-1]:
            kernel = by_name.get(call.kernel)
            own = min(left, round(kernel.flops)) if kernel else 0
            left -= own
            work = _work(call, nodes, kernel, own)
            found.append(work if own else replace(work, operators=(), selects=False))
        call = emitted[-1][0]
        found.append(_work(call, nodes, by_name.get(call.kernel), left))
    return found


def _needed_flops(node: OperatorNode) -> int:
    """Operations of ``node``, without the products of a convolution with its padding."""
    flops = kernel_flops(node) or 0
    if node.op_type != "Conv":
        return flops
    data, out = (value.static_shape if value else None for value in (node.input(0), node.output))
    weights = node.input(1)
    taps = weights.static_shape if weights else None
    if not flops or data is None or out is None or taps is None:
        return flops
    rank = len(out) - 2
    mode = node.attribute("auto_pad", "NOTSET")
    if mode not in ("NOTSET", b"NOTSET", ""):
        return flops
    pads = node.attribute("pads") or (0,) * rank
    strides, dilations = (node.attribute(n) or (1,) * rank for n in ("strides", "dilations"))
    inside = math.prod(
        sum(0 <= o * strides[axis] + tap * dilations[axis] - pads[axis] < data[axis + 2]
            for o in range(out[axis + 2]) for tap in range(taps[axis + 2]))
        for axis in range(rank)
    )  # fmt: skip
    return flops * inside // math.prod((*out[2:], *taps[2:]))


def _work(call: Call, nodes: Sequence[OperatorNode], kernel: Kernel | None, flops: int) -> Work:
    types = [node.op_type for node in nodes]
    return Work(
        flops=flops,
        arithmetic="int8" if INTEGER.intersection(types) else _arithmetic(kernel),
        operators=tuple(types),
        sources=tuple(dict.fromkeys(name for node in nodes for name in node.provenance if name)),
        selects=bool(SELECTS.intersection(types)) and COUNTERS.keys().isdisjoint(types),
    )


def _arithmetic(kernel: Kernel | None) -> str:
    """The dtype that a kernel multiplies, integers apart."""
    if kernel is None:
        return "float32"
    attributes: set[str] = set()

    def visit(block: SBlock) -> None:
        attributes.update(map(str, block.annotations))

    tvm_ffi.structural_walk(kernel.func.body, (SBlock, visit), order="pre")
    return "bfloat16" if PAIRS in attributes else "float32"
