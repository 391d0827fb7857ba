"""Acceptance sets: what is asked of burnish, and whether the evidence bears it out."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks import kernel_lines
from benchmarks.evidence import CaseEvidence, RepeatEvidence
from benchmarks.folds import FoldEvidence, judge_adapters, judge_centering
from benchmarks.kernel_evidence import KernelEvidence
from benchmarks.latency import Row
from benchmarks.node_tests.report import GOALS
from benchmarks.peers import (
    PeerRow,
    judge_agreement,
    judge_fewer,
    judge_operators,
    judge_time,
)
from benchmarks.refusal import Refusal, judge_refusal
from benchmarks.scale import Sized
from benchmarks.shipped import ShippedEvidence
from benchmarks.verdicts import Part, Verdict, or_none
from benchmarks.zoo import MAIN_JOB, MODELS, Model
from burnish.bench.seats import ORT

ALLOWED_LIBRARIES = ("libc.so", "libm.so", "libpthread.so")
LOADER = ("linux-vdso.so", "ld-linux", "/lib64/ld-linux", "/lib/ld-linux")
"""What ldd lists for every library: the kernel's own page and the loader."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All facts that lines are judged by; a part that was not gathered is empty."""

    cases: Sequence[CaseEvidence] = ()
    repeats: Sequence[RepeatEvidence] = ()
    shipped: Sequence[ShippedEvidence] = ()
    peers: Sequence[PeerRow] = ()
    folds: Sequence[FoldEvidence] = ()
    node_tests: Mapping[str, int] = field(default_factory=dict)
    """Counts of ONNX's node tests."""
    scale: Sequence[Sized] = ()
    kernels: Sequence[KernelEvidence] = ()
    bf16: Sequence[Row] = ()
    refusal: Sequence[Refusal] = ()

    @property
    def tables(self) -> list[list[Row]]:
        """Everything that was timed against other engines, by precision."""
        kernels = [row for one in self.kernels for row in one.rows]
        every = [[*(case.row for case in self.cases), *kernels], list(self.bf16)]
        return [rows for rows in every if rows]

    def is_empty(self, part: Part) -> bool:
        """Whether nothing was gathered of a part."""
        return not {
            Part.CASES: self.cases,
            Part.REPEATS: self.repeats,
            Part.SHIPPED: self.shipped,
            Part.PEERS: self.peers,
            Part.FOLDS: self.folds,
            Part.NODE_TESTS: self.node_tests,
            Part.SCALE: self.scale,
            Part.KERNELS: self.kernels,
            Part.BF16: self.bf16,
            Part.REFUSAL: self.refusal,
        }[part]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is asked."""

    name: str
    asks: str
    needs: Part
    judge: Callable[[Evidence], Verdict]

    def verdict(self, evidence: Evidence) -> Verdict:
        """Judge; without evidence nothing holds."""
        if evidence.is_empty(self.needs):
            return Verdict(False, "nothing measured")
        return self.judge(evidence)


@dataclass(frozen=True, slots=True)
class AcceptanceSet:
    """Lines that are judged together, over the same models."""

    name: str
    models: tuple[Model, ...]
    lines: tuple[Line, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the evidence that its lines need."""
        return tuple(dict.fromkeys(line.needs for line in self.lines))

    def verdicts(self, evidence: Evidence, parts: Sequence[Part]) -> list[Verdict]:
        """Judge every line whose part of the evidence was gathered."""
        return [line.verdict(evidence) for line in self.lines if line.needs in parts]


def judge_native(evidence: Evidence) -> Verdict:
    """Every case compiles without a region and agrees with the oracle."""
    failing = [case for case in evidence.cases if case.row.failure is not None]
    regions = sum(case.regions or 0 for case in evidence.cases)
    errors = [case.row.error for case in evidence.cases if case.row.error is not None]
    good = len(evidence.cases) - len(failing)
    text = f"{good} of {len(evidence.cases)} cases agree, {regions} regions"
    if errors:
        text += f", error at most {max(errors):.1e}"
    return Verdict(not failing and regions == 0, text)


def judge_imports(evidence: Evidence) -> Verdict:
    """Nothing foreign is imported to run an artifact."""
    measured = [case.foreign for case in evidence.cases if case.foreign is not None]
    found = sorted({name for one in measured for name in one})
    complete = len(measured) == len(evidence.cases)
    return Verdict(complete and not found, f"{len(measured)} processes, found: {or_none(found)}")


def judge_memory(evidence: Evidence) -> Verdict:
    """Artifacts take less memory than ONNX Runtime takes for the same model."""
    shares = {
        f"{case.row.model} {case.row.case} {case.row.threads}t": case.memory / case.ort_memory
        for case in evidence.cases
        if case.memory is not None and case.ort_memory
    }
    if not shares:
        return Verdict(False, "nothing measured")
    worst = max(shares, key=lambda name: shares[name])
    below = sum(share < 1.0 for share in shares.values())
    text = f"{below} of {len(evidence.cases)} below; most {shares[worst]:.2f} of ORT's, {worst}"
    return Verdict(below == len(evidence.cases), text)


