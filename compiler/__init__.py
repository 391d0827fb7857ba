"""burnish: an ONNX graph-rewriting compiler.

The public functions load what they need when they are first used, so that importing this package
costs nothing and running an artifact never loads the compiler.
"""

from __future__ import annotations

from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from burnish.parameters import worded_for_python

if TYPE_CHECKING:
    from burnish.api import compile, diagnose, optimize
    from burnish.backends.artifact import load_artifact
    from burnish.errors import BurnishError
    from burnish.ir import Graph
    from burnish.pruning.request import Pruning
    from burnish.quantization.request import Quantization
    from burnish.source import load, save

__version__ = "0.1.0"
__all__ = [
    "BurnishError", "Graph", "Pruning", "Quantization", "__version__", "compile", "diagnose",
    "load", "load_artifact", "optimize", "save",
]  # fmt: skip

_HOME = {
    "BurnishError": "burnish.errors",
    "Graph": "burnish.ir",
    "Pruning": "burnish.pruning.request",
    "Quantization": "burnish.quantization.request",
    "compile": "burnish.api",
    "diagnose": "burnish.api",
    "load": "burnish.source",
    "load_artifact": "burnish.backends.artifact",
    "optimize": "burnish.api",
    "save": "burnish.source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'burnish' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    if isfunction(value):
        value = worded_for_python(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
