"""Fashion-MNIST: which of ten kinds of clothes a picture shows.

The models are trained by `benchmarks.tasks.train_fashion`, the pictures are those of the data set's
own test split; both are in the repository.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.tasks.batching import batches, first_output
from benchmarks.tasks.pack_fashion import DATA, read_packed
from burnish.bench.task import Feeds, Run, Scores

MODELS = Path(__file__).resolve().parent / "models"
CNN, VIT = MODELS / "fashion-cnn.onnx", MODELS / "fashion-vit.onnx"


@dataclass(frozen=True)
class FashionTask:
    """Accuracy on the test images; 512 training images for calibration."""

    batch: int = 100
    items: int = 10_000
    """The first so many test images are evaluated."""
    name: str = "fashion-mnist"

    @property
    def input_shapes(self) -> tuple[Mapping[str, tuple[int, ...]], ...]:
        """One set: batches of pictures."""
        return ({"images": (self.batch, 1, 28, 28)},)

    def calibration(self) -> Iterator[Feeds]:
        """Yield training images, float32 [batch, 1, 28, 28] from 0 to 1, full batches only."""
        images, _ = load("calibration")
        for feeds, count in batches({"images": images}, self.batch):
            if count == self.batch:
                yield feeds

    def evaluate(self, run: Run) -> dict[str, Scores]:
        """Score logits [batch, 10] of every test image: right or wrong."""
        images, labels = load("test")
        logits = np.concatenate(
            list(first_output(run, {"images": images[: self.items]}, self.batch))
        )
        return {"accuracy": Scores.of(logits.argmax(1) == labels[: self.items])}


@cache
def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a split, float32 [n, 1, 28, 28] from 0 to 1, and labels, uint8 [n]."""
    images, labels = read_packed(DATA / f"fashion-{split}.npz.xz")
    return images[:, None].astype(np.float32) / 255, labels


TASK = FashionTask()
