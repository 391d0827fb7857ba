"""Where a graph holds the weights of a module, under whatever names an exporter left them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from burnish.ir import Array, Graph, OperatorNode, VariableNode

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's newer exporter notes the modules that a node comes from."""
WEIGHT_AT = {"MatMul": 1, "Gemm": 1, "Conv": 1, "Gather": 0}
"""Operators with weights, and which of their inputs that is."""

PARAMETER, NODE, METADATA = "parameter", "node", "metadata"
"""Where names come from: the parameter's own, the operator's, what an exporter notes at it."""


@dataclass(eq=False)
class Site:
    """An operator with weights."""

    node: OperatorNode
    weight: VariableNode
    """The parameter itself."""
    turned: bool
    """Whether the operator reads it transposed."""
    names: dict[str, str] = field(default_factory=dict)
    """Paths of the module that it may be, by where they come from."""

    @property
    def index(self) -> int:
        """Which input of the operator the weight is."""
        return WEIGHT_AT[self.node.op_type]

    @property
    def outputs_first(self) -> bool:
        """Whether the operator takes its weight as [outputs, inputs]."""
        return self.node.op_type == "Conv" or bool(self.node.attribute("transB", 0))

    @property
    def shape(self) -> tuple[int, ...]:
        """[outputs, inputs, *kernel]."""
        assert self.weight.constant is not None
        shape = tuple(self.weight.constant.shape)
        return shape if self.outputs_first != self.turned else shape[::-1]

    def read(self) -> Array:
        """The weight [outputs, inputs, *kernel], float64."""
        assert self.weight.constant is not None
        array: Array = self.weight.constant.numpy().astype("float64")
        return array if self.outputs_first != self.turned else array.T

    def as_read(self, array: Array) -> Array:
        """``array`` [outputs, inputs, *kernel] as the operator takes it."""
        return array if self.outputs_first else array.T


def find_sites(graph: Graph, scopes: Mapping[str, str]) -> list[Site]:
    """Every operator of ``graph`` with constant weights, in the order of execution.

    ``scopes`` are paths of modules by node names, from ``read_scopes``.
    """
    return [site for node in graph.walk() if (site := _site(node, scopes)) is not None]


def _site(node: OperatorNode, scopes: Mapping[str, str]) -> Site | None:
    if node.domain or node.op_type not in WEIGHT_AT:
        return None
    if node.attribute("transA", 0) or node.attribute("axis", 0):
        return None
    found = _parameter(node.input(WEIGHT_AT[node.op_type]))
    if found is None:
        return None
    weight, turned = found
    assert weight.constant is not None
    if not weight.dtype.is_floating or len(weight.constant.shape) < 2:
        return None
    if node.op_type != "Conv" and len(weight.constant.shape) != 2:
        return None
    site = Site(node, weight, turned)
    if weight.name.endswith(".weight"):
        site.names[PARAMETER] = weight.name.removesuffix(".weight")
    scope, _, _ = node.name.strip("/").rpartition("/")
    if scope:
        site.names[NODE] = scope.replace("/", ".")
    if node.name in scopes:
        site.names[METADATA] = scopes[node.name]
    return site


def _parameter(value: VariableNode | None) -> tuple[VariableNode, bool] | None:
    """The constant behind ``value``, and whether it was transposed on the way."""
    turned = False
    while value is not None and value.constant is None:
        node = value.producer
        if node is None or not node.is_op("Transpose", "Identity"):
            return None
        if node.op_type == "Transpose":
            perm = node.attribute("perm")
            if perm is not None and tuple(perm) != (1, 0):
                return None
            turned = not turned
        value = node.input(0)
    return None if value is None else (value, turned)


def read_scopes(path: Path) -> dict[str, str]:
    """Paths of modules by node names, from what torch's newer exporter notes at nodes."""
    model = onnx.load(str(path), load_external_data=False)
    found: dict[str, str] = {}
    for node in _nodes(model):
        text = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
        try:
            names = ast.literal_eval(text) if text else ()
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(names, list | tuple) and len(names) > 1 and isinstance(names[-2], str):
            found[node.name] = names[-2]
    return found


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


@dataclass(frozen=True)
class Found:
    """The operators that are a module, and how that is known."""

    sites: tuple[Site, ...]
    how: str
    score: int
    """How much of the two names is the same; the whole of both counts most."""


def match(path: str, sites: Iterable[Site]) -> list[Found]:
    """The operators that may be module ``path``, those of one parameter together.

    An exported model may have been part of the model that was adapted, or the other way round, so
    that one path may end in the other.
    """
    best: dict[VariableNode, Found] = {}
    for site in sites:
        for how, name in site.names.items():
            same = score(path, name)
            known = best.get(site.weight)
            if not same or (known is not None and same < known.score):
                continue
            if known is not None and same == known.score:
                if site not in known.sites:
                    best[site.weight] = Found((*known.sites, site), known.how, same)
                continue
            best[site.weight] = Found((site,), how, same)
    top = max((found.score for found in best.values()), default=0)
    return [found for found in best.values() if found.score == top]


def score(path: str, name: str) -> int:
    """How much of two names is the same, 0 if neither ends in the other."""
    if path == name:
        return 1 << 20
    short, long = sorted((path, name), key=len)
    return len(short) if long.endswith(f".{short}") else 0
