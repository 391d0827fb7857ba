"""What is known of a model's kernels: times beside other engines, compiling, memory, roofline."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cache import Zoo
from benchmarks.comparison import Disagreement
from benchmarks.compiling import CommandFailed, Compiled, compile_artifact, inspect_artifact
from benchmarks.evidence import fresh_cache, weigh
from benchmarks.inputs import Case
from benchmarks.latency import Row, check_and_time, measure_case
from benchmarks.peer_engines import UNTUNED
from benchmarks.plan import Plan
from benchmarks.zoo import Group, Model
from burnish.bench.client import EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.bench.seats import Seat

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"})
"""Operators whose kernels are held to the machine's limit."""
NOTABLE = 0.05
"""Share of a model's time from which a kernel counts."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A product or convolution that holds a notable share of a model's time, all calls together."""

    threads: int
    """That the model ran with."""
    name: str
    operators: tuple[str, ...]
    calls: int
    """How often a run makes it."""
    seconds: float
    """That all of these take in a run: medians, what reading the clock takes left out."""
    share: float
    """Of the model's time, 0 to 1: the median of the whole run as a user sees it, with what Python
    and the runtime do around kernels, in the same process as the times of the calls."""
    bound: float | None
    """The least seconds that the machine would need; None if unknown."""
    bound_by: str | None
    traffic: float | None
    """Seconds that all it must read and write would take from the nearest level of memory."""

    @property
    def of_bound(self) -> float | None:
        """The least time over the time taken."""
        return None if self.bound is None else self.bound / self.seconds


@dataclass(frozen=True, slots=True)
class KernelEvidence:
    """One model: its first case in every respect, further cases against other engines only."""

    model: str
    rows: tuple[Row, ...] = ()
    """Every case at every number of threads; the first also has figures of the untuned artifact."""
    cold: float | None = None
    """Seconds to compile with default tuning and an empty schedule cache."""
    warm: float | None = None
    """Seconds to do that again."""
    off: float | None = None
    """Seconds to compile without tuning, with an empty schedule cache."""
    peak: int | None = None
    """Resident bytes of the largest process of the first compile, at most."""
    model_bytes: int | None = None
    """Of the ONNX file and what lies beside it."""
    artifact_bytes: int | None = None
    weights_bytes: int | None = None
    """Of the artifact's file of weights."""
    memory: int | None = None
    """Resident bytes that loading and running adds to an empty process."""
    ort_memory: int | None = None
    """The same of ONNX Runtime."""
    kernels: tuple[Kernel, ...] = ()
    """Of the first case, at every number of threads."""
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "KernelEvidence":
        """Return what `as_json` was called on."""
        rows = tuple(map(Row.from_json, content["rows"]))
        kernels = tuple(
            Kernel(**{**one, "operators": tuple(one["operators"])}) for one in content["kernels"]
        )
        return cls(**{**content, "rows": rows, "kernels": kernels})

    def __str__(self) -> str:
        """Return lines for people."""
        if self.failure is not None:
            return f"{self.model}: {self.failure}"
        compiles = f"{self.model}: compiled in {self.cold:.1f} s, {self.warm:.1f}, {self.off:.1f}"
        return "\n".join([compiles, *map(str, self.rows)])


def cases_of(model: Model) -> tuple[Case, ...]:
    """The cases that are timed: all of the main models, the first one of the odd ones."""
    return model.cases if model.group is Group.MAIN_JOB else model.cases[:1]


