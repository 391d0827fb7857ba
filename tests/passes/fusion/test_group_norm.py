"""recognise-group-norm: InstanceNorm and GroupNorm as exporters spell them, and near misses."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-group-norm"
RNG = np.random.default_rng(11)
SCALE, BIAS = RNG.standard_normal((2, 8, 1, 1)).astype(np.float32)
NUMBERS = {
    "two": np.float32(2), "eps": np.float32(1e-5), "one": np.float32(1), "scale": SCALE,
    "bias": BIAS,
}  # fmt: skip
DECLARED = ", ".join(f"float {name}" for name in NUMBERS)
AFFINE = ("normalization-scale", "normalization-bias")


def model(body: str, result: str = "float y", shape: str = "2, 8, 3, 4") -> str:
    return f"g (float[{shape}] x, {DECLARED}) => ({result}) {{ {body} }}"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


def spelled(axes: str, tail: str = "y = Div(c, s)") -> str:
    return f"""m = ReduceMean<axes = {axes}>(x) c = Sub(x, m) q = Mul(c, c)
        v = ReduceMean<axes = {axes}>(q) e = Add(v, eps) s = Sqrt(e) {tail}"""


def newer(text: str) -> str:
    """Since opset 18 the axes are an input."""
    text = text.replace("float two", "int64 axes, float two", 1)
    return re.sub(r"ReduceMean<axes = .*?>\((\w)\)", r"ReduceMean(\1, axes)", text)


SCALED = "n = Div(c, s) t = Mul(n, scale) y = Add(bias, t)"
SHIFTED = """r = Reciprocal(s) k = Mul(r, scale) a = Mul(x, k) p = Mul(m, k) o = Sub(bias, p)
    y = Add(a, o)"""


@pytest.mark.parametrize("opset", [11, 17])
def test_instance_norm(fires: Callable[..., Graph], opset: int) -> None:
    graph = fires(NAME, model(spelled("[2, 3]")), "instance-norm", opset=opset, **NUMBERS)
    assert kinds(graph) == ["InstanceNormalization"]


def test_instance_norm_takes_its_parameters(fires: Callable[..., Graph]) -> None:
    text = model(spelled("[-1, -2]", SCALED))
    graph = fires(NAME, text, "instance-norm", *AFFINE, opset=13, **NUMBERS)
    assert kinds(graph) == ["InstanceNormalization"]


def test_instance_norm_of_tensorflow(fires: Callable[..., Graph]) -> None:
    text = model(spelled("[2, 3]", SHIFTED))
    graph = fires(NAME, text, "instance-norm-tensorflow", opset=13, **NUMBERS)
    assert kinds(graph) == ["InstanceNormalization"]


def test_instance_norm_in_half_precision(fires: Callable[..., Graph]) -> None:
    """torch computes the variance in single precision, the mean that it subtracts in half."""
    body = """
        m = ReduceMean<axes = [2, 3]>(x) c = Sub(x, m) w = Cast<to = 1>(x)
        n = ReduceMean<axes = [2, 3]>(w) d = Sub(w, n) q = Mul(d, d)
        v = ReduceMean<axes = [2, 3]>(q) h = Cast<to = 10>(v) e = Add(h, eps) s = Sqrt(e)
        y = Div(c, s)"""
    text = f"g (float16[2, 8, 3, 4] x, float16 eps) => (float16 y) {{ {body} }}"
    graph = fires(NAME, text, "instance-norm", opset=17, eps=np.float16(1e-3))
    assert kinds(graph) == ["InstanceNormalization"]


TORCH = "r = Reshape(x, split) i = InstanceNormalization(r, w, b) n = Reshape(i, back) "
GROUPS = {
    "w": np.ones(2, np.float32), "b": np.zeros(2, np.float32), "split": np.array([0, 2, -1]),
    "back": np.array([2, 8, 3, 4]), **NUMBERS,
}  # fmt: skip


def torch(body: str, result: str = "float y", shape: str = "2, 8, 3, 4") -> str:
    own = f"(float[{shape}] x, float w, float b, int64 split, int64 back,"
    return model(body, result, shape).replace(f"(float[{shape}] x,", own)


@pytest.mark.parametrize(("tail", "rules"), [
    ("y = Identity(n)", ()),
    ("t = Mul(n, scale) y = Add(t, bias)", AFFINE),
    ("y = Mul(scale, n)", ("normalization-scale",)),
    ("t = Add(n, bias) y = Mul(t, scale)", AFFINE),
])  # fmt: skip
def test_group_norm_of_torch(
    fires: Callable[..., Graph], tail: str, rules: tuple[str, ...]
) -> None:
    graph = fires(NAME, torch(TORCH + tail), "group-norm", *rules, **GROUPS)
    assert next(iter(graph)).attribute("num_groups") == 2
    assert "GroupNormalization" in kinds(graph)
    assert not {"Reshape", "Mul", "Add"} & set(kinds(graph))


def test_group_norm_of_an_open_batch(fires: Callable[..., Graph]) -> None:
    body = TORCH.replace("Reshape(i, back)", "Reshape(i, shape)").replace(
        "n =", "shape = Shape(x) n ="
    )
    text = torch(body + "y = Mul(n, scale)", shape='"N", 8, 3, 4')
    graph = fires(NAME, text, "group-norm", "normalization-scale", **GROUPS)
    assert kinds(graph)[-1] == "GroupNormalization"


def test_groups_with_parameters_of_their_own(fires: Callable[..., Graph]) -> None:
    groups = GROUPS | {"w": np.float32([2, 3]), "b": np.float32([-1, 1])}
    graph = fires(NAME, torch(TORCH + "y = Mul(n, scale)"), "group-norm", AFFINE[0], **groups)
    assert kinds(graph) == ["GroupNormalization"]


def test_one_group(fires: Callable[..., Graph]) -> None:
    text = newer(model(spelled("", SCALED)))
    graph = fires(NAME, text, "group-norm-single", *AFFINE, axes=np.array([1, -2, 3]), **NUMBERS)
    assert kinds(graph) == ["GroupNormalization"]


def test_groups_become_rows_when_compiling(fires: Callable[..., Graph]) -> None:
    text = model("y = GroupNormalization<num_groups = 4>(x, w, b)").replace(
        "float two", "float w, float b, float two"
    )
    numbers = NUMBERS | {"w": SCALE.reshape(8), "b": BIAS.reshape(8)}
    graph = fires(NAME, text, "group-norm-split", target=True, **numbers)
    assert kinds(graph) == ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]


def test_one_group_becomes_rows_when_compiling(fires: Callable[..., Graph]) -> None:
    text = newer(model(spelled("", SCALED)))
    axes = np.array([1, 2, 3])
    graph = fires(NAME, text, "group-norm-single", target=True, axes=axes, **NUMBERS)
    assert kinds(graph)[:3] == ["Reshape", "InstanceNormalization", "Reshape"]


@pytest.mark.parametrize(("data", "reason"), [
    ("float[2, 8] x", "only positions in float32"),
    ("float16[2, 8, 3] x", "only positions in float32"),
    ('float["N", 8, 3] x', "give --input-shape"),
])  # fmt: skip
def test_declines_to_make_rows(misses: Callable[..., None], data: str, reason: str) -> None:
    kind = data.partition("[")[0]
    text = f"""g ({data}, {kind} w) => ({kind} y) {{
        y = GroupNormalization<num_groups = 4>(x, w, w) }}"""
    weights = np.ones(8, np.float16 if kind == "float16" else np.float32)
    misses(NAME, text, reason, target=True, w=weights)


@pytest.mark.parametrize(("axes", "shape", "reason"), [
    ([1, 2], "2, 8, 3, 4", "not all axes after the channels"),
    ([0, 2, 3], "2, 8, 3, 4", "not all axes after the channels"),
    ([3], "2, 8, 3, 4", "not all axes after the channels"),
    ([2], "2, 8, 3", "not all axes after the channels"),
    ([2, 3], '2, "C", 3, 4', "number of channels is unknown"),
    ([1, 2, 3], "2, 8, 3, 4", "no scale or bias per channel follows"),
])  # fmt: skip
def test_declines_other_axes(
    misses: Callable[..., None], axes: list[int], shape: str, reason: str
) -> None:
    text = newer(model(spelled(""), shape=shape))
    misses(NAME, text, reason, axes=np.array(axes), **NUMBERS)


@pytest.mark.parametrize("shape", [(3, 4), (3, 1), (1, 8, 3, 4)])
def test_declines_parameters_that_differ_by_position(
    misses: Callable[..., None], shape: tuple[int, ...]
) -> None:
    numbers = NUMBERS | {"scale": np.ones(shape, np.float32)}
    text = model(spelled("[2, 3]", "n = Div(c, s) y = Mul(n, scale)"))
    misses(NAME, text, "differ from position to position", opset=17, **numbers)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Mul(c, c)", "Mul(c, x)", None),
    ("Sub(x, m)", "Sub(m, x)", None),
    ("Div(c, s)", "Div(x, s)", None),
    ("Add(v, eps)", "Add(v, x)", None),
    ("Sqrt(e)", "Exp(e)", None),
])  # fmt: skip
def test_declines_other_arithmetic(
    misses: Callable[..., None], old: str, new: str, reason: str | None
) -> None:
    misses(NAME, model(spelled("[2, 3]").replace(old, new)), reason, opset=17, **NUMBERS)


def test_declines_different_axes(misses: Callable[..., None]) -> None:
    body = spelled("[2, 3]").replace("ReduceMean<axes = [2, 3]>(q)", "ReduceMean<axes = [3]>(q)")
    misses(NAME, model(body), "along different axes", opset=17, **NUMBERS)


@pytest.mark.parametrize(("changed", "reason"), [
    ({"split": np.array([4, 1, -1])}, "not groups of channels"),
    ({"split": np.array([1, 2, -1])}, "not groups of channels"),
    ({"split": np.array([2, 6, 8]), "w": np.ones(6, np.float32), "b": np.zeros(6, np.float32)},
     "not groups of channels"),
    ({"back": np.array([2, 4, 3, 8])}, "does not get back the shape"),
    ({"back": np.array([2, 8, 12])}, "does not get back the shape"),
])  # fmt: skip
def test_declines_other_groups(
    misses: Callable[..., None], changed: dict[str, np.ndarray], reason: str
) -> None:
    groups = GROUPS | changed
    if len(groups["split"]) == 3 and groups["split"][1] == 1:
        groups |= {"w": np.ones(1, np.float32), "b": np.zeros(1, np.float32)}
    misses(NAME, torch(TORCH + "y = Identity(n)"), reason, **groups)


def test_declines_groups_before_their_opset(misses: Callable[..., None]) -> None:
    misses(NAME, torch(TORCH + "y = Identity(n)"), "needs opset 21", opset=20, **GROUPS)


@pytest.mark.parametrize("inner", ["r", "i"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    text = torch(TORCH + "y = Identity(n)", f"float y, float {inner}")
    misses(NAME, text, None if inner == "r" else "graph output", **GROUPS)


@pytest.mark.parametrize("shape", [(4,), (3, 1), (2, 1, 1, 1), (1, 8, 3, 1)])
def test_declines_to_absorb_what_is_not_per_channel(
    misses: Callable[..., None], shape: tuple[int, ...]
) -> None:
    text = model("i = InstanceNormalization(x, w, b) y = Mul(i, scale)").replace(
        "float two", "float w, float b, float two"
    )
    numbers = NUMBERS | {
        "scale": np.ones(shape, np.float32), "w": np.ones(8, np.float32),
        "b": np.ones(8, np.float32),
    }  # fmt: skip
    misses(NAME, text, "not that of the channels", opset=17, **numbers)


def test_declines_parameters_beyond_half_precision(misses: Callable[..., None]) -> None:
    text = """
    g (float16[2, 4, 3] x, float16 w, float16 b, float16 s) => (float16 y) {
        i = InstanceNormalization(x, w, b) y = Mul(i, s) }"""
    large = np.full(4, 300, np.float16)
    misses(NAME, text, "do not fit into float16", w=large, b=large, s=large[:, None])


KERAS = """
    m = ReduceMean<axes = [0, 2, 3], keepdims = 1>(x) a = Squeeze(m, others) c = Sub(x, m)
    t = ReduceSumSquare<axes = [0, 2, 3], keepdims = 0>(c) v = Div(t, count)
    y = BatchNormalization<epsilon = 0.001>(x, w, b, a, v)"""
KERAS_NUMBERS = {
    "others": np.array([0, 2, 3]), "count": np.float32(8), "w": SCALE.reshape(8)[:6],
    "b": BIAS.reshape(8)[:6],
}  # fmt: skip


def keras(body: str = KERAS, shape: str = "1, 6, 8, 1") -> str:
    return f"""
    g (float[{shape}] x, int64 others, float count, float w, float b) => (float y) {{ {body} }}"""


@pytest.mark.parametrize("body", [
    KERAS,
    KERAS.replace("a = Squeeze(m, others)", "a = ReduceMean<axes = [0, 2, 3], keepdims = 0>(x)"),
])  # fmt: skip
def test_batch_normalization_of_its_own_data(fires: Callable[..., Graph], body: str) -> None:
    graph = fires(NAME, keras(body), "instance-norm-of-batch", opset=17, **KERAS_NUMBERS)
    assert kinds(graph) == ["InstanceNormalization"]


@pytest.mark.parametrize(("old", "new", "shape", "reason"), [
    ("", "", "2, 6, 4, 1", "those of a whole batch"),
    ("Div(t, count)", "Div(t, w)", "1, 6, 8, 1", "a number that is unknown"),
    ("Div(t, count)", "Mul(t, count)", "1, 6, 8, 1", "is not divided by 8"),
    ("x, w, b, a, v", "c, w, b, a, v", "1, 6, 8, 1", "the same one"),
    ("x, w, b, a, v", "x, w, b, v, a", "1, 6, 8, 1", None),
    ("(c)", "(x)", "1, 6, 8, 1", None),
])  # fmt: skip
def test_declines_other_statistics(
    misses: Callable[..., None], old: str, new: str, shape: str, reason: str | None
) -> None:
    text = keras(KERAS.replace(old, new) if old else KERAS, shape)
    misses(NAME, text, reason, opset=17, **KERAS_NUMBERS)
