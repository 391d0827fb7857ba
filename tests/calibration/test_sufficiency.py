"""Whether there are enough samples."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.calibration import Histogram, Range, calibration_note


def ranges(*highs: float) -> Range:
    found = Range()
    for high in highs:
        found.update(np.float32([0, high]))
    return found


def test_the_range_that_grew_most_is_named() -> None:
    note = calibration_note(
        {"a": ranges(1, 2, 2, 2), "b": ranges(1, 3, 3, 4), "c": ranges(*[1] * 4)}
    )
    assert (note.samples, note.half, note.tensor) == (4, 2, "b")
    assert note.largest == pytest.approx(0.25)
    assert note.median == 0
    assert str(note).startswith("ranges from the first 2 of 4 samples are up to 25.0% narrower")


def test_more_samples_are_asked_for_where_most_ranges_grow() -> None:
    grown = {"a": ranges(1, 2, 2, 3), "b": ranges(1, 3, 3, 4), "c": ranges(*[1] * 4)}
    assert str(calibration_note(grown)).endswith("give more samples, as ranges still grow")
    assert "give more" not in str(calibration_note(grown | {"d": grown["c"], "e": grown["c"]}))


def test_ranges_that_did_not_grow() -> None:
    note = calibration_note({"a": ranges(2, 1, 1)})
    assert str(note) == "the first 1 of 3 samples give the same ranges as all"


def test_one_sample_tells_nothing() -> None:
    assert "one sample" in str(calibration_note({"a": ranges(1)}))


def test_no_range_at_all() -> None:
    assert calibration_note({}).largest == 0
    assert calibration_note({"a": Range()}).largest == 0


def test_constants_and_empty_tensors_do_not_grow() -> None:
    empty = Range()
    for _ in range(4):
        empty.update(np.zeros(0, np.float32))
    assert calibration_note({"zero": ranges(0, 0, 0, 0), "empty": empty}).largest == 0


def test_a_range_of_several_tensors_was_updated_more_often() -> None:
    twice = ranges(1, 1, 2, 2, 3, 3, 4, 4)
    note = calibration_note({"one": ranges(4, 4, 4, 4), "shared": twice})
    assert (note.samples, note.tensor, note.largest) == (4, "shared", 0.5)


def test_histograms_know_the_course_of_their_ranges() -> None:
    histogram = Histogram()
    for high in (1, 2, 4, 8):
        histogram.update(np.float32([-high, high]))
    assert calibration_note({"a": histogram.range}).largest == pytest.approx(0.75)
