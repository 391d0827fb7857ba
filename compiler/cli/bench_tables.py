"""A bench for people: what each pass is worth in three views, and what all of them are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from burnish.bench.report.facts import Facts
from burnish.cli.session import Session
from burnish.cli.tables import new_table
from burnish.cli.wrapping import wrapped
from burnish.wording import UNKNOWN, counted, counted_passes, data_size, duration, of_thousand

if TYPE_CHECKING:
    from rich.text import Text

    from burnish.bench.document import Column, Document, Interval, Metric, Step, Variant, View

VIEWS: tuple[View, ...] = ("alone", "cumulative", "without")
STYLES = {"faster": "green", "slower": "red", "failed": "red", "noise": "dim", "same": "dim",
          "untimed": "dim"}  # fmt: skip
MOST = 10.0
"""Half the width of an interval of a ratio from which on it says nothing."""
LEGEND = (
    "time that a pass saves, in percent of the time with it: alone on top of {}, added after "
    "those above it, and left out of all (without). Intervals hold for all figures together at "
    "95%; those that enclose zero have a ≈. Operators are what it adds in turn, needed says that "
    "there is no result without it, a point that it makes no difference to the program."
)

EFFECTS = (
    "what a pass does to the task and to the distance from the original, on the same inputs with "
    "and without it, with 95% intervals; lower is better for noise-to-signal and divergence (nats)"
)


def show(session: Session, document: Document) -> None:
    """Print the tables of a bench."""
    typer.echo(wrapped(_headline(document), "", "  "))
    _show_passes(session, document)
    if any(step.metrics for step in document.steps):
        _show_effects(session, document)
    _show_variants(session, document)
    if document.columns:
        _show_columns(session, document)
    for note in document.notes:
        typer.echo(wrapped(note, "", "  "))


def _headline(document: Document) -> str:
    threads = counted(document.threads, "thread")
    engine = {"tvm": "compiled for this machine", "ort": "in ONNX Runtime"}[document.engine]
    timed = sum(variant.blocks > 0 for variant in document.variants)
    return (
        f"{document.model.path} {engine}, {threads}: {counted(len(document.variants), 'variant')}, "
        f"{timed} of them timed; took {document.seconds:.0f} s"
    )


def _show_passes(session: Session, document: Document) -> None:
    steps = {(step.name, step.view): step for step in document.steps}
    table = new_table("pass", "operators", *VIEWS, right=("operators", *VIEWS))
    quiet = []
    for name in dict.fromkeys(step.name for step in document.steps):
        row = [steps.get((name, view)) for view in VIEWS]
        if all(step is not None and step.verdict == "same" for step in row):
            quiet.append(name)
        else:
            # As the page has it: these add up to what all passes remove.
            added = steps.get((name, "cumulative"))
            removed = 0 if added is None else added.operators
            table.add_row(name, f"{-removed:+d}" if removed else "", *map(_cell, row))
    session.out.print(table)
    typer.echo(wrapped(LEGEND.format(document.base), "", "  "))
    if quiet and session.verbose:
        typer.echo(wrapped(", ".join(quiet), "the same program with and without: ", "  "))
    elif quiet:
        typer.echo(
            f"the same program with and without: {counted_passes(len(quiet))}; -v lists them"
        )
    typer.echo("")


def _cell(step: Step | None) -> Text:
    """What a pass is worth in a view; a dash where there was no time to make that."""
    from rich.text import Text

    if step is None:
        return Text(UNKNOWN)
    known = _told(step.speedup)
    text = step.verdict if known is None else percent(known)
    if step.verdict == "noise" and known is not None:
        # What is dim cannot be told from the rest everywhere.
        text = f"≈ {text}"
    return Text({"same": "·"}.get(text, text), STYLES.get(step.verdict, ""))


def _told(ratio: Interval | None) -> Interval | None:
    """``ratio`` if it tells anything: few processes may leave room for everything."""
    if ratio is None or (ratio.high - ratio.low) / 2 >= MOST:
        return None
    return ratio


def percent(speedup: Interval) -> str:
    """What a ratio of times saves: ``+12.3 ±1.5``."""
    half = (speedup.high - speedup.low) / 2
    return f"{100 * (speedup.value - 1):+.1f} ±{100 * half:.1f}"


def _show_effects(session: Session, document: Document) -> None:
    """What passes do to a task and to the distance from the original."""
    from rich.markup import escape

    steps = {(step.name, step.view): step for step in document.steps}
    shown: tuple[View, ...] = ("alone", "without")
    table = new_table("pass", *shown, right=shown)
    for name in dict.fromkeys(step.name for step in document.steps):
        views = {view: steps.get((name, view)) for view in shown}
        found = {
            view: {m.name: m for m in (step.metrics if step else ())}
            for view, step in views.items()
        }
        metrics = dict.fromkeys(metric for each in found.values() for metric in each)
        if metrics:
            table.add_row(name)
        for metric in metrics:
            cells = (_effect(found[view].get(metric)) for view in shown)
            table.add_row(f"  {escape(metric)}", *cells)
    session.out.print(table)
    typer.echo(wrapped(EFFECTS, "", "  "))
    typer.echo("")


def _effect(metric: Metric | None) -> Text:
    """By how much a pass changes a metric: green where it is better beyond the interval."""
    from rich.text import Text

    found = None if metric is None else metric.difference
    if metric is None or found is None:
        return Text("·", "dim")
    text = f"{found.value:+.2g}\n{found.low:+.2g} to {found.high:+.2g}"
    if found.low <= 0 <= found.high:
        return Text(f"≈ {text}", "dim")
    return Text(text, "green" if (found.low > 0) is metric.higher_is_better else "red")


def _show_variants(session: Session, document: Document) -> None:
    """The model as it was, after what the view alone starts from and everything, side by side."""
    facts = Facts(document)
    shown = [facts.variants[id] for id in (document.original, document.cleanup, document.whole)]
    titles = ("original", document.base, "all passes")
    table = new_table("", *titles, right=titles)
    for label, figure in (*_figures(facts), *_metrics(facts)):
        cells = [figure(variant) for variant in shown]
        if any(cells):
            table.add_row(label, *cells)
    session.out.print(table)
    for title, variant in zip(titles, shown, strict=True):
        if variant.failure:
            typer.echo(wrapped(variant.failure, f"{title}: ", "  "))


def _figures(facts: Facts) -> Iterator[tuple[str, Callable[[Variant], str]]]:
    # As their ratios have it, which were measured side by side.
    yield "latency", lambda v: duration(time.value) if (time := facts.latency(v)) else ""
    yield "operators", lambda v: str(v.operators)
    yield "parameters", lambda v: of_thousand(v.parameters).strip()
    yield "FLOPs", lambda v: "" if v.flops is None else of_thousand(v.flops).strip()
    yield "artifact", lambda v: "" if v.artifact_bytes is None else data_size(v.artifact_bytes)
    yield (
        "compressed",
        lambda v: "" if v.compressed_bytes is None else data_size(v.compressed_bytes),
    )
    yield "arena", lambda v: "" if v.arena_bytes is None else data_size(v.arena_bytes)
    yield "compile time", lambda v: "" if v.compile_seconds is None else duration(v.compile_seconds)
    yield (
        "largest error",
        lambda v: f"{max(each.error for each in v.fidelity):.1e}" if v.fidelity else "",
    )
    yield "top-1 agreement", lambda v: _least([each.top1 for each in v.fidelity], "{:.2%}")
    yield "SQNR", lambda v: _least([each.sqnr for each in v.fidelity], "{:.0f} dB")


def _metrics(facts: Facts) -> Iterator[tuple[str, Callable[[Variant], str]]]:
    """What a task says, each metric with its difference to the original below."""
    from rich.markup import escape

    whole = facts.whole
    for number, metric in enumerate(whole.metrics if whole else ()):

        def value(variant: Variant, at: int = number) -> str:
            return f"{variant.metrics[at].value.value:.4f}" if variant.metrics else ""

        def difference(variant: Variant, at: int = number) -> str:
            found = variant.metrics[at].difference if variant.metrics else None
            if found is None:
                return ""
            return f"{found.value:+.4f}\n{found.low:+.4f} to {found.high:+.4f}"

        yield escape(metric.name), value
        yield "  to the original, 95%", difference


def _least(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(min(known)) if known else ""


def _show_columns(session: Session, document: Document) -> None:
    facts = Facts(document)
    titles = ("latency", "to all passes", "operators", "file")
    table = new_table("compared with", *titles, right=titles)
    failed: list[Column] = []
    for column in document.columns:
        time = facts.latency(column)
        if column.failure or time is None:
            failed.append(column)
            continue
        ratio = _told(column.ratio)
        half = 0.0 if ratio is None else (ratio.high - ratio.low) / 2
        table.add_row(
            _title(column),
            duration(time.value),
            "" if ratio is None else f"{ratio.value:.2f} ±{half:.2f}",
            "" if column.operators is None else str(column.operators),
            "" if column.file_bytes is None else data_size(column.file_bytes),
        )
    session.out.print(table)
    for column in failed:
        typer.echo(wrapped(column.failure or "not timed", f"{column.name}: ", "  "))


def _title(column: Column) -> str:
    """The name of a column; what is left out of an engine stands below that engine."""
    _, without, name = column.name.partition(" without ")
    return f"{without.strip()} {name}" if without else f"{column.name} {column.version}".strip()
