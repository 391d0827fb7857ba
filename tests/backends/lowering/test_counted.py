"""Results of which only running tells the size: kernels make them in memory for the most."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.backends.artifact import Artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering.counted import find_counts
from burnish.backends.lowering.lower import Lowered
from burnish.ir import Graph
from burnish.oracle import Oracle
from tests.backends.lowering.models import TARGET, check, check_all, model, normal, prepared
from tests.depth import part

CENTRED, CLASSES, BOXES = 1, 3, 40


def compiled(proto: onnx.ModelProto) -> tuple[Lowered, Artifact]:
    low, program = compile_program(prepared(proto), TARGET)
    return low, build_artifact([program], TARGET, [], Provenance())


def suppression(inputs: str, constants: str = "", centred: int = 0) -> onnx.ModelProto:
    return model(
        f"g (float[2, {BOXES}, 4] boxes, float[2, {CLASSES}, {BOXES}] scores{inputs})"
        f" => (int64[n, 3] kept) <{constants}> {{"
        f" kept = NonMaxSuppression<center_point_box = {centred}>"
        "(boxes, scores, most, overlap, least) }"
    )


@pytest.fixture(scope="module", params=[0, 1], ids=["corners", "centres"])
def suppressing(request: pytest.FixtureRequest) -> tuple[Oracle, Artifact]:
    """One artifact whose limits are inputs."""
    proto = suppression(", int64[1] most, float[1] overlap, float[1] least", centred=request.param)
    low, artifact = compiled(proto)
    assert not low.refusals
    return Oracle(proto, threads=1), artifact


def few(draw: st.DrawFn, shape: Sequence[int], values: Sequence[float]) -> np.ndarray:
    """An array of few distinct numbers, so that many are equal."""
    seed = draw(st.integers(0, 1 << 16))
    return np.random.default_rng(seed).choice(np.array(values, np.float32), tuple(shape))


@settings(max_examples=part(100), deadline=None)
@given(data=st.data())
def test_boxes_are_kept_as_onnx_runtime_keeps_them(
    suppressing: tuple[Oracle, Artifact], data: st.DataObject
) -> None:
    oracle, artifact = suppressing
    coordinates = [-1, 0, 0.25, 0.5, 1, 1.5, 2, 7]
    feeds = {
        "boxes": few(data.draw, (2, BOXES, 4), coordinates),
        "scores": few(data.draw, (2, CLASSES, BOXES), [-1, -0.0, 0, 0.1, 0.3, 0.5, 0.9, np.inf]),
        "most": np.array([data.draw(st.sampled_from([-3, 0, 1, 2, 7, 40, 1 << 40]))]),
        "overlap": np.array([data.draw(st.sampled_from([0, 0.1, 0.5, 1]))], np.float32),
        "least": np.array([data.draw(st.sampled_from([-2, 0, 0.3, 0.5, 10]))], np.float32),
    }
    expected, found = oracle.run(feeds)["kept"], artifact.run(feeds)["kept"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_scores_that_are_no_numbers_are_never_above_a_limit() -> None:
    proto = suppression("", "int64[1] most = {9}, float[1] overlap = {0.5}, float[1] least = {0}")
    scores = normal(2, CLASSES, BOXES)
    scores[:, 1] = np.nan
    boxes = normal(2, BOXES, 4, seed=1)
    boxes[0, ::3, 1] = np.nan
    assert not check(proto, boxes=boxes, scores=scores)


def test_limits_that_are_left_out() -> None:
    text = """g (float[1, 40, 4] x, float[1, 2, 40] y)
        => (int64[a, 3] ra, int64[b, 3] rb, int64[c, 3] rc, int64[d, 3] rd)
        <int64 most = {5}, float overlap = {0.4}, float least = {0.1}> {
        ra = NonMaxSuppression(x, y, most) rb = NonMaxSuppression(x, y, most, overlap)
        rc = NonMaxSuppression(x, y, , overlap, least) rd = NonMaxSuppression(x, y)
    }"""
    assert not check(model(text), x=normal(1, 40, 4), y=normal(1, 2, 40))


@pytest.mark.parametrize(
    ("shapes", "limits"),
    [
        ("float[1, 4, 4] x, float[1, 2, 40] y", "int64 most = {5}, float overlap = {0.4}"),
        ("float[1, 40, 4] x, float[2, 2, 40] y", "int64 most = {5}, float overlap = {0.4}"),
        ("float[1, 40, 3] x, float[1, 2, 40] y", "int64 most = {5}, float overlap = {0.4}"),
        ("float[1, 40, 4] x, float[1, 2, 40] y", "int64[0] most = {}, float overlap = {0.4}"),
        ("float[1, 40, 4] x, float[1, 2, 40] y", "int64[2] most = {5, 6}, float overlap = {0.4}"),
        ("float[1, 40, 4] x, float[1, 2, 40] y", "int64 most = {5}, float[0] overlap = {}"),
    ],
)
def test_operands_that_do_not_fit_each_other_are_never_read(shapes: str, limits: str) -> None:
    text = f"g ({shapes}) => (int64[n, 3] r) <{limits}> {{"
    text += " r = NonMaxSuppression(x, y, most, overlap) }"
    assert declined(text) == ["NonMaxSuppression has operands that do not fit each other"]


def test_thousands_of_boxes_on_several_threads() -> None:
    text = """g (float[1, 6000, 4] boxes, float[1, 5, 6000] scores) => (int64[n, 3] kept)
        <int64 most = {200}, float overlap = {0.45}, float least = {0.2}>
        { kept = NonMaxSuppression<center_point_box = 1>(boxes, scores, most, overlap, least) }"""
    boxes = np.abs(normal(1, 6000, 4))
    assert not check(model(text), boxes=boxes, scores=normal(1, 5, 6000, seed=3))


def test_a_limit_that_is_no_share_is_an_error_as_in_onnx_runtime(
    suppressing: tuple[Oracle, Artifact],
) -> None:
    feeds = {
        "boxes": normal(2, BOXES, 4),
        "scores": normal(2, CLASSES, BOXES),
        "most": np.array([3]),
        "overlap": np.array([1.5], np.float32),
        "least": np.array([0], np.float32),
    }
    with pytest.raises(Exception, match="give 0 to 1"):
        suppressing[1].run(feeds)


def test_places_of_every_type() -> None:
    types = ("bool", "int8", "uint16", "int32", "int64", "float16", "float32", "float64")
    names = {"float32": "float", "float64": "double"}
    inputs = ", ".join(f"{names.get(kind, kind)}[3, 5, 70] x{i}" for i, kind in enumerate(types))
    outputs = ", ".join(f"int64[3, n{i}] p{i}" for i in range(len(types)))
    body = " ".join(f"p{i} = NonZero(x{i})" for i in range(len(types)))
    low, artifact = compiled(model(f"g ({inputs}) => ({outputs}) {{ {body} }}"))
    assert not low.refusals
    numbers = np.abs(np.round(normal(3, 5, 70)))
    for x in (numbers, numbers * -0.0, numbers * 0 + 1):
        given = {f"x{i}": x.astype(kind) for i, kind in enumerate(types)}
        found = artifact.run(given)
        for i, array in enumerate(given.values()):
            np.testing.assert_array_equal(found[f"p{i}"], np.nonzero(array))


@settings(max_examples=part(100), deadline=None)
@given(data=st.data())
def test_places_are_those_of_onnx_runtime(
    finding: tuple[Oracle, Artifact], data: st.DataObject
) -> None:
    oracle, artifact = finding
    share = data.draw(st.sampled_from([0.0, 0.01, 0.5, 1.0]))
    random = np.random.default_rng(data.draw(st.integers(0, 1 << 16)))
    x = np.where(random.random((4, 3, 131)) < share, random.standard_normal((4, 3, 131)), -0.0)
    x[0, 0, 0] = data.draw(st.sampled_from([0.0, -0.0, np.nan, np.inf, 1e-45]))
    feeds = {"x": x.astype(np.float32)}
    expected, found = oracle.run(feeds), artifact.run(feeds)
    for name in ("places", "rows", "found"):
        np.testing.assert_array_equal(found[name], expected[name])
        assert found[name].flags.c_contiguous


@pytest.fixture(scope="module")
def finding() -> tuple[Oracle, Artifact]:
    proto = model("""g (float[4, 3, 131] x)
        => (int64[3, n] places, int64[n, 3] rows, float[n] found) {
        places = NonZero(x) rows = Transpose(places) found = GatherND(x, rows) }""")
    low, artifact = compiled(proto)
    assert not low.refusals
    return Oracle(proto, threads=1), artifact


@pytest.mark.parametrize("dtype", ["float", "bool"])
def test_slices_are_taken_as_onnx_runtime_takes_them(dtype: str) -> None:
    text = f"""g ({dtype}[3, 7, 4] x, bool[7] c, bool[5] short, bool[84] each, bool[4] last)
        => ({dtype}[3, n, 4] a, {dtype}[3, 7, m] b, {dtype}[k] e, float[3, l, 4] f) {{
        a = Compress<axis = 1>(x, c) b = Compress<axis = -1>(x, last) e = Compress(x, each)
        s = Compress<axis = 1>(x, short) f = Cast<to = 1>(s)
    }}"""
    random = np.random.default_rng(5)
    feeds = []
    for share in (0.5, 0.0, 1.0):
        masks = {name: random.random(n) < share
                 for name, n in (("c", 7), ("short", 5), ("each", 84), ("last", 4))}  # fmt: skip
        x = np.round(normal(3, 7, 4)).astype(np.dtype(dtype.replace("float", "float32")))
        feeds.append({"x": x, **masks})
    assert not check_all(model(text), feeds)


CONSTANTS = """<int64 zero = {0}, int64[1] zeros = {0}, int64[1] one = {1}, int64[1] two = {2},
    int64[1] minus = {-1}, float half = {0.5}, int64[2] ends = {0, -1}, float[2] pair = {1, 2},
    int64[1] flat = {-1}, int64[3] rows = {-1, 2, 1}, int64[6] wide = {1, 2, 3, 4, 5, 6},
    int64[2] six = {2, -1}, int64[1] far = {99}>"""
FOLLOWERS = {
    "float[n,7]": "i = Gather(p, zero) y = Gather(x, i)",
    "int64[n]": "t = Transpose(p) a, b = Split<axis=1, num_outputs=2>(t) y = Squeeze(b, minus)",
    "int64[ n]": "t = Slice(p, zeros, one, zeros) y = Squeeze(t, zeros)",
    "int64[2,1,n,1]": "u = Unsqueeze(p, ends) y = Transpose<perm=[1,0,2,3]>(u)",
    "int64[n,6]": "t = Transpose(p) y = Concat<axis=1>(t, t, t)",
    "float[2,n]": "f = Cast<to=1>(p) h = Mul(f, half) y = Exp(h)",
    "float[n,2]": "f = Cast<to=1>(p) t = Transpose(f) y = Add(t, pair)",
    "float[n, 7]": "i = Gather(p, zero) r = Gather(x, i) s = Softmax<axis=1>(r) y = Neg(s)",
    "int64[n,1]": "i = Gather(p, zero) r = Gather(x, i) y = ArgMax<axis=1>(r)",
    "int64[n  ]": "i = Gather(p, zeros) y = Reshape(i, flat)",
    "int64[n,2]": "t = Transpose(p) u = Unsqueeze(t, minus) y = Flatten(u)",
    "int32[n,2,1]": "t = Transpose(p) u = Reshape(t, rows) y = Cast<to=6>(u)",
    "float[6,n]": "i = Gather(p, one) s = Squeeze(i, zeros) y = Gather<axis=1>(x, s)",
    "int64[2,n]": "z = Greater(p, one) y = Where(z, p, minus)",
    "int64[2, n]": "q = Div(p, two) m = Mod(p, two) y = Sub(q, m)",
}


def test_what_follows_row_by_row_is_native() -> None:
    outputs = ", ".join(f"{kind} y{i}" for i, kind in enumerate(FOLLOWERS))
    text = " ".join(
        re.sub(r"\b([a-oq-wyz])\b(?= =|,|\)| =)", rf"\g<1>{i}", body)
        for i, body in enumerate(FOLLOWERS.values())
    )
    proto = model(f"g (float[6, 7] x) => ({outputs}) {CONSTANTS} {{ p = NonZero(x) {text} }}")
    x = np.maximum(normal(6, 7), 0)
    assert not check_all(proto, [{"x": x}, {"x": x * 0}, {"x": np.ones_like(x)}])


def declined(text: str) -> list[str]:
    """Why operators of a model cannot count."""
    graph = Graph.from_onnx(onnx.shape_inference.infer_shapes(model(text)))
    return [*find_counts(graph, {}).refusals.values()]


NEAR_MISSES = {
    "the number of them": "s = Shape(p) y = Cast<to=1>(s)",
    "all summed up": "y = ReduceSum(p)",
    "summed up along their axis": "f = Cast<to=1>(p) y = ReduceSum(f, one)",
    "the best of them": "f = Cast<to=1>(p) y = ArgMax<axis=1>(f)",
    "softmax over them": "f = Cast<to=1>(p) y = Softmax(f)",
    "joined to others": "y = Concat<axis=1>(p, p)",
    "each with each": "t = Transpose(p) y = Mul(p, t)",
    "with another size": "f = Gather(p, zero) y = Add(f, wide)",
    "mixed": "y = Reshape(p, flat)",
    "a number of rows that is given": "t = Transpose(p) y = Reshape(t, six)",
    "some of them": "y = Slice(p, zeros, one, one)",
    "the last of them": "y = Slice(p, minus, far, one)",
    "one of them": "y = Gather<axis=1>(p, zero)",
    "chosen by them": "t = Transpose(p) i = Gather(p, zero) y = Gather(t, i)",
    "divided by them": "y = Div(one, p)",
    "the largest": "y, i = TopK<axis=1>(p, one)",
    "a product over them": "f = Cast<to=1>(p) t = Transpose(f) y = MatMul(f, t)",
    "running sums": "y = CumSum(p, one)",
    "dropped if there is one": "a = Gather(p, zero) b = Unsqueeze(a, zeros) y = Squeeze(b)",
    "of another": "m = Neg(x) n = Relu(m) q = NonZero(n) y = Add(p, q)",
    "in a body": """c = Greater(k, zero) y = If (c) <
        then_branch = a () => (u) { u = Neg(p) }, else_branch = b () => (v) { v = Abs(p) }>""",
}


@pytest.mark.parametrize("body", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_near_misses_stay_on_the_host_and_say_why(body: str) -> None:
    text = f"g (float[2, 3] x, int64 k) => (y) {CONSTANTS} {{ p = NonZero(x) {body} }}"
    reasons = declined(text)
    assert reasons[0].startswith("NonZero counts its results as it runs, and ")


@pytest.mark.parametrize(("width", "fits"), [(40, True), (4000, False)])
def test_too_much_memory_for_what_may_never_be_there(width: int, fits: bool) -> None:
    text = f"""g (bool[400] x, float[400, {width}] table) => (float[n, {width}] y)
        <int64 zero = {{0}}> {{ p = NonZero(x) i = Gather(p, zero) y = Gather(table, i) }}"""
    needed = "NonZero may give so much that kernels would need 6 MiB for it"
    assert declined(text) == ([] if fits else [needed])


def test_a_result_may_be_several_outputs_or_none() -> None:
    text = """g (float[4, 6] x) => (int64[2, n] p, int64[2, n] q, float[4, 6] y) {
        z = Relu(x) p = NonZero(z) q = Identity(p) y = Neg(x)
    }"""
    assert not check_all(model(text), [{"x": normal(4, 6)}, {"x": -np.ones((4, 6), np.float32)}])


def test_next_to_a_region() -> None:
    text = """g (float[4, 6] x) => (int64[2, n] p, float[m] u, float[n] f) {
        z = Relu(x) p = NonZero(z) u, a, b, c = Unique(x) t = Transpose(p) f = GatherND(x, t)
    }"""
    reasons = check(model(text), x=normal(4, 6))
    assert all("Unique" in reason for reason in reasons)
