"""lower-exotic: rare operators in terms of common ones, to the oracle's own answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from burnish.ir import Array, Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.lower_exotic import LowerExotic
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext(explain=True)
OPSET = 24


def check(text: str, opset: int = OPSET, inputs: Mapping[str, Array] | None = None) -> Graph:
    before, after = graph(text, opset=opset), graph(text, opset=opset)
    InferShapes().run(after, CONTEXT)
    assert LowerExotic().run(after, CONTEXT).changed
    assert_equivalent(before, after, Numerics.REASSOCIATES, inputs=inputs)
    assert all(v.static_shape is not None for node in after.walk() for v in node.outputs)
    assert not LowerExotic().run(after, CONTEXT).changed
    return after


def refused(text: str, reason: str) -> None:
    model = graph(text, opset=OPSET)
    InferShapes().run(model, CONTEXT)
    result = LowerExotic().run(model, CONTEXT)
    assert not result.changed
    assert any(reason in miss.reason for miss in result.missed), result.missed


def kinds(model: Graph) -> set[str]:
    return {node.op_type for node in model.walk()}


EINSUMS = [
    ("ij,jk->ik", "2,3", "3,4", "2,4"),
    ("ij,jk", "2,3", "3,4", "2,4"),
    ("bij,bkj->bik", "2,3,4", "2,5,4", "2,3,5"),
    ("bhid,bhjd->bhij", "2,3,4,5", "2,3,6,5", "2,3,4,6"),
    ("bhij,bjhd->bihd", "2,3,4,5", "2,5,3,6", "2,4,3,6"),
    ("aecd,abcd->acbe", "2,6,3,5", "2,4,3,5", "2,3,4,6"),
    ("ij,kl->ijkl", "2,3", "4,5", "2,3,4,5"),
    ("ij,ij->ij", "2,3", "2,3", "2,3"),
    ("ij,ij->", "2,3", "2,3", ""),
    ("ijk,kl->jl", "2,3,4", "4,5", "3,5"),
    ("...ij,...jk->...ik", "2,3,4,5", "2,3,5,2", "2,3,4,2"),
    ("...i,ij->...j", "2,3,4", "4,5", "2,3,5"),
    ("b c h w , b c -> b h w c", "2,3,4,2", "2,3", "2,4,2,3"),
]


@pytest.mark.parametrize(("equation", "a", "b", "y"), EINSUMS)
def test_einsum_of_two(equation: str, a: str, b: str, y: str) -> None:
    result = f"float[{y}] y" if y else "float y"
    call = f'Einsum<equation="{equation}">(a, b)'
    model = check(f"g (float[{a}] a, float[{b}] b) => ({result}) {{ y = {call} }}")
    assert "Einsum" not in kinds(model)


@pytest.mark.parametrize(
    ("equation", "y"),
    [("ijk->kij", "4,2,3"), ("ijk->k", "4"), ("ijk->", ""), ("...k->...k", "2,3,4")],
)
def test_einsum_of_one(equation: str, y: str) -> None:
    result = f"float[{y}] y" if y else "float y"
    check(f'g (float[2,3,4] a) => ({result}) {{ y = Einsum<equation="{equation}">(a) }}')


def test_einsum_of_three() -> None:
    check("""
    g (float[2,3] a, float[3,4] b, float[4,2] c) => (float[2,2] y) {
        y = Einsum<equation="ij,jk,kl->il">(a, b, c)
    }
    """)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('(float[3,3] a) => (float[3] y) { y = Einsum<equation="ii->i">(a) }', "diagonal"),
        (
            '(float[1,3] a, float[2,3] b) => (float[2,3] y) '
            '{ y = Einsum<equation="...i,...i->...i">(a, b) }',
            "broadcasts",
        ),
        ('(float["n",3] a) => (float[3] y) { y = Einsum<equation="ij->j">(a) }', "not known"),
        ('(float["n",4,2,2] x) => (float["n",1,4,4] y) { y = DepthToSpace<blocksize=2>(x) }',
         "not known"),
        ('(float[3,3] x, int64 k) => (float[3,3] y) { y = Trilu(x, k) }', "not constant"),
        ('(float[1,2,5] x) => (float[1,2,"n"] y) '
         '{ y = LpPool<kernel_shape=[2], strides=[2], ceil_mode=1>(x) }', "may be cut"),
        ('(float x) => (float y) { y = Celu(x) }', "gives a number an axis"),
        ('(float[2,2] x, int64[2] n) => (float[2,2] y) { y = ReverseSequence(x, n) }',
         "not constant"),
        ('(float[2,3,4] a) => (float y) { y = Einsum<equation="ij->">(a) }', "does not fit"),
        ('(float[2] a, float[2] b) => (float[2] y) { y = Einsum<equation="i->i">(a, b) }',
         "does not fit"),
        ('(float[2,3] a) => (float y) { y = Einsum<equation="ij->k">(a) }', "does not fit"),
    ],
)  # fmt: skip
def test_stays(text: str, reason: str) -> None:
    refused(f"g {text}", reason)


MODELS = {
    "depth-to-space":
        "(float[2,8,3,4] x) => (float[2,2,6,8] y) { y = DepthToSpace<blocksize=2>(x) }",
    "depth-to-space-crd":
        '(float[2,8,3,4] x) => (float[2,2,6,8] y) { y = DepthToSpace<blocksize=2, mode="CRD">(x) }',
    "space-to-depth":
        "(float[2,2,6,8] x) => (float[2,8,3,4] y) { y = SpaceToDepth<blocksize=2>(x) }",
    "global-lp-pool": "(float[2,3,4,5] x) => (float[2,3,1,1] y) { y = GlobalLpPool<p=3>(x) }",
    "global-l2-pool": "(float[2,3,4,5] x) => (float[2,3,1,1] y) { y = GlobalLpPool(x) }",
    "lp-pool": """(float[2,3,6,6] x) => (float[2,3,3,4] y) {
        y = LpPool<kernel_shape=[2,3], strides=[2,2], pads=[0,1,0,1], p=1>(x) }""",
    "lp-pool-3": "(float[1,2,5] x) => (float[1,2,4] y) { y = LpPool<kernel_shape=[2], p=3>(x) }",
    "l1-normalization": "(float[2,3] x) => (float[2,3] y) { y = LpNormalization<p=1, axis=0>(x) }",
    "l2-normalization": "(float[2,3] x) => (float[2,3] y) { y = LpNormalization(x) }",
    "zero-norm": """(float[2,3] x) => (float[2,3] y) {
        zero = Constant<value = float {0.0}>() z = Mul(x, zero) y = LpNormalization(z) }""",
    "triu": """(float[2,3,4] x) => (float[2,3,4] y) {
        k = Constant<value = int64 {-1}>() y = Trilu(x, k) }""",
    "tril": "(int64[3,4] x) => (int64[3,4] y) { y = Trilu<upper=0>(x) }",
    "eye-like": "(float[3,4] x) => (int64[3,4] y) { y = EyeLike<dtype=7, k=1>(x) }",
    "hardmax": "(float[2,3,4] x) => (float[2,3,4] y) { y = Hardmax<axis=1>(x) }",
    "reverse-sequence": """(float[4,3,2] x) => (float[4,3,2] y) {
        n = Constant<value = int64[3] {1, 4, 2}>() y = ReverseSequence(x, n) }""",
    "reverse-sequence-batch-first": """(float[3,4,2] x) => (float[3,4,2] y) {
        n = Constant<value = int64[3] {1, 4, 0}>()
        y = ReverseSequence<batch_axis=0, time_axis=1>(x, n) }""",
    "celu": "(float[3,4] x) => (float[3,4] y) { y = Celu<alpha=0.5>(x) }",
    "swish": "(float[3,4] x) => (float[3,4] y) { y = Swish<alpha=0.5>(x) }",
    "mean-variance":
        "(float[2,3,4,4] x) => (float[2,3,4,4] y) { y = MeanVarianceNormalization(x) }",
    "center-crop-pad": """(float[3,8] x) => (float[5,4] y) {
        s = Constant<value = int64[2] {5, 4}>() y = CenterCropPad(x, s) }""",
    "dynamic-quantize": """(float[3,4] x) => (uint8[3,4] y, float s, uint8 z) {
        y, s, z = DynamicQuantizeLinear(x) }""",
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_lowered(name: str) -> None:
    text = f"g {MODELS[name]}"
    # The oracle has no GlobalLpPool of later opsets.
    opset = 21 if name.startswith("global") else OPSET
    rare = kinds(graph(text, opset=opset)) - {"Mul"}
    assert not rare & kinds(check(text, opset))


def test_loss() -> None:
    text = """
    g (float[3,5] x, int64[3] t) => (float y) {
        y = SoftmaxCrossEntropyLoss<reduction="mean">(x, t)
    }
    """
    x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(3, 5)
    check(text, inputs={"x": x, "t": np.array([0, 4, 2])})


def test_kept_operators_stay() -> None:
    model = graph(f"g {MODELS['celu']}", opset=OPSET)
    InferShapes().run(model, CONTEXT)
    assert not LowerExotic(keep=("Celu",)).run(model, CONTEXT).changed


def test_provenance_survives_expansion() -> None:
    model = graph(f"g {MODELS['mean-variance']}", opset=OPSET)
    InferShapes().run(model, CONTEXT)
    source = next(iter(model)).provenance
    LowerExotic().run(model, CONTEXT)
    assert {node.provenance for node in model} == {source}


def test_operands_change_places_where_the_result_wants_it() -> None:
    text = """g (float[2, 6, 3, 5] k, float[2, 4, 3, 5] q) => (float[2, 3, 4, 6] y) {
        y = Einsum<equation = "aecd,abcd->acbe">(k, q) }"""
    assert [node.op_type for node in check(text)] == ["Transpose", "Transpose", "MatMul"]


def test_linear_attention_is_a_scan() -> None:
    text = """g (float[2, 3, 5, 8] q, float[2, 3, 5, 8] k, float[2, 3, 5, 8] v)
        => (float[2, 3, 5, 8] y, float[2, 3, 8, 8] s) {
        y, s = LinearAttention<q_num_heads = 3, kv_num_heads = 3, update_rule = "linear">(q, k, v)
    }"""
    model = graph(text, opset=27)
    InferShapes().run(model, CONTEXT)
    result = LowerExotic().run(model, CONTEXT)
    assert result.changed, result.missed
    assert "Scan" in kinds(model)


ROI = (
    "g (float[1, 2, 9, 9] x, float[k, 4] b, int64[k] i) => (float[k, 2, 3, 3] y)"
    " { y = RoiAlign<output_height=3, output_width=3, sampling_ratio=2, OPTIONS>(x, b, i) }"
)


@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
def test_boxes_are_scaled_before_they_are_aligned(mode: str) -> None:
    options = f'spatial_scale=0.5, coordinate_transformation_mode="{mode}"'
    text = ROI.replace("OPTIONS", options).replace("k", "4")
    boxes = np.array([[0, 0, 18, 18], [3, 4, 11.5, 9], [5, 5, 5.5, 6], [-4, 2, 30, 9]], np.float32)
    x = np.random.default_rng(0).standard_normal((1, 2, 9, 9)).astype(np.float32)
    check(text, 16, inputs={"x": x, "b": boxes, "i": np.zeros(4, np.int64)})


def test_boxes_in_pixels_are_left_alone() -> None:
    refused(ROI.replace("OPTIONS", "spatial_scale=1.0"), "in pixels already")
