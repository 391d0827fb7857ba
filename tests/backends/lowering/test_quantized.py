"""Values that are stored as bytes: who reads them, who writes them, and what that takes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering.lower import lower
from burnish.oracle import Oracle
from burnish.target import resolve
from tests.backends.lowering.models import check, lowered, model, normal, prepared
from tests.depth import few

GIVEN = "float s = {0.02}, uint8 z = {131}, float t = {0.05}, int8 m = {-7}"


def integers(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape, dtype)


def names(text: str) -> list[str]:
    """Operators that kernels are named after."""
    return [kernel.name.split("_", 1)[1] for kernel in lowered(text).kernels]


def test_a_chain_between_bytes_is_one_kernel() -> None:
    text = f"""g (uint8[2, 5, 7] a, int8[2, 5, 7] b) => (uint8[2, 5, 7] q) <{GIVEN}> {{
        x = DequantizeLinear(a, s, z) y = DequantizeLinear(b, t, m)
        c = Add(x, y) h = HardSwish(c) q = QuantizeLinear(h, s, z) }}"""
    assert names(text) == ["quantizelinear"]
    feeds = {"a": integers(2, 5, 7), "b": integers(2, 5, 7, dtype=np.int8)}
    assert check(model(text), **feeds) == []


def test_a_chain_goes_on_behind_bytes_that_nobody_else_reads() -> None:
    text = f"""g (float[4, 6] x, float[4, 6] y) => (uint8[4, 6] q) <{GIVEN}> {{
        a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z)
        c = Add(b, y) q = QuantizeLinear(c, t, z) }}"""
    assert names(text) == ["quantizelinear"]
    assert check(model(text), x=normal(4, 6) * 4, y=normal(4, 6, seed=1)) == []


def test_bytes_that_others_read_are_stored() -> None:
    text = f"""g (float[4, 6] x) => (uint8[4, 6] a, uint8[4, 6] q) <{GIVEN}> {{
        a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z)
        c = Neg(b) q = QuantizeLinear(c, t, z) }}"""
    assert names(text) == ["quantizelinear", "quantizelinear"]
    assert check(model(text), x=normal(4, 6)) == []


READERS = {
    "softmax": "{y} = Softmax<axis = 1>(x)",
    "log_softmax": "{y} = LogSoftmax(x)",
    "norm": "{y} = LayerNormalization<axis = -1>(x, w)",
    "rms": "{y} = RMSNormalization<axis = -1>(x, w)",
    "max_pool": "{y} = MaxPool<kernel_shape = [2, 2], pads = [1, 0, 1, 1]>(x)",
    "average_pool": "{y} = AveragePool<kernel_shape = [3, 2], pads = [1, 1, 1, 0]>(x)",
    "padded": "{y} = AveragePool<kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1>(x)",
    "ceiled": "{y} = AveragePool<kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1>(x)",
    "global": "{y} = GlobalAveragePool(x)",
    "global_max": "{y} = GlobalMaxPool(x)",
    "nearest": "{y} = Resize(x, , twice)",
    "linear": '{y} = Resize<mode = "linear">(x, , twice)',
    "cubic": '{y} = Resize<mode = "cubic">(x, , twice)',
    "concat": "n = Neg(x) {y} = Concat<axis = 1>(x, n, x)",
    "pad": "{y} = Pad(x, pads)",
    "reflect": '{y} = Pad<mode = "reflect">(x, pads)',
    "mean": "{y} = ReduceMean<keepdims = 0>(x, axes)",
    "sum": "{y} = ReduceSum(x, axes)",
    "largest": "{y} = ReduceMax(x, axes)",
    "transpose": "{y} = Transpose<perm = [0, 2, 1, 3]>(x)",
    "reshape": "{y} = Reshape(x, flat)",
    "slice": "{y} = Slice(x, one, three, two)",
    "gather": "{y} = Gather<axis = 2>(x, places)",
    "where": "less = Less(x, v) {y} = Where(less, x, v)",
    "product": "{y} = MatMul(x, k)",
    "products": "r = Transpose<perm = [0, 1, 3, 2]>(x) {y} = MatMul(x, r)",
    "conv": "{y} = Conv<pads = [1, 1, 1, 1]>(x, f)",
    "depthwise": "{y} = Conv<group = 6>(x, d)",
    "deconv": "{y} = ConvTranspose<strides = [2, 2]>(x, f)",
    "attention": "{y} = Attention(x, x, x)",
    "instance": "{y} = InstanceNormalization(x, six, six)",
    "group": "{y} = GroupNormalization<num_groups = 3>(x, six, six)",
    "arg": "{y} = ArgMax<axis = 3>(x)",
    "tile": "{y} = Tile(x, repeats)",
    "cumulate": "{y} = CumSum(x, axis)",
    "top": "{y}, i = TopK(x, one)",
    "output": "{y} = Identity(x)",
}
WEIGHTS = """float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[4] twice = {1, 1, 2, 2},
    int64[8] pads = {0, 0, 1, 2, 0, 0, 2, 1}, int64[2] axes = {2, 3}, int64[2] flat = {12, 40},
    int64[1] one = {1}, int64[1] three = {4}, int64[1] two = {2}, int64[2] places = {3, 0},
    float v = {0.5}, int64[4] repeats = {1, 2, 1, 2}, int64 axis = {2},
    float[6] six = {1, -2, 3, -4, 5, -6}"""


@pytest.mark.parametrize("parameters", ["(q, s, z)", "<axis = 1> (q, c, e)"])
def test_everything_reads_bytes(parameters: str) -> None:
    axes = {name: 2 if name in ("mean", "reshape") else 4 for name in READERS}
    outputs = ", ".join(
        f"{'int64' if name == 'arg' else 'float'}[{', '.join(f'{name}{i}' for i in range(rank))}]"
        f" y_{name}"
        for name, rank in axes.items()
    )
    calls = " ".join(call.format(y=f"y_{name}") for name, call in READERS.items())
    text = f"""g (uint8[2, 6, 5, 8] q, float[8, 5] k, float[6, 6, 3, 3] f, float[6, 1, 3, 3] d)
        => ({outputs}) <{GIVEN}, {WEIGHTS}, float[6] c = {{0.01, 0.02, 0.03, 0.04, 0.05, 0.06}},
        uint8[6] e = {{0, 128, 255, 7, 9, 100}}> {{ x = DequantizeLinear {parameters} {calls} }}"""
    feeds = {"k": normal(8, 5), "f": normal(6, 6, 3, 3), "d": normal(6, 1, 3, 3)}
    assert check(model(text, 23), 2e-5, q=integers(2, 6, 5, 8), **feeds) == []


TARGETS = ("cpu", "x86-64-v2", "x86-64-v3", "x86-64-v4")
"""The first with all that this machine has for integers."""
ODD_SIZES = (1, 15, 64, 65, 130)


def run(text: str, target: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Results of a model compiled for ``target``, which this machine has to be."""
    resolved = resolve(target, 1).for_integers() if target == "cpu" else resolve(target, 1)
    if resolved.features - resolve("cpu").for_integers().features:
        pytest.skip("needs a better processor")
    _, program = compile_program(prepared(model(text)), resolved)
    return dict(build_artifact([program], resolved, [], Provenance()).run(inputs))


