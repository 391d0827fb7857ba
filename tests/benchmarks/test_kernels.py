"""What is asked of kernels follows from the evidence; missing or failing evidence never passes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest

from benchmarks import evidence
from benchmarks.acceptance import SETS, Evidence
from benchmarks.cache import Zoo
from benchmarks.evidence import fresh_cache
from benchmarks.kernel_evidence import Kernel, KernelEvidence, cases_of, notable
from benchmarks.kernel_lines import reasons_of
from benchmarks.latency import Figures, Row, Versus
from benchmarks.partial import Partial
from benchmarks.refusal import Refusal, gather_refusal
from benchmarks.verdicts import Part
from benchmarks.zoo import Model, find
from burnish.bench.stats import Estimate

KERNELS = SETS["cpu-kernels"]


def row(threads: int = 2, **ratios: float) -> Row:
    ratios = {"ort": 1.6, "openvino": 1.2, "untuned": 1.1, **ratios}
    time = Estimate(0.01, 0.009, 0.011)
    peers = {n: Versus(time, Estimate(r, r * 0.9, r * 1.1), r) for n, r in ratios.items()}
    return Row("m", "1x3", threads, 20.0, 1.0, 1e-6, Figures(time, peers))


def kernel(of_bound: float | None = 0.95, share: float = 0.3, traffic: float = 1e-6) -> Kernel:
    """A kernel that takes 100 us in two calls."""
    bound = None if of_bound is None else 1e-4 * of_bound
    return Kernel(2, "k0_conv2d", ("Conv", "Relu"), 2, 1e-4, share, bound, "arithmetic", traffic)


ONE = KernelEvidence(
    "m", (row(), row(1)), cold=20.0, warm=5.0, off=9.0, peak=10**9, model_bytes=10**8,
    artifact_bytes=101 * 10**6, weights_bytes=10**8, memory=10, ort_memory=20, kernels=(kernel(),),
)  # fmt: skip
BF16 = replace(row(**{"openvino-bf16": 1.1}), error=1e-2)
REFUSED = Refusal("amx-tile", "this artifact needs a processor with amx-tile, which this one lacks")
GOOD = Evidence(kernels=(ONE,), bf16=(BF16,), refusal=(REFUSED,))


def verdict(name: str, evidence: Evidence) -> bool:
    (line,) = [one for one in KERNELS.lines if one.name == name]
    return line.verdict(evidence).passed


@pytest.mark.parametrize("name", [line.name for line in KERNELS.lines])
def test_good_evidence_passes_and_none_does_not(name: str) -> None:
    assert verdict(name, GOOD)
    assert not verdict(name, Evidence())


@pytest.mark.parametrize(
    "name", [line.name for line in KERNELS.lines if line.needs is Part.KERNELS]
)
def test_a_model_that_fails_fails_every_line(name: str) -> None:
    failed = KernelEvidence("n", failure="exit code 1: unsupported")
    assert not verdict(name, replace(GOOD, kernels=(ONE, failed)))
    assert not verdict(name, replace(GOOD, kernels=(failed,)))


def timed(threads: int, **ratios: float) -> KernelEvidence:
    return replace(ONE, rows=(row(threads, **ratios),))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ORT, 2 threads", timed(2, ort=1.24)),
        ("ORT, 1 thread", timed(1, ort=1.09)),
        ("OpenVINO", timed(2, openvino=0.94)),
        ("aim: ORT", timed(2, ort=1.49)),
        ("aim: OpenVINO", timed(2, openvino=1.14)),
        ("untuned", timed(2, untuned=1.26)),
        ("roofline", replace(ONE, kernels=(kernel(0.79),))),
        ("roofline", replace(ONE, kernels=(kernel(None),))),
        ("aim: roofline", replace(ONE, kernels=(kernel(0.89),))),
        ("cold compile", replace(ONE, cold=60.1)),
        ("aim: cold", replace(ONE, cold=30.1)),
        ("warm compile", replace(ONE, warm=10.1)),
        ("--tune off", replace(ONE, off=15.1)),
        ("compile memory", replace(ONE, peak=13 * 10**8 + 1)),
        ("run memory", replace(ONE, memory=21)),
        ("size", replace(ONE, artifact_bytes=103 * 10**6)),
        ("native", replace(ONE, rows=(replace(row(), native_share=0.9),))),
    ],
)
def test_each_limit(name: str, bad: KernelEvidence) -> None:
    assert not verdict(name, replace(GOOD, kernels=(bad,)))


@pytest.mark.parametrize(
    ("name", "engine"), [("ORT, 2 threads", "ort"), ("aim: OpenVINO", "openvino")]
)
def test_one_slow_case_fails_whatever_the_mean(name: str, engine: str) -> None:
    fast = [replace(row(**{engine: 3.0}), case=str(number)) for number in range(9)]
    slow = replace(ONE, rows=(row(**{engine: 0.85}), *fast))
    assert not verdict(name, replace(GOOD, kernels=(slow,)))


def test_few_exceptions_from_the_bound_are_allowed_and_listed() -> None:
    kernels = (kernel(), kernel(0.5, 0.12), kernel(0.6, 0.07))
    evidence = replace(GOOD, kernels=(replace(ONE, kernels=kernels),))
    (line,) = [one for one in KERNELS.lines if one.name == "roofline"]
    assert line.verdict(evidence).passed
    listed = "m 19%: k0_conv2d 12%, 100 us in 2 calls at 50% of arithmetic, k0_conv2d 7%"
    assert listed in line.verdict(evidence).measured
    # Exceptions of one number of threads do not add to those of another.
    alone = tuple(replace(one, threads=1) for one in kernels)
    assert verdict("roofline", replace(GOOD, kernels=(replace(ONE, kernels=kernels + alone),)))
    more = (*kernels, kernel(0.7, 0.06))
    assert not verdict("roofline", replace(GOOD, kernels=(replace(ONE, kernels=more),)))


def test_bf16_is_stated_for_every_model() -> None:
    assert not verdict("bf16", replace(GOOD, bf16=(BF16, Row("n", "1", 2, failure="no"))))
    assert not verdict("aim: bf16", replace(GOOD, bf16=(row(**{"openvino-bf16": 0.99}),)))


def test_an_artifact_must_name_what_it_misses() -> None:
    for bad in (replace(REFUSED, message=None), replace(REFUSED, message="Illegal instruction")):
        assert not verdict("refusal", replace(GOOD, refusal=(bad,)))


def test_artifacts_refuse_a_processor_without_their_features(tmp_path: Path) -> None:
    model, zoo = find("functions"), Zoo(tmp_path)
    zoo.build(model)
    refusal = gather_refusal(model, zoo.path(model))
    assert refusal.message is not None
    assert refusal.feature in refusal.message


def test_reasons_follow_from_figures() -> None:
    assert reasons_of(kernel(0.5), 0.8) == []
    assert reasons_of(kernel(0.78), 0.8) == ["to fork and join takes 4.2 us"]
    assert reasons_of(replace(kernel(0.78), threads=1), 0.8) == []
    assert reasons_of(replace(kernel(0.5), calls=60), 0.8) == []  # too short to have forked
    assert reasons_of(kernel(0.5, traffic=2.9e-5), 0.8) == []
    assert reasons_of(kernel(0.5, traffic=3.1e-5), 0.8) == [
        "beside arithmetic its bytes take 31 us"
    ]
    assert reasons_of(kernel(None), 0.8) == []


def call(name: str, taken: float, bound: float | None, *operators: str) -> dict[str, Any]:
    times = {"microseconds": taken, "bound_microseconds": bound, "rounds": 1, "bytes": 300}
    return {"entry": 0, "kernel": name, "bound_by": "L2", "operators": list(operators), **times}


def facts(*calls: dict[str, Any]) -> dict[str, Any]:
    """What is printed of a model of which a run takes 100 us."""
    entry, level = {"entry": 0, "microseconds": 100.0}, {"bandwidth": 1e8}
    machine = {"levels": [level, {"bandwidth": 1e7}]}
    return {"machine": machine, "profile_entries": [entry], "profile": list(calls)}


def test_calls_of_one_kernel_count_together() -> None:
    (found,) = notable(
        facts(
            call("k0", 4.0, 2.0, "MatMul", "Add"),
            call("k1", 80.0, 2.0, "Softmax"),
            call("k0", 4.0, 3.0, "MatMul", "Relu"),
            call("k2", 2.0, 2.0, "Conv"),
        ),
        2,
    )
    assert (found.name, found.operators, found.calls) == ("k0", ("MatMul", "Add", "Relu"), 2)
    assert (found.share, found.seconds, found.bound) == pytest.approx((0.08, 8e-6, 5e-6))
    assert (found.of_bound, found.traffic) == pytest.approx((5 / 8, 6e-6))
    (unknown,) = notable(facts(call("k0", 50.0, None, "Conv")), 1)
    assert unknown.of_bound is None


def test_a_share_is_one_of_the_whole_run() -> None:
    """A kernel may be most of what kernels do and little of what a user waits for."""
    assert notable(facts(call("k0", 4.9, 0.1, "MatMul")), 2) == ()


def test_rounds_of_a_loop_are_calls() -> None:
    (found,) = notable(facts({**call("k0", 50.0, 5.0, "MatMul"), "rounds": 7}), 2)
    assert (found.calls, found.seconds) == (7, pytest.approx(5e-5))


def test_main_models_are_timed_in_all_cases() -> None:
    assert len(cases_of(find("ppocr-v4-rec"))) == 2
    assert len(cases_of(find("resnet-50-torchscript"))) == 1


@dataclass(frozen=True)
class Note:
    text: str
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(**content)


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    models = {name: find(name) for name in ("loop", "edges", "scan")}
    asked: list[str] = []

    def gather(model: Model) -> Note:
        asked.append(model.name)
        if asked == ["loop", "edges", "scan"]:
            raise KeyboardInterrupt
        return Note(model.name, failure="busy" if model.name == "edges" else None)

    partial = Partial(tmp_path / "new")
    with pytest.raises(KeyboardInterrupt):
        list(partial.each("notes", models, Note, gather))
    found = list(partial.each("notes", models, Note, gather))
    assert [note.text for note in found] == ["loop", "edges", "scan"]
    assert asked == ["loop", "edges", "scan", "edges", "scan"]  # a failure is tried again


def test_caches_are_fresh_though_the_linker_works_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Path] = []

    def compile_artifact(*_: object, cache: Path, **__: object) -> None:
        compiled.append(cache)
        for folder in ("schedules", "runtime"):
            (cache / "burnish" / folder).mkdir(parents=True)
            (cache / "burnish" / folder / "file").touch()

    monkeypatch.setattr(evidence, "compile_artifact", compile_artifact)
    zoo = Zoo(tmp_path)
    monkeypatch.setattr(zoo, "path", lambda model: tmp_path / model.name)
    with fresh_cache(zoo) as first:
        (first / "burnish" / "runtime" / "more").touch()
        with fresh_cache(zoo) as second:
            found = [str(file.relative_to(second)) for file in second.rglob("*") if file.is_file()]
    assert found == ["burnish/runtime/file"]
    assert len(compiled) == 1
    assert not first.exists() and not second.exists()


def test_what_another_version_kept_is_measured_anew(tmp_path: Path) -> None:
    (tmp_path / "notes-loop.json").write_text('{"text": "old", "more": 1}')
    found = Partial(tmp_path).each("notes", {"loop": 1}, Note, lambda _: Note("new"))
    assert [note.text for note in found] == ["new"]


def test_evidence_survives_json() -> None:
    for one in (ONE, KernelEvidence("n", failure="no")):
        assert KernelEvidence.from_json(json.loads(json.dumps(one.as_json()))) == one
