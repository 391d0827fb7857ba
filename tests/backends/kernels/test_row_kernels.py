"""Softmax, normalizations and reductions, scheduled, against float64."""

import itertools

import numpy
import pytest
from tvm import te, topi

from burnish.backends.cpu.schedule import schedule_with_rule
from burnish.backends.kernels import normalization, reduction, softmax
from burnish.target import Target
from tests.depth import every_other


@pytest.fixture
def check(target: Target, run):
    """Schedules a kernel over placeholders of given arrays and compares with the expectation."""

    def call(kernel, arrays, expected, tolerance=2e-6) -> str:
        params = [
            te.placeholder(array.shape, str(array.dtype), name=f"p{i}")
            for i, array in enumerate(arrays)
        ]
        scheduled = schedule_with_rule(te.create_prim_func([*params, kernel(*params)]), target)
        result = run(scheduled.func, arrays)
        assert result.shape == expected.shape
        scale = max(1.0, float(numpy.abs(expected).max()))
        numpy.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance * scale)
        return scheduled.rule

    return call


def random(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def softmax64(x: numpy.ndarray, axis: int) -> numpy.ndarray:
    powers = numpy.exp(x.astype("float64") - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


@pytest.mark.parametrize(
    ("shape", "axis"),
    every_other([(1, 197, 192), (3, 5, 7), (40, 663), (2, 16), (1, 33)], [-1, 0, 1]),
)
def test_softmax(shape, axis, check):
    x = random(*shape) * 5
    check(lambda p: softmax.softmax(p, axis), [x], softmax64(x, axis))
    check(lambda p: softmax.log_softmax(p, axis), [x], numpy.log(softmax64(x, axis)))


def test_softmax_of_hidden_positions(check):
    x = random(4, 40)
    x[:, 5:] = -numpy.inf
    check(softmax.softmax, [x], softmax64(x, -1))


def layer_norm64(x, axes, eps):
    x = x.astype("float64")
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / numpy.sqrt(x.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize(("shape", "axes"), [((1, 128, 384), 1), ((3, 197), 1), ((2, 5, 9, 11), 2)])
def test_layer_norm(shape, axes, check):
    x = random(*shape) * 3 + 100
    scale, bias = random(*shape[-axes:]), random(*shape[-axes:]) + 1
    rule = check(
        lambda p, s, b: normalization.layer_norm(p, s, b, axes=axes, eps=1e-5),
        [x, scale, bias],
        layer_norm64(x, tuple(range(-axes, 0)), 1e-5) * scale + bias,
        tolerance=3e-5,
    )
    assert rule == "rows"


def test_layer_norm_between_elementwise(check):
    x, y = random(1, 128, 384), random(1, 128, 384)
    scale, bias = random(384), random(384)

    def kernel(p, q, s, b):
        return topi.nn.relu(
            normalization.layer_norm(topi.add(p, topi.tanh(q)), s, b, axes=1, eps=1e-12)
        )

    expected = layer_norm64(x + numpy.tanh(y), -1, 1e-12) * scale + bias
    assert check(kernel, [x, y, scale, bias], numpy.maximum(expected, 0)) == "rows"


def test_rms_norm_and_l2_norm(check):
    x, scale = random(7, 100), random(100)
    x[3] = 0
    wide = x.astype("float64")
    expected = wide / numpy.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * scale
    check(lambda p, s: normalization.rms_norm(p, s, axes=1, eps=1e-6), [x, scale], expected)
    norm = numpy.sqrt((wide**2).sum(-1, keepdims=True))
    check(normalization.l2_norm, [x], wide / numpy.where(norm == 0, 1, norm))


@pytest.mark.parametrize(("groups", "channel_axis"), every_other([1, 3, 6], [1, 3]))
def test_group_norm(groups, channel_axis, check):
    x, scale, bias = random(2, 6, 9, 11) + 3, random(6), random(6)
    expected = layer_norm64(x.reshape(2, groups, -1), -1, 1e-5).reshape(x.shape)
    expected = expected * scale[:, None, None] + bias[:, None, None]
    if channel_axis == 3:
        x, expected = x.transpose(0, 2, 3, 1), expected.transpose(0, 2, 3, 1)
    check(
        lambda p, s, b: normalization.group_norm(
            p, s, b, groups=groups, eps=1e-5, channel_axis=channel_axis
        ),
        [numpy.ascontiguousarray(x), scale, bias],
        expected,
    )


@pytest.mark.parametrize("channel_axis", [1, 3])
def test_instance_norm(channel_axis, check):
    x, scale, bias = random(2, 6, 9, 11) + 3, random(6), random(6)
    expected = layer_norm64(x, (2, 3), 1e-5) * scale[:, None, None] + bias[:, None, None]
    if channel_axis == 3:
        x, expected = x.transpose(0, 2, 3, 1), expected.transpose(0, 2, 3, 1)
    check(
        lambda p, s, b: normalization.instance_norm(p, s, b, eps=1e-5, channel_axis=channel_axis),
        [numpy.ascontiguousarray(x), scale, bias],
        expected,
    )


def log_sum_exp64(x, axis, keepdims):
    return numpy.log(numpy.exp(x).sum(axis, keepdims=keepdims))


REFERENCES = {
    "sum": numpy.sum,
    "mean": numpy.mean,
    "max": numpy.max,
    "min": numpy.min,
    "prod": numpy.prod,
    "l1": lambda x, axis, keepdims: numpy.abs(x).sum(axis, keepdims=keepdims),
    "l2": lambda x, axis, keepdims: numpy.sqrt((x * x).sum(axis, keepdims=keepdims)),
    "sum_square": lambda x, axis, keepdims: (x * x).sum(axis, keepdims=keepdims),
    "log_sum": lambda x, axis, keepdims: numpy.log(x.sum(axis, keepdims=keepdims)),
    "log_sum_exp": log_sum_exp64,
}
AXES = [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]


def test_every_kind_has_a_reference():
    assert set(REFERENCES) == set(reduction.KINDS)


@pytest.mark.parametrize(("axes", "kind"), every_other(AXES, reduction.KINDS))
def test_reduce(kind, axes, check):
    x = (numpy.random.default_rng(0).random((3, 7, 41)) * 0.2 + 0.9).astype("float32")
    keepdims = len(axes) % 2 == 0
    expected = REFERENCES[kind](x.astype("float64"), axis=axes, keepdims=keepdims)
    check(lambda p: reduction.reduce(p, kind, axes, keepdims), [x], numpy.asarray(expected), 1e-5)


def test_reduce_integers(check):
    x = numpy.random.default_rng(0).integers(-50, 50, (5, 70)).astype("int64")
    check(lambda p: reduction.reduce(p, "sum", [1]), [x], x.sum(1, keepdims=True))
    check(lambda p: reduction.reduce(p, "max", [0]), [x], x.max(0, keepdims=True))


def test_unknown_reduction():
    with pytest.raises(ValueError, match="unknown reduction 'median'"):
        reduction.reduce(te.placeholder((4,)), "median", [0])


@pytest.mark.parametrize(
    ("axis", "largest", "last"), every_other([0, 1, 2], [True, False], [True, False])
)
def test_arg_extreme(axis, largest, last, check):
    # Few distinct values: ties in every row.
    x = numpy.random.default_rng(0).integers(0, 4, (3, 37, 41)).astype("float32")
    view = numpy.flip(x, axis) if last else x
    found = (numpy.argmax if largest else numpy.argmin)(view, axis)
    expected = x.shape[axis] - 1 - found if last else found
    check(
        lambda p: reduction.arg_extreme(p, axis, largest=largest, keepdims=False, last=last),
        [x],
        expected,
    )
