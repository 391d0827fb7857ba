"""Verdicts of acceptance lines, and the parts of the evidence that they are judged by."""

from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """A part of the evidence."""

    CASES = "cases"
    REPEATS = "repeats"
    SHIPPED = "shipped"
    PEERS = "peers"
    FOLDS = "folds"
    NODE_TESTS = "node-tests"
    SCALE = "scale"
    KERNELS = "kernels"
    BF16 = "bf16"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one line holds, and the figures that say so."""

    passed: bool
    measured: str


def or_none(names: list[str]) -> str:
    """Names with commas between, or that there are none."""
    return ", ".join(names) or "none"
