"""Pictures of text, and what a recognizer's answer spells."""

import numpy as np
import pytest

from benchmarks.tasks.ocr import HEIGHT, WIDTHS, OcrTask, as_input, edit_distance, lines, spell
from benchmarks.tasks.rendering import FONTS, Line, compose, render
from burnish.bench.task import Feeds, evaluate

LETTERS = ("", *"abc ")


@pytest.mark.parametrize(
    ("classes", "text"),
    [([], ""), ([0, 0], ""), ([1, 1, 0, 1], "aa"), ([0, 3, 3, 2, 4, 4, 0, 1], "cb a"), ([2], "b")],
)
def test_spelling(classes: list[int], text: str) -> None:
    assert spell(np.array(classes, int), LETTERS) == text


@pytest.mark.parametrize(
    ("wanted", "found", "edits"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3),
     ("flaw", "lawn", 2), ("ab", "ba", 2)],
)  # fmt: skip
def test_edit_distance(wanted: str, found: str, edits: int) -> None:
    assert edit_distance(wanted, found) == edits


def test_strings_vary_and_come_again() -> None:
    texts = [compose(np.random.default_rng(seed)) for seed in range(60)]
    assert len(set(texts)) == 60
    assert texts[7] == compose(np.random.default_rng(7))
    assert all(3 <= len(text) <= 40 and text.isascii() for text in texts)


def test_every_font_draws() -> None:
    pytest.importorskip("PIL")
    from benchmarks.tasks.rendering import _font

    assert {_font(name, 20).getname()[0] for name in FONTS} >= {"Aileron", "DejaVu Sans"}


def test_the_same_seed_draws_the_same_picture() -> None:
    pytest.importorskip("PIL")
    first, again = (render("burnish", np.random.default_rng(4)).pixels for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape[0] == HEIGHT
    assert first.std() > 10


@pytest.mark.parametrize(("width", "room"), [(8, 160), (160, 160), (161, 320), (500, 480)])
def test_lines_are_padded_to_few_widths(width: int, room: int) -> None:
    pytest.importorskip("PIL")
    array = as_input(Line("", np.full((HEIGHT, width, 3), 255, np.uint8)))
    assert array.shape == (1, 3, HEIGHT, room)
    assert array.dtype == np.float32
    assert (array[..., : min(width, room)] == 1).all()
    assert (array[..., width:] == 0).all()


def test_the_widths_are_the_shapes_of_the_task() -> None:
    assert {shapes["x"][-1] for shapes in OcrTask().input_shapes} == set(WIDTHS)


def test_splits_differ() -> None:
    pytest.importorskip("PIL")
    texts = {line.text for line in lines("evaluation", 20)}
    assert not texts & {line.text for line in lines("calibration", 20)}


def test_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    from benchmarks.tasks import ocr

    alphabet = sorted({letter for line in lines("evaluation", 6) for letter in line.text})
    answers = iter([line.text for line in lines("evaluation", 5)] + ["x"])
    monkeypatch.setattr(ocr, "source", lambda: None)
    monkeypatch.setattr(ocr, "letters", lambda _: ("", *alphabet))

    def run(feeds: Feeds) -> dict[str, np.ndarray]:
        assert feeds["x"].shape[:3] == (1, 3, HEIGHT)
        steps = [step for letter in next(answers) for step in (alphabet.index(letter) + 1, 0)]
        return {"y": np.eye(len(alphabet) + 1)[steps][None]}

    scores = evaluate(OcrTask(items=6), run)
    assert list(scores) == ["exact-match", "character-error-rate"]
    assert scores["exact-match"].metric == pytest.approx(5 / 6)
    last = lines("evaluation", 6)[-1].text
    assert scores["character-error-rate"].values[-1] in (len(last), len(last) - 1)
    assert scores["character-error-rate"].weights[-1] == len(last)
    assert not scores["character-error-rate"].higher_is_better
