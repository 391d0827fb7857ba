"""Joint inference of shapes and values."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from burnish.analysis import infer
from burnish.analysis.value_rules import VALUE_RULES
from burnish.analysis.values import is_partial
from burnish.ir import DType, Graph, Shape
from burnish.oracle import Oracle, random_inputs
from burnish.passes.cleanup.freeze_input_shapes import FreezeInputShapes
from burnish.pipeline import PassContext
from burnish.testing import graph


def shape_of(text: str, opset: int = 21) -> Shape:
    model = graph(text, opset=opset)
    model.outputs[0].shape = None
    return infer(model).type_of(model.outputs[0]).shape


def known(*lines: str, inputs: str = 'float["b", "s", 64] x') -> Shape:
    return shape_of(f"g ({inputs}) => (float y) {{ {' '.join(lines)} }}")


TABLE = """
    rows = Constant<value = int64[2] {512, 64}>() w = ConstantOfShape(rows)
"""
CONSTANTS = """
    zero = Constant<value = int64[1] {0}>()
    one = Constant<value = int64[1] {1}>()
    two = Constant<value = int64[1] {2}>()
    minus = Constant<value = int64[1] {-1}>()
    eight = Constant<value = int64[1] {8}>()
    s = Shape(x) b = Gather(s, zero) t = Gather(s, one)
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("k = Concat<axis=0>(b, minus) y = Reshape(x, k)", ("b", "64*s")),
        # As many positions as there are rows: what a table has fewer of cannot be added.
        (f"{TABLE} p = Slice(w, zero, t) y = Identity(p)", ("min(512, s)", 64)),
        (f"{TABLE} p = Slice(w, zero, t) y = Add(x, p)", ("b", "s", 64)),
        (f"{TABLE} p = Slice(w, zero, t) y = Add(p, x)", ("b", "s", 64)),
        (f"{TABLE} p = Slice(w, zero, b) y = Add(x, p)", ("b", None, 64)),
        (f"{TABLE} p = Slice(w, one, t) y = Identity(p)", (None, 64)),
        ("k = Concat<axis=0>(b, t, eight, eight) y = Reshape(x, k)", ("b", "s", 8, 8)),
        ("k = Concat<axis=0>(b, t, eight, minus) y = Reshape(x, k)", ("b", "s", 8, 8)),
        ("k = Concat<axis=0>(zero, zero, minus) y = Reshape(x, k)", ("b", "s", 64)),
        ("k = Concat<axis=0>(eight, minus) y = Reshape(x, k)", (8, "8*b*s")),
        ("n = Mul(b, t) k = Concat<axis=0>(n, minus) y = Reshape(x, k)", ("b*s", 64)),
        ("n = Add(t, one) k = Concat<axis=0>(b, n) f = ConstantOfShape(k) y = Identity(f)",
         ("b", "s + 1")),
        ("k = Concat<axis=0>(b, t) f = ConstantOfShape(k) y = Unsqueeze(f, one)", ("b", 1, "s")),
        ("k = Concat<axis=0>(one, t) m = Expand(zero, k) y = Cast<to=1>(m)", (1, "s")),
        # What torch writes for expand(-1, ...): where(shape == -1, ones, shape).
        (
            "k = Concat<axis=0>(b, one, t) e = Equal(k, minus) n = Shape(k) "
            "o = ConstantOfShape<value = int64[1] {1}>(n) w = Where(e, o, k) "
            "c = Constant<value = float {1.0}>() y = Expand(c, w)",
            ("b", 1, "s"),
        ),
        ("k = Concat<axis=0>(b, t, eight) e = Equal(k, minus) o = Identity(k) "
         "w = Where(e, o, k) c = Constant<value = float {1.0}>() y = Expand(c, w)",
         ("b", "s", 8)),
        ("y = Slice(x, zero, t, one)", ("b", "s", 64)),
        ("y = Slice(x, one, t, one)", ("b", None, 64)),
        ("y = Slice(x, zero, two, one)", ("b", None, 64)),
        ("y = Slice(x, one, two, two)", ("b", "s", 1)),
        ("r = Concat<axis=0>(one, two, one) y = Tile(x, r)", ("b", "2*s", 64)),
        ("n = Squeeze(t) z = Constant<value=int64 {0}>() o = Constant<value=int64 {1}>() "
         "r = Range(z, n, o) y = Cast<to=1>(r)", ("s",)),
        ("y = Concat<axis=1>(x, x)", ("b", "2*s", 64)),
        ("y = Flatten(x)", ("b", "64*s")),
        ("y = Flatten<axis=2>(x)", ("b*s", 64)),
        ("p = Constant<value=int64[6] {0,1,0,0,2,0}>() y = Pad(x, p)", ("b", "s + 3", 64)),
        ("n = Size(x) m = Unsqueeze(n, zero) f = ConstantOfShape(m) y = Identity(f)", ("64*b*s",)),
        ("p = ReduceProd<keepdims=1>(s) y = ConstantOfShape(p)", ("64*b*s",)),
        ("h = Div(t, two) k = Concat<axis=0>(b, h) y = ConstantOfShape(k)", ("b", None)),
        ("d = Mul(t, two) h = Div(d, two) k = Concat<axis=0>(b, h) y = ConstantOfShape(k)",
         ("b", "s")),
        ("m = Max(t, one) k = Concat<axis=0>(b, m) y = ConstantOfShape(k)", ("b", None)),
        ("u = Add(t, one) m = Max(u, t) k = Concat<axis=0>(b, m) y = ConstantOfShape(k)",
         ("b", "s + 1")),
    ],
)  # fmt: skip
def test_named_dimensions(lines: str, expected: Shape) -> None:
    assert known(CONSTANTS, lines) == expected


