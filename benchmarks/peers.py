"""Other optimizers of ONNX models on the same files: operators left, and time taken."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx.inliner
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.cache import Zoo
from benchmarks.comparison import Disagreement, worst_error
from benchmarks.compiling import LIMIT, CommandFailed, last_message, shape_options
from benchmarks.inputs import Case, Shape, draw_feeds
from benchmarks.verdicts import Verdict, or_none
from benchmarks.zoo import Model
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.environment import machine_to_ourselves

VARIABLE = "BURNISH_PEERS"
"""Names the folder that holds the other tools' commands, if that is not this environment."""
US, SLIM, SIM, SIM_OPEN = "burnish", "onnxslim", "onnxsim", "onnxsim, shapes open"
VERIFIED = "burnish --verify end"
ROUNDS = 3
WITHIN = 1.0
"""Our time as a multiple of onnxslim's that is allowed."""


@dataclass(frozen=True, slots=True)
class PeerRow:
    """What every tool made of one model at the same shapes."""

    model: str
    operators: Mapping[str, int]
    """Operators left by tool, after functions are inlined; tools that failed are missing."""
    seconds: Mapping[str, float]
    """Median wall clock of the whole command."""
    failures: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    """Operators of ours from other domains than the model's."""
    error: float | None = None
    """How far our result is from the oracle, None if it does not agree."""

    @property
    def best_peer(self) -> int | None:
        """The fewest operators that another tool leaves."""
        return min((n for tool, n in self.operators.items() if tool != US), default=None)

    @property
    def ours(self) -> int | None:
        """The operators that we leave."""
        return self.operators.get(US)

    def __str__(self) -> str:
        """One line for people."""
        counts = ", ".join(f"{tool} {count}" for tool, count in self.operators.items())
        failed = "".join(f"; {tool} failed: {why}" for tool, why in self.failures.items())
        return f"{self.model}: {counts}{failed}"


def commands(source: Path, folder: Path, shapes: Mapping[str, Shape]) -> dict[str, list[str]]:
    """The command of every tool, each writing to a file of its own."""
    sizes = [f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items() if shape]
    frozen = shape_options(shapes)
    ours = [_tool("burnish"), "optimize", str(source), *frozen, "-q", "-o"]
    out = {tool: str(folder / f"{number}.onnx")
           for number, tool in enumerate((US, VERIFIED, SLIM, SIM, SIM_OPEN))}  # fmt: skip
    return {
        US: [*ours, out[US], "--verify", "off"],
        VERIFIED: [*ours, out[VERIFIED], "--verify", "end"],
        SLIM: [_tool("onnxslim"), str(source), out[SLIM], "--input-shapes", *sizes],
        SIM: [_tool("onnxsim"), str(source), out[SIM], "--overwrite-input-shape", *sizes],
        SIM_OPEN: [_tool("onnxsim"), str(source), out[SIM_OPEN]],
    }


def _tool(name: str) -> str:
    """Where the command of a tool lies."""
    beside = Path(sys.executable).parent
    folders = [Path(os.environ[VARIABLE])] if VARIABLE in os.environ and name != US else []
    for folder in (*folders, beside):
        if (folder / name).exists():
            return str(folder / name)
    found = shutil.which(name)
    if found is None:
        raise CommandFailed(
            f"there is no {name}: pip install '.[peers]', or name the folder of its command "
            f"by {VARIABLE}"
        )
    return found


def gather_peers(models: Sequence[Model], zoo: Zoo, rounds: int = ROUNDS) -> Iterator[PeerRow]:
    """Run every tool on every model, in turn, the first case's shapes bound.

    Raises:
        ZooError: a model is not built.
        CommandFailed: a tool is not installed.
    """
    for model in models:
        yield _gather(model, zoo, rounds)


def _gather(model: Model, zoo: Zoo, rounds: int) -> PeerRow:
    source, case = zoo.path(model), model.cases[0]
    with tempfile.TemporaryDirectory(prefix="burnish-peers-") as name:
        folder = Path(name)
        every = commands(source, folder, case.shapes)
        seconds: dict[str, list[float]] = {tool: [] for tool in every}
        failures: dict[str, str] = {}
        with machine_to_ourselves():
            for turn in range(rounds):
                order = list(every)
                for tool in order[turn % len(order) :] + order[: turn % len(order)]:
                    if tool not in failures:
                        _time(tool, every[tool], seconds, failures)
        written = {tool: Path(next(part for part in command if part.startswith(name)))
                   for tool, command in every.items()}  # fmt: skip
        counts = {
            tool: Counter(_operators(written[tool]))
            for tool in every
            if tool not in failures and tool != VERIFIED and written[tool].exists()
        }
        foreign = set(counts.get(US, ())) - set(_operators(source))
        error = None
        if US in counts:
            error = _agreement(source, written[US], model, case, failures)
    return PeerRow(
        model.name,
        {tool: count.total() for tool, count in counts.items()},
        {tool: statistics.median(found) for tool, found in seconds.items() if found},
        failures,
        tuple(sorted(kind for kind in foreign if "::" in kind)),
        error,
    )


