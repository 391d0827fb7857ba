"""Errors as Python words them: what a terminal calls ``--input-shape`` is ``input_shapes``.

Errors are written for the command line, whose modules raise and show them as they are. The public
functions of the package show the same errors with the names of their own parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from burnish.errors import BurnishError

Function = TypeVar("Function", bound=Callable[..., Any])

_PARAMETERS = {
    "input-shape": "input_shapes",
    "inputs": "samples",
    "budget-size": "budget_size",
    "budget-arena": "budget_arena",
    "min-speedup": "min_speedup",
    "max-drop": "max_drop",
    "calibration-samples": "burnish.Quantization(samples=)",
    "keep-float": "burnish.Quantization(keep=)",
    **{
        name: name
        for name in (
            "preset", "passes", "skip", "set", "opset", "verify", "keep", "target", "threads",
            "tune", "precision", "weights", "tolerance", "optional", "eval", "engine", "time",
            "output", "quantize", "prune", "calibration",
        )
    },
}  # fmt: skip
"""The parameter of ``optimize`` and ``compile`` for each option."""
_SHAPE = re.compile(r"--input-shape (?:'([^'=]+)=([^']*)'|([^\s='\"]+)=((?:\d+,)*\d+))")
_VALUE = re.compile(r"--(precision|weights|verify|target|tune) (bf16|f32|off|each|end|cpu)\b")
_NUMBER = re.compile(r"--(opset|threads) (\d+)\b")
_OPTION = re.compile(rf"--({'|'.join(_PARAMETERS)})(?![\w-])")


def in_python(text: str) -> str:
    """``text`` with parameters of Python in the place of options of the command line."""
    text = _SHAPE.sub(_shape, text).replace("} input_shapes={", ", ")
    text = _VALUE.sub(r"\1='\2'", text)
    text = _NUMBER.sub(r"\1=\2", text)
    return _OPTION.sub(lambda match: _PARAMETERS[match[1]], text)


def _shape(match: re.Match[str]) -> str:
    name, sizes = (match[1], match[2]) if match[1] else (match[3], match[4])
    listed = sizes.replace(",", ", ") + ("," if sizes and "," not in sizes else "")
    return f"input_shapes={{{name!r}: ({listed})}}"


def worded_for_python(function: Function) -> Function:
    """``function``, whose errors name parameters."""

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except BurnishError as error:
            match error.args:
                case (str(text),):
                    error.args = (in_python(text),)
            raise

    return call  # type: ignore[return-value]  # it takes and returns the same
