"""Native code as a symptom: a graph is compiled in one child process and run in another."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from burnish.backends.child import Child, ChildFailed
from burnish.diagnosis.clock import Clock, OutOfTime
from burnish.diagnosis.messages import Compiled, CompileRequest, Refused, RunRequest
from burnish.diagnosis.symptom import Agreement, Failure, Outputs, judged
from burnish.errors import UnsupportedModel
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.oracle.rounding import Roundings
from burnish.oracle.ties import Ties
from burnish.target import Target
from burnish.verification import Feeds

COMPILER = "burnish.diagnosis.compile_worker"
RUNNER = "burnish.diagnosis.run_worker"
START = 120.0
"""Seconds that a process may take to start: it loads the code generator, on a busy machine."""
COMPILING = 300.0
"""Seconds after which the code generator counts as hanging."""
LEAST = 1.0
"""Seconds that a child has for an answer however little time is left."""
RUNNING, TIMES = 5.0, 50.0
"""Seconds, and times what the oracle takes, after which a run counts as hanging."""
REFUSED = f"compiling: {UnsupportedModel.__name__}"
"""The kind of failure of what is nothing to generate code for, and says so."""


@dataclass(frozen=True)
class Expectation:
    """What compiled code has to answer."""

    feeds: Sequence[Feeds]
    expected: Sequence[Outputs]
    """Outputs for each of ``feeds``."""
    agreement: Agreement
    """When they count as equal."""
    roundings: Roundings
    """Of the model that gave them."""
    seconds: float = 0.0
    """What the oracle takes for a run."""
    ties: Ties | None = None
    """Of the model as well, if it may have any."""

    def failure(self, found: Sequence[Outputs]) -> Failure | None:
        """How ``found`` differs by more than another rounding, generated code's own way."""
        wrong = self.agreement.failure(self.expected, found, Numerics.REASSOCIATES)
        if wrong is None:
            return None
        runs = zip(self.feeds, self.expected, found, strict=True)
        near = [self.roundings.near(*run) for run in runs]
        return judged(
            self.agreement, self.ties, self.feeds, self.expected, near, Numerics.REASSOCIATES
        )


class Engine:
    """Compiles and runs graphs for this machine, where they may crash; use it in ``with``."""

    def __init__(self, target: Target, clock: Clock) -> None:
        """Start nothing yet."""
        self._target = target
        self._clock = clock
        self._children: dict[str, Child] = {}
        self._room: tempfile.TemporaryDirectory[str] | None = None
        """Artifacts lie there, which children that are ended cannot remove."""

    def __enter__(self) -> Engine:
        self._room = tempfile.TemporaryDirectory(
            prefix="burnish-diagnosis-", ignore_cleanup_errors=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for child in self._children.values():
            child.close()
        self._children.clear()
        assert self._room is not None
        self._room.cleanup()

    def failure(self, graph: Graph, expectation: Expectation) -> Failure | None:
        """What goes wrong when ``graph`` is compiled, untuned, and run.

        Raises:
            OutOfTime: there is no time left to find out.
        """
        attempt = 0
        while True:
            self._clock.begin(f"compiling {len(graph)} operators")
            made = self._ask(COMPILER, self._target, CompileRequest(graph, attempt), COMPILING)
            if isinstance(made, ChildFailed):
                return Failure(f"compiling: {made}", f"the code generator {_verb(made)}")
            if isinstance(made, Refused):
                return Failure(f"compiling: {made.kind}", f"it cannot be compiled: {made.text}")
            assert isinstance(made, Compiled)
            found = self._run(made.path, expectation)
            if found is None or found.kind != "native numerics" or not made.rounds_coarsely:
                return found
            attempt += 1

    def _run(self, path: str, expectation: Expectation) -> Failure | None:
        given = tuple(
            {name: np.asarray(array) for name, array in feeds.items()}
            for feeds in expectation.feeds
        )
        patience = (RUNNING + TIMES * expectation.seconds) * len(given)
        found = self._ask(RUNNER, None, RunRequest(path, given), patience)
        if isinstance(found, ChildFailed):
            return Failure(f"running: {found}", f"the compiled model {_verb(found)}")
        if isinstance(found, str):
            return Failure("running: error", f"the compiled model fails: {found}")
        wrong = expectation.failure(found)
        if wrong is None:
            return None
        text = f"compiled, the model answers otherwise: {wrong.text}"
        return Failure(f"native {wrong.kind}", text, wrong.feed)

    def _ask(self, module: str, opening: object, request: object, seconds: float) -> Any:
        """The answer of a child, or how it failed; the next one starts afresh then.

        Raises:
            ChildFailed: it does not even start.
            OutOfTime: there was less time left than it may take.
        """
        child = self._children.get(module)
        if child is None or not child.is_alive():
            assert self._room is not None
            room = Path(self._room.name)
            child = self._children[module] = Child(module, opening, START, silent=True, room=room)
        try:
            return child.ask(request, min(seconds, max(LEAST, self._clock.left)))
        except ChildFailed as failure:
            del self._children[module]
            if not self._clock.left:
                # Perhaps it would have answered.
                raise OutOfTime from failure
            return failure


def _verb(failure: ChildFailed) -> str:
    text = str(failure)
    return text if text.startswith("crashed") else f"hangs ({text})"


@dataclass(frozen=True)
class NativeSymptom:
    """Compiled code that crashes, hangs or answers otherwise than the original."""

    engine: Engine
    expectation: Expectation

    def of(self, graph: Graph, promise: Numerics) -> Failure | None:
        """Compile ``graph`` as it is, and run it; generated code rounds whatever passes promise."""
        return self.engine.failure(graph, self.expectation)
