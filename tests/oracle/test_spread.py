"""How far a result may be off in a whole output and in each slice of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.oracle.spread import Spread, spread_of

CHANNELS, SIZE, STEP = 16, 24, 0.02


def noise(seed: int, rate: float = 0.1, step: float = STEP) -> np.ndarray:
    """Steps either way at a tenth of all elements, as of ties in many layers."""
    rng = np.random.default_rng(seed)
    moved = rng.random((1, CHANNELS, SIZE, SIZE)) < rate
    return np.where(moved, rng.choice([-step, step], moved.shape), 0).astype(np.float32)


IMAGE = np.random.default_rng(0).uniform(0, 5, (1, CHANNELS, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def spread() -> Spread:
    found = spread_of(IMAGE, [IMAGE + noise(seed) for seed in range(1, 9)])
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(20, 40))
def test_other_steps_are_allowed_for(spread: Spread, seed: int) -> None:
    assert spread.covers(IMAGE, IMAGE + noise(seed))


def ring(errors: np.ndarray) -> None:
    errors[..., [0, -1], :] = STEP
    errors[..., [0, -1]] = STEP


def last_columns(errors: np.ndarray) -> None:
    errors[..., -3:] = STEP


def last_channel(errors: np.ndarray) -> None:
    errors[:, -1] = -STEP


def one_channel_gains_noise(errors: np.ndarray) -> None:
    errors[:, 3] = noise(7, 1.0)[:, 3] * 1.9


@pytest.mark.parametrize("mistake", [ring, last_columns, last_channel, one_channel_gains_noise])
def test_a_slice_is_held_to_its_own_moves(
    spread: Spread, mistake: Callable[[np.ndarray], None]
) -> None:
    errors = noise(50)
    mistake(errors)
    assert Spread(spread.largest, spread.mean).covers(IMAGE, IMAGE + errors), "by whole outputs"
    assert not spread.covers(IMAGE, IMAGE + errors)


def test_a_slice_that_hardly_moves_is_held_to_the_others() -> None:
    still = np.ones((1, CHANNELS, 1, 1))
    still[:, 5] = 0
    found = spread_of(IMAGE, [IMAGE + noise(seed) * still for seed in range(1, 9)])
    assert found is not None
    off = np.zeros_like(IMAGE)
    off[:, 5, 0, 0] = STEP
    assert found.covers(IMAGE, IMAGE + off), "a single step"
    off[:, 5] = STEP
    assert not found.covers(IMAGE, IMAGE + off)


def test_moves_of_a_few_elements_say_nothing_of_slices() -> None:
    """As in probabilities, where one class takes from another."""
    rows = np.zeros((12, 500), np.float32)
    runs = []
    for seed in range(8):
        run = rows.copy()
        run[seed, 3] = 0.1
        runs.append(run)
    found = spread_of(rows, runs)
    assert found is not None
    off = rows.copy()
    off[9, 4] = 0.1
    assert found.covers(rows, off)


# Boxes of up to 640 pixels, in steps of 2.5, beside 80 scores in steps of 1/255.
STEPS = np.float32([2.5] * 4 + [1 / 255] * 80)
RNG = np.random.default_rng(1)
HEAD = np.concatenate(
    [
        np.round(RNG.uniform(0, 320, (8400, 4)) / 2.5) * 2.5,
        np.round(RNG.beta(0.5, 0.5, (8400, 80)) * 255) / 255,
    ],
    axis=1,
).astype(np.float32)


def head_noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    way = rng.choice([-1, 1])
    return (way * (rng.random(HEAD.shape) < 1 / 1024) * STEPS).astype(np.float32)


@pytest.fixture(scope="module")
def head() -> Spread:
    found = spread_of(HEAD, [HEAD + head_noise(seed) for seed in range(8)])
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(20, 28))
def test_steps_of_a_detector_are_allowed_for(head: Spread, seed: int) -> None:
    assert head.covers(HEAD, HEAD + head_noise(seed))


def best_scores_missing(answer: np.ndarray) -> None:
    answer[np.argsort(-answer[:, 83])[:10], 83] = 0


def boxes_by_two_steps(answer: np.ndarray) -> None:
    answer[:8, 0] += 5


def scores_scaled(answer: np.ndarray) -> None:
    answer[:, 4:] *= 0.95


def last_scores_missing(answer: np.ndarray) -> None:
    answer[-16:, 83] = 0


@pytest.mark.parametrize(
    "mistake", [best_scores_missing, boxes_by_two_steps, scores_scaled, last_scores_missing]
)
def test_small_numbers_beside_large_ones(
    head: Spread, mistake: Callable[[np.ndarray], None]
) -> None:
    wrong = HEAD.copy()
    mistake(wrong)
    assert not head.covers(HEAD, wrong)


def test_what_has_no_numbers_or_another_shape_has_no_spread() -> None:
    assert spread_of(np.array(["a"]), [np.array(["b"])]) is None
    assert spread_of(np.zeros(3), [np.zeros(4)]) is None
    assert spread_of(np.zeros(0), [np.zeros(0)]) is None
    assert spread_of(np.full(3, np.inf), [np.full(3, np.inf)]) is None
