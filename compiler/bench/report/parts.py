"""A page of several parts, each with figures and sections: one file that asks for no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from burnish.bench.report.headline import Tile
from burnish.bench.report.page import TEMPLATES
from burnish.bench.report.palette import DARK, LIGHT
from burnish.wording import visible


@dataclass(frozen=True)
class Part:
    """What one page says of one matter."""

    matter: str
    """What was done, as ``quantization``."""
    state: str
    """What the model is now, as ``in int8``."""
    sentence: str
    """What came of it."""
    tiles: Sequence[Tile]
    links: Mapping[str, str]
    """What its sections are called, by their identifiers."""
    template: Path
    """Of its sections; it knows this part as ``part``."""
    values: Mapping[str, Any]
    """What else it knows."""


def render_parts(parts: Sequence[Part], name: str, notices: Sequence[str]) -> str:
    """The page as text.

    Args:
        parts: in order, at least one.
        name: of the model.
        notices: what a user should know.
    """
    folders = [TEMPLATES, *dict.fromkeys(part.template.parent for part in parts)]
    environment = Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = environment.get_template("report.css").render(light=LIGHT, dark=DARK, families=())
    return environment.get_template("parts.html").render(
        name=visible(name), style=Markup(style), parts=parts,
        notices=[visible(one) for one in notices],
    )  # fmt: skip
