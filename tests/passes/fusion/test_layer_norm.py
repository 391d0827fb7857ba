"""recognise-layer-norm: the spellings of exporters, and what only looks like one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-layer-norm"
RNG = np.random.default_rng(3)
SCALE, BIAS = RNG.standard_normal((2, 8)).astype(np.float32)
EPS = np.float32(1e-5)
TWO = np.float32(2)

VARIANCES = {
    "pow": "q = Pow(c, two) v = ReduceMean<axes = [-1]>(q)",
    "mul": "q = Mul(c, c) v = ReduceMean<axes = [-1]>(q)",
    "twice": "d = Sub(x, m) q = Pow(d, two) v = ReduceMean<axes = [2]>(q)",
}
QUOTIENTS = {
    "sqrt": "s = Sqrt(e) n = Div(c, s)",
    "reciprocal": "s = Sqrt(e) r = Reciprocal(s) n = Mul(c, r)",
    "one-over": "s = Sqrt(e) r = Div(one, s) n = Mul(r, c)",
    "power": "n0 = Pow(e, half) n = Div(c, n0)",
    "negative-power": "n0 = Pow(e, minus) n = Mul(c, n0)",
}
NUMBERS = {
    "two": TWO, "eps": EPS, "one": np.float32(1), "half": np.float32(0.5),
    "minus": np.float32(-0.5), "scale": SCALE, "bias": BIAS,
}  # fmt: skip
HEAD = "m = ReduceMean<axes = [-1]>(x) c = Sub(x, m)"
DECLARED = ", ".join(f"float {name}" for name in NUMBERS)


def model(body: str, result: str = "float y", shape: str = "2, 3, 8") -> str:
    return f"g (float[{shape}] x, {DECLARED}) => ({result}) {{ {body} }}"


def attributes(graph: Graph) -> tuple[int, float]:
    node = next(n for n in graph if "Normalization" in n.op_type)
    return node.attribute("axis"), round(node.attribute("epsilon"), 7)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("quotient", QUOTIENTS)
def test_every_spelling(fires: Callable[..., Graph], variance: str, quotient: str) -> None:
    body = f"{HEAD} {VARIANCES[variance]} e = Add(eps, v) {QUOTIENTS[quotient]} "
    text = model(body + "t = Mul(scale, n) y = Add(t, bias)")
    rules = ("layer-norm", "normalization-scale", "normalization-bias")
    graph = fires(NAME, text, *rules, opset=17, **NUMBERS)
    assert [node.op_type for node in graph] == ["LayerNormalization"]
    assert attributes(graph) == (-1, 1e-5)


@pytest.mark.parametrize(("tail", "rules"), [
    ("y = Identity(n)", ()),
    ("y = Mul(n, scale)", ("normalization-scale",)),
    ("y = Add(bias, n)", ("normalization-bias",)),
    ("t = Mul(n, two) y = Add(t, eps)", ("normalization-scale", "normalization-bias")),
])  # fmt: skip
def test_missing_parameters(fires: Callable[..., Graph], tail: str, rules: tuple[str, ...]) -> None:
    body = f"{HEAD} {VARIANCES['pow']} e = Add(v, eps) {QUOTIENTS['sqrt']} {tail}"
    fires(NAME, model(body), "layer-norm", *rules, opset=17, **NUMBERS)


def test_axes_as_input_since_opset_18(fires: Callable[..., Graph]) -> None:
    body = """
        m = ReduceMean(x, axes) c = Sub(x, m) q = Mul(c, c) v = ReduceMean(q, axes)
        e = Add(v, eps) s = Sqrt(e) y = Div(c, s)"""
    text = model(body).replace("(float[2, 3, 8] x,", "(float[2, 3, 8] x, int64 axes,")
    graph = fires(NAME, text, "layer-norm", axes=np.array([1, 2]), **NUMBERS)
    assert attributes(graph) == (-2, 1e-5)


def test_over_channels_is_transposed(fires: Callable[..., Graph]) -> None:
    body = """
        m = ReduceMean<axes = [1]>(x) c = Sub(x, m) q = Pow(c, two) v = ReduceMean<axes = [1]>(q)
        e = Add(v, eps) s = Sqrt(e) n = Div(c, s) t = Mul(w, n) y = Add(t, b)"""
    text = model(body, shape="2, 8, 3, 4").replace("float scale", "float w, float b, float scale")
    w, b = RNG.standard_normal((2, 8, 1, 1)).astype(np.float32)
    rules = ("layer-norm", "normalization-scale", "normalization-bias")
    graph = fires(NAME, text, *rules, opset=17, w=w, b=b, **NUMBERS)
    assert [n.op_type for n in graph] == ["Transpose", "LayerNormalization", "Transpose"]
    assert graph.outputs[0].shape == (2, 8, 3, 4)


def test_tensorflow_folds_the_mean_into_the_bias(fires: Callable[..., Graph]) -> None:
    body = f"""{HEAD} {VARIANCES["mul"]} e = Add(v, eps) s = Sqrt(e) r = Reciprocal(s)
        k = Mul(r, scale) a = Mul(x, k) p = Mul(m, k) o = Sub(bias, p) y = Add(a, o)"""
    graph = fires(NAME, model(body), "layer-norm-tensorflow", opset=17, **NUMBERS)
    assert [node.op_type for node in graph] == ["LayerNormalization"]


JAX = """
    a = ReduceSum<keepdims = 0>(x, axes) m = Mul(a, factor)
    q = Mul(x, x) b = ReduceSum<keepdims = 0>(q, axes) w = Mul(b, factor)
    p = Mul(m, m) d = Sub(w, p) v = Max(zero, d)
    m1 = Reshape(m, kept) v1 = Reshape(v, kept) c = Sub(x, m1)
    e = Add(v1, eps) s = Sqrt(e) r = Reciprocal(s) k = Mul(r, scale) n = Mul(c, k) y = Add(n, bias)
