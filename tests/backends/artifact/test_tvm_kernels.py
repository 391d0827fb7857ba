"""Kernels that TVM made, without TVM's library: parallel loops, scratch memory, libm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.self_test import Vector
from burnish.errors import BurnishError
from burnish.target import Target

pytestmark = pytest.mark.slow

ROWS, COLUMNS = 64, 96


@pytest.fixture(scope="module")
def tvm_kernels(target: Target, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    import tvm
    from tvm import te
    from tvm.s_tir import Schedule

    shape = (ROWS, COLUMNS)
    a, b = te.placeholder(shape, name="a"), te.placeholder(shape, name="b")
    total = te.compute(shape, lambda i, j: a[i, j] + b[i, j], name="total")
    grown = te.compute(shape, lambda i, j: te.exp(a[i, j]), name="grown")
    flipped = te.compute(shape, lambda i, j: grown[i, COLUMNS - 1 - j], name="flipped")
    k = te.reduce_axis((0, COLUMNS), name="k")
    row = te.compute((ROWS,), lambda i: te.sum(a[i, k], axis=k), name="row")

    def parallel(name: str, last: str, args: list[te.Tensor]) -> tvm.tirx.PrimFunc:
        schedule = Schedule(te.create_prim_func(args))
        outer = schedule.get_loops(schedule.get_sblock(last))[0]
        schedule.parallel(outer)
        if last == "flipped":
            schedule.compute_at(schedule.get_sblock("grown"), outer)
        return schedule.mod["main"].with_attr("global_symbol", name)

    functions = {
        "add": parallel("add", "total", [a, b, total]),
        "exp_flip": parallel("exp_flip", "flipped", [a, flipped]),
        "sum": parallel("sum", "row", [a, row]),
    }
    library = tvm.compile(tvm.IRModule(functions), target=tvm.target.Target(target.tvm_target()))
    path: Path = tmp_path_factory.mktemp("tvm") / "kernels.o"
    library.mod.write_to_file(str(path), "o")
    return path.read_bytes()


def test_three_calls(tvm_kernels: bytes, target: Target) -> None:
    shape = (ROWS, COLUMNS)
    w = np.random.default_rng(0).random(shape, np.float32)
    x = Buffer("x", shape, "float32", BufferKind.INPUT)
    constant = Buffer("w", shape, "float32", BufferKind.CONSTANT, w)
    a, b = (Buffer(name, shape, "float32", BufferKind.TEMPORARY) for name in "ab")
    y = Buffer("y", (ROWS,), "float32", BufferKind.OUTPUT)
    calls = [
        Call("add", (x, constant, a)),
        Call("exp_flip", (a, b)),
        Call("sum", (b, y)),
    ]
    given = np.random.default_rng(1).random(shape, np.float32)
    vector = Vector({"x": given}, {"y": np.exp(given + w).sum(1)})
    program = Program([x], [y], calls, [tvm_kernels])
    made = build_artifact([program], target, [vector], Provenance(tolerance=1e-5))
    made.self_test()


def test_a_kernel_checks_its_arguments(tvm_kernels: bytes, target: Target) -> None:
    x = Buffer("x", (3,), "float32", BufferKind.INPUT)
    y = Buffer("y", (ROWS,), "float32", BufferKind.OUTPUT)
    program = Program([x], [y], [Call("sum", (x, y))], [tvm_kernels])
    made = build_artifact([program], target, [], Provenance())
    with pytest.raises(BurnishError, match=r"kernel sum failed: ValueError: Mismatched a\.ndim"):
        made.run({"x": np.zeros(3, np.float32)})