@pytest.mark.parametrize("target", TARGETS)
def test_rounding_is_exact_everywhere(target: str) -> None:
    zeros = {"uint8": 131, "int8": -7}
    outputs = ", ".join(f"{dtype}[{n}] {dtype}_{n}" for dtype in zeros for n in ODD_SIZES)
    inputs = ", ".join(f"float[{n}] x{n}" for n in ODD_SIZES)
    held = ", ".join(f"{dtype} {dtype}_z = {{{zero}}}" for dtype, zero in zeros.items())
    calls = " ".join(
        f"{dtype}_{n} = QuantizeLinear(x{n}, s, {dtype}_z)" for dtype in zeros for n in ODD_SIZES
    )
    text = f"g ({inputs}) => ({outputs}) <float s = {{0.25}}, {held}> {{ {calls} }}"
    feeds, odd = {}, [0.125, 0.375, -0.125, -0.375, 1e30, -1e30, np.inf, -np.inf, 31.8, -33.1, 0.0]
    for n in ODD_SIZES:
        values = np.round(normal(n, seed=n) * 40, 1)
        values[-len(odd) :] = odd[:n]
        feeds[f"x{n}"] = values.astype(np.float32)
    found = run(text, target, **feeds)
    for dtype, zero in zeros.items():
        limits = np.iinfo(dtype)
        for n in ODD_SIZES:
            exact = np.clip(np.rint(feeds[f"x{n}"] / 0.25) + zero, limits.min, limits.max)
            np.testing.assert_array_equal(found[f"{dtype}_{n}"], exact.astype(dtype))


