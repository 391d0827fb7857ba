"""Results that are read within the operand: which are, which must not be, that all are right."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering.lower import Lowered, lower
from burnish.backends.lowering.strides import is_contiguous, reshaped_within, row_length
from burnish.backends.memory_plan import plan_memory
from burnish.backends.program import BufferKind, Program
from tests.backends.lowering.models import TARGET, check, model, normal, prepared

CUTTERS = ("gather", "slice", "split")


def weighted(text: str, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A model whose ``weights`` are constants of some shapes."""
    proto = model(text, opset=23)
    arrays = {name: normal(*shape, seed=len(name)) for name, shape in weights.items()}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays.items())
    return proto


def low(proto: onnx.ModelProto) -> Lowered:
    """Kernels and calls of a model."""
    return lower(prepared(proto), TARGET)


def cutters(lowered: Lowered) -> list[str]:
    """Kernels that cut something out, and perhaps go on."""
    labels = [kernel.name.split("_", 1)[1] for kernel in lowered.kernels]
    return [label for label in labels if label in CUTTERS]


def offsets(lowered: Lowered, label: str) -> list[int]:
    """Where the operands that are not constant begin, of the kernels with a label."""
    calls = [call for call in lowered.calls if call.kernel.endswith(f"_{label}")]
    roots = [buffer.root() for call in calls for buffer in call.reads]
    return [offset for owner, offset in roots if owner.kind is not BufferKind.CONSTANT]


PARTS = "<int64[2] sizes = {32, 32}>"
PRODUCT = "p = MatMul(x, w) a, b = Split<axis = 2>(p, sizes)"


def test_products_read_columns_where_they_lie() -> None:
    proto = weighted(
        f"g (float[2, 7, 16] x) => (float[2, 7, 16] y) {PARTS} {{"
        f"{PRODUCT} c = MatMul(a, u) d = MatMul(b, v) y = Sub(c, d) }}",
        w=(16, 64), u=(32, 16), v=(32, 16),
    )  # fmt: skip
    assert cutters(low(proto)) == []
    assert 128 in offsets(low(proto), "matmul")
    assert check(proto, x=normal(2, 7, 16)) == []


def test_convolutions_read_channels_where_they_lie() -> None:
    proto = weighted(
        f"g (float[1, 16, 6, 5] x) => (float[1, 16, 6, 5] y) {PARTS} {{"
        "p = Conv(x, w) a, b = Split<axis = 1>(p, sizes) c = Conv(a, u)"
        "d = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(b, v) e = Concat<axis = 1>(a, c, d)"
        "y = Conv(e, t) }",
        w=(64, 16, 1, 1), u=(16, 32, 1, 1), v=(16, 32, 3, 3), t=(16, 64, 1, 1),
    )  # fmt: skip
    assert cutters(low(proto)) == []
    assert check(proto, 1e-4, x=normal(1, 16, 6, 5)) == []


def test_attention_reads_its_part_of_a_product() -> None:
    heads = "<int64[4] heads = {0, 0, 2, 16}, int64[3] merged = {0, 0, 32}, float[1] scale = {0.25}"
    proto = weighted(
        f"g (float[2, 9, 32] x) => (float[2, 9, 32] y) {heads}, int64[3] sizes = {{32, 32, 32}}> {{"
        "p = MatMul(x, w) a, b, c = Split<axis = 2>(p, sizes)"
        "d = Reshape(a, heads) e = Reshape(b, heads) f = Reshape(c, heads)"
        "q = Transpose<perm = [0, 2, 1, 3]>(d) k = Transpose<perm = [0, 2, 3, 1]>(e)"
        "v = Transpose<perm = [0, 2, 1, 3]>(f) s = MatMul(q, k) t = Mul(s, scale)"
        "z = Softmax<axis = -1>(t) o = MatMul(z, v) r = Transpose<perm = [0, 2, 1, 3]>(o)"
        "y = Reshape(r, merged) }",
        w=(32, 96),
    )  # fmt: skip
    assert offsets(low(proto), "attention") == [0, 128, 256]
    assert cutters(low(proto)) == []
    assert check(proto, x=normal(2, 9, 32)) == []


def test_gathers_of_one_position_read_it_where_it_lies() -> None:
    proto = weighted(
        "g (float[1, 5, 16] x) => (float[1, 8] y, float[1, 8] z)"
        "<int64 first = {0}, int64 last = {-1}> {"
        "s = Softmax<axis = 1>(x) a = Gather<axis = 1>(s, first) b = Gather<axis = 1>(s, last)"
        "y = MatMul(a, w) z = MatMul(b, w) }",
        w=(16, 8),
    )
    assert cutters(low(proto)) == []
    assert offsets(low(proto), "matmul") == [0, 256]
    assert check(proto, x=normal(1, 5, 16)) == []


