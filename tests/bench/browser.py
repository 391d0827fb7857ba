"""A page as Chromium shows it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--virtual-time-budget=3000", "--enable-logging=stderr",
    # Whatever is asked for does not get out.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
MEASURE = """
<script>
addEventListener("load", () => {
  const box = (element) => {
    const {left, top, right, bottom} = element.getBoundingClientRect();
    return [left, top, right, bottom];
  };
  const shown = (element) => element.getClientRects().length > 0;
  const words = [...document.querySelectorAll("main *")].filter((element) => shown(element) &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  const charts = [...document.querySelectorAll("svg.chart")].filter(shown);
  const found = {
    width: innerWidth,
    scroll: document.scrollingElement.scrollWidth,
    smallest: Math.min(...words.filter((e) => !e.closest("svg")).map(
      (element) => parseFloat(getComputedStyle(element).fontSize))),
    beyond: [...document.querySelectorAll("main *")].filter((element) =>
      shown(element) && !element.closest(".scroll") && box(element)[2] > innerWidth + 1
    ).map((element) => element.outerHTML.slice(0, 200)),
    cut: [...document.querySelectorAll(".scroll")].filter((element) =>
      shown(element) && element.scrollWidth > element.clientWidth + 1
    ).map((element) => element.getAttribute("aria-label")),
    charts: charts.map((chart) => ({
      label: chart.getAttribute("aria-label"), box: box(chart),
      scale: chart.getBoundingClientRect().width / chart.viewBox.baseVal.width,
      shapes: [...chart.querySelectorAll("path, use")].filter(
        (shape) => shape.getBBox().width + shape.getBBox().height > 0).length,
      texts: [...chart.querySelectorAll("text")].map(
        (text) => [text.textContent, box(text), text.getAttribute("transform")]),
    })),
    strips: [...document.querySelectorAll("svg.strip")].map(box),
  };
  const field = document.querySelector("[data-filter^='#list-b'] input");
  const rows = [...document.querySelectorAll("#list-b tbody tr")];
  if (field) {
    field.value = "CONV_0/ conv";
    field.dispatchEvent(new Event("input"));
  }
  found.rows = rows.filter((row) => shown(row)).map((row) => row.id);
  found.marks = [...document.querySelectorAll("a.hit")].map((mark) => mark.getAttribute("href"));
  const told = document.createElement("script");
  told.type = "application/json";
  told.id = "found";
  told.textContent = JSON.stringify(found).replaceAll("<", "\\\\u003c");
  parent.document.body.append(told);
});
</script>
"""
"""Measures a page once it is laid out, searches it, and leaves what it found in it as JSON."""


def find() -> str | None:
    """The browser's path, None if there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@dataclass(frozen=True)
class View:
    """What one visit to a page came to."""

    dom: str
    console: list[str]
    """Messages of the page."""
    requests: list[str]
    """Addresses that the page asked for; not those that the browser itself does."""


def visit(browser: str, page: Path, room: Path) -> View:
    """Open a page; ``room`` is a folder for the browser's own files."""
    log = room / "network.json"
    done = subprocess.run(
        [browser, *OPTIONS, f"--user-data-dir={room / 'profile'}", f"--log-net-log={log}",
         "--window-size=1200,900", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return View(done.stdout, console, _requests(log))


def _requests(log: Path) -> list[str]:
    """The browser's own requests come from no origin, those of a page from its own."""
    events = json.loads(log.read_text())["events"]
    starts = (event.get("params", {}) for event in events)
    own = "not an origin"
    return [start["url"] for start in starts
            if "url" in start and start.get("initiator", own) != own]  # fmt: skip


def measure(browser: str, page: Path, room: Path, *, width: int) -> dict[str, Any]:
    """Sizes of what a page shows in a frame of ``width`` CSS pixels."""
    text = page.read_text()
    # The page lets no other script run than its own.
    text = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)
    text = html.escape(text.replace("</body>", MEASURE + "</body>"))
    # A window has a least width; a frame has none.
    copy = room / "measured.html"
    copy.write_text(
        f'<body><iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{text}">'
    )
    dom = visit(browser, copy, room).dom
    found = re.search(r'<script type="application/json" id="found">(.*?)</script>', dom, re.DOTALL)
    assert found, "the page was not measured"
    return dict(json.loads(html.unescape(found[1])))
