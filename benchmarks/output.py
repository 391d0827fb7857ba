"""Figures for people and for programs."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write figures for other programs to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def show(table: Table) -> None:
    """Print a table, to a file or pipe as wide as tables here are made for."""
    Console(width=None if sys.stdout.isatty() else 100).print(table)