@pytest.mark.parametrize("target", ["cpu", "x86-64-v2"])
def test_what_is_no_number_becomes_the_least(target: str) -> None:
    text = f"g (float[70] x) => (uint8[70] q) <{GIVEN}> {{ q = QuantizeLinear(x, s, z) }}"
    found = run(text, target, x=np.full(70, np.nan, np.float32))["q"]
    assert set(found.tolist()) == {0}


@given(
    scales=st.tuples(*[st.sampled_from([2.0**-7, 0.02, 0.7, 3.0])] * 3),
    zeros=st.tuples(*[st.integers(0, 255)] * 3),
    size=st.sampled_from([5, 64, 100]),
)
@settings(max_examples=few(3), deadline=None)
def test_sums_are_within_a_step(
    scales: tuple[float, ...], zeros: tuple[int, ...], size: int
) -> None:
    numbers = ", ".join(
        f"float s{i} = {{{scales[i]}}}, uint8 z{i} = {{{zeros[i]}}}" for i in range(3)
    )
    text = f"""g (uint8[3, {size}] a, uint8[3, {size}] b) => (uint8[3, {size}] q) <{numbers}> {{
        x = DequantizeLinear(a, s0, z0) y = DequantizeLinear(b, s1, z1)
        c = Sub(x, y) q = QuantizeLinear(c, s2, z2) }}"""
    a, b = integers(3, size), integers(3, size, seed=1)
    found = run(text, "cpu", a=a, b=b)["q"]
    real = (a.astype(float) - zeros[0]) * np.float32(scales[0])
    real = (real - (b.astype(float) - zeros[1]) * np.float32(scales[1])) / np.float32(scales[2])
    # Only what lies halfway may go either way.
    np.testing.assert_allclose(found, np.clip(real + zeros[2], 0, 255), atol=0.5 + 1e-4)


@pytest.mark.parametrize(
    ("target", "dtype", "zero"),
    [
        ("cpu", "uint8", 131),
        ("cpu", "int8", -7),
        ("x86-64-v3", "int8", 3),
        ("x86-64-v4", "uint8", 0),
    ],
)
def test_functions_of_a_byte_are_those_of_the_model(target: str, dtype: str, zero: int) -> None:
    chains = {
        "h": "y = HardSwish(x)", "s": "y = Sigmoid(x)", "g": "y = Gelu(x)", "i": "y = Identity(x)",
        "m": "a = Tanh(x) b = Mul(a, x) c = Abs(b) d = Sqrt(c) y = Add(d, full)",
    }  # fmt: skip
    calls = ""
    for name, chain in chains.items():
        for value in ("y", "a", "b", "c", "d"):
            chain = re.sub(rf"\b{value}\b", value + name, chain)
        calls += f"{chain} q{name} = QuantizeLinear(y{name}, s, z) "
    outputs = ", ".join(f"{dtype}[2, 130] q{name}" for name in chains)
    text = f"""g ({dtype}[2, 130] q) => ({outputs}) <float s = {{0.03}}, {dtype} z = {{{zero}}},
        float[2, 1] full = {{0.25, 0.25}}> {{ x = DequantizeLinear(q, s, z) {calls} }}"""
    q = np.resize(np.arange(256, dtype=np.uint8), (2, 130)).view(dtype)
    found = run(text, target, q=q)
    for name, value in Oracle(model(text), threads=1).run({"q": q}).items():
        # Tables are exact; what adds and multiplies may round to the other side of halfway.
        assert np.abs(found[name].astype(int) - value.astype(int)).max() <= 1, name
        assert (found[name] != value).mean() < 0.02, name


