"""The report of a bench as a file: what it holds, and what it lets nobody put in."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from burnish.bench.document import Ceiling, Document, Fired, Interval, Kernel, Node
from burnish.bench.report import write_report
from burnish.bench.report.page import render
from burnish.errors import UsageError
from tests.bench.documents import HOSTILE, around, explained, figured, synthetic
from tests.passes.conftest import build


class Page(HTMLParser):
    """Elements of a page, as a browser would make them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.data: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.data.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def large() -> tuple[Document, str]:
    document = synthetic()
    return document, render(document)


def small(**changes: object) -> Document:
    document = synthetic(operators=21, passes=4)
    return Document.model_validate(document.model_dump() | changes)


def test_a_large_model_makes_a_small_file(large: tuple[Document, str]) -> None:
    document, text = large
    assert len(document.before) == 600
    assert len(text.encode()) < 3_000_000


def test_every_pass_is_named(large: tuple[Document, str]) -> None:
    document, text = large
    named = set(Page(text).values("data-pass"))
    assert named == {step.name for step in document.steps}


def test_every_section_is_there(large: tuple[Document, str]) -> None:
    document, text = large
    labels = " ".join(Page(text).values("aria-label"))
    for words in ("Waterfall of latency", "Leave-one-out", "alone on top of cleanup",
                  "Time of a run by engine", "Size of constants by layer", "Roofline"):  # fmt: skip
        assert words in labels
    words = " ".join(Page(text).data)
    for each in ("burnish bench models/recogniser.onnx --threads 2", "AMD EPYC 9R14",
                 "exact match", "openvino", "its result is not equivalent", "conv-batch-norm",
                 "the value is read 3 times", document.before[0].name):  # fmt: skip
        assert each in words


def test_nothing_is_asked_for_from_elsewhere(large: tuple[Document, str]) -> None:
    page = Page(large[1])
    for name in ("src", "srcset", "data", "action", "poster"):
        assert page.values(name) == []
    links = page.values("href") + page.values("xlink:href")
    assert links
    assert all(link.startswith("#") for link in links)
    assert {found for found in re.findall(r"url\(([^)]*)\)", large[1]) if found[0] != "#"} == set()
    assert "@import" not in large[1]


def test_links_lead_somewhere_and_identifiers_are_unique(large: tuple[Document, str]) -> None:
    page = Page(large[1])
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    links = page.values("href") + page.values("xlink:href")
    used = {f"#{found}" for found in re.findall(r"url\(#([^)]*)\)", large[1])}
    assert {*links, *used} <= {f"#{identifier}" for identifier in identifiers}


