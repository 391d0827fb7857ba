"""The configuration file: ``burnish.toml``, or the table ``tool.burnish`` of ``pyproject.toml``.

Keys are the options of the command line without their dashes in front. Example::

    [defaults]
    threads = 2

    [models.recognizer]
    path = "models/rec.onnx"
    output = "build/rec.burnish"
    input-shapes = { x = [1, 3, 48, 320] }
    budgets = { size = "12 MB", min-speedup = 1.2 }

The JSON Schema of the file is `docs/burnish.schema.json`, for editors that complete and check it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from burnish.errors import InvalidInput, UsageError
from burnish.suggest import unknown

FILE = "burnish.toml"
SHARED = "pyproject.toml"
ONNX = ".onnx"
ARTIFACTS_ONLY = ("target", "threads", "tune", "winograd", "precision", "weights", "tolerance")
"""Options that mean nothing where ONNX goes out."""
LARGEST = 1 << 20
"""Bytes of a configuration file at most."""

ShapeTable = dict[str, list[int]]
Setting = bool | int | float | str | list[int] | list[str]


class Table(BaseModel):
    """A table of the file; its keys have dashes, and unknown ones are errors."""

    model_config = ConfigDict(
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
        extra="forbid",
        frozen=True,
        strict=True,
    )


class BudgetTable(Table):
    """What the result must keep to; a build that does not ends with exit code 3."""

    size: int | str | None = Field(None, description="Bytes of the result at most, or '12 MB'.")
    arena: int | str | None = Field(None, description="Bytes of the arena at most, or '3 MB'.")
    max_drop: float | None = Field(
        None, ge=0, le=100, description="Points of the task's metric that may be lost."
    )
    min_speedup: float | None = Field(
        None, gt=0, description="ONNX Runtime's time on the original over the result's, at least."
    )


class Options(Table):
    """Options of a model, or of all models under ``defaults``."""

    target: str | None = Field(None, description="See `burnish targets`.")
    threads: int | None = Field(None, ge=1, description="Threads that the artifact uses.")
    tune: float | Literal["off"] | None = Field(
        None, description="Seconds for timing candidates of kernels, or 'off'."
    )
    winograd: bool | None = Field(None, description="Allow minimal filtering of convolutions.")
    precision: Literal["f32", "bf16"] | None = Field(None, description="What products multiply.")
    weights: Literal["f32", "bf16"] | None = Field(None, description="What weights are stored as.")
    tolerance: float | None = Field(
        None, gt=0, le=1, description="How far rounding may move an output."
    )
    quantize: Literal["int8"] | None = Field(
        None, description="Compute products and convolutions with integers where that pays."
    )
    prune: float | str | None = Field(
        None,
        description="How much to remove: a share of the operations, as 0.3, or what is to be left, "
        "as 'latency:0.7' or 'size:0.5', or 'auto' for what budgets.max-drop allows.",
    )
    calibration: str | None = Field(
        None,
        description="Data that the model is meant for: a folder of .npz or .npy files, MODULE:NAME "
        "or FILE.py:NAME, seen from the configuration file.",
    )
    calibration_samples: int | None = Field(None, ge=1, description="Samples to use at most.")
    time: float | None = Field(
        None, gt=0, description="Seconds that deciding may take, to prune and to quantize each."
    )
    keep_float: list[str] | None = Field(None, description="Layers to leave in float.")
    keep_width: list[str] | None = Field(None, description="Layers to leave as wide as they are.")
    preset: Literal["minimal", "default", "max"] | None = Field(
        None, description="Which passes to run."
    )
    passes: list[str] | None = Field(None, description="Run these passes and no others.")
    skip: list[str] | None = Field(None, description="Leave these passes out.")
    optional: dict[str, float] | None = Field(
        None,
        description="Passes to keep only if the result without them takes at least this many "
        "times as long, measured.",
    )
    set_: dict[str, dict[str, Setting]] | None = Field(
        None, description="Options of passes: set.PASS.FIELD = value."
    )
    opset: int | None = Field(None, ge=1, description="Convert to this opset first.")
    verify: Literal["each", "end", "off"] | None = Field(
        None, description="When outputs are compared with the original's."
    )
    eval_: str | None = Field(
        None,
        description="The task that scores the result, and that max-drop is about: MODULE:TASK, or "
        "FILE.py:TASK or a folder of .npz, seen from the configuration file. In defaults it is for "
        "models with max-drop.",
    )
    budgets: BudgetTable | None = None


class ModelTable(Options):
    """One model to build."""

    path: str = Field(description="The ONNX file, seen from the configuration file.")
    output: str = Field(
        description="What to write: .onnx for ONNX, .burnish or a folder for an artifact."
    )
    input_shapes: ShapeTable | list[ShapeTable] | None = Field(
        None, description="Shapes by input name; a list of such tables makes several entries."
    )


class Config(Table):
    """A whole file."""

    defaults: Options = Options.model_validate({})
    models: dict[str, ModelTable] = Field(min_length=1)

    def options(self, name: str) -> ModelTable:
        """The options of model ``name``, those of all models where it has none of its own.

        What only artifacts have is not taken from ``defaults`` where ONNX goes out.
        """
        own = self.models[name].model_dump(by_alias=True, exclude_none=True)
        shared = self.defaults.model_dump(by_alias=True, exclude_none=True)
        if self.models[name].output.endswith(ONNX):
            shared = {key: value for key, value in shared.items() if key not in ARTIFACTS_ONLY}
            shared.get("budgets", {}).pop("arena", None)
        budgets = {**shared.get("budgets", {}), **own.get("budgets", {})}
        if "max-drop" not in budgets:
            # What all models are scored on is for those with a budget; others name their own.
            shared.pop("eval", None)
        both = {**shared, **own}
        return ModelTable.model_validate(both | ({"budgets": budgets} if budgets else {}))


def find(start: Path) -> Path:
    """The nearest ``burnish.toml``, or ``pyproject.toml`` with a table of ours, from ``start`` up.

    Raises:
        InvalidInput: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        shared = folder / SHARED
        if shared.is_file() and _ours(_parsed(shared)) is not None:
            return shared
    raise InvalidInput(
        f"no {FILE} in {start} or above it, nor a [tool.burnish] in a {SHARED}; write one, "
        "or name it with --config"
    )


