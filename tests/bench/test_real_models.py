"""A bench of a model that is shipped, from beginning to end."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from burnish.bench.study import Request, bench
from burnish.selection import Selection


@pytest.mark.slow
def test_a_text_classifier() -> None:
    spec = importlib.util.find_spec("rapidocr_onnxruntime")
    if spec is None or spec.origin is None:
        pytest.skip("rapidocr_onnxruntime ships the model")
    model = Path(spec.origin).parent / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    said: list[str] = []
    names = ["infer-shapes", "fold-constants", "recognise-activations", "fuse-batch-norm",
             "recognise-layer-norm", "fuse-pad", "remove-dead-code"]  # fmt: skip
    request = Request(
        model, "ort", Selection(passes=names), threads=1, shapes={"x": (1, 3, 48, 192)},
        seconds=0.0,
    )  # fmt: skip
    found = bench(request, lambda name, done, total: said.append(name))
    assert list(dict.fromkeys(said))[-4:] == [
        "rewrite variants", "build variants", "check what is compared with", "time variants",
    ]  # fmt: skip
    known = {one.id: one for one in found.variants}
    assert all(one.failure is None for one in found.variants)
    assert all(known[each].latency is not None for each in (found.whole, found.original))
    assert known[found.whole].operators < known[found.original].operators
    # Passes that find nothing to do are no variants of their own.
    assert Counter(one.verdict for one in found.steps)["same"] >= 6
    assert len(known) <= 12
    assert all(output.top1 == 1.0 for output in known[found.whole].fidelity)
    assert {one.name for one in found.columns} == {"onnxruntime"}
    assert len(found.before) == known[found.original].operators