SLICES = """<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3},
    int64[1] four = {4}, int64[1] six = {6}, int64[1] back = {-1}, int64[1] before = {-9},
    int64[2] both = {1, 0}, int64[2] ends = {4, 16}, int64[2] axes = {0, 1},
    int64[3] halves = {2, 2, 32}>"""


def sliced(rest: str, outputs: str, columns: int = 32) -> onnx.ModelProto:
    """A model that goes on with ``s``, six rows of some columns."""
    text = f"g (float[6, {columns}] x) => ({outputs}) {SLICES} {{ s = Softmax(x) {rest} }}"
    return weighted(text, w=(columns, 8), v=(16, 8))


@pytest.mark.parametrize(
    ("rest", "outputs", "columns"),
    [
        # rows of a value are contiguous, and every kernel reads them
        ("a = Slice(s, one, four, zero) y = MatMul(a, w)", "float[3, 8] y", 32),
        ("a = Slice(s, one, four, zero) y = CumSum(a, zero)", "float[3, 32] y", 32),
        ("a = Slice(s, two, six, zero) b = Transpose(a) y = Softmax(b)", "float[32, 4] y", 32),
        # one row, read backwards or not
        ("a = Slice(s, four, three, zero, back) y = MatMul(a, w)", "float[1, 8] y", 32),
        # what the caller gives
        ("a = Slice(x, one, four, zero) y = MatMul(a, w)", "float[3, 8] y", 32),
        # a part of a part
        ("a = Slice(s, two, six, zero) b = Reshape(a, halves) c = Slice(b, one, two, zero)"
         "y = MatMul(c, w)", "float[1, 2, 8] y", 32),
        # one that another kernel of the model reads, and the caller as well
        ("a = Slice(s, one, four, zero) b = Softmax(a) y = Sin(b) c = Identity(a)",
         "float[3, 32] y, float[3, 32] c", 32),
        # a matrix that the product transposes first, which copies it
        ("a = Slice(s, one, four, zero) b = Transpose(a) y = MatMul(b, a)", "float[32, 32] y", 32),
        # one that is read in a body
        ("a = Slice(s, one, four, zero) t = ReduceSum<keepdims = 0>(s) z = Greater(t, t)"
         "y = If(z) <then_branch = p () => (float[3, 32] p) { p = Cos(a) },"
         " else_branch = q () => (float[3, 32] q) { q = Sin(a) }>", "float[3, 32] y", 32),
    ],
)  # fmt: skip
def test_rows_are_read_where_they_lie(rest: str, outputs: str, columns: int) -> None:
    proto = sliced(rest, outputs, columns)
    assert cutters(low(proto)) == []
    assert check(proto, x=normal(6, columns)) == []


@pytest.mark.parametrize(
    ("rest", "outputs", "columns"),
    [
        # backwards, every second row, two axes at once
        ("a = Slice(s, back, before, zero, back) y = MatMul(a, w)", "float[6, 8] y", 32),
        ("a = Slice(s, zero, six, zero, two) y = MatMul(a, w)", "float[3, 8] y", 32),
        ("a = Slice(s, both, ends, axes) y = MatMul(a, v)", "float[3, 8] y", 32),
        # a kernel's vectors begin at 16 bytes at least
        ("a = Slice(s, one, four, zero) y = MatMul(a, w)", "float[3, 8] y", 30),
        # the caller gets memory of its own
        ("y = Slice(s, one, four, zero) z = Relu(s)", "float[3, 32] y, float[6, 32] z", 32),
        ("a = Slice(s, one, four, zero) y = Reshape(a, back)", "float[96] y", 32),
        # one kernel cuts and goes on
        ("a = Slice(s, one, four, zero) y = Relu(a)", "float[3, 32] y", 32),
        # rows that are not whole vectors would be computed element by element
        ("a, b = Split<axis = 1, num_outputs = 2>(s) c = Sin(a) d = Cos(b) y = Add(c, d)",
         "float[6, 20] y", 40),
        # written straight to where it belongs
        ("a = Slice(s, one, four, zero) b = Slice(s, two, six, zero) y = Concat<axis = 0>(a, b)",
         "float[7, 32] y", 32),
    ],
)  # fmt: skip
def test_cuts_that_have_a_kernel(rest: str, outputs: str, columns: int) -> None:
    assert cutters(low(sliced(rest, outputs, columns))) != []


def test_a_start_that_is_computed_runs_on_the_host() -> None:
    proto = sliced(
        "i = Cast<to = 7>(n) a = Slice(s, i, six, zero) y = MatMul(a, w)", "float[m, 8] y"
    )
    start = onnx.helper.make_tensor_value_info("n", onnx.TensorProto.INT32, [1])
    proto.graph.input.append(start)
    assert check(proto, x=normal(6, 32), n=np.array([2], np.int32)) != []


