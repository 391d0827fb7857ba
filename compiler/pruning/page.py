"""What a page says of a pruned model: what structures became, and accuracy against latency."""

from __future__ import annotations

from pathlib import Path

from burnish.bench.report.headline import Tile
from burnish.bench.report.parts import Part
from burnish.bench.report.svg import Chart
from burnish.bench.report.tables import Table
from burnish.bench.report.trials import Axis, Losses, Spot, picture
from burnish.pruning.result import Pruned, Thinned, Trial
from burnish.wording import counted, data_size, duration, of_thousand, percent, visible

_FLOOR = 1e-5
"""Loss that the lowest points of the drawing stand for: that, and all below."""


def part_of(found: Pruned) -> Part:
    """What a page says of what was pruned."""
    takes, losses = "latency" if _is_timed(found) else "operations", _losses(found)
    return Part(
        "pruning", "pruned", sentence(found), _tiles(found),
        {"widths": f"Accuracy and {takes}", "structures": "Structures"},
        Path(__file__).parent / "templates" / "pruning.html",
        {
            "chart": drawing(found), "takes": takes, "has_limit": losses.limit is not None,
            "note": f"The lowest line stands for {_FLOOR:g} and less, as the original does.",
            "trials": trial_rows(found), "structures": structure_rows(found),
        },
    )  # fmt: skip


def sentence(found: Pruned) -> str:
    """What came of it."""
    text = f"{found.count} of {counted(len(found.structures), 'structure')} "
    text += "is thinner" if found.count == 1 else "are thinner"
    return (
        f"{text}. Loss: {visible(found.loss)}; asked: {visible(found.bound)}."
        if found.loss
        else f"{text}."
    )


def _tiles(found: Pruned) -> list[Tile]:
    flops, weights, distance = found.flops, found.weights, found.distance
    tiles = [
        Tile("Operations left", percent(flops.share),
             f"{of_thousand(flops.before)}FLOPs → {of_thousand(flops.after)}FLOPs"),
        Tile("Weights left", percent(weights.share),
             f"{data_size(weights.before)} → {data_size(weights.after)}"),
    ]  # fmt: skip
    if found.speedup is not None:
        interval = f"{found.speedup.low:.2f} to {found.speedup.high:.2f}, both without tuning"
        tiles.append(Tile("Speed over the original", f"{found.speedup.median:.2f}×", interval))
    if distance is not None and distance.agreement is not None:
        detail = "the same top-1 as the original, on calibration data"
        tiles.append(Tile("Agreement", f"{100 * distance.agreement:.1f} %", detail))
    if found.quality is not None:
        detail = "QoM: half of the agreement and half of the share of weights that is gone"
        tiles.append(Tile("Quality of model", f"{found.quality:.3f}", detail))
    return tiles


def _is_timed(found: Pruned) -> bool:
    """Whether the picture has seconds to the right: else it has operations."""
    return bool(found.trials) and all(one.seconds is not None for one in found.trials)


def _losses(found: Pruned) -> Losses:
    """What it has upwards: the distance from the original, else the share of what is allowed."""
    distances = [one.distance for one in found.trials if one.distance is not None]
    if not distances:
        return Losses("share of the allowed loss", lambda y: f"{100 * y:g} %", _FLOOR, limit=1.0)
    if all(one.divergence is not None for one in distances):
        return Losses("nats of divergence from the original", lambda y: f"{y:g}", _FLOOR)
    return Losses("power of the error over that of the signal", lambda y: f"{y:g}", _FLOOR)


def _loss(trial: Trial, losses: Losses) -> float | None:
    if losses.limit is not None:
        return trial.loss.share
    if trial.distance is None:
        return None
    divergence = trial.distance.divergence
    return trial.distance.noise if divergence is None else divergence


def spots(found: Pruned) -> list[Spot]:
    """What was tried, the original first where it can be placed."""
    is_timed, losses = _is_timed(found), _losses(found)
    drawn = []
    if found.trials and not is_timed:
        drawn.append(Spot(1.0, 0.0, found.chosen is None, True, "the original"))
    for trial in found.trials:
        loss, x = _loss(trial, losses), trial.seconds if is_timed else trial.flops
        if loss is not None and x is not None:
            drawn.append(Spot(x, loss, trial is found.chosen, trial.loss.holds, _told(trial)))
    return drawn


def _told(trial: Trial) -> str:
    time = "" if trial.seconds is None else f", {duration(trial.seconds)} a run"
    text = f"{trial.text}: " if trial.text else ""
    return visible(f"{text}{percent(trial.flops)} of operations, loses {trial.loss.text}{time}")


def drawing(found: Pruned) -> Chart | None:
    """Loss against latency, or else operations, of all that was tried; None if nothing was."""
    x = Axis("share of operations that is left", percent)
    if _is_timed(found):
        x = Axis("ms a run, without tuning", lambda x: f"{1e3 * x:.3g}")
    losses = _losses(found)
    return picture("widths", f"{losses.label} against {x.label}", spots(found), x, losses)


def structure_rows(found: Pruned) -> Table:
    """A row for each structure."""
    heads = ["structure", "kind", "kept", "score", "error", "cost", "by", "why"]
    rows = [_structure_row(one) for one in found.structures]
    return Table("Structures", heads, rows, right=frozenset({2, 3, 4, 5}), long=frozenset({0, 7}))


def _structure_row(one: Thinned) -> list[str]:
    return [
        visible(one.name), one.kind, f"{one.kept} of {one.units}",
        "" if one.score is None else f"{one.score:.2g}",
        "" if one.error is None else percent(one.error),
        "" if one.cost is None else percent(one.cost), one.criterion, visible(one.reason),
    ]  # fmt: skip


def trial_rows(found: Pruned) -> Table:
    """A row for each set of widths that was tried as a whole."""
    heads = ["widths", "operations", "weights", "a run", "loss"]
    rows = [_trial_row(one, is_chosen=one is found.chosen) for one in found.trials]
    return Table("Tried", heads, rows, right=frozenset({1, 2, 3}))


def _trial_row(one: Trial, *, is_chosen: bool) -> list[str]:
    return [
        f"{visible(one.text)}\nchosen" if is_chosen else visible(one.text), percent(one.flops),
        percent(one.size), "" if one.seconds is None else duration(one.seconds),
        visible(one.loss.text),
    ]  # fmt: skip
