"""What code generation makes of tiles that bring operands closer."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tvm import te

from burnish.backends.cpu import codegen
from burnish.backends.cpu.schedule import anchored
from burnish.backends.kernels.bfloat16 import STORED
from burnish.backends.kernels.product import product
from burnish.target import BFLOAT16, resolve

V4 = resolve("x86-64-v4", threads=1)


def assembly(precision: str, threads: int, rows: int = 128, blocks: int = 64) -> str:
    """A product of rows by blocks of 16 columns, 384 deep, by its first candidate."""
    pairs = precision == "bfloat16"
    added = {BFLOAT16} if pairs else set()
    target = replace(V4, threads=threads, extensions=frozenset(added)).using(*added)
    stored = STORED if pairs else precision
    a = te.placeholder((rows, 384), stored, name="a")
    w = te.placeholder((blocks, 192, 16, 2) if pairs else (blocks, 384, 16), stored, name="w")
    func = te.create_prim_func([a, w, product(a, w, columns=blocks * 16)])
    kernel = anchored.schedule(func, target, anchored.candidates(func, target)[0])
    return str(codegen.build({"k": kernel}, target).inspect_source("asm"))


def loops_that_fetch(text: str) -> list[str]:
    """Basic blocks that prefetch and jump back to their own start."""
    blocks = re.split(r"^(\.LBB\w+):", text, flags=re.MULTILINE)
    found = []
    for label, body in zip(blocks[1::2], blocks[2::2], strict=True):
        back = re.search(rf"\bj\w+\s+{re.escape(label)}\b", body)
        if back and "prefetch" in body[: back.start()]:
            found.append(body[: back.start()])
    return found


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("precision", "multiply"), [("float32", "vfmadd231ps"), ("bfloat16", "vdpbf16ps")]
)
def test_sums_stay_in_registers_beside_prefetches(
    precision: str, multiply: str, threads: int
) -> None:
    loops = loops_that_fetch(assembly(precision, threads))
    assert loops
    for body in loops:
        assert multiply in body
        assert not re.search(r"vmov[au]ps\s+%zmm\d+, [^%]", body)


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_fetch_each_line_of_weights_from_memory_once(rows: int) -> None:
    (body,) = loops_that_fetch(assembly("float32", 1, rows))
    assert body.count("vfmadd231ps") == rows * body.count("prefetcht1") > 0


@pytest.mark.parametrize(("rows", "blocks"), [(1, 16), (3, 64)])
def test_weights_of_few_rows_are_not_fetched_from_caches(rows: int, blocks: int) -> None:
    assert "prefetcht1" not in assembly("float32", 1, rows, blocks)
