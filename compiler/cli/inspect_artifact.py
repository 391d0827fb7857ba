"""``burnish inspect ARTIFACT``: what an artifact consists of, and how well its kernels do.

With ``--json`` the manifest is printed, and beside its fields

    artifact         path
    weights_bytes    of the stored constants
    kernels          distinct kernels in the library
    summaries        one object per entry: ``calls``, ``kernels``, ``regions`` (calls that ONNX
                     Runtime runs)

and with ``--profile`` also

    machine          ``cpu``, ``threads``, ``peaks`` (operations per second by dtype), ``levels``
                     (``name``, ``capacity`` in bytes or null, ``bandwidth`` in bytes per second)
    profile_entries  one object per entry: ``entry``, ``runs``, ``microseconds`` (median of a whole
                     run), ``kernel_microseconds`` (sum of the calls), ``bound_microseconds`` (sum
                     of their bounds, null if one is unknown), ``waited`` (seconds that threads
                     waited for processors which other processes had, per second),
                     ``is_disturbed`` (whether that is enough to spoil the figures)
    profile          one object per call, the slowest first:
      entry, call          numbers of the entry, and of the call in it
      kernel               name
      microseconds         median; ``fastest_microseconds`` of all runs
      rounds               how often a run makes the call: in a loop perhaps more than once; all
                           figures are those of all rounds together
      share                of the time of all kernels of the entry, 0 to 1
      flops, bytes         operations, those on padding left out and those of polynomials counted
                           (see `burnish.analysis.cost`), and bytes that must be read or written
      gflops, gbytes       both in 10^9 per second, at the median
      arithmetic           dtype that is multiplied
      bound_microseconds   the least time that the call can take; see `burnish.backends.roofline`
      bound_by             ``arithmetic``, ``L2``, ``L3`` or ``memory``
      of_bound             bound / median, 0 to 1 and a little more
      operators            types of the operators
      sources              names of the nodes of the ONNX model

Figures are null where they are unknown: in artifacts that do not describe their calls, and for
calls in a loop in artifacts that do not count rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from burnish.cli.session import Session
from burnish.cli.wrapping import wrapped
from burnish.wording import counted, shortened

if TYPE_CHECKING:
    from burnish.backends.artifact import Artifact
    from burnish.backends.profiling import CallProfile, EntryProfile

LEGEND = (
    "of bound: the least time that this machine needs over the median, and what sets it: FLOP "
    "for arithmetic, L2, L3 or mem for bytes from there; other work on the machine lowers it"
)
DISTURBED = (
    "the machine was at work: threads waited {waited:.2f} s in a second for processors that other "
    "processes had, so the figures are worse than what the kernels do; profile again when it rests"
)
SHOWN = 40
"""Calls in the table; -v shows all."""
PASSES = 8
"""Names of passes that are shown; -v shows all."""
NAME = 16
"""Characters of a kernel's name in the table."""
FIGURES = ("µs", "share", "GFLOP/s", "GB/s", "of bound")
GAP, LEAST = 3, 10
"""Columns between two columns of the table, and those that the operators take at least."""


def inspect_artifact(session: Session, path: Path, *, profile: bool) -> None:
    """Show what the artifact at ``path`` says about itself, and time its kernels if asked to."""
    from burnish.backends.artifact import WEIGHTS, load_artifact

    artifact = load_artifact(path)
    facts: dict[str, Any] = {"artifact": str(path), **asdict(artifact.manifest)}
    facts["weights_bytes"] = artifact.manifest.files[WEIGHTS].bytes
    facts |= _summarise(artifact)
    if profile:
        facts |= _profile(artifact)
    if session.json:
        session.data(facts)
        return
    _show(facts, verbose=session.verbose)
    if profile:
        _show_profile(session, facts)


def _summarise(artifact: Artifact) -> dict[str, Any]:
    """How many calls there are; nothing more than that is known of artifacts that say no more."""
    from burnish.backends.calls import KERNEL

    names: set[str] = set()
    rows = []
    for number, entry in enumerate(artifact.manifest.entries):
        regions = sum(s.last - s.first for s in entry.segments if s.region is not None)
        calls = max((segment.last for segment in entry.segments), default=0)
        specs = artifact.calls(number)
        own = None if specs is None else {s.kernel for s in specs if s.kind == KERNEL}
        names |= own or set()
        row = {"calls": calls, "kernels": None if own is None else len(own), "regions": regions}
        rows.append(row)
    known = all(row["kernels"] is not None for row in rows)
    return {"kernels": len(names) if known else None, "summaries": rows}


