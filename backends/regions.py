"""The parts of a model that ONNX Runtime runs on the host, because no kernel can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from burnish.backends.arrays import CountedAxes, numpy_dtype
from burnish.backends.manifest import EntrySpec, Port, Segment
from burnish.backends.native import NativeModel, Run
from burnish.errors import BurnishError, InvalidInput
from burnish.onnx_runtime import import_onnx_runtime


class RegionEngine:
    """ONNX Runtime sessions for the regions of an artifact."""

    def __init__(self, models: Mapping[str, bytes], threads: int) -> None:
        """Open a session for each region.

        Args:
            models: Serialized ONNX models by file name.
            threads: How many threads each session uses.

        Raises:
            BurnishError: ONNX Runtime is not installed.
            InvalidInput: ONNX Runtime rejects a region.
        """
        try:
            onnxruntime = import_onnx_runtime()
        except ImportError as error:
            raise BurnishError(
                "parts of this model run in ONNX Runtime, which is missing: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # The kernels' own threads are awake; two pools that spin spoil each other.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions: dict[str, Any] = {}
        for name, model in models.items():
            try:
                self._sessions[name] = onnxruntime.InferenceSession(
                    model, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime's errors share no public base
                raise InvalidInput(f"ONNX Runtime rejects {name}: {error}") from error

    def run(
        self,
        native: NativeModel,
        entry: tuple[int, EntrySpec],
        inputs: bytes,
        outputs: tuple[Sequence[np.ndarray | None], bytes],
    ) -> list[np.ndarray]:
        """Run an entry, kernels and regions in turn, and return its outputs.

        Args:
            native: The model's kernels.
            entry: Number and description of the entry.
            inputs: Pointers to contiguous arrays that fit its inputs.
            outputs: Arrays that fit its outputs, None where the size is open without a bound, and
                pointers to them.
        """
        number, spec = entry
        arrays, pointers = outputs
        counted = CountedAxes(spec.outputs)
        values: dict[int, np.ndarray] = {}
        with native.begin(number, inputs, pointers) as run:
            for segment in spec.segments:
                if segment.region is None:
                    run.calls(segment.first, segment.last)
                else:
                    self._run_region(segment.region, segment, run, values)
            counts = run.counts(len(arrays)) if counted else ()
        results = []
        for port, given in zip(spec.outputs, arrays, strict=True):
            array = given if port.value is None else values.get(port.value)
            if array is None:
                raise InvalidInput(f"no region of this artifact gives {port}")
            results.append(array)
        counted.cut(results, counts)
        return results

    def _run_region(
        self, name: str, segment: Segment, run: Run, values: dict[int, np.ndarray]
    ) -> None:
        feeds = {port.name: _fetch(port, run, values) for port in segment.inputs}
        names = [port.name for port in segment.outputs]
        try:
            results = self._sessions[name].run(names, feeds)
        except Exception as error:  # onnxruntime's errors share no public base
            raise BurnishError(f"ONNX Runtime failed in {name}: {error}") from error
        for port, result in zip(segment.outputs, results, strict=True):
            _store(port, result, run, values)


def _fetch(port: Port, run: Run, values: Mapping[int, np.ndarray]) -> np.ndarray:
    if port.value is None:
        return run.array(port)
    if port.value not in values:
        raise InvalidInput(f"no region of this artifact gives {port} before it is needed")
    return values[port.value]


def _store(port: Port, result: np.ndarray, run: Run, values: dict[int, np.ndarray]) -> None:
    if result.dtype != numpy_dtype(port.dtype) or not _fits(result.shape, port.shape):
        raise BurnishError(
            f"ONNX Runtime gave {result.dtype}{list(result.shape)} for {port}; "
            "the model's declared shapes are wrong"
        )
    if port.value is None:
        np.copyto(run.array(port), result)
    else:
        values[port.value] = result


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return shape == declared or (
        len(shape) == len(declared)
        and all(wanted in (-1, size) for wanted, size in zip(declared, shape, strict=True))
    )
