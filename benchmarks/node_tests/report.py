"""What became of all cases: the counts that are asked for, and every refusal with its reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.node_tests import batch, checks
from benchmarks.node_tests.pool import Result
from benchmarks.partial import fingerprint
from burnish.backends.cache import cache_folder
from burnish.bench.environment import Environment

BOUND = "/bound"
"""Ends the name of a case whose shape-giving inputs were made constant."""
GOALS = {"export": 1300, "compile": 1250, "native": 900}
"""Fewest cases that have to load and be written again, compile right, and run natively."""
SHOWN = 3


def state_file(environment: Environment) -> Path:
    """Where the results of a run are kept while it goes on."""
    return cache_folder("node-tests") / f"{fingerprint(environment)}.jsonl"


def by_kind(results: Iterable[Result], stage: str) -> Counter[str]:
    """How many cases came to each end in ``stage``."""
    return Counter(result.kind for result in results if result.stage == stage)


def counts(results: Sequence[Result]) -> dict[str, int]:
    """The figures that are asked for, over the cases as they stand."""
    plain = [result for result in results if not result.case.endswith(BOUND)]
    export, optimize, compiled = (
        by_kind(plain, stage) for stage in ("export", "optimize", "compile")
    )
    native = compiled[batch.NATIVE]
    return {
        "cases": len({result.case for result in plain}),
        "export": export[checks.EQUAL],
        "export_wrong": export[checks.WRONG] + export[checks.CRASH],
        "optimize": optimize[checks.EQUAL],
        "optimize_wrong": optimize[checks.WRONG] + optimize[checks.CRASH],
        "compile": native + compiled[batch.REGION],
        "compile_wrong": compiled[batch.WRONG] + compiled[batch.CRASH] + compiled[batch.ENGINE],
        "native": native,
        "native_bound": native + _rescued(results),
    }


def _rescued(results: Sequence[Result]) -> int:
    """Cases that are native only once the inputs which give shapes are constant."""
    native = {r.case for r in results if r.stage == "compile" and r.kind == batch.NATIVE}
    return sum(name.endswith(BOUND) and name.removesuffix(BOUND) not in native for name in native)


def holds(found: Mapping[str, int]) -> bool:
    """Whether every goal is met and nothing is wrong."""
    wrong = sum(found[key] for key in found if key.endswith("_wrong"))
    return not wrong and all(found[key] >= goal for key, goal in GOALS.items())


def count_table(found: Mapping[str, int]) -> Table:
    """The figures, with what is asked of them."""
    table = Table("of ONNX's node tests", box=None, pad_edge=False)
    for column in ("cases", "at least", "wrong"):
        table.add_column(column, justify="right")
    rows = {
        "export": "load and are written again, results equal",
        "optimize": "are optimized, results equal",
        "compile": "compile and are right, regions allowed",
        "native": "compile without a region",
        "native_bound": "... with the inputs that give shapes constant",
    }
    for key, label in rows.items():
        wrong = found.get(f"{key}_wrong")
        goal = GOALS.get(key)
        table.add_row(label, str(found[key]), str(goal or ""), "" if wrong is None else str(wrong))
    table.add_row("all", str(found["cases"]), "", "")
    return table


def refusals(results: Iterable[Result]) -> list[dict[str, Any]]:
    """What did not go well or natively, by stage, kind and reason; the most frequent first."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        if result.kind not in (checks.EQUAL, batch.NATIVE) and not result.case.endswith(BOUND):
            key = (result.stage, result.kind, generalised(result))
            groups.setdefault(key, []).append(result.case)
    ordered = sorted(groups.items(), key=lambda group: (group[0][:2], -len(group[1])))
    return [
        {"stage": stage, "kind": kind, "reason": reason, "cases": sorted(names)}
        for (stage, kind, reason), names in ordered
    ]


def generalised(result: Result) -> str:
    """A reason without what differs from case to case: names of values and numbers."""
    if result.kind in (batch.WRONG, batch.CRASH, batch.ENGINE):
        return result.reason
    text = re.sub(r"(?<!\w)'[^']*'", "'…'", result.reason)
    return re.sub(r"\d+(\.\d+)?", "#", text)


def refusal_lines(groups: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The groups for people, a reason each with a few of its cases."""
    heading = None
    for group in groups:
        if heading != (heading := f"{group['stage']}, {group['kind']}"):
            yield f"\n{heading}"
        names = group["cases"]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"  {len(names):4} times: {group['reason']}"
        yield f"         {', '.join(names[:SHOWN])}{more}"


def as_json(results: Sequence[Result], environment: Environment) -> dict[str, Any]:
    """Everything, for other programs."""
    return {
        "environment": environment.as_json(),
        "fingerprint": fingerprint(environment),
        "counts": counts(results),
        "goals": GOALS,
        "refusals": refusals(results),
    }
