"""``burnish inspect``: what a model or an artifact consists of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from burnish.cli import options
from burnish.cli.inspect_artifact import inspect_artifact, show_ports
from burnish.cli.pruning import record_json, show_record
from burnish.cli.session import Session
from burnish.errors import UsageError

if TYPE_CHECKING:
    from burnish.ir import Graph


def inspect(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="MODEL|ARTIFACT", help="What to look at.")],
    input_shape: options.InputShape = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Time each kernel of an artifact, and compare it with what this machine can do.",
        ),
    ] = False,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Show operators, shapes, weights and FLOPs, and for an artifact its native share."""
    session: Session = ctx.obj
    session.json = json
    if is_artifact(path):
        if input_shape:
            raise UsageError("--input-shape is for models; the shapes of an artifact are fixed")
        inspect_artifact(session, path, profile=profile)
    elif profile:
        raise UsageError("--profile is for artifacts; compile the model first")
    else:
        _inspect_model(session, path, options.shapes(input_shape))


def is_artifact(path: Path) -> bool:
    """Whether ``path`` looks like what ``burnish compile`` writes."""
    return path.is_dir() or path.suffix == ".burnish"


def _inspect_model(session: Session, path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    from burnish.optimization import infer
    from burnish.report import describe_graph
    from burnish.source import load

    graph = load(path)
    graph = infer(graph, shapes)
    facts = {
        "model": str(path),
        "producer": " ".join(str(graph.header.get(key, "")) for key in PRODUCER).strip(),
        "inputs": [_port(value) for value in graph.inputs],
        "outputs": [_port(value) for value in graph.outputs],
        **describe_graph(graph),
        **_operators(graph),
        **record_json(graph),
    }
    if session.json:
        session.data(facts)
    else:
        _show_model(session, facts)
        show_record(session, graph)


PRODUCER = ("producer_name", "producer_version")


def _port(value: Any) -> dict[str, Any]:
    shape = None if value.shape is None else ["?" if d is None else d for d in value.shape]
    return {"name": value.name, "dtype": str(value.dtype), "shape": shape}


def _operators(graph: Graph) -> dict[str, Any]:
    """FLOPs of the graph, and count and FLOPs by operator type, the costliest first.

    None for FLOPs that are not all known.
    """
    from burnish.analysis.cost import node_flops

    counts: Counter[str] = Counter()
    flops: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for node in graph.walk():
        if node.is_region:
            continue
        kind = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        cost = node_flops(node)
        counts[kind] += 1
        flops[kind] += cost or 0
        unknown[kind] += cost is None
    return {
        "flops": None if unknown.total() else flops.total(),
        "operators_of_unknown_cost": unknown.total(),
        "operator_types": [
            {"type": kind, "count": counts[kind], "flops": None if unknown[kind] else flops[kind]}
            for kind in sorted(counts, key=lambda kind: (-flops[kind], -counts[kind], kind))
        ],
    }


def _show_model(session: Session, facts: dict[str, Any]) -> None:
    from burnish.cli.tables import new_table
    from burnish.cli.wrapping import wrapped
    from burnish.wording import data_size, of_thousand

    made_by = f", made by {facts['producer']}" if facts["producer"] else ""
    typer.echo(f"{facts['model']}: opset {facts['opset']}{made_by}")
    show_ports(facts)
    sizes = f"{facts['constants']} constants of {data_size(facts['constant_bytes'])}"
    typer.echo(wrapped(f"{facts['operators']} operators, {sizes}, {_work(facts)}", "", "  "))
    # A share of a part of the work would mislead.
    total = facts["flops"] or 0
    columns = ("count", "FLOP", *(["share"] if total else []))
    table = new_table("operator", *columns, right=columns)
    for row in facts["operator_types"]:
        cost = row["flops"]
        cells = [str(row["count"]), "?" if cost is None else of_thousand(cost)]
        table.add_row(row["type"], *cells, *([f"{cost / total:.1%}"] if total else []))
    session.out.print(table)


def _work(facts: dict[str, Any]) -> str:
    """FLOPs, as far as they are known, and how to know more."""
    from burnish.wording import of_thousand

    unknown = facts["operators_of_unknown_cost"]
    if not unknown:
        return f"{of_thousand(facts['flops'])}FLOP"
    reason = f"FLOP unknown: {unknown} operators have shapes that depend on the input"
    return "; ".join([reason, *([f"give {advice}"] if (advice := _advice(facts)) else [])])


def _advice(facts: dict[str, Any]) -> str:
    """The options that settle the shapes of all inputs."""
    parts = []
    for port in facts["inputs"]:
        sizes = [str(d) if isinstance(d, int) else "?" for d in port["shape"] or ["?"]]
        if "?" in sizes and port["shape"] != []:
            parts.append(f"--input-shape {port['name']}={','.join(sizes)}")
    return " ".join(parts)
