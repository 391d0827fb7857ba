"""The page: what is in it, and how it is written."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from burnish.bench.document import Document
from burnish.bench.report import graphs, headline, latency, tables
from burnish.bench.report.facts import Facts, Found, PassFacts
from burnish.bench.report.layers import layers, size_chart
from burnish.bench.report.palette import DARK, FAMILIES, LIGHT, SHAPES
from burnish.bench.report.roofline import roofline
from burnish.bench.report.strips import FAMILY_CLASSES
from burnish.bench.report.text import count
from burnish.output import staged
from burnish.wording import counted, duration, shortened, visible

TEMPLATES = Path(__file__).parent / "templates"
PLACES = 60
"""Places that are listed of one rule, or of one reason; of the rest the number."""
NAMES = 4
"""Names of source nodes that are listed of one place."""
DRAWN_FAMILIES = [(kind, FAMILY_CLASSES[kind], SHAPES[kind], hue) for kind, hue in FAMILIES.items()]
"""Name, class, outline and hue of each kind of operators."""


def write_report(document: Document, path: Path) -> None:
    """Write what a bench found as one HTML file that asks for no other.

    Args:
        document: of the bench.
        path: of the file, which is replaced or left as it was.

    Raises:
        UsageError: no file can be written at ``path``.
        CannotWrite: the disk is full or refuses.
    """
    with staged(path) as draft:
        # Names may hold surrogates, from paths that are no UTF-8.
        draft.write_bytes(render(document).encode("utf-8", "backslashreplace"))


def render(document: Document) -> str:
    """The page as text; the same document gives the same text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        visible=visible, counted=counted, count=count,
        duration=duration, worth=tables.worth, balance=tables.balance,
    )  # fmt: skip
    script = (TEMPLATES / "search.js").read_text()
    style = environment.get_template("report.css").render(
        light=LIGHT, dark=DARK, families=DRAWN_FAMILIES
    )
    return environment.get_template("report.html").render(
        **_content(document),
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _content(document: Document) -> dict[str, Any]:
    facts = Facts(document)
    found = layers(document)
    return {
        "document": document,
        "name": headline.model_name(facts),
        "sentence": headline.sentence(facts),
        "comparison": headline.comparison(facts),
        "tiles": headline.tiles(facts),
        "engine": headline.ENGINES[document.engine],
        "active": [each for each in facts.passes if each.matters],
        "idle": [each for each in facts.passes if not each.matters],
        "rewrites": [_rewrite(each) for each in facts.passes if each.fired or each.missed],
        "waterfall": latency.waterfall(facts),
        "without": latency.worth(facts, "without"),
        "alone": latency.worth(facts, "alone"),
        "engines": latency.engines(facts),
        "roofline": roofline(document),
        "layer_chart": size_chart(found),
        "layers": tables.layer_rows(found),
        "layer_count": len(found),
        "unlisted_layers": max(0, len(found) - tables.LAYERS),
        "pictures": [graphs.before(facts), graphs.after(facts)],
        "families": DRAWN_FAMILIES,
        "failed": [step for step in document.steps if step.verdict == "failed"],
        "failures": {v.id: visible(v.failure) for v in document.variants if v.failure},
        "figures": tables.figures(facts),
        "variants": tables.variants(facts),
        "columns": tables.columns(facts),
        "ablated": tables.columns(facts, ablated=True),
        "ablated_count": len(facts.ablated),
        "metrics": tables.metrics(facts),
        "other_metrics": tables.metrics(facts, of_others=True),
        "effects": tables.effects(facts),
        "fidelity": tables.fidelity(facts),
        "kernels": tables.kernels(document),
        "environment": tables.environment(document),
        "command": tables.command(document),
        "shapes": tables.shapes(document),
    }  # fmt: skip


@dataclass(frozen=True)
class Group:
    """One rule with the places where it fired, or nearly did for one reason."""

    rule: str
    reason: str
    times: int
    places: list[str]
    unlisted: int


@dataclass(frozen=True)
class Rewrite:
    """What one pass did, and nearly did."""

    name: str
    fires: int
    misses: int
    fired: list[Group]
    missed: list[Group]


def _rewrite(facts: PassFacts) -> Rewrite:
    return Rewrite(
        visible(facts.name), facts.fires, facts.misses,
        [_group(found) for found in facts.fired], [_group(found) for found in facts.missed],
    )  # fmt: skip


def _group(found: Found) -> Group:
    return Group(
        visible(found.rule), visible(found.reason or ""), len(found.places),
        [_place(place) for place in found.places[:PLACES]], max(0, len(found.places) - PLACES),
    )  # fmt: skip


def _place(sources: list[str]) -> str:
    names = [shortened(visible(name)) for name in sources if name]
    if not names:
        return "a node that passes made"
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more
