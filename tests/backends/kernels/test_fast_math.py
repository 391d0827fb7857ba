"""Polynomials against float64, over every exponent and at the edges."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy
import pytest
import tvm
import tvm_ffi
from tvm import te, tirx

from burnish.analysis import cost
from burnish.backends.kernels import fast_math
from burnish.backends.lowering.elementwise import ELEMENTWISE
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


def scalar(operator: str, **attributes: object) -> Callable[..., object]:
    """An ONNX operator on one element, as kernels compute it."""

    def expr(x: object) -> object:
        value = tirx.Var("v", "float32")
        node = SimpleNamespace(attribute=lambda name, default=None: attributes.get(name, default))
        return tirx.Let(value, x, ELEMENTWISE[operator](node, [value]))

    return expr


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
    numpy.testing.assert_allclose(actual, expected, rtol=6e-7, atol=FLUSHED)
    numpy.testing.assert_allclose(actual[x > -40], expected[x > -40], rtol=3e-7)
    assert actual[1] == 0.0


GATES = {
    "Sigmoid": ({}, sigmoid),
    "Swish": ({}, lambda x: x * sigmoid(x)),
    "QuickGelu": ({}, lambda x: x * sigmoid(1.702 * x)),
    "Gelu": ({}, lambda x: x * (0.5 + 0.5 * erf(x * math.sqrt(0.5)))),
    "tanh Gelu": (
        {"approximate": "tanh"},
        lambda x: x * (0.5 + 0.5 * numpy.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
}


@pytest.mark.parametrize("name", GATES)
def test_gates(name, run):
    attributes, reference = GATES[name]
    x = inputs(-12, 12)
    actual = run(elementwise(scalar(name.split()[-1], **attributes), len(x)), [x])
    with numpy.errstate(all="ignore"):
        expected = reference(x.astype("float64"))
    usual = numpy.isfinite(x)
    # The input, times a share whose error is stated.
    bound = 4e-7 * numpy.maximum(numpy.abs(x[usual]), 1)
    assert numpy.all(numpy.abs(actual[usual] - expected[usual]) <= bound)
    assert numpy.isnan(actual[numpy.isnan(x)]).all()
    assert actual[x == numpy.inf] == expected[x == numpy.inf]
    # Far below, nothing is left, not even the rounding of a share.
    assert numpy.all(numpy.abs(actual[(x < -104) & usual]) <= 1e-35)


def operations(expr: Callable[..., object]) -> int:
    """Different sums, products and quotients in float32 of an expression, without library calls."""
    func = fast_math.rewrite(elementwise(expr, 4))
    found = set()

    def visit(node: tvm.ir.Expr) -> None:
        if str(node.ty) == "float32":
            found.add(tvm_ffi.structural_hash(node))

    arithmetic = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div)
    tvm_ffi.structural_walk(func.body, (arithmetic, visit), order="pre")
    return len(found)


@pytest.mark.parametrize("operator", cost.FUNCTIONS)
def test_costs_are_no_more_than_what_is_computed(operator):
    counts = [operations(scalar(operator))]
    if operator == "Gelu":
        counts.append(operations(scalar(operator, approximate="tanh")))
    if operator == "Mish":
        # The exponential stands in it four times, and is computed once.
        assert cost.FUNCTIONS[operator] == counts[0] - 3 * cost.FUNCTIONS["Exp"]
    else:
        assert cost.FUNCTIONS[operator] == min(counts)


def test_cost_of_exponential_is_no_more_than_what_is_computed():
    assert operations(fast_math.exp_nonpositive) == cost.EXPONENTIAL


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