def _time(
    tool: str, command: list[str], seconds: dict[str, list[float]], failures: dict[str, str]
) -> None:
    begin = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        failures[tool] = f"no end after {LIMIT:.0f} s"
        return
    if done.returncode:
        failures[tool] = last_message(done.stderr or done.stdout)
    else:
        seconds[tool].append(time.perf_counter() - begin)


def _operators(path: Path) -> Iterator[str]:
    """The type of every operator of a model, subgraphs and bodies of functions included."""
    model = onnx.load(str(path), load_external_data=False)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    yield from _of_graph(model.graph)


def _of_graph(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield (
            f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        )
        for attribute in node.attribute:
            for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                yield from _of_graph(body)


def _agreement(
    source: Path, written: Path, model: Model, case: Case, failures: dict[str, str]
) -> float | None:
    """How far our result is from the original in ONNX Runtime."""
    feeds = draw_feeds(model.inputs, case)
    try:
        with Engine("oracle") as original, Engine("ort") as ours:
            for engine, path in ((original, source), (ours, written)):
                engine.load(path, 1)
                engine.feed(feeds)
            return worst_error(ours.outputs(), original.outputs())
    except (EngineFailed, Disagreement) as failure:
        failures[US] = str(failure)
        return None


def as_table(rows: Sequence[PeerRow]) -> Table:
    """Operators and seconds of every tool, a row for each model."""
    title = "Operators left and seconds taken by burnish, onnxslim, onnxsim"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    for column in ("ours", "slim", "sim", "open", "s", "verify", "slim s", "sim s", "error"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        cells = [str(row.operators.get(tool, "failed")) for tool in (US, SLIM, SIM, SIM_OPEN)]
        cells += [
            f"{row.seconds[tool]:.1f}" if tool in row.seconds else ""
            for tool in (US, VERIFIED, SLIM, SIM)
        ]
        table.add_row(row.model, *cells, "" if row.error is None else f"{row.error:.0e}")
    return table


def judge_operators(rows: Sequence[PeerRow]) -> Verdict:
    """On every model no more operators than the better peer leaves, all of domains it had."""
    more = [
        f"{row.model} {row.ours} to {row.best_peer}"
        for row in rows
        if row.ours is None or (row.best_peer is not None and row.ours > row.best_peer)
    ]
    foreign = [row.model for row in rows if row.foreign]
    text = f"{len(rows) - len(more)} of {len(rows)}; more: {or_none(more)}"
    return Verdict(not more and not foreign, text + (f"; foreign: {foreign}" if foreign else ""))


def judge_agreement(rows: Sequence[PeerRow]) -> Verdict:
    """Every result agrees with the oracle."""
    errors = [row.error for row in rows if row.error is not None]
    wrong = [row.model for row in rows if row.error is None]
    worst = f", error at most {max(errors):.1e}" if errors else ""
    return Verdict(not wrong, f"{len(errors)} of {len(rows)} agree{worst}; not: {or_none(wrong)}")


def judge_time(rows: Sequence[PeerRow]) -> Verdict:
    """No model takes longer than with onnxslim."""
    ratios = {row.model: row.seconds[US] / row.seconds[SLIM] for row in rows
              if US in row.seconds and SLIM in row.seconds}  # fmt: skip
    if not ratios:
        return Verdict(False, "nothing measured")
    worst = max(ratios, key=lambda name: ratios[name])
    within = sum(ratio <= WITHIN for ratio in ratios.values())
    checks = [row.seconds[VERIFIED] / row.seconds[US] for row in rows if VERIFIED in row.seconds]
    text = f"{within} of {len(ratios)}; most {ratios[worst]:.2f} of onnxslim's, {worst}"
    if checks:
        text += f"; --verify end takes {statistics.median(checks):.1f} times as long"
    return Verdict(within == len(ratios), text)


def judge_fewer(rows: Sequence[PeerRow]) -> Verdict:
    """Fewer operators than every peer on at least half of the models."""
    fewer = [
        row.model for row in rows
        if row.ours is not None and row.best_peer is not None and row.ours < row.best_peer
    ]  # fmt: skip
    return Verdict(2 * len(fewer) >= len(rows) > 0, f"{len(fewer)} of {len(rows)}")
