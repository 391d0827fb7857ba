"""Checks cases in a process of its own: ``python -m benchmarks.node_tests.worker CASES``.

``CASES`` is a file of pickled cases. Requests and replies are lines of JSON: a request names cases
and the stages that are wanted; each reply says which stage begins, or what became of a case in it.
An engine that takes the process down does no more harm than that. ``benchmarks.node_tests.pool`` is
the other end.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.node_tests.batch import Runner
from benchmarks.node_tests.cases import Case
from benchmarks.node_tests.checks import Found, check_export, check_optimize

CHECKS: Mapping[str, Callable[[Case], Found]] = {"export": check_export, "optimize": check_optimize}
COMPILE = "compile"
STAGES = (*CHECKS, COMPILE)
"""What is done with a case, in order."""

Reply = Callable[[Mapping[str, Any]], None]


def handle(cases: Sequence[Case], stages: Sequence[str], reply: Reply) -> None:
    """Put cases through stages and say what became of them."""
    for stage in stages:
        if stage == COMPILE:
            continue
        for case in cases:
            reply({"begin": stage, "case": case.name})
            kind, reason = CHECKS[stage](case)
            reply({"stage": stage, "case": case.name, "kind": kind, "reason": reason[:400]})
    if COMPILE in stages:
        reply({"begin": COMPILE})
        for outcome in Runner().run(cases, batch=len(cases)).values():
            reply({"stage": COMPILE, "case": outcome.name, "kind": outcome.kind,
                   "reason": outcome.reason})  # fmt: skip
    reply({"done": True})


def main() -> None:
    """Serve on the standard streams; what engines print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # The file was written by the process that started this one.
    cases = {case.name: case for case in pickle.loads(Path(sys.argv[1]).read_bytes())}

    def reply(content: Mapping[str, Any]) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    for line in sys.stdin:
        request = json.loads(line)
        handle([cases[name] for name in request["cases"]], request["stages"], reply)


if __name__ == "__main__":
    main()
