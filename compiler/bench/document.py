"""What a bench found, as JSON: the document that tables, reports and gates are made from.

``SCHEMA`` is raised whenever a field changes its meaning or goes; new fields may come at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1

BASELINE = "onnxruntime"
"""Name of the column that is always there."""

Verdict = Literal["faster", "slower", "noise", "same", "needed", "failed", "untimed"]
View = Literal["alone", "cumulative", "without"]


class Part(BaseModel):
    """A part of the document; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Interval(Part):
    """An estimate with the 95% interval that encloses it."""

    value: float
    low: float
    high: float


class Fidelity(Part):
    """How near one output is to the original's, on the inputs that were compared."""

    output: str
    error: float
    """Largest error relative to the output's largest value."""
    kl: float | None = None
    """Mean Kullback-Leibler divergence in nats of softmax along the last axis, original first;
    None where the output is no floating-point array with an axis of two or more."""
    top1: float | None = None
    """Share of rows along the last axis whose largest element is at the same place, 0 to 1."""
    sqnr: float | None = None
    """Signal to noise in decibels; None where both are equal, or the output is not float."""


class Metric(Part):
    """What a task says of one variant."""

    name: str
    higher_is_better: bool
    value: Interval
    difference: Interval | None = None
    """To the original on the same items, paired; None for the original itself."""
    items: int


class Variant(Part):
    """One graph that a pipeline leads to, however many pipelines lead to it, and its figures."""

    id: str
    """First 12 digits of the SHA-256 of what it computes."""
    passes: list[str]
    """The first pipeline that led to it, names in order, each once."""
    operators: int
    parameters: int
    """Elements of all floating-point constants."""
    constant_bytes: int
    flops: float | None = None
    """Of the operators whose FLOPs are known; None where that is none."""
    compile_seconds: float | None = None
    """Wall clock of generating code for kernels that no variant before had, or of making a session
    of ONNX Runtime."""
    artifact_bytes: int | None = None
    """Of the artifact, or of the ONNX file with its weights where the engine takes that."""
    compressed_bytes: int | None = None
    """The same after DEFLATE at level 6."""
    arena_bytes: int | None = None
    fidelity: list[Fidelity] = Field(default_factory=list)
    """Of what is not equivalent on the inputs up to the first that shows it."""
    latency: Interval | None = None
    """Seconds of a run: the median of processes. With fewer than six of them low and high are those
    of all their blocks, else a 95% interval."""
    ratio: Interval | None = None
    """Time of the reference variant (the whole pipeline) over this one's; above one is faster."""
    blocks: int = 0
    metrics: list[Metric] = Field(default_factory=list)
    failure: str | None = None
    """Why it could not be compiled or is not timed: what is not equivalent is never timed."""


class Step(Part):
    """What one pass is worth in one view."""

    view: View
    name: str
    """Of the pass."""
    variant: str
    """With the pass in the views alone and cumulative, without it in the view without."""
    against: str
    """The variant that it is compared with: cleanup alone, the prefix before, or everything."""
    speedup: Interval | None = None
    """Time without the pass over time with it: above one the pass makes the model faster.
    The intervals of all speedups and ratios of a document hold together at 95%."""
    operators: int = 0
    """Operators that the pass removes, on balance."""
    metrics: list[Metric] = Field(default_factory=list)
    """Where passes are lossy: with the pass, each with its paired difference to what there is
    without it. Those of the task, then distances to the original, input by input."""
    verdict: Verdict
    """``faster`` and ``slower``: beyond noise; ``same``: an equal program with and without it;
    ``needed``: no model without it, or none that is right; ``failed``: none with it; ``untimed``:
    the time was up."""


class Column(Part):
    """An engine or tool that the variants are compared with."""

    name: str
    """For instance ``onnxruntime``, ``onnxruntime without GeluFusion``, ``openvino``."""
    version: str
    latency: Interval | None = None
    """As that of a variant."""
    ratio: Interval | None = None
    """Its time over that of the whole pipeline: above one the whole pipeline is faster."""
    operators: int | None = None
    file_bytes: int | None = None
    failure: str | None = None


class Node(Part):
    """An operator node of the graph before or after."""

    name: str
    op_type: str
    """With its domain and a colon before it unless it is a standard one."""
    inputs: list[str]
    outputs: list[str]
    constant_bytes: int
    """Of the constants that it reads first."""
    flops: float | None = None
    sources: list[str]
    """Names of the source nodes that it came from."""


class Fired(Part):
    """A rule at one place."""

    pass_name: str
    rule: str
    sources: list[str]
    reason: str | None = None
    """Why it nearly fired; None if it did fire."""


class Kernel(Part):
    """One kernel of the whole pipeline's artifact in a profile."""

    name: str
    operators: list[str]
    sources: list[str]
    seconds: float
    share: float
    flops: float
    bytes: float
    bound_seconds: float | None
    bound_by: str | None


class Ceiling(Part):
    """The roofline that kernels are drawn under."""

    threads: int
    peaks: dict[str, float]
    """Operations per second by dtype."""
    bandwidths: dict[str, float]
    """Bytes per second by level of memory."""


class Model(Part):
    """What was measured."""

    path: str
    sha256: str
    opset: int
    inputs: dict[str, list[int | str | None]]
    outputs: list[str]


class Budget(Part):
    """One budget and what was found."""

    name: str
    """``size``, ``arena``, ``max-drop`` or ``min-speedup``."""
    limit: float
    """Bytes, points or a ratio."""
    found: float
    passed: bool
    text: str
    """Found against limit, for people."""


class Document(Part):
    """Everything that one bench found."""

    schema_version: int = SCHEMA
    command: list[str]
    environment: dict[str, Any]
    """Machine, versions, UTC date."""
    model: Model
    engine: Literal["tvm", "ort"]
    threads: int
    preset: str | None
    shapes: dict[str, list[int]]
    whole: str
    """The variant of the whole pipeline."""
    cleanup: str
    """The variant that the view alone starts from."""
    base: str = "cleanup"
    """What that is, for people."""
    original: str
    """The variant without any pass that is not needed."""
    variants: list[Variant]
    steps: list[Step]
    columns: list[Column]
    before: list[Node]
    after: list[Node]
    fired: list[Fired]
    missed: list[Fired]
    kernels: list[Kernel] = Field(default_factory=list)
    ceiling: Ceiling | None = None
    seconds: float
    """Wall clock of the bench."""
    notes: list[str] = Field(default_factory=list)
    budgets: list[Budget] = Field(default_factory=list)
    """What the whole pipeline was held against, in the order of the options."""

    @property
    def result(self) -> Variant:
        """The variant of the whole pipeline."""
        return next(each for each in self.variants if each.id == self.whole)

    @property
    def baseline(self) -> Column:
        """ONNX Runtime at its best on the original."""
        return next(each for each in self.columns if each.name == BASELINE)


def schema() -> Mapping[str, Any]:
    """The JSON Schema of a document (draft 2020-12)."""
    found = Document.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
