"""Sets of input shapes: each is an entry of one artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from burnish.errors import UsageError

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = dict[str, Shape]
"""Shapes by input name."""


def pair_up(given: Sequence[tuple[str, Shape]]) -> list[Shapes]:
    """Sets from names and shapes in the order in which they were given, at least one set.

    The k-th shape of every name belongs to set k; a name with one shape has it in all sets.

    Raises:
        UsageError: names that come more than once do not come equally often, or two sets are equal.
    """
    by_name: dict[str, list[Shape]] = {}
    for name, shape in given:
        by_name.setdefault(name, []).append(shape)
    often = {name: len(shapes) for name, shapes in by_name.items() if len(shapes) > 1}
    count = max(often.values(), default=1)
    if len(set(often.values())) > 1:
        shown = ", ".join(f"{name!r} {times} times" for name, times in often.items())
        raise UsageError(
            f"--input-shape gives {shown}: the first shapes of all inputs make the first set, the "
            "second shapes the second and so on, so give each input as many, or one for all sets"
        )
    return distinct(
        [
            {name: shapes[number if len(shapes) > 1 else 0] for name, shapes in by_name.items()}
            for number in range(count)
        ]
    )


def distinct(sets: Sequence[Shapes]) -> list[Shapes]:
    """``sets``, none of which may come twice.

    Raises:
        UsageError: two are equal.
    """
    for number, shapes in enumerate(sets):
        if shapes in sets[:number]:
            raise UsageError(
                f"the input shapes {as_options(shapes)} are given twice; sets must differ"
            )
    return list(sets)


def as_options(shapes: Mapping[str, Sequence[int]]) -> str:
    """``x=1,3,224,224 y=1``."""
    return " ".join(f"{name}={','.join(map(str, shape))}" for name, shape in shapes.items())
