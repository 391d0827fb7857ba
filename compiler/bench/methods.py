"""Methods of quantization as passes to compare: which, in which order, and what each keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from burnish.bench.task import Scores
from burnish.bench.variants import Pipeline
from burnish.passes import get_pass
from burnish.passes.presets import PRESETS
from burnish.pipeline import Pass
from burnish.quantization.distance import distances

ORDER = ("equivalent", "int8", "compensating")
"""Presets that the methods are in, as they run."""
BASE = "quantize-int8"
"""What all others are about: it is what others are alone on top of."""
SHAPES = "infer-shapes"
NOISE, DIVERGENCE = "noise-to-signal", "divergence"
"""Names of distances where they stand among metrics."""


def method_names() -> list[str]:
    """Every method once, as they run: what prepares a model, what rounds, what repairs."""
    names = [name for preset in ORDER for name in PRESETS[preset]()]
    return [name for name in dict.fromkeys(names) if name != SHAPES]


def method_pipeline(methods: Sequence[Pass], after: Sequence[Pass] = ()) -> Pipeline:
    """The methods as steps whose worth is asked for.

    Args:
        methods: what `method_names` names, or some of them, in that order.
        after: what runs after them in every variant.
    """
    # Once is enough: none of them changes a shape that others ask for.
    steps = [get_pass(SHAPES), *methods, *after]
    needed = frozenset(step.name for step in after) | {SHAPES}
    return Pipeline(steps, needed, frozenset({BASE}))


def item_distances(
    expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]]
) -> dict[str, Scores]:
    """How far answers are from the original's, item by item, as what a task says of them.

    Items are inputs, or what is stacked along the first axis of all outputs of an input.

    Args:
        expected: outputs by name for each input, of the original.
        actual: the same of another, of equal shapes.

    Returns:
        Power of the error over that of the signal, and the divergence in nats where all outputs
        are distributions; means over outputs. Empty if no output is float.
    """
    rows = [
        distances([one], [other])
        for want, have in zip(expected, actual, strict=True)
        for one, other in zip(_items(want), _items(have), strict=True)
    ]
    if not rows or not all(rows):
        return {}
    found = {NOISE: [float(np.mean([one.noise for one in row])) for row in rows]}
    divergences = [[one.divergence for one in row if one.divergence is not None] for row in rows]
    if all(divergences):
        found[DIVERGENCE] = [float(np.mean(each)) for each in divergences]
    return {name: Scores.of(values, higher_is_better=False) for name, values in found.items()}


def _items(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is stacked along the first axis, each with an axis of one there."""
    sizes = {value.shape[:1] for value in answer.values() if isinstance(value, np.ndarray)}
    if len(sizes) != 1 or () in sizes:
        return [answer]
    (count,) = sizes.pop()
    return [{name: value[at : at + 1] for name, value in answer.items()} for at in range(count)]
