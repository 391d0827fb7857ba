"""What optimize writes is at rest: optimizing it again changes nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from burnish import api
from burnish.ir.printer import to_text
from burnish.testing import graph
from tests.depth import slow

PRESETS = ("minimal", "default", "max")
DETECTOR, RECOGNIZER = "ch_PP-OCRv4_det_infer", "ch_PP-OCRv4_rec_infer"
CLASSIFIER = "ch_ppocr_mobile_v2.0_cls_infer"
MODELS = {
    DETECTOR: (1, 3, 64, 96),
    RECOGNIZER: (1, 3, 48, 96),
    CLASSIFIER: (1, 3, 48, 192),
}

SMALL = {
    "interface": """
    g (float["n", 4] x) => (float["n", 4] x1, float["n", 4] a, float[2] k, float["n", 4] b) {
        x1 = Identity(x) a = Neg(x) i = Neg(x) b = Identity(i)
        k = Constant<value = float[2] {1.0, 2.0}>() }
    """,
    "shapes": """
    g (float["batch", "length", 8] x) => (float["batch", "l", 2, 4] y) {
        s = Shape(x) zero = Constant<value = int64 {0}>() n = Gather(s, zero)
        axes = Constant<value = int64[1] {0}>() m = Unsqueeze(n, axes)
        rest = Constant<value = int64[3] {-1, 2, 4}>() t = Concat<axis = 0>(m, rest)
        y = Reshape(x, t) }
    """,
    "branches": """
    g (float[2] x, bool c) => (float[2] y, float[2] z) {
        e = Exp(x)
        y, z = If (c) <then_branch = yes () => (float[2] a, float[2] b) {
                            f = Exp(x) a = Neg(f) b = Identity(x) },
                        else_branch = no () => (float[2] p, float[2] q) {
                            h = Exp(e) p = Abs(h) q = Identity(e) }> }
    """,
    "loop": """
    g (float[2] x, float[2] s, int64 n) => (float[2] y, float["k", 2] rows) {
        t = Constant<value = bool {1}>()
        y, r, w, rows = Loop (n, t, x, s, s) <
            body = step (int64 i, bool go, float[2] v, float[2] u, float[2] d)
            => (bool on, float[2] v1, float[2] u1, float[2] d1, float[2] row) {
            on = Identity(go) e = Exp(s) f = Neg(u) v1 = Add(v, e) u1 = Identity(u) d1 = Abs(d)
            row = Mul(v, f) }> }
    """,
    "short loop": """
    g (float[2] x) => (float[2] y) {
        n = Constant<value = int64 {2}>()
        y = Loop (n, , x) <body = step (int64 i, bool go, float[2] v) => (bool on, float[2] w) {
            on = Identity(go) w = Exp(v) }> }
    """,
    "scan": """
    g (float["n", 2] x, float["n", 2] z) => (float[2] y, float["n", 2] rows) {
        zero = Constant<value = float[2] {0.0, 0.0}>()
        y, rows = Scan <num_scan_inputs = 2, body = step (float[2] s, float[2] a, float[2] b)
            => (float[2] t, float[2] row) { t = Add(s, a) row = Identity(t) }> (zero, x, z) }
    """,
    "sequences": """
    g (float[2] x, float[2] z, int64 n) => (float[4] y, seq(float[2]) s) {
        one = SequenceConstruct(x, z) y = ConcatFromSequence<axis = 0>(one)
        s = SequenceErase(one, n) }
    """,
    "normalization": """
    g (float["n", 8] x, float[8] w) => (float["n", 8] y) {
        axes = Constant<value = int64[1] {-1}>() m = ReduceMean(x, axes) c = Sub(x, m)
        q = Mul(c, c) v = ReduceMean(q, axes) e = Constant<value = float {0.00001}>()
        d = Add(v, e) r = Sqrt(d) n = Div(c, r) y = Mul(n, w) }
    """,
    "arithmetic": """
    g (float["n", 4] x) => (float["n", 4] y) {
        two = Constant<value = float {2.0}>() a = Mul(x, two) b = Div(a, two) c = Add(b, two)
        d = Sub(c, two) t = Transpose<perm = [1, 0]>(d) u = Relu(t)
        y = Transpose<perm = [1, 0]>(u) }
    """,
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", SMALL)
def test_small_models(name: str, preset: str) -> None:
    first, report = api.optimize(graph(SMALL[name]), preset, verify="end")
    assert not report.rolled_back
    assert_at_rest(first.to_onnx(), preset)


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        *((DETECTOR, True), (RECOGNIZER, False), slow(DETECTOR, False), slow(RECOGNIZER, True)),
        *(slow(CLASSIFIER, frozen) for frozen in (False, True)),
    ],
)
def test_real_models(name: str, frozen: bool) -> None:
    found = find_spec("rapidocr_onnxruntime")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("rapidocr_onnxruntime is not installed")
    path = Path(found.submodule_search_locations[0]) / "models" / f"{name}.onnx"
    shapes = {"x": MODELS[name]} if frozen else None
    assert_at_rest(api.optimize(path, input_shapes=shapes, verify="off")[0].to_onnx(), "default")


def assert_at_rest(model: object, preset: str) -> None:
    """Optimize what was written again: no pass may edit it, and the same is written."""
    again, report = api.optimize(model, preset, verify="off")  # type: ignore[arg-type]
    assert {entry.name: dict(entry.edits) for entry in report if entry.changed} == {}
    assert to_text(again, names=True) == to_text(api.load(model), names=True)  # type: ignore[arg-type]
