"""Merging adapters into a model, and checking the result against the formula they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from burnish.adapters.sites import Found, Site, find_sites, match, score
from burnish.adapters.weights import Adapter
from burnish.errors import UnsupportedModel
from burnish.ir import Array, Graph, VariableNode
from burnish.rewrite import Rewriter

HINTS = 3
"""Unknown modules that something like them is looked up for, which takes time."""


@dataclass(frozen=True, eq=False)
class Planned:
    """An adapter and the operators that it goes into."""

    adapter: Adapter
    found: Found

    @property
    def site(self) -> Site:
        """The first of the operators; all have the same weight."""
        return self.found.sites[0]


@dataclass
class Plan:
    """What goes where."""

    merges: list[Planned] = field(default_factory=list)
    values: dict[VariableNode, Array] = field(default_factory=dict)
    """Parameters that are replaced as a whole."""
    unmatched: dict[str, str] = field(default_factory=dict)
    """Paths of modules that the model does not have, with what may have been meant."""


@dataclass(frozen=True)
class Change:
    """What became of one weight."""

    module: str
    parameter: str
    how: str
    operator: str
    shape: tuple[int, ...]
    rank: int
    scale: float
    change: float
    """Norm of what was added over the norm of the weight."""


def plan(graph: Graph, adapters: Iterable[Adapter], scopes: Mapping[str, str]) -> Plan:
    """Find the operators for each of ``adapters``.

    Raises:
        UnsupportedModel: an adapter has another shape than the weight that it is for.
    """
    sites = find_sites(graph, scopes)
    values = [value for value in graph.constants() if value.name.endswith((".weight", ".bias"))]
    result = Plan()
    for adapter in adapters:
        if adapter.whole_bias is not None:
            _plan_value(result, values, f"{adapter.path}.bias", adapter.whole_bias)
        if adapter.whole is not None and adapter.whole.ndim < 2:
            _plan_value(result, values, f"{adapter.path}.weight", adapter.whole)
        elif adapter.whole is not None or adapter.down is not None:
            _plan_sites(result, sites, adapter)
    return result


def _plan_value(result: Plan, values: Sequence[VariableNode], name: str, array: Array) -> None:
    """Find the parameter called ``name``, which ``array`` takes the place of."""
    scores = {value: score(name, value.name) for value in values}
    top = max(scores.values(), default=0)
    best = [value for value in values if top and scores[value] == top]
    if len(best) == 1 and best[0].static_shape == array.shape:
        result.values[best[0]] = array
    else:
        _give_up(result, name, (value.name for value in values))


def _plan_sites(result: Plan, sites: Sequence[Site], adapter: Adapter) -> None:
    pool = [
        site for site in sites
        if adapter.whole is not None or (site.node.op_type == "Gather") == adapter.is_table
    ]  # fmt: skip
    candidates = match(adapter.path, pool)
    fitting = [found for found in candidates if _fits(adapter, found.sites[0])]
    if len(fitting) == 1:
        result.merges.append(Planned(adapter, fitting[0]))
    elif fitting:
        names = " and ".join(found.sites[0].weight.name or "?" for found in fitting[:2])
        result.unmatched[adapter.path] = f"it may be {names}"
    elif candidates:
        have = candidates[0].sites[0]
        raise UnsupportedModel(
            f"the adapter of {adapter.path} is for weights of {list(_wanted(adapter))}, "
            f"{have.weight.name or 'its parameter'} has {list(have.shape)}: it was trained on "
            "another model"
        )
    else:
        _give_up(result, adapter.path, (name for site in pool for name in site.names.values()))


def _give_up(result: Plan, name: str, known: Iterable[str]) -> None:
    """Note that ``name`` is unknown; for the first few, with what is most like it."""
    close: list[str] = []
    if len(result.unmatched) < HINTS:
        close = get_close_matches(name, dict.fromkeys(known), n=2, cutoff=0.0)
    result.unmatched[name] = f"nearest: {', '.join(close)}" if close else "nothing is called so"


def _wanted(adapter: Adapter) -> tuple[int, ...]:
    """The shape [outputs, inputs, *kernel] of the weight that ``adapter`` is for."""
    if adapter.whole is not None:
        return adapter.whole.shape
    assert adapter.up is not None and adapter.down is not None
    return adapter.up.shape[0], *adapter.down.shape[1:]


def _fits(adapter: Adapter, site: Site) -> bool:
    if site.node.op_type == "Conv" and site.node.attribute("group", 1) != 1:
        return False
    if adapter.whole is not None:
        return site.shape in (adapter.whole.shape, adapter.whole.shape[::-1])
    if adapter.down is None:
        return False
    wanted, shape = _wanted(adapter), site.shape
    # A linear layer that was exported as a convolution has ones for a kernel.
    ones = all(size == 1 for size in (*wanted[2:], *shape[2:]))
    return wanted == shape or (ones and wanted[:2] == shape[:2])


def merge(graph: Graph, planned: Plan) -> list[Change]:
    """Put adapters into the weights of ``graph``, which changes."""
    rewriter = Rewriter(graph)
    for value, array in planned.values.items():
        fresh = rewriter.constant(array.astype(value.dtype.numpy))
        rewriter.replace(value, fresh)
        fresh.name, value.name = value.name, ""
    current: dict[Site, Array] = {}
    changes = []
    for one in planned.merges:
        before = current.get(one.site)
        weight = one.site.read() if before is None else before
        merged = merged_weight(one.adapter, weight, one.site)
        for site in one.found.sites:
            current[site] = merged
        changes.append(_change(one, weight, merged))
        if one.adapter.bias is not None:
            for site in one.found.sites:
                _add_bias(rewriter, site, one.adapter.scale * one.adapter.bias)
    _write(rewriter, current)
    return changes


def merged_weight(adapter: Adapter, weight: Array, site: Site) -> Array:
    """``weight`` [outputs, inputs, *kernel] with ``adapter`` in it."""
    if adapter.whole is not None:
        whole = adapter.whole
        # Tables are kept with a row for each input, as some linear layers are.
        return whole if whole.shape == weight.shape and not _is_table(site) else whole.T
    assert adapter.up is not None and adapter.down is not None
    up = adapter.up.reshape(adapter.up.shape[:2])
    delta = np.tensordot(up, adapter.down, axes=(1, 0)).reshape(weight.shape)
    merged: Array = weight + adapter.scale * delta
    return merged if adapter.magnitude is None else merged * _gain(adapter, merged)


def _is_table(site: Site) -> bool:
    return site.node.op_type == "Gather"


def _gain(adapter: Adapter, merged: Array) -> Array:
    """What gives the rows of ``merged`` the lengths that were trained."""
    assert adapter.magnitude is not None
    lengths = np.sqrt(np.sum(merged**2, axis=tuple(range(1, merged.ndim))))
    gain: Array = adapter.magnitude / np.maximum(lengths, np.finfo(np.float64).tiny)
    return gain.reshape(-1, *(1 for _ in merged.shape[1:]))


def _change(one: Planned, before: Array, after: Array) -> Change:
    size = float(np.linalg.norm(before)) or 1.0
    return Change(
        one.adapter.path, one.site.weight.name, one.found.how, one.site.node.op_type,
        tuple(before.shape), one.adapter.rank, one.adapter.scale,
        float(np.linalg.norm(after - before)) / size,
    )  # fmt: skip


def _write(rewriter: Rewriter, current: Mapping[Site, Array]) -> None:
    """Give the operators their new weights; others that share the old ones keep them."""
    made: dict[tuple[VariableNode, bool, int], VariableNode] = {}
    for site, array in current.items():
        key = site.weight, site.outputs_first, id(array)
        if key not in made:
            content = np.ascontiguousarray(site.as_read(array))
            made[key] = rewriter.constant(content.astype(site.weight.dtype.numpy))
        old = site.node.input(site.index)
        rewriter.set_input(site.node, site.index, made[key])
        while old is not None and old.producer is not None and not old.uses:
            turning, old = old.producer, old.producer.input(0)
            rewriter.erase(turning)
    for (weight, _, _), fresh in made.items():
        if not weight.uses and weight.name:
            fresh.name, weight.name = weight.name, ""


def _add_bias(rewriter: Rewriter, site: Site, bias: Array) -> None:
    shape = (-1, *(1 for _ in site.shape[2:])) if site.node.op_type == "Conv" else (-1,)
    value = site.node.output
    rewriter.anchor, rewriter.provenance = site.node.next, site.node.provenance
    constant = rewriter.constant(bias.reshape(shape).astype(site.weight.dtype.numpy))
    rewriter.replace(value, rewriter.op("Add", [value, constant], like=value))
