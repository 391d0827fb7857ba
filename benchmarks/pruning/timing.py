"""Artifacts of our own timed in turns."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.latency import US
from benchmarks.plan import Plan
from burnish.backends.artifact import load_artifact
from burnish.bench.client import Engine
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.timing import Blocks, alternate


def timed(artifacts: Mapping[str, Path], threads: int, plan: Plan) -> dict[str, Blocks]:
    """Seconds of runs of each artifact, in blocks that alternate.

    All run what the self-test of the last one does.

    Args:
        artifacts: by name, all for the same input shapes; the first is what others are held to.
        threads: of each.
        plan: how long to measure.

    Raises:
        EngineFailed: one cannot run.
    """
    feeds = load_artifact(list(artifacts.values())[-1]).example().inputs
    with ExitStack() as stack:
        engines = {name: stack.enter_context(Engine(US)) for name in artifacts}
        for name, engine in engines.items():
            engine.load(artifacts[name], threads)
            engine.feed(feeds)
        with machine_to_ourselves():
            return alternate(engines, plan, next(iter(artifacts)))
