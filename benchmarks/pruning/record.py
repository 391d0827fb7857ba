"""What was recorded of pruning, as pages show it."""

from benchmarks.markdown import markdown
from benchmarks.pruning.accuracy import AccuracyRow
from benchmarks.pruning.speed import SpeedRow
from benchmarks.pruning.table import accuracy_cells, speed_cells, together_cells
from benchmarks.recorded import load_record


def page() -> str:
    """The page of pruning in figures."""
    return (
        "# Pruning in figures\n\n"
        "`python -m benchmarks prune accuracy` and `prune speed`, each with `--json "
        "benchmarks/results/prune-NAME.json`, measure\nagain; `make docs` writes this page.\n\n"
        + "\n\n".join([_accuracy(), _speed()])
        + "\n"
    )


def _accuracy() -> str:
    record = load_record("prune-accuracy", AccuracyRow)
    return "\n\n".join([
        "## What it costs",
        "Points of a task's metric that the pruned model is above the original, on the same items "
        "with 95% intervals; pruning\nsees no labels. `allocated` are the widths that lose the "
        "least for the operations, or the time, that may be left,\n`uniform` equal shares of all, "
        "and `without compensation` what the command wrote (bold) before anything was fitted.\n"
        "`distance` is that from the original on calibration data: divergence in nats, or power of "
        "the error over that of\nthe signal. The speedup is measured where latency was asked for; "
        "seconds and memory are of the whole command.",
        markdown(*accuracy_cells(record.rows)),
        *(f"- {row.model} {row.asked}: {row.failure}" for row in record.rows if row.failure),
        record.circumstances,
    ])  # fmt: skip


def _speed() -> str:
    record = load_record("prune-speed", SpeedRow)
    return "\n\n".join([
        "## What it gains",
        "`--prune 0.5` for this machine, compiled and tuned with and without `--quantize int8`, "
        "and timed in turns. Time that\ngoes with operations would promise a speedup of one over "
        "what is left of these. Seconds and memory are of the\ncommand that prunes and compiles "
        "in float. Where int8 gains no time on the machine (without VNNI, for instance), models "
        "stay in\nfloat, and int8 counts 0 layers.",
        markdown(*speed_cells(record.rows)),
        "What each of the four commands made: the bytes of all weights, the time of a run, and "
        "points above the compiled\noriginal.",
        markdown(*together_cells(record.rows)),
        *(f"- {row.model} {row.case}: {row.failure}" for row in record.rows if row.failure),
        record.circumstances,
    ])  # fmt: skip
