"""What the user asks of quantization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from burnish.errors import UsageError
from burnish.suggest import unknown
from burnish.verification import Feeds

KINDS = ("int8",)
SAMPLES = 128
"""Calibration samples at most, unless the user says otherwise."""
SECONDS = 300.0
"""Time that deciding may take, unless the user says otherwise; what passes, tuning and comparing
with float take comes on top."""

Source: TypeAlias = str | Path | Iterable[Feeds]
"""Calibration data: samples, or what `burnish.calibration.data` takes as a name of them."""


@dataclass(frozen=True)
class Quantization:
    """How to quantize a model."""

    OPTION: ClassVar = "--quantize"
    """That asks for it."""
    KEEP: ClassVar = "--keep-float"
    """That names layers to leave alone."""
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
        _check(self.kind, self.samples, self.seconds, _FIELDS)

    @property
    def most(self) -> int:
        """Calibration samples that are used at most."""
        return self.samples or SAMPLES

    def describe(self, otherwise: str) -> dict[str, Any]:
        """What is asked, as plain values by the keys of a configuration.

        Args:
            otherwise: what ranges are found on where no data are named.
        """
        source: object = otherwise if self.source is None else self.source
        return {
            "quantize": self.kind,
            "calibration": str(source) if isinstance(source, str | Path) else repr(type(source)),
            "calibration-samples": self.most,
            "time": f"{self.seconds:g} s",
            "keep-float": list(self.keep),
        }

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
        limit = SECONDS if seconds is None else seconds
        _check(kind, samples, limit, _OPTIONS)
        return cls(kind, source, samples, limit, kept)


_OPTIONS = ("--quantize", "--calibration-samples", "--time")
_FIELDS = tuple(f"burnish.Quantization({name}=)" for name in ("kind", "samples", "seconds"))


def _check(kind: str, samples: int | None, seconds: float, names: Sequence[str]) -> None:
    """Refuse values that do not exist; ``names`` are what the user calls them."""
    if kind not in KINDS:
        raise UsageError(f"{names[0]}: {unknown('format', kind, KINDS)}")
    require_effort(samples, seconds, names[1], names[2])


def require_effort(samples: int | None, seconds: float, samples_name: str, name: str) -> None:
    """Refuse numbers of samples or seconds that there are none of.

    Args:
        samples: calibration samples at most, None for the usual.
        seconds: that deciding may take.
        samples_name: what the user calls the former.
        name: the same of the latter.

    Raises:
        UsageError: there are such.
    """
    if samples is not None and samples < 1:
        raise UsageError(f"{samples_name} is at least 1, not {samples}")
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{name} is a number of seconds above 0, not {seconds:g}")
