"""How much tests try: a part of it every time, all of it with the slow tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import settings

_ALL = 100
"""Examples under the profile of the slow tests; ``tests/conftest.py`` has the profiles."""


def few(count: int) -> int:
    """``count`` examples of what is compiled, more under the profile "deep" only."""
    return count * max(1, settings().max_examples // _ALL)


def part(count: int) -> int:
    """As much of ``count`` examples as the profile has of all."""
    return max(1, count * settings().max_examples // _ALL)


def slow(*values: Any) -> Any:
    """One set of parameters that is tried with the slow tests only."""
    return pytest.param(*values, marks=pytest.mark.slow)


def every_other(*axes: Collection[Any]) -> list[Any]:
    """Combinations of values of several parameters, half of them slow: neighbours alternate.

    Every value comes up each time, and of three parameters or more every pair of values does. An
    axis that is a mapping gives its values names.

    Raises:
        ValueError: an axis has one value, so that some of the others' come up with the slow tests
            only.
    """
    if short := [axis for axis in axes if len(axis) < 2]:
        raise ValueError(f"half of what goes with {short} would be slow alone")
    made = []
    for places in product(*(range(len(axis)) for axis in axes)):
        each = [_named(axis)[place] for axis, place in zip(axes, places, strict=True)]
        marks = [pytest.mark.slow] if sum(places) % 2 else []
        made.append(
            pytest.param(*(v for _, v in each), id="-".join(n for n, _ in each), marks=marks)
        )
    return made


def _named(axis: Collection[Any]) -> list[tuple[str, Any]]:
    if isinstance(axis, Mapping):
        return list(axis.items())
    return [(str(value).replace(" ", ""), value) for value in axis]


def mostly_slow(values: Iterable[Any], often: Collection[Any]) -> list[Any]:
    """Values of one parameter: those in ``often`` are tried every time, the others are slow.

    Raises:
        ValueError: ``often`` is empty, or has what is none of the values.
    """
    every = list(values)
    unknown = [value for value in often if value not in every]
    if unknown or not often:
        raise ValueError(f"to try often: {unknown or 'nothing'}, of {every}")
    return [value if value in often else slow(value) for value in every]
