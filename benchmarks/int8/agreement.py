"""Whether a model in int8 gives items the classes that the float model gives them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.bench.task import Feeds, Run, Scores, Task
from burnish.quantization.distance import are_distributions

AGREEMENT = "agreement"


@dataclass
class WithAgreement:
    """A task that also scores classifiers by how often they agree with the first one evaluated.

    A classifier is what answers probabilities or logits of classes, [items, classes], in its first
    output. The first one says whether all are: quantized probabilities need not sum to one.
    """

    task: Task
    _first: np.ndarray[Any, Any] | None = None
    _is_classifier: bool | None = None

    @property
    def name(self) -> str:
        """Of the task."""
        return self.task.name

    @property
    def input_shapes(self) -> Sequence[Mapping[str, tuple[int, ...]]]:
        """Those of the task."""
        return self.task.input_shapes

    def calibration(self) -> Iterable[Feeds]:
        """Return the task's feeds."""
        return self.task.calibration()

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        """Score a model on the task, and by its classes if it is a classifier."""
        answers: list[np.ndarray[Any, Any]] = []

        def watched(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
            outputs = run(feeds)
            answers.append(np.asarray(next(iter(outputs.values()))))
            return outputs

        scores = dict(self.task.evaluate(watched))
        if self._is_classifier is None:
            flat = all(each.ndim == 2 for each in answers)
            self._is_classifier = flat and are_distributions(answers)
        if not self._is_classifier:
            return scores
        # The last batch may be filled up beyond the items.
        items = next(iter(scores.values())).values.size
        classes = np.concatenate(answers).argmax(axis=1)[:items]
        if self._first is None:
            self._first = classes
        return {**scores, AGREEMENT: Scores.of(classes == self._first)}
