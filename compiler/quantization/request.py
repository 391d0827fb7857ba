"""What the user asks of quantization."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from burnish.errors import UsageError
from burnish.suggest import unknown
from burnish.verification import Feeds

KINDS = ("int8",)
SAMPLES = 128
"""Calibration samples at most, unless the user says otherwise."""
SECONDS = 300.0
"""Time that deciding may take, unless the user says otherwise."""

Source: TypeAlias = str | Path | Iterable[Feeds]
"""Calibration data: samples, or what `burnish.calibration.data` takes as a name of them."""


@dataclass(frozen=True)
class Quantization:
    """How to quantize a model."""

    kind: str
    source: Source | None = None
    """Where calibration data come from; None for the task's, or else random inputs."""
    samples: int | None = None
    """How many of them to use at most; None for `SAMPLES`."""
    seconds: float = SECONDS
    keep: tuple[str, ...] = ()
    """Layers that stay as they are, as the model calls them."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: one does not exist.
        """
        if self.kind not in KINDS:
            raise UsageError(f"--quantize: {unknown('format', self.kind, KINDS)}")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"--calibration-samples is at least 1, not {self.samples}")
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"--time is a number of seconds above 0, not {self.seconds:g}")

    @classmethod
    def of(
        cls,
        kind: str | None,
        source: Source | None = None,
        samples: int | None = None,
        seconds: float | None = None,
        keep: Iterable[str] = (),
    ) -> Quantization | None:
        """What the options say, None if they ask for nothing.

        Raises:
            UsageError: a value does not exist, or options need one that is missing.
        """
        kept = tuple(keep)
        others: dict[str, Any] = {
            "--calibration": source, "--calibration-samples": samples, "--time": seconds,
            "--keep-float": kept or None,
        }  # fmt: skip
        if kind is None:
            given = next((name for name, value in others.items() if value is not None), None)
            if given is not None:
                raise UsageError(f"{given} is about --quantize: give that too")
            return None
        return cls(kind, source, samples, SECONDS if seconds is None else seconds, kept)
