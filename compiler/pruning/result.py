"""What became of a model that was pruned, structure by structure, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from burnish.bench.stats import Estimate
from burnish.ir import Graph
from burnish.pipeline import PassReport
from burnish.quantization.distance import Distance
from burnish.quantization.guard import Loss

WEIGHT = 0.5
"""Of accuracy in the quality metric; what weights take has the rest."""


@dataclass(frozen=True)
class Thinned:
    """What became of one structure: channels, heads, or whatever can only be removed together."""

    name: str
    """Of the layer that writes it, or of the first one that does."""
    kind: str
    """What a unit of it is, in the plural: channels, heads, ..."""
    units: int
    """Before."""
    kept: int
    """After; equal to ``units`` where it was left alone."""
    score: float | None = None
    """Nats of divergence, or power of the error over that of the signal, that the model is off by
    where this alone is thinned out; None if that was not measured."""
    criterion: str = ""
    """Which order of its units was the best once their readers were refitted."""
    error: float | None = None
    """Power of the error of what its readers compute over that of the signal, by the moments that
    they are fitted to; None where nothing was removed or measured."""
    cost: float | None = None
    """Share of the model's operations, or of its time where that was asked for, that is gone."""
    reason: str = ""
    """Why it is left alone, or why no more of it is gone; empty if there is nothing to say."""

    @property
    def is_thinner(self) -> bool:
        """Whether any of it is gone."""
        return self.kept < self.units


@dataclass(frozen=True)
class Trial:
    """Widths that were tried as a whole."""

    widths: Mapping[str, int]
    """Units that are kept, by structure; those that are not named keep all."""
    flops: float
    """Share of the original's operations that is left."""
    size: float
    """Share of the bytes of its weights that is left."""
    loss: Loss
    """As the guard judged it."""
    distance: Distance | None = None
    """From the original on calibration data, None where it was not measured."""
    seconds: float | None = None
    """Of a run, measured or by the tables of what layers take; None where neither was asked for."""
    text: str = ""
    """Where it comes from, in words: uniform, allocated, searched, ..."""


@dataclass(frozen=True)
class Change:
    """A count of the model before and after."""

    before: int
    after: int

    @property
    def share(self) -> float:
        """What is left: 1 where there was nothing."""
        return self.after / self.before if self.before else 1.0


@dataclass
class Pruned:
    """A pruned model and how it came to be."""

    graph: Graph
    reports: list[PassReport]
    structures: list[Thinned]
    """All, those that are left alone too, in the order of the graph."""
    flops: Change
    """Operations of a run."""
    weights: Change
    """Bytes of all constants."""
    trials: list[Trial] = field(default_factory=list)
    chosen: Trial | None = None
    """One of ``trials``; None where nothing was pruned."""
    bound: str = ""
    """What was asked, in words."""
    distance: Distance | None = None
    """Of the result from the original, on calibration data."""
    seconds: float = 0.0
    """That deciding took."""
    notices: list[str] = field(default_factory=list)
    speedup: Estimate | None = None
    """The time of the original over that of the result, without tuning, if measured."""

    @property
    def count(self) -> int:
        """Structures that are thinner."""
        return sum(one.is_thinner for one in self.structures)

    @property
    def loss(self) -> str:
        """How far the result is from the original, in words; empty if nothing is pruned."""
        if not self.count:
            return ""
        if self.chosen is not None:
            return self.chosen.loss.text
        return "" if self.distance is None else str(self.distance)

    @property
    def quality(self) -> float | None:
        """The quality metric QoM of a survey of compression: half accuracy, half what is gone.

        0.5 Acc + 0.5 (1 - Para / maxPara), where accuracy is the agreement with the original, whose
        weights are the most: the original itself comes to 0.5. None where the output has no
        classes to agree on.
        """
        agreement = None if self.distance is None else self.distance.agreement
        if agreement is None:
            return None
        return WEIGHT * agreement + (1 - WEIGHT) * (1 - self.weights.share)

    @property
    def told_speedup(self) -> str:
        """How fast it is compared with the original; empty if that was not measured."""
        found = self.speedup
        if found is None:
            return ""
        return (
            f"{found.median:.2f}x [{found.low:.2f}, {found.high:.2f}] as fast as the original, "
            "both without tuning"
        )

    def summary(self) -> dict[str, Any]:
        """What the manifest of an artifact says of it."""
        return {
            "structures": self.count, "of": len(self.structures), "flops": self.flops.share,
            "weights": self.weights.share, "loss": self.loss, "asked": self.bound,
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        distance, speedup = self.distance, self.speedup
        return {
            "asked": self.bound,
            "loss": self.loss,
            "flops": asdict(self.flops),
            "weight_bytes": asdict(self.weights),
            "divergence": distance and distance.divergence,
            "agreement": distance and distance.agreement,
            "noise": distance and distance.noise,
            "qom": self.quality,
            "structures": [asdict(one) for one in self.structures],
            "tried": [_as_json(one, is_chosen=one is self.chosen) for one in self.trials],
            "untuned_speedup": speedup and [speedup.median, speedup.low, speedup.high],
            "seconds": round(self.seconds, 3),
        }


def _as_json(trial: Trial, *, is_chosen: bool) -> dict[str, Any]:
    return {
        "widths": dict(trial.widths), "flops": trial.flops, "size": trial.size,
        "seconds": trial.seconds, "loss": trial.loss.text, "share": trial.loss.share,
        "text": trial.text, "chosen": is_chosen,
    }  # fmt: skip