def read(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        InvalidInput: it is missing, too large or no TOML.
        UsageError: a key or value is none that there is; the message says where, and what was
            probably meant.
    """
    data = _parsed(path)
    if path.name == SHARED:
        data = _ours(data)
        if data is None:
            raise UsageError(f"{path} has no table [tool.burnish]")
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{path}: {_explained(error)}") from None


def _ours(shared: Mapping[str, Any]) -> Any:
    """The table ``tool.burnish``, None if there is none."""
    tools = shared.get("tool")
    return tools.get("burnish") if isinstance(tools, Mapping) else None


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            # Not by the size that is stated: a device has none, and no end.
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InvalidInput(f"{path} has over {LARGEST} bytes, which no configuration needs")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is no text in UTF-8, as TOML has to be") from None
    except (ValueError, RecursionError) as error:  # also numbers and nesting beyond all bounds
        raise InvalidInput(f"{path} is no valid TOML: {error}") from None


def _explained(error: ValidationError) -> str:
    """What is wrong, a clause for each place; what unions say of one place is put together."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for one in error.errors():
        names, rest = one["loc"][:2], one["loc"][2:]
        place = (*map(str, names), *(str(part) for part in rest if str(part) not in _BRANCHES))
        found.setdefault(place, []).append(one)
    # Where one member of a union fails farther in, the others say nothing of use.
    inner = [p for p in found if not any(q != p and q[: len(p)] == p for q in found)]
    return "; ".join(_clause(place, found[place]) for place in inner)


_BRANCHES = {"bool", "int", "float", "str", "literal['off']", "dict[str,list[int]]",
             "list[dict[str,list[int]]]", "list[int]", "list[str]"}  # fmt: skip
"""What pydantic puts into a place for members of unions; no key is called so."""


def _clause(place: tuple[str, ...], errors: Sequence[Any]) -> str:
    where, kind = ".".join(place) or "the table", errors[0]["type"]
    if kind == "extra_forbidden":
        return f"{where}: {unknown('key', place[-1], _keys(place[:-1]))}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "too_short":
        return f"{where} lists none; add [{where}.NAME] with path and output"
    texts = [_TABLE.sub("table", one["msg"]).removeprefix("Input should be ") for one in errors]
    return (
        f"{where} should be {' or '.join(dict.fromkeys(texts))}, not {_shown(errors[0]['input'])}"
    )


_TABLE = re.compile(r"dictionary(?: or instance of \w+)?")


def _keys(place: tuple[str, ...]) -> list[str]:
    """The keys that the table at ``place`` may have."""
    table: type[Table] = Config
    if place[:1] == ("defaults",):
        table = Options
    elif place[:1] == ("models",):
        table = ModelTable
    if place[-1:] == ("budgets",):
        table = BudgetTable
    return [str(field.alias or name) for name, field in table.model_fields.items()]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def schema() -> Mapping[str, Any]:
    """The JSON Schema of the file (draft 2020-12)."""
    found = Config.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
