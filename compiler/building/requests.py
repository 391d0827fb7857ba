"""What is asked of pruning and quantization, which share their data and what deciding may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

from burnish.errors import UsageError
from burnish.pruning.request import Pruning
from burnish.quantization.request import Quantization, Source

Requests: TypeAlias = tuple[Quantization | None, Pruning | None]

_ON_THEIR_OWN = (
    "; passes that are named on their own are given no data here, but by burnish.pipeline.run_pass"
)


def requests(
    quantize: str | Quantization | None,
    prune: float | str | Pruning | None,
    source: Source | None = None,
    samples: int | None = None,
    seconds: float | None = None,
    keep_float: Iterable[str] = (),
    keep_width: Iterable[str] = (),
) -> Requests:
    """What options say, None where they ask for nothing.

    Args:
        quantize: the format, or what says more.
        prune: how much, or what says more.
        source: calibration data for both, instead of what they name.
        samples: how many of them to use at most; None for the usual.
        seconds: that deciding may take, for each of them; None for the usual.
        keep_float: layers not to quantize.
        keep_width: layers not to prune.

    Raises:
        UsageError: a value does not exist, or options need one that is missing.
    """
    if quantize is None and prune is None:
        others: dict[str, Any] = {
            "--calibration": source, "--calibration-samples": samples, "--time": seconds
        }  # fmt: skip
        for name, value in others.items():
            if value is not None:
                more = _ON_THEIR_OWN if name == "--calibration" else ""
                raise UsageError(
                    f"{name} is about --quantize and --prune: give one of them too{more}"
                )
    if not isinstance(quantize, Quantization):
        shared = (None, None, None) if quantize is None else (source, samples, seconds)
        quantize = Quantization.of(quantize, *shared, keep_float)
    elif source is not None:
        quantize = replace(quantize, source=source)
    if not isinstance(prune, Pruning):
        prune = Pruning.of(prune, source, samples, seconds, keep_width)
    elif source is not None:
        prune = replace(prune, source=source)
    return quantize, prune
