"""`make docs`: the generated tables of README.md, between `<!-- name -->` and `<!-- /name -->`.

The pages docs/latency.md, docs/passes.md, docs/int8.md and docs/pruning.md and the schemas beside
them are written as well.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import worth
from benchmarks.int8 import record as int8
from benchmarks.measured import (
    circumstances,
    full_table,
    load_record,
    main_table,
    means_table,
    remarks_list,
)
from benchmarks.pruning import record as pruning
from benchmarks.tasks import record as tasks
from burnish.bench import document
from burnish.building import config
from burnish.selection import catalogue
from burnish.target import catalogue as targets

README = Path(__file__).resolve().parent.parent / "README.md"
PAGE = README.parent / "docs" / "latency.md"
WORTH_PAGE = PAGE.with_name("passes.md")
INT8_PAGE = PAGE.with_name("int8.md")
PRUNING_PAGE = PAGE.with_name("pruning.md")
NUMERICS = {"exact": "same bits", "reassociates": "other rounding", "lossy": "another function"}


def passes_table() -> str:
    """One row per pass: name, numeric promise, presets, first line of its documentation."""
    rows = ["| pass | outputs | presets | what it does |", "|---|---|---|---|"]
    for entry in catalogue():
        name, presets = f"`{entry['name']}`", " ".join(entry["presets"])
        rows.append(f"| {name} | {NUMERICS[entry['numerics']]} | {presets} | {entry['summary']} |")
    return "\n".join(rows)


def targets_table() -> str:
    """One row per target that has a name of its own; `cpu` is whatever machine this is."""
    rows = ["| `--target` | vector registers | instruction sets |", "|---|---|---|"]
    rows.append("| `cpu` | those of this machine | those of this machine |")
    for target in targets():
        if target.is_host:
            continue
        vectors = f"{target.registers} of {target.vector_bits} bits"
        rows.append(f"| `{target.name}` | {vectors} | {', '.join(sorted(target.features))} |")
    return "\n".join(rows)


def latency_tables() -> str:
    """What was recorded of latency: means, main models, under which circumstances."""
    record = load_record()
    return "\n\n".join([means_table(record), main_table(record), circumstances(record)])


def latency_page() -> str:
    """The page of all recorded latencies."""
    record = load_record()
    parts = (circumstances(record), full_table(record), remarks_list(record))
    return (
        "# Latency of every model measured\n\n"
        "Median milliseconds of one run, and the time of other engines over that of burnish with "
        "its 95% interval:\nabove 1 burnish is faster. One process per engine, one awake at a "
        "time, in alternating blocks; a wrong result is never timed.\n"
        "`python -m benchmarks latency --models all --json benchmarks/results/latency.json` "
        "measures again, `make docs` writes\nthis page.\n\n"
        + "\n\n".join(filter(None, parts))
        + "\n"
    )


def task_tables() -> str:
    """What was recorded of tasks with labels, and under which circumstances."""
    record = tasks.load_record()
    return "\n\n".join([tasks.tasks_table(record), tasks.circumstances(record)])


def worth_tables() -> str:
    """What was recorded of what each pass is worth."""
    return worth.worth_tables(worth.load_record())


def worth_page() -> str:
    """The page of all passes, models and views."""
    record = worth.load_record()
    return (
        "# What each pass is worth to every main model\n\n"
        "The time without a pass over the time with it, with its 95% interval; bold where the "
        "interval tells. `alone`: on top of\ncleanup; `cumulative`: added after those before it; "
        "`without`: all others run. `needed`: without it the result is\nwrong or cannot be made. "
        "A pass without a row leads to the same graph with and without it.\n"
        "`python -m benchmarks worth --json benchmarks/results/worth.json` measures again, "
        "`make docs` writes this page.\n\n"
        + worth.circumstances(record)
        + "\n\n"
        + worth.worth_page(record)
        + "\n"
    )


TABLES: Mapping[str, Callable[[], str]] = {
    "passes": passes_table,
    "targets": targets_table,
    "latency": latency_tables,
    "tasks": task_tables,
    "worth": worth_tables,
    "int8-accuracy": int8.accuracy_tables,
    "int8-latency": int8.latency_tables,
    "int8-methods": int8.methods_tables,
}


SCHEMAS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "bench": document.schema,
    "burnish": config.schema,
}
"""JSON Schemas of what is read and written, by the names of their files."""


def refreshed(text: str) -> str:
    """Return ``text`` with every table as it should be now.

    Raises:
        ValueError: a table has no place in the text.
    """
    for name, table in TABLES.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(opening)
        _, closed, after = rest.partition(closing)
        if not found or not closed:
            raise ValueError(f"README.md has no place for the table of {name}")
        text = f"{before}{opening}{table()}\n{closing}{after}"
    return text


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text()))
    PAGE.write_text(latency_page())
    WORTH_PAGE.write_text(worth_page())
    INT8_PAGE.write_text(int8.page())
    PRUNING_PAGE.write_text(pruning.page())
    for name, described in SCHEMAS.items():
        (PAGE.parent / f"{name}.schema.json").write_text(json.dumps(described(), indent=2) + "\n")
