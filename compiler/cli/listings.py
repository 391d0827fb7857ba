"""``burnish passes`` and ``burnish targets``: what there is."""

from __future__ import annotations

import typer

from burnish.cli import options
from burnish.cli.session import Session
from burnish.cli.wrapping import wrapped


def list_passes(ctx: typer.Context, json: options.Json = False) -> None:
    """List the passes with their options and promises."""
    session: Session = ctx.obj
    from burnish.selection import catalogue

    entries = catalogue()
    if json:
        session.data(entries)
        return
    for entry in entries:
        head = f"{entry['name']:24} {entry['numerics']:13} "
        typer.echo(wrapped(" ".join(entry["presets"]), head, " " * len(head)) or head.rstrip())
        typer.echo(wrapped(entry["summary"], "    ", "    "))
        for name, value in entry["options"].items():
            typer.echo(f"    {entry['name']}.{name} = {value!r}")


def list_targets(ctx: typer.Context, json: options.Json = False) -> None:
    """List the targets, the machine at hand first."""
    session: Session = ctx.obj
    from burnish.cli.tables import new_table
    from burnish.target import catalogue

    targets = catalogue()
    if json:
        session.data([{"name": t.name, "arch": t.arch, "mcpu": t.mcpu,
                       "features": sorted(t.features), "extensions": sorted(t.extensions),
                       "vector_bits": t.vector_bits,
                       "registers": t.registers, "l1": t.l1, "l2": t.l2, "threads": t.threads}
                      for t in targets])  # fmt: skip
        return
    table = new_table("target", "processor", "vectors", "L1, L2", "features (on request)")
    for target in targets:
        caches = f"{target.l1 >> 10}, {target.l2 >> 10} KiB"
        vectors = f"{target.registers} x {target.vector_bits} bits"
        features = [*sorted(target.features), *(f"({name})" for name in sorted(target.extensions))]
        table.add_row(target.name, target.mcpu, vectors, caches, " ".join(features))
    session.out.print(table)
