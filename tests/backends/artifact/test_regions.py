"""Models of which ONNX Runtime runs a part: kernels and regions in turn."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from burnish.backends.artifact import Artifact, load_artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.self_test import Vector
from burnish.errors import BurnishError, InvalidInput, UnsupportedModel
from burnish.target import Target, resolve
from tests.backends.artifact import toy


def region(text: str) -> bytes:
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 20]>\n{text}')
    return bytes(model.SerializeToString())


def buffer(name: str, kind: BufferKind, shape: tuple[int, ...] = toy.SHAPE) -> Buffer:
    return Buffer(name, shape, "float32", kind)


def negated(kernels: bytes) -> Program:
    """y = -(2 x) + w: a kernel, a region, a kernel."""
    x, y = buffer("x", BufferKind.INPUT), buffer("y", BufferKind.OUTPUT)
    a, b = (buffer(name, BufferKind.TEMPORARY) for name in "ab")
    w = Buffer("w", toy.SHAPE, "float32", BufferKind.CONSTANT, toy.weight())
    model = region("g (float[37, 53] p) => (float[37, 53] q) { q = Neg(p) }")
    calls = [
        Call("twice", (x, a)),
        Call("Neg", (a, b), region=model),
        Call("add", (b, w, y)),
    ]
    return Program([x], [y], calls, [kernels])


def positives(kernels: bytes) -> Program:
    """The positive elements of 2 x, sorted: both sizes are known only at run time."""
    x, a = buffer("x", BufferKind.INPUT), buffer("a", BufferKind.TEMPORARY)
    kept = buffer("kept", BufferKind.TEMPORARY, (-1,))
    y = buffer("y", BufferKind.OUTPUT, (-1,))
    choose = region(
        """g (float[37, 53] p) => (float[n] q) <float zero = {0.0}, int64[1] flat = {-1}> {
        positive = Greater(p, zero)
        mask = Reshape(positive, flat)
        values = Reshape(p, flat)
        q = Compress <axis = 0> (values, mask)
        }"""
    )
    order = region(
        """g (float[n] p) => (float[n] v) {
        size = Shape(p)
        v, places = TopK(p, size)
        }"""
    )
    calls = [
        Call("twice", (x, a)),
        Call("choose", (a, kept), region=choose),
        Call("order", (kept, y), region=order),
    ]
    return Program([x], [y], calls, [kernels])


def build(program: Program, target: Target, vector: Vector | None = None) -> Artifact:
    return build_artifact([program], target, [vector] if vector else [], Provenance())


def test_kernels_and_a_region_in_turn(kernels: bytes, target: Target) -> None:
    x = toy.sample()
    expected = -2 * x + toy.weight()
    made = build(negated(kernels), target, Vector({"x": x}, {"y": expected}))
    assert made.self_test()[0].error == 0
    np.testing.assert_array_equal(made.run({"x": toy.sample(1)})["y"],
                                  -2 * toy.sample(1) + toy.weight())  # fmt: skip


def test_sizes_that_only_running_tells(kernels: bytes, target: Target) -> None:
    made = build(positives(kernels), target)
    assert [str(port) for port in made.outputs] == ["y: float32[-1]"]
    for seed in range(3):
        x = toy.sample(seed)
        expected = -np.sort(-2 * x[x > 0])
        np.testing.assert_array_equal(made.run({"x": x})["y"], expected)


def test_nothing_but_a_region(target: Target) -> None:
    x = Buffer("x", (2, 3), "int64", BufferKind.INPUT)
    y = Buffer("y", (3,), "bool", BufferKind.OUTPUT)
    model = region(
        """g (int64[2, 3] x) => (bool[3] y) <int64[1] first = {0}> {
        s = ReduceSum <keepdims = 0> (x, first)
        y = Cast <to = 9> (s)
        }"""
    )
    made = build(Program([x], [y], [Call("all", (x, y), region=model)]), target)
    given = np.array([[1, 2, 0], [-1, 3, 0]])
    np.testing.assert_array_equal(made.run({"x": given})["y"], [False, True, False])


def test_a_region_is_refused_for_another_machine(kernels: bytes) -> None:
    with pytest.raises(UnsupportedModel, match=r"no kernels for Neg: .* not on riscv64"):
        build(negated(kernels), resolve("riscv64"))


def test_a_region_onnxruntime_rejects_is_named(kernels: bytes, target: Target) -> None:
    program = negated(kernels)
    bad = region("g (float[37, 53] p) => (float[37, 53] q) { q = NoSuchOperator(p) }")
    program.calls[1] = Call("x", program.calls[1].args, region=bad)
    with pytest.raises(InvalidInput, match=r"ONNX Runtime rejects regions/0\.onnx"):
        build(program, target).run({"x": toy.sample()})


@pytest.mark.parametrize("shape", [[37, 54], [1 << 61, 1 << 61]])
def test_a_manifest_that_lies_about_a_region_is_refused(
    kernels: bytes, target: Target, shape: list[int]
) -> None:
    made = build(negated(kernels), target)
    manifest = made.path / "manifest.json"
    data = json.loads(manifest.read_text())
    data["entries"][0]["segments"][1]["inputs"][0]["shape"] = shape
    manifest.write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match="disagree about the buffer"):
        load_artifact(made.path).run({"x": toy.sample()})


def test_a_region_that_gives_another_shape_is_an_error(kernels: bytes, target: Target) -> None:
    program = negated(kernels)
    bad = region("g (float[37, 53] p) => (float[a, b] q) { q = Transpose(p) }")
    program.calls[1] = Call("x", program.calls[1].args, region=bad)
    with pytest.raises(BurnishError, match=r"gave float32\[53, 37\] for q: float32\[37, 53\]"):
        build(program, target).run({"x": toy.sample()})
