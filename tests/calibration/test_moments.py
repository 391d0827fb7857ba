"""Statistics of channels and tokens."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.calibration import Channels, Tokens
from burnish.calibration import moments as of_moments


@pytest.mark.parametrize(("shape", "axis"), [((4, 5, 6, 7), 1), ((8, 9, 5), -1), ((30, 5), 1),
                                             ((5, 20), 0), ((5,), 0)])  # fmt: skip
def test_channels_against_numpy(shape: tuple[int, ...], axis: int) -> None:
    generator = np.random.default_rng(0)
    parts = [(generator.standard_normal(shape) * k + 100 * k).astype(np.float32) for k in (1, 3)]
    found = Channels(axis)
    for part in parts:
        found.update(part)
    rows = np.concatenate([np.moveaxis(p, axis, 0).reshape(5, -1) for p in parts], 1)
    exact = rows.astype(np.float64)
    assert np.array_equal(found.low, exact.min(1))
    assert np.array_equal(found.high, exact.max(1))
    assert np.array_equal(found.absmax, np.abs(exact).max(1))
    np.testing.assert_allclose(found.mean, exact.mean(1), rtol=1e-6)
    np.testing.assert_allclose(found.variance, exact.var(1), rtol=1e-5)


def test_a_small_spread_around_a_large_mean_is_not_lost() -> None:
    values = (1e4 + np.random.default_rng(0).standard_normal((1000, 2))).astype(np.float32)
    found = Channels(1)
    for start in range(0, 1000, 100):
        found.update(values[start : start + 100])
    np.testing.assert_allclose(found.variance, values.astype(np.float64).var(0), rtol=1e-3)


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((16, 3, 4)).astype(np.float32)
    whole, pieces = Channels(1), Channels(1)
    whole.update(values)
    monkeypatch.setattr(of_moments, "PIECE", 20)
    pieces.update(values)
    np.testing.assert_allclose(whole.variance, pieces.variance, rtol=1e-6)
    assert np.array_equal(whole.high, pieces.high)


def test_channels_leave_out_what_is_not_finite() -> None:
    found = Channels(1)
    found.update(np.float32([[1, np.nan], [3, np.inf], [5, np.nan]]))
    assert found.wrong == 3
    assert found.mean[0] == 3
    assert found.high.tolist() == [5, -np.inf]
    assert found.absmax.tolist() == [5, 0]
    found.update(np.float32([[1, 2]]))
    assert found.mean.tolist() == [2.5, 2]


def test_channels_of_an_empty_tensor() -> None:
    found = Channels(1)
    found.update(np.zeros((0, 3), np.float32))
    assert found.absmax.tolist() == [0, 0, 0]
    found.update(np.ones((1, 3), np.float32))
    assert found.mean.tolist() == [1, 1, 1]


def test_channels_of_another_number() -> None:
    found = Channels(1)
    found.update(np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="4 channels where there were 3"):
        found.update(np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match="no axis 1"):
        found.update(np.ones(3, np.float32))


def test_tokens_against_numpy() -> None:
    values = np.random.default_rng(0).standard_normal((2, 7, 16)).astype(np.float32)
    values *= np.linspace(1, 3, 7, dtype=np.float32)[:, None]
    found = Tokens()
    found.update(values[:1])
    found.update(values[1:])
    deviations = values.astype(np.float64).std(-1)
    assert found.deviation.mean[0] == pytest.approx(deviations.mean(), rel=1e-5)
    variation = deviations.std() / deviations.mean()
    assert found.variation(found.deviation) == pytest.approx(variation, rel=1e-4)
    rms = np.sqrt(np.square(values.astype(np.float64)).mean(-1))
    assert found.rms.mean[0] == pytest.approx(rms.mean(), rel=1e-5)
    assert found.peaks == pytest.approx((deviations.max(), rms.max()), rel=1e-5)


def test_tokens_of_several_axes() -> None:
    found = Tokens(axis=1)
    found.update(np.ones((3, 2, 4), np.float32))
    assert found.rms.count[0] == 3
    assert found.variation(found.rms) == 0


def test_tokens_of_nothing() -> None:
    found = Tokens()
    found.update(np.zeros((0, 4), np.float32))
    assert found.variation(found.rms) == 0
    found.update(np.zeros((2, 4), np.float32))
    assert found.variation(found.rms) == 0
