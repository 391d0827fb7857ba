"""Several lowered models as one, so that kernels of equal structure are compiled once."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from burnish.backends.lowering.lower import Lowered
from burnish.backends.program import Buffer, BufferKind, Call, Program


def share_constants(models: Iterable[Lowered]) -> list[Lowered]:
    """Return the models, equal weights in the same memory.

    They are taken one after the other, so that no more than one has copies of its own at a time.
    """
    known: dict[tuple[str, tuple[int, ...], bytes], np.ndarray] = {}
    found = []
    for model in models:
        for buffer in _constants(model.calls):
            assert buffer.data is not None
            data = np.ascontiguousarray(buffer.data)
            digest = hashlib.sha256(data.reshape(-1).view(np.uint8).data).digest()
            buffer.data = known.setdefault((buffer.dtype, buffer.shape, digest), buffer.data)
        found.append(model)
    return found


def _constants(calls: Sequence[Call]) -> Iterable[Buffer]:
    owners = (buffer.root()[0] for call in calls for buffer in call.args)
    return dict.fromkeys(owner for owner in owners if owner.kind is BufferKind.CONSTANT)


def join(models: Sequence[Lowered]) -> Lowered:
    """Return one model with the kernels and calls of all, in order; `split` undoes it.

    Kernels get names of their own; only these names change.
    """
    if len(models) == 1:
        return models[0]
    numbers = itertools.count()
    kernels, calls = [], []
    for model in models:
        names = {
            kernel.name: f"k{next(numbers)}_{kernel.name.split('_', 1)[1]}"
            for kernel in model.kernels
        }
        kernels += [replace(kernel, name=names[kernel.name]) for kernel in model.kernels]
        calls += [
            call if call.region is not None
            else replace(call, kernel=names.get(call.kernel, call.kernel))
            for call in model.calls
        ]  # fmt: skip
    return Lowered(
        [buffer for model in models for buffer in model.inputs],
        [buffer for model in models for buffer in model.outputs],
        calls,
        kernels,
        {node: reason for model in models for node, reason in model.refusals.items()},
        [work for model in models for work in model.work],
    )


def split(program: Program, models: Sequence[Lowered]) -> list[Program]:
    """Return the program of each of `models`, of which `program` was made together."""
    calls = iter(program.calls)
    return [
        replace(
            program,
            inputs=model.inputs,
            outputs=model.outputs,
            calls=list(itertools.islice(calls, len(model.calls))),
            work=model.work,
        )
        for model in models
    ]
