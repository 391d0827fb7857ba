"""What a diagnosis and its child processes tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from burnish.ir import Graph


@dataclass(frozen=True)
class CompileRequest:
    """What to compile."""

    graph: Graph
    attempt: int = 0
    """Which of the target's ways to compute convolutions to use, from the coarsest rounding on."""


@dataclass(frozen=True)
class Compiled:
    """An artifact, which lies where it is until the next request."""

    path: str
    rounds_coarsely: bool
    """Whether another attempt computes more exactly."""


@dataclass(frozen=True)
class Refused:
    """Why there is none: the type of what was raised, and its text."""

    kind: str
    text: str


@dataclass(frozen=True)
class RunRequest:
    """An artifact to run, and inputs to run it on, one set after the other."""

    path: str
    feeds: tuple[Mapping[str, np.ndarray], ...]
