"""Verdicts follow from the evidence; missing or failing evidence never passes."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.acceptance import SETS, Evidence, as_table
from benchmarks.evidence import CaseEvidence, RepeatEvidence, differing_files, linked_libraries
from benchmarks.latency import Figures, Row, Versus
from benchmarks.shipped import ShippedEvidence, find_shipped
from benchmarks.verdicts import Part
from burnish.bench.stats import Estimate

MAIN = SETS["main-job"]


def case(ratio: float = 0.9, *, model: str = "m", threads: int = 2) -> CaseEvidence:
    time = Estimate(0.01, 0.009, 0.011)
    theirs = 1 / ratio
    figures = Figures(time, {"ort": Versus(time, Estimate(theirs, theirs, theirs), theirs)})
    return CaseEvidence(
        row=Row(model, "1x3", threads, 40.0, 1.0, 1e-6, figures),
        regions=0,
        foreign=(),
        memory=10,
        ort_memory=20,
        libraries=("linux-vdso.so.1", "libc.so.6", "libm.so.6", "/lib64/ld-linux-x86-64.so.2"),
    )


FAILED = CaseEvidence(Row("m", "1x3", 1, failure="exit code 1: unsupported"))
REPEAT = RepeatEvidence("m", untuned=10.0, cached=2.0)
SHIPPED = ShippedEvidence("pytorch-converted", "test_Conv2d", regions=0)
GOOD = Evidence((case(),), (REPEAT,), (SHIPPED,))


def verdict(name: str, evidence: Evidence) -> bool:
    (line,) = [one for one in MAIN.lines if one.name == name]
    return line.verdict(evidence).passed


@pytest.mark.parametrize("line", MAIN.lines, ids=lambda line: line.name)
def test_good_evidence_passes_and_none_does_not(line: object) -> None:
    name = line.name  # type: ignore[attr-defined]
    assert verdict(name, GOOD)
    assert not verdict(name, Evidence())


@pytest.mark.parametrize(
    "line", [one for one in MAIN.lines if one.needs is Part.CASES], ids=lambda line: line.name
)
def test_one_failing_case_fails_every_must_on_cases(line: object) -> None:
    name = line.name  # type: ignore[attr-defined]
    evidence = replace(GOOD, cases=(case(), FAILED))
    assert verdict(name, evidence) == (name == "aim: faster")


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("native", replace(case(), regions=1)),
        ("imports", replace(case(), foreign=("tvm",))),
        ("memory", replace(case(), memory=21)),
        ("linkage", replace(case(), libraries=("libc.so.6", "libtvm.so"))),
        ("latency", case(1.51)),
        ("tuned compile", replace(case(), row=replace(case().row, compile_seconds=91.0))),
        ("aim: faster", case(1.01)),
    ],
)
def test_each_limit_on_cases(name: str, bad: CaseEvidence) -> None:
    assert not verdict(name, replace(GOOD, cases=(bad,)))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("repeatable", replace(REPEAT, differing=("weights.bin",))),
        ("repeatable", replace(REPEAT, failure="exit code 1")),
        ("aim: untuned", replace(REPEAT, untuned=15.5)),
        ("aim: cached", replace(REPEAT, cached=None)),
    ],
)
def test_each_limit_on_repeats(name: str, bad: RepeatEvidence) -> None:
    assert not verdict(name, replace(GOOD, repeats=(REPEAT, bad)))


def test_nine_of_ten_layers_must_be_native() -> None:
    bad = replace(SHIPPED, regions=1)
    assert verdict("shipped native", replace(GOOD, shipped=(SHIPPED,) * 9 + (bad,)))
    assert not verdict("shipped native", replace(GOOD, shipped=(SHIPPED,) * 8 + (bad,)))
    whole = replace(bad, family="light")
    assert verdict("shipped native", replace(GOOD, shipped=(SHIPPED, whole, whole)))


def test_six_of_eight_models_must_be_faster_in_all_cases() -> None:
    fast = [case(model=str(number)) for number in range(6)]
    slow = [case(1.2, model="6"), case(1.2, model="7")]
    assert verdict("aim: faster", replace(GOOD, cases=(*fast, *slow)))
    mixed = case(1.2, model="0")
    assert not verdict("aim: faster", replace(GOOD, cases=(*fast, *slow, mixed)))


def test_table_fits_and_marks_what_was_not_run() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(as_table(MAIN, replace(GOOD, shipped=()), (Part.CASES, Part.REPEATS)))
    text = console.export_text()
    assert "…" not in text
    assert text.count("not run") == 2


def test_libraries_are_listed_by_ldd() -> None:
    import _ctypes

    assert any(name.startswith("libc.so") for name in linked_libraries(Path(_ctypes.__file__)))


def test_differing_files_ignores_measured_figures(tmp_path: Path) -> None:
    for folder, text in (("a", "1"), ("b", "2")):
        (tmp_path / folder / "regions").mkdir(parents=True)
        (tmp_path / folder / "same").write_text("same")
        (tmp_path / folder / "report.json").write_text(text)
    assert differing_files(tmp_path / "a", tmp_path / "b") == ()
    (tmp_path / "a" / "regions" / "0.onnx").write_text("x")
    (tmp_path / "b" / "same").write_text("other")
    assert differing_files(tmp_path / "a", tmp_path / "b") == ("same", "regions/0.onnx")


def test_shipped_evidence_reads_as_a_line() -> None:
    assert str(SHIPPED) == "test_Conv2d: optimized; native"
    assert str(replace(SHIPPED, regions=2)) == "test_Conv2d: optimized; 2 regions"
    failed = replace(SHIPPED, optimizing="no such operator", compiling="exit code 1")
    assert str(failed) == "test_Conv2d: no such operator; exit code 1"


def test_the_onnx_package_ships_both_families() -> None:
    found = list(find_shipped())
    assert {one.family for one in found} == {"light", "pytorch-converted"}
    assert len(found) > 80
    assert all(one.feeds for one in found)