def _profile(artifact: Artifact) -> dict[str, Any]:
    from burnish.backends.profiling import profile_entry
    from burnish.backends.roofline_probe import machine_roofline

    # First, so that an artifact for another machine is refused at once.
    threads = artifact.native.threads
    roofline = machine_roofline(threads)
    entries = [
        profile_entry(artifact, number, roofline)
        for number in range(len(artifact.manifest.entries))
    ]
    calls = [_row(entry, call) for entry in entries for call in entry.calls]
    return {
        "machine": asdict(roofline),
        "profile_entries": [_entry_row(entry) for entry in entries],
        "profile": sorted(calls, key=lambda row: -float(row["microseconds"])),
    }


def _entry_row(entry: EntryProfile) -> dict[str, Any]:
    limits = [call.bound.seconds for call in entry.calls if call.bound is not None]
    known = len(limits) == len(entry.calls)
    return {
        "entry": entry.entry,
        "runs": entry.runs,
        "microseconds": _micro(entry.seconds),
        "kernel_microseconds": _micro(sum(call.seconds for call in entry.calls)),
        "bound_microseconds": _micro(sum(limits)) if known else None,
        "waited": round(entry.waited, 4),
        "is_disturbed": entry.is_disturbed,
    }


def _row(entry: EntryProfile, call: CallProfile) -> dict[str, Any]:
    total = sum(each.seconds for each in entry.calls) or 1.0
    row: dict[str, Any] = {
        "entry": entry.entry,
        "call": call.number,
        "kernel": call.kernel,
        "microseconds": _micro(call.seconds),
        "fastest_microseconds": _micro(call.fastest),
        "rounds": call.rounds,
        "share": round(call.seconds / total, 5),
    }
    spec, bound, rate = call.spec, call.bound, 1e-9 / call.seconds
    flops, moved = call.work or (None, None)
    return row | {
        "flops": flops,
        "bytes": moved,
        "gflops": None if flops is None else round(flops * rate, 3),
        "gbytes": None if moved is None else round(moved * rate, 3),
        "arithmetic": spec and spec.arithmetic,
        "bound_microseconds": bound and _micro(bound.seconds),
        "bound_by": bound and bound.by,
        "of_bound": bound and round(bound.seconds / call.seconds, 4),
        "operators": spec and list(spec.operators),
        "sources": spec and list(spec.sources),
    }


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def show_ports(facts: Mapping[str, Any]) -> None:
    """Print a line for each of ``facts["inputs"]`` and ``facts["outputs"]``."""
    for side in ("inputs", "outputs"):
        for port in facts[side]:
            shape = "" if port["shape"] is None else ", ".join(map(str, port["shape"]))
            most = ""
            if port.get("most") is not None:
                shape, most = shape.replace("-1", "n"), f", n at most {port['most']}"
            typer.echo(f"  {side[:-1]:6} {port['name']}: {port['dtype']}[{shape}]{most}")


def _show(facts: Mapping[str, Any], *, verbose: bool) -> None:
    from burnish.cli.pruning import pruning_lines
    from burnish.cli.quantization import quantization_lines
    from burnish.cli.tables import native_lines, precision_lines
    from burnish.wording import data_size

    target = facts["target"]
    features = " ".join(target["features"]) or "no features beyond the base"
    typer.echo(f"{facts['artifact']}: for {target['name']} ({target['triple']}), "
               f"{counted(facts['threads'], 'thread')}")  # fmt: skip
    typer.echo(wrapped(features, "  needs ", "        "))
    entries = facts["entries"]
    for number, (entry, summary) in enumerate(zip(entries, facts["summaries"], strict=True)):
        if len(entries) > 1:
            typer.echo(f"entry {number}")
        show_ports(entry)
        regions = f", {summary['regions']} of them in ONNX Runtime" if summary["regions"] else ""
        typer.echo(f"  {counted(summary['calls'], 'call')}{regions}, "
                   f"arena {data_size(entry['arena_bytes'])}")  # fmt: skip
    kernels = "" if facts["kernels"] is None else f"{counted(facts['kernels'], 'kernel')}, "
    typer.echo(f"{kernels}weights {data_size(facts['weights_bytes'])}")
    rounding = [
        *quantization_lines(facts["quantization"]), *precision_lines(facts["precision"]),
    ] or ["precision f32: nothing is rounded to less"]  # fmt: skip
    for line in [*native_lines(facts["native"]), *pruning_lines(facts["pruning"]), *rounding]:
        typer.echo(line)
    files = ", ".join(f"{name} {data_size(file['bytes'])}" for name, file in facts["files"].items())
    typer.echo(wrapped(files, "files: ", "  "))
    if names := list(dict.fromkeys(step["name"] for step in facts["passes"])):
        some = names if verbose or len(names) <= PASSES else [*names[:PASSES], "..."]
        typer.echo(wrapped(f"{len(names)} passes: {', '.join(some)}", "", "  "))