def judge_libraries(evidence: Evidence) -> Verdict:
    """Libraries are linked to libc, libm and libpthread only."""
    measured = [case.libraries for case in evidence.cases if case.libraries is not None]
    found = {name for names in measured for name in names if not name.startswith(LOADER)}
    foreign = [name for name in found if not name.startswith(ALLOWED_LIBRARIES)]
    complete = len(measured) == len(evidence.cases)
    return Verdict(complete and not foreign, f"linked to {or_none(sorted(found))}")


def judge_latency(evidence: Evidence) -> Verdict:
    """No case takes more than 1.5 times as long as in ONNX Runtime."""
    ratios = {
        f"{case.row.model} {case.row.case} {case.row.threads}t": 1 / versus.ratio.median
        for case in evidence.cases
        if (versus := case.row.versus(ORT.name)) is not None
    }
    if not ratios:
        return Verdict(False, "nothing measured")
    worst = max(ratios, key=lambda name: ratios[name])
    within = sum(ratio <= 1.5 for ratio in ratios.values())
    text = f"{within} of {len(evidence.cases)} within; worst {ratios[worst]:.2f}, {worst}"
    return Verdict(within == len(evidence.cases), text)


def judge_compile_time(evidence: Evidence) -> Verdict:
    """Compiling with default tuning takes less than 90 seconds."""
    seconds = [case.row.compile_seconds for case in evidence.cases]
    return _below([one for one in seconds if one is not None], len(seconds), 90.0)


def judge_repeats(evidence: Evidence) -> Verdict:
    """The same input gives the same bytes."""
    differing = [
        f"{one.model}: {', '.join(one.differing)}" for one in evidence.repeats if one.differing
    ]
    failing = [one.model for one in evidence.repeats if one.failure is not None]
    same = len(evidence.repeats) - len(differing) - len(failing)
    text = f"{same} of {len(evidence.repeats)} identical; differing: {or_none(differing)}"
    return Verdict(not differing and not failing, text)


def judge_shipped_optimized(evidence: Evidence) -> Verdict:
    """All models of the onnx package load, optimize and agree."""
    failing = [one.name for one in evidence.shipped if one.optimizing is not None]
    good = len(evidence.shipped) - len(failing)
    text = f"{good} of {len(evidence.shipped)} agree; failing: {or_none(failing)}"
    return Verdict(not failing, text)


def judge_shipped_native(evidence: Evidence) -> Verdict:
    """At least nine in ten of the shipped single layers compile natively."""
    family = [one for one in evidence.shipped if one.family == "pytorch-converted"]
    native = sum(one.native for one in family)
    failing = [one.name.removeprefix("test_") for one in family if not one.native]
    text = f"{native} of {len(family)} native; not: {or_none(failing)}"
    return Verdict(10 * native >= 9 * len(family), text)


