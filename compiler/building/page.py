"""The page of what was pruned and quantized."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from burnish.bench.report.parts import render_parts
from burnish.output import staged
from burnish.pruning.page import part_of as pruning_part
from burnish.pruning.result import Pruned
from burnish.quantization.page import part_of as quantization_part
from burnish.quantization.result import Quantized


def write_page(
    pruned: Pruned | None,
    quantized: Quantized | None,
    name: str,
    notices: Sequence[str],
    path: Path,
) -> None:
    """Write what was pruned and quantized as one HTML file that asks for no other.

    Args:
        pruned: None if that was not asked for.
        quantized: None if that was not asked for.
        name: of the model.
        notices: what a user should know.
        path: of the file, which is replaced or left as it was.

    Raises:
        UsageError: no file can be written at ``path``.
        CannotWrite: the disk is full or refuses.
    """
    parts = [
        *([] if pruned is None else [pruning_part(pruned)]),
        *([] if quantized is None else [quantization_part(quantized)]),
    ]
    with staged(path) as draft:
        draft.write_bytes(render_parts(parts, name, notices).encode("utf-8", "backslashreplace"))
