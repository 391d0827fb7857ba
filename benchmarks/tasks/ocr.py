"""Text recognition by PP-OCRv4: strings rendered with varied fonts, sizes, colours and noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from benchmarks.builders.packaged import package_folder
from benchmarks.tasks.rendering import HEIGHT, Line, compose, render
from benchmarks.zoo import find
from burnish.bench.task import Feeds, Run, Scores

WIDTHS = (160, 320, 480)
"""Of the pictures that the model gets: each line is padded to the least that holds it."""
BLANK = 0
"""The class of "no letter"."""
SEEDS = {"evaluation": 1, "calibration": 2}


@dataclass(frozen=True)
class OcrTask:
    """Exact matches and the rate of wrong characters over 1 000 rendered strings."""

    items: int = 1000
    name: str = "ocr"
    input_shapes: Sequence[Mapping[str, tuple[int, ...]]] = tuple(
        {"x": (1, 3, HEIGHT, width)} for width in reversed(WIDTHS)
    )

    def calibration(self) -> Iterator[Feeds]:
        """Yield 128 pictures of other strings, float32 [1, 3, 48, width] from -1 to 1."""
        for line in lines("calibration", 128):
            yield {"x": as_input(line)}

    def evaluate(self, run: Run) -> dict[str, Scores]:
        """Score what the classes [1, steps, letters] of every picture spell."""
        known = letters(source())
        pairs = []
        for line in lines("evaluation", self.items):
            (classes,) = run({"x": as_input(line)}).values()
            # A margin may read as a space.
            pairs.append((line.text, spell(classes[0].argmax(-1), known).strip()))
        edits = [float(edit_distance(text, found)) for text, found in pairs]
        return {
            "exact-match": Scores.of(text == found for text, found in pairs),
            "character-error-rate": Scores(
                np.array(edits), np.array([float(len(text)) for text, _ in pairs]), False
            ),
        }


@cache
def lines(split: str, count: int) -> tuple[Line, ...]:
    """Return pictures of text, always the same for a split."""
    generator = np.random.default_rng(SEEDS[split])
    return tuple(render(compose(generator), generator) for _ in range(count))


def as_input(line: Line) -> np.ndarray:
    """Return a picture as the model wants it: float32 [1, 3, 48, width] from -1 to 1.

    Zeros follow on the right, which is grey; a line that is too long is squeezed.
    """
    pixels = line.pixels
    room = next((width for width in WIDTHS if width >= pixels.shape[1]), WIDTHS[-1])
    if pixels.shape[1] > room:
        from PIL import Image

        pixels = np.asarray(Image.fromarray(pixels).resize((room, HEIGHT)))
    padded = np.zeros((1, 3, HEIGHT, room), np.float32)
    padded[0, :, :, : pixels.shape[1]] = pixels.transpose(2, 0, 1) / np.float32(127.5) - 1
    return padded


def source() -> Path:
    """Return the path of the model in the package that ships it.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    options = find("ppocr-v4-rec").options
    return package_folder(options["package"]) / options["file"]


@cache
def letters(model: Path) -> tuple[str, ...]:
    """Return what each class of the model means: nothing, the letters in its metadata, a space."""
    entries = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    return ("", *entries["character"].splitlines(), " ")


def spell(classes: np.ndarray, known: Sequence[str]) -> str:
    """Return the text of a sequence of classes [steps]: repeats and blanks mean nothing."""
    before = np.concatenate([[BLANK], classes[:-1]])
    kept = classes[(classes != BLANK) & (classes != before)]
    return "".join(known[one] for one in kept)


def edit_distance(wanted: str, found: str) -> int:
    """Return how many letters have to be inserted, deleted or replaced (Levenshtein)."""
    above = list(range(len(found) + 1))
    for row, letter in enumerate(wanted, 1):
        current = [row]
        for column, other in enumerate(found, 1):
            substituted = above[column - 1] + (letter != other)
            current.append(min(above[column] + 1, current[-1] + 1, substituted))
        above = current
    return above[-1]


TASK = OcrTask()
