"""What is quantized is rounded as operators of the model say, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.target import resolve
from tests.backends.lowering.models import model, normal, prepared

TARGETS = ("cpu", "x86-64-v2", "x86-64-v3", "x86-64-v4")


def run(text: str, target: str = "cpu", **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Results of a model compiled for ``target``, which this machine has to be."""
    resolved = resolve(target, 1)
    if resolved.features - resolve("cpu").for_integers().features:
        pytest.skip("needs a better processor")
    _, program = compile_program(prepared(model(text)), resolved)
    return dict(build_artifact([program], resolved, [], Provenance()).run(inputs))


def integers(*shape: int, dtype: type, limit: int, seed: int = 0) -> np.ndarray:
    """Integers from 0 on, below ``limit``."""
    return np.random.default_rng(seed).integers(0, limit, shape).astype(dtype)


@pytest.mark.parametrize("target", TARGETS)
def test_scaled_integers_are_rounded_before_a_bias_is_added(target: str) -> None:
    x = integers(40, 100, dtype=np.int32, limit=1 << 23)
    s, b = np.float32(0.0012345), normal(100) * 3000
    text = """g (int32[40, 100] x, float s, float[100] b) => (float[40, 100] y) {
        f = Cast<to = 1>(x)  m = Mul(f, s)  y = Add(m, b) }"""
    found = run(text, target, x=x, s=s, b=b)["y"]
    np.testing.assert_array_equal(found, x.astype(np.float32) * s + b)


def test_bytes_are_rounded_before_they_are_added_to() -> None:
    q, x = integers(40, 100, dtype=np.uint8, limit=256), normal(40, 100)
    text = """g (uint8[40, 100] q, float[40, 100] x) => (float[40, 100] y)
        <float s = {0.0123}, uint8 z = {131}> { f = DequantizeLinear(q, s, z)  y = Add(f, x) }"""
    found = run(text, q=q, x=x)["y"]
    real = (q.astype(np.float32) - 131) * np.float32(0.0123)
    np.testing.assert_array_equal(found, real + x)


def test_sums_of_a_product_are_rounded_before_a_bias_is_added() -> None:
    a, w = integers(33, 64, dtype=np.uint8, limit=256), integers(64, 48, dtype=np.int8, limit=100)
    s, b = np.float32(0.00012345), normal(48) * 30
    text = """g (uint8[33, 64] a, float s, float[48] b) => (float[33, 48] y)
        <int8[64, 48] w = {%s}, uint8 z = {131}> {
        i = MatMulInteger(a, w, z)  f = Cast<to = 1>(i)  m = Mul(f, s)  y = Add(m, b) }"""
    found = run(text % ", ".join(map(str, w.ravel())), a=a, s=s, b=b)["y"]
    total = (a.astype(np.int32) - 131) @ w.astype(np.int32)
    np.testing.assert_array_equal(found, total.astype(np.float32) * s + b)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("known", [False, True], ids=["computed", "known"])
def test_quotients_are_those_of_a_division(target: str, known: bool) -> None:
    """At ties: by the reciprocal of the scale, every other one would be off by a step."""
    scale = np.float32(0.0371)
    near = (np.arange(-130, 130, dtype=np.float32) + np.float32(0.5)) * scale
    x = np.concatenate([np.nextafter(near, side) for side in (-np.inf, np.inf)] + [near])
    x = np.concatenate([x, np.float32([np.inf, -np.inf, 3e38, -3e38, 1e-40, 0, -0.0])])
    given, held = ("", "float s = {0.0371}, ") if known else (", float s", "")
    text = f"""g (float[{x.size}] x{given}) => (uint8[{x.size}] q)
        <{held}uint8 z = {{131}}> {{ q = QuantizeLinear(x, s, z) }}"""
    found = run(text, target, x=x, **({} if known else {"s": scale}))["q"]
    with np.errstate(over="ignore"):
        expected = np.clip(np.rint(x / scale) + 131, 0, 255)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("zero", [0, 131, 77])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_quantized_twice_within_a_kernel_is_rounded_twice(target: str, zero: int) -> None:
    x = np.random.default_rng(0).random((4, 198)).astype(np.float32)
    text = f"""g (float[4, 198] x) => (uint8[4, 198] y)
        <float s = {{0.00390625}}, uint8 z = {{{zero}}}, float t = {{0.00133487}}, uint8 o = {{5}}>
        {{ r = Sqrt(x)  q = QuantizeLinear(r, s, z)  d = DequantizeLinear(q, s, z)
        y = QuantizeLinear(d, t, o) }}"""
    found = run(text, target, x=x)["y"]
    once = np.clip(np.rint(np.sqrt(x) / np.float32(0.00390625)) + zero, 0, 255) - zero
    twice = np.rint(once * np.float32(0.00390625) / np.float32(0.00133487)) + 5
    np.testing.assert_array_equal(found, np.clip(twice, 0, 255))
