"""The document of a bench: its schema is written down."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from benchmarks.readme import PAGE
from burnish.bench.document import SCHEMA, Interval, schema


def test_the_schema_is_current() -> None:
    written = json.loads((PAGE.parent / "bench.schema.json").read_text())
    assert written == schema(), "run `make docs`"
    assert written["properties"]["schema_version"]["default"] == SCHEMA


def test_fields_are_described() -> None:
    described = schema()["$defs"]["Variant"]["properties"]["latency"]
    assert described["description"].startswith("Seconds of a run: the median of processes.")


def test_unknown_fields_are_errors() -> None:
    with pytest.raises(ValidationError, match="middle"):
        Interval.model_validate({"value": 1.0, "low": 0.5, "high": 2.0, "middle": 1.0})
