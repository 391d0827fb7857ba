"""A task that is a folder: .npz files with inputs and labels, one batch of items in each.

    FOLDER/*.npz               arrays by input name, and `labels`
    FOLDER/calibration/*.npz   arrays by input name

The first axis of every array is that of the items. Integer labels are classes: the label of an
item is compared with the largest of its logits, in the model's first output. Labels that are floats
are values of the first output itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from burnish.bench.task import Feeds, Run, Scores, TaskFailed
from burnish.errors import InvalidInput
from burnish.npz import LABELS, read_arrays, read_shapes

T = TypeVar("T")
ACCURACY, ERROR = "accuracy", "mean-absolute-error"


class FolderTask:
    """Scores a model by the labels in a folder, as a `burnish.bench.task.Task`.

    Metrics are `accuracy`, or `mean-absolute-error` where labels are floats. An item may have many
    labels, one per token or pixel: classes are then along the last axis of the output, or along
    its second, whichever the shape of the labels tells.
    """

    def __init__(self, folder: Path) -> None:
        """Look at which files there are.

        Raises:
            TaskFailed: there are none, or the first of them is none.
        """
        self._folder = folder
        self._files = sorted(folder.glob("*.npz"))
        if not self._files:
            raise TaskFailed(
                f"{folder} holds no .npz file: the evaluation split is empty; write batches of "
                f"items with numpy.savez(..., {LABELS}=...)"
            )

    @property
    def name(self) -> str:
        """That of the folder."""
        return self._folder.resolve().name

    @cached_property
    def input_shapes(self) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """The sets of input shapes in the files, the most frequent first.

        Raises:
            TaskFailed: a file cannot be read or has no labels.
        """
        found: dict[tuple[tuple[str, tuple[int, ...]], ...], int] = {}
        for path in self._files:
            headers = _read(read_shapes, path)
            headers.pop(LABELS, None)
            shapes = tuple(sorted(headers.items()))
            found[shapes] = found.get(shapes, 0) + 1
        return [dict(shapes) for shapes in sorted(found, key=lambda one: (-found[one], one))]

    def calibration(self) -> Iterator[Feeds]:
        """Yield the arrays of each file in the folder `calibration`, without labels if any.

        Raises:
            TaskFailed: there are no such files, or one cannot be read.
        """
        files = sorted((self._folder / "calibration").glob("*.npz"))
        if not files:
            raise TaskFailed(
                f"{self._folder}/calibration holds no .npz file; write inputs there that "
                "evaluation does not use"
            )
        for path in files:
            arrays = _read(read_arrays, path)
            arrays.pop(LABELS, None)
            yield arrays

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        """Run every file once and compare the model's first output with its labels.

        Raises:
            TaskFailed: a file cannot be read, or its labels do not fit the output.
        """
        values: dict[str, list[np.ndarray]] = {}
        weights: list[np.ndarray] = []
        for path in self._files:
            arrays = _read(read_arrays, path)
            labels = _labels(path, arrays)
            outputs = run(arrays)
            name, output = next(iter(outputs.items()))
            metric, scored = _scored(path, labels, name, np.asarray(output))
            rows = scored.reshape(len(scored), -1)
            values.setdefault(metric, []).append(rows.sum(1, dtype=np.float64))
            weights.append(np.full(len(rows), rows.shape[1], np.float64))
        if len(values) > 1:
            raise TaskFailed(
                f"{self._folder}: {LABELS} are integers in some files and floats in others"
            )
        ((metric, parts),) = values.items()
        better = metric == ACCURACY
        return {metric: Scores(np.concatenate(parts), np.concatenate(weights), better)}


def _read(reader: Callable[[Path], dict[str, T]], path: Path) -> dict[str, T]:
    """What ``reader`` finds in a file; one that cannot be read is the task's failure."""
    try:
        return reader(path)
    except InvalidInput as error:
        raise TaskFailed(str(error)) from error


def _labels(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Take the labels out of the arrays of a file."""
    if LABELS not in arrays:
        raise TaskFailed(f"{path} has no array {LABELS!r}, only {', '.join(arrays) or 'nothing'}")
    labels = arrays.pop(LABELS)
    if labels.dtype.kind not in "iuf":
        raise TaskFailed(f"{path}: {LABELS} are {labels.dtype}; give integers, or floats")
    if not arrays:
        raise TaskFailed(f"{path} has {LABELS} but no inputs")
    if labels.ndim == 0 or not labels.size:
        raise TaskFailed(f"{path}: {LABELS} of shape {labels.shape} label no item")
    return labels


def _scored(
    path: Path, labels: np.ndarray, name: str, output: np.ndarray
) -> tuple[str, np.ndarray]:
    """Name the metric, and score every label: 1 or 0 for a class, else the absolute error."""
    shape = output.shape
    # Of bfloat16 numpy has no kind of its own.
    if output.dtype.kind not in "biufV":
        raise TaskFailed(
            f"{path}: output {name!r} is no tensor of numbers, and it is the first, which "
            f"{LABELS} are compared with; move another to the front, or write a task in Python"
        )
    if labels.dtype.kind == "f":
        if labels.shape != shape:
            raise TaskFailed(
                f"{path}: {LABELS} are floats of shape {labels.shape}, but output {name!r} has "
                f"shape {shape}; give as many values, or classes as integers"
            )
        return ERROR, np.abs(output.astype(np.float64) - labels)
    axis = _class_axis(labels.shape, shape)
    if axis is None:
        fitting = " or ".join(str(one) for one in _shapes_of_labels(shape)) or "none at all"
        raise TaskFailed(
            f"{path}: {LABELS} have shape {labels.shape}, but output {name!r} has shape {shape}; "
            f"classes for it have shape {fitting}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= shape[axis]))
    if wrong.size:
        raise TaskFailed(
            f"{path}: label {labels.flat[wrong[0]]} is no class of output {name!r}, which has "
            f"{shape[axis]}"
        )
    hits = (output.argmax(axis) == labels).astype(np.float64)
    # What has no largest element is neither right nor wrong.
    hits[np.isnan(output.astype(np.float64)).any(axis)] = np.nan
    return ACCURACY, hits


def _class_axis(labels: tuple[int, ...], output: tuple[int, ...]) -> int | None:
    """The axis of the output along which classes are, None if the labels do not fit it."""
    return _shapes_of_labels(output).get(labels)


def _shapes_of_labels(output: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Shapes that classes for an output may have, each with the axis of the classes."""
    if len(output) < 2:
        return {}
    found = {output[:1] + output[2:]: 1}
    return {output[:-1]: len(output) - 1} | {s: a for s, a in found.items() if s != output[:-1]}
