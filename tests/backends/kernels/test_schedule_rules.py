"""Whatever operator comes, its scheduled function computes what the unscheduled one does."""

import itertools

import numpy
import pytest
from tvm import te, tirx, topi
from tvm.s_tir import Schedule

from burnish.backends.cpu import codegen
from burnish.backends.cpu.schedule import schedule, schedule_with_rule
from burnish.backends.cpu.schedule.nest import nests, strides
from burnish.target import Target
from tests.depth import every_other, mostly_slow


def float_(*shape: int) -> te.Tensor:
    return te.placeholder(shape, "float32", name="x" + "_".join(map(str, shape)))


ROWS, VECTOR = float_(1, 197, 192), float_(192)
NCHW, NHWC = float_(2, 3, 37, 41), float_(2, 7, 9, 40)
INDEX = te.placeholder((5,), "int64", name="index")
PAIRS = te.placeholder((2, 5), "int64", name="pairs")

OPERATORS = {
    "add broadcast": ([ROWS, VECTOR], lambda: topi.add(ROWS, VECTOR)),
    "argmax": ([ROWS], lambda: topi.argmax(ROWS, axis=2)),
    "argmin keepdims": ([NCHW], lambda: topi.argmin(NCHW, axis=3, keepdims=True)),
    "broadcast": ([VECTOR], lambda: topi.broadcast_to(VECTOR, (3, 5, 192))),
    "cast": ([ROWS], lambda: topi.cast(topi.greater(ROWS, 0.5), "int64")),
    "concat last": ([ROWS], lambda: topi.concatenate([ROWS, topi.nn.relu(ROWS)], 2)),
    "concat": ([ROWS], lambda: topi.concatenate([ROWS, topi.nn.relu(ROWS)], 1)),
    "cumsum": ([ROWS], lambda: topi.cumsum(ROWS, 2)),
    "gather_nd": ([ROWS, PAIRS], lambda: topi.gather_nd(ROWS, PAIRS)),
    "gelu": ([ROWS], lambda: topi.multiply(ROWS, topi.add(topi.erf(ROWS), 1.0))),
    "global average": ([NHWC], lambda: topi.divide(topi.sum(NHWC, [1, 2]), 63.0)),
    "group norm": (
        [g := float_(2, 6, 9, 11), s := float_(6), b := te.placeholder((6,), name="b")],
        lambda: topi.nn.group_norm(g, s, b, 3, 1, [2, 3]),
    ),
    "log softmax": ([ROWS], lambda: topi.nn.log_softmax(ROWS, -1)),
    "max pool": (
        [NHWC],
        lambda: topi.nn.pool2d(NHWC, [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "max", layout="NHWC"),
    ),
    "average pool": (
        [NCHW],
        lambda: topi.nn.pool2d(NCHW, [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "avg", layout="NCHW"),
    ),
    "mirror pad": ([NCHW], lambda: topi.nn.mirror_pad(NCHW, (0, 0, 1, 2), (0, 0, 3, 4), "REFLECT")),
    "one hot": (
        [INDEX],
        lambda: topi.one_hot(
            INDEX, tirx.const(1.0, "float32"), tirx.const(0.0, "float32"), 10, -1, "float32"
        ),
    ),
    "pad": ([NCHW], lambda: topi.nn.pad(NCHW, (0, 0, 1, 2), (0, 0, 3, 4), 2.5)),
    "reshape": ([ROWS], lambda: topi.reshape(ROWS, (197, 12, 16))),
    "resize linear": (
        [NCHW], lambda: topi.image.resize2d(NCHW, [0.0] * 4, [74, 82], "NCHW", "linear"),
    ),
    "resize nearest": (
        [NHWC], lambda: topi.image.resize2d(NHWC, [0.0] * 4, [14, 18], "NHWC", "nearest_neighbor"),
    ),
    "slice": ([ROWS], lambda: topi.strided_slice(ROWS, [0, 1, 3], [1, 190, 180], [1, 2, 3])),
    "softmax channels": ([NCHW], lambda: topi.nn.softmax(NCHW, 1)),
    "softmax columns": ([ROWS], lambda: topi.nn.softmax(ROWS, 1)),
    "softmax": ([ROWS], lambda: topi.nn.softmax(ROWS, -1)),
    "sort": ([ROWS], lambda: topi.sort(ROWS, axis=2)),
    "take": ([ROWS, INDEX], lambda: topi.take(ROWS, INDEX, 1, mode="clip")),
    "tile": ([ROWS], lambda: topi.tile(ROWS, (2, 1, 2))),
    "to channels first": ([NHWC], lambda: topi.transpose(NHWC, (0, 3, 1, 2))),
    "to channels last": ([NCHW], lambda: topi.transpose(NCHW, (0, 2, 3, 1))),
    "transpose of statistics": (
        [ROWS], lambda: topi.transpose(topi.divide(ROWS, topi.sum(ROWS, 2, True)), (0, 2, 1)),
    ),
    "two axes swapped": ([ROWS], lambda: topi.transpose(ROWS, (0, 2, 1))),
    "where": ([ROWS], lambda: topi.where(topi.greater(ROWS, 0.5), ROWS, topi.negative(ROWS))),
}  # fmt: skip


def data(tensor: te.Tensor) -> numpy.ndarray:
    rng = numpy.random.default_rng(len(tensor.shape))
    shape = [int(extent) for extent in tensor.shape]
    if tensor is PAIRS:
        return numpy.array([[0] * 5, [0, 4, 196, 7, 1]], "int64")
    if str(tensor.dtype) == "int64":
        return rng.integers(0, 8, shape).astype("int64")
    return (rng.random(shape) + 0.5).astype("float32")


def agree(inputs: list[te.Tensor], output: te.Tensor, target: Target, run) -> str:
    func = te.create_prim_func([*inputs, output])
    arrays = [data(tensor) for tensor in inputs]
    scheduled = schedule_with_rule(func, target)
    numpy.testing.assert_allclose(
        run(scheduled.func, arrays), run(func, arrays), rtol=2e-5, atol=1e-6
    )
    return scheduled.rule


@pytest.mark.parametrize("name", OPERATORS)
def test_scheduled_operator_agrees(name, target: Target, run):
    inputs, build = OPERATORS[name]
    agree(inputs, build(), target, run)


AXES = [axes for count in (1, 2, 3, 4) for axes in itertools.combinations(range(4), count)]


COMBINE = {
    "sum": (topi.sum, numpy.sum),
    "max": (topi.max, numpy.max),
    "prod": (topi.prod, numpy.prod),
}


@pytest.mark.parametrize(("axes", "combine"), every_other(AXES, COMBINE))
def test_reductions_over_every_axes(axes, combine, target: Target, run):
    kernel, reference = combine
    func = te.create_prim_func([NHWC, kernel(NHWC, axis=list(axes))])
    array = data(NHWC)
    result = run(schedule_with_rule(func, target).func, [array])
    expected = reference(array.astype("float64"), axis=axes)
    numpy.testing.assert_allclose(result, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("softmax", "rows"), ("softmax columns", "reduction"), ("gelu", "elementwise"),
     ("cumsum", "opaque"), ("global average", "reduction")],
)  # fmt: skip
def test_rule_that_fires(name, rule, target: Target):
    inputs, build = OPERATORS[name]
    assert schedule_with_rule(te.create_prim_func([*inputs, build()]), target).rule == rule


def test_little_work_stays_serial(target: Target):
    x = float_(4, 5)
    assert "parallel" not in schedule(te.create_prim_func([x, topi.exp(x)]), target).script()


def test_much_work_runs_in_parallel(target: Target):
    x = float_(64, 5000)
    assert "parallel" in schedule(te.create_prim_func([x, topi.exp(x)]), target).script()


def test_symbol_is_kept(target: Target):
    x = float_(64, 50)
    func = te.create_prim_func([x, topi.exp(x)]).with_attr("global_symbol", "kernel_7")
    assert schedule(func, target).attrs["global_symbol"] == "kernel_7"


def test_strides_of_a_transpose():
    x = float_(20, 30)
    sch = Schedule(te.create_prim_func([x, topi.transpose(x, (1, 0))]))
    (nest,) = nests(sch)
    assert [steps for _, steps in strides(nest, sch)] == [(20, 1), (1, 30)]


def test_strides_of_a_gather_are_unknown():
    sch = Schedule(te.create_prim_func([ROWS, INDEX, topi.take(ROWS, INDEX, 1, mode="fast")]))
    (nest,) = nests(sch)
    assert (None, 1) in [steps for _, steps in strides(nest, sch)]


def test_objects_are_deterministic(target: Target):
    x = float_(8, 300)
    func = schedule(te.create_prim_func([x, topi.nn.softmax(x)]), target)
    first = codegen.compile_object("a", func, target)
    assert first == codegen.compile_object("a", func, target)
    assert b"__tvm_ffi_a" in first


def test_structural_key_ignores_names(target: Target):
    x, y, z = float_(8, 300), te.placeholder((8, 300), name="other"), float_(8, 301)
    keys = [
        codegen.structural_key(
            te.create_prim_func([t, topi.nn.softmax(t)]).with_attr("global_symbol", name), target
        )
        for t, name in ((x, "a"), (y, "b"), (z, "a"))
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("shape", "axes", "rule"),
    [
        ((1, 64, 20, 18), (0, 2, 3, 1), "transpose"),
        ((2, 20, 18, 64), (0, 3, 1, 2), "transpose"),
        ((197, 192), (1, 0), "transpose"),
        ((3, 17, 33), (2, 0, 1), "transpose"),
        ((1, 3, 40, 40), (0, 2, 3, 1), "elementwise"),
        ((128, 12, 32), (1, 0, 2), "elementwise"),
        ((0, 64, 20, 18), (0, 2, 3, 1), "elementwise"),
    ],
)
def test_transposes(shape, axes, rule, target: Target, run):
    x = float_(*shape)
    scheduled = schedule_with_rule(te.create_prim_func([x, topi.transpose(x, axes)]), target)
    if target.lanes("float32") == 16:
        assert scheduled.rule == rule
    array = data(x)
    numpy.testing.assert_array_equal(run(scheduled.func, [array]), array.transpose(axes))


def test_transpose_of_a_slice(target: Target, run):
    x = float_(60, 70)
    part = topi.transpose(topi.strided_slice(x, [5, 7], [55, 67]), (1, 0))
    scheduled = schedule_with_rule(te.create_prim_func([x, part]), target)
    array = data(x)
    numpy.testing.assert_array_equal(run(scheduled.func, [array]), array[5:55, 7:67].T)


@pytest.mark.parametrize("channels", [16, 32, 40, 100])
def test_concat_of_channels(channels, target: Target, run):
    x, y = float_(1, 9, 30, channels), float_(1, 9, 30, 24)
    agree([x, y], topi.concatenate([x, y], 3), target, run)


def gated(*shape: int) -> tuple[list[te.Tensor], te.Tensor]:
    """``x + x * gate``, the gate one for each channel."""
    x, gate = float_(*shape), te.placeholder(shape[-1:], name="gate")
    return [x, gate], topi.add(x, topi.multiply(x, gate))


@pytest.mark.parametrize(
    "channels",
    mostly_slow([5, 8, 9, 12, 15, 16, 24, 31, 40, 47, 48, 50], [5, 9, 16, 24, 31, 48]),
)
def test_rows_of_few_channels(channels, target: Target, run):
    agree(*gated(1, 9, 7, channels), target, run)


def are_vectors(inputs: list[te.Tensor], result: te.Tensor, target: Target) -> bool:
    return "T.vectorized" in schedule(te.create_prim_func([*inputs, result]), target).script()


@pytest.mark.parametrize("channels", [12, 17, 20, 28, 36, 41])
def test_short_rows_become_vectors(channels, target: Target):
    assert are_vectors(*gated(1, 9, 7, channels), target)


def test_what_llvm_makes_vectors_of_is_left_to_it(target: Target):
    x = float_(1, 9, 7, 20)
    assert not are_vectors(*gated(1, 9, 7, 100), target)
    assert not are_vectors(*gated(1, 9, 7, 7), target)
    assert not are_vectors([x], topi.nn.relu(x), target)
    assert not are_vectors([x], topi.transpose(x, (0, 3, 2, 1)), target)
    assert not are_vectors([x], topi.nn.pad(x, (0, 0, 0, 1), (0, 0, 0, 2)), target)
    assert not are_vectors([x], topi.cast(x, "int8"), target)
    assert not are_vectors([x], topi.transpose(x, (0, 2, 1, 3)), target)


def test_short_rows_of_nothing(target: Target, run):
    agree(*gated(1, 0, 7, 20), target, run)


def test_short_rows_in_two_nests(target: Target, run):
    x = float_(3, 7, 20)
    costly = te.compute((3, 7, 20), lambda *i: te.exp(x(*i)) * te.tanh(x(*i)), name="costly")
    spread = te.compute((3, 7, 7, 20), lambda a, b, c, d: costly(a, b, d) - costly(a, c, d))
    agree([x], spread, target, run)
