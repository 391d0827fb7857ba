"""Models and options of which no diagnosis can be made."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import burnish
from burnish.errors import UnsupportedModel, UsageError
from burnish.ir import Graph
from burnish.testing import graph
from tests.diagnosis.planted import deep_model


@pytest.fixture
def small() -> onnx.ModelProto:
    return deep_model(10)


def test_a_model_that_answers_at_random() -> None:
    model = graph("g (float[4] x) => (float[4] y) { r = RandomNormalLike(x) y = Add(x, r) }")
    with pytest.raises(UnsupportedModel, match="differently each time"):
        burnish.diagnose(model)


def test_a_model_that_does_not_run() -> None:
    text = "g (float[4] x) => (float[4] y) { y = my.own.NoSuchOperator(x) }"
    model = graph(text, domains=("my.own",))
    with pytest.raises(UnsupportedModel, match="nothing to compare with"):
        burnish.diagnose(model)


def test_a_model_that_no_random_input_suits() -> None:
    model = graph('g (float["N"] x) => (float[2, 7] y) { s = Constant<value = int64[2] {2, 7}>()'
                  " y = Reshape(x, s) }")  # fmt: skip
    with pytest.raises(UnsupportedModel, match="give inputs that it takes with samples"):
        burnish.diagnose(model)
    assert not burnish.diagnose(model, engine="ort", samples=[{"x": np.ones(14, np.float32)}])


def test_samples_of_other_names(small: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match="the model takes x"):
        burnish.diagnose(small, samples=[{"z": np.ones((4, 8), np.float32)}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": []}, "samples is empty"),
        ({"engine": "cuda"}, "engine is ort or tvm"),
        ({"time": 0.0}, "above 0"),
        ({"time": float("nan")}, "above 0"),
        ({"tolerance": -1.0}, "at least 0"),
        ({"passes": ["no-such-pass"]}, "unknown pass"),
        ({"skip": ["no-such-pass"]}, "unknown pass"),
        ({"set": {"fold-constants.size": 3}}, "unknown option of fold-constants"),
        ({"preset": "fast"}, "unknown preset"),
        ({"passes": "infer-shapes"}, "list of names"),
        ({"engine": "tvm", "wrong": lambda graph: None}, "leave out engine"),
        ({"max_drop": 1.0}, "name one with eval"),
        ({"max_drop": 101.0}, "0 to 100 points"),
        ({"eval": "no-such-folder"}, "no folder of that name"),
    ],
)
def test_options(small: onnx.ModelProto, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        burnish.diagnose(small, **options)  # type: ignore[arg-type]


def test_a_judgement_that_raises(small: onnx.ModelProto) -> None:
    def wrong(found: Graph) -> str | None:
        raise ZeroDivisionError("no samples")

    with pytest.raises(UsageError, match="raised ZeroDivisionError: no samples"):
        burnish.diagnose(small, engine="ort", wrong=wrong)


def test_a_judgement_that_is_no_text(small: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match="returns text or None, not True"):
        burnish.diagnose(small, wrong=lambda graph: True)  # type: ignore[arg-type,return-value]


def test_open_sizes_leave_compiled_code_untried() -> None:
    model = graph('g (float["N", 4] x) => (float["N", 4] y) { y = Tanh(x) }')
    found = burnish.diagnose(model)
    assert not found
    assert "compiled code was not tried" in found.notes[0]
    with pytest.raises(UsageError, match="input_shapes"):
        burnish.diagnose(model, engine="tvm")
