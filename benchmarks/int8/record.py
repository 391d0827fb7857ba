"""What was recorded of int8, as pages show it."""

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
from benchmarks.recorded import load_record

TOTALS = ("model", "metric", "items", "float", "`quantize-int8` - float", "all methods - float")


def accuracy_tables() -> str:
    """What int8 costs on tasks, by quantizer."""
    record = load_record("int8-accuracy", AccuracyRow)
    return "\n\n".join([markdown(*accuracy_cells(record.rows)), record.circumstances])


def latency_tables() -> str:
    """How fast int8 is beside float and others' int8."""
    record = load_record("int8-latency", Row)
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
    record = load_record("int8-methods", MethodsRow)
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
    record = load_record("int8-others", OthersRow)
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
    record = load_record("int8-zoo", ZooRow)
    return "\n\n".join([
        "## Every model of the zoo",
        "`--quantize int8` and without, both compiled here and timed in turns; what does not pay "
        "stays in float, as the very\ncode of float.",
        markdown(*zoo_cells(record.rows)), zoo_conclusion(record.rows) + ".",
        "\n".join(f"- {remark}" for remark in zoo_remarks(record.rows)), record.circumstances,
    ])  # fmt: skip


def _methods() -> str:
    record = load_record("int8-methods", MethodsRow)
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
