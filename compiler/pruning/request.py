"""What the user asks of pruning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

from burnish.errors import UsageError
from burnish.quantization.request import SECONDS, Source, require_effort
from burnish.suggest import unknown

RECIPE = ("rotate-heads", "remove-blocks", "prune-channels")
"""Passes that pruning runs by itself, in order."""
AUTO = "auto"
"""As much as the budget of accuracy allows."""
MEASURES = {
    "flops": "the share of the operations to remove",
    "latency": "the share of the time that is to be left",
    "size": "the share of the bytes of weights that is to be left",
}
"""What an amount may be about, and what it says."""
FORMS = "0.3, latency:0.7, size:0.5 or auto"
"""What may be asked, by examples."""
SAMPLES = 512
"""Calibration samples at most, unless the user says otherwise: weights are fitted to them."""


@dataclass(frozen=True)
class Pruning:
    """How much of a model to remove, and on what data that is decided."""

    OPTION: ClassVar = "--prune"
    """That asks for it."""
    KEEP: ClassVar = "--keep-width"
    """That names layers to leave alone."""
    measure: str
    """One of `MEASURES`, or `AUTO`."""
    amount: float | None = None
    """Between 0 and 1, as `MEASURES` says; None for `AUTO`."""
    source: Source | None = None
    """Where calibration data come from; None for the task's, or else random inputs."""
    samples: int | None = None
    """How many of them to use at most; None for `SAMPLES`."""
    seconds: float = SECONDS
    """That deciding may take."""
    keep: tuple[str, ...] = ()
    """Layers that keep all their channels, as the model calls them."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: one does not exist.
        """
        names = [
            f"burnish.Pruning({name}=)" for name in ("measure", "amount", "samples", "seconds")
        ]
        _check(self.measure, self.amount, names[0], names[1])
        require_effort(self.samples, self.seconds, names[2], names[3])

    def __str__(self) -> str:
        """Return it as the option has it."""
        if self.amount is None:
            return self.measure
        return f"{'' if self.measure == 'flops' else f'{self.measure}:'}{self.amount:g}"

    @property
    def most(self) -> int:
        """Calibration samples that are used at most."""
        return self.samples or SAMPLES

    def describe(self, otherwise: str) -> dict[str, Any]:
        """What is asked, as plain values by the keys of a configuration.

        Args:
            otherwise: what weights are fitted on where no data are named.
        """
        source: object = otherwise if self.source is None else self.source
        return {
            "prune": str(self),
            "calibration": str(source) if isinstance(source, str | Path) else repr(type(source)),
            "calibration-samples": self.most,
            "time": f"{self.seconds:g} s",
            "keep-width": list(self.keep),
        }

    @classmethod
    def of(
        cls,
        given: float | str | None,
        source: Source | None = None,
        samples: int | None = None,
        seconds: float | None = None,
        keep: Iterable[str] = (),
    ) -> Pruning | None:
        """What the options say, None if they ask for nothing.

        Raises:
            UsageError: a value does not exist, or options need one that is missing.
        """
        kept = tuple(keep)
        if given is None:
            if kept:
                raise UsageError("--keep-width is about --prune: give that too")
            return None
        measure, amount = _parsed(given)
        limit = SECONDS if seconds is None else seconds
        _check(measure, amount, "--prune", "--prune")
        require_effort(samples, limit, "--calibration-samples", "--time")
        return cls(measure, amount, source, samples, limit, kept)


def _parsed(given: float | str) -> tuple[str, float | None]:
    """The measure and the amount that an option spells."""
    if isinstance(given, Real) and not isinstance(given, bool):
        return "flops", float(given)
    if not isinstance(given, str):
        raise UsageError(f"--prune takes {FORMS}, not {given!r}")
    measure, colon, number = (part.strip() for part in given.rpartition(":"))
    if not colon and number in (AUTO, *MEASURES):
        return number, None
    try:
        return measure if colon else "flops", float(number)
    except ValueError:
        if colon and measure not in (AUTO, *MEASURES):
            raise UsageError(f"--prune: {unknown('measure', measure, MEASURES)}") from None
        raise UsageError(f"--prune takes {FORMS}, not {given!r}") from None


def _check(measure: str, amount: float | None, measured: str, where: str) -> None:
    """Refuse values that do not exist; ``measured`` and ``where`` are what the user calls them."""
    if measure not in (AUTO, *MEASURES):
        raise UsageError(f"{measured}: {unknown('measure', measure, (*MEASURES, AUTO))}")
    if measure == AUTO:
        if amount is not None:
            raise UsageError(f"{where}: {AUTO} takes no amount, as --max-drop says how far it goes")
        return
    prefix = "" if measure == "flops" else f"{measure}:"
    if amount is None:
        raise UsageError(f"{where}: {measure} needs an amount, as {prefix or 'flops:'}0.5")
    if 0 < amount < 1:
        return
    advice = ""
    if 1 < amount < 100:
        advice = f"; for {amount:g} % give {prefix}{amount / 100:g}"
    elif amount == (0 if measure == "flops" else 1):
        advice = "; to remove nothing, leave it out"
    raise UsageError(f"{where} takes {MEASURES[measure]}, between 0 and 1, not {amount:g}{advice}")
