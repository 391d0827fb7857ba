"""Products and convolutions of bytes against sums in 64 bits: every element is to be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product as combinations
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering import integers
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.target import Target, resolve
from tests.depth import few, mostly_slow

Bytes = NDArray[np.generic]

HOST = resolve("cpu", threads=2)
DIFFERENT = ("x86-64-v2", "x86-64-v3", "x86-64-v4+avx512vnni")
SIGNS = list(combinations(("uint8", "int8"), repeat=2))


def runs(target: Target) -> bool:
    """Whether this machine runs what is compiled for ``target``."""
    return target.arch == HOST.arch and target.features <= HOST.features | HOST.extensions


def forms() -> list[Target]:
    """Each way to sum products of bytes."""
    names = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v3+avxvnni", "x86-64-v4+avx512vnni")
    return [resolve(name, threads=2).for_integers() for name in names]


def different_forms() -> list[Any]:
    """Sums with and without instructions that may saturate; others are as one of these, wider."""
    return mostly_slow(forms(), [form for form in forms() if form.name in DIFFERENT])


@dataclass
class Case:
    """One operator with constant weights."""

    op: str
    x: Bytes
    weights: Bytes
    x_zero: Bytes | None = None
    w_zero: Bytes | None = None
    attributes: dict[str, object] = field(default_factory=dict)

    @property
    def expected(self) -> Bytes:
        """The result by sums in 64 bits."""
        x_zero = np.int64(0) if self.x_zero is None else self.x_zero.astype(np.int64)
        w_zero = np.int64(0) if self.w_zero is None else self.w_zero.astype(np.int64)
        weights = self.weights.astype(np.int64)
        if self.op == "MatMulInteger":
            if x_zero.ndim == 1:
                x_zero = x_zero[:, None]
            return (self.x.astype(np.int64) - x_zero) @ (weights - w_zero)
        w_zero = w_zero.reshape(-1, *(1 for _ in weights.shape[1:]))
        return convolve(self.x.astype(np.int64) - x_zero, weights - w_zero, **self.attributes)


def convolve(
    x: Bytes,
    weights: Bytes,
    *,
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
    dilations: Sequence[int] = (),
    group: int = 1,
) -> Bytes:
    """A convolution of any number of axes, one kernel position after the other."""
    rank = x.ndim - 2
    pads = list(pads) or [0] * (2 * rank)
    strides, dilations = list(strides) or [1] * rank, list(dilations) or [1] * rank
    sides = [(pads[i], pads[i + rank]) for i in range(rank)]
    padded = np.pad(x, [(0, 0), (0, 0), *sides])
    kernel = weights.shape[2:]
    sizes = [
        (padded.shape[i + 2] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in range(rank)
    ]
    grouped = weights.reshape(group, -1, *weights.shape[1:])
    total = np.zeros((len(x), group, grouped.shape[1], *sizes), np.int64)
    for tap in np.ndindex(*kernel):
        part = padded[(..., *(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilations, sizes, strides, strict=True)
        ))]  # fmt: skip
        split = part.reshape(len(x), group, -1, *sizes)
        total += np.einsum("ngc...,goc->ngo...", split, grouped[(..., *tap)])
    return total.reshape(len(x), -1, *sizes)


def check(cases: Sequence[Case], target: Target, *, computed: bool = False) -> list[str]:
    """Compile all into one artifact and run it; what its kernels are.

    Zero points of activations are inputs as well if they are ``computed``.
    """
    nodes, inputs, outputs, constants = [], [], [], []
    feeds = {}
    for number, case in enumerate(cases):
        names = [f"{letter}{number}" for letter in "xwzv"]
        types = [onnx.helper.np_dtype_to_tensor_dtype(case.x.dtype), onnx.TensorProto.INT32]
        inputs.append(onnx.helper.make_tensor_value_info(names[0], types[0], case.x.shape))
        held = zip(names[1:], (case.weights, case.x_zero, case.w_zero), strict=True)
        given = {name: array for name, array in held if array is not None}
        feeds |= {names[0]: case.x}
        if computed and case.x_zero is not None:
            feeds[names[2]] = given.pop(names[2])
            zero = feeds[names[2]].shape
            inputs.append(onnx.helper.make_tensor_value_info(names[2], types[0], zero))
        constants += [onnx.numpy_helper.from_array(array, name) for name, array in given.items()]
        outputs.append(
            onnx.helper.make_tensor_value_info(f"y{number}", types[1], case.expected.shape)
        )
        used = [name if name in given or name in feeds else "" for name in names]
        while not used[-1]:
            used.pop()
        nodes.append(onnx.helper.make_node(case.op, used, [f"y{number}"], **case.attributes))
    opsets = [onnx.helper.make_opsetid("", 21)]
    made = onnx.helper.make_graph(nodes, "g", inputs, outputs, constants)
    graph = Graph.from_onnx(onnx.helper.make_model(made, opset_imports=opsets, ir_version=10))
    run_pass(graph, get_pass("infer-shapes"), PassContext(target=target))
    lowered, program = compile_program(graph, target)
    if runs(target):
        artifact = build_artifact([program], target, [], Provenance())
        results = artifact.run(feeds)
        for number, case in enumerate(cases):
            np.testing.assert_array_equal(
                results[f"y{number}"], case.expected.astype(np.int32), f"case {number}"
            )
    return [str(kernel.func) for kernel in lowered.kernels]


def quads(functions: Sequence[str]) -> int:
    """Kernels that sum four products at a time."""
    return sum("burnish.quads" in function for function in functions)


def drawn(dtype: str, *shape: int, seed: int = 0) -> Bytes:
    """Bytes of any value."""
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(seed)
    return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def first_layers(a: str, b: str) -> list[Case]:
    """Kernel positions as channels, with outputs at borders or without any away from them."""
    zero, few = np.array(9, a), {"pads": [2, 2, 2, 2]}
    sides = {"pads": [1, 2, 1, 2]}
    return [
        Case("ConvInteger", drawn(a, 2, 3, 23, 21), drawn(b, 20, 3, 7, 7), zero, None,
             {"pads": [3, 3, 3, 3], "strides": [2, 2]}),
        Case("ConvInteger", drawn(a, 1, 3, 9, 7), drawn(b, 20, 3, 3, 3), zero, None,
             {"pads": [1, 1, 1, 1]}),
        Case("ConvInteger", drawn(a, 1, 1, 9, 7), drawn(b, 20, 1, 5, 5), zero, None, few),
        Case("ConvInteger", drawn(a, 1, 3, 40), drawn(b, 20, 3, 8), zero, None,
             {"pads": [0, 3], "strides": [4]}),
        Case("ConvInteger", drawn(a, 1, 6, 4, 3), drawn(b, 20, 6, 3, 3), zero, None, sides),
        Case("ConvInteger", drawn(a, 1, 6, 4, 2), drawn(b, 20, 6, 3, 3), zero, None, sides),
        Case("ConvInteger", drawn(a, 1, 1, 12), drawn(b, 20, 1, 9), zero, None, {"pads": [8, 8]}),
        Case("ConvInteger", drawn(a, 1, 3, 9, 7), drawn(b, 20, 3, 3, 3), zero, None,
             {"pads": [0, 0, 1, 3], "dilations": [2, 1], "strides": [1, 3]}),
    ]  # fmt: skip


def products(a: str, b: str) -> list[Case]:
    """Rows, depths and columns that vectors and quads do not divide."""
    zero = np.array(3, a)
    return [
        Case("MatMulInteger", drawn(a, 7, 64), drawn(b, 64, 40), zero),
        Case("MatMulInteger", drawn(a, 2, 5, 33), drawn(b, 33, 16), zero),
        Case("MatMulInteger", drawn(a, 3, 7), drawn(b, 7, 3)),
        *(Case("MatMulInteger", drawn(a, 5, depth), drawn(b, depth, 5), zero) for depth in (1, 6)),
    ]


def convolutions(a: str, b: str) -> list[Case]:
    """Borders, strides, dilations, groups, from one to three axes."""
    zero = np.array(5, a)
    pads = {"pads": [1, 1, 1, 1]}
    return [
        Case("ConvInteger", drawn(a, 1, 16, 9, 9), drawn(b, 24, 16, 1, 1), zero),
        Case("ConvInteger", drawn(a, 2, 8, 9, 11), drawn(b, 24, 8, 3, 3), zero, None, pads),
        Case("ConvInteger", drawn(a, 1, 5, 9, 11), drawn(b, 9, 5, 3, 3), zero, None,
             {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
        Case("ConvInteger", drawn(a, 1, 12, 7, 6), drawn(b, 8, 6, 3, 3), zero, None,
             {"group": 2, **pads}),
        Case("ConvInteger", drawn(a, 1, 6, 7, 6), drawn(b, 9, 2, 3, 2), zero, None, {"group": 3}),
        Case("ConvInteger", drawn(a, 2, 6, 19), drawn(b, 8, 6, 5), zero, None, {"pads": [4, 2]}),
        Case("ConvInteger", drawn(a, 1, 4, 4, 5, 6), drawn(b, 8, 4, 2, 3, 3), zero, None,
             {"pads": [0, 1, 1, 1, 1, 1]}),
    ]  # fmt: skip


@pytest.mark.parametrize("target", forms(), ids=lambda target: target.name)
def test_every_form_is_exact(target: Target) -> None:
    # Columns beside whole vectors and fewer than one; borders, and depths that quads do not divide.
    cases = [*products("int8", "int8")[:3:2], *convolutions("uint8", "int8")[1:3]]
    assert quads(check(cases, target)) == len(cases)


@pytest.mark.parametrize("signs", SIGNS, ids="-".join)
def test_all_signs_are_exact(signs: tuple[str, str]) -> None:
    first, *rest = products(*signs)
    same, border, odd, *others = convolutions(*signs)
    # Each sign meets odd depths and borders, and all signs together meet everything.
    number = SIGNS.index(signs)
    cases = [rest[0], border, odd, *[first, *rest[1:], same, *others][number :: len(SIGNS)]]
    # Weights of more than 8 bits need sums of activations as well.
    expected = len(cases) * (1 if signs[1] == "int8" else 2)
    assert quads(check(cases, HOST.for_integers())) in (expected, 0)


@pytest.mark.parametrize("signs", [("uint8", "int8"), ("int8", "uint8")], ids="-".join)
def test_zero_points_that_are_computed(signs: tuple[str, str]) -> None:
    a, b = signs
    rows = Case("MatMulInteger", drawn(a, 5, 36), drawn(b, 36, 20), drawn(a, 5))
    cases = [*products(*signs)[:2], *convolutions(*signs)[1:3], first_layers(*signs)[1], rows]
    check(cases, HOST.for_integers(), computed=True)


@st.composite
def some_case(draw: st.DrawFn) -> Case:
    """A small convolution or product with anything that these may have."""
    a, b = draw(st.sampled_from(SIGNS))
    seed, small = draw(st.integers(0, 99)), st.integers(1, 9)
    zero = drawn(a, 1, seed=seed)[0] if draw(st.booleans()) else None
    if draw(st.booleans()):
        rows, depth, columns = draw(small), draw(st.integers(1, 40)), draw(st.integers(1, 70))
        w_zero = drawn(b, *draw(st.sampled_from([(), (columns,)])), seed=seed)
        x, w = drawn(a, rows, depth, seed=seed), drawn(b, depth, columns, seed=seed)
        return Case("MatMulInteger", x, w, zero, np.asarray(w_zero))
    rank = draw(st.integers(1, 3))
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel, strides, dilations = draw(each), draw(each), draw(each)
    pads = draw(st.lists(st.integers(0, 3), min_size=2 * rank, max_size=2 * rank))
    group, depth = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    columns = group * draw(st.integers(1, 20))
    sizes = [
        max(1, (k - 1) * d + 1 - pads[i] - pads[i + rank]) + draw(st.integers(0, 6))
        for i, (k, d) in enumerate(zip(kernel, dilations, strict=True))
    ]
    x = drawn(a, draw(st.integers(1, 2)), group * depth, *sizes, seed=seed)
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    w = drawn(b, columns, depth, *kernel, seed=seed)
    return Case("ConvInteger", x, w, zero, np.asarray(drawn(b, 1, seed=seed)[0]), attributes)


@settings(max_examples=few(2), deadline=None)
@given(st.lists(some_case(), min_size=4, max_size=6))
def test_any_sizes(cases: list[Case]) -> None:
    check(cases, HOST.for_integers())


def test_plain_sums_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "X86", "elsewhere")
    _, *others, several_axes = convolutions("int8", "uint8")
    cases = [*products("uint8", "int8")[::2], *others[:3], several_axes]
    assert quads(check(cases, HOST)) == 0


@pytest.mark.parametrize("target", different_forms(), ids=lambda target: target.name)
def test_the_largest_sums_do_not_saturate(target: Target) -> None:
    """Products of 255 and -128, of which 16 bits hold no two, and zero points that double them."""
    ends = [(255, -128), (255, 127)]
    cases = []
    for x, w in ends:
        values = np.full((3, 72), x, np.uint8), np.full((72, 20), w, np.int8)
        cases.append(Case("MatMulInteger", *values))
        cases.append(Case("MatMulInteger", *values, np.array(255, np.uint8)))
    low = np.full((3, 72), -128, np.int8), np.full((72, 20), 127, np.int8)
    cases.append(Case("MatMulInteger", *low, np.array(127, np.int8)))
    check(cases, target)


def test_first_layers() -> None:
    cases = [*first_layers("uint8", "int8"), *first_layers("int8", "uint8")[:2]]
    assert quads(check(cases, HOST.for_integers())) in (len(cases) + 2, 0)


@pytest.mark.parametrize("target", forms()[1:3], ids=lambda target: target.name)
def test_results_become_bytes(target: Target) -> None:
    """Half way between two, beyond either end; whole vectors, tails and rows computed twice."""
    if not runs(target):
        pytest.skip("needs the instructions")
    sizes = [(1, 40), (9, 64), (23, 150), (23, 16), (9, 70), (5, 96)]
    inputs, outputs, body, held = [], [], [], {}
    feeds, expected = {}, {}
    for number, (rows, columns) in enumerate(sizes):
        a, w = drawn("uint8", rows, 36, seed=number), drawn("int8", 36, columns)
        bias = np.random.default_rng(1).integers(-400, 400, columns).astype(np.float32) / 4
        held |= {f"w{number}": w, f"b{number}": bias}
        feeds[f"x{number}"] = a
        inputs.append(f"uint8[{rows}, 36] x{number}")
        inputs += [f"int8[36, {columns}] w{number}", f"float[{columns}] b{number}"]
        outputs += [f"uint8[{rows}, {columns}] y{number}", f"int8[{rows}, {columns}] z{number}"]
        for result, quantize in (("y", "T"), ("z", "Relu(T)")):
            t = f"{result}t{number}"
            body += [f"{t}i = MatMulInteger(x{number}, w{number}, a) {t}c = Cast<to = 1>({t}i)",
                     f"{t}m = Mul({t}c, f) {t}n = Add({t}m, b{number})"]  # fmt: skip
            last = f"{t}n"
            if quantize != "T":
                body.append(f"{t}r = Relu({t}n)")
                last = f"{t}r"
            body.append(f"{result}{number} = QuantizeLinear({last}, s, {result}z)")
        sums = Case("MatMulInteger", a, w, np.array(7)).expected * 2.0**-8 + bias
        expected[f"y{number}"] = np.clip(np.rint(sums * 2) + 101, 0, 255).astype(np.uint8)
        low = np.rint(np.maximum(sums, 0) * 2) - 3
        expected[f"z{number}"] = np.clip(low, -128, 127).astype(np.int8)
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
        g ({", ".join(inputs)}) => ({", ".join(outputs)})
        <uint8 a = {{7}}, float f = {{0.00390625}}, float s = {{0.5}}, uint8 yz = {{101}},
         int8 zz = {{-3}}> {{ {" ".join(body)} }}"""
    model = onnx.parser.parse_model(text)
    kept = [value for value in model.graph.input if value.name in feeds]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(x, k) for k, x in held.items())
    graph = Graph.from_onnx(model)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    lowered, program = compile_program(graph, target)
    assert len(lowered.kernels) == 2 * len(sizes)
    results = build_artifact([program], target, [], Provenance()).run(feeds)
    for name, array in expected.items():
        np.testing.assert_array_equal(results[name], array, name)


