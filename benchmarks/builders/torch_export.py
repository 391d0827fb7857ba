"""Export of torch modules by either of torch's two ONNX exporters, always with the same weights."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

SEED = 20240229
OPSET = {"dynamo": 18, "torchscript": 17, "unfused": 17}
"""The opset that each exporter is asked for; the newest that torchscript writes well is 17.

"unfused" is torchscript told not to fold normalizations into convolutions.
"""

Dynamic = Mapping[str, Mapping[int, str]]
"""Names of dynamic dimensions: input or output -> axis -> name."""


@dataclass(frozen=True)
class Module:
    """What would have been exported."""

    model: Any
    inputs: tuple[str, ...]
    """Names of its positional arguments."""
    outputs: tuple[str, ...]


_interceptors: list[list[Module]] = []


@contextmanager
def intercepted() -> Iterator[list[Module]]:
    """Within, `export` writes nothing: the modules it was given come into the list."""
    _interceptors.append([])
    try:
        yield _interceptors[-1]
    finally:
        _interceptors.pop()


def seeded() -> None:
    """Make weight initialisation and training passes repeatable."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    disable_progress_bar()
    set_verbosity_error()


def enliven(model: nn.Module, *batches: Tensor) -> None:
    """Give a module with random weights the statistics of a trained one.

    Scales and biases of normalizations start at one and zero, which hides what folding does with
    them, and running statistics that fit no data make outputs vanish within a few layers. So both
    are drawn, and train-mode passes over `batches` measure the statistics. Matrices get unit gain,
    else every attention is uniform.

    Args:
        model: changed in place; left in eval mode.
        batches: inputs of the model, float32 [N, 3, H, W]; may be none where the model has no
            running statistics.
    """
    torch.set_grad_enabled(False)
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
    for module in model.modules():
        weight = getattr(module, "weight", None)
        bias = getattr(module, "bias", None)
        if isinstance(module, norms) and isinstance(weight, Tensor):
            weight.uniform_(0.5, 1.5)
        if isinstance(bias, Tensor):
            bias.normal_(std=0.1)
        if isinstance(module, nn.Linear):
            module.weight.normal_(std=module.in_features**-0.5)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches, not a moving one
    model.train()
    for batch in batches:
        model(batch)
    model.eval()


def export(
    model: nn.Module,
    example: Sequence[Tensor],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    exporter: str,
    dynamic: Dynamic | None = None,
) -> None:
    """Write `model` as ONNX to `path`, and its weights beside it if the exporter wants that.

    Args:
        model: in eval mode.
        example: positional arguments of one call.
        path: the ONNX file to write.
        inputs: names for the graph's inputs.
        outputs: names for the graph's outputs.
        exporter: a key of `OPSET`.
        dynamic: dimensions that stay symbolic; the others are fixed to the example's.
    """
    model.eval()
    if _interceptors:
        _interceptors[-1].append(Module(model, tuple(inputs), tuple(outputs)))
        return
    common: dict[str, Any] = {
        "input_names": list(inputs),
        "output_names": list(outputs),
        "opset_version": OPSET[exporter],
    }
    if exporter == "dynamo":
        torch.onnx.export(
            model,
            tuple(example),
            str(path),
            dynamo=True,
            dynamic_shapes=_dynamic_shapes(inputs, dynamic),
            verbose=False,
            **common,
        )
    else:
        axes = {name: dict(axes) for name, axes in (dynamic or {}).items()}
        mode = torch.onnx.TrainingMode
        torch.onnx.export(
            model,
            tuple(example),
            str(path),
            dynamo=False,
            dynamic_axes=axes,
            training=mode.PRESERVE if exporter == "unfused" else mode.EVAL,
            **common,
        )


def _dynamic_shapes(inputs: Sequence[str], dynamic: Dynamic | None) -> tuple[Any, ...] | None:
    """Translate to torch.export's form: one entry per positional input, one object per name."""
    if not dynamic:
        return None
    dims: dict[str, Any] = {}
    for axes in dynamic.values():
        for name in axes.values():
            dims.setdefault(name, torch.export.Dim(name, min=1, max=512))
    return tuple(
        {axis: dims[name] for axis, name in dynamic.get(one, {}).items()} for one in inputs
    )