def test_declared_shapes_of_results_are_no_authority() -> None:
    model = graph("g (float[2, 3] x) => (float[2, 3] y) { y = Transpose(x) }")
    assert infer(model).type_of(model.outputs[0]).shape == (3, 2)


def test_declared_shapes_help_where_nothing_is_known() -> None:
    model = graph(
        "g (float[2, 3] x) => (float[2, 7] y) { y = other.Custom(x) }", domains=("other",)
    )
    assert infer(model).type_of(model.outputs[0]).shape == (2, 7)


def test_contradictions_are_reported_with_their_node() -> None:
    model = graph("g (float[2, 3] x, float[4, 5] w) => (float[2, 5] y) { y = MatMul(x, w) }")
    problems = infer(model).problems
    assert [problem.node.op_type for problem in problems] == ["MatMul"]
    assert "Incompatible dimensions" in problems[0].reason


def test_branches_agree_on_what_they_share() -> None:
    shape = shape_of("""
    g (float[2, 3] x, bool c) => (float y) {
        y = If (c) <then_branch = yes () => (float a) { a = Relu(x) },
                    else_branch = no () => (float b) { b = Concat<axis = 1>(x, x) }>
    }
    """)
    assert shape == (2, None)


def test_what_a_loop_carries_keeps_only_what_every_round_keeps() -> None:
    model = graph("""
    g (float[2, 3] x, int64 n) => (float["m", 3] y, float["k", 2, 3] all) {
        y, all = Loop (n, , x) <body = step (int64 i, bool go, float["r", 3] v)
            => (bool on, float["q", 3] w, float[2, 3] row) {
            on = Identity(go) w = Concat<axis = 0>(v, x) row = Relu(x) }>
    }
    """)
    for value in model.outputs:
        value.shape = None
    found = infer(model)
    assert found.type_of(model.outputs[0]).shape == (None, 3)
    assert found.type_of(model.outputs[1]).shape == (None, 2, 3)


def test_values_inside_a_loop_are_not_those_of_its_first_round() -> None:
    model = graph("""
    g (float[2, 3] x, int64 n) => (float["m", 3] y, int64["k", 2] all) {
        y, all = Loop (n, , x) <body = step (int64 i, bool go, float["r", 3] v)
            => (bool on, float["q", 3] w, int64[2] row) {
            on = Identity(go) w = Concat<axis = 0>(v, x) row = Shape(v) }>
    }
    """)
    found = infer(model)
    body = next(iter(model)).subgraphs["body"]
    value = found.value_of(body.outputs[2])
    assert value is None or is_partial(value)


def test_scan() -> None:
    shape = shape_of("""
    g (float[2] s, float[5, 2] x) => (float y) {
        last, y = Scan <num_scan_inputs = 1, scan_output_axes = [1],
            body = step (float[2] state, float[2] row) => (float[2] next, float[2] out) {
                next = Add(state, row) out = Neg(row) }> (s, x)
    }
    """)
    assert shape == (2, 5)


def test_sequences_keep_their_element_type() -> None:
    model = graph("""
    g (float[4, 3] x) => (float["n", 3] y) {
        z = Constant<value = int64 {0}>()
        s = SplitToSequence(x)
        y = SequenceAt(s, z)
    }
    """)
    model.outputs[0].dtype, model.outputs[0].shape = DType.UNDEFINED, None
    assert infer(model).type_of(model.outputs[0]).dtype is DType.FLOAT