def _show_profile(session: Session, facts: Mapping[str, Any]) -> None:
    machine = facts["machine"]
    typer.echo(wrapped(_limits(machine), f"{machine['cpu']}: ", "  "))
    for total in facts["profile_entries"]:
        rows = [row for row in facts["profile"] if row["entry"] == total["entry"]]
        if len(facts["profile_entries"]) > 1:
            typer.echo(f"entry {total['entry']}")
        _show_calls(session, rows)
        typer.echo(wrapped(_total(total), "", "  "))
        if total["is_disturbed"]:
            typer.echo(wrapped(DISTURBED.format(**total), "", "  "))
    typer.echo(wrapped(LEGEND, "", "  "))
    if any(row["operators"] is None for row in facts["profile"]):
        session.note("this artifact does not say what its kernels do; compile the model again "
                     "to see operators and bounds")  # fmt: skip


def _limits(machine: Mapping[str, Any]) -> str:
    from burnish.wording import data_size, of_thousand

    peaks = [f"{of_thousand(peak)}FLOP/s {dtype}" for dtype, peak in machine["peaks"].items()]
    levels = []
    for level in machine["levels"]:
        reach = "" if level["capacity"] is None else f" up to {data_size(level['capacity'])}"
        levels.append(f"{level['name']} {of_thousand(level['bandwidth'])}B/s{reach}")
    threads = counted(machine["threads"], "thread")
    return f"with {threads} {', '.join(peaks)}; {', '.join(levels)}"


def _show_calls(session: Session, rows: list[dict[str, Any]]) -> None:
    from burnish.cli.tables import new_table

    shown = rows if session.verbose else rows[:SHOWN]
    cells = [
        (
            _cut(row["kernel"]), f"{row['microseconds']:.1f}", f"{row['share']:.1%}",
            _rate(row["gflops"]), _rate(row["gbytes"]), _of_bound(row),
        )
        for row in shown
    ]  # fmt: skip
    if rest := rows[len(shown) :]:
        time, share = (sum(row[key] for row in rest) for key in ("microseconds", "share"))
        cells.append((f"{len(rest)} more", f"{time:.1f}", f"{share:.1%}", "", "", ""))
    table = new_table("kernel", *FIGURES, "operators", right=FIGURES)
    columns = zip(("kernel", *FIGURES), *cells, strict=True)
    taken = sum(max(map(len, column)) + GAP for column in columns)
    room = max(session.out.width - taken, LEAST)
    for row, cell in zip(shown, cells, strict=False):
        table.add_row(*cell, _operators(row, room))
    for cell in cells[len(shown) :]:
        table.add_row(*cell, "see -v")
    session.out.print(table)


def _cut(name: str) -> str:
    """The start of a kernel's name, which says what it computes."""
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _rate(value: float | None) -> str:
    if not value:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _of_bound(row: Mapping[str, Any]) -> str:
    if row["of_bound"] is None:
        return "?"
    names = {"arithmetic": "FLOP", "memory": "mem"}
    return f"{row['of_bound']:.0%} {names.get(row['bound_by'], row['bound_by']):4}"


def _operators(row: Mapping[str, Any], room: int) -> str:
    """Names of the model's own nodes, and how many more there are; types if none has a name."""
    names = row["sources"] or row["operators"]
    if not names:
        return "" if names is None else "made by burnish"
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    return shortened(names[0], room - len(more)) + more


def _total(total: Mapping[str, Any]) -> str:
    run, kernels, bound = (
        total[key] for key in ("microseconds", "kernel_microseconds", "bound_microseconds")
    )
    text = f"{run / 1e3:.3f} ms median of {total['runs']} runs, kernels {kernels / 1e3:.3f} ms"
    if bound is not None and kernels:
        text += f", bound {bound / 1e3:.3f} ms: {bound / kernels:.0%} of what this machine can do"
    return text