def test_states_of_a_loop_are_cut_before_they_are_overwritten() -> None:
    proto = weighted(
        f"""g (float[6, 32] x, float[3, 32] t) => (float[6, 32] y, float[3, 32] z) {
            SLICES.replace("<", "<int64 rounds = {4}, bool yes = {1}, ")
        } {{
        y, z = Loop(rounds, yes, x, t) <body = body (int64 i, bool c, float[6, 32] p,
            float[3, 32] q) => (bool d, float[6, 32] r, float[3, 32] u) {{
            d = Identity(c)
            u = Slice(p, three, six, zero)
            a = Slice(p, zero, three, zero)
            b = Softmax(a)
            e = Add(q, b)
            r = Concat<axis = 0>(e, a)
        }}>
    }}"""
    )
    assert check(proto, x=normal(6, 32), t=normal(3, 32, seed=1)) == []


def test_what_is_cut_from_is_kept_until_all_of_it_has_been_read() -> None:
    proto = sliced(
        "a = Slice(s, one, four, zero) b = Softmax(s) c = Softmax(b) d = MatMul(c, w)"
        "e = MatMul(a, w) f = Slice(d, three, six, zero) y = Add(e, f)", "float[3, 8] y",
    )  # fmt: skip
    assert check(proto, x=normal(6, 32)) == []


def arena(lowered: Lowered) -> int:
    """Bytes of the temporaries of a model."""
    return plan_memory(Program(lowered.inputs, lowered.outputs, lowered.calls)).arena_bytes


@pytest.mark.parametrize(
    ("before", "after", "copied"),
    [
        ("a = Slice(s, one, two, zero)", "", ["slice"]),
        ("", "a = Slice(d, one, two, zero)", []),
    ],
)
def test_a_small_part_does_not_keep_a_large_value(
    before: str, after: str, copied: list[str]
) -> None:
    proto = sliced(
        f"{before} b = Softmax(s) c = Softmax(b) d = Softmax(c) {after}"
        "p = Softmax(d) q = ReduceSum(p) m = MatMul(a, w) y = Add(m, q)", "float[1, 8] y",
    )  # fmt: skip
    found = low(proto)
    assert cutters(found) == copied
    assert arena(found) < 3 * 6 * 32 * 4
    assert check(proto, x=normal(6, 32)) == []


def test_two_calls_at_once_have_parts_of_their_own() -> None:
    proto = weighted(
        f"g (float[2, 7, 16] x) => (float[2, 7, 16] y) {PARTS} {{"
        f"{PRODUCT} c = MatMul(a, u) d = MatMul(b, v) y = Sub(c, d) }}",
        w=(16, 64), u=(32, 16), v=(32, 16),
    )  # fmt: skip
    _, program = compile_program(prepared(proto), TARGET)
    artifact = build_artifact([program], TARGET, [], Provenance())
    feeds: list[Mapping[str, np.ndarray]] = [{"x": normal(2, 7, 16, seed=n)} for n in range(16)]
    alone = [artifact.run(each)["y"] for each in feeds]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: artifact.run(each)["y"], feeds * 8))
    for number, each in enumerate(found):
        np.testing.assert_array_equal(each, alone[number % len(alone)])


@pytest.mark.parametrize(
    ("shape", "within", "new", "wanted"),
    [
        ((2, 9, 32), (2, 9, 96), (2, 9, 2, 16), (2, 9, 6, 16)),
        ((1, 40, 1, 8, 15), (1, 40, 3, 8, 15), (1, 40, 8, 15), (1, 40, 24, 15)),
        ((2, 9, 32), (2, 9, 96), (18, 32), (18, 96)),
        ((4, 1, 6), (4, 1, 18), (4, 6), (4, 18)),
        ((4, 6), (4, 6), (24,), (24,)),
        # gaps that no sizes tell: half a head between rows, rows that are not equally far apart
        ((2, 9, 32), (2, 9, 40), (2, 9, 2, 16), None),
        ((2, 4, 32), (2, 6, 32), (8, 32), None),
        ((2, 4, 32), (2, 6, 32), (8, 2, 16), None),
        ((4, 6), (4, 9), (24,), None),
        ((0, 6), (0, 9), (0, 2, 3), None),
        ((4, 1), (4, 3), (4,), None),
    ],
)
def test_other_shapes_of_rows(
    shape: tuple[int, ...],
    within: tuple[int, ...],
    new: tuple[int, ...],
    wanted: tuple[int, ...] | None,
) -> None:
    found = reshaped_within(shape, within, new)
    assert found == wanted
    if found is not None:
        every = np.arange(np.prod(within)).reshape(within)
        part = every[tuple(slice(size) for size in shape)].reshape(new)
        steps = [int(np.prod(found[axis + 1 :])) for axis in range(len(new))]
        places = np.tensordot(steps, np.indices(new), 1)
        np.testing.assert_array_equal(part, places)


def test_rows_end_at_the_first_gap() -> None:
    assert row_length((4, 2, 16), (4, 6, 16)) == 32
    assert row_length((4, 6), (4, 6)) == 24
    assert row_length((1, 1), (3, 5)) == 1
    assert is_contiguous((1, 6), (4, 6)) and not is_contiguous((4, 3), (4, 6))