VALUE_CASES = {
    "Abs": "Abs(i)", "Add": "Add(i, j)", "And": "And(p, q)", "Cast": "Cast<to=1>(i)",
    "Ceil": "Ceil(f)", "Concat": "Concat<axis=0>(i, j)", "ConstantOfShape": "ConstantOfShape(n)",
    "Div": "Div(i, j)", "Equal": "Equal(i, j)", "Expand": "Expand(i, n)", "Floor": "Floor(f)",
    "Gather": "Gather(i, n)", "Greater": "Greater(i, j)", "GreaterOrEqual": "GreaterOrEqual(i, j)",
    "Identity": "Identity(i)", "Less": "Less(i, j)", "LessOrEqual": "LessOrEqual(i, j)",
    "Max": "Max(i, j)", "Min": "Min(i, j)", "Mod": "Mod(i, j)", "Mul": "Mul(i, j)",
    "Neg": "Neg(i)", "Not": "Not(p)", "Or": "Or(p, q)", "Range": "Range(a, b, c)",
    "ReduceMax": "ReduceMax(i)", "ReduceMin": "ReduceMin<keepdims=0>(i)",
    "ReduceProd": "ReduceProd(i)", "ReduceSum": "ReduceSum(i)", "Reshape": "Reshape(i, r)",
    "Shape": "Shape<start=-1>(f)", "Size": "Size(i)", "Slice": "Slice(i, st, en, ax, sp)",
    "Split": "Split<num_outputs=1>(i)", "Squeeze": "Squeeze(n)", "Sub": "Sub(i, j)",
    "Tile": "Tile(i, n)", "Transpose": "Transpose(i)", "Unsqueeze": "Unsqueeze(i, n)",
    "Where": "Where(p, i, j)",
}  # fmt: skip


def test_every_value_rule_is_tried() -> None:
    assert VALUE_CASES.keys() == VALUE_RULES.keys()


@pytest.mark.parametrize("name", VALUE_CASES)
def test_values_are_the_oracle_s(name: str) -> None:
    text = f"""
    g (float[1] x) => (y) {{
        i = Constant<value = int64[4] {{7, -7, 3, -3}}>()
        j = Constant<value = int64[4] {{2, 2, -2, 5}}>()
        f = Constant<value = float[4] {{0.5, -1.5, 2.0, -0.0}}>()
        n = Constant<value = int64[1] {{1}}>()
        r = Constant<value = int64[2] {{2, -1}}>()
        p = Constant<value = bool[4] {{1, 0, 1, 0}}>()
        q = Constant<value = bool[4] {{1, 1, 0, 0}}>()
        a = Constant<value = int64 {{9}}>() b = Constant<value = int64 {{-1}}>()
        c = Constant<value = int64 {{-3}}>()
        st = Constant<value = int64[1] {{-1}}>() en = Constant<value = int64[1] {{-100}}>()
        ax = Constant<value = int64[1] {{0}}>() sp = Constant<value = int64[1] {{-2}}>()
        y = {VALUE_CASES[name]}
    }}
    """
    import onnx

    message = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {text}')
    model = Graph.from_onnx(onnx.shape_inference.infer_shapes(message))
    found = infer(model).known_value(model.outputs[0])
    expected = Oracle(model, threads=1).run({"x": np.ones(1, np.float32)})["y"]
    assert found is not None
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert np.array_equal(np.signbit(found), np.signbit(expected)) or found.dtype.kind == "b"


def _package_models() -> Iterator[tuple[Path, dict[str, tuple[int, ...]]]]:
    for package, pattern, shapes in (
        ("rapidocr_onnxruntime", "models/*det*.onnx", {"x": (1, 3, 640, 640)}),
        ("rapidocr_onnxruntime", "models/*rec*.onnx", {"x": (1, 3, 48, 320)}),
        ("rapidocr_onnxruntime", "models/*cls*.onnx", {"x": (1, 3, 48, 192)}),
        ("magika", "models/standard_v3_3/*.onnx", {"bytes": (8, 2048)}),
    ):
        found = find_spec(package)
        if found is not None and found.origin is not None:
            yield from ((path, shapes) for path in Path(found.origin).parent.glob(pattern))


@pytest.mark.parametrize("opset", [9, 10, 11, 13])
def test_a_cut_axis_of_open_size_is_not_whole(opset: int) -> None:
    cut = "y = Slice(a, s, e, k)"
    if opset < 10:
        cut = "y = Slice<starts = [0], ends = [1], axes = [0]>(a)"
    lists = " ".join(
        f"{n} = Constant<value = int64[1] {{{v}}}>()" for n, v in zip("sek", (0, 1, 0), strict=True)
    )
    text = f'g (bool["n","m"] x) => (bool[p, q] y) {{ {lists} a = Concat<axis=0>(x, x) {cut} }}'
    model = graph(text, opset=opset)
    assert infer(model).type_of(model.outputs[0]).shape in ((None, "m"), ("p", "m"))


MODELS = list(_package_models())


@pytest.mark.skipif(not MODELS, reason="the packages that ship models are not installed")
@pytest.mark.parametrize(("path", "shapes"), MODELS, ids=[path.stem for path, _ in MODELS])
def test_static_inputs_make_real_models_static(
    path: Path, shapes: dict[str, tuple[int, ...]]
) -> None:
    model = Graph.from_onnx(path)
    FreezeInputShapes(shapes).run(model, PassContext())
    found = infer(model)
    assert not found.problems
    open_nodes = [
        node for node in model for value in node.outputs
        if found.type_of(value).static_shape is None
    ]  # fmt: skip
    assert not open_nodes
    results = Oracle(model, threads=1).run(random_inputs(model, 0))
    for name, value in zip(model.output_names, model.outputs, strict=True):
        assert found.type_of(value).shape == results[name].shape
