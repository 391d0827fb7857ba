"""Pages and pictures of recorded latencies."""

import json
from pathlib import Path

import pytest

from benchmarks.measured import (
    Recorded,
    circumstances,
    full_table,
    load_record,
    main_table,
    means_table,
    remarks_list,
)
from benchmarks.readme import PAGE, latency_page

ENVIRONMENT = {
    "date": "2026-01-02 03:04:05", "cpu": "abacus", "cores": 2, "load": 0.25,
    "versions": {"burnish": "1", "onnxruntime": "2", "openvino": "3"},
}  # fmt: skip


def row(model: str, case: str, threads: int = 2, **ratios: float) -> dict[str, object]:
    time = {"median": 0.00125, "low": 0.001, "high": 0.002}
    peers = {
        name: {
            "seconds": time,
            "ratio": {"median": ratio, "low": ratio - 0.1, "high": ratio + 0.1},
            "fastest_ratio": ratio,
        }
        for name, ratio in ratios.items()
    }
    figures = {"burnish": time, "peers": peers} if ratios else None
    return {
        "model": model, "case": case, "threads": threads, "compile_seconds": None, "error": 0.0,
        "native_share": 1.0, "figures": figures, "failure": None, "untimed": {},
    }  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> Recorded:
    path = tmp_path / "latency.json"
    rows = [
        row("magika", "1x2048", ort=1.5, openvino=1.25),
        row("magika", "8x2048", ort=2.0),
        row("magika", "1x2048", 1, ort=0.5),
        row("loop", "4x8", ort=1.5, openvino=2.0),
        {**row("scan", "7x6"), "untimed": {"openvino": "no Scan"}},
    ]
    content = {"environment": ENVIRONMENT, "plan": {"tune": None}, "rows": rows}
    path.write_text(json.dumps(content), encoding="utf-8")
    return load_record(path)


def test_means_of_all_cases(record: Recorded) -> None:
    lines = means_table(record).splitlines()[2:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| ONNX Runtime", "1", "1"], ["| OpenVINO", "2", "2"], ["| ONNX Runtime", "2", "3"],
    ]  # fmt: skip
    assert "**1.58**" in lines[1]


def test_evidence_of_kernels_is_a_record_too(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    rows = [row("magika", "1x2048", ort=1.5, untuned=1.1)]
    content = {"environment": ENVIRONMENT, "plan": {"tune": None}, "kernels": [{"rows": rows}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    record = load_record(path)
    assert len(means_table(record).splitlines()) == 3
    assert record.engines == ["ort"]


def test_main_models_show_their_first_case_at_most_threads(record: Recorded) -> None:
    (line,) = main_table(record).splitlines()[2:]
    assert line == "| magika | 1x2048 | 2 | 1.25 | 1.25 | 1.25 | 1.50 | 1.25 |"


def test_the_page_shows_every_case_that_was_timed(record: Recorded) -> None:
    lines = full_table(record).splitlines()[2:]
    assert len(lines) == 4
    assert "| - |" in lines[1]
    assert lines[0].endswith("| 1.50 (1.40 to 1.60) | 1.25 (1.15 to 1.35) |")


def test_the_page_says_what_is_missing(record: Recorded) -> None:
    assert remarks_list(record) == "- scan: OpenVINO is not timed: no Scan"


def test_circumstances_name_versions_and_load(record: Recorded) -> None:
    text = circumstances(record)
    assert "2 cores of abacus, 2026-01-02, burnish 1, onnxruntime 2, openvino 3" in text
    assert "tuning: default; load of the machine before: 0.2" in text


def test_circumstances_name_engines_that_were_held_back(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    why = {"lowered": {"ort": "basic optimizations, since with all y is off by 1"}}
    rows = [{**row("scan", "7x6", count, ort=1.5), **why} for count in (1, 2)]
    content = {"environment": ENVIRONMENT, "plan": {"tune": None}, "rows": rows}
    path.write_text(json.dumps(content), encoding="utf-8")
    record = load_record(path)
    assert circumstances(record).endswith(
        " With fewer optimizations, as it is wrong or fails with all: ONNX Runtime on scan."
    )
    said = "- scan: ONNX Runtime has basic optimizations, since with all y is off by 1"
    assert remarks_list(record) == said


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == latency_page(), "run `make docs`"


def test_the_same_figures_give_the_same_picture(record: Recorded, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.chart import draw

    for name in ("a.svg", "b.svg"):
        draw(record, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "magika" in (tmp_path / "a.svg").read_text()
