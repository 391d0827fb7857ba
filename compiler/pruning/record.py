"""What a pruned model says of itself, so that others can tell what was removed of it."""

from __future__ import annotations

import json
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
    """Write into the metadata of a pruned graph what was removed of it."""
    record = Record(found.summary(), [one for one in found.structures if one.is_thinner])
    found.graph.metadata[KEY] = json.dumps(record.as_json())


def read(graph: Graph) -> Record | None:
    """What the metadata of a graph say, None if nothing that can be understood.

    Anybody may have written them: what has another form counts as not there.
    """
    try:
        stated = json.loads(graph.metadata.get(KEY, ""))
        thinned = [_read(each) for each in stated.pop("thinned")]
        summary = {
            **{key: int(stated[key]) for key in ("structures", "of")},
            **{key: float(stated[key]) for key in ("flops", "weights")},
            **{key: str(stated[key]) for key in ("loss", "asked")},
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Record(summary, thinned)


def _read(stated: Mapping[str, Any]) -> Thinned:
    name, kind = (str(stated[key]) for key in ("name", "kind"))
    return Thinned(name, kind, int(stated["units"]), int(stated["kept"]))
