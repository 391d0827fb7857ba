"""From names and options to the list of passes to run."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from burnish.errors import UsageError
from burnish.passes import PASSES, get_pass
from burnish.passes.presets import PRESETS, preset
from burnish.pipeline import Pass
from burnish.suggest import unknown

PUBLIC_PRESETS = ("minimal", "default", "max")
TRUE, FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True)
class Selection:
    """Which passes to run: the options that ``optimize``, ``compile`` and ``explain`` share."""

    preset: str | None = None
    """None stands for ``default``, or for nothing beyond what compiling needs."""
    passes: Sequence[str | Pass] | None = None
    """Names to run instead of those of the preset, in this order, or passes of the user's own."""
    skip: Sequence[str] = ()
    settings: Mapping[str, Any] | None = None
    """Values of options, or their text, by ``pass.field``."""
    input_shapes: Mapping[str, Sequence[int]] | None = None
    opset: int | None = None
    compiling: bool = False
    """Whether code is generated afterwards."""


def choose(selection: Selection) -> list[Pass]:
    """The passes to run, in order, with their options set.

    Raises:
        UsageError: a preset, pass or option does not exist, is not part of the run, or has another
            type.
    """
    own = {step.name for step in selection.passes or () if isinstance(step, Pass)}
    for name in (*(selection.passes or ()), *selection.skip):
        if not isinstance(name, Pass) and name not in PASSES and name not in own:
            raise UsageError(unknown("pass", name, PASSES))
    chosen = _named(selection) if selection.passes is not None else _preset(selection)
    chosen = [step for step in chosen if step.name not in selection.skip]
    options = _by_pass(selection.settings or {}, {step.name for step in chosen})
    return [_configured(step, options.get(step.name, {})) for step in chosen]


def _preset(selection: Selection) -> list[Pass]:
    if selection.preset is not None and selection.preset not in PUBLIC_PRESETS:
        raise UsageError(unknown("preset", selection.preset, PUBLIC_PRESETS))
    names = [selection.preset] if selection.preset else []
    if selection.compiling:
        names.append("compile")
    shapes, opset = selection.input_shapes, selection.opset
    return [
        step for name in names or ["default"] for step in preset(name, shapes=shapes, opset=opset)
    ]


def _named(selection: Selection) -> list[Pass]:
    """The passes that were asked for, after those that the other options ask for."""
    steps = list(selection.passes or ())
    names = [step if isinstance(step, str) else step.name for step in steps]
    options: dict[str, dict[str, Any]] = {}
    if selection.opset is not None:
        options["upgrade-opset"] = {"version": selection.opset}
    if selection.input_shapes:
        shapes = {name: tuple(shape) for name, shape in selection.input_shapes.items()}
        options["freeze-input-shapes"] = {"shapes": shapes}
    for name in options:
        if name not in names:
            steps.insert(0, name)
    return [
        step if isinstance(step, Pass) else get_pass(step, **options.get(step, {}))
        for step in steps
    ]


def _by_pass(settings: Mapping[str, Any], running: set[str]) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        name, dot, option = key.partition(".")
        if not dot or not option:
            raise UsageError(f"--set takes PASS.FIELD=VALUE, not {key!r}")
        if name not in PASSES and name not in running:
            raise UsageError(unknown("pass", name, PASSES))
        if name not in running:
            raise UsageError(f"--set {key}: {name} is not among the passes of this run")
        options.setdefault(name, {})[option] = value
    return options


def _configured(step: Pass, options: Mapping[str, Any]) -> Pass:
    known = [field.name for field in fields(step)]
    hints = get_type_hints(type(step))
    values = {}
    for option, value in options.items():
        if option not in known:
            raise UsageError(unknown(f"option of {step.name}", option, known))
        where = f"{step.name}.{option}"
        values[option] = parse(value, hints[option], where) if isinstance(value, str) else value
    return replace(step, **values) if values else step


def parse(text: str, hint: Any, where: str) -> Any:
    """The value of type ``hint`` that ``text`` spells.

    Raises:
        UsageError: it spells none; the message starts with ``where``.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in get_args(hint):
            return None
        return parse(text, next(arg for arg in get_args(hint) if arg is not type(None)), where)
    if origin is tuple:
        item = get_args(hint)[0]
        return tuple(parse(part.strip(), item, where) for part in text.split(",") if part.strip())
    if hint is bool:
        if text.lower() in TRUE | FALSE:
            return text.lower() in TRUE
        raise UsageError(f"{where} is true or false, not {text!r}")
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            kind = "a whole number" if hint is int else "a number"
            raise UsageError(f"{where} is {kind}, not {text!r}") from None
    if hint is str:
        return text
    raise UsageError(f"{where} cannot be set from text")


def catalogue() -> list[dict[str, Any]]:
    """Every pass with its summary, promise, options and the presets that it is part of."""
    presets = {name: {step.name for step in preset(name)} for name in PRESETS}
    entries = []
    for name in PASSES:
        step = get_pass(name)
        summary = (type(step).__doc__ or "").strip().splitlines()[0]
        entries.append(
            {
                "name": name,
                "numerics": step.numerics.value,
                "summary": summary,
                "options": {field.name: getattr(step, field.name) for field in fields(step)},
                "presets": [label for label, names in presets.items() if name in names],
            }
        )
    return entries
