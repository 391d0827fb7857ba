"""What acceptance is judged by: facts about every model of the zoo, gathered by running burnish."""

import filecmp
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache import Zoo
from benchmarks.comparison import Disagreement
from benchmarks.compiling import CommandFailed, compile_artifact, optimize_model
from benchmarks.inputs import Case, draw_feeds
from benchmarks.latency import Row, check_and_time
from benchmarks.plan import Plan
from benchmarks.zoo import Model, find
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.seats import ORT, Seat

WARM_UP_MODEL = "functions"
"""A tiny model, compiled so that the linker has built its own libraries before anything counts."""

UNHASHED = "report.json"
"""The file of an artifact that holds measured figures and so differs from run to run."""


@dataclass(frozen=True, slots=True)
class CaseEvidence:
    """One model at one set of shapes and one number of threads."""

    row: Row
    regions: int | None = None
    foreign: tuple[str, ...] | None = None
    """Compilers and other engines that were imported to load and run the artifact."""
    memory: int | None = None
    """Resident bytes above the same process before it loaded the artifact."""
    ort_memory: int | None = None
    """The same for ONNX Runtime and the original model."""
    libraries: tuple[str, ...] | None = None
    """What the library is linked to."""


@dataclass(frozen=True, slots=True)
class RepeatEvidence:
    """One model compiled again and again."""

    model: str
    differing: tuple[str, ...] = ()
    """Files that were not the same bytes in two runs without tuning."""
    untuned: float | None = None
    """Seconds of the first compile with `--tune off`."""
    cached: float | None = None
    """Seconds of a compile that was done before, tuning and all."""
    failure: str | None = None


@contextmanager
def fresh_cache(zoo: Zoo) -> Iterator[Path]:
    """Give a cache folder that has linked once but holds nothing of any model.

    Raises:
        CommandFailed: if not even the tiny model compiles.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-acceptance-") as folder:
        cache = Path(folder, "cache")
        shutil.copytree(_linked_once(zoo).name, cache)
        yield cache


@functools.cache
def _linked_once(zoo: Zoo) -> tempfile.TemporaryDirectory[str]:
    """Make such a folder, once for this process: to link for the first time takes many seconds."""
    folder = tempfile.TemporaryDirectory(prefix="burnish-acceptance-")
    model, cache = find(WARM_UP_MODEL), Path(folder.name)
    with tempfile.TemporaryDirectory(prefix="burnish-acceptance-") as out:
        shapes, artifact = model.cases[0].shapes, Path(out, "warm-up")
        compile_artifact(zoo.path(model), artifact, shapes, threads=1, tune="off", cache=cache)
    shutil.rmtree(cache / "burnish" / "schedules", ignore_errors=True)
    return folder


def gather_case(model: Model, case: Case, threads: int, plan: Plan, zoo: Zoo) -> CaseEvidence:
    """Compile with an empty cache and default tuning, then check, weigh and time."""
    onnx = zoo.path(model)
    with tempfile.TemporaryDirectory(prefix="burnish-acceptance-") as folder:
        artifact = Path(folder, "artifact")
        try:
            with fresh_cache(zoo) as cache, machine_to_ourselves():
                compiled = compile_artifact(
                    onnx, artifact, case.shapes, threads=threads, tune=plan.tune, cache=cache
                )
                memory, foreign = weigh("burnish", artifact, model, case, threads)
                ort_memory, _ = weigh("ort", onnx, model, case, threads)
                here = (Seat(ORT),)
                checked = check_and_time(model, case, threads, plan, onnx, artifact, here)
        except (CommandFailed, EngineFailed, Disagreement) as failure:
            return CaseEvidence(Row(model.name, case.label, threads, failure=str(failure)))
        return CaseEvidence(
            checked.row(model, case, threads, compiled.seconds, compiled.native_share),
            compiled.regions,
            foreign,
            memory,
            ort_memory,
            linked_libraries(compiled.library),
        )


def weigh(
    engine: str, path: Path, model: Model, case: Case, threads: int
) -> tuple[int, tuple[str, ...]]:
    """Load and run a model in a fresh process.

    Returns:
        How many resident bytes that added, and the foreign packages it imported.
    """
    with Engine(engine) as worker:
        empty = worker.resident()
        worker.load(path, threads)
        worker.feed(draw_feeds(model.inputs, case))
        worker.time(3, warm=0)
        return worker.resident() - empty, tuple(worker.foreign())


def linked_libraries(library: Path) -> tuple[str, ...]:
    """Return the names of the shared objects that `ldd` finds for a library.

    Raises:
        CommandFailed: if ldd cannot read it.
    """
    done = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"ldd {library}: {done.stderr.strip()}")
    return tuple(re.findall(r"^\s*(\S+\.so\S*)", done.stdout, flags=re.MULTILINE))


def gather_repeats(model: Model, zoo: Zoo, tune: str | None) -> RepeatEvidence:
    """Compile a model twice without tuning and twice with it, optimize it twice, compare."""
    onnx, case = zoo.path(model), model.cases[0]
    with tempfile.TemporaryDirectory(prefix="burnish-acceptance-") as name:
        folder = Path(name)
        try:
            with fresh_cache(zoo) as cache, machine_to_ourselves():
                seconds = [
                    compile_artifact(
                        onnx, folder / out, case.shapes, threads=2, tune=how, cache=cache
                    ).seconds
                    for out, how in (("a", "off"), ("b", "off"), ("c", tune), ("d", tune))
                ]
            for out in ("a.onnx", "b.onnx"):
                optimize_model(onnx, folder / out, case.shapes)
        except CommandFailed as failure:
            return RepeatEvidence(model.name, failure=str(failure))
        differing = differing_files(folder / "a", folder / "b")
        if not filecmp.cmp(folder / "a.onnx", folder / "b.onnx", shallow=False):
            differing += ("ONNX",)
        return RepeatEvidence(model.name, differing, untuned=seconds[0], cached=seconds[3])


def differing_files(one: Path, other: Path) -> tuple[str, ...]:
    """Return the names of files that two artifacts do not share byte for byte."""
    names = {
        str(file.relative_to(folder))
        for folder in (one, other)
        for file in folder.rglob("*")
        if file.is_file() and file.name != UNHASHED
    }
    _, changed, missing = filecmp.cmpfiles(one, other, sorted(names), shallow=False)
    return (*changed, *missing)


def gather_cases(
    models: Sequence[Model], threads: Sequence[int], plan: Plan, zoo: Zoo
) -> Iterator[CaseEvidence]:
    """Gather evidence of every case of every model at every number of threads."""
    for model in models:
        for case in model.cases:
            for count in threads:
                yield gather_case(model, case, count, plan, zoo)
