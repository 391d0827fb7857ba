"""Tables in Markdown."""

from collections.abc import Sequence


def markdown(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Lay out rows below heads."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])
