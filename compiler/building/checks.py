"""What can be told of a job by looking at its files, before any of it is done."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path

from burnish.bench.loading import named_in
from burnish.building.data import check_shapes, declared
from burnish.building.job import Job, Lossy
from burnish.building.pruning import require_float
from burnish.calibration.data import UserData, load_data
from burnish.calibration.store import Calibration
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.quantization.kept_layers import require_nodes
from burnish.source import load


def check(job: Job) -> None:
    """Refuse a job whose model, input shapes or task cannot be what is meant.

    No code of the user's runs: of a task, only where it would be found.

    Raises:
        InvalidInput: the model is none.
        UnsupportedModel: it is quantized, and is to be pruned.
        UsageError: shapes name no input, do not fit or leave one open where code is to be
            generated, or there is no such task.
    """
    if isinstance(job.task, str):
        check_task(job.task)
    assert job.source is not None  # a build reads files
    graph = load(job.source)
    if job.pruning is not None:
        require_float(graph)
    for asked in job.lossy:
        require_nodes(graph, asked.keep, asked.KEEP)
        if isinstance(asked.source, str):
            _check_data(job, asked, graph)
    check_shapes(job, graph)


def check_task(text: str) -> None:
    """Refuse what names no task that could be there.

    Raises:
        UsageError: there is no such folder, file or module.
    """
    if Path(text).is_dir():
        return
    _check_code("--eval", text)


def _check_code(option: str, text: str) -> None:
    """Refuse a module or file that is not there."""
    place, _ = named_in(text)
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise UsageError(f"{option}: {place} does not exist")
    elif not _is_module(place.partition(".")[0]):
        raise UsageError(
            f"{option}: there is no module {place!r} here; write module:NAME or file.py:NAME"
        )


def _check_data(job: Job, asked: Lossy, graph: Graph) -> None:
    """Refuse calibration data that are not there, or in files that do not fit."""
    source = str(asked.source)
    data = load_data(source)
    if isinstance(data, UserData):
        _check_code("--calibration", source)
    else:
        Calibration(data, samples=asked.samples, most=asked.most).check(declared(job, graph))


def _is_module(name: str) -> bool:
    """Whether a module or package of that name is in this folder or installed."""
    here = Path.cwd()
    if (here / f"{name}.py").is_file() or (here / name).is_dir() or name in sys.modules:
        return True
    with suppress(ValueError, ImportError):
        return importlib.util.find_spec(name) is not None
    return False
