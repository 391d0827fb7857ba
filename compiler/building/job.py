"""One result to make: from which model, with which passes, for which target, within which budgets.

What the command line says of one model and what a configuration says of each comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from burnish.bench.task import Task
from burnish.compilation import TUNE, tuning_seconds
from burnish.errors import UsageError
from burnish.gates import Budgets
from burnish.narrowing import Precision
from burnish.passes import PASSES
from burnish.pipeline import Verify
from burnish.pruning.request import AUTO, FORMS, Pruning
from burnish.pruning.request import RECIPE as PRUNING
from burnish.quantization.request import Quantization
from burnish.selection import Selection, choose
from burnish.shape_sets import Shapes, as_options
from burnish.suggest import unknown
from burnish.target import Target
from burnish.verification import Feeds
from burnish.wording import counted

Lossy: TypeAlias = Pruning | Quantization
"""A stage that changes the function."""


@dataclass(frozen=True)
class Job:
    """One result to make, its options checked."""

    source: Path | None
    """The original's file, None if it is in memory only."""
    output: Path
    selection: Selection
    """Which passes run, at the first of the sets of shapes."""
    shapes: tuple[Shapes, ...] = ({},)
    """Sets of input shapes; one empty set where none is given."""
    target: Target | None = None
    """None where ONNX goes out."""
    precision: Precision = field(default_factory=Precision)
    verify: Verify = "end"
    tune: float | str = TUNE
    winograd: bool = True
    samples: Sequence[Feeds] | None = None
    """Inputs to compare on; None for random ones."""
    keep: tuple[str, ...] = ()
    """Values that a rewritten graph still computes."""
    budgets: Budgets = field(default_factory=Budgets)
    optional: Mapping[str, float] = field(default_factory=dict)
    """Passes to keep only if they make the result this many times as fast."""
    task: Task | str | None = None
    """What scores the result, or what names it; budgets about accuracy are about its metric."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What a manifest says about where the model came from."""
    quantization: Quantization | None = None
    """How to quantize, None to leave the model in float."""
    pruning: Pruning | None = None
    """How much to prune before that, None to leave the model as wide as it is."""

    def __post_init__(self) -> None:
        """Check all that can be known before work begins.

        Raises:
            UsageError: options do not exist, do not fit, or ask for what cannot be measured.
            UnsupportedModel: the target lacks what the precision beside ``quantization`` needs.
        """
        running = self.passes
        self._check_lossy()
        tuning_seconds(self.tune)
        for name, least in self.optional.items():
            if name not in PASSES:
                raise UsageError(f"--optional: {unknown('pass', name, PASSES)}")
            if name not in running:
                raise UsageError(f"--optional names {name}, which is not among the passes that run")
            if not 0 < least < float("inf"):
                raise UsageError(f"--optional {name} needs a ratio above 0, not {least:g}")
        if self.budgets.max_drop is not None and self.task is None:
            raise UsageError("--max-drop is about a task: name one with --eval")
        given: Any = self.task
        if isinstance(given, type) or not isinstance(given, str | Task | None):
            raise UsageError(f"--eval takes a task, or what names one, not {given!r}")
        if self.target is None and self.budgets.arena is not None:
            raise UsageError("the arena is an artifact's, and ONNX goes out; leave that budget out")
        if self.target is not None and not self.target.is_host and self._runs:
            raise UsageError(
                f"--min-speedup, --eval and --optional need runs, and {self.target.name} "
                "cannot run here; leave them out, or build for cpu on a machine of that kind"
            )

    @property
    def lossy(self) -> list[Lossy]:
        """What changes the function, in the order in which it is done."""
        return [asked for asked in (self.pruning, self.quantization) if asked is not None]

    def _check_lossy(self) -> None:
        for asked in self.lossy:
            option, passes = asked.OPTION, _recipe(asked)
            if self.optional:
                raise UsageError(
                    f"--optional judges passes of a model in float at its full width, and {option} "
                    "decides by itself what pays: leave one of them out"
                )
            for name in self.selection.skip:
                if name in passes:
                    raise UsageError(
                        f"--skip {name}: {option} takes of its own passes what helps a model; "
                        "leave that out"
                    )
        if self.quantization is not None and self.target is not None:
            self.precision.suited(self.target)
        if self.pruning is not None:
            self._check_pruning(self.pruning)

    def _check_pruning(self, asked: Pruning) -> None:
        if asked.measure == AUTO and self.budgets.max_drop is None:
            raise UsageError(
                f"--prune {asked} goes as far as a budget allows: give --max-drop with --eval, or "
                f"how much to remove, as {FORMS}"
            )
        if asked.measure == "latency" and self.target is not None and not self.target.is_host:
            raise UsageError(
                f"--prune {asked} needs times, and {self.target.name} cannot run here: give a "
                "share of the operations, as 0.3, or size:0.5"
            )

    @property
    def _runs(self) -> bool:
        """Whether results have to be run."""
        return bool(self.optional) or (self.budgets.min_speedup, self.task) != (None, None)

    @property
    def passes(self) -> list[str]:
        """Names of the passes that run, each once."""
        return list(dict.fromkeys(step.name for step in choose(self.selection)))

    @property
    def before(self) -> Selection:
        """Which passes run before a model is quantized."""
        chosen = self.selection
        if self.target is None:
            return chosen
        return Selection("default", skip=chosen.skip, opset=chosen.opset)

    @property
    def every_pass(self) -> list[str]:
        """Names of the passes that run, those that prune and quantize among them, each once."""
        if not self.lossy:
            return self.passes
        names = [step.name for step in choose(self.before)]
        for asked in self.lossy:
            names += _recipe(asked)
        return list(dict.fromkeys((*names, *([] if self.target is None else self.passes))))

    def describe(self) -> dict[str, Any]:
        """What would be done, as plain values."""
        target = self.target
        data = "random inputs" if self.task is None else "the data for it of the task"
        return {
            "model": str(self.source),
            "output": str(self.output),
            "target": target and f"{target.name}, {counted(target.threads, 'thread')}",
            "shapes": [as_options(shapes) for shapes in self.shapes if shapes],
            "tune": None if target is None else _tuning(self.tune),
            "precision": self.precision.options,
            **self._described(data),
            "verify": self.verify,
            "passes": self.every_pass,
            "set": [f"{key} = {value}" for key, value in (self.selection.settings or {}).items()],
            "optional": [f"{name} {least:g}x" for name, least in self.optional.items()],
            "task": self.task if isinstance(self.task, str | None) else self.task.name,
            "budgets": self.budgets.describe(),
        }

    def _described(self, data: str) -> dict[str, Any]:
        """What changes the function; a list where stages say different things of one key."""
        found: dict[str, Any] = {"prune": None, "quantize": None}
        for asked in self.lossy:
            for key, value in asked.describe(data).items():
                earlier = found.get(key)
                found[key] = value if earlier in (None, value) else [earlier, value]
        return found


def _recipe(asked: Lossy) -> Sequence[str]:
    """Names of the passes that it runs by itself, in order."""
    if isinstance(asked, Pruning):
        return PRUNING
    from burnish.quantization.work import recipe

    return recipe()


def _tuning(tune: float | str) -> str:
    return "off" if tune == "off" else f"{float(tune):g} s"
