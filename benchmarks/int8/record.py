"""What was recorded of int8, as pages show it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from benchmarks.int8.accuracy import AccuracyRow
from benchmarks.int8.methods import MethodsRow
from benchmarks.int8.methods_table import HEADS, conclusion, method_cells, totals
from benchmarks.int8.others import OthersRow
from benchmarks.int8.table import (
    PEERS,
    accuracy_cells,
    latency_cells,
    others_cells,
    zoo_cells,
    zoo_conclusion,
    zoo_remarks,
)
from benchmarks.int8.zoo import ZooRow
from benchmarks.latency import Row
from benchmarks.markdown import markdown

RESULTS = Path(__file__).resolve().parent.parent / "results"
"""What ``python -m benchmarks int8 NAME --json`` wrote, as ``int8-NAME.json``."""
PACKAGES = ("burnish", "onnxruntime", "another onnxruntime", "nncf", "openvino", "apache-tvm")
TOTALS = ("model", "metric", "items", "float", "`quantize-int8` - float", "all methods - float")


class Readable(Protocol):
    """A row that comes back from JSON."""

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return what was written."""


Result = TypeVar("Result", bound=Readable)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[Result]):
    """A recorded run."""

    environment: dict[str, Any]
    plan: dict[str, Any]
    rows: tuple[Result, ...]

    @property
    def circumstances(self) -> str:
        """In a line: machine, threads, samples, versions, date."""
        found = self.environment
        versions = ", ".join(
            f"{name} {found['versions'][name]}" for name in PACKAGES if name in found["versions"]
        )
        return (
            f"{found['cores']} cores of {found['cpu']}, {self.plan['threads']} threads, at most "
            f"{self.plan['samples']} calibration samples, {found['date'][:10]}, {versions}; load "
            f"of the machine before: {found['load']:.1f}."
        )


def load_record(name: str, kind: type[Result]) -> Recorded[Result]:
    """Read what a command of int8 recorded."""
    content = json.loads((RESULTS / f"int8-{name}.json").read_text(encoding="utf-8"))
    rows = tuple(map(kind.from_json, content["rows"]))
    return Recorded(content["environment"], content["plan"], rows)


def accuracy_tables() -> str:
    """What int8 costs on tasks, by quantizer."""
    record = load_record("accuracy", AccuracyRow)
    return "\n\n".join([markdown(*accuracy_cells(record.rows)), record.circumstances])


def latency_tables() -> str:
    """How fast int8 is beside float and others' int8."""
    record = load_record("latency", Row)
    untimed = [
        f"- {row.model}: {title} is not timed: {row.untimed[name]}."
        for row in record.rows
        for name, title in PEERS.items()
        if name in row.untimed
    ]
    parts = [markdown(*latency_cells(record.rows)), "\n".join(untimed), record.circumstances]
    return "\n\n".join(filter(None, parts))


def methods_tables() -> str:
    """What all methods together do to tasks, and which of them help."""
    record = load_record("methods", MethodsRow)
    return "\n\n".join([
        markdown(TOTALS, totals(record.rows)), conclusion(record.rows), record.circumstances,
    ])  # fmt: skip


def page() -> str:
    """The page of everything else that was recorded."""
    return (
        "# int8 in figures\n\n"
        "`python -m benchmarks int8 others`, `zoo` and `methods`, each with "
        "`--json benchmarks/results/int8-NAME.json`, measure\nagain; `make docs` writes this "
        "page.\n\n" + "\n\n".join([_others(), _zoo(), _methods()]) + "\n"
    )


def _others() -> str:
    record = load_record("others", OthersRow)
    return "\n\n".join([
        "## Models that others quantized",
        "Compiled as they are. How near the artifact's answers are to ONNX Runtime's (signal over "
        "noise in the output that\nis farthest off, and how many classes are the same), and how "
        "near ONNX Runtime is to itself: without its\noptimizations, with what is rounded moved by "
        "a hair, and in another version. `right` is what is near it, or about as\nnear as it is to "
        "itself. Then its time over ours. On x86 without VNNI, where ONNX Runtime's products of "
        "unsigned by signed bytes\nsaturate, it is given the same weights as unsigned ones.",
        markdown(*others_cells(record.rows)),
        *(f"- {row.model} by {row.kind}: {row.failure}" for row in record.rows if row.failure),
        record.circumstances,
    ])  # fmt: skip


def _zoo() -> str:
    record = load_record("zoo", ZooRow)
    return "\n\n".join([
        "## Every model of the zoo",
        "`--quantize int8` and without, both compiled here and timed in turns; what does not pay "
        "stays in float, as the very\ncode of float.",
        markdown(*zoo_cells(record.rows)), zoo_conclusion(record.rows) + ".",
        "\n".join(f"- {remark}" for remark in zoo_remarks(record.rows)), record.circumstances,
    ])  # fmt: skip


def _methods() -> str:
    record = load_record("methods", MethodsRow)
    counts = ", ".join(
        f"{row.model} on {row.samples} and {row.compared} others" for row in record.rows
    )
    return "\n\n".join([
        "## What each method does",
        "Points of the metric, and of the noise on calibration data that nothing was fitted to, "
        "with 95% intervals: alone on\ntop of `quantize-int8`, and where it alone is left out of "
        "all (`without`); `same` is the same model. Intervals of items that\nare right or wrong "
        "are as recorded, exact given how many items changed; today's are Tango's score\n"
        "intervals (1998).",
        markdown(HEADS, method_cells(record.rows)),
        f"Feeds that each was quantized on, and that noise was measured on: {counts}.",
        record.circumstances,
    ])  # fmt: skip
