"""How errors name what was given: parameters in Python, options in a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

import burnish
from burnish.api import compile as compile_for_terminal
from burnish.errors import UsageError
from burnish.parameters import in_python
from burnish.testing import graph

OPEN = 'g (float["n", 3] x, float["n"] z) => (float["n", 3] y) { y = Relu(x) }'


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("raise --tolerance, or leave", "raise tolerance, or leave"),
        ("which --precision bf16 needs", "which precision='bf16' needs"),
        ("or --verify off", "or verify='off'"),
        ("use --opset 13", "use opset=13"),
        ("use --opset", "use opset"),
        ("--input-shape x: unknown", "input_shapes x: unknown"),
        (
            "give --input-shape NAME=1,3,224,224 if",
            "give input_shapes={'NAME': (1, 3, 224, 224)} if",
        ),
        (
            "give --input-shape 'x=n,3' --input-shape 'z=n' with",
            "give input_shapes={'x': (n, 3), 'z': (n,)} with",
        ),
        ("quantize with --quant_format QDQ", "quantize with --quant_format QDQ"),
        ("a --skip-pass and --tuned", "a --skip-pass and --tuned"),
    ],
)
def test_options_become_parameters(said: str, expected: str) -> None:
    assert in_python(said) == expected


def test_public_functions_name_their_parameters() -> None:
    with pytest.raises(UsageError, match=r"give input_shapes=\{'x': \(n, 3\), 'z': \(n,\)\} with"):
        burnish.compile(graph(OPEN))
    with pytest.raises(UsageError, match=r"^tune takes off or a number of seconds, not 'some'"):
        burnish.compile(graph(OPEN.replace('"n"', "2")), tune="some")
    with pytest.raises(UsageError, match=r"^threads must be from 1"):
        burnish.compile(graph(OPEN), threads=0)


def test_what_the_command_line_calls_names_options() -> None:
    with pytest.raises(UsageError, match="--input-shape 'x=n,3'"):
        compile_for_terminal(graph(OPEN))


def test_public_functions_stay_what_they_are(tmp_path: Path) -> None:
    assert burnish.compile.__doc__ == compile_for_terminal.__doc__
    assert burnish.compile.__module__ == "burnish.api"
    with pytest.raises(burnish.BurnishError, match=r"missing\.onnx"):
        burnish.load(tmp_path / "missing.onnx")