def test_functions_between_sums_and_bytes() -> None:
    """Their polynomials bind names, in each of the vectors that become bytes together."""
    functions = ("Erf", "Tanh", "Sigmoid", "Exp")
    calls = " ".join(
        f"""i{n} = MatMulInteger(x, w) c{n} = Cast<to = 1>(i{n}) m{n} = Mul(c{n}, f)
        e{n} = {n}(m{n}) q{n} = QuantizeLinear(e{n}, s, z) d{n} = DequantizeLinear(q{n}, s, z)
        p{n} = Mul(d{n}, m{n}) y{n} = QuantizeLinear(p{n}, t, z)"""
        for n in functions
    )
    outputs = ", ".join(f"uint8[9, 70] y{n}" for n in functions)
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
        g (uint8[9, 36] x, int8[36, 70] w) => ({outputs}) <float f = {{0.0001}},
        float s = {{0.01}}, uint8 z = {{128}}, float t = {{0.005}}> {{ {calls} }}"""
    model = onnx.parser.parse_model(text)
    del model.graph.input[1:]
    w = drawn("int8", 36, 70)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    graph = Graph.from_onnx(model)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    feeds = {"x": drawn("uint8", 9, 36)}
    expected = Oracle(graph).run(feeds)
    lowered, program = compile_program(graph, HOST.for_integers())
    assert len(lowered.kernels) == len(functions)
    assert not lowered.refusals
    results = build_artifact([program], HOST.for_integers(), [], Provenance()).run(feeds)
    for name, array in expected.items():
        steps = np.abs(results[name].astype(int) - array)
        assert np.mean(steps > 0) < 0.01, f"{name}: ties only"
        assert steps.max() <= 2, name


def test_zero_points_of_weights_that_leave_8_bits() -> None:
    """128 leaves 8 bits of all weights, others of some channels only."""
    half, each = np.array(128, np.uint8), drawn("uint8", 20)
    a, w = drawn("uint8", 5, 36), drawn("uint8", 36, 20)
    x, v = drawn("uint8", 1, 6, 5, 5), drawn("uint8", 20, 3, 3, 3)
    pads = {"pads": [1, 1, 1, 1], "group": 2}
    centred = [
        Case("MatMulInteger", a, w, half, half),
        Case("ConvInteger", x, v, half, half, pads),
    ]
    assert len(centred) == quads(check(centred, HOST.for_integers())) or HOST.arch != "x86_64"
    check(
        [
            Case("MatMulInteger", a, w, half, each),
            Case("MatMulInteger", a, w, drawn("uint8", 5), each),
            Case("ConvInteger", x, v, half, each, pads),
            Case("ConvInteger", x.view(np.int8), v, None, each, pads),
        ],
        HOST.for_integers(),
    )
