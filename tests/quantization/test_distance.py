from __future__ import annotations

import numpy as np
import pytest

from burnish.quantization.distance import (
    DIVERGENCE,
    NOISE,
    SEQUENCE,
    are_distributions,
    distances,
    farthest,
)


def test_equal_answers_are_at_no_distance() -> None:
    answer = {"y": np.array([[1.0, 2.0, 3.0]], np.float32)}
    (found,) = distances([answer], [answer])
    assert found.share == 0
    assert found.agreement == 1
    assert found.sqnr == float("inf")


def test_logits_and_probabilities_of_the_same_model_diverge_alike() -> None:
    logits = np.array([[1.0, 6.0, 0.5], [0.1, -1.0, 5.0]])
    other = logits + np.array([[0.1, 0.0, -0.1], [0.0, 0.3, 0.0]])

    def soft(rows: np.ndarray) -> np.ndarray:
        powers = np.exp(rows)
        found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return found

    (raw,) = distances([{"y": logits}], [{"y": other}])
    (soft_max,) = distances([{"y": soft(logits)}], [{"y": soft(other)}])
    assert raw.divergence == pytest.approx(soft_max.divergence, rel=1e-6)
    assert soft_max.share == pytest.approx((raw.divergence or 0) / DIVERGENCE)


def test_a_map_of_features_is_judged_by_noise() -> None:
    want = np.random.default_rng(0).normal(size=(1, 4, 8, 8))
    (found,) = distances([{"y": want}], [{"y": want * 1.1}])
    assert found.divergence is None
    assert found.noise == pytest.approx(0.01)
    assert found.share == pytest.approx(found.noise / NOISE)
    assert str(found) == "20.0 dB"


@pytest.mark.parametrize("shape", [(3,), (3, 1), ()])
def test_what_has_no_classes_is_no_distribution(shape: tuple[int, ...]) -> None:
    assert not are_distributions([np.ones(shape)])


def test_probabilities_of_three_axes_are_distributions_and_features_are_not() -> None:
    rows = np.full((1, 2, 4), 0.25)
    assert are_distributions([rows])
    assert not are_distributions([rows * 2])


def test_the_farthest_output_decides_and_integers_do_not_count() -> None:
    want = {"a": np.ones((1, 3, 3)), "b": np.ones((1, 3, 3)), "n": np.ones(3, np.int64)}
    have = {"a": np.ones((1, 3, 3)), "b": np.zeros((1, 3, 3)), "n": np.zeros(3, np.int64)}
    found = farthest([want], [have])
    assert found is not None
    assert found.output == "b"
    assert farthest([{"n": want["n"]}], [{"n": have["n"]}]) is None


def test_what_is_not_finite_is_noise_and_no_crash() -> None:
    want = {"y": np.ones((1, 2, 2))}
    (found,) = distances([want], [{"y": np.full((1, 2, 2), np.nan)}])
    assert found.noise == 1


def test_an_embedding_is_judged_by_noise_as_its_softmax_says_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 64))
    embedding = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    (found,) = distances([{"y": embedding}], [{"y": embedding + 0.1}])
    assert found.divergence is None
    assert found.share == pytest.approx(found.noise / NOISE)


def test_blanks_do_not_hide_what_happens_to_letters() -> None:
    blank, letter, wrong = ([0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.58, 0.41])
    want = np.array([[blank] * 99 + [letter]])
    have = np.array([[blank] * 99 + [wrong]])
    (found,) = distances([{"y": want}], [{"y": have}])
    (alone,) = distances([{"y": want[0, -1:]}], [{"y": have[0, -1:]}])
    assert found.divergence == pytest.approx(alone.divergence, rel=1e-6)
    assert found.agreement == 1


def test_certain_logits_of_another_size_are_noticed() -> None:
    want = np.array([[40.0, 0.0, 0.0]])
    (found,) = distances([{"y": want}], [{"y": want / 2}])
    assert found.divergence == pytest.approx(0.0, abs=1e-6)
    assert found.share > 1


def test_other_shapes_are_errors_and_empty_answers_say_nothing() -> None:
    boxes, none = {"y": np.ones((3, 4))}, {"y": np.ones((0, 4))}
    (found,) = distances([boxes, none], [none, boxes])
    assert found.noise == 1
    assert distances([none], [none]) == []


def test_a_sequence_may_diverge_more_than_a_class() -> None:
    want = np.array([[[0.9, 0.1], [0.1, 0.9]]])
    have = np.array([[[0.8, 0.2], [0.1, 0.9]]])
    (found,) = distances([{"y": want}], [{"y": have}])
    assert found.is_sequence
    assert found.share == pytest.approx(max((found.divergence or 0) / SEQUENCE, found.noise * 10))
