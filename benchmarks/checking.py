"""What engines answer, compared with the oracle; what is wrong is not timed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison import INT8, LOSSY, TOLERANCE, Disagreement, worst_error
from benchmarks.inputs import Array, Case, draw_feeds
from benchmarks.zoo import Model
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.seats import Level, Seat

SEEDS = (0, 1)
"""Inputs that outputs are compared on; the first is also the one that is timed."""
Answer = tuple[dict[str, Array], dict[str, Array]]
"""Feeds by the names of inputs, and what is right for them by the names of outputs."""


def expected_outputs(model: Model, case: Case, onnx: Path) -> Iterator[Answer]:
    """Yield the feeds of each seed, the first one last, and what the oracle says of them."""
    with Engine("oracle") as oracle:
        oracle.load(onnx, threads=1)
        for seed in reversed(SEEDS):
            feeds = draw_feeds(model.inputs, case, seed)
            oracle.feed(feeds)
            yield feeds, oracle.outputs()


def check_engine(
    engine: Engine, answers: Sequence[Answer], tolerance: Mapping[str, float] = TOLERANCE
) -> float:
    """Compare a loaded engine with the oracle; it is left with the feeds of the last answer.

    Args:
        engine: the engine, which has loaded the model.
        answers: of the oracle.
        tolerance: largest errors allowed, by dtype.

    Returns:
        The largest relative error.

    Raises:
        EngineFailed: if the engine fails.
        Disagreement: if it is wrong.
    """
    worst = 0.0
    for feeds, expected in answers:
        engine.feed(feeds)
        worst = max(worst, worst_error(engine.outputs(), expected, tolerance))
    return worst


@dataclass(frozen=True, slots=True)
class Right:
    """A running engine that agrees with the oracle; the holder ends it."""

    engine: Engine
    lowered: str = ""
    """With which optimizations, and why, if not with all that it has."""


def seated(seat: Seat, onnx: Path, threads: int, case: Case, answers: Sequence[Answer]) -> Right:
    """Load a peer with the most optimizations that leave its results right, and feed it.

    Raises:
        EngineFailed: it fails, and is right with none of its lower optimizations.
        Disagreement: likewise, it is wrong.
    """
    peer = seat.peer
    kind = peer.name.rpartition("-")[2]
    allowed = {"bf16": LOSSY, "int8": INT8}.get(kind, TOLERANCE)
    first: EngineFailed | Disagreement | None = None
    for level in (Level(peer.loader or peer.name, "all optimizations"), *peer.lower):
        engine = Engine(level.loader, seat.python)
        try:
            engine.load(seat.path or onnx, threads, case.shapes)
            check_engine(engine, answers, allowed)
        except BaseException as failure:
            engine.end()
            if not isinstance(failure, (EngineFailed, Disagreement)):
                raise
            first = first or failure
        else:
            return Right(engine, f"{level.title}, since with all {first}" if first else "")
    assert first is not None  # there is at least one level
    raise first
