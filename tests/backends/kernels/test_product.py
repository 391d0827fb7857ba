"""Products against numpy: remainders, broadcasting, transposed operands, epilogues."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relax, te, tirx, topi

from burnish.backends.cpu.schedule import anchored
from burnish.backends.cpu.schedule.fused import ScheduleMiss, role_of
from burnish.backends.cpu.schedule.tiling import Space
from burnish.backends.kernels import packing
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.product import batch_product, product
from burnish.target import Target
from tests.backends.kernels.harness import (
    AVX512,
    SERIAL,
    TARGETS,
    Array,
    error,
    fuse,
    randoms,
    run,
)  # fmt: skip
from tests.depth import every_other

TOLERANCE = 1e-5


@pytest.mark.parametrize(
    ("lead", "columns", "target"),
    every_other([(1,), (2, 19), (3, 1, 7), (2, 3, 5, 1)], [1, 5, 16, 40, 203], TARGETS),
)
def test_product_with_bias_and_residual(
    lead: tuple[int, ...], columns: int, target: Target
) -> None:
    a, weights, bias, residual = randoms((*lead, 21), (21, columns), (columns,), (*lead, columns))

    def build(bb: relax.BlockBuilder, *v: relax.Expr) -> relax.Expr:
        y = bb.emit_te(product, v[0], v[1], columns=columns)
        return bb.emit_te(topi.add, bb.emit_te(topi.add, y, v[2]), v[3])

    lanes = packing.lane_count(columns, target.lanes("float32"))
    inputs = [a, packing.pack_product(weights, lanes), bias, residual]
    (result,) = run(fuse(build, [i.shape for i in inputs]), inputs, [residual.shape], target)
    assert error(result, a @ weights + bias + residual) < TOLERANCE


def with_beside(rows: int, depth: int, columns: int, *beside: tuple[int, ...]) -> tirx.PrimFunc:
    """A product with what is added to it."""
    packed = packing.pack_product(np.zeros((depth, columns), np.float32), 16)

    def build(bb: relax.BlockBuilder, *v: relax.Expr) -> relax.Expr:
        y = bb.emit_te(product, v[0], v[1], columns=columns)
        for operand in v[2:]:
            y = bb.emit_te(topi.add, y, operand)
        return y

    return fuse(build, [(rows, depth), packed.shape, *beside])


def is_by_rows(func: tirx.PrimFunc, target: Target) -> bool:
    """Whether the first choice finishes one tile of rows after the other."""
    first = anchored.candidates(func, target)[0]
    return not first.columns_slow and first.row_block == 1


@pytest.mark.parametrize("target", [AVX512, replace(AVX512, threads=1)], ids=["two", "one"])
def test_large_residuals_are_read_in_order(target: Target) -> None:
    rows = target.l2 // (4 * 256)
    assert is_by_rows(with_beside(rows, 64, 256, (rows, 256)), target)
    assert is_by_rows(with_beside(rows, 64, 256, (256,), (rows, 256)), target)


def test_one_picture_is_read_like_many() -> None:
    """An index that can only be 0 may be written as such."""
    rows = AVX512.l2 // (4 * 256)
    a, w = te.placeholder((1, rows, 64), name="a"), te.placeholder((16, 64, 16), name="w")
    r = te.placeholder((1, rows, 256), name="r")
    sums = product(a, w, columns=256)
    added = te.compute(sums.shape, lambda n, i, j: sums[n, i, j] + r[0, i, j], name="added")
    func = te.create_prim_func([a, w, r, added])
    assert is_by_rows(func, AVX512)
    assert "burnish_prefetch" in anchored.schedule(func, AVX512).script()


@pytest.mark.parametrize(
    "beside",
    [(), ((256,),), ((1, 256),), ((2048, 1),), ((1, 1),)],
    ids=["none", "bias", "row", "column", "scalar"],
)
def test_what_is_no_residual_does_not_change_the_order(beside: tuple[tuple[int, ...], ...]) -> None:
    target = replace(AVX512, threads=1)
    assert not is_by_rows(with_beside(2048, 64, 256, *beside), target)


def test_residuals_change_no_order_where_they_lie_near_or_weights_are_large() -> None:
    target = replace(AVX512, threads=1)
    few, deep = target.l2 // (4 * 256 * 4), 1 << 11
    assert not is_by_rows(with_beside(few, 64, 256, (few, 256)), target)
    assert not is_by_rows(with_beside(400, deep, deep, (400, deep)), target)


def test_rows_one_after_the_other_give_the_same_sums() -> None:
    a, weights, residual = randoms((60, 21), (21, 203), (60, 203))
    func = with_beside(60, 21, 203, residual.shape)
    inputs: list[Array] = [a, packing.pack_product(weights, 16), residual]
    for target in (AVX512, replace(AVX512, threads=1)):
        config = replace(
            anchored.candidates(func, target)[0], row_block=1, column_block=99, columns_slow=False
        )
        (result,) = run(func, inputs, [residual.shape], target, config)
        assert error(result, a @ weights + residual) < TOLERANCE


@pytest.mark.parametrize(("rows", "kind"), [(4, "serial"), (512, "parallel")])
def test_only_much_work_is_shared_out(
    rows: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # What lets all kernels of these tests run in parallel.
    shapes = [(rows, 64), packing.pack_product(np.zeros((64, 64), np.float32), 16).shape]
    func = fuse(lambda bb, *v: bb.emit_te(product, *v, columns=64), shapes)
    loops = anchored.schedule(func, AVX512).script()
    assert ("T.parallel" in loops) == (kind == "parallel")


@pytest.mark.parametrize(
    ("columns", "vectors", "lanes"),
    [(40, 3, 8), (36, 3, 4), (33, 3, 4), (41, 3, 16), (48, 3, 16), (40, 2, 16)],
)
def test_last_vector_is_as_short_as_its_columns(columns: int, vectors: int, lanes: int) -> None:
    space = Space((Axis(7, 7),), 1, columns, 16, False, lambda *_: ())
    assert space.last(vectors) == lanes
    # Vectors that move back to end with the last column have no padding.
    assert replace(space, shifts=True).last(vectors) == 16


def test_epilogue_reads_one_row_for_all() -> None:
    a, weights, scale = randoms((2, 5, 12), (12, 20), (2, 1, 20))

    def build(bb: relax.BlockBuilder, *v: relax.Expr) -> relax.Expr:
        return bb.emit_te(topi.multiply, bb.emit_te(product, v[0], v[1], columns=20), v[2])

    inputs = [a, packing.pack_product(weights, 8), scale]
    (result,) = run(fuse(build, [i.shape for i in inputs]), inputs, [(2, 5, 20)])
    assert error(result, a @ weights * scale) < TOLERANCE


def test_long_epilogue_runs_in_a_loop() -> None:
    a, weights = randoms((30, 12), (12, 70))

    def build(bb: relax.BlockBuilder, *v: relax.Expr) -> relax.Expr:
        y = bb.emit_te(product, *v, columns=70)
        for step in range(12):
            y = bb.emit_te(_steps[step % 2], y)
        return y

    inputs = [a, packing.pack_product(weights, 8)]
    (result,) = run(fuse(build, [i.shape for i in inputs]), inputs, [(30, 70)])
    expected = a @ weights
    for step in range(12):
        expected = expected * 0.5 + 1 if step % 2 else np.maximum(expected, -0.5)
    assert error(result, expected) < TOLERANCE


_steps = (
    lambda y: topi.maximum(y, tirx.const(-0.5, "float32")),
    lambda y: topi.add(topi.multiply(y, tirx.const(0.5, "float32")), tirx.const(1.0, "float32")),
)


BATCHES = {
    "plain": ((3, 2, 17, 20), (3, 2, 20, 33), False, False),
    "left transposed, right shared": ((3, 2, 20, 17), (2, 20, 33), True, False),
    "right transposed and broadcast": ((3, 2, 17, 20), (3, 1, 33, 20), False, True),
    "few columns": ((4, 6, 9), (4, 9, 3), False, False),
    "one row": ((2, 1, 64), (2, 64, 48), False, False),
    "no batch": ((17, 8), (8, 16), False, False),
    "both transposed": ((2, 9, 5), (2, 7, 9), True, True),
}


@pytest.mark.parametrize(("name", "target"), every_other(list(BATCHES), TARGETS))
def test_batch_product(name: str, target: Target) -> None:
    a_shape, b_shape, transpose_a, transpose_b = BATCHES[name]
    a, b = randoms(a_shape, b_shape)
    expected = np.matmul(
        a.swapaxes(-1, -2) if transpose_a else a, b.swapaxes(-1, -2) if transpose_b else b
    )

    def build(bb: relax.BlockBuilder, *v: relax.Expr) -> relax.Expr:
        y = bb.emit_te(batch_product, *v, transpose_a=transpose_a, transpose_b=transpose_b)
        return bb.emit_te(topi.nn.relu, y)

    (result,) = run(fuse(build, [a_shape, b_shape]), [a, b], [expected.shape], target)
    assert error(result, np.maximum(expected, 0)) < TOLERANCE


def test_inner_extents_must_agree() -> None:
    a, b = (tvm.te.placeholder(s) for s in ((2, 3), (4, 5)))
    with pytest.raises(ValueError, match="inner extents differ: 3 and 4"):
        batch_product(a, b)


def test_a_function_without_anchor_is_missed() -> None:
    func = fuse(lambda bb, x: bb.emit_te(topi.nn.relu, x), [(4, 4)])
    assert role_of(func) is None
    assert not anchored.applies(func)
    with pytest.raises(ScheduleMiss):
        anchored.schedule(func, SERIAL)


def test_a_result_that_grows_behind_the_anchor_is_missed() -> None:
    def build(bb: relax.BlockBuilder, *v: relax.Expr) -> relax.Expr:
        return bb.emit_te(topi.multiply, bb.emit_te(product, v[0], v[1], columns=16), v[2])

    func = fuse(build, [(1, 12), (2, 12, 8), (7, 16)])
    assert anchored.applies(func)
    with pytest.raises(ScheduleMiss, match="other extents"):
        anchored.schedule(func, SERIAL)
