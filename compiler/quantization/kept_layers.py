"""Names of layers to leave alone: whether a model has such nodes, and if they are layers."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.layer_formats import LayerFormat
from burnish.passes.quantization.weighted import WEIGHTED
from burnish.quantization.request import Quantization
from burnish.suggest import unknown


def require_nodes(graph: Graph, names: Sequence[str], option: str) -> None:
    """Refuse names that are none of the nodes of a model as it came, before any work.

    Names of values count, too: a layer whose node has no name is called like its result. So do
    parts of what is known, as ``layer:heads``: whether there are such is found out later.

    Args:
        graph: the model.
        names: of layers.
        option: that gives them.

    Raises:
        UsageError: there are such.
    """
    layers: dict[str, None] = {}
    known: set[str] = set()
    for node in graph.walk() if names else ():
        own = [name for name in (node.name, *node.provenance) if name]
        known.update(own, (value.name for value in node.outputs))
        if node.is_op(*WEIGHTED):
            layers.update(dict.fromkeys(own))
    for name in names:
        if name not in known and not any(name.startswith(f"{one}:") for one in known):
            raise UsageError(f"{option}: {unknown('layer', name, layers)}")


def require_layers(graph: Graph, names: Sequence[str], formats: Sequence[LayerFormat]) -> None:
    """Refuse names that are no layer's, nor of what became part of one, or looks up in a table.

    Args:
        graph: after the passes that give layers their names: any operator may lend its own.
        names: to leave in float.
        formats: of all layers of ``graph``. If there are none, that is what a user is told instead.

    Raises:
        UsageError: there are such.
    """
    layers = dict.fromkeys(one.layer for one in formats)
    if not layers:
        return
    known = dict(layers)
    for node in graph.walk():
        own = (node.name, *node.provenance)
        if node.is_op("Gather") or any(name in layers for name in own):
            known.update(dict.fromkeys(name for name in own if name))
    for name in names:
        if name not in known:
            raise UsageError(f"{Quantization.KEEP}: {unknown('layer', name, known)}")
