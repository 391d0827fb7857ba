"""One artifact for several sets of input shapes, from models to what runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import burnish
from burnish.backends.artifact import Artifact, load_artifact
from burnish.backends.lowering.join import join, share_constants, split
from burnish.backends.lowering.lower import lower
from burnish.backends.program import BufferKind, Program
from burnish.backends.weights import lay_out_weights
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.target import resolve
from burnish.testing import graph

WEIGHTS = "weights.bin"
SIZES = (5, 9)
BODY = """{
    t = Constant<value_floats=[%s]>() s = Constant<value_ints=[6, 64]>() w = Reshape(t, s)
    p = MatMul(x, w) q = Mul(p, m) y = Softmax<axis = -1>(q)
}"""


def model() -> Graph:
    """Products and softmax over any number of rows, each scaled by the other input."""
    numbers = ", ".join(f"{np.sin(n):.3f}" for n in range(6 * 64))
    head = 'g (float["rows", 6] x, float["rows", 1] m) => (float["rows", 64] y) '
    return graph(head + BODY % numbers)


def sets(*sizes: int) -> list[dict[str, tuple[int, ...]]]:
    return [{"x": (size, 6), "m": (size, 1)} for size in sizes]


def feeds(size: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(size)
    shapes = {"x": (size, 6), "m": (size, 1)}
    return {name: random.standard_normal(s).astype(np.float32) for name, s in shapes.items()}


@pytest.fixture(scope="module")
def two() -> Artifact:
    return burnish.compile(model(), input_shapes=sets(*SIZES), threads=1, tune="off")


@pytest.mark.parametrize("size", SIZES)
def test_the_shape_picks_the_entry(two: Artifact, size: int) -> None:
    expected = Oracle(model()).run(feeds(size))["y"]
    np.testing.assert_allclose(two.run(feeds(size))["y"], expected, atol=1e-6)


def test_weights_are_stored_once_and_equal_kernels_compiled_once(two: Artifact) -> None:
    one = burnish.compile(model(), input_shapes=sets(5)[0], threads=1, tune="off")
    assert two.manifest.files[WEIGHTS].bytes == one.manifest.files[WEIGHTS].bytes
    rest = "g (float[2, N] x, float[4, 3] z) => (float[2, N] y, float[4, 3] s)"
    part = graph(rest.replace("N", '"n"') + " { y = Sin(x) s = Cos(z) }")
    shapes = [{"x": (2, n)} for n in (3, 8)]
    both = burnish.compile(part, input_shapes=shapes, threads=1, tune="off")
    names = [[call.kernel for call in both.calls(entry) or []] for entry in range(2)]
    assert len(set(names[0]) & set(names[1])) == 1


def test_every_entry_is_described_tested_and_verified(two: Artifact, tmp_path: Path) -> None:
    assert [each.output for each in two.self_test()] == ["y", "y"]
    assert [entry.inputs[0].shape for entry in two.manifest.entries] == [(5, 6), (9, 6)]
    assert [two.example(entry).inputs["x"].shape for entry in range(2)] == [(5, 6), (9, 6)]
    frozen = [step["options"]["shapes"] for step in two.manifest.passes
              if step["name"] == "freeze-input-shapes"]  # fmt: skip
    assert [tuple(shapes["x"]) for shapes in frozen] == [(5, 6), (9, 6)]
    two.save(tmp_path / "two.burnish")
    again = load_artifact(tmp_path / "two.burnish")
    assert again.run(feeds(9))["y"].shape == (9, 64)


def test_another_shape_is_refused_with_those_there_are(two: Artifact) -> None:
    with pytest.raises(UsageError, match=r"no entry takes x\[7, 6\], .*x\[5, 6\], .*x\[9, 6\], "):
        two.run(feeds(7))


def test_samples_go_to_the_set_that_has_their_shapes() -> None:
    given = [feeds(9)]
    made = burnish.compile(model(), input_shapes=sets(*SIZES), samples=given, threads=1, tune="off")
    np.testing.assert_array_equal(made.example(1).inputs["x"], given[0]["x"])
    assert made.example(0).inputs["x"].shape == (5, 6)
    with pytest.raises(UsageError, match="sample 0 has the shapes x=7,6 m=7,1, which no set"):
        burnish.compile(
            model(), input_shapes=sets(*SIZES), samples=[feeds(7)], threads=1, tune="off"
        )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([*sets(5), *sets(5)], "given twice"),
        ([{"x": (5, 6)}, {"x": (5, 6), "m": (5, 1)}], "given twice"),
        ([{"x": (5, 6)}, {"q": (5, 1)}], "unknown input 'q'"),
        ([{"x": (5, 6)}, {"m": 7}], "one shape per input"),
        ([{"x": (5, 6)}, 7], "one shape per input"),
        ([{"x": (5, 6)}, {}], r"input_shapes=\{'x': \(rows, 6\)"),
        ([], "one shape per input"),
    ],
)
def test_what_cannot_be_sets(shapes: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        burnish.compile(model(), input_shapes=shapes, threads=1, tune="off")  # type: ignore[arg-type]


def test_a_real_model_packs_weights_alike_at_two_widths() -> None:
    """The classifier of PP-OCR, without the time that its kernels take to compile."""
    package = pytest.importorskip("rapidocr_onnxruntime", reason="ships the model")
    path = Path(package.__file__).parent / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    target = resolve("cpu", 1)
    models = []
    for width in (96, 192):
        steps = choose(Selection(input_shapes={"x": (1, 3, 48, width)}, compiling=True))
        static, _ = run_pipeline(Graph.from_onnx(path), steps, PassContext(target), verify="off")
        models.append(lower(static, target))
    programs = split(Program([], [], join(models).calls), models)
    both, one = (lay_out_weights(each).payload_bytes for each in (programs, programs[:1]))
    assert one > 400_000
    assert both <= 1.01 * one
    shared = share_constants(models)
    arrays = {id(buffer.data) for model in shared for call in model.calls for buffer in call.args
              if buffer.kind is BufferKind.CONSTANT}  # fmt: skip
    assert len(arrays) <= len(lay_out_weights(programs).arrays) * 1.1