def judge_faster(evidence: Evidence) -> Verdict:
    """At two threads six models in eight are no slower than ONNX Runtime, in every case."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for case in evidence.cases:
        if case.row.threads == 2:
            versus = case.row.versus(ORT.name)
            ratios[case.row.model].append(1 / versus.ratio.median if versus else float("inf"))
    faster = [name for name, every in ratios.items() if max(every) <= 1.0]
    text = f"{len(faster)} of {len(ratios)}: {or_none(faster)}"
    return Verdict(bool(ratios) and 8 * len(faster) >= 6 * len(ratios), text)


def judge_untuned(evidence: Evidence) -> Verdict:
    """Compiling without tuning takes less than 15 seconds."""
    seconds = [one.untuned for one in evidence.repeats]
    return _below([one for one in seconds if one is not None], len(seconds), 15.0)


def judge_cached(evidence: Evidence) -> Verdict:
    """Compiling again takes less than 5 seconds."""
    seconds = [one.cached for one in evidence.repeats]
    return _below([one for one in seconds if one is not None], len(seconds), 5.0)


def _below(seconds: Sequence[float], wanted: int, limit: float) -> Verdict:
    below = sum(one < limit for one in seconds)
    worst = f", longest {max(seconds):.1f} s" if seconds else ""
    return Verdict(below == wanted, f"{below} of {wanted} below {limit:.0f} s{worst}")


def judge_count(key: str) -> Callable[[Evidence], Verdict]:
    """So many node tests as are asked for, and none wrong."""

    def judge(evidence: Evidence) -> Verdict:
        counts = evidence.node_tests
        wrong = counts.get(f"{key}_wrong", 0)
        text = f"{counts[key]} of {counts['cases']}" + (f", {wrong} wrong" if wrong else "")
        return Verdict(counts[key] >= GOALS[key] and not wrong, text)

    return judge


def judge_scale(evidence: Evidence) -> Verdict:
    """Time grows with the graph and no faster; the largest takes less than a minute."""
    slow = [f"{one.kind} {one.nodes}" for one in evidence.scale
            if one.seconds > LONGEST or (one.ratio or 0.0) > STEEPEST]  # fmt: skip
    worst = max(evidence.scale, key=lambda one: one.seconds)
    return Verdict(not slow, f"longest {worst}; too slow: {or_none(slow)}")


def judge_many_native(evidence: Evidence) -> Verdict:
    """As many native node tests as are aimed for."""
    native = evidence.node_tests["native"]
    return Verdict(native >= MANY_NATIVE, f"{native}")


LONGEST, STEEPEST = 60.0, 1.5
"""Seconds for 100 000 nodes, and time per node as a multiple of that of a fifth of the nodes."""
MANY_NATIVE = 1100


def _of_kernels(judge: kernel_lines.Judge) -> Callable[[Evidence], Verdict]:
    return lambda evidence: judge(evidence.kernels)


KERNEL_LINES = (
    *(
        Line(name, asks, Part.KERNELS, _of_kernels(judge))
        for name, (asks, judge) in kernel_lines.LINES.items()
    ),
    Line(
        "bf16", "error of every model", Part.BF16, lambda e: kernel_lines.judge_bf16_stated(e.bf16)
    ),
    Line("aim: bf16", "OpenVINO's 1.0", Part.BF16, lambda e: kernel_lines.judge_bf16(e.bf16, 1.0)),
    Line("refusal", "without its features", Part.REFUSAL, lambda e: judge_refusal(e.refusal)),
)

SETS: Mapping[str, AcceptanceSet] = {
    one.name: one
    for one in (
        AcceptanceSet(
            "main-job",
            MAIN_JOB,
            (
                Line("native", "no region, error at most 1e-4", Part.CASES, judge_native),
                Line("imports", "runs without tvm, ONNX Runtime", Part.CASES, judge_imports),
                Line("memory", "resident memory below ORT's", Part.CASES, judge_memory),
                Line("linkage", "libc, libm, libpthread only", Part.CASES, judge_libraries),
                Line("latency", "at most 1.5 times ORT's", Part.CASES, judge_latency),
                Line("tuned compile", "under 90 s", Part.CASES, judge_compile_time),
                Line("repeatable", "same bytes twice", Part.REPEATS, judge_repeats),
                Line("shipped", "optimized and right", Part.SHIPPED, judge_shipped_optimized),
                Line("shipped native", "90% of layers", Part.SHIPPED, judge_shipped_native),
                Line("aim: faster", "6 in 8 no slower, 2 threads", Part.CASES, judge_faster),
                Line("aim: untuned", "compile under 15 s", Part.REPEATS, judge_untuned),
                Line("aim: cached", "compile under 5 s", Part.REPEATS, judge_cached),
            ),
        ),
        AcceptanceSet("cpu-kernels", MODELS, KERNEL_LINES),
        AcceptanceSet(
            "exact-rewrites",
            MAIN_JOB,
            (
                Line(
                    "operators",
                    "no more than onnxslim, onnxsim",
                    Part.PEERS,
                    lambda e: judge_operators(e.peers),
                ),
                Line(
                    "agreement", "with ONNX Runtime", Part.PEERS, lambda e: judge_agreement(e.peers)
                ),
                Line("time", "no more than onnxslim", Part.PEERS, lambda e: judge_time(e.peers)),
                Line("scale", "linear, 100 000 nodes in 60 s", Part.SCALE, judge_scale),
                Line("re-export", "1300 node tests equal", Part.NODE_TESTS, judge_count("export")),
                Line("compile", "1250 right, none wrong", Part.NODE_TESTS, judge_count("compile")),
                Line("native", "900 without regions", Part.NODE_TESTS, judge_count("native")),
                Line(
                    "adapters",
                    "none left, error under 1e-9",
                    Part.FOLDS,
                    lambda e: judge_adapters(list(e.folds)),
                ),
                Line(
                    "mean",
                    "folded or refused with reason",
                    Part.FOLDS,
                    lambda e: judge_centering(list(e.folds)),
                ),
                Line(
                    "aim: fewer",
                    "than both on half of them",
                    Part.PEERS,
                    lambda e: judge_fewer(e.peers),
                ),
                Line("aim: native", "1100 without regions", Part.NODE_TESTS, judge_many_native),
            ),
        ),
    )
}


def as_table(chosen: AcceptanceSet, evidence: Evidence, parts: Sequence[Part]) -> Table:
    """Lay the verdicts out for a terminal of 100 columns."""
    table = Table(title=f"Acceptance: {chosen.name}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("line", no_wrap=True)
    table.add_column("asks", no_wrap=True)
    table.add_column("measured")
    table.add_column("holds", no_wrap=True)
    for line in chosen.lines:
        if line.needs not in parts:
            table.add_row(line.name, line.asks, "", "not run")
            continue
        verdict = line.verdict(evidence)
        mark = "[green]yes[/]" if verdict.passed else "[red]no[/]"
        table.add_row(line.name, line.asks, verdict.measured, mark)
    return table
