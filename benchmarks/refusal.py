"""Whether artifacts refuse to run on a processor that lacks what they were compiled for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import burnish
from benchmarks.inputs import draw_feeds
from benchmarks.verdicts import Verdict
from benchmarks.zoo import Model
from burnish.errors import UnsupportedModel
from burnish.target import resolve

NEW = {"amx-tile": "amx_tile", "avx512fp16": "avx512_fp16", "avxvnni": "avx_vnni"}
"""Instruction sets that few processors have, and Linux's names of them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an artifact said that asks for more than this machine has."""

    feature: str
    message: str | None
    """None if it ran."""

    def __str__(self) -> str:
        """Return one line for people."""
        return f"asked for {self.feature}: {self.message or 'ran all the same'}"


def gather_refusal(model: Model, onnx: Path) -> Refusal:
    """Compile a model for this machine with an instruction set more, and try to run it.

    Raises:
        BurnishError: it does not compile.
    """
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    feature = next(name for name, flag in NEW.items() if flag not in flags)
    host = resolve("cpu", threads=1)
    target = replace(host, features=host.features | {feature})
    shapes = {name: shape for name, shape in model.cases[0].shapes.items() if shape}
    try:
        # Compiling for this machine opens what it made, so that may be refused there already.
        artifact = burnish.compile(onnx, target, input_shapes=shapes, verify="off", tune="off")
        artifact.run(draw_feeds(model.inputs, model.cases[0]))
    except UnsupportedModel as refused:
        return Refusal(feature, str(refused))
    return Refusal(feature, None)


def judge_refusal(refusals: Sequence[Refusal]) -> Verdict:
    """Every artifact names what the processor lacks."""
    bad = [one for one in refusals if one.message is None or one.feature not in one.message]
    return Verdict(bool(refusals) and not bad, "; ".join(map(str, refusals)))
