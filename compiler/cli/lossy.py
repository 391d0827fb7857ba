"""What was pruned and quantized, for a terminal, for programs, and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.cli.pruning import pruning_lines, show_pruning
from burnish.cli.quantization import quantization_lines, show_quantization
from burnish.errors import UsageError

if TYPE_CHECKING:
    from burnish.building.execute import Built
    from burnish.building.workshop import Made
    from burnish.cli.session import Session


def check_page(page: Path | None, *, is_lossy: bool) -> None:
    """Complain of ``--report`` now rather than after minutes of work.

    Raises:
        UsageError: there is nothing for it to show, or no file can be written there.
    """
    from burnish.output import check_target

    if page is None:
        return
    if not is_lossy:
        raise UsageError("--report is about --quantize and --prune: give one of them too")
    check_target(page)


def write_page(page: Path | None, built: Built) -> None:
    """Write the page of what was pruned and quantized, if it was asked for.

    Raises:
        CannotWrite: the disk is full or refuses.
    """
    if page is not None:
        from burnish.building.page import write_page as write

        assert built.job.source is not None
        write(built.made.pruned, built.made.quantized, built.job.source.name, built.notices, page)


def lossy_json(made: Made) -> dict[str, Any]:
    """What JSON says of it: nothing of what was not asked for."""
    found = {"pruning": made.pruned, "quantization": made.quantized}
    return {name: one.as_json() for name, one in found.items() if one is not None}


def stage(made: Made) -> str:
    """What a comparison of ONNX with ONNX is about, as the beginning of a line: empty if of all.

    What pruning and integers change is not compared bit by bit, but judged by what it loses.
    """
    if made.pruned is not None and made.pruned.count:
        return "before pruning: "
    return "before int8: " if made.is_quantized else ""


def lossy_lines(made: Made) -> list[str]:
    """How much is pruned and quantized, and what that loses, in short."""
    pruned, quantized = made.pruned, made.quantized
    return [
        *pruning_lines(None if pruned is None else pruned.summary()),
        *quantization_lines(None if quantized is None else quantized.summary()),
    ]


def show_lossy(session: Session, made: Made, *, verbose: bool) -> None:
    """Print what became of structures and layers."""
    show_pruning(session, made.pruned, verbose=verbose)
    show_quantization(session, made.quantized, verbose=verbose)
