"""Calibration samples, in a folder that every quantizer reads: one .npz file each."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.inputs import Array, Case, draw_feeds
from benchmarks.tasks.table import JUDGED
from benchmarks.zoo import Model
from burnish.bench.task import Feeds, Task

FIRST_SEED = 1000
"""Of drawn samples: none that outputs are compared on."""


def of_task(task: Task, count: int) -> Iterator[Feeds]:
    """Yield the first ``count`` calibration samples of a task."""
    return islice(iter(task.calibration()), count)


def of_model(model: Model, case: Case, count: int) -> Iterator[Feeds]:
    """Yield samples of the shapes of a case: those of the model's task that fit, or drawn ones."""
    judged = JUDGED.get(model.name)
    fitting = judged.task.calibration() if judged is not None else iter(())
    found = list(islice((feeds for feeds in fitting if _fits(feeds, case)), count))
    yield from found
    for number in range(len(found), count):
        yield draw_feeds(model.inputs, case, FIRST_SEED + number)


def _fits(feeds: Feeds, case: Case) -> bool:
    shapes = {name: tuple(array.shape) for name, array in feeds.items()}
    return shapes == {name: tuple(shape) for name, shape in case.shapes.items()}


def write(folder: Path, samples: Iterator[Feeds]) -> int:
    """Write samples to a folder, which is made, and return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, feeds in enumerate(samples, 1):
        np.savez(folder / f"{count:05d}.npz", **feeds)  # type: ignore[arg-type]
    return count


def read(folder: Path) -> Iterator[Mapping[str, Array]]:
    """Yield the samples of a folder, in order."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as content:
            yield {name: content[name] for name in content.files}
