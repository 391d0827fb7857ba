"""What each pass of a compilation is worth: left out in turn, and the rest timed against all."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

import burnish
from benchmarks.cache import Zoo
from benchmarks.checking import expected_outputs
from benchmarks.client import Engine, EngineFailed
from benchmarks.comparison import Disagreement, worst_error
from benchmarks.compiling import CommandFailed, Compiled, compile_artifact
from benchmarks.environment import machine_to_ourselves
from benchmarks.inputs import Case
from benchmarks.stats import Estimate
from benchmarks.timing import Plan, alternate, ratio
from benchmarks.zoo import Model
from burnish.backends.artifact import WEIGHTS
from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.target import resolve

NOISE = 0.02
"""A ratio whose interval lies beyond one plus or minus this counts as an effect."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one pass is worth to one compiled model."""

    model: str
    case: str
    name: str
    ratio: Estimate | None = None
    """Time with the pass over time without it; None where both compile to the same."""
    failure: str | None = None
    """Why the model cannot be compiled or measured without the pass."""

    @property
    def verdict(self) -> str:
        """In a word: needed, same, faster, slower or noise."""
        if self.failure:
            return "needed"
        if self.ratio is None:
            return "same"
        if self.ratio.high < 1 - NOISE:
            return "faster"
        return "slower" if self.ratio.low > 1 + NOISE else "noise"

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "verdict": self.verdict}

    def __str__(self) -> str:
        """Return one line for people."""
        ratio = f" {self.ratio.median:.3f}" if self.ratio else ""
        return f"{self.model} {self.case} {self.name}: {self.verdict}{ratio}"


def measure_effects(
    models: Iterable[Model], threads: int, plan: Plan, zoo: Zoo
) -> Iterator[Effect]:
    """Leave out each pass of a compilation in turn, at the first shapes of each model.

    Code is generated only where the rewritten graphs differ, and timed only where the code does.

    Args:
        models: from the zoo, already built.
        threads: how many the artifacts use.
        plan: how long to measure, and how to tune.
        zoo: where the ONNX files are.
    """
    for model in models:
        with tempfile.TemporaryDirectory(prefix="burnish-effects-") as scratch:
            yield from _Leaving(model, threads, plan, zoo.path(model), Path(scratch)).effects()


@dataclass(frozen=True)
class _Leaving:
    model: Model
    threads: int
    plan: Plan
    onnx: Path
    folder: Path

    @property
    def case(self) -> Case:
        return self.model.cases[0]

    def effects(self) -> Iterator[Effect]:
        graph = burnish.load(self.onnx)
        everything = digest(self.rewritten(graph, ()))
        whole = self.compiled(())
        for name in dict.fromkeys(step.name for step in choose(self.selection(()))):
            try:
                same = digest(self.rewritten(graph, (name,))) == everything
                ratio = None if same else self.compare(whole, self.compiled((name,)))
                yield Effect(self.model.name, self.case.label, name, ratio)
            except (CommandFailed, EngineFailed, Disagreement, burnish.BurnishError) as failure:
                yield Effect(self.model.name, self.case.label, name, failure=str(failure))

    def selection(self, skip: tuple[str, ...]) -> Selection:
        shapes = {name: shape for name, shape in self.case.shapes.items() if shape}
        return Selection(compiling=True, input_shapes=shapes, skip=skip)

    def rewritten(self, graph: Graph, skip: tuple[str, ...]) -> Graph:
        context = PassContext(target=resolve("cpu", threads=self.threads))
        return run_pipeline(graph, choose(self.selection(skip)), context, verify="off")[0]

    def compiled(self, skip: tuple[str, ...]) -> Path:
        path = self.folder / ("-".join(skip) or "everything")
        compile_artifact(
            self.onnx, path, self.case.shapes, threads=self.threads, tune=self.plan.tune, skip=skip
        )
        return path

    def compare(self, whole: Path, less: Path) -> Estimate | None:
        """Time both if they differ and are right."""
        if _content(whole) == _content(less):
            return None
        with ExitStack() as stack:
            stack.enter_context(machine_to_ourselves())
            every, fewer = (stack.enter_context(Engine("burnish")) for _ in range(2))
            every.load(whole, self.threads)
            fewer.load(less, self.threads)
            self.check([every, fewer])
            blocks = alternate({"every": every, "fewer": fewer}, self.plan, "fewer")
            return ratio(blocks["every"], blocks["fewer"])

    def check(self, engines: list[Engine]) -> None:
        """Compare with the oracle; nothing that is wrong is timed."""
        for feeds, expected in expected_outputs(self.model, self.case, self.onnx):
            for engine in engines:
                engine.feed(feeds)
                worst_error(engine.outputs(), expected)


def digest(graph: Graph) -> str:
    """A hash of what ``graph`` computes: its text and its weights, without names."""
    found = hashlib.sha256(to_text(graph).encode())
    for value in graph.constants():
        if value.constant is not None:
            found.update(value.constant.digest().encode())
    return found.hexdigest()


def _content(artifact: Path) -> list[bytes]:
    return [file.read_bytes() for file in (Compiled(artifact, 0.0).library, artifact / WEIGHTS)]


def as_table(effects: Iterable[Effect]) -> Table:
    """Lay effects out for a terminal, those that are none left out."""
    title = "Time with each pass over time without it, median with its 95% interval"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for heading in ("model", "pass", "ratio", "interval", "verdict"):
        table.add_column(heading, no_wrap=True)
    colours = {"faster": "green", "slower": "red"}
    for effect in effects:
        if effect.verdict == "same":
            continue
        ratio = effect.ratio
        figures = (
            (f"{ratio.median:.3f}", f"{ratio.low:.3f}-{ratio.high:.3f}") if ratio else ("", "")
        )
        colour = colours.get(effect.verdict, "default")
        table.add_row(effect.model, effect.name, *figures, f"[{colour}]{effect.verdict}[/]")
    return table
