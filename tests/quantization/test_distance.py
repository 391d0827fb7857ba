from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from burnish.quantization.distance import (
    DIVERGENCE,
    EMBEDDING,
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


def test_the_farthest_output_decides_and_integers_beside_it_do_not_count() -> None:
    want = {"a": np.ones((1, 3, 3)), "b": np.ones((1, 3, 3)), "n": np.ones(3, np.int64)}
    have = {"a": np.ones((1, 3, 3)), "b": np.zeros((1, 3, 3)), "n": np.zeros(3, np.int64)}
    found = farthest([want], [have])
    assert found is not None
    assert found.output == "b"
    assert farthest([{"n": want["n"][:0]}], [{"n": have["n"][:0]}]) is None


def test_what_is_not_finite_is_noise_and_no_crash() -> None:
    want = {"y": np.ones((1, 2, 2))}
    (found,) = distances([want], [{"y": np.full((1, 2, 2), np.nan)}])
    assert found.noise == float("inf")


def test_an_embedding_is_judged_by_noise_as_its_softmax_says_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 64))
    embedding = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    (found,) = distances([{"y": embedding}], [{"y": embedding + 0.1}])
    assert found.divergence is None
    assert found.share == pytest.approx(found.noise / EMBEDDING)


@pytest.mark.parametrize("shape", [(4, 32), (4, 2, 64), (64,), (1, 64, 2, 2)])
def test_few_numbers_tokens_and_maps_are_no_embeddings(shape: tuple[int, ...]) -> None:
    want = np.random.default_rng(0).normal(size=shape) / 8
    (found,) = distances([{"y": want}], [{"y": want * 1.1}])
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


@pytest.mark.parametrize(("wrong", "share"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)])
def test_integers_alone_are_judged_by_the_share_that_differs(wrong: int, share: float) -> None:
    want = np.arange(100)
    have = np.where(np.arange(100) < wrong, -1, want)
    found = farthest([{"y": want}], [{"y": have}])
    assert found is not None
    assert found.share == pytest.approx(share)
    assert str(found) == f"{wrong}.0 % of integers differ"


def test_of_integers_of_another_shape_all_differ() -> None:
    found = farthest([{"y": np.ones(3, int)}], [{"y": np.ones(4, int)}])
    assert found is not None and found.differing == 1


def test_bfloat16_is_float() -> None:
    want = np.ones((2, 1, 4), ml_dtypes.bfloat16)
    (found,) = distances([{"y": want}], [{"y": want * want.dtype.type(2)}])
    assert found.noise == pytest.approx(1)


@pytest.mark.parametrize(
    ("first", "second"), [(1.0, np.nan), (np.nan, 1.0), (np.inf, -np.inf), (np.nan, np.inf)]
)
@pytest.mark.parametrize("shape", [(1, 10, 100), (100, 10)])
def test_numbers_that_are_finite_in_one_only_are_too_far(
    first: float, second: float, shape: tuple[int, ...]
) -> None:
    want = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 9
    have = want.copy()
    want[0, 0], have[0, 0] = first, second
    (found,) = distances([{"y": want}], [{"y": have}])
    assert found.noise == float("inf")
    assert found.share == float("inf")
    assert str(found) == "other numbers are NaN or infinite"
    (same,) = distances([{"y": want}], [{"y": want}])
    assert same.share == 0


def test_a_class_that_is_masked_stays_so() -> None:
    want = np.random.default_rng(1).normal(size=(64, 10)).astype(np.float32) * 2 - 30
    have = np.roll(want, 1, axis=1)
    for each in (want, have):
        each[:, 9] = -np.inf
    (found,) = distances([{"y": want}], [{"y": have}])
    (alone,) = distances([{"y": want[:, :9]}], [{"y": have[:, :9]}])
    assert found.divergence == pytest.approx(alone.divergence)
    assert (found.divergence or 0) > 1


def test_rows_that_are_masked_altogether_say_nothing() -> None:
    want = np.array([[0.0, 9.0], [-np.inf, -np.inf]])
    (found,) = distances([{"y": want}], [{"y": want}])
    assert found.divergence == 0
