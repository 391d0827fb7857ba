"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from burnish.errors import UsageError
from burnish.gates import Budgets, parse_bytes
from burnish.shape_sets import pair_up

Verify: TypeAlias = Literal["each", "end", "off"]

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,3,224,224",
        help="Shape of an input; repeat for more inputs.",
    ),
]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,3,224,224",
        help="Shape of an input; repeat for more inputs. More shapes of the same inputs make more "
        "entries of one artifact: the first of each are one set, the second another; an input "
        "with one shape has it in all sets.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="NAME", help="minimal, default or max; default, if not given."
    ),
]
Passes = Annotated[
    str | None,
    typer.Option("--passes", metavar="A,B", help="Run these passes, in this order, and no others."),
]
Skip = Annotated[str | None, typer.Option("--skip", metavar="A,B", help="Leave these passes out.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PASS.FIELD=V", help="Set an option of a pass; repeatable."),
]
KeepAdapter = Annotated[
    bool,
    typer.Option(
        "--keep-adapter", help="Leave adapters unmerged, and all branches that are summed."
    ),
]
Opset = Annotated[
    int | None,
    typer.Option("--opset", metavar="N", help="Convert to this version of ONNX's operators first."),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="NAME",
        help="Still compute this value inside the model, under its name; repeatable.",
    ),
]
VerifyOption = Annotated[
    Verify,
    typer.Option("--verify", help="Compare outputs with the original's: after each pass, once at "
                 "the end, or never."),
]  # fmt: skip
Eval = Annotated[
    str | None,
    typer.Option(
        "--eval", metavar="TASK",
        help="A task with labels: MODULE:NAME, FILE.py:NAME or a folder of .npz files.",
    ),
]  # fmt: skip
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop", metavar="POINTS",
        help="How much of the task's metric may be lost, in hundredths. The exit code is 3 where "
        "a budget fails.",
    ),
]  # fmt: skip
BudgetSize = Annotated[
    str | None,
    typer.Option("--budget-size", metavar="12MB", help="Bytes of the result at most."),
]
BudgetArena = Annotated[
    str | None,
    typer.Option("--budget-arena", metavar="3MB", help="Bytes of memory between kernels at most."),
]
MinSpeedup = Annotated[
    float | None,
    typer.Option(
        "--min-speedup", metavar="RATIO",
        help="The time of ONNX Runtime on the original over the result's at least, both measured.",
    ),
]  # fmt: skip
Optional_ = Annotated[
    list[str] | None,
    typer.Option(
        "--optional", metavar="PASS=1.02",
        help="Keep this pass only if the result without it takes this many times as long, "
        "measured; repeatable.",
    ),
]  # fmt: skip
Quantize = Annotated[
    str | None,
    typer.Option(
        "--quantize", metavar="int8",
        help="Compute products and convolutions with integers of 8 bits where that gains time, "
        "as far as --max-drop, or the distance to the original, allows.",
    ),
]  # fmt: skip
Prune = Annotated[
    str | None,
    typer.Option(
        "--prune", metavar="0.3|latency:0.7|size:0.5|auto",
        help="Remove channels, heads and neurons, and fit what is left to --calibration: a share "
        "of the operations, or what is to be left of the time or of the bytes of weights, or as "
        "much as --max-drop allows. No labels are needed but for --max-drop.",
    ),
]  # fmt: skip
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration", metavar="DATA",
        help="Data that the model is meant for, to quantize and to prune: a folder of .npz or .npy "
        "files, MODULE:NAME or FILE.py:NAME; those of --eval, if not given.",
    ),
]  # fmt: skip
CalibrationSamples = Annotated[
    int | None,
    typer.Option("--calibration-samples", metavar="N", help="Samples to use at most; 128 to "
                 "quantize and 512 to prune, if not given."),
]  # fmt: skip
DecidingTime = Annotated[
    float | None,
    typer.Option("--time", metavar="SECONDS", help="What deciding may take, to quantize and to "
                 "prune each; 300, if not given. Passes, tuning (--tune) and comparing with float "
                 "come on top."),
]  # fmt: skip
KeepFloat = Annotated[
    list[str] | None,
    typer.Option("--keep-float", metavar="NAME", help="Leave this layer in float; repeatable."),
]
KeepWidth = Annotated[
    list[str] | None,
    typer.Option("--keep-width", metavar="NAME", help="Do not prune this layer; repeatable."),
]
LossyReport = Annotated[
    Path | None,
    typer.Option("--report", metavar="OUT.html", help="Page to write about --quantize and --prune: "
                 "what became of layers, their costs and gains, and accuracy against latency."),
]  # fmt: skip
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print details and tracebacks.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


