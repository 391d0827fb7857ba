"""Regression towards what a layer gave before."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.calibration import Contraction
from burnish.passes.pruning.refit import Pair, refit


def rows(count: int, size: int, rank: int, seed: int = 0) -> np.ndarray:
    """Rows that have much in common, with a mean."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).standard_normal((rank, size))
    made = random.standard_normal((count, rank)) @ mixing + 0.05 * random.standard_normal(
        (count, size)
    )
    return (made + 1).astype(np.float32)


def samples(size: int, rank: int, count: int = 8) -> list[np.ndarray]:
    return [rows(64, size, rank, seed) for seed in range(count)]


WEIGHTS = np.random.default_rng(1).standard_normal((1, 3, 8))


def test_what_is_left_says_all() -> None:
    pairs = [Pair(one, one) for one in samples(8, 3)]
    kept = np.arange(8) < 4
    found = refit(WEIGHTS, kept, pairs, Contraction(), has_bias=True)
    assert found.error < 0.02 < found.without
    assert not found.weights[:, :, ~kept].any()
    fresh = rows(200, 8, 3, seed=99)
    lost = fresh @ (WEIGHTS - found.weights)[0].T - found.shift
    assert np.square(lost).mean() < 0.03 * (fresh @ WEIGHTS[0].T).var(0).mean()


def test_keeping_all_changes_nothing() -> None:
    pairs = [Pair(one, one) for one in samples(8, 8)]
    found = refit(WEIGHTS, np.ones(8, bool), pairs, Contraction(), has_bias=True)
    np.testing.assert_allclose(found.weights, WEIGHTS, atol=1e-5)
    np.testing.assert_allclose(found.shift, 0, atol=1e-5)
    assert found.error < 1e-6


def test_what_is_given_by_now_is_made_up_for() -> None:
    pairs = [Pair(2 * one + 1, one) for one in samples(8, 8)]
    found = refit(WEIGHTS, np.ones(8, bool), pairs, Contraction(), has_bias=True)
    np.testing.assert_allclose(found.weights, WEIGHTS / 2, atol=1e-2)
    assert found.error < 1e-4 < found.without


def test_without_a_bias_means_are_for_weights_to_make_up_for() -> None:
    pairs = [Pair(one, one) for one in samples(8, 3)]
    kept = np.arange(8) < 4
    found = refit(WEIGHTS, kept, pairs, Contraction(), has_bias=False)
    assert not found.shift.any()
    assert found.error < 0.05


def test_results_make_up_for_what_they_are_added_to() -> None:
    given = samples(8, 8)
    missing = [one[:, :3] * 0.5 for one in given]
    pairs = [Pair(one, one, lost) for one, lost in zip(given, missing, strict=True)]
    found = refit(WEIGHTS, np.ones(8, bool), pairs, Contraction(), has_bias=True)
    np.testing.assert_allclose(found.weights[0], WEIGHTS[0] + 0.5 * np.eye(8)[:3], atol=1e-2)


def test_every_group_is_fitted_by_itself() -> None:
    weights = np.random.default_rng(2).standard_normal((4, 1, 2))
    scales = np.repeat([1.0, 2.0, 4.0, 8.0], 2)
    pairs = [Pair(one * scales, one) for one in samples(8, 8)]
    found = refit(weights, np.ones(2, bool), pairs, Contraction(-1, 4), has_bias=True)
    np.testing.assert_allclose(found.weights, weights / scales[::2, None, None], atol=1e-2)


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_data_that_say_nothing_leave_weights_as_they_are(constant: float) -> None:
    pairs = [Pair(*[np.full((64, 8), constant, np.float32)] * 2) for _ in range(8)]
    kept = np.arange(8) < 4
    found = refit(WEIGHTS, kept, pairs, Contraction(), has_bias=True)
    np.testing.assert_allclose(found.weights[:, :, kept], WEIGHTS[:, :, kept], atol=1e-6)
    # The bias takes what the inputs that go gave.
    np.testing.assert_allclose(found.shift[0], WEIGHTS[0][:, ~kept].sum(1) * constant, atol=1e-4)


def test_what_is_always_zero_says_nothing() -> None:
    pairs = [Pair(np.zeros((64, 8), np.float32), one) for one in samples(8, 3)]
    found = refit(WEIGHTS, np.arange(8) < 4, pairs, Contraction(), has_bias=True)
    np.testing.assert_array_equal(found.weights[:, :, :4], WEIGHTS[:, :, :4])
    wanted = np.concatenate(samples(8, 3)).mean(0) @ WEIGHTS[0].T
    np.testing.assert_allclose(found.shift[0], wanted, rtol=1e-3, atol=1e-3)


def test_one_sample_is_enough_to_go_on() -> None:
    found = refit(
        WEIGHTS, np.arange(8) < 4, [Pair(*[rows(64, 8, 3)] * 2)], Contraction(), has_bias=True
    )
    assert np.isfinite(found.weights).all()