"""
JAX_NUMBERS = {
    **NUMBERS, "axes": np.array([2]), "kept": np.array([2, 3, 1]), "zero": np.float32(0),
}  # fmt: skip


def jax(body: str = JAX) -> str:
    own = "(float[2, 3, 8] x, int64 axes, int64 kept, float zero, float factor,"
    return model(body).replace("(float[2, 3, 8] x,", own)


def test_jax_takes_sums_without_their_axis(fires: Callable[..., Graph]) -> None:
    numbers = {**JAX_NUMBERS, "factor": np.float32(1 / 8)}
    graph = fires(NAME, jax(), "layer-norm-scaled", "normalization-bias", **numbers)
    assert [node.op_type for node in graph] == ["LayerNormalization"]


def test_an_open_batch_settles_what_is_reshaped(fires: Callable[..., Graph]) -> None:
    body = JAX.replace("Reshape(m, kept)", "Reshape(m, target)").replace(
        "Reshape(v, kept)", "Reshape(v, target)"
    )
    head = (
        "all = Shape(other) n0 = Gather(all, zeroth) target = Concat<axis = 0>(n0, three, ending) "
    )
    text = (
        jax(head + body)
        .replace("2, 3, 8", '"N", 3, 8')
        .replace(
            "int64 axes,",
            'float["M", 3, 8] other, int64 zeroth, int64 three, int64 ending, int64 axes,',
        )
    )
    numbers = {
        **JAX_NUMBERS, "factor": np.float32(1 / 8), "zeroth": np.array([0]),
        "three": np.array([3]), "ending": np.array([1]),
    }  # fmt: skip
    data = RNG.standard_normal((2, 2, 3, 8)).astype(np.float32)
    inputs = {"x": data[0], "other": data[1]}
    graph = fires(NAME, text, "layer-norm-scaled", "normalization-bias", inputs=inputs, **numbers)
    assert "LayerNormalization" in [node.op_type for node in graph]
    assert "ReduceSum" not in [node.op_type for node in graph]


@pytest.mark.parametrize("quotient", QUOTIENTS)
def test_rms_norm(fires: Callable[..., Graph], quotient: str) -> None:
    tail = QUOTIENTS[quotient].replace("(c,", "(x,").replace(", c)", ", x)")
    text = model(
        f"q = Pow(x, two) v = ReduceMean(q, axes) e = Add(v, eps) {tail} y = Mul(n, scale)"
    )
    text = text.replace("float two", "int64 axes, float two")
    rules = ("rms-norm", "normalization-scale")
    graph = fires(NAME, text, *rules, opset=23, axes=np.array([-1]), **NUMBERS)
    assert [node.op_type for node in graph] == ["RMSNormalization"]


def test_unknown_size_comes_from_the_scale(fires: Callable[..., Graph]) -> None:
    body = f"{HEAD} {VARIANCES['pow']} e = Add(v, eps) {QUOTIENTS['sqrt']} y = Mul(scale, n)"
    text = model(body, shape="2, 3, N")
    x = RNG.standard_normal((2, 3, 8)).astype(np.float32)
    fires(NAME, text, "layer-norm-scaled", opset=17, inputs={"x": x}, **NUMBERS)


PLAIN = f"{HEAD} {VARIANCES['pow']} e = Add(v, eps) {QUOTIENTS['sqrt']} y = Mul(n, scale)"

CHANGED = {
    "other axes": (("q = Pow(c, two) v = ReduceMean<axes = [-1]>",
                    "q = Pow(c, two) v = ReduceMean<axes = [1]>"), "along different axes"),
    "cube": (("Pow(c, two)", "Pow(c, half)"), "the pattern needs 2"),
    "no epsilon": (("e = Add(v, eps)", "e = Add(v, m)"), "the pattern needs a fitting constant"),
    "epsilon is subtracted": (("Add(v, eps)", "Sub(v, eps)"), "the pattern needs Add"),
    "not the deviation": (("Sqrt(e)", "Exp(e)"), None),
    "something else centered": (("q = Pow(c, two)", "d = Exp(c) q = Pow(d, two)"),
                                "the pattern needs"),
    "mean over two axes in the middle": (("axes = [-1]", "axes = [0, 1]"), "not the last ones"),
    "added to the mean": (("c = Sub(x, m)", "c = Add(x, m)"), "the pattern needs Sub"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_declines(misses: Callable[..., None], name: str) -> None:
    (old, new), reason = CHANGED[name]
    misses(NAME, model(PLAIN.replace(old, new)), reason, opset=17, **NUMBERS)


def test_declines_before_opset_17(misses: Callable[..., None]) -> None:
    misses(NAME, model(PLAIN), "needs opset 17, the model has 16", opset=16, **NUMBERS)


def test_declines_rms_norm_before_opset_23(misses: Callable[..., None]) -> None:
    body = "q = Pow(x, two) v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) s = Sqrt(e)"
    text = model(f"{body} y = Div(x, s)")
    misses(NAME, text, "needs opset 23", opset=17, **NUMBERS)


@pytest.mark.parametrize("inner", ["m", "c", "v", "s"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    text = model(PLAIN, f"float y, float {inner}")
    misses(NAME, text, "graph output", opset=17, **NUMBERS)


def test_declines_an_unknown_size(misses: Callable[..., None]) -> None:
    text = model(PLAIN.replace("y = Mul(n, scale)", "y = Relu(n)"), shape="2, 3, N")
    misses(NAME, text, "give --input-shape", opset=17, **NUMBERS)


def test_declines_a_scale_per_row(misses: Callable[..., None]) -> None:
    numbers = {**NUMBERS, "scale": np.ones((3, 1), np.float32)}
    text = model("z = LayerNormalization(x, bias) y = Mul(z, scale)")
    misses(NAME, text, "axes that are not normalized", opset=17, **numbers)


@pytest.mark.parametrize(("factor", "reason"), [
    (1 / 7, "a sum of 8 elements is not divided by 8"), (8.0, "is not divided by 8"),
])  # fmt: skip
def test_declines_another_divisor(misses: Callable[..., None], factor: float, reason: str) -> None:
    misses(NAME, jax(), reason, **{**JAX_NUMBERS, "factor": np.float32(factor)})


def test_declines_a_mean_put_along_another_axis(misses: Callable[..., None]) -> None:
    numbers = {
        **JAX_NUMBERS, "factor": np.float32(1 / 8), "kept": np.array([2, 8, 1]),
        "axes": np.array([1]),
    }  # fmt: skip
    text = jax().replace("float[2, 3, 8] x", "float[2, 8, 8] x")
    misses(NAME, text, "not spread along the axes", **numbers)


def test_a_mean_that_is_turned_after_keeping_its_axis_stays(misses: Callable[..., None]) -> None:
    body = f"""m0 = ReduceMean<axes = [-1]>(x) m = Reshape(m0, turned) c = Sub(x, m)
        {VARIANCES["mul"]} e = Add(v, eps) {QUOTIENTS["sqrt"]} y = Identity(n)"""
    text = model(body, shape="2, 2, 2").replace("float two", "int64 turned, float two")
    numbers = NUMBERS | {"turned": np.array([2, 1, 2])}
    misses(NAME, text, "not spread along the axes", opset=17, **numbers)


def test_an_epsilon_with_more_axes_than_the_data_stays(misses: Callable[..., None]) -> None:
    body = f"""{HEAD} {VARIANCES["mul"]} e = Add(v, eps) {QUOTIENTS["sqrt"]} y = Identity(n)"""
    numbers = NUMBERS | {"eps": np.full((1, 1, 1, 1), EPS)}
    misses(NAME, model(body), "another shape", opset=17, **numbers)


HALF = {"two": np.float32(2), "eps": np.float32(1e-5), "scale": SCALE.astype(np.float16)}
T5 = """
    w = Cast<to = 1>(x) q = Pow(w, two) v = ReduceMean<keepdims = 1>(q, axes) e = Add(v, eps)
    s = Sqrt(e) n = Div(w, s) h = Cast<to = 10>(n) y = Mul(scale, h)"""
TORCH = """
    m = ReduceMean<axes = [-1]>(x) c = Sub(x, m) w = Cast<to = 1>(c) q = Pow(w, two)
    v = ReduceMean<axes = [-1]>(q) e = Add(v, eps) s = Sqrt(e) n = Div(w, s) y = Cast<to = 10>(n)"""


def half(body: str, result: str = "float16 y") -> str:
    return f"""
    g (float16[2, 3, 8] x, int64 axes, float two, float eps, float16 scale) => ({result}) {{
        {body} }}"""


def test_rms_norm_in_half_precision(fires: Callable[..., Graph]) -> None:
    rules = ("rms-norm", "normalization-half", "normalization-scale")
    graph = fires(NAME, half(T5), *rules, opset=23, axes=np.array([-1]), **HALF)
    assert [node.op_type for node in graph] == ["RMSNormalization"]


def test_layer_norm_in_half_precision(fires: Callable[..., Graph]) -> None:
    text = half(TORCH)
    rules = ("layer-norm", "normalization-half")
    graph = fires(NAME, text, *rules, opset=17, axes=np.array([-1]), **HALF)
    assert [node.op_type for node in graph] == ["LayerNormalization"]


def test_kernels_keep_their_conversions(fires: Callable[..., Graph]) -> None:
    graph = fires(NAME, half(T5), "rms-norm", opset=23, target=True, axes=np.array([-1]), **HALF)
    assert [node.op_type for node in graph] == ["Cast", "RMSNormalization", "Cast", "Mul"]


@pytest.mark.parametrize(("body", "reason"), [
    ("w = Cast<to = 1>(x) n = LayerNormalization(w, wide) y = Cast<to = 11>(n)",
     "not converted from float16 and back"),
    ("w = Cast<to = 1>(x) n = LayerNormalization(w, fine) y = Cast<to = 10>(n)",
     "more digits than float16 has"),
    ("w = Cast<to = 11>(x) n = LayerNormalization(w, double) y = Cast<to = 10>(n)",
     "not computed in single precision"),
    ("w = Cast<to = 1>(x) n, m = LayerNormalization(w, wide) y = Cast<to = 10>(n) "
     "z = Identity(m)", "also read by another"),
    ("w = Cast<to = 1>(x) n = LayerNormalization(w, wide) y = Cast<to = 10>(n) z = Neg(n)",
     "also read by another Neg"),
])  # fmt: skip
def test_declines_half_precision(misses: Callable[..., None], body: str, reason: str) -> None:
    result = "double y" if "to = 11>(n)" in body else "float16 y"
    result += ", float z" if "z =" in body else ""
    text = half(body, result).replace(
        "int64 axes, float two, float eps, float16 scale",
        "float wide, float fine, double double",
    )
    wide = np.ones(8, np.float32)
    misses(NAME, text, reason, opset=17, wide=wide, fine=wide / 3, double=np.ones(8))


def test_declines_to_write_out_large_parameters(misses: Callable[..., None]) -> None:
    body = f"{HEAD} {VARIANCES['mul']} e = Add(v, eps) s = Sqrt(e) y = Div(c, s)"
    text = model(body, shape=f"1, 2, {(1 << 16) + 1}")
    misses(NAME, text, "written out as 65537 numbers", opset=17, **NUMBERS)


def test_declines_to_scale_by_what_is_read_besides(misses: Callable[..., None]) -> None:
    text = model("z, m = LayerNormalization(x, bias) y = Mul(z, scale)", "float y, float m")
    misses(NAME, text, "also read by another", opset=17, **NUMBERS)


ROWS = (
    "r = Reshape(x, rows) i = InstanceNormalization<epsilon = 0.001>(r, w, b) y = Reshape(i, back)"
)
ROW_NUMBERS = {
    "rows": np.array([1, 6, 8, 1]), "w": np.ones(6, np.float32), "b": np.zeros(6, np.float32),
    "back": np.array([2, 3, 8]), "after": np.ones((3, 1), np.float32),
}  # fmt: skip


def in_rows(body: str = ROWS, result: str = "float y") -> str:
    return f"""
    g (float[2, 3, 8] x, int64 rows, float w, float b, int64 back, float after)
    => ({result}) {{ {body} }}"""


@pytest.mark.parametrize(("rows", "count", "axis"), [
    ([1, 6, 8, 1], 6, -1), ([2, 3, -1], 3, -1), ([1, 2, 24], 2, -2), ([6, 1, 8], 1, -1),
])  # fmt: skip
def test_instances_that_are_rows(
    fires: Callable[..., Graph], rows: list[int], count: int, axis: int
) -> None:
    parameters = {"w": np.full(count, 2, np.float32), "b": np.ones(count, np.float32)}
    numbers = ROW_NUMBERS | {"rows": np.array(rows)} | parameters
    graph = fires(NAME, in_rows(), "layer-norm-of-rows", opset=17, **numbers)
    assert [node.op_type for node in graph] == ["LayerNormalization"]
    assert attributes(graph) == (axis, 1e-3)


@pytest.mark.parametrize(("changed", "reason"), [
    ({"w": np.arange(6, dtype=np.float32)}, "differ from row to row"),
    ({"back": np.array([3, 2, 8])}, "does not get back the shape"),
    ({"rows": np.array([1, 12, 4]), "w": np.ones(12, np.float32), "b": np.ones(12, np.float32)},
     "not the last axes"),
])  # fmt: skip
def test_declines_rows(
    misses: Callable[..., None], changed: dict[str, np.ndarray], reason: str
) -> None:
    misses(NAME, in_rows(), reason, opset=17, **(ROW_NUMBERS | changed))


def test_declines_rows_that_are_groups(misses: Callable[..., None]) -> None:
    text = in_rows(ROWS.replace("y =", "n =") + " y = Mul(n, after)")
    numbers = ROW_NUMBERS | {
        "rows": np.array([2, 1, 24]), "w": np.ones(1, np.float32), "b": np.ones(1, np.float32),
    }  # fmt: skip
    misses(NAME, text, "scaled otherwise than by what is normalized", opset=17, **numbers)


@pytest.mark.parametrize("lost", ["mean", "variance"])
def test_declines_means_that_have_lost_their_axis(misses: Callable[..., None], lost: str) -> None:
    gives_back = "m = Unsqueeze(a, axis)", "w = Unsqueeze(v, axis)"
    mean, variance = (
        back.replace("Unsqueeze(a, axis)" if lost == "mean" else "Unsqueeze(v, axis)",
                     "Identity(a)" if lost == "mean" else "Identity(v)")
        for back in gives_back
    )  # fmt: skip
    text = f"""g (float[3, 3] x, int64[1] axis, float eps) => (float y) {{
        a = ReduceMean<keepdims = 0>(x, axis) {mean} c = Sub(x, m) q = Mul(c, c)
        v = ReduceMean<keepdims = 0>(q, axis) {variance} e = Add(w, eps) s = Sqrt(e) y = Div(c, s)
    }}""".replace("m = Identity(a)", "").replace("w = Identity(v)", "")
    text = text.replace("Sub(x, m)", "Sub(x, a)") if lost == "mean" else text.replace("(w,", "(v,")
    misses(NAME, text, "lost the axes", opset=21, axis=np.array([1]), eps=EPS)


def test_declines_squares_with_more_axes(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3] x, float two, float third, float eps, int64[1] last) => (float y) {
        q = Pow(x, two) t = ReduceSum(q, last) v = Mul(t, third) e = Add(v, eps) s = Sqrt(e)
        y = Div(x, s)
    }"""
    numbers = {
        "two": np.full((1, 1, 1, 1), 2, np.float32), "third": np.float32(1 / 3), "eps": EPS,
        "last": np.array([-1]),
    }  # fmt: skip
    misses(NAME, text, "more axes than the data", opset=23, **numbers)