@pytest.mark.parametrize(
    ("chain", "is_table"),
    [
        ("y = Gelu(x)", True),
        ("t1 = Transpose<perm = [1, 0]>(x) y = Gelu(t1)", True),
        ("y = Add(x, other)", False),
        ("y = Mul(x, row)", False),
        ("w = DequantizeLinear(q, t, z) y = Add(x, w)", True),
        ("y = CumSum(x, axis)", False),
    ],
)
def test_tables_are_for_functions_of_one_byte(chain: str, is_table: bool) -> None:
    text = f"""g (uint8[16, 16] q, float[16, 16] other) => (uint8[16, 16] r) <{GIVEN},
        float[16] row = {{1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 9}}, int64 axis = {{1}}> {{
        x = DequantizeLinear(q, s, z) {chain} r = QuantizeLinear(y, s, z) }}"""
    target = resolve("x86-64-v4+avx512vbmi").for_integers()
    kernels = lower(prepared(model(text)), target).kernels
    assert any("burnish_looked_up" in str(kernel.func) for kernel in kernels) == is_table


def test_no_table_without_known_parameters_or_where_arithmetic_is_faster() -> None:
    text = """g (uint8[64] q, float s, uint8 z) => (uint8[64] r) {
        x = DequantizeLinear(q, s, z) y = Gelu(x) r = QuantizeLinear(y, s, z) }"""
    simple = f"""g (uint8[64] q) => (uint8[64] r) <{GIVEN}> {{
        x = DequantizeLinear(q, s, z) y = Neg(x) r = QuantizeLinear(y, s, z) }}"""
    for case, target in ((text, "x86-64-v3"), (simple, "x86-64-v3"), (simple, "x86-64-v4")):
        (kernel,) = lower(prepared(model(case)), resolve(target)).kernels
        assert "burnish_looked_up" not in str(kernel.func)


def test_bytes_are_turned_in_squares() -> None:
    shapes = [(1, 16, 16), (2, 17, 33), (1, 40, 100), (3, 5, 64)]
    inputs = ", ".join(f"uint8[{a}, {b}, {c}] x{i}" for i, (a, b, c) in enumerate(shapes))
    outputs = ", ".join(f"uint8[{a}, {c}, {b}] y{i}" for i, (a, b, c) in enumerate(shapes))
    calls = " ".join(f"y{i} = Transpose<perm = [0, 2, 1]>(x{i})" for i in range(len(shapes)))
    text = f"g ({inputs}) => ({outputs}) {{ {calls} }}"
    feeds = {f"x{i}": integers(*shape, seed=i) for i, shape in enumerate(shapes)}
    assert check(model(text), **feeds) == []


def test_single_numbers_are_no_operands_of_a_kernel() -> None:
    steps, last = "", "x"
    for i in range(6):
        steps += f"a{i} = Mul({last}, f{i}) b{i} = QuantizeLinear(a{i}, s{i}, z) "
        steps += f"c{i} = DequantizeLinear(b{i}, s{i}, z) "
        last = f"c{i}"
    numbers = ", ".join(f"float f{i} = {{1.{i}}}, float s{i} = {{0.0{i + 1}}}" for i in range(6))
    text = f"""g (float[40] x) => (float[40] y) <{numbers}, uint8 z = {{128}}> {{
        {steps} y = Neg({last}) }}"""
    assert names(text) == ["neg"]
    assert check(model(text), 0.02, x=normal(40)) == []


def test_what_is_made_of_bytes_beside_a_chain_is_not_stored() -> None:
    text = f"""g (uint8[8, 16] a, int8[8, 16] b, float[8, 16] x) => (float[8, 16] y, float[8, 16] v)
        <{GIVEN}> {{
        c = Cast<to = 1>(a) d = Mul(c, s) e = Cast<to = 1>(b) f = Mul(e, t)
        h = Add(d, f) y = Tanh(h)
        i = Abs(x) j = Neg(x) k = Exp(j) v = Add(i, k) }}"""
    # What would have been floats anyhow keeps a kernel of its own.
    assert names(text) == ["tanh", "exp", "add"]
    feeds = {"a": integers(8, 16), "b": integers(8, 16, dtype=np.int8), "x": normal(8, 16)}
    assert check(model(text), **feeds) == []
