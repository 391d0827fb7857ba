"""Models older than ONNX Runtime's kernels are judged by the reference evaluator."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.errors import UnsupportedModel
from burnish.oracle import Oracle
from burnish.testing import graph


def test_an_operator_of_opset_6_has_an_oracle() -> None:
    model = graph("g (float[2, 3] x, float[2, 3] z) => (float[2, 3] y) { y = Mul(x, z) }", opset=6)
    x, z = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 2, np.float32)
    np.testing.assert_array_equal(Oracle(model).run({"x": x, "z": z})["y"], x * z)


def test_what_neither_knows_is_still_refused() -> None:
    model = graph("g (float[2] x) => (float[2] y) { y = other.Strange(x) }", domains={"other": 1})
    with pytest.raises(UnsupportedModel):
        Oracle(model)