def gather_kernels(
    model: Model, threads: Sequence[int], plan: Plan, zoo: Zoo, seats: Sequence[Seat]
) -> KernelEvidence:
    """Compile a model in the ways that are asked about, then check, weigh and time it."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="burnish-kernels-"))
        try:
            cache = stack.enter_context(fresh_cache(zoo))
            stack.enter_context(machine_to_ourselves())
            return _Gathering(model, plan, zoo, seats, Path(folder), cache).gather(threads)
        except (CommandFailed, EngineFailed, Disagreement) as failure:
            return KernelEvidence(model.name, failure=str(failure))


def gather_bf16(model: Model, threads: int, plan: Plan, zoo: Zoo, seats: Sequence[Seat]) -> Row:
    """Compile the first case of a model with arithmetic in bf16, untuned; compare and time it."""
    plan = replace(plan, precision="bf16", tune="off")
    case, onnx = model.cases[0], zoo.path(model)
    with tempfile.TemporaryDirectory(prefix="burnish-kernels-") as folder:
        return measure_case(model, case, threads, plan, onnx, seats, Path(folder))


@dataclass(frozen=True)
class _Gathering:
    model: Model
    plan: Plan
    zoo: Zoo
    seats: Sequence[Seat]
    folder: Path
    cache: Path

    def gather(self, threads: Sequence[int]) -> KernelEvidence:
        """Gather all of one model."""
        first, most = self.model.cases[0], max(threads)
        cold = self.compiled("cold", first, most, self.plan.tune)
        warm = self.compiled("warm", first, most, self.plan.tune)
        # Tuning keeps the code of first choices: without it, compiling untuned is cold as well.
        shutil.rmtree(self.cache / "burnish" / "schedules", ignore_errors=True)
        off = self.compiled("off", first, most, "off")
        rows: list[Row] = []
        kernels: list[Kernel] = []
        for case in cases_of(self.model):
            for count in threads:
                if (case, count) == (first, most):
                    made = cold
                    rows.append(self.timed(case, count, made, off))
                else:
                    made = self.compiled("one", case, count, "off")
                    rows.append(self.timed(case, count, made))
                if case is first:
                    # Clocks and neighbours change within minutes: bounds are measured beside.
                    kernels += notable(inspect_artifact(made.path, self.cache), count)
        onnx = self.zoo.path(self.model)
        memory, _ = weigh("burnish", cold.path, self.model, first, most)
        ort_memory, _ = weigh("ort", onnx, self.model, first, most)
        return KernelEvidence(
            self.model.name,
            tuple(rows),
            cold.seconds,
            warm.seconds,
            off.seconds,
            cold.peak,
            sum(file.stat().st_size for file in self.zoo.files(self.model)),
            sum(file.stat().st_size for file in cold.path.rglob("*") if file.is_file()),
            (cold.path / "weights.bin").stat().st_size,
            memory,
            ort_memory,
            tuple(kernels),
        )

    def compiled(self, name: str, case: Case, threads: int, tune: str | None) -> Compiled:
        """Compile into a folder of this name."""
        onnx, out = self.zoo.path(self.model), self.folder / name
        return compile_artifact(
            onnx, out, case.shapes, threads=threads, tune=tune, cache=self.cache
        )

    def timed(
        self, case: Case, threads: int, made: Compiled, untuned: Compiled | None = None
    ) -> Row:
        """Check and time an artifact, in turns with the untuned one if there is one."""
        onnx, seats = self.zoo.path(self.model), list(self.seats)
        if untuned is not None:
            seats.append(Seat(UNTUNED, path=untuned.path))
        checked = check_and_time(self.model, case, threads, self.plan, onnx, made.path, seats)
        return checked.row(self.model, case, threads, made.seconds, made.native_share)


def notable(facts: Mapping[str, Any], threads: int) -> tuple[Kernel, ...]:
    """Return the products and convolutions that hold a notable share of an artifact's time.

    Args:
        facts: what `burnish inspect ARTIFACT --profile --json` says.
        threads: that the artifact uses.
    """
    whole = {one["entry"]: one["microseconds"] for one in facts["profile_entries"]}
    calls: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for call in facts["profile"]:
        calls.setdefault((call["entry"], call["kernel"]), []).append(call)
    nearest = facts["machine"]["levels"][0]["bandwidth"]
    kernels = [
        _kernel(threads, name, every, whole[entry], nearest)
        for (entry, name), every in calls.items()
    ]
    found = [one for one in kernels if one.share > NOTABLE and PRODUCTS.intersection(one.operators)]
    return tuple(sorted(found, key=lambda kernel: -kernel.share))


def _kernel(
    threads: int, name: str, calls: Sequence[Mapping[str, Any]], run: float, bandwidth: float
) -> Kernel:
    """Add up the calls of one kernel.

    Args:
        threads: that the model ran with.
        name: the kernel's.
        calls: its rows of the profile.
        run: microseconds of the whole run.
        bandwidth: bytes per second of the nearest level of memory.
    """
    taken = sum(call["microseconds"] for call in calls)
    bounds = [call["bound_microseconds"] for call in calls]
    moved = [call["bytes"] for call in calls]
    return Kernel(
        threads,
        name,
        tuple(dict.fromkeys(kind for call in calls for kind in call["operators"] or ())),
        sum(call["rounds"] or 1 for call in calls),
        taken * 1e-6,
        taken / run,
        None if None in bounds else sum(bounds) * 1e-6,
        calls[0]["bound_by"],
        None if None in moved else sum(moved) / bandwidth,
    )
