"""What a pruned model says of itself, so that others can tell what was removed of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from burnish.ir import Graph
from burnish.pruning.result import Pruned, Thinned

KEY = "burnish.pruning"
"""Of the metadata."""


@dataclass(frozen=True)
class Record:
    """What was removed of a model."""

    summary: Mapping[str, Any]
    """As manifests have it."""
    thinned: list[Thinned]
    """Names, kinds and widths count."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        thinned = [
            {"name": one.name, "kind": one.kind, "units": one.units, "kept": one.kept}
            for one in self.thinned
        ]  # fmt: skip
        return {**self.summary, "thinned": thinned}


def leave(found: Pruned) -> None:
    """Write into the metadata of a pruned graph what was removed of it, behind what was before."""
    new = Record(found.summary(), [one for one in found.structures if one.is_thinner])
    every = [*read(found.graph), new]
    found.graph.metadata[KEY] = json.dumps([one.as_json() for one in every])


def read(graph: Graph) -> list[Record]:
    """What the metadata of a graph say, the first pruning first; nothing if it makes no sense.

    Anybody may have written them: what has another form, or counts that cannot be, counts as not
    there.
    """
    try:
        return [_record(each) for each in json.loads(graph.metadata.get(KEY, "[]"))]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return []


def _record(stated: Mapping[str, Any]) -> Record:
    thinned = [_thinned(each) for each in stated["thinned"]]
    summary: dict[str, Any] = {
        **{key: int(stated[key]) for key in ("structures", "of")},
        **{key: float(stated[key]) for key in ("flops", "weights")},
        **{key: str(stated[key]) for key in ("loss", "asked")},
    }
    _require(0 <= summary["structures"] <= summary["of"])
    _require(all(0 <= summary[key] < math.inf for key in ("flops", "weights")))
    return Record(summary, thinned)


def _thinned(stated: Mapping[str, Any]) -> Thinned:
    name, kind = (str(stated[key]) for key in ("name", "kind"))
    found = Thinned(name, kind, int(stated["units"]), int(stated["kept"]))
    _require(0 <= found.kept <= found.units)
    return found


def _require(is_possible: bool) -> None:
    if not is_possible:
        raise ValueError("no model can have that")
