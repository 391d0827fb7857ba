"""Messages in the words of a configuration file: its keys, where they name options."""

from __future__ import annotations

import re

_NAMES = {
    "budget-size": "budgets.size",
    "budget-arena": "budgets.arena",
    "max-drop": "budgets.max-drop",
    "min-speedup": "budgets.min-speedup",
    "input-shape": "input-shapes",
    "no-winograd": "winograd = false",
}
_COMMANDS = re.compile(r"(`[^`]*`)")
"""What is to be typed stays as it is."""
_SHAPE = re.compile(r"--input-shape '?(?P<name>[^'\s=]+)=(?P<sizes>[\w.?,]+)'?")
_VALUE = re.compile(r"--(?P<name>precision|weights) (?P<value>f32|bf16)\b")
_OPTION = re.compile(r"--(?P<name>[a-z][a-z-]*[a-z])")


def in_keys(message: str) -> str:
    """``message`` with keys where it names options, as ``--max-drop``."""
    parts = _COMMANDS.split(message)
    return "".join(part if part.startswith("`") else _translated(part) for part in parts)


def _translated(text: str) -> str:
    text = _SHAPE.sub(lambda m: f"input-shapes = {{ {m['name']} = [{m['sizes']}] }}", text)
    text = _VALUE.sub(lambda m: f'{m["name"]} = "{m["value"]}"', text)
    return _OPTION.sub(lambda m: _NAMES.get(m["name"], m["name"]), text)
