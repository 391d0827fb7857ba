"""Weights as integers: a scale for each output channel, the largest cut off where it pays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.calibration.formats import S8_SYMMETRIC
from burnish.passes.quantization.weights import quantize_weights


def randoms(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_an_outlier_is_cut_off_where_what_it_is_multiplied_with_is_small() -> None:
    weights = randoms(1, 400)
    weights[0, 7] = 5
    power = np.ones(400, np.float32)
    power[7] = 1e-6
    plain = quantize_weights(weights, 0, S8_SYMMETRIC, power=power, clip=False)
    found = quantize_weights(weights, 0, S8_SYMMETRIC, power=power)
    assert (plain.method, found.method) == ("min-max", "mse")
    assert found.scales[0] < 0.75 * plain.scales[0]
    assert plain.sqnr is not None
    assert found.sqnr is not None
    assert found.sqnr > plain.sqnr + 1


def test_scales_have_lower_bounds() -> None:
    weights = randoms(3, 5)
    found = quantize_weights(weights, 0, S8_SYMMETRIC, least=np.array([0.0, 1.0, 0.0]))
    assert found.scales[1] == 1.0
    assert (found.scales[[0, 2]] < 0.1).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 6), st.floats(1e-20, 1e20), st.booleans(), st.integers(0, 99)
)
def test_weights_are_at_most_half_a_step_off(
    rows: int, columns: int, size: float, clip: bool, seed: int
) -> None:
    weights = randoms(rows, columns, seed=seed) * np.float32(size)
    found = quantize_weights(weights, 0, S8_SYMMETRIC, clip=clip)
    assert found.integers.dtype == np.int8
    assert np.abs(found.integers).max() <= 127
    error = np.abs(found.values - weights)
    plain = quantize_weights(weights, 0, S8_SYMMETRIC, clip=False)
    assert (np.abs(plain.values - weights) <= 0.5001 * plain.scales[:, None]).all()
    assert np.square(error).sum() <= 1.0001 * np.square(plain.values - weights).sum()