ADAPTER_MERGERS = (
    "fuse-consecutive-linear", "merge-adapters", "merge-branches", "merge-products",
)  # fmt: skip
"""Passes that put adapters into the weights beside them, or join them with what reads the same."""


def skipped(text: str | None, *, keep_adapter: bool) -> list[str]:
    """The passes to leave out."""
    return [*(names(text) or ()), *(ADAPTER_MERGERS if keep_adapter else ())]


def some_names(option: str, text: str | None) -> list[str] | None:
    """The items of a list with commas, None if the option was not given.

    Raises:
        UsageError: it was given, and names nothing.
    """
    found = names(text)
    if found == []:
        raise UsageError(f"{option} names no pass; `burnish passes` lists them")
    return found


def names(text: str | None) -> list[str] | None:
    """The items of a list with commas, None if the option was not given."""
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def budgets(
    size: str | None, arena: str | None, drop: float | None, speedup: float | None
) -> Budgets:
    """What the options of budgets say.

    Raises:
        UsageError: a value is none that there is.
    """
    return Budgets(
        None if size is None else parse_bytes(size, "--budget-size"),
        None if arena is None else parse_bytes(arena, "--budget-arena"),
        drop, speedup,
    )  # fmt: skip


def ratios(items: Sequence[str] | None) -> dict[str, float]:
    """Ratios by pass from ``PASS=1.02``; 1 where only the pass is named.

    Raises:
        UsageError: an item has another form.
    """
    found = {}
    for item in items or ():
        name, equals, ratio = item.partition("=")
        try:
            found[name.strip()] = float(ratio) if equals else 1.0
        except ValueError:
            raise UsageError(f"--optional takes PASS or PASS=1.02, not {item!r}") from None
    return found


def shapes(items: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Shapes by input name from ``NAME=1,3,224,224`` (also ``1x3x224x224``).

    Raises:
        UsageError: an item has another form or a size below 1, or a name comes twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in map(_shape, items or ()):
        if name in found:
            raise UsageError(f"--input-shape gives {name!r} twice; one shape per input")
        found[name] = shape
    return found


def shape_sets(items: Sequence[str] | None) -> list[dict[str, tuple[int, ...]]]:
    """Sets of shapes by input name; a name that comes again starts another set.

    Raises:
        UsageError: an item has another form or a size below 1, or the sets do not come out even.
    """
    return pair_up([_shape(item) for item in items or ()])


def _shape(item: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = item.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.replace("x", ",").split(",") if size)
    except ValueError:
        name = ""
    if not equals or not name:
        raise UsageError(f"--input-shape takes NAME=1,3,224,224, not {item!r}")
    if any(size < 1 for size in shape):
        raise UsageError(f"--input-shape takes sizes of at least 1, not {item!r}")
    return name, shape


def settings(items: Sequence[str] | None) -> dict[str, Any]:
    """Values as text by ``pass.field`` from ``PASS.FIELD=V``.

    Raises:
        UsageError: an item has another form.
    """
    found: dict[str, Any] = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set takes PASS.FIELD=VALUE, not {item!r}")
        found[key.strip()] = value.strip()
    return found
