"""Exported transformers with adapters become what they would be without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from burnish import api
from burnish.oracle import Numerics, Oracle, compare, random_inputs

ZOO = Path.home() / ".cache" / "burnish" / "zoo"
PLAIN = {"Gather": 1, "Conv": 1, "linear": 13}
"""Operators with weights of the transformer without adapters; 13 are linear layers."""


@pytest.mark.zoo
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("kind", ["lora", "repadapter"])
def test_no_adapter_is_left(kind: str, exporter: str) -> None:
    path = ZOO / f"{kind}-{exporter}.onnx"
    if not path.exists():
        pytest.skip("make zoo")
    before = api.load(path)
    # Products that read the same value would become one.
    after, _ = api.optimize(before, verify="off", skip=["merge-products"])
    found: Counter[str] = Counter()
    for node in after.walk():
        linear = node.op_type in ("MatMul", "Gemm") and node.constant_input(1) is not None
        table = node.op_type == "Gather" and len(node.inputs[0].shape or ()) == 2  # type: ignore[union-attr]
        if linear:
            found["linear"] += 1
        elif node.op_type == "Conv" or (table and node.inputs[0].is_constant):  # type: ignore[union-attr]
            found[node.op_type] += 1
    assert found == PLAIN
    feeds = random_inputs(before, sizes={"batch": 2, "sequence": 9})
    feeds["ids"] = np.arange(18).reshape(2, 9) % 500
    assert compare(Oracle(before).run(feeds), Oracle(after).run(feeds), Numerics.REASSOCIATES)
