"""Optimizing: passes over a graph until none changes it, and verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from burnish.ir import Graph
from burnish.kept import conceal, expose
from burnish.passes import get_pass
from burnish.pipeline import (
    PassContext,
    PipelineReport,
    Progress,
    Verify,
    copy_of,
    run_pass,
    run_pipeline,
)
from burnish.selection import Selection, choose
from burnish.verification import Feeds, Reference


def optimize_model(
    graph: Graph,
    selection: Selection,
    *,
    verify: Verify = "end",
    samples: Sequence[Feeds] | None = None,
    keep: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Graph, PipelineReport]:
    """Rewrite ``graph``, which stays as it is.

    Args:
        graph: the original.
        selection: which passes run.
        verify: when outputs are compared with the original's.
        samples: inputs to compare on; by default random ones.
        keep: names of values that the result still computes, under these names.
        progress: called with a pass name, how many passes are done and how many there are.

    Raises:
        UsageError: an option does not exist or does not fit the model.
        UnsupportedModel: the oracle cannot run it, so that nothing could be verified.
    """
    exposed = 0
    if keep:
        graph = copy_of(graph)
        # Outputs need types to be compared.
        run_pass(graph, get_pass("infer-shapes"), PassContext())
        exposed = expose(graph, keep)
    shapes = selection.input_shapes
    reference = None if verify == "off" else Reference(graph, samples, shapes)
    result, report = run_pipeline(
        graph, choose(selection), PassContext(), verify=verify, reference=reference,
        progress=progress, settle=selection.passes is None,
    )  # fmt: skip
    conceal(result, exposed)
    return result, report


def infer(graph: Graph, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """A copy of ``graph`` with every shape that follows from its inputs.

    Raises:
        UsageError: a shape does not fit the model.
    """
    graph = copy_of(graph)
    shapes = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    for step in (get_pass("freeze-input-shapes", shapes=shapes), get_pass("infer-shapes")):
        run_pass(graph, step, PassContext())
    return graph
