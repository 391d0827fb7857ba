"""What became of a model that was quantized, layer by layer, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from burnish.bench.stats import Estimate
from burnish.ir import Graph
from burnish.layer_formats import LayerFormat
from burnish.pipeline import PassReport, PipelineReport
from burnish.quantization.decision import Decision


@dataclass(frozen=True)
class Layer:
    """What became of one layer."""

    format: LayerFormat
    sensitivity: float | None = None
    """The share of the bound that it takes when it alone is quantized, or an even part of what
    its neighbours and it take together."""
    gain: Estimate | None = None
    """Seconds that it takes less in int8, measured."""
    group: int = 1
    """Layers that were quantized together to find the sensitivity."""
    is_narrowed: bool = False
    """Whether it multiplies bfloat16 numbers where it is not quantized."""

    @property
    def kind(self) -> str:
        """What it multiplies: ``int8``, ``bf16``, or else ``float``."""
        if not self.format.reason:
            return "int8"
        return "bf16" if self.is_narrowed else "float"

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        gain = self.gain
        return {
            **asdict(self.format), "format": self.kind, "sensitivity": self.sensitivity,
            "sensitivity_of": None if self.sensitivity is None else self.group,
            "gain": gain and gain.median, "gain_interval": gain and [gain.low, gain.high],
        }  # fmt: skip


@dataclass(frozen=True)
class Times:
    """What timing the model in float and quantized came to."""

    gains: Mapping[str, Estimate]
    """By layer, in seconds."""
    slow: Mapping[str, str]
    """Layers that are to stay in float, and why."""
    seconds: float | None = None
    """Of a run in float, without tuning."""
    speedup: Estimate | None = None
    """The time of the model in float over that without the slow layers, without tuning."""


@dataclass
class Quantized:
    """A quantized model and how it came to be."""

    graph: Graph
    reports: list[PassReport]
    layers: list[Layer]
    decision: Decision
    bound: str
    """What was allowed."""
    seconds: float = 0.0
    notices: list[str] = field(default_factory=list)
    times: Times = field(default_factory=lambda: Times({}, {}))
    speedup: Estimate | None = None
    """The time in float over that of just this result, both without tuning, if measured."""
    final_speedup: Estimate | None = None
    """The same of the two artifacts, if it took measuring these to tell that this is faster. None
    for a model that is left in float, as is ``speedup``: the reason has what was measured."""
    sets: int = 1
    """Of input shapes: ``speedup`` is that of the first, ``final_speedup`` the least of any."""

    @property
    def loss(self) -> str:
        """What the result loses, in words; empty if nothing is quantized."""
        chosen = self.decision.chosen
        return "" if chosen is None else chosen.loss.text

    @property
    def count(self) -> int:
        """Layers that are quantized."""
        return sum(not layer.format.reason for layer in self.layers)

    def summary(self) -> dict[str, Any]:
        """What the manifest of an artifact says of it."""
        return {
            "format": "int8", "layers": self.count, "of": len(self.layers), "loss": self.loss,
            "bound": self.bound, "bf16": sum(layer.kind == "bf16" for layer in self.layers),
        }  # fmt: skip

    def narrowed(self, report: PipelineReport) -> Quantized:
        """The same with what rounding to bfloat16 did to layers that stay in float."""
        steps = (step for step in report if step.name == "narrow-products")
        names = {name for step in steps for each in step.fired for name in each.provenance}
        layers = [replace(one, is_narrowed=one.format.layer in names) for one in self.layers]
        return replace(self, layers=layers)

    def in_float(self, reason: str) -> Quantized:
        """The record of a model that was left in float after all."""
        layers = [
            replace(one, format=replace(one.format, reason=one.format.reason or reason))
            for one in self.layers
        ]
        decision = replace(self.decision, chosen=None)
        return replace(self, layers=layers, decision=decision, speedup=None, final_speedup=None)

    @property
    def told_speedup(self) -> str:
        """How fast it is compared with float, in words; empty if that was not measured."""
        found, how = self.final_speedup, f"both as they are{least_of(self.sets)}"
        if found is None:
            found, how = self.speedup, "both without tuning"
            if self.sets > 1:
                how += f", at the first of {self.sets} sets of input shapes"
        if found is None:
            return ""
        return f"{found.median:.2f}x [{found.low:.2f}, {found.high:.2f}] as fast as float, {how}"

    def latency(self, floats: Sequence[str]) -> float | None:
        """Seconds that a run takes with layers in float, by what each was measured to gain."""
        if self.times.seconds is None:
            return None
        gains = self.times.gains.items()
        return self.times.seconds - sum(each.median for name, each in gains if name not in floats)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "bound": self.bound,
            "loss": self.loss,
            "layers": [layer.as_json() for layer in self.layers],
            "tried": [
                {"float_layers": len(point.floats), "loss": point.loss.text,
                 "share": point.loss.share, "latency": self.latency(point.floats)}
                for point in self.decision.points
            ],
            "untuned_speedup": _ends(self.speedup),
            "final_speedup": _ends(self.final_speedup),
            "input_shape_sets": self.sets,
            "cut_short": bool(self.decision.cut),
            "unmeasured": self.decision.unmeasured,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


def least_of(sets: int) -> str:
    """Of which of several sets of input shapes a speedup of artifacts is; nothing of only one."""
    return "" if sets == 1 else f", at that of {sets} sets of input shapes that gains least"


def _ends(speedup: Estimate | None) -> list[float] | None:
    return None if speedup is None else [speedup.median, speedup.low, speedup.high]
