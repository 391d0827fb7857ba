"""Puts all cases through worker processes; what a case does to its process is a result too."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from benchmarks.cache import ROOT
from benchmarks.node_tests.cases import Case
from benchmarks.node_tests.worker import COMPILE, STAGES

BATCH = 32
"""Cases that share a library, and a process."""
PATIENCE = 300.0, 30.0
"""Seconds after which a process counts as hanging: for itself, and more for each case."""
DIED = "crash"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case in one stage."""

    case: str
    stage: str
    kind: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """Cases for one process, and the stages that they have yet to go through."""

    cases: tuple[str, ...]
    stages: tuple[str, ...] = STAGES


def run_cases(cases: Sequence[Case], state: Path, jobs: int = 2) -> Iterator[Result]:
    """Yield what becomes of each case in each stage, those of an earlier run first.

    Args:
        cases: what to run.
        state: a file of lines that results are appended to, so that a run which was stopped goes
            on where it was.
        jobs: processes at a time.
    """
    known = read_state(state)
    yield from known
    done: dict[str, set[str]] = {}
    for result in known:
        done.setdefault(result.case, set()).add(result.stage)
    missing = [
        (case.name, tuple(stage for stage in STAGES if stage not in done.get(case.name, ())))
        for case in cases
    ]
    queue = deque(_batches(missing))
    with tempfile.TemporaryDirectory(prefix="burnish-node-tests-") as folder:
        pickled = Path(folder, "cases")
        pickled.write_bytes(pickle.dumps(list(cases)))
        with ThreadPoolExecutor(jobs) as pool, state.open("a", encoding="utf-8") as log:
            running: set[Future[tuple[list[Result], list[Job]]]] = set()
            while queue or running:
                while queue and len(running) < jobs:
                    running.add(pool.submit(_run_job, queue.popleft(), pickled))
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    results, again = future.result()
                    queue.extendleft(again)
                    for result in results:
                        log.write(json.dumps(asdict(result)) + "\n")
                        log.flush()
                        yield result


def read_state(path: Path) -> list[Result]:
    """The results that an earlier run left; a line that was cut off does not count."""
    results = []
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                results.append(Result(**json.loads(line)))
            except (ValueError, TypeError):
                continue
    return results


def _batches(missing: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[Job]:
    """Cases with the same stages to go, so many at a time."""
    by_stages: dict[tuple[str, ...], list[str]] = {}
    for name, stages in missing:
        if stages:
            by_stages.setdefault(stages, []).append(name)
    for stages, names in by_stages.items():
        for start in range(0, len(names), BATCH):
            yield Job(tuple(names[start : start + BATCH]), stages)


def _run_job(job: Job, cases: Path) -> tuple[list[Result], list[Job]]:
    """Run one process; return its results, and what is left to do if it died."""
    replies, fate = _converse(job, cases)
    results = [
        Result(reply["case"], reply["stage"], reply["kind"], reply["reason"])
        for reply in replies
        if "kind" in reply
    ]
    if any("done" in reply for reply in replies):
        return results, []
    had = {(result.case, result.stage) for result in results}
    last = next((reply for reply in reversed(replies) if "begin" in reply), None)
    culprit = job.cases[0] if len(job.cases) == 1 else last and last.get("case")
    stage = last["begin"] if last else job.stages[0]
    if culprit:
        results.append(Result(culprit, stage, DIED, fate))
        had.add((culprit, stage))
    return results, list(_rest(job, had, split=culprit is None))


def _rest(job: Job, had: set[tuple[str, str]], *, split: bool) -> Iterator[Job]:
    """What a process that died left to do; ``split`` where nobody knows which case it was."""
    early = tuple(stage for stage in job.stages if stage != COMPILE)
    for stage in early:
        left = tuple(name for name in job.cases if (name, stage) not in had)
        if left:
            yield Job(left, (stage,))
    left = tuple(name for name in job.cases if (name, COMPILE) not in had)
    if COMPILE in job.stages and left:
        middle = (len(left) + 1) // 2 if split else len(left)
        for part in (left[:middle], left[middle:]):
            if part:
                yield Job(part, (COMPILE,))


def _converse(job: Job, cases: Path) -> tuple[list[Mapping[str, Any]], str]:
    """All replies of a process to one request, and how it ended."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.node_tests.worker", str(cases)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
        )  # fmt: skip
        limit = PATIENCE[0] + PATIENCE[1] * len(job.cases)
        hanging = Timer(limit, process.kill)
        hanging.start()
        try:
            output, _ = process.communicate(
                json.dumps({"cases": job.cases, "stages": job.stages}) + "\n"
            )
        finally:
            timed_out = not hanging.is_alive()
            hanging.cancel()
            process.kill()
            process.wait()
        log.seek(0)
        words = " ".join(log.read().split())[-200:]
    replies = [json.loads(line) for line in output.splitlines() if line.endswith("}")]
    fate = f"no end after {limit:.0f} s" if timed_out else f"exit status {process.returncode}"
    return replies, f"{fate}: {words}" if words else fate
