"""One example of every pass: what it makes of a small model, as text to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from burnish.calibration import Calibration
from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.oracle import random_inputs
from burnish.passes import PASSES, get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.target import resolve
from burnish.testing import HEADER, assert_equivalent

HERE = Path(__file__).parent
EXAMPLES, GOLDEN = HERE / "examples", HERE / "golden" / "passes"

OPTIONS: dict[str, dict[str, Any]] = {
    "freeze-input-shapes": {"shapes": {"ids": (1, 128)}},
    "narrow-weights": {"fewest_bytes": 1},
    "quantize-int8": {"method": "min-max"},
    "quantize-dynamic": {"by_token": True, "fewest": 1},
    "remove-blocks": {"names": ("Add_3:block",)},
    "remove-redundant-channels": {"align": 1},
}
"""What the example of a pass sets other than by default."""

CALIBRATED = {
    "compensate-channels",
    "convert-float16",
    "correct-bias",
    "fix-norm-scale",
    "prune-channels",
    "quantize-int8",
    "remove-blocks",
    "round-weights",
    "scale-channels",
    "smooth-activations",
}
"""Passes that only act where there is calibration data."""

ON_QUANTIZED = {"correct-bias", "round-weights"}
"""Passes whose example is quantized first."""

COMPILING = {"widen-half"}
"""Passes that only act when code is generated."""

SIZES = {"freeze-input-shapes": {"batch": 1, "sequence": 128}}
"""Sizes with which the models before and after a pass are compared."""


def example(name: str) -> Graph:
    """The model before the pass; weights that are given no numbers get small whole ones.

    Sums and products of those are exact, so that a digest of them is the same on every machine.
    """
    text = (EXAMPLES / f"{name}.txt").read_text()
    if not text.startswith("<"):
        text = HEADER.format(opset=21, domains="") + text
    model = onnx.parser.parse_model(text)
    for place, value in enumerate(model.graph.value_info):
        kind = value.type.tensor_type
        shape = [size.dim_value for size in kind.shape.dim]
        numbers = (np.arange(np.prod(shape)) * 7 + place) % 11 - 5
        array = numbers.reshape(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    return Graph.from_onnx(model)


def calibration(graph: Graph) -> Calibration:
    """Small whole numbers, as weights are."""
    return Calibration(
        [{name: np.rint(4 * array) for name, array in random_inputs(graph, 0).items()}]
    )


def before_and_after(name: str) -> tuple[Graph, Graph]:
    """The example of a pass, and what the pass makes of it."""
    before, after = example(name), example(name)
    context = PassContext(
        target=resolve("x86-64-v3") if name in COMPILING else None,
        calibration=calibration(before) if name in CALIBRATED else None,
    )
    if name != "infer-shapes":
        for graph in (before, after):
            run_pass(graph, get_pass("infer-shapes"), context)
            if name in ON_QUANTIZED:
                run_pass(graph, get_pass("quantize-int8", method="min-max"), context)
    step = get_pass(name, **OPTIONS.get(name, {}))
    assert run_pass(after, step, context).changed
    assert_equivalent(before, after, step.numerics, sizes=SIZES.get(name))
    return before, after


@pytest.mark.parametrize("name", PASSES)
def test_before_and_after(name: str, golden: Callable[..., None]) -> None:
    before, after = before_and_after(name)
    text = f"before:\n{to_text(before)}\nafter:\n{to_text(after)}"
    golden(text, f"passes/{name}")


def test_every_example_is_of_a_pass() -> None:
    for folder in (EXAMPLES, GOLDEN):
        assert sorted(path.stem for path in folder.iterdir()) == sorted(PASSES)
