"""Polynomials against float64, over every exponent and at the edges."""

import math
from collections.abc import Callable

import numpy
import pytest
import tvm
from tvm import te, tirx

from burnish.backends.kernels import fast_math
from burnish.target import Target

EDGES = numpy.array(
    [0.0, -0.0, 1.0, -1.0, numpy.inf, -numpy.inf, numpy.nan,
     88.7, 88.73, -87.0, -104.0, 1e-40, 3e38],
    "float32",
)  # fmt: skip
FLUSHED = 1e-35
"""Magnitude below which results may lose accuracy or flush to zero."""


def inputs(low: float, high: float) -> numpy.ndarray:
    rng = numpy.random.default_rng(7)
    every_exponent = rng.integers(0, 2**32, 1 << 16, dtype=numpy.uint32).view("float32")
    usual = rng.uniform(low, high, 1 << 15).astype("float32")
    return numpy.concatenate([EDGES, every_exponent[~numpy.isnan(every_exponent)], usual])


def elementwise(expr: Callable[..., object], size: int) -> tirx.PrimFunc:
    x = te.placeholder((size,), name="x")
    return te.create_prim_func([x, te.compute((size,), lambda i: expr(x[i]), name="y")])


def erf(values: numpy.ndarray) -> numpy.ndarray:
    return numpy.array([math.erf(value) for value in values])


def sigmoid(values: numpy.ndarray) -> numpy.ndarray:
    return 1 / (1 + numpy.exp(-values))


FUNCTIONS = [
    (tirx.exp, numpy.exp, -110, 110, 2.0e-7),
    (tirx.sinh, numpy.sinh, -92, 92, 6.0e-7),
    (tirx.cosh, numpy.cosh, -92, 92, 6.0e-7),
    (tirx.tanh, numpy.tanh, -10, 10, 5.0e-7),
    (tirx.sigmoid, sigmoid, -90, 90, 4.0e-7),
    (tirx.erf, erf, -5, 5, 6.0e-7),
    (tirx.atan, numpy.arctan, -5, 5, 3.0e-7),
    (tirx.log, numpy.log, 0, 100, 2.0e-7),
    (tirx.log2, numpy.log2, 0, 100, 3.0e-7),
    (tirx.log10, numpy.log10, 0, 100, 3.0e-7),
]


@pytest.mark.parametrize(
    ("function", "reference", "low", "high", "bound"),
    FUNCTIONS,
    ids=[row[0].__name__ for row in FUNCTIONS],
)
def test_error_stays_in_bound(function, reference, low, high, bound, run):
    x = inputs(low, high)
    actual = run(elementwise(function, len(x)), [x])
    with numpy.errstate(all="ignore"):
        expected = reference(x.astype("float64"))
        nearest = expected.astype("float32")
    finite = numpy.isfinite(nearest)
    numpy.testing.assert_array_equal(actual[~finite], nearest[~finite])
    error = numpy.abs(actual[finite] - expected[finite])
    assert numpy.all(error <= bound * numpy.abs(expected[finite]) + FLUSHED)


@pytest.mark.parametrize(
    ("function", "reference"), [(tirx.sin, numpy.sin), (tirx.cos, numpy.cos)], ids=["sin", "cos"]
)
def test_turns(function, reference, run):
    x = inputs(-20, 20)
    actual = run(elementwise(function, len(x)), [x])
    with numpy.errstate(all="ignore"):
        expected = reference(x.astype("float64"))
    numpy.testing.assert_array_equal(numpy.isnan(actual), numpy.isnan(expected))
    near = numpy.abs(x) <= 1e8
    numpy.testing.assert_allclose(actual[near], expected[near], rtol=0, atol=2e-7)
    assert numpy.all(numpy.abs(actual[numpy.isfinite(x)]) <= 1.0000001)
    small = numpy.abs(x) < 1e-3
    numpy.testing.assert_allclose(actual[small], expected[small], rtol=2e-7, atol=FLUSHED)


def test_exp_of_nonpositive(run):
    rng = numpy.random.default_rng(7)
    x = numpy.concatenate([[0.0, -numpy.inf, -200], rng.uniform(-110, 0, 5000)]).astype("float32")
    actual = run(elementwise(fast_math.exp_nonpositive, len(x)), [x])
    expected = numpy.exp(x.astype("float64"))
    numpy.testing.assert_allclose(actual, expected, rtol=3e-7, atol=FLUSHED)
    assert actual[1] == 0.0


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, 7.0, -1.0, -2.0])
def test_small_integer_powers(exponent, run):
    x = inputs(-4, 4)
    actual = run(elementwise(lambda v: tirx.pow(v, tirx.const(exponent, "float32")), len(x)), [x])
    with numpy.errstate(all="ignore"):
        expected = numpy.power(x.astype("float64"), exponent).astype("float32")
    normal = numpy.isfinite(expected) & (numpy.abs(expected) > FLUSHED)
    numpy.testing.assert_allclose(actual[normal], expected[normal], rtol=1e-6)
    if exponent == 0.0:
        assert numpy.all(actual == 1.0)


@pytest.mark.parametrize("exponent", [0.5, 2.5, 9.0])
def test_other_powers_stay_library_calls(exponent):
    func = elementwise(lambda v: tirx.pow(v, tirx.const(exponent, "float32")), 4)
    assert "pow" in fast_math.rewrite(func).script()


def test_other_dtypes_stay_as_they_are():
    x = te.placeholder((4,), "float64", name="x")
    func = te.create_prim_func([x, te.compute((4,), lambda i: tirx.exp(x[i]), name="y")])
    tvm.ir.assert_structural_equal(fast_math.rewrite(func), func)


@pytest.mark.parametrize("function", [row[0] for row in FUNCTIONS], ids=lambda f: f.__name__)
def test_no_library_call_is_left(function, target: Target):
    func = fast_math.rewrite(elementwise(function, 64))
    code = tvm.compile(func, target=tvm.target.Target(target.tvm_target())).mod.inspect_source("ll")
    assert f"@{function.__name__}f" not in code
    assert "fmul <" in code


def test_remainder(run):
    x = inputs(-100, 100)
    x = x[numpy.isfinite(x)]
    actual = run(elementwise(lambda v: tirx.fmod(v, tirx.const(0.75, "float32")), len(x)), [x])
    numpy.testing.assert_array_equal(actual, numpy.fmod(x, numpy.float32(0.75)))