def test_only_its_own_script_may_run(large: tuple[Document, str]) -> None:
    page = Page(large[1])
    policy = next(value for value in page.values("content") if "default-src" in value)
    assert policy.startswith("default-src 'none';")
    (script,) = re.findall(r"<script>(.*?)</script>", large[1], re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy


def test_the_same_document_makes_the_same_file() -> None:
    assert render(small()) == render(small())


def hostile_document() -> Document:
    node = Node(name=HOSTILE, op_type=HOSTILE, inputs=[HOSTILE], outputs=[HOSTILE],
                constant_bytes=4096, flops=1e6, sources=[HOSTILE])  # fmt: skip
    fired = [Fired(pass_name=HOSTILE, rule=HOSTILE, sources=[HOSTILE])]
    missed = [Fired(pass_name=HOSTILE, rule=HOSTILE, sources=[HOSTILE], reason=HOSTILE)]
    document = figured([node], [node], {HOSTILE: 1, f"{HOSTILE}2": 0}, fired, missed)
    texts = {
        "command": [HOSTILE], "environment": {HOSTILE: {HOSTILE: HOSTILE}}, "notes": [HOSTILE],
        "preset": HOSTILE, "shapes": {HOSTILE: [1]},
        "model": {"path": HOSTILE, "sha256": HOSTILE, "opset": 17, "inputs": {HOSTILE: [HOSTILE]},
                  "outputs": [HOSTILE]},
        "ceiling": {"threads": 1, "peaks": {HOSTILE: 1e11}, "bandwidths": {HOSTILE: 1e10}},
        "columns": [{"name": HOSTILE, "version": HOSTILE, "latency": around(0.01, 0.1),
                     "ratio": around(2, 0.1)},
                    {"name": HOSTILE, "version": HOSTILE, "failure": HOSTILE}],
    }  # fmt: skip
    data = document.model_dump() | texts
    for variant in data["variants"]:
        variant["failure"] = HOSTILE if variant["id"] != document.whole else None
        variant["passes"] = [HOSTILE]
        for metric in variant["metrics"]:
            metric["name"] = HOSTILE
        for each in variant["fidelity"]:
            each["output"] = HOSTILE
    for kernel in data["kernels"]:
        kernel["name"] = kernel["bound_by"] = HOSTILE
    data["steps"][-1]["verdict"] = "failed"
    return Document.model_validate(data)


def test_names_stay_names() -> None:
    text = render(hostile_document())
    page = Page(text)
    assert page.tags["script"] == 1
    assert page.tags["img"] == 0
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    # What would reorder or hide text is shown as an escape.
    assert "\u202e" not in text
    assert "\x07" not in text
    assert "\\u202e" in text


ODD = ["\ud800", "模型/卷积" * 30, "", "a" * 5000, "$\\frac{", "]]>", "%s{0}", "{{ name }}"]


def test_odd_names_are_written(tmp_path: Path) -> None:
    document = small()
    names = itertools.cycle(ODD)
    nodes = [node.model_copy(update={"name": (name := next(names)), "sources": [name]})
             for node in document.before]  # fmt: skip
    kernels = [kernel.model_copy(update={"name": next(names)}) for kernel in document.kernels]
    steps = [step.model_copy(update={"name": next(names)}) for step in document.steps]
    odd = {"before": nodes, "after": nodes, "kernels": kernels, "steps": steps}
    write_report(document.model_copy(update=odd), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.endswith("</html>")
    assert all(name in text for name in ("模型", "\\ud800", "$\\frac{", "]]&gt;", "{{ name }}"))


def test_what_was_not_measured_is_said() -> None:
    document = small()
    variants = [
        variant.model_copy(update={
            "latency": None, "ratio": None, "metrics": [], "fidelity": [], "flops": None,
        })
        for variant in document.variants
    ]  # fmt: skip
    steps = [step.model_copy(update={"speedup": None, "verdict": "noise"})
             for step in document.steps]  # fmt: skip
    bare = document.model_copy(update={
        "variants": variants, "steps": steps, "columns": [], "kernels": [], "ceiling": None,
        "fired": [], "missed": [],
    })  # fmt: skip
    words = " ".join(Page(render(bare)).data)
    assert "was not measured" in words
    assert "Not compared." in words
    assert "None was compared with." in words
    assert "Not profiled" in words
    assert "No rule fired, and none nearly did." in words


def test_an_empty_document_is_a_page() -> None:
    empty = small(
        variants=[], steps=[], columns=[], before=[], after=[], fired=[], missed=[], kernels=[],
        ceiling=None, environment={}, command=[],
    )  # fmt: skip
    assert "was not measured" in render(empty)


ODD_FIGURES = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-300, 1e300)


def test_figures_that_are_none_are_not_drawn() -> None:
    document = synthetic()
    odd = itertools.cycle(ODD_FIGURES)

    def interval() -> Interval:
        return Interval(value=next(odd), low=next(odd), high=next(odd))

    variants = [
        variant.model_copy(update={"latency": interval(), "ratio": interval(), "flops": next(odd)})
        for variant in document.variants
    ]
    steps = [step.model_copy(update={"speedup": interval()}) for step in document.steps[::3]]
    kernels = [
        Kernel(name="k", operators=["Conv"], sources=[], seconds=next(odd), share=next(odd),
               flops=next(odd), bytes=next(odd), bound_seconds=next(odd), bound_by=None)
        for _ in range(11)
    ]  # fmt: skip
    rates = {f"{figure}": figure for figure in ODD_FIGURES}
    changed = {
        "variants": variants, "steps": steps, "kernels": [*kernels, document.kernels[0]],
        "ceiling": Ceiling(threads=1, peaks=rates, bandwidths=rates), "seconds": math.nan,
        "before": document.before[:9], "after": document.after[:9], "missed": [],
    }  # fmt: skip
    text = render(document.model_copy(update=changed))
    for shape in re.findall(r' d="([^"]*)"', text):
        assert "nan" not in shape
        assert "inf" not in shape


def test_real_rewrites_are_told() -> None:
    from burnish.explanation import explain_model
    from burnish.passes import get_pass

    graph = build("""g (float[2, 3] x) => (float[2, 3] y) {
        same = Identity(x)
        one = Relu(same)
        y = Relu(one)
    }""", 21, {})  # fmt: skip
    found = explain_model(graph, [get_pass("remove-no-ops"), get_pass("simplify-chains")])
    document = explained(graph, found)
    words = " ".join(Page(render(document)).data)
    assert document.fired
    assert document.fired[0].rule in words
    assert f"{len(document.before)} operators" in words


def test_a_report_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")

    def fail(document: Document) -> str:
        raise RuntimeError("interrupted")

    monkeypatch.setattr("burnish.bench.report.page.render", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        write_report(small(), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        write_report(small(), tmp_path / "absent" / "report.html")
