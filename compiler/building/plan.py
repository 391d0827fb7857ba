"""What a build would do: one job per model, with all that can be checked before work begins."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.building.config import (
    ARTIFACTS_ONLY,
    ONNX,
    BudgetTable,
    Config,
    ModelTable,
    ShapeTable,
)
from burnish.building.job import Job
from burnish.building.keys import in_keys
from burnish.building.requests import requests
from burnish.compilation import TUNE
from burnish.errors import InvalidInput, UsageError
from burnish.gates import Budgets, parse_bytes
from burnish.narrowing import Precision
from burnish.selection import Selection
from burnish.shape_sets import Shapes, distinct
from burnish.source import describe_source
from burnish.suggest import unknown
from burnish.target import resolve


def plan(config: Config, folder: Path, names: Sequence[str] = ()) -> dict[str, Job]:
    """The jobs of a configuration by the names of their models.

    Args:
        config: what the file says.
        folder: where the file lies, which its paths are seen from.
        names: the models to build; empty for all of them.

    Raises:
        UsageError: a name, option or output does not fit.
        InvalidInput: a model's file is missing.
    """
    for name in names:
        if name not in config.models:
            raise UsageError(unknown("model", name, config.models))
    jobs = {name: _job(name, config.options(name), folder) for name in names or config.models}
    outputs: dict[Path, str] = {}
    for name, job in jobs.items():
        first = outputs.setdefault(job.output, name)
        if first != name:
            raise UsageError(f"models.{first} and models.{name} both write {job.output}")
        if any(job.output == each.source for each in jobs.values()):
            raise UsageError(f"models.{name}: its output {job.output} is itself to be built")
    return jobs


def _job(name: str, options: ModelTable, folder: Path) -> Job:
    try:
        source, output = _place(folder, options.path), _place(folder, options.output)
        compiles = output.suffix != ONNX
        if not source.is_file():
            raise InvalidInput(f"there is no file {source}")
        shapes = _shape_sets(options.input_shapes)
        if not compiles:
            _fits(options, len(shapes))
        budgets = _budgets(options.budgets)
        preset = options.preset or (None if compiles else "default")
        selection = Selection(
            preset, options.passes, options.skip or (), _settings(options.set_), shapes[0] or None,
            options.opset, compiles,
        )  # fmt: skip
        quantization, pruning = requests(
            options.quantize, options.prune, _named(folder, options.calibration),
            options.calibration_samples, options.time, options.keep_float or (),
            options.keep_width or (),
        )  # fmt: skip
        return Job(
            source, output, selection, shapes,
            target=resolve(options.target or "cpu", options.threads) if compiles else None,
            precision=Precision.of(options.precision, options.weights, options.tolerance),
            verify=options.verify or "end",
            tune=TUNE if options.tune is None else options.tune,
            winograd=options.winograd is not False,
            budgets=budgets,
            optional=options.optional or {},
            task=_named(folder, options.eval_),
            provenance=describe_source(source) if compiles else {},
            quantization=quantization, pruning=pruning,
        )  # fmt: skip
    except (UsageError, InvalidInput) as error:
        raise type(error)(f"models.{name}: {in_keys(str(error))}") from None
    except OSError as error:
        raise InvalidInput(f"models.{name}: cannot read {source}: {error.strerror}") from None


def _place(folder: Path, text: str) -> Path:
    if "\0" in text:
        raise UsageError(f"{text!r} is no path: it holds a character of code 0")
    return Path(os.path.normpath(folder / text))


def _named(folder: Path, text: str | None) -> str | None:
    """What names a task or data, files and folders seen from ``folder``."""
    if text is None:
        return None
    path, colon, name = (text, "", "") if text.endswith(".py") else text.rpartition(":")
    if path.endswith(".py"):
        return f"{_place(folder, path)}{colon}{name}"
    place = _place(folder, text)
    return str(place) if place.exists() else text


def _fits(options: ModelTable, sets: int) -> None:
    """Refuse options that mean nothing where ONNX goes out."""
    idle = [name for name in ARTIFACTS_ONLY if getattr(options, name) is not None]
    if idle:
        raise UsageError(
            f"{', '.join(idle)}: only artifacts have that, and the output is ONNX; leave it out, "
            "or give an output that ends in .burnish"
        )
    if sets > 1:
        raise UsageError("input-shapes: an ONNX file has one set of shapes, not several")


def _budgets(table: BudgetTable | None) -> Budgets:
    if table is None:
        return Budgets()
    size, arena = (_bytes(f"budgets.{n}", getattr(table, n)) for n in ("size", "arena"))
    return Budgets(size, arena, table.max_drop, table.min_speedup)


def _bytes(where: str, value: int | str | None) -> int | None:
    return parse_bytes(value, where) if isinstance(value, str) else value


def _settings(tables: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    """Values by ``pass.field``, as the command line has them: text, checked against the field."""
    return {
        f"{name}.{field.replace('-', '_')}": _as_text(value)
        for name, table in (tables or {}).items()
        for field, value in table.items()
    }


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_as_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shape_sets(shapes: ShapeTable | list[ShapeTable] | None) -> tuple[Shapes, ...]:
    tables = [shapes or {}] if not isinstance(shapes, list) else shapes
    sets = [{name: tuple(sizes) for name, sizes in table.items()} for table in tables]
    if any(size < 1 for table in sets for shape in table.values() for size in shape):
        raise UsageError("input-shapes takes sizes of at least 1")
    return tuple(distinct(sets)) or ({},)
