"""One result to make: from which model, with which passes, for which target, within which budgets.

What the command line says of one model and what a configuration says of each comes to the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.bench.task import Task
from burnish.compilation import TUNE, tuning_seconds
from burnish.errors import UsageError
from burnish.gates import Budgets
from burnish.narrowing import Precision
from burnish.passes import PASSES
from burnish.pipeline import Verify
from burnish.quantization.request import Quantization
from burnish.selection import Selection, choose
from burnish.shape_sets import Shapes, as_options
from burnish.suggest import unknown
from burnish.target import Target
from burnish.verification import Feeds
from burnish.wording import counted


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

    def __post_init__(self) -> None:
        """Check all that can be known before work begins.

        Raises:
            UsageError: options do not exist, do not fit, or ask for what cannot be measured.
            UnsupportedModel: the target lacks what the precision beside ``quantization`` needs.
        """
        running = self.passes
        self._check_quantization()
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

    def _check_quantization(self) -> None:
        if self.quantization is None:
            return
        if self.optional:
            raise UsageError(
                "--optional judges passes of a model in float, and --quantize by itself leaves "
                "alone what does not pay: leave one of them out"
            )
        from burnish.quantization.work import recipe

        for name in self.selection.skip:
            if name in recipe():
                raise UsageError(
                    f"--skip {name}: --quantize takes of its own passes what helps a model; leave "
                    "that out (`burnish bench --quantize int8` tells what each is worth)"
                )
        if self.target is not None:
            self.precision.suited(self.target)

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
        """Names of the passes that run, those that quantize among them, each once."""
        if self.quantization is None:
            return self.passes
        from burnish.quantization.work import recipe

        first = [step.name for step in choose(self.before)]
        after = [] if self.target is None else self.passes
        return list(dict.fromkeys((*first, *recipe(), *after)))

    def describe(self) -> dict[str, Any]:
        """What would be done, as plain values."""
        target, asked = self.target, self.quantization
        data = "random inputs" if self.task is None else "the data for it of the task"
        return {
            "model": str(self.source),
            "output": str(self.output),
            "target": target and f"{target.name}, {counted(target.threads, 'thread')}",
            "shapes": [as_options(shapes) for shapes in self.shapes if shapes],
            "tune": None if target is None else _tuning(self.tune),
            "precision": self.precision.options,
            **({"quantize": None} if asked is None else asked.describe(data)),
            "verify": self.verify,
            "passes": self.every_pass,
            "set": [f"{key} = {value}" for key, value in (self.selection.settings or {}).items()],
            "optional": [f"{name} {least:g}x" for name, least in self.optional.items()],
            "task": self.task if isinstance(self.task, str | None) else self.task.name,
            "budgets": self.budgets.describe(),
        }


def _tuning(tune: float | str) -> str:
    return "off" if tune == "off" else f"{float(tune):g} s"
