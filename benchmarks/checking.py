"""What engines answer, compared with the oracle; what is wrong is not timed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison import Compare, Disagreement, comparison, worst_error
from benchmarks.inputs import Array, Case, draw_feeds
from benchmarks.zoo import Model
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.seats import Level, Seat

SEEDS = (0, 1)
"""Inputs that outputs are compared on; the first is also the one that is timed."""
Answer = tuple[dict[str, Array], dict[str, Array]]
"""Feeds by the names of inputs, and what is right for them by the names of outputs."""


def expected_outputs(
    model: Model, case: Case, onnx: Path, given: Sequence[Mapping[str, Array]] | None = None
) -> Iterator[Answer]:
    """Yield feeds, the first ones last, and what the oracle says of them.

    Args:
        model: what is fed.
        case: the shapes of feeds.
        onnx: the model's file.
        given: the feeds; None for those drawn from each seed.
    """
    every = given or [draw_feeds(model.inputs, case, seed) for seed in SEEDS]
    with Engine("oracle") as oracle:
        oracle.load(onnx, threads=1)
        for feeds in reversed(every):
            oracle.feed(feeds)
            yield dict(feeds), oracle.outputs()


def check_engine(
    engine: Engine, answers: Sequence[Answer], compare: Compare = worst_error
) -> float:
    """Compare a loaded engine with the oracle; it is left with the feeds of the last answer.

    Args:
        engine: the engine, which has loaded the model.
        answers: of the oracle.
        compare: says how far off outputs are, and whether that is too far.

    Returns:
        The largest error.

    Raises:
        EngineFailed: if the engine fails.
        Disagreement: if it is wrong.
    """
    worst = 0.0
    for feeds, expected in answers:
        engine.feed(feeds)
        worst = max(worst, compare(engine.outputs(), expected))
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
    compare = comparison(peer.name.rpartition("-")[2])
    first: EngineFailed | Disagreement | None = None
    for level in (Level(peer.loader or peer.name, "all optimizations"), *peer.lower):
        engine = Engine(level.loader, seat.python)
        try:
            engine.load(seat.path or onnx, threads, case.shapes)
            check_engine(engine, answers, compare)
        except BaseException as failure:
            engine.end()
            if not isinstance(failure, (EngineFailed, Disagreement)):
                raise
            first = first or failure
        else:
            return Right(engine, f"{level.title}, since with all {first}" if first else "")
    assert first is not None  # there is at least one level
    raise first
