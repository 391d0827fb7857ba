"""Deterministic text for graphs: for golden files, diffs and error messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from burnish.ir.constant import Constant
from burnish.ir.graph import Attribute, Graph, OperatorNode, VariableNode

INDENT = "  "
INLINE_ELEMENTS = 8
"""Constants with at most this many elements are printed in full."""


def to_text(graph: Graph, *, names: bool = False, provenance: bool = False) -> str:
    """Print ``graph``, one node a line, with its subgraphs indented.

    Values are numbered in order of appearance, so that names do not leak into golden files.

    Args:
        graph: what to print.
        names: print the names of values and nodes behind their numbers.
        provenance: print the nodes of the user's model that each node stands for.
    """
    return "\n".join(Printer(names=names, provenance=provenance).graph(graph)) + "\n"


class Printer:
    """Prints graphs and nodes; numbers given once stay for its lifetime."""

    def __init__(self, *, names: bool = False, provenance: bool = False) -> None:
        """Start numbering at zero."""
        self._names = names
        self._provenance = provenance
        self._numbers: dict[VariableNode, int] = {}

    def graph(self, graph: Graph, indent: str = "") -> Iterator[str]:
        """Lines for ``graph``."""
        head = f" opset {graph.opset}" if graph.owner is None else ""
        inputs = ", ".join(self.typed(value) for value in graph.inputs)
        yield f"{indent}graph{head} ({inputs}) {{"
        for node in graph:
            yield from self.node(node, indent + INDENT)
        yield f"{indent}{INDENT}return {', '.join(self._read(v) for v in graph.outputs)}"
        yield f"{indent}}}"

    def node(self, node: OperatorNode, indent: str = "") -> Iterator[str]:
        """Lines for ``node``: one, and those of its subgraphs."""
        inputs = ", ".join("_" if v is None else self._read(v) for v in node.inputs)
        attributes = "".join(
            f" {key}={_attribute(value)}" for key, value in sorted(node.attributes.items())
        )
        outputs = ", ".join(self.typed(value) for value in node.outputs)
        domain = f"{node.domain}::" if node.domain else ""
        line = f"{indent}{outputs} = {domain}{node.op_type}({inputs}){attributes}"
        if self._names and node.name:
            line += f" name={node.name!r}"
        if self._provenance:
            line += f" from=[{', '.join(node.provenance)}]"
        yield line
        for key, body in node.subgraphs.items():
            yield f"{indent}{INDENT}{key}:"
            yield from self.graph(body, indent + INDENT * 2)

    def typed(self, value: VariableNode) -> str:
        """A value with its type."""
        if not value.name and not value.uses and value.producer is not None:
            return "_"
        text = f"{self._number(value)}: {_type(value)}"
        if value.quantization:
            pairs = (f"{key}={self._read(v)}" for key, v in sorted(value.quantization.items()))
            text += f" quantized({', '.join(pairs)})"
        return text

    def _read(self, value: VariableNode) -> str:
        if value.constant is None:
            return self._number(value)
        label = f" {value.name!r}" if self._names and value.name else ""
        return f"<{constant_text(value.constant)}{label}>"

    def _number(self, value: VariableNode) -> str:
        number = self._numbers.setdefault(value, len(self._numbers))
        return f"%{number}" + (f"({value.name})" if self._names and value.name else "")


def constant_text(constant: Constant) -> str:
    """Type, shape, and the value if it is short, else a digest of it."""
    head = f"{constant.dtype}{_shape(constant.shape)}"
    if constant.size <= INLINE_ELEMENTS:
        return f"{head} {_plain(constant.numpy().tolist())}"
    return f"{head} #{constant.digest()[:8]}"


def _type(value: VariableNode) -> str:
    if value.onnx_type is not None:
        return str(value.onnx_type.WhichOneof("value") or "unknown").removesuffix("_type")
    shape = "[...]" if value.shape is None else _shape(value.shape)
    return f"{value.dtype}{shape}"


def _shape(shape: Iterable[Any]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _attribute(value: Attribute) -> str:
    if isinstance(value, Constant):
        return f"<{constant_text(value)}>"
    if isinstance(value, tuple):
        return f"[{', '.join(_attribute(item) for item in value)}]"
    if isinstance(value, int | float | str | bytes):
        return _plain(value)
    return " ".join(str(value).split())


def _plain(value: Any) -> str:
    """Numbers in the shortest form that reads back, as float32 if they are that."""
    if isinstance(value, list):
        return f"[{', '.join(_plain(item) for item in value)}]"
    if isinstance(value, float):
        short = np.float32(value)
        return str(short) if float(short) == value else repr(value)
    return repr(value)
